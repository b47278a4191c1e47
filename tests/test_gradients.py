import pytest
import torch

import mli_utils as mli
from mli_utils import gradients, models


def case(bias, depth, samples):
    """A model, three stacked networks of it in float64, and a batch for each."""
    configs = mli.grid(depth=depth, width=24, bias=bias, init_scale=0.9, seed=range(3))
    model = models.build(configs[0])
    params = models.stack([models.initialize(model, config) for config in configs])
    generator = torch.Generator().manual_seed(1)
    params = {name: torch.randn(value.shape, generator=generator).double() / 3 for name, value in params.items()}
    images = torch.rand(3, samples, 1, 8, 8, generator=generator).double()
    labels = torch.randint(10, (3, samples), generator=generator)
    return model, params, images, labels


@pytest.mark.parametrize("keep", [0.0, 0.9])
@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("bias", ["none", "output", "all"])
def test_by_hand_and_autograd_add_the_gradient_of_each_network_s_own_loss(bias, depth, keep):
    model, params, images, labels = case(bias, depth, samples=7)
    before = [torch.randn_like(value) for value in params.values()]
    expected = []
    for run in range(3):
        leaves = {name: value[run].clone().requires_grad_() for name, value in params.items()}
        loss = torch.nn.functional.cross_entropy(models.logits(model, leaves, images[run]), labels[run])
        expected.append(torch.autograd.grad(loss, list(leaves.values())))
    for gradient in (gradients.ByHand(), gradients.Autograd(model)):
        into = [value.clone() for value in before]
        gradient(params, images, labels, into, keep)
        for old, new, of_runs in zip(before, into, zip(*expected, strict=True), strict=True):
            assert torch.allclose(new, keep * old + torch.stack(of_runs), rtol=1e-10, atol=1e-12)


def test_one_s_own_buffers_serve_smaller_and_larger_batches():
    by_hand = gradients.ByHand()
    for samples in (5, 3, 8):
        model, params, images, labels = case("all", 4, samples)
        mine, theirs = ([torch.zeros_like(value) for value in params.values()] for _ in range(2))
        by_hand(params, images, labels, mine, 0.0)
        gradients.Autograd(model)(params, images, labels, theirs, 0.0)
        assert all(torch.allclose(one, other, rtol=1e-10) for one, other in zip(mine, theirs, strict=True))


def test_a_factor_of_zero_forgets_what_was_there_even_where_it_is_not_finite():
    model, params, images, labels = case("all", 3, samples=4)
    into = [torch.full_like(value, torch.nan) for value in params.values()]
    for gradient in (gradients.ByHand(), gradients.Autograd(model)):
        gradient(params, images, labels, into, 0.0)
        assert all(value.isfinite().all() for value in into)


@pytest.mark.parametrize(("name", "kind"), [("fcn", gradients.ByHand), ("vgg16", gradients.Autograd)])
def test_the_gradient_of_a_model(name, kind):
    config = mli.RunConfig(model=name, dataset="digits32" if name == "vgg16" else "digits", width=8)
    assert isinstance(gradients.of(models.build(config)), kind)


def convolutional_case():
    config = mli.RunConfig(model="vgg16", dataset="digits32", width=4)
    model = models.build(config)
    params = models.stack([models.initialize(model, config.replace(seed=seed)) for seed in range(2)])
    generator = torch.Generator().manual_seed(1)
    return model, params, torch.randn(2, 6, 3, 32, 32, generator=generator), torch.arange(12).view(2, 6) % 10


def relative_difference(ones, others):
    norm = sum((one - other).square().sum() for one, other in zip(ones, others, strict=True)).sqrt()
    return (norm / sum(other.square().sum() for other in others).sqrt()).item()


def gradient_of(model, params, images, labels):
    into = [torch.zeros_like(value) for value in params.values()]
    gradients.Autograd(model)(params, images, labels, into, 0.0)
    return into


def test_products_in_bfloat16_leave_a_gradient_of_32_bits_that_is_close(monkeypatch):
    case = convolutional_case()
    exact = gradient_of(*case)
    monkeypatch.setitem(gradients.Autograd.precision, "cpu", torch.bfloat16)
    rough = gradient_of(*case)
    assert all(value.dtype == torch.float32 for value in rough)
    assert 1e-5 < relative_difference(rough, exact) < 0.05


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_s_gradient_is_close_to_the_processor_s():
    model, params, images, labels = convolutional_case()
    exact = gradient_of(model, params, images, labels)
    there = gradient_of(
        model.to("cuda"), {name: value.to("cuda") for name, value in params.items()}, images.cuda(), labels.cuda()
    )
    assert relative_difference([value.cpu() for value in there], exact) < 0.05
