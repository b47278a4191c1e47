"""Kinds of figure that one section of the paper needs, in the house style: a tidy frame in, a figure out."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from mli_utils import estimates
from mli_utils.plots import empty_figure, nothing
from mli_utils.style import LABELS, PALETTE, colours, in_order, name_lines, style


def order_figure(classes: pd.DataFrame) -> Figure:
    """Centred output biases against places in the order of learning: a dot a class and run, means, intervals.

    Means and intervals are over runs. Classes of a run learned at one step share their places, so each of these places
    gets the mean of their biases; classes never learned have no place.
    """
    if nothing(classes, "place", "centred_bias"):
        return empty_figure()
    colour = PALETTE[0]
    with style():
        figure, axes = plt.subplots(figsize=(5.6, 3.4), layout="constrained")
        axes.axhline(0, color="0.4", ls=":", lw=1)
        axes.plot(classes.place, classes.centred_bias, "o", color=colour, alpha=0.3, ms=4)
        last = int(classes.groupby("run").label.size().max())
        learned = classes.dropna(subset="place").sort_values(["run", "place"])
        of_place = learned.groupby(["run", "place"]).centred_bias.transform("mean")
        places = learned.groupby("run").cumcount() + 1
        middle = {place: estimates.interval(biases) for place, biases in of_place.groupby(places)}
        mean, low, high = np.array(list(middle.values())).T
        axes.errorbar(list(middle), mean, [mean - low, high - mean], fmt="o-", color=colour, ms=6, lw=1.4, capsize=3)
        axes.set(xlabel="place in the order of learning (last: learned last)", ylabel="output bias, centred (logits)")
        if last <= 12:
            axes.set_xticks(range(1, last + 1))
    return figure


def share_figure(shares: pd.DataFrame, chance: float) -> Figure:
    """Shares of predictions over α, a line a `class`: means over runs, bands to lowest and highest, `chance` dotted."""
    if nothing(shares, "alpha", "share", "class"):
        return empty_figure()
    names = list(dict.fromkeys(shares["class"]))
    with style():
        figure, axes = plt.subplots(figsize=(6.2, 3.4), layout="constrained")
        axes.axhline(chance, color="0.4", ls=":", lw=1)
        sns.lineplot(
            shares,
            x="alpha",
            y="share",
            hue="class",
            style="class",
            errorbar=("pi", 100),
            hue_order=names,
            palette=colours(len(names)),
            ax=axes,
        )
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel=LABELS["alpha"], ylabel=LABELS["share"])
        said = [f"class with {name}" for name in names]
        if name_lines([axes], dict(zip(said, colours(len(names)), strict=True))):
            axes.get_legend().remove()
        else:
            axes.legend(title="class with", loc="upper right")
    return figure


def square_figure(frame: pd.DataFrame, depth: int, measures: Sequence[str] = ("error", "loss")) -> Figure:
    """Means over runs on the (α_weights, α_bias) square, with the linear and the homogeneous path drawn on it."""
    if nothing(frame, "alpha_weights", "alpha_bias", *measures):
        return empty_figure()
    with style():
        figure, panels = plt.subplots(
            1, len(measures), figsize=(4.6 * len(measures), 3.9), squeeze=False, layout="constrained"
        )
        path = np.linspace(0, 1, 201)
        for axes, measure in zip(panels.flat, measures, strict=True):
            table = frame.pivot_table(index="alpha_bias", columns="alpha_weights", values=measure)
            drawn = axes.pcolormesh(
                table.columns, table.index, table, cmap="cividis", shading="gouraud", rasterized=True
            )
            figure.colorbar(drawn, ax=axes, label=LABELS.get(measure, measure))
            axes.plot(path, path, color="white", lw=2, label="linear")
            axes.plot(path, path**depth, color="white", lw=2, ls="--", label="homogeneous")
            axes.set(xlabel="α of the weights", ylabel="α of the bias", xlim=(0, 1), ylim=(0, 1), aspect="equal")
            axes.grid(False)
        panels.flat[0].legend(loc="upper left", labelcolor="white", frameon=True, facecolor="0.25", framealpha=0.75)
    return figure


def hardness_figure(lines: pd.DataFrame, steps: pd.DataFrame, budget: int) -> Figure:
    """Curves beside bars: what is still to lose over α, and the steps to solve each problem, on a logarithmic axis."""
    if nothing(lines, "alpha", "to lose", "problem"):
        return empty_figure()
    if nothing(steps, "problem", "steps"):
        return empty_figure()
    names = list(steps["problem"])
    of_names = dict(zip(names, colours(len(names)), strict=True))
    with style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.4), layout="constrained")
        sns.lineplot(
            lines, x="alpha", y="to lose", hue="problem", style="problem", palette=of_names, legend=False, ax=left
        )
        left.set(xlabel=LABELS["alpha"], ylabel="share of the loss still to lose", xlim=(0, 1), ylim=(0, 1.05))
        for place, (name, count) in enumerate(zip(names, steps["steps"], strict=True)):
            never = pd.isna(count)
            right.barh(place, budget if never else max(count, 1), left=0.5, color=of_names[name], alpha=0.85)
            right.annotate(
                "never" if never else f"{count:.0f}",
                (budget if never else max(count, 1) + 0.5, place),
                (4, 0),
                textcoords="offset points",
                va="center",
            )
        right.set(xscale="log", xlim=(0.5, budget * 12), xlabel="steps at the best step size")
        right.set_yticks(range(len(names)), names)
        right.invert_yaxis()
    return figure


def flow_figure(flow: pd.DataFrame) -> Figure:
    """Diagonal weights above biases through time, a line a class, coloured by the order in which they are learned."""
    if nothing(flow, "time", "class", "weight", "bias"):
        return empty_figure()
    with style():
        figure, panels = plt.subplots(2, 1, figsize=(6.4, 4.6), sharex=True, layout="constrained")
        names = list(dict.fromkeys(flow["class"]))
        colours = dict(zip(names, in_order(len(names)), strict=True))
        for axes, measure in zip(panels, ("weight", "bias"), strict=True):
            sns.lineplot(
                flow,
                x="time",
                y=measure,
                hue="class",
                style="class",
                palette=colours,
                ax=axes,
                legend=measure == "weight",
                errorbar=None,
            )
        panels[0].set_ylabel("W of the class's own input")
        panels[1].set(ylabel="bias b of the class", xlabel="time")
        panels[0].legend(title="class learned", loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def flow_traces(flow: pd.DataFrame) -> list[dict]:
    """The lines of `flow_figure` for Plotly: weights on the first y axis, biases on the second, to four digits."""
    names = list(dict.fromkeys(flow["class"]))
    colours = in_order(len(names))

    def digits(values):
        return [float(f"{value:.4g}") for value in values]

    return [
        {
            "x": digits(flow[flow["class"] == name].time),
            "y": digits(flow[flow["class"] == name][measure]),
            "name": name,
            "legendgroup": name,
            "showlegend": measure == "weight",
            "yaxis": axis,
            "line": {"color": colour, "width": 2.5},
        }
        for measure, axis in (("weight", "y"), ("bias", "y2"))
        for name, colour in zip(names, colours, strict=True)
    ]
