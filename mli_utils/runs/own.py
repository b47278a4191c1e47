"""A network of one's own: two checkpoints of any `torch.nn.Module`, walked and diagnosed (section 14)."""

import fnmatch
import math
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from mli_utils.core import theory
from mli_utils.core.config import InputError, choose
from mli_utils.core.curves import STATISTICS
from mli_utils.core.evaluation import sum_metrics
from mli_utils.core.modules import (
    BATCH_BYTES,
    Loss,
    Pass,
    Samples,
    as_float32,
    batch_norms,
    check_targets,
    evaluating,
    normalise,
    outputs_of,
    read_samples,
    sums,
    trace,
)
from mli_utils.core.networks import Network, weights_and_biases
from mli_utils.core.parameters import EMBEDDINGS, GROUPS, Group, Params, mix, parameter_groups
from mli_utils.core.paths import alpha_grid, interpolate_groups, schedules
from mli_utils.core.plateaus import plateau
from mli_utils.runs import settings
from mli_utils.runs.measured import ALONG_CURVES, BY_CLASS, curve_columns
from mli_utils.runs.trained import progress, tidy_frame

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
    state: Any = _read_file(Path(given), side) if isinstance(given, (str, Path)) else given
    state = state.state_dict() if isinstance(state, nn.Module) else state
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


def read_ends(model: nn.Module, start: State, end: State, recomputed: bool, device: str) -> tuple[Params, Params]:
    """Read parameters and buffers at both ends, fitted to the module, on one device and in float32.

    Raises
    ------
    InputError
        Missing, unexpected or misshapen names; tied weights or whole-number buffers that differ; equal ends.
    """
    own, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    statistics = {f"{name}.running_{kind}" for name in batch_norms(model) for kind in ("mean", "var")}
    needed = {name for name, value in model.state_dict().items() if value.is_floating_point()} - own.keys()
    needed -= {*dict(model.named_parameters(remove_duplicate=False)), *(statistics if recomputed else ())}
    names: dict[int, list[str]] = {}  # those of tied parameters, together
    for name, value in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(value), []).append(name)
    first, second = (
        _fitted(read_state(given, side), {**own, **buffers}, list(names.values()), needed, side)
        for side, given in (("start", start), ("end", end))
    )
    for name in buffers:
        whole = not first[name].is_floating_point() and not name.endswith("num_batches_tracked")
        if whole and not torch.equal(first[name], second[name]):
            raise InputError(f"the buffer {name} differs between start and end; allowed: equal whole numbers")
    if all(torch.equal(first[name], second[name]) for name in own):
        raise InputError(
            "start and end are equal; allowed: different ones, such as copy.deepcopy(model.state_dict()) from before "
            "training, since a state dict shares its tensors with the model"
        )
    return _to(first, device), _to(second, device)


def _to(state: Params, device: str) -> Params:
    return {name: value.to(device) for name, value in state.items()}


def _fitted(state: Params, own: Params, tied: list[list[str]], needed: set[str], side: str) -> Params:
    """Return the state under the module's names, its own buffers where it may lack them; InputError if it differs."""
    known = {name for names in tied for name in names}
    missing = [names[0] for names in tied if not any(name in state for name in names)] + sorted(needed - state.keys())
    extra = [name for name in state if name not in known and name not in own]
    if missing or extra:
        said = [f"{word} {', '.join(some)}" for word, some in (("lacks", missing), ("has", extra)) if some]
        raise InputError(f"{side} {' and '.join(said)}; needed: the names of the model's state_dict()")
    found = {}
    for names in tied:
        there = [state[name] for name in names if name in state]
        if any(not torch.equal(there[0], other) for other in there[1:]):
            raise InputError(f"{side}: {' and '.join(names)} differ; allowed: equal ones, since the model ties them")
        found[names[0]] = there[0]
        if not there[0].is_floating_point():
            raise InputError(f"{side}: {names[0]} is {there[0].dtype}; allowed: real floating-point numbers")
    found |= {name: state.get(name, value) for name, value in own.items() if name not in known}
    for name, value in found.items():
        if value.shape != own[name].shape:
            shapes = f"{tuple(value.shape)}; allowed: {tuple(own[name].shape)}, the model's own"
            raise InputError(f"{side}: {name} has the shape {shapes}")
        if value.is_meta:
            raise InputError(f"{side}: {name} is on the meta device, without numbers; allowed: tensors with numbers")
    return as_float32(found, side)


