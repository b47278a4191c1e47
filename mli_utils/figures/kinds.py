"""Figures in the house style, from tidy frames. `show.show` puts them into the book."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mli_utils.core import estimates
from mli_utils.core.config import check_columns, choose
from mli_utils.core.plateaus import classes_of, thresholds
from mli_utils.figures.style import LABELS, NARROW, PALETTE, QUARTERS, STYLE, WIDEST, colours, dashes, style

ROW_LABEL, ROW_MARK = 0.24, 0.15  # inches: height of a row's label, and of each of its marks
LEGEND_LINE = 32  # characters that fit a legend in one line
MARKERS = ("o", "s", "D", "^", "v", "P")  # beside the colours


def curve_figure(
    curves: pd.DataFrame,
    hue: str = "path",
    columns: str | None = None,
    measures: Sequence[str] = ("loss", "error"),
) -> Figure:
    """Plot curves over α: one line per value of `hue`, separate panels per measure.

    Lines are means over runs; bands span the lowest to the highest run. Dotted lines mark chance with k classes: loss
    ln k, error 1 − 1/k. A measure that all curves lack, such as the error of a regression, is left out.

    Parameters
    ----------
    curves : pandas.DataFrame
        Columns `dataset` or `classes`, `alpha`, `hue` and the measures, as `interpolate` and `interpolate_model` return
        them.
    hue : str
        Column whose values get a line each.
    columns : str, optional
        Column whose values get a column of panels each; default: measures side by side.
    measures : sequence of str
        Columns to plot.

    Returns
    -------
    matplotlib.figure.Figure
        For `show`; a placeholder with a message if no row has data.

    Raises
    ------
    InputError
        A named column is missing.
    """
    measures = [name for name in measures if name not in curves or curves[name].notna().any()]
    if nothing_to_draw(curves, "alpha", hue, columns, *measures) or not measures:
        return empty_figure()
    labels = LABELS if "dataset" in curves else {**LABELS, "loss": "loss", "error": "error"}
    names = list(dict.fromkeys(curves[hue]))
    groups = list(dict.fromkeys(curves[columns])) if columns else [None]
    shape = (len(measures), len(groups)) if columns else (1, len(measures))
    with style():
        size = (WIDEST if shape[1] > 2 else 3.3 * shape[1], 0.7 + 2.2 * shape[0])
        share = {"sharex": True, "sharey": "row" if columns else False}
        figure, panels = plt.subplots(*shape, figsize=size, squeeze=False, layout="constrained", **share)
        band = min(0.2, 0.4 / len(names))  # many bands lie on each other
        for (measure, group), axes in zip(itertools.product(measures, groups), panels.flat, strict=True):
            some, place = curves[curves[columns] == group] if columns else curves, axes.get_subplotspec()
            for name, colour, dash in zip(names, colours(names), dashes(names), strict=True):
                at = some[some[hue] == name].groupby("alpha")[measure].agg(["mean", "min", "max"])
                axes.fill_between(at.index, at["min"], at["max"], color=colour, alpha=band, lw=0)
                axes.plot(at.index, at["mean"], color=colour, ls=dash, label=LABELS.get(name, name))
            for classes in classes_of(some).dropna().unique() if measure in ("loss", "error") else ():
                axes.axhline(thresholds(classes, 0)[measure], color="0.4", ls=":", lw=1)
            axes.set_xlim(0, 1)
            axes.set_xticks(*QUARTERS)
            if place.is_first_col() or not columns:
                axes.set_ylabel(labels.get(measure, measure))
            if columns and place.is_first_row():
                named = isinstance(group, str)
                axes.set_title(LABELS.get(group, group) if named else f"{LABELS.get(columns, columns)}: {group}")
            if place.is_last_row():
                axes.set_xlabel(LABELS["alpha"])
        for axes in panels.flat:  # after all are drawn: panels of a row share their upper limit
            axes.set_ylim(bottom=0)
        legend = panels.flat[0].get_legend_handles_labels()
        figure.legend(*legend, loc="outside upper center", ncol=min(len(names), 3), columnspacing=1.5)
    return figure


def dot_figure(frame: pd.DataFrame, x: str, measures: Sequence[str], hue: str, join: bool = False) -> Figure:
    """Plot one dot per run beside the mean with its 95 % interval; one panel per measure.

    Parameters
    ----------
    frame : pandas.DataFrame
        One row per run, as `plateau` returns it.
    x : str
        Column on the x-axis: numbers to scale, names equally spaced.
    measures : sequence of str
        Columns to plot.
    hue : str
        Column whose values get a colour each.
    join : bool
        Whether to join the means by a line.

    Returns
    -------
    matplotlib.figure.Figure
        For `show`; a placeholder with a message if no row has data.

    Raises
    ------
    InputError
        A named column is missing.
    """
    if nothing_to_draw(frame, x, hue, *measures):
        return empty_figure()
    with style():
        figure, panels = plt.subplots(
            1, len(measures), figsize=(4.2 * len(measures), 3.8), sharey=True, squeeze=False, layout="constrained"
        )
        names = list(dict.fromkeys(frame[hue]))
        shared = {"data": frame, "x": x, "hue": hue, "hue_order": names, "dodge": True, "native_scale": True}
        shared["palette"] = colours(names)
        for axes, measure in zip(panels.flat, measures, strict=True):
            sns.stripplot(**shared, y=measure, ax=axes, alpha=0.4, size=4, jitter=False, legend=False)
            sns.pointplot(
                **{**shared, "dodge": 0.8 * (1 - 1 / len(names)) or False},  # as strips are
                y=measure,
                ax=axes,
                errorbar=lambda values: estimates.interval(values)[1:],
                linestyle="-" if join else "none",
                linewidth=1.2,
                markers=[MARKERS[k % len(MARKERS)] for k in range(len(names))],
                markersize=5,
                capsize=0.1,
                err_kws={"linewidth": 1.6},
                legend=measure == measures[-1],
            )
            axes.set(xlabel=LABELS.get(x, x), ylabel="", title=LABELS.get(measure, measure))
            if pd.api.types.is_numeric_dtype(frame[x]):
                axes.set_xticks(sorted(set(frame[x])), [f"{value:g}" for value in sorted(set(frame[x]))])
        panels.flat[0].set_ylim(bottom=0)
        handles, labels = panels.flat[-1].get_legend_handles_labels()
        panels.flat[-1].get_legend().remove()
        if len(labels) > 1:
            ncol = min(len(labels), 2)
            figure.legend(handles, labels, title=LABELS.get(hue, hue), loc="outside upper left", ncol=ncol)
    return figure


def xy_figure(
    frame: pd.DataFrame,
    x: str,
    y: str,
    hue: str,
    kind: str = "line",
    columns: str | None = None,
    log: str = "",
    diagonal: bool = False,
    guides: pd.DataFrame | None = None,
) -> Figure:
    """Plot one column against another, as lines or as a scatter.

    Parameters
    ----------
    frame : pandas.DataFrame
        One row per point.
    x, y : str
        Columns on the axes.
    hue : str
        Column whose values get a colour each.
    kind : str
        `line` or `scatter`.
    columns : str, optional
        Column whose values get a panel each.
    log : str
        Logarithmic axes: `x`, `y` or `xy`; empty for none.
    diagonal : bool
        Whether to draw y = x, dotted.
    guides : pandas.DataFrame, optional
        Reference lines, drawn thin; columns `x`, `y` and `hue`.

    Returns
    -------
    matplotlib.figure.Figure
        For `show`; a placeholder with a message if no row has data.

    Raises
    ------
    InputError
        A named column is missing, or `kind` or `log` is unknown.
    """
    choose("kind of figure:", kind, ("line", "scatter"))
    choose("logarithmic axes", log, ("x", "y", "xy", ""))
    if nothing_to_draw(frame, x, y, hue, columns):
        return empty_figure()
    names = list(dict.fromkeys(frame[hue]))
    of_names, panels = colours(names), list(dict.fromkeys(frame[columns])) if columns else [None]
    width = min(NARROW, WIDEST / len(panels))
    ncol = len(names) if sum(len(str(name)) + 3 for name in names) < LEGEND_LINE else 2
    size = (width * len(panels), max(0.8 * width, 2.6) + 0.4 + 0.2 * math.ceil(len(names) / ncol))
    shared = {"x": x, "y": y, "hue": hue, "style": hue, "hue_order": names, "style_order": names, "palette": of_names}
    look = {"errorbar": None, "markers": len(frame) < 200} if kind == "line" else {"alpha": 0.65, "s": 28}
    with style():
        grid = sns.relplot(frame, **shared, **look, kind=kind, col=columns, col_order=panels)
        for axes in grid.axes.flat:
            if diagonal:
                axes.axline((0, 0), slope=1, color="0.4", ls=":", lw=1)
            for colour, name in zip(of_names, names, strict=True) if guides is not None else ():
                of_name = guides[guides[hue] == name]
                axes.plot(of_name[x], of_name[y], color=colour, ls="-", lw=0.7)
            if "x" in log:
                axes.set_xscale("log")
                axes.set_xticks(sorted(set(frame[x])), [f"{value:g}" for value in sorted(set(frame[x]))], minor=False)
                axes.set_xticks([], minor=True)
            if "y" in log:
                axes.set_yscale("log")
        grid.set_axis_labels(LABELS.get(x, x), LABELS.get(y, y))
        grid.set_titles(f"{LABELS.get(columns, columns)}: {{col_name}}" if columns else "")
        grid.figure.set(size_inches=size, layout_engine="constrained")
        sns.move_legend(grid, "outside upper left", title=LABELS.get(hue, hue), ncol=ncol, columnspacing=1)
    return grid.figure


def forest_figure(
    rows: pd.DataFrame, y: str, hue: str | None = None, columns: str | None = None, xlabel: str = ""
) -> Figure:
    """Draw a forest plot: means with horizontal intervals, one below the other; zero is dotted.

    Parameters
    ----------
    rows : pandas.DataFrame
        Columns `mean`, `low`, `high`, as `intervals` returns them.
    y : str
        Column that labels the rows.
    hue : str, optional
        Column whose values get a colour and a marker each.
    columns : str, optional
        Column whose values get a panel each, on one scale unless it is `measure`.
    xlabel : str
        Label of the x-axes.

    Returns
    -------
    matplotlib.figure.Figure
        For `show`; a placeholder with a message if no row has data.

    Raises
    ------
    InputError
        A named column is missing.
    """
    if nothing_to_draw(rows, y, "mean", hue, columns):
        return empty_figure()
    names = list(dict.fromkeys(rows[y]))
    panels = list(dict.fromkeys(rows[columns])) if columns else [None]
    kinds = list(dict.fromkeys(rows[hue])) if hue else [None]
    hues = colours(kinds)
    height = ROW_LABEL + ROW_MARK * (len(kinds) + 0.6)  # of a row, in inches: its label, then its marks
    with style():
        figure, axes = plt.subplots(
            1,
            len(panels),
            figsize=(NARROW, 1.2 + height * len(names)),
            sharex=columns != "measure",
            sharey=True,
            squeeze=False,
            layout="constrained",
        )
        for ax, panel in zip(axes.flat, panels, strict=True):
            below = [row + ROW_LABEL / height for row in range(len(names))]  # of the rows' labels
            ax.vlines([0] * len(names), below, range(1, len(names) + 1), color="0.4", ls=":", lw=1)
            for k, kind in enumerate(kinds):
                some = rows[((rows[columns] == panel) if columns else True) & ((rows[hue] == kind) if hue else True)]
                some = some.dropna(subset="mean")
                place = [names.index(name) + (ROW_LABEL + ROW_MARK * (k + 0.5)) / height for name in some[y]]
                ends = [(some["mean"] - some.low).fillna(0).clip(0), (some.high - some["mean"]).fillna(0).clip(0)]
                look = {"fmt": MARKERS[k % len(MARKERS)], "color": hues[k], "ms": 5, "lw": 1.6, "capsize": 2.5}
                ax.errorbar(some["mean"], place, xerr=ends, label=kind, **look)
            ax.set(title=LABELS.get(panel, str(panel).replace("_", " ")) if columns else "")
            ax.xaxis.set_major_locator(MaxNLocator(max(2, 6 // len(panels)), steps=[1, 2, 5, 10]))
        figure.supxlabel(xlabel, fontsize=STYLE["axes.titlesize"])
        figure.get_layout_engine().set(w_pad=0.12)  # inches; else ticks of two panels read as one number
        axes.flat[0].set_ylim(len(names), 0)
        label_rows(axes.flat[0], [LABELS.get(name, str(name).replace("_", " ")) for name in names])
        for ax in axes.flat[1:]:
            label_rows(ax, [])
        if hue:
            said = sum(len(str(kind)) for kind in kinds)
            handles = axes.flat[-1].get_legend_handles_labels()
            figure.legend(*handles, loc="outside upper center", ncol=len(kinds) if said < LEGEND_LINE else 1)
    return figure


def label_rows(axes: Axes, names: Sequence[str], at: Sequence[float] | None = None) -> None:
    """Write names above the rows of a plot, from its left edge, instead of beside them: so it fits a phone.

    Parameters
    ----------
    at : upper edges of the rows, in units of the y-axis; None: 0, 1, …
    """
    axes.set_yticks([])
    axes.spines.left.set_visible(False)
    for place, name in zip(range(len(names)) if at is None else at, names, strict=True):
        label = axes.annotate(name, (0, place), (2, -2), ("axes fraction", "data"), "offset points", va="top")
        label.set_in_layout(False)  # it may reach over the next panel


def order_figure(classes: pd.DataFrame) -> Figure:
    """Plot centred output biases against places in the order of learning, with means and intervals over runs.

    Each dot is one class of one run. Classes that a run learns at the same step are tied: each of their places gets
    their mean bias. Classes never learned have no place.
    """
    if nothing_to_draw(classes, "place", "centred_bias"):
        return empty_figure()
    colour = PALETTE[0]
    with style():
        figure, axes = plt.subplots(figsize=(NARROW, 3.2), layout="constrained")
        axes.axhline(0, color="0.4", ls=":", lw=1)
        axes.plot(classes.place, classes.centred_bias, "o", color=colour, alpha=0.3, ms=4)
        last = int(classes.groupby("run").label.size().max())
        learned = classes.dropna(subset="place").sort_values(["run", "place"])
        of_place = learned.groupby(["run", "place"]).centred_bias.transform("mean")
        places = learned.groupby("run").cumcount() + 1
        middle = {place: estimates.interval(biases) for place, biases in of_place.groupby(places)}
        mean, low, high = np.array(list(middle.values())).T
        axes.errorbar(list(middle), mean, [mean - low, high - mean], fmt="o-", color=colour, ms=6, lw=1.4, capsize=3)
        axes.set(xlabel="place in the order of learning\n(last: learned last)", ylabel="output bias, centred (logits)")
        if last <= 12:
            axes.set_xticks(range(1, last + 1))
    return figure


def nothing_to_draw(frame: pd.DataFrame, *columns: str | None) -> bool:
    """Return whether no row has a value in every column; raise InputError if a column is missing."""
    wanted = [name for name in columns if name]
    check_columns("figure", frame, wanted)
    return frame[wanted].dropna().empty


def empty_figure(said: str = "nothing to draw: no run fitted") -> Figure:
    """Return a placeholder figure that says why nothing is drawn."""
    with style():
        figure, axes = plt.subplots(figsize=(5.6, 1.6), layout="constrained")
        axes.set_axis_off()
        axes.text(0.5, 0.5, said, ha="center", va="center")
    return figure
