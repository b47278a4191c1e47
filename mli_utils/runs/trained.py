"""Runs, read from the store or, if missing, trained in groups.

Training runs in this process, or on the Dask cluster that `settings.scheduler` names.
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from mli_utils.core import training
from mli_utils.core.config import FIELDS, MODELS, InputError, MLIError, RunConfig
from mli_utils.core.parameters import Params
from mli_utils.core.versions import VERSIONS
from mli_utils.runs import images, parallel, provenance, settings
from mli_utils.runs.checkpoints import Checkpoints, Pace
from mli_utils.runs.files import address, without_nan
from mli_utils.runs.store import Store

AT_END = ("steps", "status", "train_loss", "train_error", "test_error", "start_norm", "distance", "seconds", "bias_gap")

GROUP_SIZE = 32  # most runs trained together
STACK = 4  # smallest group on a cluster, if there are enough runs: alone, one takes a third longer
FEWEST_STEPS = 500  # shorter trainings are not split for a cluster: these take 20 times as long as sending them

Arrays = dict[str, np.ndarray]  # endpoints of a run: `start/NAME`, `end/NAME`


class NotInRecord(MLIError):
    """A result is missing while a book is rendered from the record, which computes nothing."""


def refuse_in_book(what: str) -> None:
    """Raise NotInRecord, naming what is missing, while a book is rendered from the record."""
    if settings.mode() == "book":
        raise NotInRecord(
            f"{what} is not in the record; the book is rendered without computing: 'make reproduce' makes it, "
            "'make record' keeps it"
        )


@dataclass(frozen=True, eq=False)
class Run:
    """One trained network.

    Parameters
    ----------
    config : RunConfig
        Configuration of the run.
    body : dict
        Body of its store entry.
    store : Store
        Store that holds it. Endpoints are read on access, on the CPU, and trained again where missing.
    """

    config: RunConfig
    body: dict = field(repr=False)
    store: Store = field(repr=False)

    @cached_property
    def history(self) -> pd.DataFrame:
        """The training log: `step`, `loss`, `error`, `class_error_0`, …; one row per logged step."""
        kept = {name: np.array(values, float) for name, values in self.body["history"].items()}
        by_class = {f"class_error_{label}": errors for label, errors in enumerate(kept.pop("class_error").T)}
        return pd.DataFrame({**kept, "step": kept["step"].astype(int), **by_class})

    @cached_property
    def summary(self) -> dict:
        """The outcome of training: `training.Trained.summary`."""
        summary = {name: math.nan if value is None else value for name, value in self.body["summary"].items()}
        bias = self.body["summary"]["output_bias"]
        return {**summary, "output_bias": bias and [math.nan if value is None else value for value in bias]}

    @property
    def provenance(self) -> dict:
        """The provenance of the run (`provenance.stamp`)."""
        return self.body["provenance"]

    @property
    def start(self) -> Params:
        """θ(0), by parameter name."""
        return endpoint(self.arrays(), "start")

    @property
    def end(self) -> Params:
        """θ(T), by parameter name."""
        return endpoint(self.arrays(), "end")

    def arrays(self) -> Arrays:
        """Return both endpoints from the store, training again if they are missing."""
        key = run_key(self.config)
        if (arrays := self.store.arrays("runs", key)) is None:
            if settings.mode() == "book":
                raise NotInRecord(f"no record has endpoints, here those of {self.config}; 'make reproduce' trains them")
            _train_missing([self.config], self.store, [self.config])
            arrays = self.store.arrays("runs", key)
        assert arrays is not None, "a run that has just been kept has its arrays"
        return arrays


def run_key(config: RunConfig) -> dict:
    """Return the key of a run: its config, and the version of each mechanism that makes it."""
    versions = {name: VERSIONS[name] for name in ("data", "initialization")}
    return {"config": asdict(config), "versions": {**versions, "training": VERSIONS["training"][config.model]}}


def train(configs: RunConfig | Iterable[RunConfig]) -> list[Run]:
    """Train the run of every config, or read it from the store.

    Progress is shown on standard error. Every run is stored as soon as it ends.

    Parameters
    ----------
    configs : RunConfig or iterable of RunConfig
        Configurations, for example from `grid`.

    Returns
    -------
    list of Run
        One run per config, in the same order.

    Raises
    ------
    InputError
        An item is no `RunConfig`.
    NotInRecord
        A run is missing while the book is rendered from the record.
    """
    configs = [configs] if isinstance(configs, RunConfig) else list(configs)
    for config in configs:
        if not isinstance(config, RunConfig):
            raise InputError(f"{config!r} is no RunConfig; make some with mli.grid(depth=10, seed=range(5))")
    store = Store.default()
    asked = list(dict.fromkeys(configs))
    bodies: dict[RunConfig, Any] = {config: store.get("runs", run_key(config)) for config in asked}
    if missing := [config for config in asked if bodies[config] is None]:
        _train_missing(missing, store, asked)
        bodies |= {config: store.get("runs", run_key(config)) for config in missing}
    Checkpoints(store, run_key).forget(asked)  # left by a process killed just after storing its run
    return [Run(config, bodies[config], store) for config in configs]


def fields_of(run: Run, **more) -> dict:
    """Return the columns shared by all rows about a run: the fields of its config, `status`, and `more`."""
    return {**asdict(run.config), "status": run.summary["status"], **more}


def tidy_frame(parts: Iterable[tuple[dict, dict[str, np.ndarray]]], *columns: str) -> pd.DataFrame:
    """Make a tidy frame of parts: each has shared fields (`fields_of`) and, by column, arrays of equal length.

    Without parts the frame is empty, with the runs' fields, `status` and these columns. Concatenating one frame per
    part would take ten times as long.
    """
    parts = list(parts)
    if not parts:
        return pd.DataFrame(columns=[*FIELDS, "status", *columns])
    rows = np.repeat(np.arange(len(parts)), [len(next(iter(own.values()))) for _, own in parts])
    frame = pd.DataFrame([shared for shared, _ in parts]).loc[rows].reset_index(drop=True)
    return frame.assign(**{name: np.concatenate([own[name] for _, own in parts]) for name in parts[0][1]})


def table(runs: Iterable[Run]) -> pd.DataFrame:
    """Tabulate runs and how they ended.

    Parameters
    ----------
    runs : iterable of Run
        Runs from `train`.

    Returns
    -------
    pandas.DataFrame
        One row per run: its fields, its outcome (`status`, `steps`, `train_loss` in nats, `train_error`, `test_error`,
        `start_norm` ‖θ(0)‖, `distance` ‖θ(T) − θ(0)‖, `seconds`), and `bias_gap`, max b − min b (NaN without an output
        bias).
    """
    rows = [
        {**asdict(run.config), **run.summary, "bias_gap": np.ptp(run.summary["output_bias"] or [math.nan])}
        for run in runs
    ]
    return pd.DataFrame(rows, columns=[*FIELDS, *AT_END])


def counts(runs: Iterable[Run]) -> dict[str, int | str]:
    """Count all runs and fitted runs: `all_runs`, `fitted_runs`, and both in a sentence, `fit`."""
    found = Counter(run.summary["status"] for run in runs)
    everyone, fitted = found.total(), found["fitted"]
    others = everyone - fitted
    verbs = {
        "unfitted": ("gets more than 1 % of it wrong", "get more than 1 % of it wrong"),
        "diverged": ("diverges", "diverge"),
    }
    reasons = [f"{found[status]} {words[found[status] > 1]}" for status, words in verbs.items() if found[status]]
    said = f"{f'{fitted} of' if others else 'All'} {everyone} networks fit their training set"
    left_out = f"; {' and '.join(reasons)}; {'it is' if others == 1 else 'they are'} left out" if others else ""
    return {"all_runs": everyone, "fitted_runs": fitted, "fit": f"{said}{left_out}."}


def means(runs: pd.DataFrame, by: list[str], columns: list[str]) -> pd.DataFrame:
    """Summarise a `table` by group: numbers of `runs` and `fitted` ones, and the fitted ones' means of `columns`."""
    told = runs.assign(fitted=runs.status == "fitted")
    sizes = told.groupby(by, sort=False).fitted.agg(runs="size", fitted="sum")
    return sizes.join(told[told.fitted].groupby(by)[columns].mean()).reset_index()


