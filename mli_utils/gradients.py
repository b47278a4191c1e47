"""Gradients of many networks at once, added onto what an optimizer keeps.

A gradient is called with stacked `params`, one batch a network, buffers `into` shaped like the parameters, and a
factor `keep`; it leaves keep · into + ∂loss/∂params in `into`, the loss being each network's mean cross-entropy. With
the momentum as `keep` and the velocity as `into`, a layer's weight gradient is never written anywhere else.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn.functional import cross_entropy, one_hot

from mli_utils import models
from mli_utils.models import Params

threshold_backward = torch.ops.aten.threshold_backward  # of a ReLU at 0: zero where the signal is
Gradient = Callable[[Params, torch.Tensor, torch.Tensor, Sequence[torch.Tensor], float], None]


def of(model: nn.Module) -> Gradient:
    """The gradient of a network's loss: by hand where the network is fully connected, through autograd elsewhere."""
    return ByHand() if isinstance(model, models.FCN) else Autograd(model)


class Autograd:
    """As PyTorch derives it."""

    def __init__(self, model: nn.Module):
        self.model = model

    def __call__(self, params, images, labels, into, keep):
        leaves = {name: value.detach().requires_grad_() for name, value in params.items()}
        logits = models.logits(self.model, leaves, images)
        # The sum over networks, so that each network's gradient is its own.
        loss = cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum") / labels.shape[1]
        for kept, gradient in zip(into, torch.autograd.grad(loss, list(leaves.values())), strict=True):
            kept.mul_(keep).add_(gradient) if keep else kept.copy_(gradient)


class ByHand:
    """Backpropagation through `models.FCN`: three products a layer, in buffers that are reused from step to step.

    Autograd takes twice the time: it writes every weight gradient transposed, and into new memory.
    """

    def __init__(self):
        self.buffers = {}

    @torch.no_grad()
    def __call__(self, params, images, labels, into, keep):
        into = dict(zip(params, into, strict=True))
        depth = sum(name.endswith("weight") for name in params)
        signals = [images.flatten(2)]  # what enters each layer, then the logits: (stack, samples, units)
        for i in range(depth):
            weight, bias = params[f"layers.{i}.weight"], params.get(f"layers.{i}.bias")
            out = self._buffer(i, signals[i], weight.shape[1])
            if bias is None:
                torch.bmm(signals[i], weight.mT, out=out)
            else:
                torch.baddbmm(bias.unsqueeze(1), signals[i], weight.mT, out=out)
            signals.append(out.relu_() if i < depth - 1 else out)
        logits = signals.pop()
        errors = (logits.softmax(-1) - one_hot(labels, logits.shape[-1])) / labels.shape[1]  # ∂loss/∂logits
        for i in reversed(range(depth)):
            weight, bias = f"layers.{i}.weight", f"layers.{i}.bias"
            if i < depth - 1:
                into[weight].baddbmm_(errors.mT, signals[i], beta=keep)
            else:  # the other way round: its bits would depend on the size of the stack, narrow as the logits are
                into[weight].mT.baddbmm_(signals[i].mT, errors, beta=keep)
            if bias in into:
                into[bias].mul_(keep).add_(errors.sum(1)) if keep else torch.sum(errors, 1, out=into[bias])
            if i:
                below = self._buffer(("error", i % 2), errors, params[weight].shape[2])
                torch.bmm(errors, params[weight], out=below)
                errors = threshold_backward.grad_input(below, signals[i], 0, grad_input=below)

    def _buffer(self, name, like: torch.Tensor, units: int) -> torch.Tensor:
        """Memory of one's own for (stack, samples, units), the first two as in `like`."""
        shape = (*like.shape[:2], units)
        size = math.prod(shape)
        if name not in self.buffers or len(self.buffers[name]) < size:
            self.buffers[name] = like.new_empty(size)
        return self.buffers[name][:size].view(shape)
