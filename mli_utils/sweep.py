"""Many runs: what the store has is read, the rest is trained in groups, and curves are drawn along paths."""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from mli_utils import data, interpolation, models, provenance, settings, training
from mli_utils.config import FIELDS, MODELS, InputError, MLIError, RunConfig, choose
from mli_utils.models import Params
from mli_utils.store import Store, address

OUTCOMES = ("steps", "train_loss", "train_error", "test_error", "start_norm", "distance", "seconds", "bias_gap")
ALONG_CURVES = ("alpha", "loss", "error")
BY_CLASS = ("label", "class_error", "predicted_share")
GROUP_SIZE = 32  # runs trained together at most


class NotInRecord(MLIError):
    """Something would have to be computed while a book is rendered from the record, which computes nothing."""


@dataclass(frozen=True)
class Run:
    """One trained network.

    config : what determines it
    history : DataFrame of `step`, `loss`, `error`, `class_error_0`, … through training (`training.train_group`)
    summary : how it ended (`training.Trained`), `status` first
    provenance : what made it
    start, end : θ(0) and θ(T) by parameter name, on the CPU; read when first asked for, and trained again where
        the store no longer has them
    """

    config: RunConfig
    history: pd.DataFrame
    summary: dict
    provenance: dict
    store: Store

    @property
    def start(self) -> Params:
        """θ(0), by parameter name."""
        return self.endpoints("start")[0]

    @property
    def end(self) -> Params:
        """θ(T), by parameter name."""
        return self.endpoints("end")[0]

    def endpoints(self, *which: str) -> list[Params]:
        """`start`, `end` or both, in one reading."""
        arrays = self.store.arrays("runs", run_key(self.config))
        if arrays is None:
            _train_missing([self.config], self.store)
            arrays = self.store.arrays("runs", run_key(self.config))
        return [
            {
                name.removeprefix(f"{side}/"): torch.from_numpy(array)
                for name, array in arrays.items()
                if name.startswith(f"{side}/")
            }
            for side in which
        ]


def run_key(config: RunConfig) -> dict:
    """All that determines a run: its config, and the version of each mechanism that makes it."""
    return {
        "config": config.key(),
        "versions": {
            "data": data.VERSION,
            "initialization": models.VERSION,
            "training": training.VERSIONS[config.model],
        },
    }


def train(configs: RunConfig | Iterable[RunConfig]) -> list[Run]:
    """The run of every config, in their order: from the store where it is there, trained where it is not.

    Progress is shown on standard error. Every run is kept as soon as it ends.

    Raises
    ------
    InputError
        Something else than `RunConfig`s.
    NotInRecord
        A run is missing while the book is rendered from the record.
    """
    configs = [configs] if isinstance(configs, RunConfig) else list(configs)
    for config in configs:
        if not isinstance(config, RunConfig):
            raise InputError(f"{config!r} is no RunConfig; make some with mli.grid(depth=10, seed=range(5))")
    store = Store.default()
    missing = [config for config in dict.fromkeys(configs) if store.get("runs", run_key(config)) is None]
    if missing:
        _train_missing(missing, store)
    return [_read_run(config, store) for config in configs]


def interpolate(
    runs: Run | Iterable[Run],
    paths: str | dict | Sequence = "linear",
    alphas: str | interpolation.Adaptive | int | Sequence[float] = 51,
    by_class: bool = False,
    start: str = "own",
    statistics: str = "recomputed",
) -> pd.DataFrame:
    """Curves of training loss and error along paths between the endpoints of runs, over the whole training set.

    Parameters
    ----------
    runs : as `train` returns them
    paths : names in `interpolation.PATHS`, or {name: {group: schedule}} for paths of your own
    alphas : how many equally spaced points from 0 to 1, or the points; or `adaptive` (`interpolation.Adaptive()`),
        which places at most 83 a curve where they tell `plateau` to ±0.002 (`adaptive.refine` says how). Those differ
        from run to run, so average plateaus, not the rows of one α
    by_class : one row a class instead, with the columns `label`, `class_error` (the fraction of that class that is
        wrong) and `predicted_share` (the fraction of all images that are predicted as it) added
    start : `own`, the run's θ(0), or `zero`, the origin in its place
    statistics : what batch norm normalises by at θ(α), as `interpolation.STATISTICS` says; without it, nothing

    Returns
    -------
    Tidy frame with every field of `RunConfig`, `status` (fitted, unfitted, diverged), `start`, `statistics`, `path`,
    `alpha`, `loss` (mean cross-entropy, nats), `error` (fraction wrong). Loss and errors are NaN where the loss is not
    finite.

    Raises
    ------
    InputError
        An unknown path or start, or points that are not allowed.
    NotInRecord
        A curve is missing while the book is rendered from the record.
    """
    runs = [runs] if isinstance(runs, Run) else list(runs)
    named = dict(paths) if isinstance(paths, dict) else {name: name for name in _names(paths)}
    points = interpolation.points_of(alphas)
    choose("start", start, interpolation.STARTS)
    choose("statistics", statistics, interpolation.STATISTICS)
    for path in named.values():
        interpolation.schedules(path)
    todo = list(itertools.product(runs, named.items()))
    with progress(len(todo), "curves", "curve") as bar:

        def of(run, path):
            body = _curve(run, path, points, start, statistics)
            bar.update()
            return body

        bodies = each([run.config for run, _ in todo], [(run, path) for run, (_, path) in todo], of)
    frames = [
        curve_frame(run, body, body.get("alpha", points), by_class, start=start, statistics=statistics, path=name)
        for (run, (name, _)), body in zip(todo, bodies, strict=True)
    ]
    return together(frames, "start", "statistics", "path", *ALONG_CURVES, *(BY_CLASS if by_class else ()))