def progress(total: int, what: str, unit: str) -> tqdm:
    """Return a progress bar on standard error, hidden unless `settings.show_progress`."""
    return tqdm(total=total, desc=what, unit=unit, disable=not settings.show_progress(), mininterval=1, leave=False)


def _train_missing(configs: Sequence[RunConfig], store: Store, asked: Sequence[RunConfig]) -> None:
    """Train these runs, grouped with all that were `asked` for, and store each as it ends."""
    refuse_in_book(f"{configs[0]}, the first of {len(configs)} to train,")
    shapes = [{"shape": [getattr(config, name) for name in training.SHAPE]} for config in configs]
    kept = Checkpoints(store, run_key)
    with (
        parallel.workers(config.dataset for config in configs) as workers,
        progress(sum(config.epochs for config in configs), f"training {len(configs)} runs", "epoch") as bar,
        ExitStack() as locks,
    ):
        # Wait for other processes training runs of these shapes here; runs they stored are not trained again.
        for name in sorted(set(map(address, shapes))):
            locks.enter_context(store.lock(name))
        left = {config for config in configs if store.arrays("runs", run_key(config)) is None}
        bar.update(sum(config.epochs for config in configs if config not in left))
        groups = split_groups(asked, left, workers)
        tasks = [(group[0], (group, None if workers.client else kept)) for group in groups]
        for config, body, arrays in workers.each(train_here, tasks, bar.update):
            store.put("runs", run_key(config), body, arrays)
            kept.remove(config)
            left.remove(config)
            bar.set_postfix_str(f"{len(left)} runs left")


