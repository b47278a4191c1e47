"""Optimizers of stacked networks, each with its own learning rate and weight decay along the stack.

They ask for the gradient themselves, as `gradient(into, keep)` (`gradients`), so that it can be added onto what they
keep.
"""

import math
from collections.abc import Callable, Sequence

import torch

from mli_utils.config import RunConfig
from mli_utils.models import Params


class Momentum:
    """SGD with momentum and weight decay, as `torch.optim.SGD`."""

    kept = ("velocity",)  # what a checkpoint holds of it: lists of tensors shaped as the parameters

    def __init__(self, params: Params, configs: Sequence[RunConfig]):
        self.rate, self.decay = _settings(params, configs, "lr", "weight_decay")
        self.decays = bool(self.decay.any())
        self.momentum, self.longest = _shared(configs, "momentum"), _shared(configs, "clip")
        self.steps = 0
        self.velocity = _zeros(params)
        self.gradients = _zeros(params) if self.longest else None

    def step(self, params: Params, gradient: Callable, of_lr: float = 1.0) -> None:
        """Move `params` in place, with `of_lr` times each network's learning rate."""
        self.steps += 1
        if self.longest:
            gradient(self.gradients, 0.0)
            clip(self.gradients, self.longest)
            for velocity, clipped in zip(self.velocity, self.gradients, strict=True):
                velocity.mul_(self.momentum).add_(clipped)
        else:
            gradient(self.velocity, self.momentum)
        for value, velocity in zip(params.values(), self.velocity, strict=True):
            if self.decays:
                velocity.addcmul_(value, _along(self.decay, value))
            value.addcmul_(velocity, _along(self.rate, value), value=-of_lr)

    def keep(self, runs: list[int]) -> None:
        """Go on with these runs of the stack only."""
        self.rate, self.decay = self.rate[runs], self.decay[runs]
        self.velocity = [velocity[runs] for velocity in self.velocity]
        self.gradients = self.gradients and [gradient[: len(runs)] for gradient in self.gradients]


class Adam:
    """Adam with weight decay added to the gradient, as `torch.optim.Adam`."""

    betas, epsilon = (0.9, 0.999), 1e-8
    kept = ("means", "squares")

    def __init__(self, params: Params, configs: Sequence[RunConfig]):
        self.rate, self.decay = _settings(params, configs, "lr", "weight_decay")
        self.decays = bool(self.decay.any())
        self.longest = _shared(configs, "clip")
        self.gradients, self.means, self.squares = _zeros(params), _zeros(params), _zeros(params)
        self.steps = 0

    def step(self, params: Params, gradient: Callable, of_lr: float = 1.0) -> None:
        """Move `params` in place, with `of_lr` times each network's learning rate."""
        gradient(self.gradients, 0.0)
        if self.longest:
            clip(self.gradients, self.longest)
        self.steps += 1
        unbias_mean, unbias_square = (1 - beta**self.steps for beta in self.betas)
        for value, slope, mean, square in zip(params.values(), self.gradients, self.means, self.squares, strict=True):
            if self.decays:
                slope.addcmul_(value, _along(self.decay, value))
            mean.lerp_(slope, 1 - self.betas[0])
            square.mul_(self.betas[1]).addcmul_(slope, slope, value=1 - self.betas[1])
            scale = (square / unbias_square).sqrt_().add_(self.epsilon)
            value.addcdiv_(mean * _along(self.rate, value), scale, value=-of_lr / unbias_mean)

    def keep(self, runs: list[int]) -> None:
        """Go on with these runs of the stack only."""
        self.rate, self.decay = self.rate[runs], self.decay[runs]
        self.means = [mean[runs] for mean in self.means]
        self.squares = [square[runs] for square in self.squares]
        self.gradients = [gradient[: len(runs)] for gradient in self.gradients]


OPTIMIZERS = {"sgd": Momentum, "adam": Adam}

# What the learning rate is multiplied by, at a share of the way through training.
SCHEDULES = {
    "constant": lambda done: 1.0,
    "linear": lambda done: 1 - done,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
}


def clip(gradients: Sequence[torch.Tensor], longest: float) -> None:
    """Scale each network's whole gradient down to the norm `longest` where it is longer, as `clip_grad_norm_`."""
    norms = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients]).norm(dim=0)
    scale = (longest / (norms + 1e-6)).clamp(max=1)
    for gradient in gradients:
        gradient.mul_(_along(scale, gradient))


def _settings(params: Params, configs: Sequence[RunConfig], *names: str) -> list[torch.Tensor]:
    like = next(iter(params.values()))
    return [like.new_tensor([getattr(config, name) for config in configs]) for name in names]


def _shared(configs: Sequence[RunConfig], name: str) -> float:
    (value,) = {getattr(config, name) for config in configs}
    return value


def _zeros(params: Params) -> list[torch.Tensor]:
    return [torch.zeros_like(value) for value in params.values()]


def _along(setting: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """A setting (stack,) in the shape that multiplies `value` (stack, …)."""
    return setting.view(-1, *[1] * (value.ndim - 1))