def together(frames: Iterable[pd.DataFrame], *columns: str) -> pd.DataFrame:
    """Frames of runs, one below the other; of none, an empty one with the runs' fields, `status` and these columns."""
    frames = list(frames)
    if frames:
        return pd.concat(frames, ignore_index=True)
    return pd.DataFrame(columns=[*FIELDS, "status", *columns])


def table(runs: Iterable[Run]) -> pd.DataFrame:
    """One row a run: its fields, how it ended, its bias gap max b − min b (NaN without an output bias)."""
    rows = []
    for run in runs:
        summary = dict(run.summary)
        bias = summary.pop("output_bias")
        del summary["class_counts"]
        rows.append({**asdict(run.config), **summary, "bias_gap": max(bias) - min(bias) if bias else math.nan})
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=[*FIELDS, "status", *OUTCOMES])


def _names(paths) -> list:
    return [paths] if isinstance(paths, str) else list(paths)


def progress(total: int, what: str, unit: str) -> tqdm:
    """A progress bar on standard error, where `settings` wants one."""
    return tqdm(total=total, desc=what, unit=unit, disable=not settings.show_progress(), mininterval=1, leave=False)


def _train_missing(configs: Sequence[RunConfig], store: Store) -> None:
    if settings.mode() == "book":
        raise NotInRecord(
            f"{len(configs)} runs are not in the record, the first of them {configs[0]}; "
            "the book is rendered without training: 'make reproduce' trains them, 'make record' keeps them"
        )
    device = settings.device()
    groups = [
        group[first : first + GROUP_SIZE] for group in _by_shape(configs) for first in range(0, len(group), GROUP_SIZE)
    ]
    with progress(sum(config.epochs for config in configs), f"training {len(configs)} runs", "epoch") as bar:
        left = len(configs)

        def advance(epochs: int, ended: int = 0) -> None:
            nonlocal left
            left -= ended
            bar.update(epochs)
            bar.set_postfix_str(f"{left} runs left")

        each([group[0] for group in groups], [(group, store, device, advance) for group in groups], _train_group)


def _train_group(group: Sequence[RunConfig], store: Store, device: str, advance: Callable) -> None:
    """Train those runs of a group that are not in the store, and keep each as it ends."""
    # Whoever else trains this shape on this store goes first; what is theirs by then is not trained again.
    with store.lock(address({"shape": training.shape(group[0])})):
        open_ = [config for config in group if store.arrays("runs", run_key(config)) is None]
        advance(sum(config.epochs for config in group if config not in open_), len(group) - len(open_))
        for trained in training.train_group(open_, device, advance) if open_ else ():
            _keep(trained, store, device)
            advance(0, 1)


