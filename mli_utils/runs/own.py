"""A network of one's own: two checkpoints of any `torch.nn.Module`, walked and diagnosed (section 14)."""

import fnmatch
import math
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from mli_utils.core import theory
from mli_utils.core.config import InputError, choose
from mli_utils.core.curves import STATISTICS, Bias, with_biases
from mli_utils.core.evaluation import anatomy, plain_float32
from mli_utils.core.modules import (
    BATCH_BYTES,
    Loss,
    Pass,
    Samples,
    as_float32,
    check_targets,
    evaluation_mode,
    normalise,
    outputs_of,
    read_samples,
    sums,
    trace,
)
from mli_utils.core.parameters import EMBEDDINGS, GROUPS, Group, Params, mix, parameter_groups
from mli_utils.core.paths import alpha_grid, interpolate_groups, schedules
from mli_utils.core.plateaus import plateau
from mli_utils.runs import settings
from mli_utils.runs.measured import ALONG_CURVES, BY_CLASS, curve_of
from mli_utils.runs.trained import progress, together

WRAPPERS = ("module.", "_orig_mod.")  # prefixes that DataParallel and torch.compile give to names
PICKLED = (".pt", ".pth", ".bin", ".ckpt")
INSIDE = ("state_dict", "model_state_dict", "model")  # where training loops keep a state dict in a checkpoint
MOVING = ("hidden_biases", "output_bias")  # groups whose schedule on the homogeneous path depends on the layer

State = nn.Module | Mapping[str, torch.Tensor] | str | Path


# ── Ends ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_state(given: State, side: str) -> dict[str, torch.Tensor]:
    """Return a state dict from a module, a mapping or a file; files are read without running code from them.

    Raises
    ------
    InputError
        No such file, a file of another kind or with pickled code, or no tensors by name.
    """
    if isinstance(given, (str, Path)):
        given = _read_file(Path(given), side)
    state = given.state_dict() if isinstance(given, nn.Module) else given
    if isinstance(state, Mapping):
        state = next((state[name] for name in INSIDE if isinstance(state.get(name), Mapping)), state)
    if not isinstance(state, Mapping) or not state or not all(isinstance(it, torch.Tensor) for it in state.values()):
        raise InputError(f"{side} is a {type(given).__name__}; allowed: a state dict of tensors, its file, or a module")
    return {_own_name(name): value.detach() for name, value in state.items()}


def _own_name(name: str) -> str:
    while prefix := next((prefix for prefix in WRAPPERS if name.startswith(prefix)), None):
        name = name.removeprefix(prefix)
    return name


def _read_file(path: Path, side: str) -> Any:
    if path.suffix not in (*PICKLED, ".safetensors"):
        raise InputError(f"{side}={path} is not allowed; allowed: files {', '.join(PICKLED)} or .safetensors")
    if not path.is_file():
        raise InputError(f"{side}={path} is no file; allowed: a state dict's file, or the state dict")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{side}={path} holds pickled code, or is damaged; allowed: tensors, as torch.save(model.state_dict(), …)"
        ) from error
    except Exception as error:  # safetensors and zip archives have errors of their own
        raise InputError(f"{side}={path} cannot be read: {str(error).splitlines()[0]}") from error


@dataclass(frozen=True)
class Ends:
    """Parameters and buffers of a module at both ends of a path, on one device and in float32."""

    params: tuple[Params, Params]
    buffers: tuple[Params, Params]

    def state(self, side: int) -> Params:
        return {**self.params[side], **self.buffers[side]}


