"""Parallel tasks, in this process or on the Dask cluster that `settings.scheduler` names.

A task trains runs of one shape, or measures a run. It takes and returns the content of store entries, so a worker needs
this package and its image sets, but no store. Dask reassigns tasks of lost workers.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from mli_utils.core.config import MODELS, InputError, MLIError, RunConfig
from mli_utils.core.versions import VERSIONS
from mli_utils.runs import images, settings

PATIENCE = 5  # seconds to wait for a scheduler, and again for a worker
_gpu = threading.Lock()


class ClusterLost(MLIError):
    """The scheduler or too many workers were lost during work."""


@dataclass(frozen=True)
class Workers:
    """Executor of tasks: `count` threads of this process, or of the cluster that `client` is connected to."""

    pool: Executor
    count: int
    client: Any = None

    def each(self, function: Callable, tasks: Iterable[tuple], advance: Callable[[int], Any]) -> Iterator:
        """Yield the results that `function(*arguments, advance)` yields for each (config, arguments), as tasks end.

        `advance` is called with the number of further epochs, or other units of work, done. In this process stacked
        models run in turn on all threads and yield at once; others run on one thread each. Tasks are taken only when a
        worker is free, because endpoints are large. After a failure no task starts; running ones are waited for.
        """
        if self.client:
            topic = f"done for {self.client.id}"
            self.client.subscribe_topic(topic, lambda event: advance(event[1]))
        most = 2 * self.count if self.client else self.count  # one task queued per thread, so that none idles
        waiting: set[Future] = set()
        failed: list[Exception] = []
        tasks = iter(tasks)
        while True:
            try:
                while not failed and len(waiting) < most and (task := next(tasks, None)):
                    config, arguments = task
                    if self.client:
                        waiting.add(self.pool.submit(_on_worker, VERSIONS, topic, config, function, arguments))
                    elif MODELS[config.model].stacked:
                        yield from function(*arguments, advance)
                    else:
                        waiting.add(self.pool.submit(_do, config, function, arguments, advance))
            except Exception as error:
                failed.append(error)
            if not waiting:
                break
            done = wait(waiting, return_when=FIRST_COMPLETED).done
            waiting -= done
            while done:
                try:
                    yield from done.pop().result()  # drop the future: Dask would recompute a lost worker's results
                except Exception as error:
                    failed.append(error)
        if failed:
            raise failed[0]


@contextmanager
def workers(datasets: Iterable[str] = ()) -> Iterator[Workers]:
    """Yield the cluster that `settings.scheduler` names, after checking all its workers, or else this process.

    Raises
    ------
    InputError
        dask.distributed, a scheduler or workers are missing, or a worker cannot use this version of the package.
    DataError
        A worker lacks one of these image sets.
    ClusterLost
        The scheduler went away, or worker after worker died.
    """
    if not (address := settings.scheduler()):
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            yield Workers(pool, torch.get_num_threads())
        return
    try:
        import dask
        from distributed import Client, KilledWorker
        from distributed.comm import CommClosedError
    except ImportError:
        install = "pip install 'dask[distributed]'"
        raise InputError(f"SCHEDULER={address} needs dask.distributed, which is not installed: {install}") from None
    try:
        with ThreadPoolExecutor(1) as apart:  # a notebook's thread already runs an event loop
            apart.submit(asyncio.run, _knock(address)).result()
        client = Client(address, timeout=PATIENCE, set_as_default=False)
    except Exception as error:  # many kinds: unknown host, no listener, another service
        raise InputError(
            f"SCHEDULER={address}: no Dask scheduler answers there within {PATIENCE} seconds; "
            "'dask scheduler' starts one and prints its address"
        ) from error
    for name in ("client", "utils"):  # their messages are raised instead, as one sentence
        logging.getLogger(f"distributed.{name}").setLevel(logging.CRITICAL)
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"}), client:  # endpoints are large
        try:
            _check_all(client, address, sorted(set(datasets)))
            yield Workers(client.get_executor(pure=False), sum(client.nthreads().values()), client)
        except KilledWorker as error:
            raise ClusterLost(
                f"{error.allowed_failures + 1} workers of {address} died at the same task, the last of them "
                f"{error.last_worker.address}, perhaps for want of memory; finished runs are kept"
            ) from None
        except Exception as error:
            gone = client.status != "running" or isinstance(error, (CancelledError, CommClosedError))
            if isinstance(error, MLIError) or not gone:
                raise
            kept = "finished runs are kept, the same command goes on"
            raise ClusterLost(f"the scheduler {address} went away; {kept}") from None


async def _knock(address: str) -> None:
    """Raise unless a Dask process answers at the address; Dask's client would wait for ever."""
    from distributed.comm import connect
    from distributed.security import Security

    async with asyncio.timeout(PATIENCE):
        comm = await connect(address, **Security().get_connection_args("client"))
    await comm.close()


def _check_all(client, address: str, datasets: list[str]) -> None:
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError:
        start = f"'dask worker {address} --nworkers 2 --nthreads 1' starts two"
        raise InputError(f"SCHEDULER={address} has no workers; {start}") from None
    for worker, fault in client.run(_check, VERSIONS, datasets, on_error="return").items():
        if isinstance(fault, MLIError):
            raise type(fault)(f"worker {worker}: {fault}")
        if fault and not isinstance(fault, OSError):  # OSError: a worker just lost
            said = f"{type(fault).__name__}: {fault}"
            raise InputError(f"worker {worker} cannot use mli_utils ({said}); install this version of it there")


def _check(wanted: dict, datasets: Iterable[str] = ()) -> None:
    """Raise if this process has other versions of mechanisms than `wanted`, or lacks one of these image sets."""
    for name in sorted(wanted.keys() | VERSIONS.keys()):
        there, here = VERSIONS.get(name, "none"), wanted.get(name, "none")
        if there != here:
            raise InputError(f"mli_utils: {name} has version {there} there and {here} here; install the same there")
    settings.device()
    for name in datasets:
        images.check_there(name)


@contextmanager
def threads(config: RunConfig) -> Iterator[None]:
    """Use all threads of this process for a stacked model, one for others; on a GPU run one task at a time.

    The last bits of convolution gradients depend on the number of threads. With one thread per network they are the
    same on any number of cores, and narrow networks are faster.
    """
    alone = _gpu if settings.device() == "cuda" else nullcontext()
    with alone, nullcontext() if MODELS[config.model].stacked else one_thread():
        yield


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch use one thread of this process, so that convolutions have the same bits on any number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _do(config: RunConfig, function: Callable, arguments: tuple, advance: Callable[[int], Any]) -> list:
    with threads(config):
        return list(function(*arguments, advance))


def _on_worker(wanted: dict, topic: str, config: RunConfig, function: Callable, arguments: tuple) -> list:
    """Run a task on a worker, and report progress to the client about once a second."""
    from distributed import get_worker

    _check(wanted)  # workers may join during work
    tell, new, told = partial(get_worker().log_event, topic), 0, time.monotonic()

    def advance(more: int) -> None:
        nonlocal new, told
        new += more
        if time.monotonic() > told + 1:
            tell(new)
            new, told = 0, time.monotonic()

    results = _do(config, function, arguments, advance)
    tell(new)
    return results
