"""Figures and numbers on their way into the book."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

import mli_utils as mli
from mli_utils.core.words import span
from mli_utils.figures import show
from mli_utils.runs import settings


def test_show_saves_the_figure_its_data_and_what_made_it(small, shown, tmp_path):
    runs = mli.train(mli.grid(**small, seed=range(2)))
    curves = mli.interpolate(runs, ["linear", "homogeneous"], alphas=5)
    made, open_before = [], plt.get_fignums()
    for _ in range(2):
        mli.show(mli.curve_figure(curves), "two-paths", curves, runs)
        made.append({path.name: path.read_bytes() for path in (tmp_path / "figures").iterdir()})
    assert set(made[0]) == {f"two-paths.{suffix}" for suffix in ("svg", "png", "csv", "json")}
    for name in ("two-paths.svg", "two-paths.png", "two-paths.csv"):
        assert made[0][name] == made[1][name], f"{name} is not the same twice"
    rows = list(csv.DictReader(made[0]["two-paths.csv"].decode().splitlines()))
    assert [float(row["loss"]) for row in rows] == pytest.approx(curves.loss.tolist(), rel=1e-5)
    about = json.loads(made[0]["two-paths.json"])
    assert list(rows[0]) == ["seed", "path", "alpha", "loss", "error"]
    (same,) = about["same in every row"]
    assert (same["dataset"], same["depth"]) == ("digits", 3)
    assert about["figure"] == "two-paths" and len(about["runs"]) == 2 and about["profile"] == "small"
    (image, said), (below, left_out) = shown[:2]
    mark = said[settings.FIGURE_MARK]
    assert image["image/svg+xml"].startswith("<?xml") and mark["figure"] == "two-paths"
    assert "[data](figures/two-paths.csv)" in mark["below"] and "seeds 0–1" in mark["below"]
    assert below.data == mark["below"] and left_out[settings.FIGURE_MARK] == {"left out": True}
    assert plt.get_fignums() == open_before


@pytest.mark.parametrize("name", ["../etc", "", "a b", "fig.svg"])
def test_a_name_that_is_no_file_name_is_refused(name, tmp_path):
    with pytest.raises(mli.InputError, match="allowed: letters, digits and hyphens"):
        mli.show(plt.figure(), name, pd.DataFrame())
    assert not (tmp_path / "figures").exists()


def test_a_figure_of_no_run_says_so(shown):
    mli.show(plt.figure(), "nothing", pd.DataFrame({"x": [1]}))
    assert shown[0][1][settings.FIGURE_MARK]["below"].endswith(
        "Profile small; what is drawn was computed for this page."
    )


def test_a_figure_of_benchmarks_says_what_measured_them(shown):
    rows = pd.DataFrame(
        {"code": ["a", "b"], "machine": "one core", "date": ["2026-01-02T03:04", "2026-01-01"], "s": 1.0}
    )
    mli.show(plt.figure(), "timed", rows)
    below = shown[0][1][settings.FIGURE_MARK]["below"]
    assert below.endswith("Measured by code a, b; one core; 2026-01-01 to 2026-01-02.")


def glued(shown):
    """What prose finds, by name."""
    return {said["scrapbook"]["name"]: data[f"{settings.GLUED}text/plain"] for data, said in shown}


def test_glue_takes_numbers_and_text_and_lists_of_them(shown):
    mli.glue({"n_train": None, "depth": [2, 4]}, n=pd.Series([3]).iloc[0], share=np.float64(0.5), word="holds", of=0.1)
    assert glued(shown) == {
        "n_train": "'all'",
        "depth": "'2, 4'",
        "n": "3",
        "share": "0.5",
        "word": "'holds'",
        "of": "0.1",
    }
    for wrong in ({"a": 1}, pd.Series([1.0]), object()):
        with pytest.raises(mli.InputError, match=r"glue: rows is a \w+; allowed: a number, text or a list"):
            mli.glue(rows=wrong)


def test_rows_of_estimates_are_found_by_what_tells_them_apart(shown):
    frame = pd.DataFrame({"bias": ["none", "none", "output"], "init_scale": [0.5, 0.5, 1.0], "loss": [1.0, 2.0, 3.0]})
    rows = mli.intervals(frame, ["bias", "init_scale"], ["loss"])
    mli.glue(rows, {"more": 1}, last=2)
    found = glued(shown)
    assert list(found) == ["none/0.5/loss", "output/1/loss", "more", "last"]
    assert found["none/0.5/loss"] == repr(span(rows.iloc[0])) == "'1.50 (−4.85 to 7.85)'"
    assert found["output/1/loss"] == "'3.00'"


def test_of_two_values_of_one_name_the_last_is_found(shown):
    mli.glue({"n": 1}, n=2)
    assert glued(shown) == {"n": "2"} and len(shown) == 1


def test_ranges_read_well(small):
    runs = [
        run for seeds in ([0, 1, 2], [5], [7, 8]) for run in mli.train(mli.grid(**{**small, "epochs": 0}, seed=seeds))
    ]
    assert "6 runs, seeds 0–2, 5, 7–8; " in show.origin(runs, pd.DataFrame())["line"]
    assert "1 run, seed 5; " in show.origin(runs[3:4], pd.DataFrame())["line"]


def test_a_mixed_record_says_so(small):
    runs = mli.train(mli.grid(**small, seed=range(2)))
    assert "differ" not in show.origin(runs, pd.DataFrame())["line"]
    runs[1].provenance["device"] = "another machine"
    assert "The runs differ in device." in show.origin(runs, pd.DataFrame())["line"]