def read_ends(model: nn.Module, start: State, end: State, recomputed: bool, device: str) -> Ends:
    """Read both ends and fit them to the module.

    Raises
    ------
    InputError
        Missing, unexpected or misshapen names; tied weights or whole-number buffers that differ; equal ends.
    """
    own = {name: value for name, value in model.named_parameters()}
    aliases: dict[str, list[str]] = {name: [] for name in own}
    by_id = {id(value): name for name, value in own.items()}
    for name, value in model.named_parameters(remove_duplicate=False):
        aliases[by_id[id(value)]].append(name)
    buffers, kept = dict(model.named_buffers()), model.state_dict().keys()
    statistics = {f"{name}.running_{kind}" for name in batch_norms(model) for kind in ("mean", "var")}
    sides = []
    for side, given in (("start", start), ("end", end)):
        state, found = read_state(given, side), {}
        for name, others in aliases.items():
            there = [state[other] for other in others if other in state]
            if any(not torch.equal(there[0], other) for other in there[1:]):
                raise InputError(f"{side}: {' and '.join(others)} differ; allowed: equal ones, the model ties them")
            found |= {name: there[0]} if there else {}
        found |= {name: state.get(name, value) for name, value in buffers.items()}
        optional = {name for name, value in buffers.items() if name not in kept or not value.is_floating_point()}
        needed = own.keys() | (buffers.keys() - optional - (statistics if recomputed else set()))
        missing = [name for name in needed if name not in found or (name in buffers and name not in state)]
        extra = [name for name in state if name not in {*model.state_dict(), *buffers}]
        if missing or extra:
            said = [f"{word} {', '.join(sorted(some))}" for word, some in (("lacks", missing), ("has", extra)) if some]
            raise InputError(f"{side} {' and '.join(said)}; needed: the names of the model's state_dict()")
        for name, value in found.items():
            shape = tuple((own | buffers)[name].shape)
            if tuple(value.shape) != shape:
                raise InputError(f"{side}: {name} has the shape {tuple(value.shape)}; allowed: {shape}, the model's own")
            if value.is_meta:
                raise InputError(f"{side}: {name} is on the meta device, without numbers; allowed: tensors with numbers")
        if odd := [name for name in own if not found[name].is_floating_point()]:
            raise InputError(f"{side}: {odd[0]} is {found[odd[0]].dtype}; allowed: real floating-point numbers")
        sides.append(as_float32({name: value.to(device) for name, value in found.items()}, side))
    first, second = sides
    for name in buffers:
        whole = not first[name].is_floating_point() and not name.endswith("num_batches_tracked")
        if whole and not torch.equal(first[name], second[name]):
            raise InputError(f"the buffer {name} differs between start and end; allowed: equal whole numbers")
    if all(torch.equal(first[name], second[name]) for name in own):
        raise InputError("start and end are equal; a state dict shares its tensors with the model that goes on training, "
                         "so keep copy.deepcopy(model.state_dict())")
    return Ends(*(tuple({name: side[name] for name in names} for side in sides) for names in (own, buffers)))


def batch_norms(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, _BatchNorm)]


