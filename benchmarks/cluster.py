"""What a Dask cluster costs: the time to send a task and get its result back, beside the time that the task takes."""

import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from unittest.mock import patch

import numpy as np

import mli_utils as mli
from mli_utils import sweep, tasks
from mli_utils.store import Store


def measure(configs: Sequence[mli.RunConfig] | None = None, workers: int = 2, repeats: int = 30) -> dict:
    """Train runs of one shape on workers of this machine, one process each, then send tasks that do nothing.

    An empty task takes the same configurations and gives as many bytes as a real one; both go the same way.

    Parameters
    ----------
    configs : default: runs of the book's section 05 under its default profile, `small`, with an output bias

    Returns
    -------
    dict of `tasks`, how many there were; `runs_a_task`; `median_task_seconds`, on a worker; `overhead_seconds`, the
    median time from here to a worker and back; `share`, the second over the first; `store_seconds`, the median time to
    keep a run
    """
    from distributed import LocalCluster

    configs = list(configs or mli.grid(depth=10, bias="output", epochs=300, seed=range(10)))
    settings = {"n_workers": workers, "threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": None}
    with (
        LocalCluster(**settings) as local,
        patch.dict(os.environ, MLI_SCHEDULER=local.scheduler_address),
        sweep.workplace(configs) as place,
    ):
        groups = sweep.parts(configs, place.group_size(configs[0], len(configs)))
        done = place.client.map(_timed, groups, pure=False)
        seconds, sizes = zip(*place.client.gather(done), strict=True)
        trips = []
        for i in range(repeats):
            began = time.perf_counter()
            place.client.submit(_empty, groups[i % len(groups)], sizes[i % len(groups)], pure=False).result()
            trips.append(time.perf_counter() - began)
    task, overhead = statistics.median(seconds), statistics.median(trips)
    return {
        "tasks": len(groups),
        "runs_a_task": len(configs) / len(groups),
        "median_task_seconds": task,
        "overhead_seconds": overhead,
        "share": overhead / task,
        "store_seconds": _store_seconds(configs[0]),
    }


def bench(rounds: int) -> list[dict]:
    """One row: what a task costs, beside the median task."""
    repeats = 10 * rounds
    found = measure(repeats=repeats)
    ratio = 1 / found["share"]
    return [
        {
            "name": "cluster",
            "seconds": found["overhead_seconds"],
            "alternative": "the median task itself",
            "ratio": ratio,
            "limit_share": None,
            "alternative_seconds": found["median_task_seconds"],
            "low": ratio,
            "high": ratio,
            "rounds": repeats,
            "size": f"{found['tasks']} tasks of {found['runs_a_task']:g} runs, two workers",
            "task_seconds": found["median_task_seconds"],
            "runs_a_task": found["runs_a_task"],
            "store_seconds": found["store_seconds"],
        }
    ]


def _store_seconds(config: mli.RunConfig, repeats: int = 20) -> float:
    """The median time to keep a run of this shape."""
    ((_, body, arrays),) = tasks.train([config.replace(epochs=5)], lambda epochs: None)
    taken = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(repeats):
            began = time.perf_counter()
            Store(folder).put("runs", {"number": number}, body, arrays)
            taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def _timed(group: Sequence[mli.RunConfig]) -> tuple[float, list[int]]:
    """How many seconds training takes a worker, and the bytes of each array that it would give."""
    began = time.perf_counter()
    with tasks.threads(group[0]):
        entries = list(tasks.train(group, lambda epochs: None))
    return time.perf_counter() - began, [array.nbytes for _, _, arrays in entries for array in arrays.values()]


def _empty(group: Sequence[mli.RunConfig], sizes: Sequence[int]) -> list[np.ndarray]:
    return [np.ones(size, np.uint8) for size in sizes]


if __name__ == "__main__":
    print(measure())
