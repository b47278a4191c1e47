"""Any `torch.nn.Module`: samples to evaluate it on, its outputs at other parameters, sums over all samples.

Modules are called through `torch.func.functional_call`, so their own parameters and buffers stay as they are.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.func import functional_call
from torch.utils import data as loading

from mli_utils.core.config import InputError
from mli_utils.core.data import ImageSet
from mli_utils.core.evaluation import batch_norms, plain_float32, sum_metrics, watching
from mli_utils.core.parameters import Params, Use, use_of

LOSSES = ("cross_entropy", "mse")
SAMPLERS = (loading.SequentialSampler, loading.SubsetRandomSampler, loading.RandomSampler)
WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
BATCH_BYTES = 2**30  # most for the largest layer's outputs, where batch norm needs all samples at once
Loss = str | Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Batch = tuple[dict, torch.Tensor]  # inputs by name, or by position where a module takes no names; targets (samples, …)


class Widened(UserWarning):
    """Numbers of another precision are brought to float32."""


def as_float32(values: Mapping[Any, torch.Tensor], what: str) -> dict:
    """Return floating tensors as float32, warning of other precisions; InputError if one is complex or not finite."""
    for name, value in values.items():
        if value.is_complex() or value.is_quantized:
            raise InputError(f"{what}: {name} is {value.dtype}; allowed: real floating-point numbers")
        if value.is_floating_point() and not value.isfinite().all():
            raise InputError(f"{what}: {name} is not finite; allowed: finite numbers")
    floating = {name: value.float() for name, value in values.items() if value.is_floating_point()}
    if others := {str(values[name].dtype).removeprefix("torch.") for name in floating} - {"float32"}:
        warnings.warn(f"{what}: {', '.join(sorted(others))} is brought to float32", Widened, stacklevel=2)
    return {**values, **floating}


# ── Samples ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_samples(given: Any, batch_size: int, device: str = "cpu", what: str = "data") -> list[Batch]:
    """Read every sample once into memory, in batches.

    Parameters
    ----------
    given : a DataLoader or Dataset of (inputs, targets) or of mappings with `labels`; or (inputs, targets), arrays or
        tensors; inputs may be a mapping or a tuple of these
    batch_size : samples at once, except where batches differ in shape, as padded sequences do
    what : its name in messages

    Raises
    ------
    InputError
        Other kinds; samplers that repeat or leave out samples; no samples; numbers of samples that differ; inputs that
        are not finite.
    """
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        raise InputError(f"batch_size={batch_size!r} is not allowed; allowed: whole numbers from 1 up")
    if isinstance(given, ImageSet):
        given = (given.images, given.labels)
    if isinstance(given, loading.Dataset):
        given = loading.DataLoader(given, batch_size)
    if isinstance(given, loading.DataLoader):
        _check_loader(given, what)
    with torch.random.fork_rng([]):  # a DataLoader draws a seed even where it does not shuffle
        batches = [_batch(some, what) for some in (given if isinstance(given, loading.DataLoader) else [given])]
    if not batches or not len(batches[0][1]):
        raise InputError(f"{what} has no samples; allowed: at least one")
    if any(list(inputs) != list(batches[0][0]) for inputs, _ in batches):
        raise InputError(f"{what}: batches name their inputs differently; allowed: the same names in every batch")
    batches = [({name: value.to(device) for name, value in inputs.items()}, to.to(device)) for inputs, to in batches]
    return batched(batches, batch_size)


def batched(batches: list[Batch], size: int) -> list[Batch]:
    """Return the samples in batches of another size; the same batches where these differ in shape."""
    names = list(batches[0][0])
    columns = list(zip(*[(*inputs.values(), targets) for inputs, targets in batches], strict=True))
    if any(some[0].shape[1:] != value.shape[1:] for some in columns for value in some):
        return batches
    whole = [some[0] if len(some) == 1 else torch.cat(some) for some in columns]
    parts = zip(*(value.split(size) for value in whole), strict=True)
    return [(dict(zip(names, part, strict=False)), part[-1]) for part in parts]


def _check_loader(loader: loading.DataLoader, what: str) -> None:
    """Raise InputError for a DataLoader that does not give every sample once."""
    if loader.drop_last or getattr(loader.batch_sampler, "drop_last", False):
        raise InputError(f"{what}: the loader has drop_last=True; allowed: drop_last=False, so that no sample is lost")
    if isinstance(loader.dataset, loading.IterableDataset):
        return
    sampler = loader.batch_sampler
    if type(sampler) in (loading.BatchSampler, type(None)):
        sampler = getattr(sampler, "sampler", loader.sampler)
    draws = type(sampler) is loading.RandomSampler and (
        sampler.replacement or sampler.num_samples != len(sampler.data_source)
    )
    if draws or type(sampler) not in SAMPLERS:
        raise InputError(
            f"{what}: {type(sampler).__name__} may repeat or leave out samples; allowed: a loader with shuffle=True or "
            "False, without replacement, or its Dataset"
        )


def _batch(given: Any, what: str) -> Batch:
    """Return one batch as inputs by name or position, and targets."""
    if isinstance(given, Mapping) and "labels" in given:
        given = ({name: value for name, value in given.items() if name != "labels"}, given["labels"])
    if not (isinstance(given, (tuple, list)) and len(given) == 2):
        kinds = "a DataLoader, a Dataset, (inputs, targets), or mappings with 'labels'"
        raise InputError(f"{what} is {_said(given)}; allowed: {kinds}")
    given, labels = given
    collated = isinstance(given, list) and any(isinstance(one, torch.Tensor) for one in given)  # a loader's tuple
    several = collated or isinstance(given, tuple)
    named = given if isinstance(given, Mapping) else dict(enumerate(given if several else [given]))
    inputs = as_float32({name: _tensor(value, f"{what}: inputs") for name, value in named.items()}, f"{what}: inputs")
    targets = as_float32({"targets": _tensor(labels, f"{what}: targets")}, what)["targets"]
    sizes = {len(value) if value.ndim else 0 for value in (*inputs.values(), targets)}
    if len(sizes) > 1 or not inputs:
        raise InputError(f"{what}: {sorted(sizes)} samples; allowed: as many targets as inputs, along their first axis")
    return inputs, targets


def _tensor(value: Any, what: str) -> torch.Tensor:
    if isinstance(value, np.ndarray) and value.dtype != object:
        value = torch.from_numpy(value)
    if not isinstance(value, torch.Tensor):
        raise InputError(f"{what} are {_said(value)}; allowed: tensors or arrays of numbers")
    return value.detach()


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its kind without one."""
    return (str(error).splitlines() or [type(error).__name__])[0]


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
    """Return the outputs (samples, …) at these parameters and buffers, float32; InputError if they are no logits."""
    named = any(isinstance(name, str) for name in inputs)
    found = functional_call(model, tensors, () if named else tuple(inputs.values()), inputs if named else {})
    found = found.get("logits") if isinstance(found, Mapping) else getattr(found, "logits", found)
    if not isinstance(found, torch.Tensor):
        said = "a mapping without logits" if found is None else _said(found)
        raise InputError(f"the model returns {said}; allowed: logits, or an object or mapping with logits")
    return found.float()


