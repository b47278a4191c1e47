"""Any `torch.nn.Module`: samples to evaluate it on, its outputs at other parameters, sums over all samples.

Modules are called through `torch.func.functional_call`, so their own parameters and buffers stay as they are.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils import data as loading

from mli_utils.core.config import InputError
from mli_utils.core.data import ImageSet
from mli_utils.core.evaluation import plain_float32, sum_metrics
from mli_utils.core.parameters import Params, Use, use_of

LOSSES = ("cross_entropy", "mse")
SAMPLERS = (loading.SequentialSampler, loading.SubsetRandomSampler, loading.RandomSampler)
BATCH_BYTES = 2**30  # most for the largest layer's outputs, where batch norm needs all samples at once
Loss = str | Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Widened(UserWarning):
    """Numbers of another precision are brought to float32."""


def as_float32(values: Mapping[str, torch.Tensor], what: str) -> Params:
    """Return floating tensors as float32, warning of other precisions; InputError if one is complex or not finite."""
    if odd := [name for name, value in values.items() if value.is_complex() or value.is_quantized]:
        raise InputError(f"{what}: {odd[0]} is {values[odd[0]].dtype}; allowed: real floating-point numbers")
    kinds = {str(value.dtype).removeprefix("torch.") for value in values.values() if value.is_floating_point()}
    if others := sorted(kinds - {"float32"}):
        warnings.warn(f"{what}: {', '.join(others)} is brought to float32", Widened, stacklevel=2)
    found = {name: value.float() if value.is_floating_point() else value for name, value in values.items()}
    for name, value in found.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise InputError(f"{what}: {name} is not finite; allowed: finite numbers")
    return found


# ── Samples ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Samples:
    """Samples in batches.

    batches : inputs, by name for a module that takes names and by position otherwise, each (samples, …), and targets
        (samples, …)
    """

    batches: list[tuple[dict, torch.Tensor]]

    def __len__(self) -> int:
        return sum(len(targets) for _, targets in self.batches)

    def to(self, device: str | torch.device) -> "Samples":
        """Return the samples on a device."""
        return Samples([(each(inputs, lambda value: value.to(device)), y.to(device)) for inputs, y in self.batches])

    def first(self, n: int) -> tuple[dict, torch.Tensor]:
        """Return at most n samples of the first batch."""
        inputs, targets = self.batches[0]
        return each(inputs, lambda value: value[:n]), targets[:n]

    def batched(self, size: int) -> "Samples":
        """Return the samples in batches of another size; the same batches where these differ in shape."""
        inputs, targets = self.batches[0]
        try:
            whole = {name: torch.cat([some[name] for some, _ in self.batches]) for name in inputs}
            targets = torch.cat([some for _, some in self.batches])
        except RuntimeError:  # sequences padded by batch
            return self
        parts = zip(*(value.split(size) for value in (*whole.values(), targets)), strict=True)
        return Samples([(dict(zip(whole, part, strict=False)), part[-1]) for part in parts])


def each(inputs: dict, change: Callable[[torch.Tensor], torch.Tensor]) -> dict:
    return {name: change(value) for name, value in inputs.items()}


def read_samples(given: Any, batch_size: int, what: str = "data") -> Samples:
    """Read every sample once into memory.

    Parameters
    ----------
    given : a DataLoader or Dataset of (inputs, targets) or of mappings with `labels`; or (inputs, targets), arrays or
        tensors; inputs may be a mapping or a tuple of these
    batch_size : samples at once
    what : its name in messages

    Raises
    ------
    InputError
        Other kinds; samplers that repeat or leave out samples; no samples; numbers of samples that differ; inputs that
        are not finite.
    """
    if isinstance(given, ImageSet):
        given = (given.images, given.labels)
    if isinstance(given, loading.Dataset):
        given = loading.DataLoader(given, batch_size)
    if isinstance(given, loading.DataLoader):
        _check_loader(given, what)
        batches = [_batch(batch, what) for batch in given]
    else:
        batches = [_batch(given, what)]
    if not batches or not len(batches[0][1]):
        raise InputError(f"{what} has no samples; allowed: at least one")
    names = list(batches[0][0])
    if any(list(inputs) != names for inputs, _ in batches):
        raise InputError(f"{what}: batches name their inputs differently; allowed: the same names in every batch")
    return Samples(batches).batched(batch_size)


def _check_loader(loader: loading.DataLoader, what: str) -> None:
    """Raise InputError for a DataLoader that does not give every sample once."""
    if loader.drop_last or getattr(loader.batch_sampler, "drop_last", False):
        raise InputError(f"{what}: the loader has drop_last=True; allowed: drop_last=False, so that no sample is lost")
    if isinstance(loader.dataset, loading.IterableDataset):
        return
    known = type(loader.batch_sampler) in (loading.BatchSampler, type(None)) and type(loader.sampler) in SAMPLERS
    if not known or getattr(loader.sampler, "replacement", False):
        odd = loader.sampler if type(loader.batch_sampler) is loading.BatchSampler else loader.batch_sampler
        raise InputError(
            f"{what}: {type(odd).__name__} may repeat or leave out samples; allowed: a loader with shuffle=True or "
            "False, without replacement, or its Dataset"
        )


def _batch(given: Any, what: str) -> tuple[dict, torch.Tensor]:
    """Return one batch as inputs by name or position, and targets."""
    if isinstance(given, Mapping) and "labels" in given:
        given = ({name: value for name, value in given.items() if name != "labels"}, given["labels"])
    if not (isinstance(given, (tuple, list)) and len(given) == 2):
        raise InputError(
            f"{what} is {_said(given)}; allowed: a DataLoader, a Dataset, (inputs, targets), or mappings with 'labels'"
        )
    given, labels = given
    named = given if isinstance(given, Mapping) else dict(enumerate(given if isinstance(given, tuple) else [given]))
    inputs = {name: _tensor(value, f"{what}: inputs") for name, value in named.items()}
    targets = as_float32({"targets": _tensor(labels, f"{what}: targets")}, what)["targets"]
    sizes = {len(value) if value.ndim else 0 for value in (*inputs.values(), targets)}
    if len(sizes) > 1 or not inputs:
        raise InputError(f"{what}: {sorted(sizes)} samples; allowed: as many targets as inputs, along their first axis")
    floating = as_float32({str(name): value for name, value in inputs.items()}, f"{what}: inputs")
    return dict(zip(inputs, floating.values(), strict=True)), targets


def _tensor(value: Any, what: str) -> torch.Tensor:
    if isinstance(value, np.ndarray) and value.dtype != object:
        value = torch.from_numpy(value)
    if not isinstance(value, torch.Tensor):
        raise InputError(f"{what} are {_said(value)}; allowed: tensors or arrays of numbers")
    return value.detach()


def _said(value: Any) -> str:
    length = f" of length {len(value)}" if isinstance(value, (tuple, list)) else ""
    return f"a {type(value).__name__}{length}"


# ── Outputs ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluate a module: dropout off, no gradients, `plain_float32`; restore the mode of each of its parts on exit."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad(), plain_float32():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def outputs_of(model: nn.Module, tensors: Params, inputs: dict) -> torch.Tensor:
    """Return the outputs (samples, …) at these parameters and buffers, float32.

    Raises
    ------
    InputError
        The module returns neither a tensor nor something with `logits`.
    """
    named = any(isinstance(name, str) for name in inputs)
    found = functional_call(model, tensors, () if named else tuple(inputs.values()), inputs if named else {})
    found = found.get("logits") if isinstance(found, Mapping) else getattr(found, "logits", found)
    if not isinstance(found, torch.Tensor):
        said = _said(found) if found is not None else "a mapping without logits"
        raise InputError(f"the model returns {said}; allowed: logits, or an object or mapping with logits")
    return found.float()


@dataclass(frozen=True)
class Pass:
    """A forward pass: where it uses parameters, its batch norms in order, bytes a sample of its largest layer."""

    use: Use
    norms: list[str]
    bytes: int
    outputs: torch.Tensor


def trace(model: nn.Module, tensors: Params, inputs: dict) -> Pass:
    """Call the module on a few samples, in evaluation mode, and note where it uses what.

    Raises
    ------
    InputError
        The module does not take the inputs.
    """
    called: list[str] = []
    largest = [1]

    def note(name):
        def hook(module, arguments, output):
            called.append(name)
            if isinstance(output, torch.Tensor) and output.ndim:
                largest.append(output.nbytes // max(1, len(output)))

        return hook

    own = dict(model.named_parameters())
    params = {name: value.detach().clone().requires_grad_() for name, value in tensors.items() if name in own}
    leaves = each(inputs, lambda value: value.clone().requires_grad_() if value.is_floating_point() else value)
    hooks = [module.register_forward_hook(note(name)) for name, module in model.named_modules()]
    try:
        with torch.enable_grad():
            outputs = outputs_of(model, {**tensors, **params}, leaves)
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"the model does not take inputs as given in data: {said}") from error
    finally:
        for hook in hooks:
            hook.remove()
    if outputs.ndim < 1 or len(outputs) != len(next(iter(inputs.values()))):
        raise InputError(f"the model returns {tuple(outputs.shape)}; allowed: one row a sample, along the first axis")
    norms = [name for name in called if name in batch_norms(model)]
    return Pass(use_of(params, leaves.values(), outputs), norms, max(largest), outputs.detach())


# ── Batch norm ──────────────────────────────────────────────────────────────────────────────────────────────────────


def batch_norms(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, _BatchNorm)]


class _Reached(Exception):
    """A forward pass has reached the batch norm whose inputs it was for."""


def normalise(model: nn.Module, tensors: Params, norms: Sequence[str], batches: Sequence[tuple]) -> list[torch.Tensor]:
    """Write mean and variance of every batch norm's inputs over all samples into `tensors`.

    One batch takes one pass, whose outputs are returned. More take a pass for each batch norm, up to it, with those
    before it as they have been found: statistics of batches would differ from those of the set.
    """
    tensors |= {
        f"{name}.{kind}": torch.empty_like(tensors[f"{name}.{kind}"])
        for name in norms
        for kind in ("running_mean", "running_var")
    }
    if len(batches) == 1:
        with _watched(model, norms, lambda module, inputs: _set(module, *_moments(inputs)[1:])):
            return [outputs_of(model, tensors, batches[0][0])]
    for name in norms:
        found = (0, torch.zeros(()), torch.zeros(()))

        def merge(module, inputs):
            nonlocal found
            (n, mean, variance), (more, other, spread) = found, _moments(inputs)
            share, gap = more / (n + more), other - mean.to(other)
            variance = variance.to(other) * (1 - share) + spread * share + gap.square() * share * (1 - share)
            found = (n + more, mean.to(other) + gap * share, variance)
            raise _Reached

        with _watched(model, [name], merge):
            for inputs, _ in batches:
                try:
                    outputs_of(model, tensors, inputs)
                except _Reached:
                    continue
        for kind, value in zip(("running_mean", "running_var"), found[1:], strict=True):
            tensors[f"{name}.{kind}"].copy_(value)
    return []


@contextmanager
def _watched(model: nn.Module, names: Sequence[str], hook: Callable) -> Iterator[None]:
    """Call `hook(module, inputs)` before each of these modules."""
    handles = [
        model.get_submodule(name).register_forward_pre_hook(lambda module, inputs: hook(module, inputs[0]))
        for name in names
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _moments(inputs: torch.Tensor) -> tuple[int, torch.Tensor, torch.Tensor]:
    """Return the number of values a channel, their mean and variance, float64."""
    others = [axis for axis in range(inputs.ndim) if axis != 1]
    variance, mean = torch.var_mean(inputs, others, correction=0)
    return inputs.numel() // inputs.shape[1], mean.double(), variance.double()


def _set(module, mean: torch.Tensor, variance: torch.Tensor) -> None:
    module.running_mean.copy_(mean)
    module.running_var.copy_(variance)


# ── Sums over samples ───────────────────────────────────────────────────────────────────────────────────────────────


def check_targets(samples: Samples, outputs: torch.Tensor, loss: Loss) -> int | None:
    """Return the number of classes, None for other losses than cross-entropy.

    Raises
    ------
    InputError
        An unknown loss, or one that does not fit outputs and targets.
    """
    if loss == "cross_entropy":
        if outputs.ndim != 2:
            raise InputError(f"the model returns {tuple(outputs.shape)}; allowed: (samples, classes) for cross_entropy")
        classes = outputs.shape[1]
        for _, labels in samples.batches:
            if labels.dtype not in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8) or labels.ndim != 1:
                said = f"{str(labels.dtype).removeprefix('torch.')} of shape {tuple(labels.shape)}"
                raise InputError(f"data: targets are {said}; allowed: (samples,) whole numbers for cross_entropy")
            low, high = labels.min().item(), labels.max().item()
            if low < 0 or high >= classes:
                raise InputError(f"data: labels go from {low} to {high}; allowed: from 0 to {classes - 1}, the classes")
        return classes
    if isinstance(loss, str) and loss not in LOSSES or not (isinstance(loss, str) or callable(loss)):
        raise InputError(f"loss={loss!r} is not allowed; allowed: {', '.join(LOSSES)}, or loss(outputs, targets)")
    each_loss(outputs, samples.first(len(outputs))[1], loss)
    return None


def each_loss(outputs: torch.Tensor, targets: torch.Tensor, loss: Loss) -> torch.Tensor:
    """Return the loss of each sample, (samples,); InputError if outputs, targets or a callable's result do not fit."""
    if callable(loss):
        found = loss(outputs, targets)
        shape = tuple(found.shape) if isinstance(found, torch.Tensor) else _said(found)
        if shape != (len(outputs),):
            raise InputError(f"the loss returns {shape}; allowed: ({len(outputs)},), one a sample, as reduction='none'")
        return found
    if outputs.shape != targets.shape:
        raise InputError(f"targets are {tuple(targets.shape)}; allowed for mse: {tuple(outputs.shape)}, as the outputs")
    return (outputs - targets).square().flatten(1).mean(1)


def sums(outputs: torch.Tensor, targets: torch.Tensor, loss: Loss) -> dict[str, torch.Tensor]:
    """Return `evaluation.sum_metrics` of one network, or the summed `loss` (1,) alone."""
    if loss == "cross_entropy":
        return sum_metrics(outputs.unsqueeze(0), targets.long())
    return {"loss": each_loss(outputs, targets, loss).sum(dtype=torch.float64).view(1)}
