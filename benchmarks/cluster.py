"""The cost of a Dask cluster: the time to send a task and get its result back, beside the time that the task takes."""

import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np

import mli_utils as mli
from benchmarks.measure import timed
from mli_utils.runs import parallel, trained
from mli_utils.runs.store import Store


def bench(rounds: int, configs: Sequence[mli.RunConfig] = (), workers: int = 2) -> list[dict]:
    """One row: train runs of one shape on workers of this machine, one process each, then send tasks that do nothing.

    An empty task takes the same configurations and gives as many bytes as a real one; both go the same way.

    Parameters
    ----------
    rounds : ten empty tasks each
    configs : default: ten runs on digits, ten layers 128 wide, of at most 300 epochs

    Returns
    -------
    a dict as `measure.compare` gives, `seconds` the median time of an empty task from here to a worker and back; and
    with `task_seconds`, the median of a real task on a worker; `runs_a_task`; `store_seconds`, the median to keep a run
    """
    from distributed import LocalCluster

    configs = list(configs or mli.grid(depth=10, bias="output", epochs=300, seed=range(10)))
    settings = {"n_workers": workers, "threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": None}
    with (
        LocalCluster(**settings) as local,
        patch.dict(os.environ, MLI_SCHEDULER=local.scheduler_address),
        parallel.workers() as place,
    ):
        groups = trained.split_groups(configs, configs, place)
        seconds, sizes = zip(*place.client.gather(place.client.map(_timed, groups, pure=False)), strict=True)

        def there_and_back(group: Sequence[mli.RunConfig], bytes_: list[int]) -> None:
            place.client.submit(_empty, group, bytes_, pure=False).result()

        sent = itertools.islice(itertools.cycle(zip(groups, sizes, strict=True)), 10 * rounds)
        trips = [timed(partial(there_and_back, *task)) for task in sent]
    task, overhead, runs_a_task = statistics.median(seconds), statistics.median(trips), len(configs) / len(groups)
    ratio = task / overhead
    return [
        {
            "name": "cluster",
            "seconds": overhead,
            "alternative": "the median task itself",
            "ratio": ratio,
            "limit_share": None,
            "alternative_seconds": task,
            "low": ratio,
            "high": ratio,
            "rounds": 10 * rounds,
            "size": f"{len(groups)} tasks of {runs_a_task:g} runs, {workers} workers",
            "task_seconds": task,
            "runs_a_task": runs_a_task,
            "store_seconds": _store_seconds(configs[0]),
        }
    ]


def _store_seconds(config: mli.RunConfig, repeats: int = 20) -> float:
    """The median time to keep a run of this shape."""
    ((_, body, arrays),) = trained.train_here([config.replace(epochs=5)])
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        keeping = [partial(store.put, "runs", {"number": number}, body, arrays) for number in range(repeats)]
        return statistics.median(map(timed, keeping))


def _timed(group: Sequence[mli.RunConfig]) -> tuple[float, list[int]]:
    """How many seconds training takes a worker, and the bytes of each array that it would give."""
    began = time.perf_counter()
    with parallel.threads(group[0]):
        entries = list(trained.train_here(group))
    return time.perf_counter() - began, [array.nbytes for _, _, arrays in entries for array in arrays.values()]


def _empty(group: Sequence[mli.RunConfig], sizes: Sequence[int]) -> list[np.ndarray]:
    return [np.ones(size, np.uint8) for size in sizes]
