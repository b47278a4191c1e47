"""Gradients against autograd's, optimizers against torch.optim's."""

import dataclasses

import pytest
import torch

import mli_utils as mli
from mli_utils.core import optimizers
from mli_utils.core.initialization import build, initialize
from mli_utils.core.parameters import stack


def case(bias, depth, samples):
    """A model, three stacked networks of it in float64, and a batch for each."""
    configs = mli.grid(depth=depth, width=24, bias=bias, init_scale=0.9, seed=range(3))
    model = build(configs[0])
    params = stack([initialize(model, config) for config in configs])
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
        loss = torch.nn.functional.cross_entropy(model.logits(leaves, images[run]), labels[run])
        expected.append(torch.autograd.grad(loss, list(leaves.values())))
    for gradient in (optimizers.ByHand(), optimizers.Autograd(model)):
        into = [value.clone() for value in before]
        gradient(params, images, labels, into, keep)
        for old, new, of_runs in zip(before, into, zip(*expected, strict=True), strict=True):
            assert torch.allclose(new, keep * old + torch.stack(of_runs), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_errors_are_the_slope_along_the_logits(smoothing):
    model, params, images, labels = case("all", 3, samples=7)
    answers = torch.nn.functional.one_hot(labels, 10).double() * (1 - smoothing) + smoothing / 10
    expected = (model.logits(params, images).softmax(-1) - answers) / 7
    for gradient in (optimizers.ByHand(smoothing), optimizers.Autograd(model, smoothing)):
        gradient(params, images, labels, [torch.zeros_like(value) for value in params.values()], 0.0)
        assert torch.allclose(gradient.errors, expected, rtol=1e-10, atol=1e-12)


def test_one_s_own_buffers_serve_smaller_and_larger_batches():
    by_hand = optimizers.ByHand()
    for samples in (5, 3, 8):
        model, params, images, labels = case("all", 4, samples)
        mine, theirs = ([torch.zeros_like(value) for value in params.values()] for _ in range(2))
        by_hand(params, images, labels, mine, 0.0)
        optimizers.Autograd(model)(params, images, labels, theirs, 0.0)
        assert all(torch.allclose(one, other, rtol=1e-10) for one, other in zip(mine, theirs, strict=True))


def test_a_factor_of_zero_forgets_what_was_there_even_where_it_is_not_finite():
    model, params, images, labels = case("all", 3, samples=4)
    into = [torch.full_like(value, torch.nan) for value in params.values()]
    for gradient in (optimizers.ByHand(), optimizers.Autograd(model)):
        gradient(params, images, labels, into, 0.0)
        assert all(value.isfinite().all() for value in into)


@pytest.mark.parametrize(("name", "kind"), [("fcn", optimizers.ByHand), ("vgg16", optimizers.Autograd)])
def test_the_gradient_of_a_model(name, kind):
    config = mli.RunConfig(model=name, dataset="digits32" if name == "vgg16" else "digits", width=8)
    assert isinstance(optimizers.gradient_of(build(config)), kind)


def convolutional_case():
    config = mli.RunConfig(model="vgg16", dataset="digits32", width=4)
    model = build(config)
    params = stack([initialize(model, config.replace(seed=seed)) for seed in range(2)])
    generator = torch.Generator().manual_seed(1)
    return model, params, torch.randn(2, 6, 3, 32, 32, generator=generator), torch.arange(12).view(2, 6) % 10


def relative_difference(ones, others):
    norm = sum((one - other).square().sum() for one, other in zip(ones, others, strict=True)).sqrt()
    return (norm / sum(other.square().sum() for other in others).sqrt()).item()


def autograd(model, params, images, labels):
    into = [torch.zeros_like(value) for value in params.values()]
    optimizers.Autograd(model)(params, images, labels, into, 0.0)
    return into


def test_products_in_bfloat16_leave_a_gradient_of_32_bits_that_is_close(monkeypatch):
    case = convolutional_case()
    exact = autograd(*case)
    monkeypatch.setitem(optimizers.Autograd.precision, "cpu", torch.bfloat16)
    rough = autograd(*case)
    assert all(value.dtype == torch.float32 for value in rough)
    assert 1e-5 < relative_difference(rough, exact) < 0.05


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_s_gradient_is_close_to_the_processor_s():
    model, params, images, labels = convolutional_case()
    exact = autograd(model, params, images, labels)
    there = autograd(
        model.to("cuda"), {name: value.to("cuda") for name, value in params.items()}, images.cuda(), labels.cuda()
    )
    assert relative_difference([value.cpu() for value in there], exact) < 0.05


def torch_optimizer(config, params):
    if config.optimizer == "adam":
        return torch.optim.Adam(params, config.lr, weight_decay=config.weight_decay)
    return torch.optim.SGD(params, config.lr, momentum=config.momentum, weight_decay=config.weight_decay)


def given(gradients):
    """Gradients as an optimizer asks for them."""

    def add(into, keep):
        for kept, gradient in zip(into, gradients, strict=True):
            kept.mul_(keep).add_(gradient)

    return add


@pytest.mark.parametrize("longest", [0.0, 3.0])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_optimizers_are_those_of_torch_with_each_run_s_own_settings(optimizer, longest):
    generator = torch.Generator().manual_seed(0)
    configs = [
        mli.RunConfig(optimizer=optimizer, lr=lr, momentum=0.8, weight_decay=decay, clip=longest)
        for lr, decay in [(0.1, 0), (0.02, 0.1), (0.3, 0.01)]
    ]
    shapes = [(3, 4, 5), (3, 6)]
    stacked = {str(i): torch.randn(shape, generator=generator).double() for i, shape in enumerate(shapes)}
    singles = [[value[run].clone() for value in stacked.values()] for run in range(3)]
    ours = optimizers.OPTIMIZERS[optimizer](stacked, configs)
    theirs = [torch_optimizer(config, params) for config, params in zip(configs, singles, strict=True)]
    for _ in range(20):
        gradients = [torch.randn(shape, generator=generator).double() for shape in shapes]
        ours.step(stacked, given(gradients), of_lr=0.5)
        for run, optimizer_of_run in enumerate(theirs):
            for param, gradient in zip(singles[run], gradients, strict=True):
                param.grad = gradient[run].clone()
            if longest:
                torch.nn.utils.clip_grad_norm_(singles[run], longest)
            optimizer_of_run.param_groups[0]["lr"] = configs[run].lr * 0.5
            optimizer_of_run.step()
    for run in range(3):
        for value, single in zip(stacked.values(), singles[run], strict=True):
            assert torch.allclose(value[run], single, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("longest", [0.0, 3.0])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_runs_that_are_kept_go_on_as_before(optimizer, longest):
    configs = [mli.RunConfig(optimizer=optimizer, lr=lr, clip=longest) for lr in (0.1, 0.2, 0.3)]
    all_of_them = {"a": torch.zeros(3, 4, 5)}
    two = {"a": torch.zeros(3, 4, 5)}
    ours, shrinking = (optimizers.OPTIMIZERS[optimizer](params, configs) for params in (all_of_them, two))
    for _ in range(3):
        gradients = [torch.randn(3, 4, 5)]
        ours.step(all_of_them, given(gradients))
        shrinking.step(two, given(gradients))
    shrinking.select([0, 2])
    two = {"a": two["a"][[0, 2]]}
    gradients = [torch.randn(3, 4, 5)]
    ours.step(all_of_them, given(gradients))
    shrinking.step(two, given([gradients[0][[0, 2]]]))
    assert torch.equal(all_of_them["a"][[0, 2]], two["a"])


def test_clipping_is_torch_s_of_each_run():
    gradients = [torch.randn(3, 4, 5), torch.randn(3, 6)]
    gradients[0][2] *= 1e-3
    gradients[1][2] *= 1e-3
    expected = []
    for run in range(3):
        params = [torch.nn.Parameter(torch.zeros_like(gradient[run])) for gradient in gradients]
        for param, gradient in zip(params, gradients, strict=True):
            param.grad = gradient[run].clone()
        torch.nn.utils.clip_grad_norm_(params, 0.5)
        expected.append([param.grad for param in params])
    optimizers.clip(gradients, 0.5)
    for run in range(3):
        for gradient, other in zip(gradients, expected[run], strict=True):
            assert torch.allclose(gradient[run], other)


def known(field):
    """The values of a field that a configuration may have."""
    (found,) = (each.metadata["known"] for each in dataclasses.fields(mli.RunConfig) if each.name == field)
    return list(found)


def test_every_optimizer_of_a_configuration_is_there():
    assert list(optimizers.OPTIMIZERS) == known("optimizer")


def test_schedules_go_from_one_to_their_end():
    assert list(optimizers.SCHEDULES) == known("schedule")
    for name, (half, end) in {"constant": (1, 1), "linear": (0.5, 0), "cosine": (0.5, 0)}.items():
        schedule = optimizers.SCHEDULES[name]
        assert (schedule(0.0), schedule(0.5), schedule(1.0)) == pytest.approx((1, half, end))
