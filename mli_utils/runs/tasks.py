"""What is computed at once, in this process or on a worker of a cluster: a group of runs, or one thing about a run.

A task takes and gives what the store keeps, and says itself what made it.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch

from mli_utils.core.config import MODELS, RunConfig
from mli_utils.core.networks import build
from mli_utils.core.parameters import Params
from mli_utils.core.training import train_group
from mli_utils.runs import images, provenance, settings
from mli_utils.runs.checkpoints import Checkpoints, Pace

GROUP_SIZE = 32  # runs trained together at most

Entry = tuple[RunConfig, dict, dict[str, np.ndarray]]  # a run, and the body and arrays that the store keeps of it


def train(
    configs: Sequence[RunConfig], progress: Callable[[int], None], kept: Checkpoints | None = None
) -> Iterator[Entry]:
    """Train runs of one shape together (`training.train_group`), and give each as soon as it has ended."""
    device = settings.device()
    made = provenance.stamp(provenance.device_name(device))  # now: what is done must not be lost to this
    sets, save = images.of_run(configs[0]), Pace(kept) if kept else None
    for group, states in kept.together(configs) if kept else [(configs, [])]:
        for trained in train_group(group, *sets, device, progress, states, save):
            history = trained.history.filter(regex="^(?!class_error)").to_dict("list")
            history["class_error"] = trained.history.filter(like="class_error_").to_numpy().tolist()
            body = {
                "summary": _without_nan(trained.summary),
                "history": _without_nan(history),
                "provenance": {**made, "date": provenance.now()},
            }
            arrays = {
                f"{side}/{name}": value.numpy()
                for side in ("start", "end")
                for name, value in getattr(trained, side).items()
            }
            yield trained.config, body, arrays


def measure(config: RunConfig, arrays: dict[str, np.ndarray], compute: Callable) -> dict:
    """The body of what `compute(model, (θ(0), θ(T)), images)` measures of a run with these arrays.

    Its parameters are on the device, its images are the run's training set; it returns a dict of NumPy arrays.
    """
    device = settings.device()
    made = provenance.stamp(provenance.device_name(device))
    ends = [{name: value.to(device) for name, value in endpoint(arrays, side).items()} for side in ("start", "end")]
    training_set, _ = images.of_run(config)
    measured = compute(build(config), ends, training_set)
    body = {name: _without_nan(values.tolist()) for name, values in measured.items()}
    return {**body, "provenance": {**made, "date": provenance.now()}}


def endpoint(arrays: dict[str, np.ndarray], side: str) -> Params:
    """θ(0) (`start`) or θ(T) (`end`) among the arrays of a run."""
    return {
        name.removeprefix(f"{side}/"): torch.tensor(array)
        for name, array in arrays.items()
        if name.startswith(f"{side}/")
    }


@contextmanager
def threads(config: RunConfig) -> Iterator[None]:
    """Stacked models have every thread that this process has, others one.

    The gradients of convolutions differ in their last bits with the number of threads that share them. A thread a
    network gives the same bits on any number of cores, and on narrow networks is faster than sharing.
    """
    before = torch.get_num_threads()
    if not MODELS[config.model].stacked:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Here:
    """This process as the place where tasks are done; `cluster.Cluster` is the other."""

    def group_size(self, config: RunConfig, missing: int) -> int:
        """How many runs of this one's shape are trained together at most, where so many are missing in all."""
        return GROUP_SIZE

    def each(self, configs: Sequence[RunConfig], arguments: Sequence[tuple], function: Callable) -> list:
        """`function(*arguments)` for each: stacked models in turn with all cores, others at once with a core each.

        A GPU takes one after the other.
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

    def train(
        self, groups: Sequence[Sequence[RunConfig]], progress: Callable[[int], None], kept: Checkpoints
    ) -> Iterator[Entry]:
        """Train groups of runs of one shape, and give each run as it ends; `kept` is where half-trained runs are."""
        for group in groups:
            yield from train(group, progress, kept)

    def measure(self, config: RunConfig, arrays: dict[str, np.ndarray], compute: Callable) -> dict:
        """As `measure` of this module."""
        return measure(config, arrays, compute)


def _without_nan(value):
    """The same with None for every number that JSON cannot hold."""
    if isinstance(value, dict):
        return {name: _without_nan(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
