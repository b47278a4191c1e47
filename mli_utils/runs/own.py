"""A network of one's own: two checkpoints of any `torch.nn.Module`, walked and diagnosed (section 14)."""

import fnmatch
import math
import pickle
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from mli_utils.core import modules
from mli_utils.core.config import InputError, choose
from mli_utils.core.curves import STATISTICS, evaluate_points
from mli_utils.core.data import ImageSet
from mli_utils.core.evaluation import batch_norms, sum_metrics
from mli_utils.core.modules import Loss, as_float32, evaluating, outputs_of, read_samples
from mli_utils.core.networks import FCN, Network, weights_and_biases
from mli_utils.core.parameters import EMBEDDINGS, GROUPS, Group, Params, mix, parameter_groups
from mli_utils.core.paths import SCHEDULES, alpha_grid, interpolate_groups, named_paths, schedules
from mli_utils.core.plateaus import plateau
from mli_utils.core.theory import predicted_logits
from mli_utils.runs import settings
from mli_utils.runs.measured import ALONG_CURVES, BY_CLASS, curve_columns
from mli_utils.runs.trained import progress, tidy_frame

PREFIXES = re.compile(r"^(module\.|_orig_mod\.)+")  # that DataParallel and torch.compile give to names
PICKLED = (".pt", ".pth", ".bin", ".ckpt")
INSIDE = ("state_dict", "model_state_dict", "model")  # where training loops keep a state dict in a checkpoint
PASSING = (nn.Sequential, nn.Flatten, nn.Identity, nn.Dropout)  # modules that leave a sample's numbers as they are

State = nn.Module | Mapping[str, torch.Tensor] | str | Path


# ── Ends ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_state(given: State, side: str) -> Params:
    """Return a state dict from a module, a mapping or a file; files are read without running code from them."""
    state: Any = _read_file(Path(given), side) if isinstance(given, (str, Path)) else given
    state = state.state_dict() if isinstance(state, nn.Module) else state
    if isinstance(state, Mapping):
        state = next((state[name] for name in INSIDE if isinstance(state.get(name), Mapping)), state)
    if not isinstance(state, Mapping) or not state or not all(isinstance(it, torch.Tensor) for it in state.values()):
        raise InputError(f"{side} is a {type(given).__name__}; allowed: a state dict of tensors, its file, or a module")
    return {name: value.detach() for name, value in state.items()}


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
        tensors = "tensors, as torch.save(model.state_dict(), …)"
        raise InputError(f"{side}={path} holds pickled code, or is damaged; allowed: {tensors}") from error
    except Exception as error:  # safetensors and zip archives have errors of their own
        raise InputError(f"{side}={path} cannot be read: {modules.first_line(error)}") from error


def read_ends(model: nn.Module, start: State, end: State, recomputed: bool, device: str) -> tuple[Params, Params]:
    """Read parameters and buffers at both ends, fitted to the module, on one device and in float32.

    InputError for missing, unexpected or misshapen names; tied weights or whole-number buffers that differ; equal ends.
    """
    own, buffers, kept = dict(model.named_parameters()), dict(model.named_buffers()), model.state_dict()
    first_name = {id(value): name for name, value in {**own, **buffers}.items()}
    every = (*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False))
    tied = {name: first_name[id(value)] for name, value in every}
    statistics = {f"{name}.running_{kind}" for name in batch_norms(model) for kind in ("mean", "var")}
    optional = {name for name, value in buffers.items() if not value.is_floating_point() or name not in kept}
    optional |= statistics if recomputed else set()

    def fitted(given: State, side: str) -> Params:
        found: Params = {}
        for own_name, value in read_state(given, side).items():
            name = own_name if own_name in tied else PREFIXES.sub("", own_name)
            first = tied.get(name, name)
            if first in found and not torch.equal(found[first], value):
                differ = f"{first} and {name} differ; allowed: equal ones, since the model ties them"
                raise InputError(f"{side}: {differ}")
            found[first] = value
        missing = [name for name in {**own, **buffers} if name not in found and name not in optional]
        extra = [name for name in found if name not in own and name not in buffers]
        if missing or extra:
            said = [f"{word} {', '.join(some)}" for word, some in (("lacks", missing), ("has", extra)) if some]
            raise InputError(f"{side} {' and '.join(said)}; needed: the names of the model's state_dict()")
        for name, like in {**own, **buffers}.items():
            value = found.setdefault(name, like)
            if value.shape != like.shape:
                allowed = f"{tuple(like.shape)}, the model's own"
                raise InputError(f"{side}: {name} has the shape {tuple(value.shape)}; allowed: {allowed}")
            if value.is_meta:
                raise InputError(f"{side}: {name} is on the meta device; allowed: tensors with numbers")
            if name in own and not value.is_floating_point():
                raise InputError(f"{side}: {name} is {value.dtype}; allowed: real floating-point numbers")
        return {name: value.detach().to(device) for name, value in as_float32(found, side).items()}

    first, second = fitted(start, "start"), fitted(end, "end")
    for name in buffers:
        whole = not first[name].is_floating_point() and not name.endswith("num_batches_tracked")
        if whole and not torch.equal(first[name], second[name]):
            raise InputError(f"the buffer {name} differs between start and end; allowed: equal whole numbers")
    if all(torch.equal(first[name], second[name]) for name in own):
        copies = "copy.deepcopy(model.state_dict()) from before training, since a state dict shares the model's tensors"
        raise InputError(f"start and end are equal; allowed: different ones, such as {copies}")
    return first, second


