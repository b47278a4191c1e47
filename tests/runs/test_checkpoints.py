"""Half-trained runs: kept, found again, and continued to the last bit."""

import time

import numpy as np
import pandas as pd
import pytest
import torch

import mli_utils as mli
from mli_utils.core import training
from mli_utils.runs import checkpoints, parallel, settings
from mli_utils.runs import trained as trained_runs
from mli_utils.runs.checkpoints import Checkpoints, Pace
from mli_utils.runs.files import DamagedFile
from mli_utils.runs.images import of_run
from mli_utils.runs.store import Store
from mli_utils.runs.trained import run_key

SMALL = dict(depth=3, width=16, init_scale=1.0, n_train=100, epochs=12, batch_size=16, stop_loss=0.0, bias="all")
CONVOLUTIONAL = dict(dataset="digits32", width=4, n_train=24, batch_size=8, epochs=4, stop_loss=0.0, lr=0.02)
KINDS = {
    "momentum": dict(SMALL, lr=0.1, clip=1.0, schedule="cosine", weight_decay=1e-3),
    "adam": dict(SMALL, lr=0.01, optimizer="adam"),
    "convolutions": dict(CONVOLUTIONAL, model="vgg16"),
    "batch norm": dict(CONVOLUTIONAL, model="resnet18", normalization="batch"),
}


def train(configs, kept=None, **options):
    """Train runs of one shape; with `kept` from where their checkpoints are, and writing new ones."""
    save = Pace(kept) if kept else None
    for group, states in kept.by_step(configs) if kept else [(configs, [])]:
        yield from training.train_group(group, *of_run(configs[0]), states=states, save=save, **options)


class Interrupted(Exception):
    pass


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("MLI_CHECKPOINT", "0")
    monkeypatch.setattr(checkpoints, "SHARE", 1e9)  # at every epoch
    return Checkpoints(Store(tmp_path / "store"), run_key)


def interrupted_after(epochs):
    def progress(done):
        progress.done += done > 0
        if progress.done > epochs:
            raise Interrupted

    progress.done = -1  # the first call says how much was there before
    return progress


def same(one: training.Trained, other: training.Trained):
    pd.testing.assert_frame_equal(one.history, other.history, check_exact=True)
    timeless = [{name: value for name, value in each.summary.items() if name != "seconds"} for each in (one, other)]
    return timeless[0] == timeless[1] and all(torch.equal(one.end[name], other.end[name]) for name in other.end)


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_run_goes_on_to_the_last_bit(kept, kind):
    config = mli.RunConfig(**KINDS[kind])
    with parallel.threads(config):
        (whole,) = train([config])
        for _ in range(2):  # an interruption of what had been continued, too
            with pytest.raises(Interrupted):
                list(train([config], kept, progress=interrupted_after(1)))
        state = kept.read(config)
        (continued,) = train([config], kept)
    assert 0 < state.step < whole.summary["steps"] and len(state.history) < len(whole.history)
    assert same(continued, whole) and continued.summary["seconds"] > state.seconds


def test_runs_at_different_steps_go_on_in_groups_of_their_own(kept):
    configs = mli.grid(**{**KINDS["momentum"], "seed": range(4), "stop_loss": 0.05, "epochs": 60})
    whole = {trained.config: trained for trained in train(configs)}
    assert len({trained.summary["steps"] for trained in whole.values()}) > 1
    for some, epochs in ((configs[:2], 3), (configs[2:3], 5)):
        with pytest.raises(Interrupted):
            list(train(some, kept, progress=interrupted_after(len(some) * epochs)))
    steps = [len(group) for group, _ in kept.by_step(configs)]
    assert sorted(steps) == [1, 1, 2]
    continued = list(train(configs, kept))
    assert len(continued) == 4
    for trained in continued:  # in other groups than before, so to float rounding only
        assert abs(trained.history.loss[:30] - whole[trained.config].history.loss[:30]).max() < 1e-4


