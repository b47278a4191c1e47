"""Measurements of runs, kept in the store beside them; above all curves along paths."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import scipy  # loads scipy.stats, which takes a second, when first asked for it

from mli_utils.core.config import InputError, RunConfig, choose
from mli_utils.core.curves import STATISTICS, curve
from mli_utils.core.initialization import build
from mli_utils.core.paths import STARTS, alpha_grid, named_paths, schedules
from mli_utils.core.plateaus import learned_at
from mli_utils.core.versions import VERSIONS
from mli_utils.runs import images, parallel, provenance, settings
from mli_utils.runs.files import address, without_nan
from mli_utils.runs.store import Store
from mli_utils.runs.trained import Arrays, Run, endpoint, fields_of, progress, refuse_in_book, run_key, tidy_frame

ALONG_CURVES = ("alpha", "loss", "error")
BY_CLASS = ("label", "class_error", "predicted_share", "mean_logit")


@dataclass(frozen=True)
class Measurement:
    """A measurement of a run, kept in the store beside it.

    kind : kind of store entry
    key : everything that determines it, except run and versions
    what : its name in error messages
    compute : `compute(model, (θ(0), θ(T)), images)` returns a dict of NumPy arrays; it may be sent to another machine
    mechanism : the entry of `VERSIONS` that it depends on, besides `curves`
    images : how many of the first training images it is computed over; None: all
    """

    run: Run
    kind: str
    key: dict
    what: str
    compute: Callable
    mechanism: str
    images: int | None = None

    def __post_init__(self):
        everything = self.run.config.n_train
        if self.images is None:
            return
        whole = isinstance(self.images, (int, np.integer)) and not isinstance(self.images, bool)
        if not whole or not 1 <= self.images <= everything:
            raise InputError(
                f"images={self.images} is not allowed for {self.run.config}; allowed: from 1 to {everything}"
            )
        object.__setattr__(self, "images", None if self.images == everything else int(self.images))

    def whole_key(self) -> dict:
        """Return everything that determines it, versions included."""
        versions = {name: VERSIONS[name] for name in sorted({"curves", self.mechanism})}
        first = {} if self.images is None else {"images": self.images}
        return {"run": address(run_key(self.run.config)), **self.key, **first, "versions": versions}


def measure(wanted: Sequence[Measurement], unit: str) -> list[dict]:
    """Return the body of every measurement, in order, from the store or else computed and stored, with progress shown.

    NotInRecord if one is missing while the book is rendered from the record.
    """
    keys = [one.whole_key() for one in wanted]
    bodies: list = [one.run.store.get(one.kind, key) for one, key in zip(wanted, keys, strict=True)]
    missing = [i for i, body in enumerate(bodies) if body is None]
    if not missing:
        return bodies
    refuse_in_book(f"{wanted[missing[0]].what} of {wanted[missing[0]].run.config}")
    with (
        parallel.workers(wanted[i].run.config.dataset for i in missing) as workers,
        progress(len(missing), wanted[0].kind, unit) as bar,
    ):

        def task(i: int) -> tuple[RunConfig, tuple]:
            run = wanted[i].run
            return run.config, (i, run.config, run.arrays(), wanted[i].compute, wanted[i].images)

        for i, body in workers.each(measure_here, map(task, missing), bar.update):
            wanted[i].run.store.put(wanted[i].kind, keys[i], body)
            bodies[i] = body
    return bodies


def measure_here(
    number: int,
    config: RunConfig,
    arrays: Arrays,
    compute: Callable,
    first: int | None,
    advance: Callable[[int], Any],
) -> Iterator[tuple[int, dict]]:
    """Compute one measurement on this process's device; yield its number and body."""
    device = settings.device()
    made = provenance.stamp(provenance.device_name(device))
    ends = [{name: value.to(device) for name, value in endpoint(arrays, side).items()} for side in ("start", "end")]
    training_set = images.of_run(config)[0]
    some = training_set if first is None else training_set.first(first)
    measured = compute(build(config).to(device), ends, some)
    body = without_nan({name: values.tolist() for name, values in measured.items()})
    if first is not None:
        body["class_counts"] = some.labels.bincount(minlength=len(some.classes)).tolist()
    yield number, {**body, "provenance": {**made, "date": provenance.now()}}
    advance(1)


