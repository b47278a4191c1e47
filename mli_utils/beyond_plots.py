"""Figures of sections 09 to 11: intervals one below the other, and a dose with its response."""

from collections.abc import Sequence

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from mli_utils.plots import LABELS, empty_figure, nothing, style


def forest_figure(
    rows: pd.DataFrame, y: str, hue: str | None = None, columns: str | None = None, xlabel: str = "", line: float = 0.0
) -> Figure:
    """Means with their intervals from left to right, one below the other: `mean`, `low`, `high` of each row.

    A panel a value of `columns`, a colour a value of `hue`; a dotted line at `line`.
    """
    if nothing(rows, y, "mean", hue, columns):
        return empty_figure()
    names = list(dict.fromkeys(rows[y]))
    panels = list(dict.fromkeys(rows[columns])) if columns else [None]
    kinds = list(dict.fromkeys(rows[hue])) if hue else [None]
    colours, markers = sns.color_palette("colorblind", len(kinds)), ["o", "s", "D", "^", "v", "P"]
    with style():
        figure, axes = plt.subplots(
            1,
            len(panels),
            figsize=(2.2 + 3.1 * len(panels), 1.2 + (0.26 + 0.14 * len(kinds)) * len(names)),
            sharey=True,
            squeeze=False,
            layout="constrained",
        )
        for ax, panel in zip(axes.flat, panels, strict=True):
            ax.axvline(line, color="0.4", ls=":", lw=1)
            for k, kind in enumerate(kinds):
                some = rows[((rows[columns] == panel) if columns else True) & ((rows[hue] == kind) if hue else True)]
                some = some.dropna(subset="mean")
                place = [names.index(name) + 0.6 * ((k + 0.5) / len(kinds) - 0.5) for name in some[y]]
                ends = [(some["mean"] - some.low).fillna(0).clip(0), (some.high - some["mean"]).fillna(0).clip(0)]
                look = {"fmt": markers[k % len(markers)], "color": colours[k], "ms": 5, "lw": 1.6, "capsize": 2.5}
                ax.errorbar(some["mean"], place, xerr=ends, label=kind, **look)
            ax.set(xlabel=xlabel, title=LABELS.get(panel, str(panel).replace("_", " ")) if columns else "")
        axes.flat[0].set_yticks(range(len(names)), [LABELS.get(name, str(name).replace("_", " ")) for name in names])
        axes.flat[0].invert_yaxis()
        if hue:
            figure.legend(*axes.flat[-1].get_legend_handles_labels(), loc="outside right upper")
    return figure


def dose_figure(rows: pd.DataFrame, lines: pd.DataFrame, dose: str, response: str, hue: str, xlabel: str) -> Figure:
    """Measured responses to doses as means with intervals, and predicted ones as lines; doses at equal distances.

    Parameters
    ----------
    rows : `dose`, `mean`, `low`, `high`, and `hue`, what was measured
    lines : `dose`, `mean`, and `hue`, what was predicted
    response : what the axis says
    """
    if nothing(rows, dose, "mean", hue) or nothing(lines, dose, "mean", hue):
        return empty_figure()
    doses = sorted(set(rows[dose]))
    names = list(dict.fromkeys([*rows[hue], *lines[hue]]))
    colours = dict(zip(names, sns.color_palette("colorblind", len(names)), strict=True))
    with style():
        figure, axes = plt.subplots(figsize=(6.6, 3.8), layout="constrained")
        for name, some in rows.groupby(hue, sort=False):
            place = [doses.index(value) for value in some[dose]]
            ends = [(some["mean"] - some.low).fillna(0).clip(0), (some.high - some["mean"]).fillna(0).clip(0)]
            axes.errorbar(place, some["mean"], yerr=ends, fmt="o", color=colours[name], capsize=3, label=name)
        for (name, some), dashes in zip(lines.groupby(hue, sort=False), ("-", "--", ":", "-."), strict=False):
            place = [doses.index(value) for value in some[dose]]
            axes.plot(place, some["mean"], ls=dashes, color=colours[name], label=name)
        axes.set_xticks(range(len(doses)), [f"{value:g}" for value in doses])
        axes.set(xlabel=xlabel, ylabel=response, ylim=(0, 1))
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def scatter_figure(
    frame: pd.DataFrame, x: str, measures: Sequence[str], hue: str, xlabel: str, log: bool = False
) -> Figure:
    """A dot a network against `x`, a panel a measure, coloured by `hue`."""
    if nothing(frame, x, hue, *measures):
        return empty_figure()
    with style():
        figure, panels = plt.subplots(1, len(measures), figsize=(4.2 * len(measures) + 1, 3.5), layout="constrained")
        for axes, measure in zip(panels, measures, strict=True):
            sns.scatterplot(
                frame.astype({hue: str}), x=x, y=measure, hue=hue, style=hue, palette="colorblind", ax=axes,
                alpha=0.6, s=24, legend=measure == measures[-1],
            )  # fmt: skip
            axes.set(xlabel=xlabel, ylabel=LABELS.get(measure, measure.replace("_", " ")), ylim=(0, None))
            if log:
                axes.set_xscale("log")
                axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
                axes.xaxis.set_major_formatter("{x:g}")
                axes.xaxis.set_minor_formatter(NullFormatter())
        sns.move_legend(panels[-1], "upper left", bbox_to_anchor=(1, 1), title=LABELS.get(hue, hue))
    return figure


def layer_figure(curves: pd.DataFrame, measures: Sequence[str] = ("loss", "error")) -> Figure:
    """Means over runs of curves on which one layer moves, from the first layer (dark) to the last (bright)."""
    if nothing(curves, "alpha", "layer", *measures):
        return empty_figure()
    layers = sorted(set(curves.layer))
    colours = sns.color_palette("viridis", len(layers))
    with style():
        figure, panels = plt.subplots(1, len(measures), figsize=(4.4 * len(measures) + 1, 3.3), layout="constrained")
        for axes, measure in zip(panels, measures, strict=True):
            middle = curves.groupby(["layer", "alpha"])[measure].mean().unstack("layer")
            for colour, layer in zip(colours, layers, strict=True):
                axes.plot(middle.index, middle[layer], color=colour, label=layer)
            axes.set(xlabel=LABELS["alpha"], ylabel=LABELS[measure], xlim=(0, 1), ylim=(0, None))
        panels[-1].legend(title="layer", loc="upper left", bbox_to_anchor=(1, 1))
    return figure
