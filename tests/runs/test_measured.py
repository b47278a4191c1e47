"""Curves of runs: tidy rows, kept in the store, by class and along paths of one's own."""

import json

import numpy as np
import pandas as pd
import pytest

import mli_utils as mli
from mli_utils.core.config import FIELDS
from mli_utils.core.curves import curve
from mli_utils.core.versions import VERSIONS
from mli_utils.runs import measured, record, settings
from mli_utils.runs.files import address
from mli_utils.runs.images import of_run
from mli_utils.runs.store import Store
from mli_utils.runs.trained import NotInRecord


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
    monkeypatch.setattr(measured, "curve", None)  # nothing is computed again
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


def test_curves_have_mean_logits(small_config):
    run = mli.train(small_config)[0]
    curves = mli.interpolate(run, alphas=3, by_class=True)
    images = mli.load_data("digits").first(small_config.n_train).images
    expected = mli.build(small_config).logits(run.end, images).mean(0)
    assert curves[curves.alpha == 1].mean_logit.to_numpy() == pytest.approx(expected.numpy(), rel=1e-4, abs=1e-5)


def test_an_address_holds_start_statistics_and_versions(small_config, tmp_path, monkeypatch):
    (run,) = mli.train(small_config)
    for how in ({}, {"start": "zero"}, {"statistics": "frozen"}):  # the last is the first: there is no batch norm
        mli.interpolate(run, alphas=3, **how)
    paths = list((tmp_path / "store" / "curves").glob("*.json"))
    keys = [json.loads(path.read_text(encoding="utf-8"))["key"] for path in paths]
    assert sorted(key["start"] for key in keys) == ["own", "zero"]
    for path, key in zip(paths, keys, strict=True):
        assert path.stem == address(key)
        assert key.keys() == {"run", "schedules", "alphas", "start", "statistics", "versions"}
        assert key["versions"] == {name: VERSIONS[name] for name in ("curves", "starts")}
        assert key["statistics"] == "recomputed" and key["alphas"] == [0, 0.5, 1]
    monkeypatch.setitem(VERSIONS, "curves", 99)
    mli.interpolate(run, alphas=3)
    assert len(list((tmp_path / "store" / "curves").glob("*.json"))) == 3


def test_what_is_measured_of_no_run_is_kept(monkeypatch):
    def squares(numbers):
        made.append(numbers)
        return pd.DataFrame({"number": numbers, "square": [number**2 for number in numbers]})

    made = []
    first, again = (measured.cached_frame("squares", {"numbers": [1, 2]}, squares, "curves") for _ in range(2))
    pd.testing.assert_frame_equal(first, again)
    assert made == [[1, 2]] and first.square.tolist() == [1, 4]
    measured.cached_frame("squares", {"numbers": [3]}, squares, "curves")
    monkeypatch.setenv("MLI_MODE", "book")
    with pytest.raises(NotInRecord, match="squares of .*4.* is not in the record"):
        measured.cached_frame("squares", {"numbers": [4]}, squares, "curves")
    assert made == [[1, 2], [3]]


def test_curves_on_the_first_images_are_curves_of_a_smaller_set(small):
    run, fewer = mli.train(mli.grid(**{**small, "n_train": [40, 15]}))
    first = mli.interpolate(run, "linear", 5, by_class=True, images=15)
    images = of_run(fewer.config)[0]
    whole = curve(mli.build(run.config), run.start, run.end, 5, "linear", images)
    assert first[first.label == 0].loss.tolist() == pytest.approx(whole["loss"].tolist())
    per_class = images.labels.bincount(minlength=10).numpy()
    assert first.class_error.to_numpy().reshape(5, 10) == pytest.approx(whole["wrong"] / per_class)
    assert first.predicted_share.groupby(first.alpha).sum().tolist() == pytest.approx([1.0] * 5)
    assert mli.interpolate(run, "linear", 5, images=40).equals(mli.interpolate(run, "linear", 5))


@pytest.mark.parametrize("images", [0, 41, 2.5, True])
def test_a_wrong_number_of_images_is_refused(small, images):
    run = mli.train(mli.grid(**{**small, "n_train": 40}))[0]
    with pytest.raises(mli.InputError, match=f"images={images} is not allowed .* allowed: from 1 to 40"):
        mli.interpolate(run, "linear", 5, images=images)


def test_a_record_may_hold_curves_on_all_images_and_on_some(small, tmp_path, monkeypatch):
    runs = mli.train(mli.RunConfig(**small))
    curves = {images: mli.interpolate(runs, alphas=3, images=images) for images in (None, 40)}
    store, rows = Store.default("smoke", "reproduce"), {}
    for path in sorted(store.folder.rglob("*.json")):
        name = f"{path.parent.name}/{path.stem}"
        entry = store.entry(name)
        rows[name] = record.row(entry["key"], entry["body"], ["05_some"])
    folder = settings.record_dir("smoke")
    folder.mkdir(parents=True)
    record.write(folder, rows, {})
    monkeypatch.setenv("MLI_MODE", "book")
    monkeypatch.setenv("MLI_PROFILE", "smoke")
    for images, found in curves.items():
        pd.testing.assert_frame_equal(mli.interpolate(mli.train(runs[0].config), alphas=3, images=images), found)


def test_one_path_without_a_name_is_refused(small_config):
    runs = mli.train(small_config)
    frozen = {"weights": "linear", "hidden_biases": "end", "output_bias": "end", "normalization": "end"}
    for paths, said in ((frozen, "this path has no name"), ([], "paths are empty")):
        with pytest.raises(mli.InputError, match=said):
            mli.interpolate(runs, paths)
