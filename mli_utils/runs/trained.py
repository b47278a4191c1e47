"""Many runs: what the store has is read, the rest is trained in groups.

The computing is done in this process, or on a Dask cluster where `settings.scheduler` names one.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
from tqdm import tqdm

from mli_utils.core import training
from mli_utils.core.config import FIELDS, InputError, MLIError, RunConfig
from mli_utils.core.parameters import Params
from mli_utils.core.versions import VERSIONS
from mli_utils.runs import cluster, settings, tasks
from mli_utils.runs.checkpoints import Checkpoints
from mli_utils.runs.store import Store, address

OUTCOMES = ("steps", "train_loss", "train_error", "test_error", "start_norm", "distance", "seconds", "bias_gap")


class NotInRecord(MLIError):
    """Something would have to be computed while a book is rendered from the record, which computes nothing."""


@dataclass(frozen=True, eq=False)
class Run:
    """One trained network.

    Parameters
    ----------
    config : RunConfig
        What determines it.
    body : dict
        What the store keeps of it.
    store : Store
        Where it is kept. Endpoints, on the CPU, are read when asked for, and trained again where it no longer has them.
    """

    config: RunConfig
    body: dict = field(repr=False)
    store: Store = field(repr=False)

    @cached_property
    def history(self) -> pd.DataFrame:
        """What was logged through training: `step`, `loss`, `error`, `class_error_0`, …; a row a logged step."""
        kept = dict(self.body["history"])
        of_classes = np.array(kept.pop("class_error"), float)
        by_class = {f"class_error_{label}": errors for label, errors in enumerate(of_classes.T)}
        return pd.DataFrame({**kept, **by_class}).astype(float).astype({"step": int})

    @cached_property
    def summary(self) -> dict:
        """How it ended (`training.Trained`), `status` first."""
        summary = {name: math.nan if value is None else value for name, value in self.body["summary"].items()}
        bias = self.body["summary"]["output_bias"]
        return {**summary, "output_bias": bias and [math.nan if value is None else value for value in bias]}

    @property
    def provenance(self) -> dict:
        """What made it."""
        return self.body["provenance"]

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


def run_key(config: RunConfig) -> dict:
    """All that determines a run: its config, and the version of each mechanism that makes it."""
    versions = {name: VERSIONS[name] for name in ("data", "initialization")}
    return {"config": asdict(config), "versions": {**versions, "training": VERSIONS["training"][config.model]}}


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
    bodies = {config: store.get("runs", run_key(config)) for config in asked}
    if missing := [config for config in asked if bodies[config] is None]:
        _train_missing(missing, store, asked)
        bodies |= {config: store.get("runs", run_key(config)) for config in missing}
    Checkpoints(store, run_key).forget(asked)  # those of a process that was killed as soon as its run was kept
    return [Run(config, bodies[config], store) for config in configs]


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


def counts(runs: Iterable[Run]) -> dict[str, int]:
    """How many runs there are and how many of them fitted: `all_runs`, `fitted_runs`."""
    runs = list(runs)
    return {"all_runs": len(runs), "fitted_runs": sum(run.summary["status"] == "fitted" for run in runs)}


def means(runs: pd.DataFrame, by: list[str], columns: list[str]) -> pd.DataFrame:
    """Of a `table`, a row a group: how many `runs`, how many `fitted`, and the fitted ones' means of some columns."""
    told = runs.assign(fitted=runs.status == "fitted")
    sizes = told.groupby(by, sort=False).fitted.agg(runs="size", fitted="sum")
    return sizes.join(told[told.fitted].groupby(by)[columns].mean()).reset_index()


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
