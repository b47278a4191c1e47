import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

import mli_utils as mli
from mli_utils import data, interpolation, models
from mli_utils.config import InputError
from mli_utils.interpolation import interpolate_parameters


def network(bias="all", depth=4, seed=0, width=12):
    return models.build(mli.RunConfig(depth=depth, width=width, bias=bias, init_scale=1.0, seed=seed))


def random_params(model, seed):
    generator = torch.Generator().manual_seed(seed)
    return {name: 0.3 * torch.randn(value.shape, generator=generator) for name, value in model.named_parameters()}


@pytest.mark.parametrize("path", ["linear", "homogeneous"])
def test_endpoints_are_exact_and_inputs_untouched(path):
    model = network()
    start, end = random_params(model, 1), random_params(model, 2)
    copies = [{name: value.clone() for name, value in side.items()} for side in (start, end)]
    for alpha, side in ((0, start), (1, end), (0.0, start), (1.0, end)):
        there = interpolate_parameters(model, start, end, alpha, path)
        assert all(torch.equal(there[name], side[name]) for name in side)
    stacked = interpolate_parameters(model, start, end, [0, 0.5, 1], path)
    assert all(torch.equal(stacked[name][0], start[name]) for name in start)
    assert all(torch.equal(stacked[name][2], end[name]) for name in end)
    interpolation.curve(model, start, end, 5, path, data.load("digits").first(50))
    for side, copy in zip((start, end), copies, strict=True):
        assert all(torch.equal(side[name], copy[name]) for name in side)
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), network().parameters(), strict=True))


@settings(deadline=None)
@given(st.floats(0, 1), st.sampled_from(list(interpolation.SCHEDULES)), st.sampled_from(models.GROUPS))
def test_each_group_moves_by_its_own_schedule(alpha, schedule, group):
    model = network()
    start, end = random_params(model, 1), random_params(model, 2)
    path = {**dict.fromkeys(models.GROUPS, "start"), group: schedule}
    there = interpolate_parameters(model, start, end, alpha, path)
    for name, of in models.parameter_groups(model).items():
        c = {"linear": alpha, "homogeneous": alpha**of.layer, "start": 0, "end": 1}[schedule] if of.name == group else 0
        c = torch.tensor(c, dtype=torch.float32)
        assert torch.equal(there[name], (1 - c) * start[name] + c * end[name])


@pytest.mark.parametrize("bias", ["none", "output", "all"])
def test_from_zero_the_homogeneous_path_scales_logits_and_changes_no_prediction(bias):
    depth = 5
    model = network(bias, depth).double()
    end = {name: value.double() for name, value in random_params(model, 3).items()}
    start = {name: torch.zeros_like(value) for name, value in end.items()}
    images = data.load("digits").first(200).images.double()
    whole = models.logits(model, end, images)
    for alpha in (0.1, 0.5, 0.9):
        there = models.logits(model, interpolate_parameters(model, start, end, alpha, "homogeneous"), images)
        # c(α) is rounded to the parameters' precision
        assert (there - alpha**depth * whole).abs().max() <= 1e-12 * whole.abs().max()
        assert torch.equal(there.argmax(1), whole.argmax(1))
    if bias == "output":
        there = models.logits(model, interpolate_parameters(model, start, end, 0.5, "linear"), images)
        expected = 0.5**depth * (whole - end["layers.4.bias"]) + 0.5 * end["layers.4.bias"]
        assert torch.allclose(there, expected, rtol=1e-10)


def test_without_biases_both_paths_are_one():
    model = network("none")
    start, end = random_params(model, 1), random_params(model, 2)
    images = data.load("digits").first(100)
    linear, homogeneous = (interpolation.curve(model, start, end, 7, p, images) for p in ("linear", "homogeneous"))
    assert all(np.array_equal(linear[name], homogeneous[name]) for name in linear)


def test_a_curve_is_that_of_the_textbook_loop():
    """1050 images: the last batch is smaller, so a mean of batch means would differ; α = 0 and 1 are on the curve."""
    model = network("all")
    start, end = random_params(model, 1), random_params(model, 2)
    images = data.load("digits").first(1050)
    measured = interpolation.curve(model, start, end, 9, "linear", images)
    loader = DataLoader(TensorDataset(images.images, images.labels), batch_size=100)
    textbook = network("all")
    for i, alpha in enumerate(np.linspace(0, 1, 9)):
        textbook.load_state_dict({name: torch.lerp(start[name], end[name], float(alpha)) for name in start})
        loss = wrong = 0
        with torch.no_grad():
            for batch, labels in loader:
                logits = textbook(batch)
                loss += torch.nn.functional.cross_entropy(logits, labels, reduction="sum").item()
                wrong += (logits.argmax(1) != labels).sum().item()
        assert measured["loss"][i] == pytest.approx(loss / 1050, abs=1e-6)
        assert measured["wrong"][i].sum() == wrong
        assert measured["predicted"][i].sum() == 1050


@pytest.mark.parametrize(
    ("alphas", "said"), [(1, "at least 2"), ([0, 2], "from 0 to 1"), ([0.5, 0.5], "increasing"), ([], "increasing")]
)
def test_bad_points_are_refused(alphas, said):
    with pytest.raises(InputError, match=said):
        interpolation.alpha_grid(alphas)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("straight", "unknown path 'straight'; known: linear, homogeneous"),
        ({"bias": "linear"}, "unknown parameter group 'bias'.*known: weights, hidden_biases"),
        ({"weights": "quadratic"}, "unknown schedule 'quadratic'; known: linear, homogeneous, start, end"),
        ({"weights": "linear"}, "no schedule for hidden_biases, output_bias, normalization"),
    ],
)
def test_bad_paths_are_refused(path, said):
    with pytest.raises(InputError, match=said):
        interpolation.schedules(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda ends: ends["layers.0.weight"].mean(1, keepdim=True),
            "layers.0.weight at the end has the shape (16, 1)",
        ),
        (lambda ends: ends["layers.0.weight"][0], "layers.0.weight at the end has the shape (64,); allowed: (16, 64)"),
        (lambda ends: torch.tensor(0.0), "layers.0.weight at the end has the shape ()"),
        (lambda ends: None, "parameters at the end do not fit the network: layers.0.weight; its own: layers.0.weight,"),
    ],
)
def test_parameters_that_are_not_the_network_s_are_refused_not_spread(small_config, change, said):
    model = models.build(small_config)
    start = models.initialize(model, small_config)
    end = dict(start)
    if (changed := change(end)) is None:
        del end["layers.0.weight"]
    else:
        end["layers.0.weight"] = changed
    with pytest.raises(mli.InputError) as raised:
        interpolate_parameters(model, start, end, 0.5)
    assert said in str(raised.value)
    with pytest.raises(mli.InputError, match="at the start"):
        interpolate_parameters(model, end, start, [0.25, 0.5])
    with pytest.raises(mli.InputError, match="at the start do not fit the network: other"):
        interpolate_parameters(model, {**start, "other": torch.zeros(1)}, start, 0.5)
