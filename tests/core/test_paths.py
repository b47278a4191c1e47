"""Paths: exact at their ends, each group by its own schedule, nothing taken that does not fit."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mli_utils as mli
from mli_utils.core import paths
from mli_utils.core.config import InputError
from mli_utils.core.initialization import initialize
from mli_utils.core.parameters import GROUPS, parameter_groups
from mli_utils.core.paths import interpolate_parameters


def network(bias="all", depth=4):
    return mli.build(mli.RunConfig(depth=depth, width=12, bias=bias, init_scale=1.0))


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
    for side, copy in zip((start, end), copies, strict=True):
        assert all(torch.equal(side[name], copy[name]) for name in side)


@settings(deadline=None)
@given(st.floats(0, 1), st.sampled_from(list(paths.SCHEDULES)), st.sampled_from(GROUPS))
def test_each_group_moves_by_its_own_schedule(alpha, schedule, group):
    model = network()
    start, end = random_params(model, 1), random_params(model, 2)
    path = {**dict.fromkeys(GROUPS, "start"), group: schedule}
    there = interpolate_parameters(model, start, end, alpha, path)
    for name, of in parameter_groups(model).items():
        c = {"linear": alpha, "homogeneous": alpha**of.layer, "start": 0, "end": 1}[schedule] if of.name == group else 0
        c = torch.tensor(c, dtype=torch.float32)
        assert torch.equal(there[name], (1 - c) * start[name] + c * end[name])


@pytest.mark.parametrize("bias", ["none", "output", "all"])
def test_from_zero_the_homogeneous_path_scales_logits_and_changes_no_prediction(bias):
    depth = 5
    model = network(bias, depth).double()
    end = {name: value.double() for name, value in random_params(model, 3).items()}
    start = {name: torch.zeros_like(value) for name, value in end.items()}
    images = mli.load_data("digits").first(200).images.double()
    whole = model.logits(end, images)
    for alpha in (0.1, 0.5, 0.9):
        there = model.logits(interpolate_parameters(model, start, end, alpha, "homogeneous"), images)
        # c(α) is rounded to the parameters' precision
        assert (there - alpha**depth * whole).abs().max() <= 1e-12 * whole.abs().max()
        assert torch.equal(there.argmax(1), whole.argmax(1))
    if bias == "output":
        there = model.logits(interpolate_parameters(model, start, end, 0.5, "linear"), images)
        expected = 0.5**depth * (whole - end["layers.4.bias"]) + 0.5 * end["layers.4.bias"]
        assert torch.allclose(there, expected, rtol=1e-10)


@pytest.mark.parametrize(
    ("alphas", "said"), [(1, "at least 2"), ([0, 2], "from 0 to 1"), ([0.5, 0.5], "increasing"), ([], "increasing")]
)
def test_bad_points_are_refused(alphas, said):
    with pytest.raises(InputError, match=said):
        paths.alpha_grid(alphas)


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
        paths.schedules(path)


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
    model = mli.build(small_config)
    start = initialize(model, small_config)
    end = dict(start)
    if (changed := change(end)) is None:
        del end["layers.0.weight"]
    else:
        end["layers.0.weight"] = changed
    with pytest.raises(InputError) as raised:
        interpolate_parameters(model, start, end, 0.5)
    assert said in str(raised.value)
    with pytest.raises(InputError, match="at the start"):
        interpolate_parameters(model, end, start, [0.25, 0.5])
    with pytest.raises(InputError, match="at the start do not fit the network: other"):
        interpolate_parameters(model, {**start, "other": torch.zeros(1)}, start, 0.5)