def test_an_interrupted_group_goes_on_as_it_would_have(tmp_path, kept, monkeypatch):
    configs = mli.grid(**{**KINDS["momentum"], "seed": range(5), "stop_loss": 0.05, "epochs": 60})
    monkeypatch.setattr(trained_runs, "GROUP_SIZE", 3)
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("MLI_STORE", str(tmp_path / "undisturbed"))
        whole = [run.end for run in mli.train(configs)]

    original = training.summarize
    calls = []

    def summarize(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise Interrupted
        return original(*arguments)

    monkeypatch.setattr(training, "summarize", summarize)
    with pytest.raises(Interrupted):
        mli.train(configs)
    monkeypatch.setattr(training, "summarize", original)
    assert len(list((kept.store.folder / "runs").glob("*.json"))) == 2
    for run, end in zip(mli.train(configs), whole, strict=True):
        assert all(torch.equal(run.end[name], end[name]) for name in end)


def test_training_through_the_store_leaves_no_checkpoint(kept, monkeypatch):
    monkeypatch.setenv("MLI_STORE", str(kept.store.folder))
    config = mli.RunConfig(**KINDS["momentum"])
    whole = next(train([config]))
    with pytest.raises(Interrupted):
        list(train([config], kept, progress=interrupted_after(3)))
    (path,) = (kept.store.folder / "checkpoints").iterdir()
    (run,) = mli.train(config)
    assert not path.exists() and all(torch.equal(run.end[name], whole.end[name]) for name in whole.end)


def test_a_damaged_checkpoint_is_set_aside_and_the_run_begins_again(kept):
    config = mli.RunConfig(**KINDS["momentum"])
    (whole,) = train([config])
    with pytest.raises(Interrupted):
        list(train([config], kept, progress=interrupted_after(3)))
    (path,) = (kept.store.folder / "checkpoints").iterdir()
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in (0, checkpoints.DIGEST, len(good) // 2, len(good) - 1, *rng.integers(len(good), size=20)):
        path.write_bytes(good[:place] + bytes([good[place] ^ 4]) + good[place + 1 :])
        with pytest.warns(DamagedFile, match="is damaged; set aside as"):
            assert kept.read(config) is None
    for size in (0, 5, checkpoints.DIGEST, len(good) - 1):
        path.write_bytes(good[:size])
        with pytest.warns(DamagedFile):
            (trained,) = train([config], kept)
        assert same(trained, whole)


def test_checkpoints_take_at_most_their_share_of_the_time(tmp_path, monkeypatch):
    monkeypatch.setenv("MLI_CHECKPOINT", "0.02")
    clock, spent, costly = [0.0], [], 0.05
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    class Slow(Checkpoints):
        def write(self, config, state):
            spent.append(costly)
            clock[0] += costly

    pace = Pace(Slow(Store(tmp_path), run_key))
    for _ in range(1000):
        clock[0] += 0.01
        pace([None], lambda: [None])
    assert len(spent) > 5 and sum(spent) < checkpoints.SHARE * clock[0]


def test_short_runs_write_none_and_a_bad_pace_is_named(tmp_path, monkeypatch, small_config):
    monkeypatch.setattr(
        checkpoints.Checkpoints, "write", lambda *_: pytest.fail("a run of a second wrote a checkpoint")
    )
    mli.train(small_config)
    monkeypatch.setenv("MLI_CHECKPOINT", "soon")
    with pytest.raises(mli.InputError, match="MLI_CHECKPOINT=soon is not allowed; allowed: seconds"):
        settings.checkpoint_seconds()


def test_a_book_leaves_the_checkpoints_of_a_training_under_way(kept, monkeypatch, tmp_path):
    (config,) = mli.grid(**SMALL)
    with pytest.raises(Interrupted):
        list(train([config], kept, progress=interrupted_after(3)))
    assert kept.read(config)
    kept.forget([config])
    assert kept.read(config), "its run is in no store"
    kept.store.put("runs", run_key(config), {"summary": {}}, {})
    kept.forget([config])
    assert not kept.read(config)


def test_an_interrupted_run_has_its_share_of_the_seconds(kept, monkeypatch):
    """The clock says one second more at every look, so that shares are numbers of looks."""
    ticks = iter(range(10**6))
    monkeypatch.setattr(training.time, "perf_counter", lambda: next(ticks))
    ends = [{"stop_loss": 2.0}, {"stop_loss": 0.0}]
    configs = [mli.RunConfig(**{**SMALL, "lr": 0.1, **end}, seed=i) for i, end in enumerate(ends)]
    short, long = sorted(train(configs), key=lambda run: run.summary["seconds"])
    assert short.summary["steps"] < long.summary["steps"]
    alone = long.summary["seconds"] - short.summary["seconds"]
    logged = len(long.history) - len(short.history)
    assert alone >= logged - 1  # once the other has ended, it has the time to itself
