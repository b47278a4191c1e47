"""Gradients of many networks at once, added onto what an optimizer keeps.

A gradient is called with stacked `params`, one batch a network, buffers `into` shaped like the parameters, and a
factor `keep`; it leaves keep · into + ∂loss/∂params in `into`, the loss being each network's mean cross-entropy. With
the momentum as `keep` and the velocity as `into`, a layer's weight gradient is never written anywhere else.
"""

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from mli_utils import models, stacks
from mli_utils.models import Params

threshold_backward = torch.ops.aten.threshold_backward  # of a ReLU at 0: zero where the signal is
Gradient = Callable[[Params, torch.Tensor, torch.Tensor, Sequence[torch.Tensor], float], None]


def of(model: nn.Module) -> Gradient:
    """The gradient of a network's loss: by hand where the network is fully connected, through autograd elsewhere."""
    return ByHand() if isinstance(model, models.FCN) else Autograd(model)


class Autograd:
    """As PyTorch derives it; on a GPU from products in bfloat16, while parameters and sums stay in 32 bits."""

    precision = {"cuda": torch.bfloat16}

    def __init__(self, model: nn.Module):
        self.model = model

    def __call__(self, params, images, labels, into, keep):
        leaves = {name: value.detach().requires_grad_() for name, value in params.items()}
        reduced = self.precision.get(images.device.type)
        with torch.autocast(images.device.type, reduced, enabled=reduced is not None):
            logits = models.logits(self.model, leaves, images).to(images.dtype)
        # The sum over networks, so that each network's gradient is its own.
        loss = cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum") / labels.shape[1]
        for kept, gradient in zip(into, torch.autograd.grad(loss, list(leaves.values())), strict=True):
            kept.mul_(keep).add_(gradient) if keep else kept.copy_(gradient)


class ByHand:
    """Backpropagation through `models.FCN`: three products a layer, in buffers that are reused from step to step.

    Autograd takes twice the time: it writes every weight gradient transposed, and into new memory.
    """

    def __init__(self):
        self.scratch = stacks.Scratch()

    @torch.no_grad()
    def __call__(self, params, images, labels, into, keep):
        into = dict(zip(params, into, strict=True))
        layers = stacks.layers(params)
        signals = [images.flatten(2)]  # what enters each layer, then the logits: (stack, samples, units)
        for i, (weight, bias) in enumerate(layers):
            out = self.scratch(i, weight, *signals[i].shape[:2], weight.shape[1])
            stacks.affine(signals[i], weight, bias, out)
            signals.append(out.relu_() if i < len(layers) - 1 else out)
        errors = _logit_errors(signals.pop(), labels)
        for i in reversed(range(len(layers))):
            weight, bias = f"layers.{i}.weight", f"layers.{i}.bias"
            if i < len(layers) - 1:
                into[weight].baddbmm_(errors.mT, signals[i], beta=keep)
            else:  # the other way round: its bits would depend on the size of the stack, narrow as the logits are
                into[weight].mT.baddbmm_(signals[i].mT, errors, beta=keep)
            if bias in into:
                into[bias].mul_(keep).add_(errors.sum(1)) if keep else torch.sum(errors, 1, out=into[bias])
            if i:
                below = self.scratch(("error", i % 2), errors, *signals[i].shape)
                torch.bmm(errors, params[weight], out=below)
                errors = threshold_backward.grad_input(below, signals[i], 0, grad_input=below)


def _logit_errors(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """∂loss/∂logits, (stack, samples, classes).

    Classes come before samples in memory while they are summed over: along so short a row softmax takes ten times as
    long. It is written out, since the bits of PyTorch's own would depend on the size of the stack.
    """
    errors = logits.mT.contiguous()
    errors.sub_(errors.amax(1, keepdim=True)).exp_()
    errors.div_(errors.sum(1, keepdim=True))
    errors.scatter_add_(1, labels.unsqueeze(1), errors.new_full((1, 1, 1), -1).expand(len(labels), 1, labels.shape[1]))
    return errors.mT.contiguous().div_(labels.shape[1])
