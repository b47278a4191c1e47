"""Networks alone, in stacks, and layer by layer in memory that is used again."""

import dataclasses

import pytest
import torch

import mli_utils as mli
from mli_utils.core import networks
from mli_utils.core.config import InputError
from mli_utils.core.initialization import build
from mli_utils.core.parameters import stack
from mli_utils.core.paths import interpolate_parameters


def config(**fields):
    return mli.RunConfig(**{"depth": 4, "width": 12, "init_scale": 0.9, **fields})


def test_initialization_is_kaiming_times_scale_and_the_run_s_own():
    wide = build(config(width=400, init_scale=0.5, bias="all"))
    weight = wide.layers[1].weight
    assert abs(weight.std() / (0.5 * (2 / 400) ** 0.5) - 1) < 0.01
    assert all((layer.bias == 0).all() for layer in wide.layers)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    again = build(config(width=400, init_scale=0.5, bias="none"))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(weight, again.layers[1].weight)  # biases or not, the weights of a seed are the same
    other = build(dataclasses.replace(config(width=400, init_scale=0.5), seed=1))
    assert not torch.equal(weight, other.layers[1].weight)


def test_a_stack_gives_what_its_members_give():
    images = torch.rand(7, 1, 8, 8)
    members = [build(config(bias="all", seed=seed)) for seed in range(3)]
    for member in members:
        with torch.no_grad():
            for parameter in member.parameters():
                parameter.add_(0.1)
    together = members[0].logits(stack([dict(member.named_parameters()) for member in members]), images)
    for one, member in zip(together, members, strict=True):
        assert torch.allclose(one, member(images), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("depth", [1, 3, 6])
def test_without_biases_logits_are_homogeneous_in_the_parameters(depth):
    model = build(config(bias="none", depth=depth)).double()
    params = dict(model.named_parameters())
    images = torch.rand(20, 1, 8, 8, dtype=torch.float64)
    whole = model.logits(params, images)
    for c in (0.0, 0.3, 0.9, 2.0):
        scaled = model.logits({name: c * value for name, value in params.items()}, images)
        assert (scaled - c**depth * whole).abs().max() <= 1e-14 * whole.abs().max()


def test_parameters_of_another_network_are_refused():
    model = build(config(bias="none"))
    with pytest.raises(InputError, match="layers.3.bias"):
        model.logits(dict(build(config(bias="output")).named_parameters()), torch.rand(1, 1, 8, 8))


@pytest.fixture(params=["none", "output", "all"])
def network(request):
    """A model, two sets of parameters with biases that are not zero, and images."""
    model = build(mli.RunConfig(depth=4, width=24, bias=request.param))
    torch.manual_seed(0)
    ends = [{name: torch.randn_like(value) / 4 for name, value in model.named_parameters()} for _ in range(2)]
    return model, ends, torch.rand(7, 1, 8, 8)


def outputs(model, params, images, *parts, line=None):
    """Logits of some parts of the images, copied out of the memory that the next part uses again."""
    return [part.clone() for part in model.outputs(params, images, list(parts), None, line)]


def test_outputs_are_the_module_s_logits(network):
    model, ends, images = network
    (found,) = outputs(model, stack(ends), images, slice(0, 7))
    for end, given in zip(ends, found, strict=True):
        assert torch.allclose(given, model.logits(end, images), atol=1e-6)
    parts = outputs(model, stack(ends), images, slice(0, 2), slice(2, 5), slice(5, 7))
    assert torch.allclose(torch.cat(parts, dim=1), found, atol=1e-6)


def test_a_line_gives_the_first_layer_between_its_ends(network):
    model, ends, images = network
    shares = torch.tensor([0.0, 0.3, 1.0])
    params = interpolate_parameters(model, *ends, shares.tolist())
    line = networks.Line(tuple(networks.first_product(end, images) for end in ends), shares)
    for part in (slice(0, 7), slice(2, 5)):
        (found,), (plain,) = outputs(model, params, images, part, line=line), outputs(model, params, images, part)
        assert torch.allclose(found, plain, atol=1e-6)


def test_memory_is_used_again_and_grows():
    scratch, like = networks.Scratch(), torch.zeros(1)
    first = scratch("a", like, 2, 3)
    assert scratch("a", like, 3, 2).data_ptr() == first.data_ptr() != scratch("b", like, 2, 3).data_ptr()
    assert scratch("a", like, 4, 4).shape == (4, 4)


@pytest.mark.parametrize(
    ("fields", "stacked", "dense"),
    [
        (dict(), True, True),
        (dict(normalization="layer"), True, False),
        (dict(model="vit", normalization="layer", depth=None), True, False),
        (dict(model="vgg16", dataset="digits32", depth=None), False, False),
        (dict(model="resnet18", dataset="digits32", depth=None), False, False),
    ],
    ids=lambda fields: str(fields.get("model", "fcn")) if isinstance(fields, dict) else "",
)
def test_a_network_knows_how_it_is_computed(fields, stacked, dense):
    model = build(config(**fields))
    assert (model.stacked, model.dense) == (stacked, dense)
    assert model.samples_at_once == (1000 if dense else 250)
    at_once = model.points_at_once(torch.device("cpu"))
    assert at_once == (2**20 // (1000 * 12) if dense else 8 if stacked else 1)