def split_groups(
    configs: Iterable[RunConfig], missing: Collection[RunConfig], workers: parallel.Workers
) -> list[list[RunConfig]]:
    """Split the missing runs into groups of one shape and nearly equal size, to suit these workers.

    All configs are grouped, so that in this process groups are the same after an interruption: the last bits of a
    narrow network can depend on its group. On a cluster sizes follow the number of missing runs and of workers. Stacked
    models come first: while they train in this process, no other results are stored.
    """
    alike: dict[tuple, list[RunConfig]] = {}
    for config in sorted(configs, key=lambda config: not MODELS[config.model].stacked):
        alike.setdefault(training.shape(config), []).append(config)
    groups = []
    for runs in alike.values():
        count = math.ceil(len(runs) / group_size(runs[0], len(missing), workers))
        parts = [runs[i * len(runs) // count : (i + 1) * len(runs) // count] for i in range(count)]
        groups += [[config for config in part if config in missing] for part in parts]
    return [group for group in groups if group]


def group_size(config: RunConfig, missing: int, workers: parallel.Workers) -> int:
    """Return the largest size of a group of this run's shape, when `missing` runs are to be trained in all."""
    if not workers.client or config.epochs * math.ceil(config.n_train / config.batch_size) < FEWEST_STEPS:
        return GROUP_SIZE
    fair = math.ceil(missing / workers.count)
    return min(GROUP_SIZE, max(math.ceil(fair / 2), min(STACK, fair)))  # two groups per worker even out slow ones


def train_here(
    configs: Sequence[RunConfig], kept: Checkpoints | None = None, advance: Callable[[int], Any] = lambda epochs: None
) -> Iterator[tuple[RunConfig, dict, Arrays]]:
    """Train runs of one shape from `kept` checkpoints; yield config, body and arrays of each as soon as it ends."""
    device = settings.device()
    made = provenance.stamp(provenance.device_name(device))  # before training, so that a failure here loses no work
    sets, save = images.of_run(configs[0]), Pace(kept) if kept else None
    for group, states in kept.by_step(configs) if kept else [(configs, [])]:
        for run in training.train_group(group, *sets, device, advance, states, save):
            yield run.config, *entry_of(run, made)


def entry_of(run: training.Trained, made: dict) -> tuple[dict, Arrays]:
    """Return body and arrays of a run's store entry; `made` is a stamp from before its training."""
    history = run.history.filter(regex="^(?!class_error)").to_dict("list")
    history["class_error"] = run.history.filter(like="class_error_").to_numpy().tolist()
    body = without_nan({"summary": run.summary, "history": history})
    ends = {"start": run.start, "end": run.end}
    arrays = {f"{side}/{name}": value.numpy() for side, end in ends.items() for name, value in end.items()}
    return {**body, "provenance": {**made, "date": provenance.now()}}, arrays


def endpoint(arrays: Arrays, side: str) -> Params:
    """Return θ(0) (`start`) or θ(T) (`end`) from the arrays of a run."""
    return {
        name.removeprefix(f"{side}/"): torch.tensor(array)
        for name, array in arrays.items()
        if name.startswith(f"{side}/")
    }
