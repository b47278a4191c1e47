"""Curves against a textbook's loop."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import mli_utils as mli
from mli_utils.core.curves import chunks, curve


def network(bias="all", seed=0):
    return mli.build(mli.RunConfig(depth=4, width=12, bias=bias, init_scale=1.0, seed=seed))


def random_params(model, seed):
    generator = torch.Generator().manual_seed(seed)
    return {name: 0.3 * torch.randn(value.shape, generator=generator) for name, value in model.named_parameters()}


def test_without_biases_both_paths_are_one():
    model = network("none")
    start, end = random_params(model, 1), random_params(model, 2)
    images = mli.load_data("digits").first(100)
    linear, homogeneous = (curve(model, start, end, 7, path, images) for path in ("linear", "homogeneous"))
    assert all(np.array_equal(linear[name], homogeneous[name]) for name in linear)


def test_a_curve_is_that_of_the_textbook_loop():
    """1050 images: the last batch is smaller, so a mean of batch means would differ; α = 0 and 1 are on the curve."""
    model = network("all")
    start, end = random_params(model, 1), random_params(model, 2)
    images = mli.load_data("digits").first(1050)
    measured = curve(model, start, end, 9, "linear", images)
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


@pytest.mark.parametrize("path", ["linear", "homogeneous"])
def test_curves_leave_endpoints_and_network_alone(path):
    model = network()
    start, end = random_params(model, 1), random_params(model, 2)
    copies = [{name: value.clone() for name, value in side.items()} for side in (start, end)]
    curve(model, start, end, 5, path, mli.load_data("digits").first(50))
    for side, copy in zip((start, end), copies, strict=True):
        assert all(torch.equal(side[name], copy[name]) for name in side)
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), network().parameters(), strict=True))


@pytest.mark.parametrize("number", [1, 2, 51, 625])
def test_chunks_have_every_point_once_and_no_more_than_fit(number):
    model = network()
    parts = chunks(number, model, torch.device("cpu"))
    assert np.concatenate(parts).tolist() == list(range(number))
    assert max(map(len, parts)) <= model.points_at_once(torch.device("cpu"))