def each(configs: Sequence[RunConfig], arguments: Sequence[tuple], function: Callable) -> list:
    """`function(*arguments)` for each: stacked models in turn with all cores, others at once with a core each.

    The gradients of convolutions differ in their last bits with the number of threads that share them. A thread a
    network gives the same bits on any number of cores, and on narrow networks is faster than sharing. A GPU takes one
    after the other.
    """
    side_by_side = torch.get_num_threads() if settings.device() == "cpu" else 1
    results = {}
    with ThreadPoolExecutor(side_by_side, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for i, (config, values) in enumerate(zip(configs, arguments, strict=True)):
            if MODELS[config.model].stacked:
                results[i] = function(*values)
            else:
                results[i] = pool.submit(function, *values)
    return [result.result() if isinstance(result, Future) else result for _, result in sorted(results.items())]


def _by_shape(configs: Iterable[RunConfig]) -> list[list[RunConfig]]:
    groups = {}
    for config in configs:
        groups.setdefault(training.shape(config), []).append(config)
    return list(groups.values())


def _keep(trained: training.Trained, store: Store, device: str) -> None:
    body = {
        "summary": _without_nan(trained.summary),
        "history": {name: _without_nan(column.tolist()) for name, column in trained.history.items()},
        "provenance": provenance.stamp(provenance.device_name(device)),
    }
    arrays = {
        f"{side}/{name}": value.numpy() for side in ("start", "end") for name, value in getattr(trained, side).items()
    }
    store.put("runs", run_key(trained.config), body, arrays)


def _read_run(config: RunConfig, store: Store) -> Run:
    body = store.get("runs", run_key(config))
    history = pd.DataFrame(body["history"]).astype(float).astype({"step": int})
    summary = {name: _nan_for_none(name, value) for name, value in body["summary"].items()}
    return Run(config, history, summary, body["provenance"], store)


def _curve(run: Run, path, points: np.ndarray | interpolation.Adaptive, start: str, statistics: str) -> dict:
    key = {
        "schedules": interpolation.schedules(path),
        **interpolation.points_key(points),
        "version": interpolation.VERSION,
        **({} if start == "own" else {"start": start}),
        **({} if run.config.normalization == "none" else {"statistics": statistics}),
    }

    def compute(model, ends, images):
        first = interpolation.STARTS[start](ends[0])
        return interpolation.curve(model, first, ends[1], points, path, images, statistics)

    return measured(run, "curves", key, f"the curve on path {path!r}", compute)


def measured(run: Run, kind: str, key: dict, what: str, compute: Callable) -> dict:
    """What `compute(model, (θ(0), θ(T)), images)` measures of a run, from the store or computed and kept.

    Parameters
    ----------
    kind, key : name the measurement in the store, beside the run; `key` holds all else that determines it
    what : names it in a sentence
    compute : returns a dict of NumPy arrays; its parameters are on the device, its images the run's training set

    Raises
    ------
    NotInRecord
        It is missing while the book is rendered from the record.
    """
    key = {"run": address(run_key(run.config)), **key}
    body = run.store.get(kind, key)
    if body is None:
        if settings.mode() == "book":
            raise NotInRecord(
                f"{what} of {run.config} is not in the record; the book is rendered without computing: "
                "'make reproduce' makes it, 'make record' keeps it"
            )
        device = settings.device()
        ends = [{name: value.to(device) for name, value in side.items()} for side in run.endpoints("start", "end")]
        images = data.load(run.config.dataset).first(run.config.n_train)
        found = compute(models.build(run.config), ends, images)
        body = {name: _without_nan(values.tolist()) for name, values in found.items()}
        body["provenance"] = provenance.stamp(provenance.device_name(device))
        run.store.put(kind, key, body)
    return body


def curve_frame(run: Run, body: dict, points: np.ndarray, by_class: bool = False, **columns) -> pd.DataFrame:
    """Kept losses and counts as tidy rows: the run's fields and `columns`, then α, loss and error."""
    loss = np.array(body["loss"], float)
    finite = np.isfinite(loss)
    wrong = np.array(body["wrong"])
    values = {"alpha": points, "loss": loss, "error": np.where(finite, wrong.sum(1) / run.config.n_train, np.nan)}
    if by_class:
        classes = wrong.shape[1]
        broken = np.where(finite, 1.0, np.nan)[:, None]
        values = {name: np.repeat(value, classes) for name, value in values.items()}
        values["label"] = np.tile(np.arange(classes), len(points))
        values["class_error"] = (wrong / run.summary["class_counts"] * broken).ravel()
        values["predicted_share"] = (np.array(body["predicted"]) / run.config.n_train * broken).ravel()
    return pd.DataFrame({**asdict(run.config), "status": run.summary["status"], **columns, **values})


def _without_nan(value):
    """The same with None for every number that JSON cannot hold."""
    if isinstance(value, dict):
        return {name: _without_nan(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _nan_for_none(name: str, value):
    if name == "output_bias":
        return value if value is None else [math.nan if b is None else b for b in value]
    return math.nan if value is None else value
