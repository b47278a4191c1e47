"""Tasks on a Dask cluster: workers train and measure, this process looks up and keeps.

A worker needs this package, its image sets and no store. What it gives is kept here as soon as it is done, so a lost
worker costs what it was doing: Dask gives that to another.
"""

import asyncio
import ctypes
import functools
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext

import numpy as np

from mli_utils.core.config import InputError, MLIError, RunConfig
from mli_utils.core.versions import VERSIONS
from mli_utils.runs import images, settings, tasks
from mli_utils.runs.checkpoints import Checkpoints

PATIENCE = 5  # seconds that a scheduler has to answer, and again to have a worker
TASKS_A_WORKER = 2  # of a sweep, at least: a slow one holds up fewer others, a lost one costs less
STACK = 4  # runs in a group before there are more groups than workers: alone, a narrow network takes a third longer
FEWEST_STEPS = 500  # of a group that is split: at 0.7 ms a step, or more, it takes 20 times as long as sending it
PROGRESS = "mli-progress"  # the topic on which workers say how many epochs a task has done

_gpu = threading.Lock()


class ClusterLost(MLIError):
    """The cluster, or worker after worker, went away while it was at work."""


@contextmanager
def connected(address: str, datasets: Sequence[str] = ()) -> Iterator["Cluster"]:
    """The cluster whose scheduler is at `address`, when all its workers can do what is going to be asked of them.

    Raises
    ------
    InputError
        dask.distributed is not installed, no scheduler answers, it has no workers, or a worker cannot import this
        package or has another version of a mechanism.
    DataError
        A worker has not all of `datasets`.
    """
    try:
        import dask
        from distributed import Client
        from distributed.comm import CommClosedError
    except ImportError:
        raise InputError(
            f"SCHEDULER={address} needs dask.distributed, which is not installed: pip install 'dask[distributed]'"
        ) from None
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"}):  # endpoints travel
        try:
            with ThreadPoolExecutor(1) as apart:  # a notebook's own thread has an event loop already
                apart.submit(asyncio.run, _knock(address)).result()
            client = Client(address, timeout=PATIENCE, set_as_default=False)
        except Exception as error:  # of many kinds: no such host, nobody there, somebody else there
            raise InputError(
                f"SCHEDULER={address}: no Dask scheduler answers there within {PATIENCE} seconds; "
                "'dask scheduler' starts one and prints its address"
            ) from error
        for name in ("client", "utils"):  # what they have to say is raised, in a sentence
            logging.getLogger(f"distributed.{name}").setLevel(logging.CRITICAL)
        with client:
            try:
                yield _ready(client, address, datasets)
            except CommClosedError:
                raise _gone(address) from None


def _gone(address: str) -> ClusterLost:
    return ClusterLost(f"the scheduler {address} went away; finished runs are kept, the same command goes on")


async def _knock(address: str) -> None:
    """Raise unless whatever listens at an address speaks Dask's language; its client would wait for ever."""
    from distributed.comm import connect
    from distributed.security import Security

    async with asyncio.timeout(PATIENCE):
        comm = await connect(address, timeout=PATIENCE, **Security().get_connection_args("client"))
    await comm.close()


def _ready(client, address: str, datasets: Sequence[str]) -> "Cluster":
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError:
        raise InputError(
            f"SCHEDULER={address} has no workers; 'dask worker {address} --nworkers 2 --nthreads 1' starts two"
        ) from None
    for worker, fault in client.run(_fault, VERSIONS, sorted(set(datasets)), on_error="return").items():
        if isinstance(fault, MLIError):
            raise type(fault)(f"worker {worker}: {fault}")
        if fault is not None and not isinstance(fault, OSError):  # that one has just been lost
            raise InputError(
                f"worker {worker} cannot use mli_utils ({type(fault).__name__}: {fault}); "
                "install this version of it there"
            )
    return Cluster(client, address)


