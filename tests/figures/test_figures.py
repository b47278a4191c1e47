import csv
import json

import pandas as pd
import pytest
from matplotlib import pyplot as plt

import mli_utils as mli
from mli_utils import figures

ALT = "Two panels: the loss falls from the start, the error stays at chance first."


def test_show_saves_the_figure_its_data_and_what_made_it(small, shown, tmp_path):
    runs = mli.train(mli.grid(**small, seed=range(2)))
    curves = mli.interpolate(runs, ["linear", "homogeneous"], alphas=5)
    made = []
    for _ in range(2):
        mli.show(mli.curve_figure(curves), "two-paths", curves, "What is *seen*.", ALT, runs)
        made.append({path.name: path.read_bytes() for path in (tmp_path / "figures").iterdir()})
    assert set(made[0]) == {f"two-paths.{suffix}" for suffix in ("svg", "png", "csv", "json")}
    for name in ("two-paths.svg", "two-paths.png", "two-paths.csv"):
        assert made[0][name] == made[1][name], f"{name} is not the same twice"
    rows = list(csv.DictReader(made[0]["two-paths.csv"].decode().splitlines()))
    assert [float(row["loss"]) for row in rows] == curves.loss.tolist()
    about = json.loads(made[0]["two-paths.json"])
    assert len(about["runs"]) == 2 and about["profile"] == "small"
    (image, said), (below, _) = shown[:2]
    assert image["image/svg+xml"].startswith("<?xml") and said["mli"]["alt"] == ALT
    assert "[data](figures/two-paths.csv)" in said["mli"]["caption"] and "seeds 0–1" in said["mli"]["caption"]
    assert below.data == said["mli"]["caption"]
    assert not plt.get_fignums()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (dict(name="../etc"), "allowed: letters, digits and hyphens"),
        (dict(alt="figure.png"), "alt text of more than 40 characters"),
        (dict(caption=" "), "needs a caption"),
    ],
)
def test_a_figure_without_words_is_refused(change, said, tmp_path):
    with pytest.raises(mli.InputError, match=said):
        mli.show(plt.figure(), **{"name": "f", "data": pd.DataFrame(), "caption": "c", "alt": ALT, **change})
    plt.close("all")
    assert not (tmp_path / "figures").exists()


def test_figures_of_nothing_say_so_and_columns_that_are_not_there_are_refused(small_config):
    curves = mli.interpolate(mli.train(small_config), alphas=3)
    with pytest.raises(mli.InputError, match="no column optimiser to draw; the frame has dataset"):
        mli.curve_figure(curves, hue="optimiser")
    for nothing in (curves[curves.status == "none such"], mli.only_fitted(curves.assign(status="unfitted"))):
        figure = mli.curve_figure(nothing)
        assert figure.axes[0].texts[0].get_text() == "nothing to draw: no run fitted"
        plt.close(figure)


def test_chance_is_drawn_where_it_is(small_config):
    curves = mli.interpolate(mli.train(small_config), alphas=3)
    figure = mli.curve_figure(curves, columns="bias")
    dotted = [line.get_ydata()[0] for axes in figure.axes for line in axes.lines if line.get_linestyle() == ":"]
    plt.close(figure)
    assert dotted == pytest.approx([2.302585, 0.9])


def test_glue_takes_numbers_and_text_only(shown):
    mli.glue(n=pd.Series([3]).iloc[0], share=0.5, word="holds")
    assert [list(data.values()) for data, _ in shown] == [["3"], ["0.5"], ["'holds'"]]
    with pytest.raises(mli.InputError, match="glue: rows is a list; allowed: a number or text"):
        mli.glue(rows=[1])


def test_ranges_read_well():
    assert figures._ranges([0, 1, 2, 5, 7, 8]) == "0–2, 5, 7–8"


def test_a_mixed_record_says_so(small):
    runs = mli.train(mli.grid(**small, seed=range(2)))
    assert "differ" not in figures.origin(runs)["line"]
    runs[1].provenance["device"] = "another machine"
    assert "The runs differ in device." in figures.origin(runs)["line"]


def test_numbers_stand_where_they_are_on_the_axis():
    frame = pd.DataFrame({"init_scale": [0.6, 0.7, 1.0] * 2, "error_plateau": [0.3, 0.2, 0.1] * 2, "bias": "output"})
    figure = mli.dot_figure(frame, "init_scale", ["error_plateau"], "bias")
    ticks = figure.axes[0].get_xticks()
    plt.close(figure)
    assert list(ticks) == [0.6, 0.7, 1.0]