# ── The walk ────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Walk:
    """A module, its ends and samples, checked and traced."""

    model: nn.Module
    ends: tuple[Params, Params]  # buffers included
    samples: Samples
    train: Samples
    loss: Loss
    statistics: str
    groups: dict[str, Group]
    seen: Pass
    classes: int | None

    @classmethod
    def begin(cls, model, start, end, data, groups, statistics, loss, batch_size, device, train_data) -> "Walk":
        """Check every argument of `interpolate_model` that is not a path or a point.

        Raises
        ------
        InputError
            As `interpolate_model`.
        """
        model, device = _unwrapped(model), _device(device)
        choose("statistics", statistics, STATISTICS)
        if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
            raise InputError(f"batch_size={batch_size!r} is not allowed; allowed: whole numbers from 1 up")
        exact = bool(batch_norms(model)) and (statistics == "recomputed" or train_data is not None)
        ends = read_ends(model, start, end, exact, device)
        samples = read_samples(data, batch_size).to(device)
        train = samples if train_data is None else read_samples(train_data, batch_size, "train_data").to(device)
        with evaluating(model):
            seen = trace(model, ends[1], samples.first(2)[0])
        classes = check_targets(samples, seen.outputs, loss)
        if exact:
            _check_norms(model, seen.norms)
            train = train.batched(max(batch_size, BATCH_BYTES // (4 * seen.bytes)))
            samples = train if train_data is None else samples
        found = _overridden(parameter_groups(model, seen.use), groups)
        walk = cls(model, ends, samples, train, loss, statistics, found, seen, classes)
        if exact and statistics != "recomputed":
            with evaluating(model):
                walk.ends = (walk.recomputed(ends[0])[0], walk.recomputed(ends[1])[0])
        return walk

    def recomputed(self, tensors: Params) -> tuple[Params, list[torch.Tensor]]:
        """Return parameters and buffers with exact batch-norm statistics, and the outputs if one pass gave them."""
        tensors = dict(tensors)
        return tensors, normalise(self.model, tensors, self.seen.norms, self.train.batches)

    def outputs(self, params: Params, alpha: float) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield outputs and targets of all samples, batch by batch, at parameters of a point α."""
        tensors, known = {**self.buffers(alpha), **params}, list[torch.Tensor]()
        if self.seen.norms and self.statistics == "recomputed":
            tensors, known = self.recomputed(tensors)
        if known and self.train is self.samples:
            yield known[0], self.samples.batches[0][1]
            return
        for inputs, targets in self.samples.batches:
            yield outputs_of(self.model, tensors, inputs), targets

    def buffers(self, alpha: float) -> Params:
        """Return the buffers at α: the end's if they are whole numbers or frozen statistics, others interpolated."""
        start, end = self.ends
        frozen = [f"{name}.running_{kind}" for name in self.seen.norms for kind in ("mean", "var")]
        kept = frozen if self.statistics == "frozen" else ()
        return {
            name: mix(start[name], end[name], alpha) if value.is_floating_point() and name not in kept else value
            for name, value in end.items()
            if name not in self.groups
        }

    def measure(self, path, points: np.ndarray, advance: Callable[[], Any]) -> dict[str, np.ndarray]:
        """Measure a path, as `body` returns it."""
        totals = []
        with evaluating(self.model):
            for alpha in points.tolist():
                total: dict[str, torch.Tensor] = {}
                there = interpolate_groups(self.groups, *self.ends, alpha, path)
                for outputs, targets in self.outputs(there, alpha):
                    of_batch = sums(outputs, targets, self.loss)
                    total = {name: total[name] + of_batch[name] for name in of_batch} if total else of_batch
                totals.append(total)
                advance()
        return self.body(totals)

    def body(self, totals: Sequence[dict[str, torch.Tensor]]) -> dict[str, np.ndarray]:
        """Return sums over samples as means and counts for `curve_columns`; without classes, errors are NaN."""
        found = {name: torch.cat([total[name] for total in totals]).cpu().numpy() for name in totals[0]}
        found["loss"] = found["loss"] / len(self.samples)
        if self.classes is None:
            return {**found, "wrong": np.full((len(found["loss"]), 1), np.nan), "class_counts": np.ones(1)}
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
        if isinstance(self.model, Network):
            return ""  # a network of the book counts along its main branch
        if recurrent := [name for name, module in self.model.named_modules() if isinstance(module, nn.RNNBase)]:
            return f"{recurrent[0]} passes its weights once a step"
        if name not in use.most:
            return f"the outputs do not depend on {name}"
        low, high = use.fewest[name], use.most[name]
        return "" if low == high else f"{low} or {high} weight layers lie on the ways to {name}"


def _unwrapped(model) -> nn.Module:
    """Return the module inside a compiled or parallel one."""
    if not isinstance(model, nn.Module):
        raise InputError(f"model is a {type(model).__name__}; allowed: a torch.nn.Module")
    wrappers = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    inside = model.module if isinstance(model, wrappers) else getattr(model, "_orig_mod", None)
    return model if inside is None else _unwrapped(inside)


def _device(asked: str) -> str:
    """Return a device's name: `auto` is the package's own."""
    if asked == "auto":
        return settings.device()
    try:
        return str(torch.empty(0, device=asked).device)
    except (RuntimeError, TypeError, AssertionError, ValueError) as error:
        raise InputError(
            f"device={asked!r} is not allowed here; allowed: auto, cpu, or a device that torch sees"
        ) from error


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

    Every sample counts once, in float32, with dropout off; the loss is the samples' mean. α = 0 is exactly `start`, and
    α = 1 exactly `end`. Model and checkpoints stay as they are. Samples are read into memory once.

    Parameters
    ----------
    model : torch.nn.Module
        Network that returns outputs (samples, …), or an object or mapping with `logits`.
    start, end : torch.nn.Module, dict of torch.Tensor, str or pathlib.Path
        θ(0) and θ(T): state dicts, files of them (`.pt`, `.pth`, `.safetensors`, read without running code), or
        modules. Prefixes of DataParallel and torch.compile are stripped. Other precisions become float32, with a
        warning.
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
            parts.append(({"path": name, "classes": walk.classes or math.nan}, curve_columns(body, points, by_class)))
    return tidy_frame(parts, "path", "classes", *ALONG_CURVES, *(BY_CLASS if by_class else ()))


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
        with evaluating(model):
            use = trace(model, tensors, read_samples(data, batch_size).first(2)[0]).use
    found, shapes = _overridden(parameter_groups(model, use), groups), dict(model.named_parameters())
    return pd.DataFrame(
        [
            {"name": name, "shape": " × ".join(map(str, shapes[name].shape)), "group": group.name, "layer": group.layer}
            for name, group in found.items()
        ],
        columns=["name", "shape", "group", "layer"],
    )


# ── The diagnosis ───────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Diagnosis:
    """What two checkpoints say about their plateau, as `diagnose` returns it.

    Parameters
    ----------
    curves : pandas.DataFrame
        `path`, `classes`, `alpha`, `loss`, `error`, `as_largest`, the share of predictions of the class with the
        largest output bias at the end; for `curve_figure`.
    table : pandas.DataFrame
        One row per path: `error_plateau` and `loss_plateau` (α), `bump` (nats), `as_largest`, the largest share.
    bias_gap : float
        Largest minus smallest output bias at the end (logits).
    largest : int
        The class with the largest one.
    first_guess : int
        The class that the start predicts most.
    first_share : float
        Share of samples that it predicts as that class.
    without : str
        Why there is no homogeneous path; empty if there is.
    """

    curves: pd.DataFrame
    table: pd.DataFrame
    bias_gap: float
    largest: int
    first_guess: int
    first_share: float
    without: str

    def __str__(self):
        ends = self.table.set_index("path").error_plateau
        other = f"on the homogeneous path it ends at {ends.get('homogeneous', math.nan):.2f}"
        other = f"no homogeneous path, since {self.without}" if self.without else other
        return (
            f"The error plateau ends at α = {ends['linear']:.2f}, and with the output bias zeroed at "
            f"{ends['zeroed']:.2f}; {other}. The bias gap is {self.bias_gap:.2f} logits, largest for class "
            f"{self.largest}; the start predicts class {self.first_guess} for {self.first_share:.0%} of the samples."
        )


def diagnose(
    model: nn.Module,
    start: State,
    end: State,
    data: Any,
    alphas: int | Sequence[float] = 51,
    *,
    groups: Mapping[str, str] | None = None,
    statistics: str = "recomputed",
    batch_size: int = 512,
    device: str = "auto",
    train_data: Any = None,
    tolerance: float = 0.1,
) -> Diagnosis:
    """Say whether the output bias makes the plateau between two checkpoints of a classifier.

    The curves are those of the linear path as it is (`linear`); with the output bias zeroed at the end (`zeroed`); with
    its mean over classes taken away, which changes no prediction (`centred`); with the logits' mean over samples taken
    away as well as the bias (`common logits away`), which leaves no class favoured on average; of the homogeneous path,
    where layers have well defined numbers; and of the law of section 03, where the network is plainly fully-connected.

    Parameters
    ----------
    model, start, end, data
        As for `interpolate_model`.
    alphas : int or sequence of float
        Number of equally spaced points from 0 to 1, or the points.
    groups, statistics, batch_size, device, train_data
        As for `interpolate_model`.
    tolerance : float
        Of plateaus, as for `plateau`.

    Returns
    -------
    Diagnosis
        `curves`, for `curve_figure`; `table`, plateaus by path; the numbers behind them; `print` says them in two
        sentences.

    Raises
    ------
    InputError
        As `interpolate_model`, or a network whose output bias is not added last.
    """
    points = alpha_grid(alphas)
    walk = Walk.begin(model, start, end, data, groups, statistics, "cross_entropy", batch_size, device, train_data)
    name = _output_bias(walk)
    biases = [side[name] for side in walk.ends]
    without_bias = [{**side, name: torch.zeros_like(side[name])} for side in walk.ends]
    largest, moving = int(biases[1].argmax()), [name for name, group in walk.groups.items() if group.name in MOVING]
    without = next(filter(None, map(walk.why_no_layer, moving)), "")
    totals: dict[str, list] = {}
    with progress(len(points) * (1 if without else 2), "walking", "point") as bar:
        with evaluating(walk.model):
            for alpha in points.tolist():
                there = interpolate_groups(walk.groups, without_bias[0], without_bias[1], alpha, "linear")
                signal, labels = (torch.cat(some) for some in zip(*walk.outputs(there, alpha), strict=True))
                for path, logits in _treated(signal, alpha, *biases).items():
                    totals.setdefault(path, []).append(sum_metrics(logits.unsqueeze(0), labels.long()))
                bar.update()
            if (dense := _dense(walk)) and hasattr(theory, "predicted_logits"):
                images = torch.cat([inputs[0] for inputs, _ in walk.samples.batches])
                totals["law"] = [sum_metrics(theory.predicted_logits(*dense, images, points), labels.long())]
        bodies = {path: walk.body(some) for path, some in totals.items()}
        if not without:
            bodies["homogeneous"] = walk.measure("homogeneous", points, bar.update)
    shares = {path: body["predicted"] / len(walk.samples) for path, body in bodies.items()}
    curves = tidy_frame(
        (
            {"path": path, "classes": walk.classes},
            curve_columns(body, points) | {"as_largest": shares[path][:, largest]},
        )
        for path, body in bodies.items()
    )
    most = curves.groupby("path", sort=False).as_largest.max().rename("as_largest")
    return Diagnosis(
        curves,
        plateau(curves, tolerance).drop(columns="classes").join(most, on="path"),
        (biases[1].max() - biases[1].min()).item(),
        largest,
        int(shares["linear"][0].argmax()),
        float(shares["linear"][0].max()),
        without,
    )


def _output_bias(walk: Walk) -> str:
    """Return the name of the output bias, (classes,); InputError unless the network adds it to its logits last."""
    names = [name for name, group in walk.groups.items() if group.name == "output_bias"]
    state, inputs = walk.ends[1], walk.samples.first(2)[0]
    for name in names if len(names) == 1 else ():
        with evaluating(walk.model):
            without = outputs_of(walk.model, {**state, name: torch.zeros_like(state[name])}, inputs)
        if state[name].shape == (walk.classes,) and torch.allclose(without + state[name], walk.seen.outputs, atol=1e-4):
            return name
    raise InputError(
        f"the network has {', '.join(names) or 'none'} for an output bias; allowed here: one, (classes,), added last"
    )


def _treated(signal: torch.Tensor, alpha: float, start: torch.Tensor, end: torch.Tensor) -> dict[str, torch.Tensor]:
    """Add to logits without output bias, (samples, classes), each output bias that `diagnose` compares."""
    bias = mix(start, end, alpha)
    return {
        "linear": signal + bias,
        "zeroed": signal + (1 - alpha) * start,
        "centred": signal + (bias - bias.mean()),
        "common logits away": signal - signal.mean(0),
    }


def _dense(walk: Walk) -> tuple[Params, Params] | None:
    """Return both ends as parameters of an `FCN`, or None if the network is not plainly fully-connected.

    Linear layers and ReLUs alone must give its outputs.
    """
    kinds = {"weights": "weight", "hidden_biases": "bias", "output_bias": "bias"}
    names = {
        name: f"layers.{group.layer - 1}.{kinds[group.name]}"
        for name, group in walk.groups.items()
        if group.name in kinds
    }
    start, end = ({names[name]: value for name, value in side.items() if name in names} for side in walk.ends)
    inputs, weights = walk.samples.first(2)[0], [value for name, value in end.items() if name.endswith("weight")]
    if len(end) < len(walk.groups) or any(weight.ndim != 2 for weight in weights) or list(inputs) != [0]:
        return None
    signal = inputs[0].flatten(1)
    for i, (weight, bias) in enumerate(weights_and_biases(end)):
        if signal.shape[1] != weight.shape[1]:
            return None
        signal = nn.functional.linear(signal.relu() if i else signal, weight, bias)
    fits = signal.shape == walk.seen.outputs.shape and torch.allclose(signal, walk.seen.outputs, atol=1e-4)
    return (start, end) if fits else None
