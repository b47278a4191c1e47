import numpy as np
import pandas as pd
import pytest
import torch

import mli_utils as mli
from mli_utils import measurements, sweep, training
from mli_utils.config import FIELDS
from mli_utils.store import DamagedFile, address


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
    (trained,) = training.train_group([small_config])
    (run,) = mli.train([small_config])
    assert run.history.equals(trained.history.astype(run.history.dtypes))
    assert {**run.summary, "seconds": 0} == {**trained.summary, "seconds": 0}
    for mine, theirs in ((run.start, trained.start), (run.end, trained.end)):
        assert mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert {"code", "date", "device", "torch"} <= run.provenance.keys()


def test_curves_are_tidy_and_kept(small, monkeypatch):
    runs = mli.train(mli.grid(**small, bias=["none", "all"]))
    curves = mli.interpolate(runs, ["linear", "homogeneous"], alphas=5)
    assert {*FIELDS, "status", "path", "alpha", "loss", "error"} <= set(curves)
    assert len(curves) == 2 * 2 * 5 and curves.alpha.unique().tolist() == [0, 0.25, 0.5, 0.75, 1]
    ends = curves[curves.alpha == 1].set_index(["bias", "path"])
    for run in runs:
        for path in ("linear", "homogeneous"):
            assert ends.loss[run.config.bias, path] == pytest.approx(run.summary["train_loss"], abs=1e-6)
            assert ends.error[run.config.bias, path] == run.summary["train_error"]
    monkeypatch.setattr(measurements.interpolation, "curve", None)  # nothing is computed again
    pd.testing.assert_frame_equal(mli.interpolate(runs, ["linear", "homogeneous"], alphas=5), curves)


def test_by_class_adds_up_to_the_curve(small_config):
    runs = mli.train(small_config)
    curve = mli.interpolate(runs, alphas=5)
    classes = mli.interpolate(runs, alphas=5, by_class=True)
    assert len(classes) == 5 * 10
    by_alpha = classes.groupby("alpha")
    assert np.allclose(by_alpha.class_error.mean(), curve.error)  # ten images a class
    assert np.allclose(by_alpha.predicted_share.sum(), 1)


def test_paths_of_one_s_own(small_config):
    runs = mli.train(small_config)
    frozen = {"weights": "linear", "hidden_biases": "end", "output_bias": "end", "normalization": "end"}
    curves = mli.interpolate(runs, {"biases first": frozen, "linear": "linear"}, alphas=3)
    assert curves.path.unique().tolist() == ["biases first", "linear"]
    losses = curves.set_index(["path", "alpha"]).loss
    assert losses["biases first", 1.0] == losses["linear", 1.0] and losses["biases first", 0] != losses["linear", 0]


def test_a_diverged_run_is_shown_as_diverged(small):
    runs = mli.train(mli.RunConfig(**{**small, "lr": 900.0}, weight_decay=900.0))
    curves = mli.interpolate(runs, alphas=3)
    assert (curves.status == "diverged").all() and np.isnan(curves.error.iloc[-1])
    again = mli.plateau(curves)
    assert np.isnan(again.error_plateau.item()) and again.status.item() == "diverged"
    assert np.isnan(mli.table(runs).train_error.item())


def test_endpoints_that_are_gone_are_trained_again(small_config, trained, tmp_path):
    (run,) = mli.train([small_config])
    end = run.end
    (tmp_path / "store" / "runs" / f"{address(sweep.run_key(small_config))}.npz").unlink()
    (run,) = mli.train([small_config])
    assert len(trained) == 1  # its numbers are still there
    assert all(torch.equal(run.end[name], end[name]) for name in end)
    assert len(trained) == 2


def test_a_truncated_run_file_is_named_and_its_run_made_again(small_config, trained, tmp_path):
    mli.train([small_config])
    file = tmp_path / "store" / "runs" / f"{address(sweep.run_key(small_config))}.json"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.warns(DamagedFile, match=file.name):
        (run,) = mli.train([small_config])
    assert len(trained) == 2 and run.summary["status"] == "fitted"


def test_a_book_from_the_record_computes_nothing(small_config, trained, tmp_path, monkeypatch):
    runs = mli.train([small_config])
    mli.interpolate(runs, alphas=3)
    record = tmp_path / "root" / "results" / "small"
    record.parent.mkdir(parents=True)
    (tmp_path / "store").rename(record)
    for arrays in record.glob("runs/*.npz"):
        arrays.unlink()
    monkeypatch.setenv("MLI_MODE", "book")
    runs = mli.train([small_config])
    assert len(mli.interpolate(runs, alphas=3)) == 3
    with pytest.raises(sweep.NotInRecord, match="make reproduce"):
        mli.interpolate(runs, alphas=4)
    with pytest.raises(sweep.NotInRecord, match="depth 3 width 16 .* seed 9"):
        mli.train(small_config.replace(seed=9))
    monkeypatch.setenv("MLI_MODE", "reproduce")
    mli.train([small_config])
    assert len(trained) == 2  # a reproduction does not look at the record


def test_the_wrong_thing_is_refused():
    with pytest.raises(mli.InputError, match="is no RunConfig; make some with mli.grid"):
        mli.train([{"depth": 3}])
    with pytest.raises(mli.InputError, match="known: linear, homogeneous"):
        mli.interpolate([], "curved")
    with pytest.raises(AttributeError, match="mli_utils has no 'trian'; it has .*train"):
        _ = mli.trian
