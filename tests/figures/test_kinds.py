"""Kinds of figure: what is drawn is where it should be, and what cannot be drawn is said."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

import mli_utils as mli
from mli_utils.core.estimates import interval
from mli_utils.figures.kinds import empty_figure
from mli_utils.figures.style import PALETTE


@pytest.fixture
def curves(small_config):
    return mli.interpolate(mli.train(small_config), ["linear", "homogeneous"], alphas=3)


NOTHING = "nothing to draw: no run fitted"


def test_figures_of_nothing_say_so_and_columns_that_are_not_there_are_refused(curves):
    with pytest.raises(mli.InputError, match="figure: no column optimiser; the frame has dataset"):
        mli.curve_figure(curves, hue="optimiser")
    for nothing in (curves[curves.status == "none such"], mli.only_fitted(curves.assign(status="unfitted"))):
        for figure in (
            mli.curve_figure(nothing),
            mli.dot_figure(nothing, "depth", ["loss"], "path"),
            mli.xy_figure(nothing, "alpha", "loss", "path"),
            mli.forest_figure(nothing.assign(mean=nothing.loss, low=0.0, high=1.0), "path"),
            empty_figure(),
        ):
            assert figure.axes[0].texts[0].get_text() == NOTHING


def test_chance_is_drawn_where_it_is(curves):
    figure = mli.curve_figure(curves, columns="bias")
    dotted = [line.get_ydata()[0] for axes in figure.axes for line in axes.lines if line.get_linestyle() == ":"]
    assert dotted == pytest.approx([2.302585, 0.9])


def test_curves_are_means_with_a_band_and_are_named_in_a_legend(small):
    curves = mli.interpolate(mli.train(mli.grid(**small, seed=range(2))), ["linear", "homogeneous"], alphas=3)
    figure = mli.curve_figure(curves)
    for axes, measure in zip(figure.axes, ("loss", "error"), strict=True):
        mean = curves[curves.path == "linear"].groupby("alpha")[measure].mean()
        (line,) = (line for line in axes.lines if to_hex(line.get_color()) == PALETTE[0] and len(line.get_xdata()) > 2)
        assert line.get_ydata() == pytest.approx(mean.to_numpy())
        assert len(axes.collections) == 2 and not axes.texts
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes)]
    (legend,) = (one for one in legends if one)
    assert [text.get_text() for text in legend.get_texts()] == ["linear path", "homogeneous path"]


def test_numbers_stand_where_they_are_on_the_axis():
    frame = pd.DataFrame({"init_scale": [0.6, 0.7, 1.0] * 2, "error_plateau": [0.3, 0.2, 0.1] * 2, "bias": "output"})
    figure = mli.dot_figure(frame, "init_scale", ["error_plateau"], "bias")
    assert list(figure.axes[0].get_xticks()) == [0.6, 0.7, 1.0]


def test_a_name_keeps_its_colour_whatever_the_order_of_its_categories():
    paths = ["linear", "homogeneous"]
    frame = pd.DataFrame({"depth": [4, 4, 10, 10], "error_plateau": [0.3, 0.1, 0.5, 0.2], "path": paths * 2})
    as_text = mli.dot_figure(frame, "depth", ["error_plateau"], "path")
    ordered = frame.assign(path=pd.Categorical(frame.path, paths[::-1]))
    for one, other in zip(
        as_text.legends[0].legend_handles,
        mli.dot_figure(ordered, "depth", ["error_plateau"], "path").legends[0].legend_handles,
        strict=True,
    ):
        assert (one.get_color(), one.get_label()) == (other.get_color(), other.get_label())


def test_lines_of_two_columns_have_their_guides_and_axes():
    x = np.array([1.0, 2.0, 4.0])
    frame = pd.concat([pd.DataFrame({"x": x, "y": power * x, "of": f"{power} x"}) for power in (1, 2)])
    figure = mli.xy_figure(frame, "x", "y", "of", log="xy", guides=frame[frame.of == "2 x"])
    (axes,) = figure.axes
    assert axes.get_xscale() == axes.get_yscale() == "log" and list(axes.get_xticks()) == [1, 2, 4]
    (guide,) = (line for line in axes.lines if line.get_linewidth() < 1 and len(line.get_xdata()))
    assert guide.get_ydata().tolist() == [2, 4, 8] and to_hex(guide.get_color()) == PALETTE[1]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["1 x", "2 x"]


@pytest.mark.parametrize("kind", ["line", "scatter"])
def test_a_panel_may_have_no_point(kind):
    frame = pd.DataFrame({"x": [1.0, 2.0, np.nan, np.nan], "y": 1.0, "of": ["1 x", "2 x"] * 2, "at": list("aabb")})
    figure = mli.xy_figure(frame, "x", "y", "of", kind=kind, columns="at")
    assert [axes.get_title() for axes in figure.axes] == ["at: a", "at: b"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["1 x", "2 x"]


def test_a_forest_has_a_dot_a_row_with_its_interval():
    frame = pd.DataFrame({"arm": ["a"] * 3 + ["b"] * 3, "loss": [1.0, 2.0, 4.0, 0.0, 1.0, 1.0], "kind": "k"})
    rows = mli.intervals(frame, ["arm", "kind"], ["loss"])
    figure = mli.forest_figure(rows, "arm", hue="kind", columns="measure", xlabel="nats")
    (axes,) = figure.axes
    assert [(text.get_text(), text.xy[1]) for text in axes.texts] == [("a", 0), ("b", 1)]
    ((dots, _, (bars,)),) = axes.containers
    assert dots.get_xdata() == pytest.approx(rows["mean"].to_numpy())
    first, second = dots.get_ydata()
    assert 0.3 < first < 1 and second == pytest.approx(first + 1)  # below its label, in its own row
    for bar, arm in zip(bars.get_segments(), ("a", "b"), strict=True):
        assert bar[:, 0] == pytest.approx(interval(frame[frame.arm == arm].loss)[1:])
    pieces = axes.collections[0]  # of the line of no effect, one a row, below the row's label
    assert pieces.get_linestyle()[0][1] is not None  # dotted
    (x, low, high) = zip(*((*set(piece[:, 0]), *piece[:, 1]) for piece in pieces.get_segments()), strict=True)
    assert x == (0, 0) and high == (1, 2) and 0.3 < low[0] < first and low[1] == pytest.approx(low[0] + 1)