def cached_frame(kind: str, key: dict, compute: Callable[..., pd.DataFrame], mechanism: str) -> pd.DataFrame:
    """Return the frame `compute(**key)`, which depends on no run, from the store or else computed and stored.

    NotInRecord if it is missing while the book is rendered from the record.
    """
    (frame,) = cached_frames(kind, [key], lambda keys: [(0, compute(**key))], mechanism)
    return frame


def cached_frames(
    kind: str,
    keys: Sequence[dict],
    compute: Callable[[list[dict]], Iterable[tuple[int, pd.DataFrame]]],
    mechanism: str,
) -> list[pd.DataFrame]:
    """Return a frame for each key, as `cached_frame`; those that the store lacks are computed together.

    Parameters
    ----------
    compute : called with the missing keys; yields each one's number among them and its frame, in any order
    """
    store = Store.default()
    wholes = [{**key, "versions": {mechanism: VERSIONS[mechanism]}} for key in keys]
    bodies: list = [store.get(kind, whole) for whole in wholes]
    missing = [i for i, body in enumerate(bodies) if body is None]
    if missing:
        refuse_in_book(f"{kind} of {keys[missing[0]]}")
        for number, frame in compute([keys[i] for i in missing]):
            i = missing[number]
            bodies[i] = {
                "columns": without_nan(frame.to_dict("list")),
                "provenance": provenance.stamp(provenance.processor()),
            }
            store.put(kind, wholes[i], bodies[i])
    return [pd.DataFrame(body["columns"]).pipe(_with_nan) for body in bodies]


