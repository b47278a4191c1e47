"""Runs: only what is new is trained, the rest is read; the same run either way."""

import json
import shutil
from dataclasses import asdict
from types import SimpleNamespace

import pytest
import torch

import mli_utils as mli
from mli_utils.core import training
from mli_utils.core.config import FIELDS
from mli_utils.core.versions import VERSIONS
from mli_utils.runs import parallel, record
from mli_utils.runs.files import DamagedFile, address
from mli_utils.runs.images import of_run
from mli_utils.runs.store import Store
from mli_utils.runs.trained import NotInRecord, counts, run_key


@pytest.fixture
def trained(monkeypatch):
    """The configs that are really trained, in order."""
    seen = []
    real = training.train_group

    def watched(configs, *rest):
        seen.extend(configs)
        return real(configs, *rest)

    monkeypatch.setattr(training, "train_group", watched)
    return seen


def test_only_what_is_new_is_trained(small, trained):
    runs = mli.train(mli.grid(**small, seed=range(3)))
    assert [run.config.seed for run in runs] == [0, 1, 2] and len(trained) == 3
    mli.train(mli.grid(**small, seed=range(3)))
    assert len(trained) == 3
    more = mli.train(mli.grid(**small, bias=["output", "none"], seed=[4, 0]))
    assert [(run.config.bias, run.config.seed) for run in more] == [
        ("output", 4),
        ("output", 0),
        ("none", 4),
        ("none", 0),
    ]
    assert [(config.bias, config.seed) for config in trained[3:]] == [("output", 4), ("none", 4), ("none", 0)]


def test_a_run_read_from_the_store_is_the_run_that_was_trained(small_config):
    (trained,) = training.train_group([small_config], *of_run(small_config))
    (run,) = mli.train([small_config])
    assert run.history.equals(trained.history.astype(run.history.dtypes))
    assert {**run.summary, "seconds": 0} == {**trained.summary, "seconds": 0}
    for mine, theirs in ((run.start, trained.start), (run.end, trained.end)):
        assert mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert {"code", "date", "device", "torch"} <= run.provenance.keys()


def test_endpoints_that_are_gone_are_trained_again(small_config, trained, tmp_path):
    (run,) = mli.train([small_config])
    end = run.end
    (tmp_path / "store" / "runs" / f"{address(run_key(small_config))}.npz").unlink()
    (run,) = mli.train([small_config])
    assert len(trained) == 1  # its numbers are still there
    assert all(torch.equal(run.end[name], end[name]) for name in end)
    assert len(trained) == 2


def test_a_truncated_run_file_is_named_and_its_run_made_again(small_config, trained, tmp_path):
    mli.train([small_config])
    file = tmp_path / "store" / "runs" / f"{address(run_key(small_config))}.json"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.warns(DamagedFile, match=file.name):
        (run,) = mli.train([small_config])
    assert len(trained) == 2 and run.summary["status"] == "fitted"


def recorded(store, target):
    """Write every entry of a store into a record, and remove the store."""
    names = [f"{path.parent.name}/{path.stem}" for path in sorted(store.glob("*/*.json"))]
    entries = {name: Store(store).entry(name) for name in names}
    rows = {name: record.row(entry["key"], entry["body"], ["section"]) for name, entry in entries.items()}
    record.write(target, rows, {})
    shutil.rmtree(store)


def test_a_book_from_the_record_computes_nothing(small_config, trained, tmp_path, monkeypatch):
    runs = mli.train([small_config])
    mli.interpolate(runs, alphas=3)
    recorded(tmp_path / "store", tmp_path / "root" / "results" / "small")
    monkeypatch.setenv("MLI_MODE", "book")
    runs = mli.train([small_config])
    assert len(mli.interpolate(runs, alphas=3)) == 3
    with pytest.raises(NotInRecord, match="make reproduce"):
        mli.interpolate(runs, alphas=4)
    with pytest.raises(NotInRecord, match="depth 3 width 16 .* seed 9"):
        mli.train(small_config.replace(seed=9))
    monkeypatch.setenv("MLI_MODE", "reproduce")
    mli.train([small_config])
    assert len(trained) == 2  # a reproduction does not look at the record


def test_the_wrong_thing_is_refused():
    with pytest.raises(mli.InputError, match="is no RunConfig; make some with mli.grid"):
        mli.train([{"depth": 3}])
    with pytest.raises(mli.InputError, match="known: linear, homogeneous"):
        mli.interpolate([], "curved")
    assert "train" in dir(mli)


def test_an_unknown_name_lists_the_known():
    with pytest.raises(AttributeError, match="mli_utils has no 'trian'; it has .*train"):
        _ = mli.trian


OTHER = dict(
    dataset="mnist", model="vit", depth=4, width=8, bias="all", normalization="layer", init_scale=0.5, optimizer="adam",
    lr=0.2, schedule="cosine", momentum=0.5, weight_decay=0.1, clip=1.0, label_smoothing=0.1, freeze_bias=3,
    batch_size=7, epochs=3, stop_loss=0.1, n_train=50, imbalance=2.0, seed=1,
)  # fmt: skip


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_addresses_a_run(small, field):
    config = mli.RunConfig(**small)
    changes = {field: OTHER[field], **({"normalization": "layer", "depth": None} if field == "model" else {})}
    assert run_key(config)["config"] == asdict(config)
    assert address(run_key(config)) != address(run_key(config.replace(**changes)))
    assert json.loads(json.dumps(run_key(config))) == run_key(config)


@pytest.mark.parametrize("mechanism", ["data", "initialization", "training"])
def test_a_raised_version_moves_a_run(small_config, mechanism, monkeypatch):
    before = address(run_key(small_config))
    raised = {"fcn": 99} if mechanism == "training" else 99
    monkeypatch.setitem(VERSIONS, mechanism, raised)
    assert address(run_key(small_config)) != before


def test_runs_left_out_are_told_by_what_became_of_them():
    def told(*statuses):
        return counts(SimpleNamespace(summary={"status": status}) for status in statuses)["fit"]

    assert told("fitted", "fitted") == "All 2 networks fit their training set."
    others = "1 gets more than 1 % of it wrong and 2 diverge; they are left out"
    assert told("fitted", "unfitted", "diverged", "diverged") == f"1 of 4 networks fit their training set; {others}."


@pytest.mark.parametrize("bad", [{"model": "vgg16", "dataset": "digits32"}, {"depth": 3}])
def test_what_others_have_done_is_kept_when_one_fails(bad):
    def task(fails, advance):
        if fails:
            raise ValueError("failed")
        yield "done"

    good, done = mli.RunConfig(model="vgg16", dataset="digits32"), []
    with parallel.workers() as workers, pytest.raises(ValueError, match="failed"):
        for result in workers.each(task, [(good, (False,)), (mli.RunConfig(**bad), (True,))], print):
            done.append(result)
    assert done == ["done"]