# ── The walk ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Walk:
    """A module, its ends and samples, checked and traced; all arguments of `interpolate_model` but paths and points."""

    def __init__(self, model, start, end, data, groups, statistics, loss, batch_size, device, train_data):
        self.model, device = _unwrapped(model), _device(device)
        self.loss, self.statistics = loss, choose("statistics", statistics, STATISTICS)
        exact = bool(batch_norms(self.model)) and (statistics == "recomputed" or train_data is not None)
        self.ends = read_ends(self.model, start, end, exact, device)
        self.batches = read_samples(data, batch_size, device)
        self.train = self.batches if train_data is None else read_samples(train_data, batch_size, device, "train_data")
        with evaluating(self.model):
            self.seen = modules.trace(self.model, self.ends[1], self.batches[0])
        self.classes = modules.check_targets(self.batches, self.seen.outputs, loss)
        _check_norms(self.model, self.seen.norms if exact else ())
        if exact:
            self.train = modules.batched(self.train, max(batch_size, modules.BATCH_BYTES // (4 * self.seen.bytes)))
            self.batches = self.train if train_data is None else self.batches
        self.groups = _overridden(parameter_groups(self.model, self.seen.use), groups)
        self.samples = sum(len(targets) for _, targets in self.batches)
        if exact and statistics != "recomputed":
            with evaluating(self.model):
                self.ends = self.recomputed(self.ends[0])[0], self.recomputed(self.ends[1])[0]

    def recomputed(self, tensors: Params) -> tuple[Params, list[torch.Tensor]]:
        """Return parameters and buffers with exact batch-norm statistics, and the outputs if one pass gave them."""
        tensors = dict(tensors)
        return tensors, modules.normalise(self.model, tensors, self.seen.norms, self.train)

    def outputs(self, params: Params, alpha: float) -> list[torch.Tensor]:
        """Return the outputs of all samples, batch by batch, at parameters of a point α."""
        tensors, known = {**self.buffers(alpha), **params}, list[torch.Tensor]()
        if self.seen.norms and self.statistics == "recomputed":
            tensors, known = self.recomputed(tensors)
        if known and self.train is self.batches:
            return known
        return [outputs_of(self.model, tensors, inputs) for inputs, _ in self.batches]

    def buffers(self, alpha: float) -> Params:
        """Return the buffers at α: the end's if they are whole numbers or frozen statistics, others interpolated."""
        start, end = self.ends
        frozen = [f"{name}.running_{kind}" for name in self.seen.norms for kind in ("mean", "var")]
        kept = frozen if self.statistics == "frozen" else ()
        return {
            name: mix(start[name], value, alpha) if value.is_floating_point() and name not in kept else value
            for name, value in end.items()
            if name not in self.groups
        }

    def measure(self, path, points: np.ndarray, advance: Callable[..., Any], ends=None, treatments=None) -> dict:
        """Measure a path, as `body` returns it, under each of {name: treatment(logits, α)}; default: as it is."""
        if self.plain and not treatments:
            return {"": self.measure_together(path, points, advance)}
        totals: dict[str, list] = {name: [] for name in treatments or ("",)}
        start, end = ends or self.ends
        with evaluating(self.model):
            for alpha in points.tolist():
                outputs = self.outputs(interpolate_groups(self.groups, start, end, alpha, path), alpha)
                targets = [some for _, some in self.batches]
                if treatments:
                    outputs, targets = [torch.cat(outputs)], [torch.cat(targets)]
                for name, of_path in totals.items():
                    treated = [treatments[name](some, alpha) for some in outputs] if treatments else outputs
                    parts = [modules.sums(*some, self.loss) for some in zip(treated, targets, strict=True)]
                    of_path.append({kind: sum(part[kind] for part in parts) for kind in parts[0]})
                advance()
        return {name: self.body(of_path) for name, of_path in totals.items()}

    def body(self, totals: Sequence[dict[str, torch.Tensor]]) -> dict[str, np.ndarray]:
        """Return sums over samples as means and counts for `curve_columns`; without classes, errors are NaN."""
        found = {name: torch.cat([total[name] for total in totals]).cpu().numpy() for name in totals[0]}
        found["loss"] = found["loss"] / self.samples
        if self.classes is None:
            return {**found, "wrong": np.full((len(found["loss"]), 1), np.nan), "class_counts": np.ones(1)}
        return {**found, "mean_logits": found["logits"] / self.samples, "class_counts": self.class_counts()}

    def class_counts(self) -> np.ndarray:
        labels = torch.cat([targets for _, targets in self.batches])
        return labels.long().bincount(minlength=self.classes).cpu().numpy()

    def measure_together(self, path, points: np.ndarray, advance: Callable[..., Any]) -> dict[str, np.ndarray]:
        """Measure a path of a plain network as a run's: many points at once, products of the first layer shared."""
        assert self.dense
        groups, ends, images = self.dense
        layers = [len(value) for name, value in ends[1].items() if name.endswith("weight")]
        with torch.device("meta"):  # for its way to evaluate; nothing is drawn or kept for its own parameters
            fcn = FCN(1, 1, len(layers), max(layers), "none")

        def at(some: np.ndarray) -> tuple[Params, np.ndarray]:
            advance(len(some))
            of_weights = SCHEDULES[schedules(path)["weights"]](points[some], 1)
            return interpolate_groups(groups, ends[0], ends[1], points[some], path), of_weights

        with torch.no_grad():
            found = evaluate_points(fcn, ends, at, len(points), images)
        return {**found, "class_counts": self.class_counts()}

    @cached_property
    def dense(self) -> tuple[dict[str, Group], tuple[Params, Params], ImageSet] | None:
        """Groups, ends and samples as an `FCN` has them; None unless linear layers and ReLUs alone give the outputs."""
        kinds = {"weights": "weight", "hidden_biases": "bias", "output_bias": "bias"}
        groups = [(name, group) for name, group in self.groups.items() if group.name in kinds]
        names = {name: f"layers.{group.layer - 1}.{kinds[group.name]}" for name, group in groups}
        start, end = ({of_fcn: side[name] for name, of_fcn in names.items()} for side in self.ends)
        layers = sorted(group.layer for _, group in groups if group.name == "weights")
        in_turn = layers == list(range(1, len(layers) + 1))  # no layer is used twice, none side by side
        if not in_turn or len(end) < len(self.groups) or list(self.batches[0][0]) != [0]:
            return None
        signal = self.batches[0][0][0][:2].float()
        signal = signal.reshape(len(signal), -1)
        for i, (weight, bias) in enumerate(weights_and_biases(end)):
            if weight.ndim != 2 or signal.shape[1:] != weight.shape[1:]:
                return None
            signal = nn.functional.linear(signal.relu() if i else signal, weight, bias)
        whole = modules.batched(self.batches, self.samples)
        close = signal.shape == self.seen.outputs.shape and torch.allclose(signal, self.seen.outputs, atol=1e-4)
        if not close or len(whole) > 1:
            return None
        ((inputs, labels),) = whole
        flat = inputs[0].float().reshape(self.samples, -1)
        images = ImageSet("own", "train", flat, labels.long(), (), *flat.new_empty(2, 0))
        return {names[name]: group for name, group in groups}, (start, end), images

    @cached_property
    def plain(self) -> bool:
        """Whether the module is a classifier that applies linear layers and ReLUs in turn, and does nothing else."""
        kinds = [type(module) for _, module in self.model.named_modules(remove_duplicate=False)]
        kinds = [kind for kind in kinds if kind not in PASSING]
        in_turn = set(kinds[::2]) == {nn.Linear} and set(kinds[1::2]) <= {nn.ReLU} and len(kinds) % 2
        known = self.batches[0][1].device.type in FCN.memory
        return bool(self.loss == "cross_entropy" and in_turn and known and self.dense)

    def why_not(self, path) -> str:
        """Say which parameter lacks the layer number that a path needs, and why; empty if none does."""
        moved = [group for group, schedule in schedules(path).items() if schedule == "homogeneous"]
        names = [name for name, group in self.groups.items() if group.name in moved]
        if not names or isinstance(self.model, Network):
            return ""  # a network of the book counts along its main branch
        if recurrent := [name for name, module in self.model.named_modules() if isinstance(module, nn.RNNBase)]:
            return f"{recurrent[0]} passes its weights once a step"
        for name in names:
            low, high = (number.get(name) for number in (self.seen.use.fewest, self.seen.use.most))
            if low is None:
                return f"the outputs do not depend on {name}"
            if low != high:
                return f"{low} or {high} weight layers lie on the ways to {name}"
        return ""


def _unwrapped(model) -> nn.Module:
    """Return the module inside a compiled or parallel one."""
    if not isinstance(model, nn.Module):
        raise InputError(f"model is a {type(model).__name__}; allowed: a torch.nn.Module")
    parallel = isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel))
    inside = model.module if parallel else getattr(model, "_orig_mod", None)
    return model if inside is None else _unwrapped(inside)