# ── The walk ────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Walk:
    """A module, its ends and samples, checked and traced."""

    model: nn.Module
    ends: Ends
    samples: Samples
    train: Samples
    loss: Loss
    statistics: str
    groups: dict[str, Group]
    seen: Pass
    classes: int | None
    exact: tuple[Params, Params] | None = field(default=None)  # statistics at the ends over `train`

    @classmethod
    def begin(cls, model, start, end, data, groups, statistics, loss, batch_size, device, train_data) -> "Walk":
        """Check every argument of `interpolate_model` that is not a path or a point.

        Raises
        ------
        InputError
            As `interpolate_model`.
        """
        model = _unwrapped(model)
        choose("statistics", statistics, STATISTICS)
        if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
            raise InputError(f"batch_size={batch_size!r} is not allowed; allowed: whole numbers from 1 up")
        device = _device(device)
        norms = batch_norms(model)
        ends = read_ends(model, start, end, statistics == "recomputed" or train_data is not None, device)
        samples = read_samples(data, batch_size).to(device)
        train = samples if train_data is None else read_samples(train_data, batch_size, "train_data").to(device)
        with evaluation_mode(model):
            seen = trace(model, ends.state(1), samples.first(2)[0])
        classes = check_targets(samples, seen.outputs, loss)
        if norms and (statistics == "recomputed" or train_data is not None):
            _check_norms(model, seen.norms)
            train = train.batched(max(batch_size, BATCH_BYTES // (4 * seen.bytes)))
            samples = train if train_data is None else samples
        found = _overridden(parameter_groups(model, seen.use), groups)
        walk = cls(model, ends, samples, train, loss, statistics, found, seen, classes)
        if norms and statistics != "recomputed" and train_data is not None:
            with evaluation_mode(model), torch.inference_mode(), plain_float32():
                walk.exact = tuple(walk._recomputed(ends.state(side))[0] for side in (0, 1))
        return walk

    def outputs(self, params: Params, alpha: float) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield outputs and targets of all samples, batch by batch, at parameters of a point α."""
        tensors = {**params, **self._buffers(alpha)}
        if self.seen.norms and self.statistics == "recomputed":
            tensors, known = self._recomputed(tensors)
            if known and self.train is self.samples:
                yield known[0], self.samples.batches[0][1]
                return
        for inputs, targets in self.samples.batches:
            yield outputs_of(self.model, tensors, inputs), targets

    def _buffers(self, alpha: float) -> Params:
        """Return the buffers at α: whole numbers as they are, others interpolated; frozen statistics are the end's."""
        ends = [{**buffers, **(self.exact[i] if self.exact else {})} for i, buffers in enumerate(self.ends.buffers)]
        kept = {f"{name}.running_{kind}" for name in self.seen.norms for kind in ("mean", "var")}
        return {
            name: value if not value.is_floating_point() else mix(ends[0][name], value, 1.0 if frozen else alpha)
            for name, value in ends[1].items()
            for frozen in [self.statistics == "frozen" and name in kept]
        }

    def _recomputed(self, tensors: Params) -> tuple[Params, list[torch.Tensor]]:
        tensors = dict(tensors)
        return tensors, normalise(self.model, tensors, self.seen.norms, self.train.batches)

    def measure(self, path, points: np.ndarray, advance: Callable[[], Any]) -> dict[str, np.ndarray]:
        """Measure a path: `evaluation.evaluate`'s dict as arrays, or its loss alone, with `class_counts`."""
        totals = []
        with evaluation_mode(self.model), torch.inference_mode(), plain_float32():
            for alpha in points.tolist():
                there = interpolate_groups(self.groups, *self.ends.params, alpha, path)
                total: dict[str, torch.Tensor] = {}
                for outputs, targets in self.outputs(there, alpha):
                    of_batch = sums(outputs, targets, self.loss)
                    total = {name: total[name] + of_batch[name] for name in of_batch} if total else of_batch
                totals.append(total)
                advance()
        found = {name: torch.cat([total[name] for total in totals]).cpu().numpy() for name in totals[0]}
        found["loss"] = found["loss"] / len(self.samples)
        if self.classes is None:
            wrong = np.full((len(points), 1), np.nan)
            return {**found, "wrong": wrong, "class_counts": np.ones(1)}
        labels = torch.cat([targets for _, targets in self.samples.batches]).long()
        counts = labels.bincount(minlength=self.classes).cpu().numpy()
        return {**found, "mean_logits": found["logits"] / len(self.samples), "class_counts": counts}

    def check_path(self, path) -> None:
        """Raise InputError where a path needs layer numbers that are not well defined."""
        moved = [group for group, schedule in schedules(path).items() if schedule == "homogeneous"]
        for name, group in self.groups.items():
            if group.name in moved and (said := self.why_no_layer(name)):
                raise InputError(f"no homogeneous path: {said}; allowed: other paths, such as 'linear'")

    def why_no_layer(self, name: str) -> str:
        """Say why a parameter has no layer number; empty if it has one."""
        use = self.seen.use
        if isinstance(getattr(self.model, "points_at_once", None), Callable):
            return ""  # a network of the book counts along its main branch
        if name not in use.most:
            return f"the outputs do not depend on {name}"
        low, high = use.fewest[name], use.most[name]
        return "" if low == high else f"{low} or {high} weight layers lie on the ways to {name}"


def _unwrapped(model) -> nn.Module:
    """Return the module inside a compiled or parallel one."""
    if not isinstance(model, nn.Module):
        raise InputError(f"model is a {type(model).__name__}; allowed: a torch.nn.Module")
    while (inside := getattr(model, "_orig_mod", None)) is not None or isinstance(
        model, (nn.DataParallel, nn.parallel.DistributedDataParallel)
    ):
        model = model.module if inside is None else inside
    return model


def _device(asked: str) -> str:
    """Return a device's name: `auto` is the package's own."""
    if asked == "auto":
        return settings.device()
    try:
        return str(torch.empty(0, device=asked).device)
    except (RuntimeError, TypeError, AssertionError, ValueError) as error:
        raise InputError(f"device={asked!r} is not allowed here; allowed: auto, cpu, or a device that torch sees") from error


def _check_norms(model: nn.Module, called: Sequence[str]) -> None:
    """Raise InputError for a batch norm whose statistics cannot be those of the whole set."""
    for name in batch_norms(model):
        module = model.get_submodule(name)
        if module.running_mean is None:
            raise InputError(f"batch norm {name} keeps no statistics; allowed: track_running_stats=True")
        if called.count(name) > 1:
            raise InputError(f"batch norm {name} is used {called.count(name)} times; allowed: statistics='frozen'")


def _overridden(found: dict[str, Group], groups: Mapping[str, str] | None) -> dict[str, Group]:
    """Return the groups with those given by name or pattern."""
    for pattern, group in (groups or {}).items():
        choose("parameter group", group, (*GROUPS, EMBEDDINGS))
        matching = fnmatch.filter(found, pattern)
        if not matching:
            choose("parameter in groups", pattern, found)
        found = found | {name: Group(group, found[name].layer) for name in matching}
    return found


def interpolate_model(
    model: nn.Module,
    start: State,
    end: State,
    data: Any,
    paths: str | dict | Sequence = "linear",
    alphas: int | Sequence[float] = 51,
    *,
    groups: Mapping[str, str] | None = None,
    statistics: str = "recomputed",
    loss: Loss = "cross_entropy",
    batch_size: int = 512,
    device: str = "auto",
    by_class: bool = False,
    train_data: Any = None,
) -> pd.DataFrame:
    """Evaluate any network along paths between two checkpoints.

    Every sample counts once, in float32, with dropout off; the loss is the samples' mean. α = 0 is exactly `start`, α = 1
    exactly `end`. Model and checkpoints stay as they are. Samples are read into memory once.

    Parameters
    ----------
    model : torch.nn.Module
        Network that returns outputs (samples, …), or an object or mapping with `logits`.
    start, end : torch.nn.Module, dict of torch.Tensor, str or pathlib.Path
        θ(0) and θ(T): state dicts, files of them (`.pt`, `.pth`, `.safetensors`, read without running code), or
        modules. Prefixes of DataParallel and torch.compile are stripped; other precisions become float32, with a warning.
    data : DataLoader, Dataset or tuple
        Batches or samples of (inputs, targets), or of mappings with `labels`; or (inputs, targets) as arrays. Inputs
        that are a mapping or tuple become several arguments.
    paths : str, sequence of str or dict
        Names in `core.paths.PATHS`, or {name: {group: schedule}} for custom paths.
    alphas : int or sequence of float
        Number of equally spaced points from 0 to 1, or the points.
    groups : dict, optional
        {name or pattern: group}, to correct the groups that `parameter_table` shows.
    statistics : str
        Batch-norm statistics at α: `recomputed` exactly over `train_data`; `interpolated` between the ends; `frozen` at
        the end's. Those of an end are its checkpoint's, or exact ones over `train_data` if that is given.
    loss : str or callable
        `cross_entropy` (nats), `mse` (mean over each sample's outputs), or `loss(outputs, targets)` → (samples,).
    batch_size : int
        Samples at once; batch norm may take more.
    device : str
        `auto`, a GPU where there is one; or a name that torch knows.
    by_class : bool
        Return one row per class, as `interpolate` does.
    train_data : DataLoader, Dataset or tuple, optional
        What batch-norm statistics are computed over; default: `data`.

    Returns
    -------
    pandas.DataFrame
        `path`, `classes` (NaN for other losses than cross-entropy), `alpha`, `loss`, `error` (fraction wrong; NaN
        without classes), as `plateau`, `curve_figure` and `show` take them. Both are NaN where the loss is not finite.

    Raises
    ------
    InputError
        A checkpoint that does not fit the model, data that would count samples twice or not at all, or other arguments
        that are not allowed; the message says which are.
    """
    named, points = _paths(paths), alpha_grid(alphas)
    walk = Walk.begin(model, start, end, data, groups, statistics, loss, batch_size, device, train_data)
    if by_class and walk.classes is None:
        raise InputError("by_class=True is not allowed for this loss; allowed: loss='cross_entropy'")
    for path in named.values():
        walk.check_path(path)
    parts = []
    with progress(len(named) * len(points), "walking", "point") as bar:
        for name, path in named.items():
            body = walk.measure(path, points, bar.update)
            parts.append(({"path": name, "classes": walk.classes or math.nan}, curve_of(None, body, points, by_class)))
    return together(parts, "path", "classes", *ALONG_CURVES, *(BY_CLASS if by_class else ()))


def _paths(paths) -> dict:
    """Return paths by name, checked."""
    if not isinstance(paths, dict):
        paths = {name: name for name in ([paths] if isinstance(paths, str) else list(paths))}
    if not paths:
        raise InputError("paths are empty; allowed: at least one path")
    for path in paths.values():
        schedules(path)
    return paths


def parameter_table(
    model: nn.Module, data: Any = None, groups: Mapping[str, str] | None = None, batch_size: int = 512
) -> pd.DataFrame:
    """Tabulate the parameters of any network, with the groups that its paths move.

    Parameters
    ----------
    model : torch.nn.Module
        Network; tied parameters have one row.
    data : DataLoader, Dataset or tuple, optional
        Samples as for `interpolate_model`. With them, layers are counted along the forward pass; without, in the order
        of definition.
    groups : dict, optional
        {name or pattern: group}, to correct groups.
    batch_size : int
        Samples that are read at once.

    Returns
    -------
    pandas.DataFrame
        One row per parameter: `name`, `shape`, `group` (weights, hidden_biases, output_bias, normalization,
        embeddings), `layer` (number of weight layers up to and including its own, along the longest branch).

    Raises
    ------
    InputError
        A parameter whose group nothing tells, or arguments that are not allowed.
    """
    model, use = _unwrapped(model), None
    if data is not None:
        tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        with evaluation_mode(model):
            use = trace(model, tensors, read_samples(data, batch_size).first(2)[0]).use
    found, shapes = _overridden(parameter_groups(model, use), groups), dict(model.named_parameters())
    return pd.DataFrame(
        [
            {"name": name, "shape": " × ".join(map(str, shapes[name].shape)), "group": group.name, "layer": group.layer}
            for name, group in found.items()
        ],
        columns=["name", "shape", "group", "layer"],
    )