@dataclass(frozen=True)
class Pass:
    """A forward pass: where it uses parameters, batch norms in order, bytes a sample in its largest layer, result."""

    use: Use
    norms: list[str]
    bytes: int
    outputs: torch.Tensor


def trace(model: nn.Module, tensors: Params, batch: Batch) -> Pass:
    """Call the module on two samples, in evaluation mode, and note where it uses what; InputError if it raises."""
    called: list[tuple[str, int]] = []

    def note(name, module, arguments, output):
        sized = isinstance(output, torch.Tensor) and output.ndim
        called.append((name, output.nbytes // max(1, len(output)) if sized else 1))

    own, norms = dict(model.named_parameters()), batch_norms(model)
    params = {name: value.detach().requires_grad_() for name, value in tensors.items() if name in own}
    leaves = {name: value[:2].clone() for name, value in batch[0].items()}
    leaves = {name: value.requires_grad_() if value.is_floating_point() else value for name, value in leaves.items()}
    try:
        with (
            torch.enable_grad(),
            watching([module.register_forward_hook(partial(note, name)) for name, module in model.named_modules()]),
        ):
            outputs = outputs_of(model, {**tensors, **params}, leaves)
    except InputError:
        raise
    except Exception as error:  # a module raises of any kind, AssertionError and KeyError among them
        raise InputError(f"the model does not take inputs as given in data: {first_line(error)}") from error
    if outputs.ndim < 1 or len(outputs) != len(batch[1][:2]):
        raise InputError(f"the model returns {tuple(outputs.shape)}; allowed: one row a sample, along the first axis")
    passed = [name for name, _ in called if name in norms]
    return Pass(use_of(params, leaves.values(), outputs), passed, max(size for _, size in called), outputs.detach())


# ── Batch norm ──────────────────────────────────────────────────────────────────────────────────────────────────────


class _Reached(Exception):
    """A forward pass has reached the batch norm whose inputs it was for."""


def normalise(model: nn.Module, tensors: Params, norms: Sequence[str], batches: Sequence[Batch]) -> list[torch.Tensor]:
    """Write mean and variance of every batch norm's inputs over all samples into `tensors`.

    One batch takes one pass, whose outputs are returned. More take a pass for each batch norm, up to it, with those
    before it as they have been found: statistics of batches would differ from those of the set.
    """
    kinds = [f"{name}.{kind}" for name in norms for kind in ("running_mean", "running_var")]
    tensors |= {kind: torch.empty_like(tensors[kind]) for kind in kinds}
    outputs, seen = [], list[tuple]()

    def note(module, arguments):
        values = arguments[0]
        spread, mean = torch.var_mean(values, [axis for axis in range(values.ndim) if axis != 1], correction=0)
        seen.append((values.numel() / values.shape[1], mean.double(), spread.double()))
        if len(seen) == len(batches):  # the sum of squares does not cancel in float64
            total = sum(n for n, _, _ in seen)
            whole = sum(n * mean for n, mean, _ in seen) / total
            module.running_mean.copy_(whole)
            module.running_var.copy_(sum(n * (spread + (mean - whole).square()) for n, mean, spread in seen) / total)
            seen.clear()
        if len(batches) > 1:
            raise _Reached

    for some in [norms] if len(batches) == 1 else [[name] for name in norms]:
        with watching([model.get_submodule(name).register_forward_pre_hook(note) for name in some]):
            for inputs, _ in batches:
                with suppress(_Reached):
                    outputs.append(outputs_of(model, tensors, inputs))
    return outputs


# ── Sums over samples ───────────────────────────────────────────────────────────────────────────────────────────────


def check_targets(batches: Sequence[Batch], outputs: torch.Tensor, loss: Loss) -> int | None:
    """Return the number of classes, None for other losses than cross-entropy; InputError if the loss does not fit."""
    if loss != "cross_entropy":
        if loss not in LOSSES and not callable(loss):
            raise InputError(f"loss={loss!r} is not allowed; allowed: {', '.join(LOSSES)}, or loss(outputs, targets)")
        each_loss(outputs, batches[0][1][: len(outputs)], loss)
        return None
    if outputs.ndim != 2:
        raise InputError(f"the model returns {tuple(outputs.shape)}; allowed: (samples, classes) for cross_entropy")
    classes = outputs.shape[1]
    for _, labels in batches:
        if labels.dtype not in WHOLE or labels.ndim != 1:
            said = f"{str(labels.dtype).removeprefix('torch.')} of shape {tuple(labels.shape)}"
            raise InputError(f"data: targets are {said}; allowed: (samples,) whole numbers for cross_entropy")
        low, high = labels.min().item(), labels.max().item()
        if low < 0 or high >= classes:
            raise InputError(f"data: labels go from {low} to {high}; allowed: from 0 to {classes - 1}, the classes")
    return classes


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
    return (outputs - targets).square().reshape(len(outputs), -1).mean(1)


def sums(outputs: torch.Tensor, targets: torch.Tensor, loss: Loss) -> dict[str, torch.Tensor]:
    """Return `evaluation.sum_metrics` of one network, or the summed `loss` (1,) alone."""
    if loss == "cross_entropy":
        return sum_metrics(outputs.unsqueeze(0), targets.long())
    return {"loss": each_loss(outputs, targets, loss).sum(dtype=torch.float64).view(1)}