def _device(asked: str) -> str:
    """Return a device's name: `auto` is the package's own."""
    try:
        return settings.device() if asked == "auto" else str(torch.empty(0, device=asked).device)
    except (RuntimeError, TypeError, AssertionError) as error:
        kinds = "auto, cpu, or a device that torch sees"
        raise InputError(f"device={asked!r} is not allowed here; allowed: {kinds}") from error


def _check_norms(model: nn.Module, called: Sequence[str]) -> None:
    """Raise InputError for a batch norm whose statistics cannot be those of the whole set."""
    for name in batch_norms(model):
        if model.get_submodule(name).running_mean is None:
            raise InputError(f"batch norm {name} keeps no statistics; allowed: track_running_stats=True")
        if called.count(name) > 1:
            raise InputError(f"batch norm {name} is used {called.count(name)} times; allowed: statistics='frozen'")


def _overridden(found: dict[str, Group], groups: Mapping[str, str] | None) -> dict[str, Group]:
    """Return the groups with those given by name or pattern."""
    for pattern, group in (groups or {}).items():
        choose("parameter group", group, (*GROUPS, EMBEDDINGS))
        matching = fnmatch.filter(found, pattern) or [choose("parameter in groups", pattern, found)]
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
    named, points = named_paths(paths), alpha_grid(alphas)
    walk = Walk(model, start, end, data, groups, statistics, loss, batch_size, device, train_data)
    if by_class and walk.classes is None:
        raise InputError("by_class=True is not allowed for this loss; allowed: loss='cross_entropy'")
    for said in filter(None, map(walk.why_not, named.values())):
        raise InputError(f"no homogeneous path: {said}; allowed: other paths, such as 'linear'")
    parts = []
    with progress(len(named) * len(points), "walking", "point") as bar:
        for name, path in named.items():
            (body,) = walk.measure(path, points, bar.update).values()
            parts.append(({"path": name, "classes": walk.classes or math.nan}, curve_columns(body, points, by_class)))
    return tidy_frame(parts, "path", "classes", *ALONG_CURVES, *(BY_CLASS if by_class else ()))


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
        tensors = as_float32({**dict(model.named_parameters()), **dict(model.named_buffers())}, "model")
        device = str(next(iter(tensors.values())).device) if tensors else "cpu"
        with evaluating(model):
            use = modules.trace(model, tensors, read_samples(data, batch_size, device)[0]).use
    shapes = {name: " × ".join(map(str, value.shape)) for name, value in model.named_parameters()}
    found = _overridden(parameter_groups(model, use), groups)
    rows = [(name, shapes[name], group.name, group.layer) for name, group in found.items()]
    return pd.DataFrame(rows, columns=["name", "shape", "group", "layer"])


