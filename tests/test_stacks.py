"""Networks in stacks against the same networks by PyTorch's own modules."""

import pytest
import torch

import mli_utils as mli
from mli_utils import interpolation, models, stacks


@pytest.fixture(params=["none", "output", "all"])
def network(request):
    """A model, two sets of parameters with biases that are not zero, and images."""
    config = mli.RunConfig(depth=4, width=24, bias=request.param)
    model = models.build(config)
    torch.manual_seed(0)
    ends = [{name: torch.randn_like(value) / 4 for name, value in model.named_parameters()} for _ in range(2)]
    return model, ends, torch.rand(7, 1, 8, 8)


def test_logits_are_those_of_the_module(network):
    model, ends, images = network
    found = stacks.logits(models.stack(ends), images, stacks.Scratch())
    for end, given in zip(ends, found, strict=True):
        assert torch.allclose(given, models.logits(model, end, images), atol=1e-6)
    some = stacks.logits(models.stack(ends), images, stacks.Scratch(), slice(2, 5))
    assert torch.allclose(some, found[:, 2:5], atol=1e-6)


def test_a_line_gives_the_first_layer_between_its_ends(network):
    model, ends, images = network
    shares = torch.tensor([0.0, 0.3, 1.0])
    params = interpolation.interpolate_parameters(model, *ends, shares.tolist())
    line = stacks.Line(*(stacks.first_product(end, images) for end in ends), shares)
    found = stacks.logits(params, images, stacks.Scratch(), line=line)
    assert torch.allclose(found, stacks.logits(params, images, stacks.Scratch()), atol=1e-6)


def test_memory_is_used_again_and_grows():
    scratch, like = stacks.Scratch(), torch.zeros(1)
    first = scratch("a", like, 2, 3)
    assert scratch("a", like, 3, 2).data_ptr() == first.data_ptr() != scratch("b", like, 2, 3).data_ptr()
    assert scratch("a", like, 4, 4).shape == (4, 4)


def test_curves_have_mean_logits(small_config):
    run = mli.train(small_config)[0]
    curves = mli.interpolate(run, alphas=3, by_class=True)
    images = mli.data.load("digits").first(small_config.n_train).images
    expected = models.logits(models.build(small_config), run.end, images).mean(0)
    assert curves[curves.alpha == 1].mean_logit.to_numpy() == pytest.approx(expected.numpy(), rel=1e-4, abs=1e-5)


def test_of_equal_logits_the_first_class_is_the_prediction():
    for stack, samples in ((1, 5), (3, 1000)):
        sums = models.anatomy(torch.zeros(stack, samples, 10), torch.arange(samples) % 10)
        assert sums["predicted"][:, 0].tolist() == [samples] * stack