class Cluster:
    """The workers of a cluster as the place where tasks are done; `tasks.Here` says what its methods do."""

    def __init__(self, client, address: str):
        self.client, self.address = client, address
        self.slots = sum(client.nthreads().values())
        self.notes = {}
        client.subscribe_topic(PROGRESS, self._on_progress)

    def group_size(self, config: RunConfig, missing: int) -> int:
        """As `tasks.Here`'s; so few that every worker has work, but not so few that sending them costs more."""
        if config.epochs * math.ceil(config.n_train / config.batch_size) < FEWEST_STEPS:
            return tasks.GROUP_SIZE
        fair = math.ceil(missing / self.slots)
        return min(tasks.GROUP_SIZE, max(math.ceil(fair / TASKS_A_WORKER), min(STACK, fair)))

    def each(self, configs: Sequence[RunConfig], arguments: Sequence[tuple], function: Callable) -> list:
        """`function(*arguments)` for each, so many at once that a worker never waits; they call the other methods."""
        with ThreadPoolExecutor(TASKS_A_WORKER * self.slots) as pool:
            waiting = [pool.submit(function, *values) for values in arguments]
            try:
                return [one.result() for one in waiting]
            except KeyboardInterrupt:
                pool.shutdown(wait=False, cancel_futures=True)
                self.client.close()
                raise

    def train(
        self, groups: Sequence[Sequence[RunConfig]], progress: Callable[[int], None], kept: Checkpoints
    ) -> Iterator[tasks.Entry]:
        """Train groups of runs of one shape, and give the runs of each group as it ends.

        Where one fails the others are still given, then the error is raised. Workers have no store: half-trained runs
        are not kept, and those that are begin again.
        """
        from distributed import as_completed

        sent = {self._send(_train, list(group)): sum(config.epochs for config in group) for group in groups}
        for future in sent:
            self.notes[future.key] = [0, progress]
        failed = None
        for future in as_completed(sent, loop=self.client.loop):
            try:
                entries = self._result(future)
            except MLIError as error:
                failed = failed or error
                continue
            finally:
                future.release()
                self._note(future.key, sent[future])
                del self.notes[future.key]
            yield from entries
        if failed:
            raise failed

    def measure(self, config: RunConfig, arrays: dict[str, np.ndarray], compute: Callable) -> dict:
        """As `tasks.measure`."""
        return self._result(self._send(_measure, config, arrays, compute))

    def _send(self, function: Callable, config, *rest):
        return self.client.submit(function, VERSIONS, config, *rest, pure=False)

    def _result(self, future):
        from distributed import CancelledError, KilledWorker

        try:
            return future.result()
        except KilledWorker as error:
            raise ClusterLost(
                f"{error.allowed_failures + 1} workers of {self.address} died at the same task, the last of them "
                f"{error.last_worker.address}, perhaps for want of memory; finished runs are kept"
            ) from None
        except CancelledError:
            raise _gone(self.address) from None

    def _on_progress(self, event: tuple) -> None:
        _, said = event
        self._note(said["task"], said["epochs"])

    def _note(self, task: str, epochs: int) -> None:
        """Pass on how many epochs of a task are done, unless as many were before: a task may begin again."""
        note = self.notes.get(task)
        if note and epochs > note[0]:
            note[1](epochs - note[0])
            note[0] = epochs


# What follows runs on workers.


@functools.cache
def _keep_memory() -> None:
    """Keep freed memory for the next tensor, as any other process does.

    Dask's nannies start workers so that the C library gives it back at once, and a curve then takes half as long again.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return  # not glibc
    mallopt(-1, 2**30)  # M_TRIM_THRESHOLD
    mallopt(-3, 2**25)  # M_MMAP_THRESHOLD, the most that it can be


def _check(wanted: dict) -> None:
    """Raise where this process has another table of versions than is wanted."""
    _keep_memory()
    for name in sorted(wanted.keys() | VERSIONS.keys()):
        there, here = VERSIONS.get(name, "none"), wanted.get(name, "none")
        if there != here:
            raise InputError(f"mli_utils: {name} has version {there} there and {here} here; install the same there")


def _fault(wanted: dict, datasets: Sequence[str]) -> MLIError | None:
    """Why this worker cannot do such tasks."""
    try:
        _check(wanted)
        settings.device()
        for name in datasets:
            images.check_there(name)
    except MLIError as error:
        return error
    return None


def _train(wanted: dict, configs: Sequence[RunConfig]) -> list[tasks.Entry]:
    from distributed import get_worker

    _check(wanted)  # workers may come while others work
    worker = get_worker()
    task, done, last = worker.get_current_task(), 0, time.monotonic()

    def report(epochs: int) -> None:
        nonlocal done, last
        done += epochs
        if time.monotonic() > last + 1:
            last = time.monotonic()
            worker.log_event(PROGRESS, {"task": task, "epochs": done})

    with _alone(), tasks.threads(configs[0]):
        return list(tasks.train(configs, report))


def _measure(wanted: dict, config: RunConfig, arrays: dict[str, np.ndarray], compute: Callable) -> dict:
    _check(wanted)
    with _alone(), tasks.threads(config):
        return tasks.measure(config, arrays, compute)


def _alone():
    """On a GPU one task of a process after the other."""
    return _gpu if settings.device() == "cuda" else nullcontext()