# ── The diagnosis ───────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Diagnosis:
    """What two checkpoints say about their plateau, as `diagnose` returns it; `print` says it in two sentences.

    curves : `path`, `classes`, `alpha`, `loss`, `error`, `as_largest` (share predicted as `largest`), for
        `curve_figure`
    table : one row per path: `error_plateau` and `loss_plateau` (α), `bump` (nats), `as_largest`, its largest share
    bias_gap : largest minus smallest output bias at the end (logits)
    largest : the class with the largest one
    first_guess : the class that the start predicts most
    first_share : share of samples that it predicts as that class
    without : why there is no homogeneous path; empty if there is
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

    Paths: the linear one as it is (`linear`); with the output bias zeroed at the end (`zeroed`); with its mean over
    classes taken away, which changes no prediction (`centred`); with the logits' mean over samples taken away as well
    as the bias (`common logits away`), which leaves no class favoured on average; the homogeneous one, where layers
    have well defined numbers; and the prediction of section 03 (`law`), where the network is plainly fully-connected.

    Parameters
    ----------
    model : torch.nn.Module
        Classifier whose output bias is added last, as for `interpolate_model`.
    start, end : torch.nn.Module, dict of torch.Tensor, str or pathlib.Path
        As for `interpolate_model`.
    data : DataLoader, Dataset or tuple
        As for `interpolate_model`.
    alphas : int or sequence of float
        Number of equally spaced points from 0 to 1, or the points.
    groups : dict, optional
        {name or pattern: group}, to correct groups.
    statistics : str
        Batch-norm statistics: `recomputed`, `interpolated` or `frozen`.
    batch_size : int
        Samples at once.
    device : str
        `auto`, or a name that torch knows.
    train_data : DataLoader, Dataset or tuple, optional
        What batch-norm statistics are computed over; default: `data`.
    tolerance : float
        Of plateaus, as for `plateau`.

    Returns
    -------
    Diagnosis
        `curves`, for `curve_figure`; `table`, plateaus by path; the numbers behind them.

    Raises
    ------
    InputError
        As `interpolate_model`, or a network whose output bias is not added last.
    """
    points = alpha_grid(alphas)
    if points[0] > 0:
        raise InputError(
            f"alphas begin at {points[0]:g}; allowed here: at 0, where the start's predictions are counted"
        )
    walk = Walk(model, start, end, data, groups, statistics, "cross_entropy", batch_size, device, train_data)
    name, without = _output_bias(walk), walk.why_not("homogeneous")
    first, last = (side[name] for side in walk.ends)
    largest = int(last.argmax())
    treatments = {
        "linear": lambda signal, alpha: signal + mix(first, last, alpha),
        "zeroed": lambda signal, alpha: signal + (1 - alpha) * first,
        "centred": lambda signal, alpha: signal + mix(first - first.mean(), last - last.mean(), alpha),
        "common logits away": lambda signal, alpha: signal - signal.mean(0),
    }
    ends = [{**side, name: torch.zeros_like(side[name])} for side in walk.ends]
    with progress(len(points) * (1 if without else 2), "walking", "point") as bar:
        bodies = walk.measure("linear", points, bar.update, ends, treatments)
        if not without:
            bodies["homogeneous"] = walk.measure("homogeneous", points, bar.update)[""]
    if walk.dense:
        _, sides, images = walk.dense
        law = predicted_logits(*sides, images.images, points)
        bodies["law"] = walk.body([sum_metrics(law, images.labels)])
    shares = {path: body["predicted"] / walk.samples for path, body in bodies.items()}
    curves = tidy_frame(
        (
            {"path": path, "classes": walk.classes},
            curve_columns(body, points) | {"as_largest": shares[path][:, largest]},
        )
        for path, body in bodies.items()
    )
    most = curves.groupby("path", sort=False).as_largest.max().rename("as_largest")
    table = plateau(curves, tolerance).drop(columns="classes").join(most, on="path")
    at_start = shares["linear"][0]
    gap = (last.max() - last.min()).item()
    return Diagnosis(curves, table, gap, largest, int(at_start.argmax()), float(at_start.max()), without)


def _output_bias(walk: Walk) -> str:
    """Return the name of the output bias, (classes,); InputError unless the network adds it to its logits last."""
    names = [name for name, group in walk.groups.items() if group.name == "output_bias"]
    state, inputs = walk.ends[1], {name: value[:2] for name, value in walk.batches[0][0].items()}
    for name in names if len(names) == 1 else ():
        with evaluating(walk.model):
            whole = outputs_of(walk.model, state, inputs)
            without = outputs_of(walk.model, {**state, name: torch.zeros_like(state[name])}, inputs)
        if state[name].shape == (walk.classes,) and torch.allclose(without + state[name], whole, atol=1e-4):
            return name
    said = f"the network has {', '.join(names) or 'none'} for an output bias"
    raise InputError(f"{said}; allowed here: one, (classes,), added last")
