"""Networks, their initialization, and the groups their parameters move in.

A network's `forward` also takes stacked parameters: with a leading dimension `stack` on every parameter, one call
evaluates many networks (other seeds, or other points on a path) through batched products.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.func import functional_call

from mli_utils import metrics
from mli_utils.config import DATASETS, InputError, RunConfig

VERSION = 1  # raise when the same config comes to give another θ(0)
SAMPLES_AT_ONCE = 1000  # of an evaluation; a constant, so that results do not depend on the stack

GROUPS = ("weights", "hidden_biases", "output_bias", "normalization")

Params = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Group:
    """Where a parameter belongs: its group's name, and the number of weight layers up to and including its own."""

    name: str
    layer: int


class StackedLinear(nn.Linear):
    """`nn.Linear` whose weight (stack, out, in) and bias (stack, out) may carry a leading stack dimension."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.weight.ndim == 2:
            return super().forward(inputs)
        inputs = inputs.expand(len(self.weight), *inputs.shape[-2:])
        if self.bias is None:
            return torch.bmm(inputs, self.weight.mT)
        return torch.baddbmm(self.bias.unsqueeze(1), inputs, self.weight.mT)


class FCN(nn.Module):
    """A fully-connected ReLU network of `depth` weight layers.

    Takes images (…, channels, height, width), returns logits (…, classes). Without biases, or with an output bias of
    zero, the logits are homogeneous in the parameters: z(cθ) = c^depth z(θ) for c ≥ 0.
    """

    def __init__(self, features: int, classes: int, depth: int, width: int, bias: str):
        super().__init__()
        sizes = [features, *[width] * (depth - 1), classes]
        self.layers = nn.ModuleList(
            StackedLinear(sizes[i], sizes[i + 1], bias=bias == "all" or (bias == "output" and i == depth - 1))
            for i in range(depth)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        hidden = images.flatten(-3)
        for layer in self.layers[:-1]:
            hidden = layer(hidden).relu_()
        return self.layers[-1](hidden)


@contextmanager
def flushed_subnormals() -> Iterator[None]:
    """Compute with subnormal numbers taken as zero, and leave the processor as it was found.

    Deep small-scale networks pass through them, and dead units' momentum decays into them, at three times the time.
    """
    smallest = 5e-324
    flushed_before = smallest * 1.0 == 0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(flushed_before)


def build(config: RunConfig) -> nn.Module:
    """The network of a run, at its initialization θ(0)."""
    spec = DATASETS[config.dataset]
    with torch.random.fork_rng(devices=[]):  # PyTorch's own draws are thrown away; the global generator stays as it was
        model = FCN(math.prod(spec.shape), spec.classes, config.depth, config.width, config.bias)
    model.load_state_dict(initialize(model, config))
    return model


def initialize(model: nn.Module, config: RunConfig) -> Params:
    """θ(0): Kaiming-normal weights times `init_scale` (variance 2 scale² / fan-in), biases zero.

    Every weight is drawn on the CPU from the run's own generator, in the order of `named_parameters`, so runs that
    differ only in their biases, learning rate or device start from the same weights.
    """
    generator = torch.Generator().manual_seed(stream(config.seed, "initialization"))
    start = {}
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            spread = config.init_scale * math.sqrt(2 / parameter[0].numel())
            start[name] = spread * torch.randn(parameter.shape, generator=generator)
        else:
            start[name] = torch.zeros(parameter.shape)
    return start


def stream(seed: int, purpose: str) -> int:
    """A generator seed for one purpose of a run, unrelated to its seeds for other purposes."""
    import numpy as np

    return int(np.random.SeedSequence([seed, *purpose.encode()]).generate_state(1, np.uint64)[0] >> 1)


def parameter_groups(model: nn.Module) -> dict[str, Group]:
    """The group and layer of every parameter, by name."""
    layers = [(name, module) for name, module in model.named_modules() if hasattr(module, "weight")]
    groups = {}
    for layer, (name, module) in enumerate(layers, start=1):
        groups[f"{name}.weight"] = Group("weights", layer)
        if module.bias is not None:
            groups[f"{name}.bias"] = Group("output_bias" if layer == len(layers) else "hidden_biases", layer)
    return groups


def output_bias(params: Params) -> torch.Tensor | None:
    """The bias on the logits, (classes,), or None where the network has none."""
    last = list(params)[-1]
    return params[last] if last.endswith("bias") else None


def stack(many: list[Params]) -> Params:
    """Parameters of equal shapes, stacked along a new leading dimension."""
    return {name: torch.stack([params[name] for params in many]) for name in many[0]}


def logits(model: nn.Module, params: Params, images: torch.Tensor) -> torch.Tensor:
    """Logits at `params`: (samples, classes), or (stack, samples, classes) at stacked parameters.

    Raises
    ------
    InputError
        Names in `params` that are not the network's own, or some of its own missing.
    """
    own = dict(model.named_parameters())
    if params.keys() != own.keys():
        wrong = ", ".join(sorted(params.keys() ^ own.keys()))
        raise InputError(f"parameters do not fit the network: {wrong}; its own: {', '.join(own)}")
    return functional_call(model, params, (images,))


@torch.no_grad()
def evaluate(model: nn.Module, params: Params, images: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
    """Loss and errors over all images, at stacked parameters, in float32.

    Returns
    -------
    dict of `loss` (stack,) float64, the mean cross-entropy in nats; `wrong` and `predicted` (stack, classes)
    integers, how many images of each class are misclassified and how many are predicted as each class.
    Where the loss is not finite the counts mean nothing.
    """
    total = None
    for part, answers in zip(images.split(SAMPLES_AT_ONCE), labels.split(SAMPLES_AT_ONCE), strict=True):
        sums = metrics.anatomy(logits(model, params, part), answers)
        total = sums if total is None else {name: total[name] + sums[name] for name in sums}
    return {**total, "loss": total["loss"] / len(labels)}
