"""The r-homogeneous model solved for many settings, and its weights and biases through time (section 04)."""

import itertools

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from mli_utils.core.plateaus import monotonicity_gap
from mli_utils.core.theory import biases_from_weights, flow_curve, solve_flow
from mli_utils.figures.kinds import empty_figure, nothing
from mli_utils.figures.style import in_order, style


def survey(powers, deltas, classes, seeds: int, points: int = 201) -> pd.DataFrame:
    """Solve the model for every combination; one row each.

    Returns
    -------
    Frame of `r`, `delta`, `classes`, `seed`; `last learned` and `largest bias`, class numbers; `margin`, how much of
    the time from the first class learned to the last lies between the last but one and the last; `gap`, largest minus
    smallest bias; `bump`, the largest rise of the loss on the line between the ends (nats); `deviation` of the solved
    biases from `biases_from_weights`, relative to the largest
    """
    rows = []
    for r, delta, k, seed in itertools.product(powers, deltas, classes, range(seeds)):
        flow = solve_flow(r, delta, k, seed)
        learned, bias = flow.learned_at(), flow.biases[-1]
        exact = biases_from_weights(flow.weights[-1], flow.weights[0], r)
        in_order = np.sort(learned)
        rows.append(
            {
                "r": r,
                "delta": delta,
                "classes": k,
                "seed": seed,
                "last learned": int(np.argmax(learned)),
                "largest bias": int(np.argmax(bias)),
                "margin": (in_order[-1] - in_order[-2]) / (in_order[-1] - in_order[0]),
                "gap": np.ptp(bias),
                "bump": monotonicity_gap(flow_curve(flow, np.linspace(0, 1, points))),
                "deviation": np.abs(bias - exact).max() / np.abs(exact).max(),
            }
        )
    return pd.DataFrame(rows)


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
