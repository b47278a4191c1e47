"""Loss, errors and mean logits over image sets in float32, and batch-norm statistics.

Batch norm at θ(α) needs the mean and variance of its inputs at θ(α). Running averages belong to θ(T), and averages of
batch statistics differ from the statistics of the set. So the whole set passes the network as one batch.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from mli_utils.core.networks import Line, Network, Statistics, set_of_each
from mli_utils.core.parameters import Params, unstack


@contextmanager
def plain_float32() -> Iterator[None]:
    """Compute in float32 on every device, without subnormal or shortened numbers; restore the settings on exit.

    Convolutions on a GPU are the deterministic ones, so that the same machine gives the same bits.

    Subnormal numbers triple the time; they arise in deep small-scale networks and in the momentum of dead units.
    TensorFloat-32, torch's default for convolutions on GPUs, keeps ten bits, and near a plateau rounding decides ties
    and so the error. Products may be shortened alike where a user asked torch for it.
    """
    smallest = 5e-324
    flushed_before = smallest * 1.0 == 0
    precision_before = torch.get_float32_matmul_precision()
    torch.set_flush_denormal(True)
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_flush_denormal(flushed_before)
        torch.set_float32_matmul_precision(precision_before)


@contextmanager
def watching(hooks: Sequence) -> Iterator[None]:
    """Remove these hooks on exit."""
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def batch_norms(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, _BatchNorm)]


@torch.no_grad()
def whole_set(model: Network, params: Params, images: torch.Tensor) -> torch.Tensor:
    """Compute logits (samples, classes) of an image set, batch-normalised by the set's own statistics.

    Holds a few layers' activations of all images at once: 4 · 64 · 32² bytes per image and layer at full width.

    Parameters
    ----------
    params : one network's parameters, by name
    images : (samples, channels, height, width)
    """
    return functional_call(model.train(), params, (model.in_memory_format(images),))


def statistics_of(model: Network, params: Params, images: torch.Tensor) -> Statistics:
    """Return the batch-norm statistics of `whole_set`, for `Network.logits`; empty without batch norm."""
    found: Statistics = {}

    def note(name, module, inputs):
        variance, mean = torch.var_mean(inputs[0], (0, 2, 3), correction=0)
        found.update({f"{name}.running_mean": mean, f"{name}.running_var": variance})

    if norms := batch_norms(model):
        with watching([model.get_submodule(name).register_forward_pre_hook(partial(note, name)) for name in norms]):
            whole_set(model, params, images)
    return found


def sum_metrics(logits: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
    """Sum loss, errors, predictions and logits over samples, so that adding batches gives exact sample means.

    Parameters
    ----------
    logits : (stack, samples, classes), float32
    labels : (samples,) or (stack, samples), integers

    Returns
    -------
    dict of `loss` (stack,) float64, summed cross-entropy in nats; `wrong` (stack, classes) integers, misclassified
    samples of each class; `predicted` (stack, classes) integers, samples predicted as each class; `logits` (stack,
    classes) float64, summed logits. Of equal largest logits the first class is the prediction.
    """
    stack, _, classes = logits.shape
    labels = labels.expand(logits.shape[:2])
    by_class = logits.mT.contiguous()  # so that reductions over the few classes vectorise over samples
    losses = torch.nn.functional.cross_entropy(by_class, labels, reduction="none")
    prediction = by_class.max(1).indices
    offset = classes * torch.arange(stack, device=logits.device).unsqueeze(1)

    def count(of_class, chosen=None):
        cells = of_class + offset
        return torch.bincount((cells if chosen is None else cells[chosen]).flatten(), minlength=stack * classes)

    return {
        "loss": losses.sum(1, dtype=torch.float64),
        "wrong": count(labels, prediction != labels).view(stack, classes),
        "predicted": count(prediction).view(stack, classes),
        "logits": by_class.sum(2, dtype=torch.float64),
    }


@torch.no_grad()
def evaluate(
    model: Network,
    params: Params,
    images: torch.Tensor,
    labels: torch.Tensor,
    statistics: Statistics | None = None,
    line: Line | None = None,
) -> dict[str, torch.Tensor]:
    """Compute loss, errors and mean logits over all images at stacked parameters, in float32.

    Parameters
    ----------
    images, labels : one set for all, or one for each network along a leading dimension
    statistics : batch-norm statistics; None: those of `images` at `params`, exactly
    line : the `Line` of first-layer products of an `FCN`, to save computing them

    Returns
    -------
    dict of `loss` (stack,) float64, mean cross-entropy in nats; `wrong` and `predicted` (stack, classes) integers,
    images of each class that are misclassified and images predicted as each class; `mean_logits` (stack, classes)
    float64. Counts mean nothing where the loss is not finite.
    """
    at_once = model.samples_at_once
    parts = [slice(first, first + at_once) for first in range(0, labels.shape[-1], at_once)]
    if statistics is None and batch_norms(model):
        networks = unstack(params)
        sets = set_of_each(images, len(networks))
        whole = [whole_set(model, one, some) for one, some in zip(networks, sets, strict=True)]
        outputs = iter(torch.stack(whole).split(at_once, dim=1))
    else:
        outputs = model.outputs(params, images, parts, statistics, line)
    total: dict[str, torch.Tensor] = {}
    for output, part in zip(outputs, parts, strict=True):
        sums = sum_metrics(output, labels[..., part])
        total = {name: total[name] + sums[name] for name in sums} if total else sums
    loss, mean = (total.pop(name) / labels.shape[-1] for name in ("loss", "logits"))
    return {**total, "loss": loss, "mean_logits": mean}
