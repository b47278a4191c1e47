"""Fully-connected networks computed many at once, layer by layer, in memory that is used again.

Parameters are stacked: weights (stack, out, in), biases (stack, out). New memory for every product would cost a third
of the time.
"""

import math
from dataclasses import dataclass

import torch

Params = dict[str, torch.Tensor]


class Scratch:
    """Memory by name, as large as it was ever asked for."""

    def __init__(self):
        self.memory = {}

    def __call__(self, name, like: torch.Tensor, *shape: int) -> torch.Tensor:
        """A tensor of this shape, of the kind of `like`; it holds what the last user of the name left in it."""
        size = math.prod(shape)
        if name not in self.memory or len(self.memory[name]) < size:
            self.memory[name] = like.new_empty(size)
        return self.memory[name][:size].view(shape)


@dataclass(frozen=True)
class Line:
    """What the first layer makes of all images at the two ends of a line, which gives what it makes of them between.

    start, end : (samples, units), products of the images and the first weights at θ(0) and θ(T)
    share : (stack,), how much of θ(T) there is in each network's first weights
    """

    start: torch.Tensor
    end: torch.Tensor
    share: torch.Tensor

    def at(self, samples: slice, out: torch.Tensor) -> None:
        """Leave the products of these images in `out` (stack, samples, units)."""
        torch.lerp(self.start[samples], self.end[samples], self.share.view(-1, 1, 1), out=out)


def first_product(params: Params, images: torch.Tensor) -> torch.Tensor:
    """(samples, units): images times the first weights of one network."""
    return images.flatten(1) @ params["layers.0.weight"].mT


def affine(inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, out: torch.Tensor) -> None:
    """Leave a layer's outputs before the ReLU in `out` (stack, samples, units)."""
    if bias is None:
        torch.bmm(inputs, weight.mT, out=out)
    else:
        torch.baddbmm(bias.unsqueeze(1), inputs, weight.mT, out=out)


def layers(params: Params) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
    """Weight and bias of each layer, None where there is no bias."""
    depth = sum(name.endswith("weight") for name in params)
    return [(params[f"layers.{i}.weight"], params.get(f"layers.{i}.bias")) for i in range(depth)]


@torch.no_grad()
def logits(
    params: Params, images: torch.Tensor, scratch: Scratch, samples: slice = slice(None), line: Line | None = None
) -> torch.Tensor:
    """Logits (stack, samples, classes) of some of the images; they stand in `scratch` until its next use.

    Parameters
    ----------
    images : (all samples, channels, height, width)
    line : where to take the first layer's products from; None: they are computed
    """
    inputs = images[samples].flatten(1)
    stack = len(next(iter(params.values())))
    signal = inputs.expand(stack, *inputs.shape)
    of_network = layers(params)
    for i, (weight, bias) in enumerate(of_network):
        out = scratch(("last" if i == len(of_network) - 1 else i % 2), weight, stack, len(inputs), weight.shape[1])
        if i or line is None:
            affine(signal, weight, bias, out)
        else:
            line.at(samples, out)
            if bias is not None:
                out.add_(bias.unsqueeze(1))
        signal = out if i == len(of_network) - 1 else out.relu_()
    return signal
