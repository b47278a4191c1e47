import pytest
import torch

import mli_utils as mli
from mli_utils import config, optimizers


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
    shrinking.keep([0, 2])
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


def test_schedules_go_from_one_to_their_end():
    assert optimizers.SCHEDULES.keys() == set(config.SCHEDULES)
    for name, (half, end) in {"constant": (1, 1), "linear": (0.5, 0), "cosine": (0.5, 0)}.items():
        schedule = optimizers.SCHEDULES[name]
        assert (schedule(0.0), schedule(0.5), schedule(1.0)) == pytest.approx((1, half, end))
