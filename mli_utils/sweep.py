"""Many runs: what the store has is read, the rest is trained in groups, and curves are drawn along paths.

The computing is done in this process, or on a Dask cluster where `settings.scheduler` names one.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import pandas as pd
from tqdm import tqdm

from mli_utils import cluster, data, interpolation, models, settings, tasks, training
from mli_utils.checkpoints import Checkpoints
from mli_utils.config import FIELDS, InputError, MLIError, RunConfig, choose
from mli_utils.models import Params
from mli_utils.store import Store, address

OUTCOMES = ("steps", "train_loss", "train_error", "test_error", "start_norm", "distance", "seconds", "bias_gap")
ALONG_CURVES = ("alpha", "loss", "error")
BY_CLASS = ("label", "class_error", "predicted_share", "mean_logit")


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
        arrays = self.arrays()
        return [tasks.endpoint(arrays, side) for side in which]

    def arrays(self) -> dict[str, np.ndarray]:
        """Both endpoints as the store has them, trained again where it no longer has."""
        key = run_key(self.config)
        if (arrays := self.store.arrays("runs", key)) is None:
            _train_missing([self.config], self.store, [self.config])
            arrays = self.store.arrays("runs", key)
        return arrays


@dataclass(frozen=True)
class Measurement:
    """Something to be measured of a run, kept in the store beside it.

    kind : what sort of thing it is
    key : all that determines it, but for the run
    what : its name in a sentence
    compute : `compute(model, (θ(0), θ(T)), images)` returns a dict of NumPy arrays; it may be sent to another machine
    """

    run: Run
    kind: str
    key: dict
    what: str
    compute: Callable


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
    asked = list(dict.fromkeys(configs))
    missing = [config for config in asked if store.get("runs", run_key(config)) is None]
    if missing:
        _train_missing(missing, store, asked)
    Checkpoints(store, run_key).forget(asked)  # those of a process that was killed as soon as its run was kept
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
        wrong), `predicted_share` (the fraction of all images that are predicted as it) and `mean_logit` added
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
    bodies = measure([_curve(run, path, points, start, statistics) for run, (_, path) in todo], "curve")
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


def _train_missing(configs: Sequence[RunConfig], store: Store, asked: Sequence[RunConfig]) -> None:
    """Train these runs. All that were asked for are put into groups, so that after an interruption groups are the same:
    the last bits of a narrow network can depend on how many are trained beside it."""
    if settings.mode() == "book":
        raise NotInRecord(
            f"{len(configs)} runs are not in the record, the first of them {configs[0]}; "
            "the book is rendered without training: 'make reproduce' trains them, 'make record' keeps them"
        )
    shapes = {training.shape(config) for config in configs}
    groups = [group for group in _by_shape(asked) if training.shape(group[0]) in shapes]
    with (
        workplace(configs) as place,
        progress(sum(config.epochs for config in configs), f"training {len(configs)} runs", "epoch") as bar,
    ):
        left = len(configs)

        def advance(epochs: int, ended: int = 0) -> None:
            nonlocal left
            left -= ended
            bar.update(epochs)
            bar.set_postfix_str(f"{left} runs left")

        arguments = [(group, set(configs), store, place, advance) for group in groups]
        place.each([group[0] for group in groups], arguments, _train_group)


@contextmanager
def workplace(configs: Iterable[RunConfig]) -> Iterator[tasks.Here | cluster.Cluster]:
    """Where to compute things about these runs: the cluster that `settings` names, or this process."""
    if address := settings.scheduler():
        with cluster.connected(address, [config.dataset for config in configs]) as place:
            yield place
    else:
        yield tasks.Here()


def _train_group(group: Sequence[RunConfig], missing: set[RunConfig], store: Store, place, advance: Callable) -> None:
    """Train those runs of one shape that are missing, and keep each as it ends."""
    # Whoever else trains this shape on this store goes first; what is theirs by then is not trained again.
    with store.lock(address({"shape": training.shape(group[0])})):
        wanted = [config for config in group if config in missing]
        open_ = {config for config in wanted if store.arrays("runs", run_key(config)) is None}
        advance(sum(config.epochs for config in wanted if config not in open_), len(wanted) - len(open_))
        together = parts(group, place.group_size(group[0], len(missing)))
        left = [[config for config in part if config in open_] for part in together]
        kept = Checkpoints(store, run_key)
        for config, body, arrays in place.train([part for part in left if part], advance, kept):
            store.put("runs", run_key(config), body, arrays)
            kept.remove(config)
            advance(0, 1)


def _by_shape(configs: Iterable[RunConfig]) -> list[list[RunConfig]]:
    groups = {}
    for config in configs:
        groups.setdefault(training.shape(config), []).append(config)
    return list(groups.values())


def parts(configs: Sequence[RunConfig], size: int) -> list[Sequence[RunConfig]]:
    """The runs in equal parts, to one, of at most `size`."""
    count = math.ceil(len(configs) / size)
    return [configs[i * len(configs) // count : (i + 1) * len(configs) // count] for i in range(count)]


def _read_run(config: RunConfig, store: Store) -> Run:
    body = store.get("runs", run_key(config))
    history = pd.DataFrame(body["history"]).astype(float).astype({"step": int})
    summary = {name: _nan_for_none(name, value) for name, value in body["summary"].items()}
    return Run(config, history, summary, body["provenance"], store)


def _curve(run: Run, path, points: np.ndarray | interpolation.Adaptive, start: str, statistics: str) -> Measurement:
    key = {
        "schedules": interpolation.schedules(path),
        **interpolation.points_key(points),
        "version": interpolation.VERSION,
        **({} if start == "own" else {"start": start}),
        **({} if run.config.normalization == "none" else {"statistics": statistics}),
    }
    compute = partial(_compute_curve, path=path, points=points, start=start, statistics=statistics)
    return Measurement(run, "curves", key, f"the curve on path {path!r}", compute)


def _compute_curve(model, ends, images, path, points: np.ndarray, start: str, statistics: str) -> dict:
    first = interpolation.STARTS[start](ends[0])
    return interpolation.curve(model, first, ends[1], points, path, images, statistics)


def measure(wanted: Sequence[Measurement], unit: str) -> list[dict]:
    """The body of every measurement, in their order: from the store, or computed and kept, with progress shown.

    Raises
    ------
    NotInRecord
        One is missing while the book is rendered from the record.
    """
    keys = [{"run": address(run_key(one.run.config)), **one.key} for one in wanted]
    bodies = [one.run.store.get(one.kind, key) for one, key in zip(wanted, keys, strict=True)]
    missing = [i for i, body in enumerate(bodies) if body is None]
    if not missing:
        return bodies
    if settings.mode() == "book":
        raise NotInRecord(
            f"{wanted[missing[0]].what} of {wanted[missing[0]].run.config} is not in the record; the book is rendered "
            "without computing: 'make reproduce' makes it, 'make record' keeps it"
        )
    configs = [wanted[i].run.config for i in missing]
    with workplace(configs) as place, progress(len(missing), wanted[0].kind, unit) as bar:

        def make(i: int) -> None:
            one = wanted[i]
            bodies[i] = place.measure(one.run.config, one.run.arrays(), one.compute)
            one.run.store.put(one.kind, keys[i], bodies[i])
            bar.update()

        place.each(configs, [(i,) for i in missing], make)
    return bodies


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
        values["mean_logit"] = (np.array(body["mean_logits"], float) * broken).ravel()
    return pd.DataFrame({**asdict(run.config), "status": run.summary["status"], **columns, **values})


def _nan_for_none(name: str, value):
    if name == "output_bias":
        return value if value is None else [math.nan if b is None else b for b in value]
    return math.nan if value is None else value
