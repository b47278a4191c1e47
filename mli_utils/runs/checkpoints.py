"""Checkpoints of unfinished runs, from which an interrupted training resumes bit for bit.

A checkpoint is one file, `checkpoints/ADDRESS` in the store: the SHA-256 of the rest, then an npz archive. It is
written atomically, replaced by the next one, and removed when its run is done.
"""

import hashlib
import io
import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from mli_utils.core.config import RunConfig
from mli_utils.core.training import State
from mli_utils.runs import settings
from mli_utils.runs.files import address, remove_leftovers, write_atomically
from mli_utils.runs.store import Store

SHARE = 0.05  # largest fraction of training time spent on checkpoints
DIGEST = hashlib.sha256().digest_size


class Checkpoints:
    """The checkpoints of a store; `key` maps a config to its run's key."""

    def __init__(self, store: Store, key: Callable[[RunConfig], dict]):
        self.store, self.key = store, key

    def write(self, config: RunConfig, state: State) -> None:
        """Replace the checkpoint of a run."""
        about = json.dumps({"step": state.step, "seconds": state.seconds, "history": state.history})
        packed = io.BytesIO()
        np.savez(packed, about=np.frombuffer(about.encode(), np.uint8), **state.arrays)  # type: ignore[arg-type]
        data = packed.getvalue()
        remove_leftovers(self._path(config))
        write_atomically(self._path(config), hashlib.sha256(data).digest() + data)

    def read(self, config: RunConfig) -> State | None:
        """Return the last state of a run, or None. A damaged file is set aside with a warning."""
        path = self._path(config)
        try:
            whole = path.read_bytes()
        except FileNotFoundError:
            return None
        data = whole[DIGEST:]
        if hashlib.sha256(data).digest() != whole[:DIGEST]:
            self.store.set_aside(path)
            return None
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = dict(archive)
        return State(**json.loads(arrays.pop("about").tobytes()), arrays=arrays)

    def remove(self, config: RunConfig) -> None:
        """Remove the checkpoint of a finished run."""
        remove_leftovers(self._path(config))
        self._path(config).unlink(missing_ok=True)

    def forget(self, configs: Iterable[RunConfig]) -> None:
        """Remove the checkpoints of those of these runs that the store has whole; others may be in training."""
        if any((self.store.folder / "checkpoints").glob("*")):
            for config in configs:
                run = self.store.folder / "runs" / address(self.key(config))
                if run.with_suffix(".json").exists() and run.with_suffix(".npz").exists():
                    self.remove(config)

    def by_step(self, configs: Iterable[RunConfig]) -> Iterator[tuple[list[RunConfig], list[State]]]:
        """Group runs by step; yield each group with its states, or with none at step 0."""
        found = [(config, self.read(config)) for config in configs]

        def step(pair: tuple[RunConfig, State | None]) -> int:
            return pair[1].step if pair[1] else 0

        for at, pairs in itertools.groupby(sorted(found, key=step), step):
            group, states = map(list, zip(*pairs, strict=True))
            yield group, states if at else []

    def _path(self, config: RunConfig):
        return self.store.folder / "checkpoints" / address(self.key(config))


class Pace:
    """Write checkpoints every `settings.checkpoint_seconds`, or less often to spend at most `SHARE` of the time."""

    def __init__(self, kept: Checkpoints):
        self.kept, self.last, self.cost = kept, time.monotonic(), 0.0

    def __call__(self, configs: Sequence[RunConfig], states: Callable[[], Iterator[State]]) -> None:
        """Write the states of these runs if it is time; passed to `training.train_group` as `save`."""
        began = time.monotonic()
        if began - self.last < max(settings.checkpoint_seconds(), self.cost / SHARE):
            return
        for config, state in zip(configs, states(), strict=True):
            self.kept.write(config, state)
        self.last = time.monotonic()
        self.cost = self.last - began
