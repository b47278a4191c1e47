"""Loss, errors and mean logits of networks over image sets, in 32-bit floating point; what batch norm normalises by.

A network at θ(α) needs the means and variances that its batch norms have there. Averages kept through training belong
to θ(T), and a mean over batches is not that of the set. Here the whole set passes the network as one batch.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.func import functional_call

from mli_utils.core.networks import Line, Network, Statistics
from mli_utils.core.parameters import Params, unstack


@contextmanager
def plain_float32() -> Iterator[None]:
    """Compute in 32-bit floating point on every device: subnormal numbers as zero, no TensorFloat-32; then as before.

    Deep small-scale networks pass through subnormal numbers, and dead units' momentum decays into them, at three times
    the time. TensorFloat-32, torch's default for convolutions on GPUs, keeps ten bits; near a plateau ties decide the
    error.
    """
    smallest = 5e-324
    flushed_before, tf32_before = smallest * 1.0 == 0, torch.backends.cudnn.allow_tf32
    torch.set_flush_denormal(True)
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_flush_denormal(flushed_before)
        torch.backends.cudnn.allow_tf32 = tf32_before


def has_batch_norm(model: Network) -> bool:
    return any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


@torch.no_grad()
def whole_set(model: Network, params: Params, images: torch.Tensor) -> torch.Tensor:
    """Logits (samples, classes) of an image set, normalised by its own statistics.

    Holds a few layers' activations of all images at once: 4 · 64 · 32² bytes an image and layer at full width.

    Parameters
    ----------
    params : of one network, by name
    images : (samples, channels, height, width)
    """
    return functional_call(model.train(), params, (model.lay_out(images),))


def statistics_of(model: Network, params: Params, images: torch.Tensor) -> Statistics:
    """What `whole_set` normalises by, which `Network.logits` takes; empty without batch norm."""
    found: Statistics = {}
    if not has_batch_norm(model):
        return found

    def note(name):
        def hook(module, inputs):
            variance, mean = torch.var_mean(inputs[0], (0, 2, 3), correction=0)
            found.update({f"{name}.running_mean": mean, f"{name}.running_var": variance})

        return hook

    norms = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [module.register_forward_pre_hook(note(name)) for name, module in norms]
    try:
        whole_set(model, params, images)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def anatomy(logits: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
    """Sums over samples that add up across batches, so that means are sample means, never means of batch means.

    Parameters
    ----------
    logits : (stack, samples, classes), float32
    labels : (samples,) or (stack, samples), integers

    Returns
    -------
    dict of `loss` (stack,) float64, the summed cross-entropy in nats; `wrong` (stack, classes) integers, the
    samples of each class that are misclassified; `predicted` (stack, classes) integers, how often each class
    is predicted; `logits` (stack, classes) float64, their sums. Of equal largest logits the first class is the
    prediction.
    """
    stack, _, classes = logits.shape
    labels = labels.expand(logits.shape[:2])
    by_class = logits.mT.contiguous()  # so reductions over the few classes run along the many samples
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
    """Loss, errors and mean logits over all images, at stacked parameters, in float32.

    Parameters
    ----------
    statistics : what networks with batch norm normalise by; None: by those of `images` at `params`, exactly
    line : of fully-connected networks, the first layer's products at the ends of a line on which `params` lie

    Returns
    -------
    dict of `loss` (stack,) float64, the mean cross-entropy in nats; `wrong` and `predicted` (stack, classes)
    integers, how many images of each class are misclassified and how many are predicted as each class; `mean_logits`
    (stack, classes) float64.
    Where the loss is not finite the counts mean nothing.
    """
    at_once = model.samples_at_once
    parts = [slice(first, first + at_once) for first in range(0, len(labels), at_once)]
    if statistics is None and has_batch_norm(model):
        whole = [whole_set(model, one, images) for one in unstack(params)]
        outputs = iter(torch.stack(whole).split(at_once, dim=1))
    else:
        outputs = model.outputs(params, images, parts, statistics, line)
    total: dict[str, torch.Tensor] = {}
    for output, part in zip(outputs, parts, strict=True):
        sums = anatomy(output, labels[part])
        total = {name: total[name] + sums[name] for name in sums} if total else sums
    loss, mean = (total.pop(name) / len(labels) for name in ("loss", "logits"))
    return {**total, "loss": loss, "mean_logits": mean}