def _with_nan(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with columns of None, which were NaN, as numbers."""
    return frame.astype({name: float for name in frame if frame[name].isna().all()})


def interpolate(
    runs: Run | Iterable[Run],
    paths: str | dict | Sequence = "linear",
    alphas: int | Sequence[float] = 51,
    by_class: bool = False,
    start: str = "own",
    statistics: str = "recomputed",
    images: int | None = None,
) -> pd.DataFrame:
    """Evaluate runs along paths between their endpoints, over the training set.

    Parameters
    ----------
    runs : Run or iterable of Run
        Runs from `train`.
    paths : str, sequence of str or dict
        Names in `core.paths.PATHS`, or {name: {group: schedule}} for custom paths.
    alphas : int or sequence of float
        Number of equally spaced points from 0 to 1, or the points.
    by_class : bool
        Return one row per class, with columns `label`, `class_error` (misclassified fraction of the class),
        `predicted_share` (fraction of all images predicted as the class) and `mean_logit` added.
    start : str
        Starting point: `own`, the run's θ(0); `zero`, the origin; `other`, another initialization; or `noise`, with the
        norm of the trained weights.
    statistics : str
        Batch-norm statistics at θ(α): `recomputed`, `interpolated` or `frozen` (section 08).
    images : int or None
        How many of the first training images, which are balanced, to evaluate on, statistics included; None: all.

    Returns
    -------
    pandas.DataFrame
        Every field of `RunConfig`, `status` (fitted, unfitted, diverged), `start`, `statistics`, `path`, `alpha`,
        `loss` (mean cross-entropy, nats), `error` (fraction wrong). Loss and errors are NaN where the loss is not
        finite.

    Raises
    ------
    InputError
        An unknown path, start or kind of statistics, or points that are not allowed.
    NotInRecord
        A curve is missing while the book is rendered from the record.
    """
    runs = [runs] if isinstance(runs, Run) else list(runs)
    named, points = named_paths(paths), alpha_grid(alphas)
    choose("start", start, STARTS)
    choose("statistics", statistics, STATISTICS)
    todo = list(itertools.product(runs, named.items()))
    bodies = measure([_curve(run, path, points, start, statistics, images) for run, (_, path) in todo], "curve")
    parts = [
        (fields_of(run, start=start, statistics=statistics, path=name), curve_of(run, body, points, by_class))
        for (run, (name, _)), body in zip(todo, bodies, strict=True)
    ]
    return tidy_frame(parts, "start", "statistics", "path", *ALONG_CURVES, *(BY_CLASS if by_class else ()))


def _curve(run: Run, path, points: np.ndarray, start: str, statistics: str, images: int | None) -> Measurement:
    key = {
        "schedules": schedules(path),
        "alphas": points.tolist(),
        "start": start,
        "statistics": statistics if run.config.normalization == "batch" else "recomputed",
    }
    first = partial(STARTS[start], config=run.config)
    compute = partial(_compute_curve, path=path, points=points, first=first, statistics=statistics)
    return Measurement(run, "curves", key, f"the curve on path {path!r}", compute, "starts", images)


def _compute_curve(model, ends, images, path, points: np.ndarray, first: Callable, statistics: str) -> dict:
    return curve(model, first(model, ends=ends), ends[1], points, path, images, statistics)


def curve_of(run: Run, body: dict, points: np.ndarray, by_class: bool = False) -> dict[str, np.ndarray]:
    """Convert stored losses and counts of a run as `curve_columns` does."""
    # None in a record: its table has a column for all if curves over part of the images are in it.
    members = body.get("class_counts") or run.summary["class_counts"]
    return curve_columns({**body, "class_counts": members}, points, by_class)


def curve_columns(body: dict, points: np.ndarray, by_class: bool = False) -> dict[str, np.ndarray]:
    """Convert losses and counts to columns of a curve, one row per point, or per point and class."""
    loss = np.array(body["loss"], float)
    finite = np.isfinite(loss)
    wrong, members = np.array(body["wrong"]), np.array(body["class_counts"])
    values = {"alpha": points, "loss": loss, "error": np.where(finite, wrong.sum(1) / members.sum(), np.nan)}
    if by_class:
        classes = wrong.shape[1]
        broken = np.where(finite, 1.0, np.nan)[:, None]
        values = {name: np.repeat(value, classes) for name, value in values.items()}
        values["label"] = np.tile(np.arange(classes), len(points))
        values["class_error"] = (wrong / members * broken).ravel()
        values["predicted_share"] = (np.array(body["predicted"]) / members.sum() * broken).ravel()
        values["mean_logit"] = (np.array(body["mean_logits"], float) * broken).ravel()
    return values


def class_order(runs: Sequence[Run]) -> pd.DataFrame:
    """Tabulate when each class was learned and its final output bias: one row per run and class; InputError without.

    Returns
    -------
    The runs' fields; `run`, its index in `runs`; `label`; `learned_at` (step, NaN if never); `place`, rank in the order
    of learning from 1, averaged over ties; `output_bias` (logits); `centred_bias`, output bias minus its mean over
    classes, which changes no prediction
    """
    parts = []
    for i, run in enumerate(runs):
        if run.summary["output_bias"] is None:
            raise InputError(f"{run.config} has no output bias; allowed here: bias 'output' or 'all'")
        bias = np.array(run.summary["output_bias"])
        learned = learned_at(run.history)
        columns = {
            "label": learned.index.to_numpy(),
            "learned_at": learned.to_numpy(),
            "place": learned.rank().to_numpy(),
            "output_bias": bias,
            "centred_bias": bias - bias.mean(),
        }
        parts.append((asdict(run.config) | {"run": i}, columns))
    return tidy_frame(parts, "run", "label", "learned_at", "place", "output_bias", "centred_bias")


def order_correlations(classes: pd.DataFrame, clock: str = "learned_at", bias: str = "output_bias") -> pd.Series:
    """Compute each run's Kendall's τ-b between the steps at which classes are learned and their output biases.

    Classes never learned are left out; NaN if fewer than two distinct steps remain.

    Parameters
    ----------
    classes : one row per run and class, as `class_order` or `budgets.learned` return them
    clock : column of the steps
    bias : column of the biases, or of a part of them
    """

    learned = classes[["run", clock, bias]].dropna()
    taus = dict.fromkeys(classes.run.unique(), np.nan)
    taus |= {
        run: scipy.stats.kendalltau(of_run[clock], of_run[bias]).statistic for run, of_run in learned.groupby("run")
    }
    return pd.Series(taus, name="tau", dtype=float).rename_axis("run")
