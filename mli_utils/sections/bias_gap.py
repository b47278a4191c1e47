"""Solutions of the r-homogeneous model: many settings, and weights and biases over time (section 04)."""

from collections.abc import Sequence
from itertools import cycle, product

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from mli_utils.core.plateaus import monotonicity_gap
from mli_utils.core.theory import biases_from_weights, flow_curve, solve_flow
from mli_utils.figures.moving import Moving
from mli_utils.figures.style import NARROW, in_order, style
from mli_utils.runs.measured import cached_frame

MODEL = {"noise": 0.1, "final_loss": 1e-2}  # fixed arguments of `solve_flow`
DISTINCT = 0.05  # least `margin` at which the last two classes learned are distinct
SMALL_GAP = 1.0  # below it the softmax does not saturate
RISE = 1e-3  # nats; smaller rises of the loss are ignored
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")  # with a colour each, lines in any light


def through_time(r: int, delta: float, k: int, seed: int = 0, points: int = 400, digits: int = 17) -> pd.DataFrame:
    """Return `Flow.frame` of one solution, stored, with `digits` significant digits (17 are exact)."""
    key = {"r": r, "delta": delta, "k": k, "seed": seed, **MODEL, "points": points, "digits": digits}
    return cached_frame("flows", key, _through_time, "bias_gap")


def _through_time(points: int, digits: int, **model) -> pd.DataFrame:
    frame = solve_flow(**model).frame(points)
    numbers = frame.select_dtypes("number").map(lambda value: float(f"{value:.{digits}g}"))
    return frame.assign(**numbers)


def survey(
    powers: list[int], deltas: list[float], classes: list[int], seeds: Sequence[int], points: int = 201
) -> pd.DataFrame:
    """Solve the model for every combination of settings, or read it from the store; one row each.

    Returns
    -------
    Frame of `r`, `delta`, `classes`, `seed`; `last learned` and `largest bias`, class indices; `margin`, the time
    between the last two classes learned over the time between the first and the last; `gap`, largest minus smallest
    bias; `bump`, the largest rise of the loss on the linear path (nats); `deviation` of the solved biases from
    `biases_from_weights`, relative to the largest; and the columns of `describe`
    """
    key = {"powers": powers, "deltas": deltas, "classes": classes, "seeds": list(seeds), **MODEL, "points": points}
    return describe(cached_frame("surveys", key, _survey, "bias_gap"))


def _survey(powers, deltas, classes, seeds: list[int], points: int, **model) -> pd.DataFrame:
    rows = []
    for r, delta, k, seed in product(powers, deltas, classes, seeds):
        flow = solve_flow(r, delta, k, seed, **model)
        learned, bias = flow.learned_at(), flow.biases[-1]
        exact = biases_from_weights(flow.weights[-1], flow.weights[0], r)
        first, before, last = np.sort(learned)[[0, -2, -1]]
        rows.append(
            {
                "r": r,
                "delta": delta,
                "classes": k,
                "seed": seed,
                "last learned": int(np.argmax(learned)),
                "largest bias": int(np.argmax(bias)),
                "margin": (last - before) / (last - first) if last > first else 0.0,
                "gap": np.ptp(bias),
                "bump": monotonicity_gap(flow_curve(flow, np.linspace(0, 1, points))),
                "deviation": np.abs(bias - exact).max() / np.abs(exact).max(),
            }
        )
    return pd.DataFrame(rows)


def describe(solved: pd.DataFrame) -> pd.DataFrame:
    """Add `distinct` (margin ≥ `DISTINCT`), `agrees` (the last learned has the largest bias), `power` (r as text)."""
    return solved.assign(
        distinct=solved.margin >= DISTINCT,
        agrees=solved["last learned"] == solved["largest bias"],
        power="r = " + solved.r.astype(str),
    )


def agreement(configurations: pd.DataFrame) -> pd.DataFrame:
    """Count per power how often `agrees` and `distinct` hold, and `exceptions` (distinct but not agreeing)."""
    told = configurations.assign(exceptions=configurations.distinct & ~configurations.agrees)
    sums = {"agree": ("agrees", "sum"), "distinct": ("distinct", "sum"), "exceptions": ("exceptions", "sum")}
    return told.groupby("r").agg(configurations=("agrees", "size"), **sums).reset_index()


def gaps(configurations: pd.DataFrame) -> pd.DataFrame:
    """Return the mean gap by `r` and `delta`, and `gap_predicted` ∝ δ^−(r−2), fixed at the largest δ."""
    found = configurations.groupby(["r", "delta", "power"], as_index=False).gap.mean()[["r", "delta", "gap", "power"]]
    largest = found.delta.max()
    anchor = found.r.map(found[found.delta == largest].set_index("r").gap)
    return found.assign(gap_predicted=anchor * (found.delta / largest) ** (2 - found.r))


def claims(configurations: pd.DataFrame) -> dict[str, pd.Series]:
    """Return the quantity of each claim of section 04, by configuration.

    Settings of one number of classes and one seed share their draw of noise, which is the cluster `draw`.
    """
    draws = configurations.assign(draw=configurations.classes.astype(str) + "/" + configurations.seed.astype(str))
    ends = draws.pivot(index=["r", "draw"], columns="delta", values="gap")
    growth = ends.iloc[:, 0] / ends.iloc[:, -1]
    at_two = growth.index.get_level_values("r") == 2
    return {
        "last-learned-ends-largest-in-the-model": draws[draws.r >= 3].set_index(["r", "delta", "draw"]).agrees,
        "small-start-makes-a-gap": growth[~at_two],
        "no-such-gap-at-two": growth[at_two],
    }


def numbers(configurations: pd.DataFrame, gaps: pd.DataFrame) -> dict:
    """Return the numbers in the text of section 04."""
    counted = agreement(configurations)
    deep, shallow = counted[counted.r >= 3].sum(), counted[counted.r == 2].sum()
    found = claims(configurations)
    rising = configurations[configurations.bump > RISE]
    slopes = {
        r: np.polyfit(np.log(of.delta), np.log(of.gap), 1)[0]
        for r, of in gaps[gaps.gap < SMALL_GAP].groupby("r")
        if len(of) > 1
    }
    return {
        "smallest": configurations.delta.min(),
        "largest": configurations.delta.max(),
        "configurations": len(configurations),
        "configurations_a_point": len(configurations) // len(gaps),
        "deep": deep.configurations,
        "deep_distinct": deep.distinct,
        "deep_exceptions": deep.exceptions,
        "deep_agree": deep.agree,
        "deep_ties": deep.configurations - deep.distinct,
        "shallow_agree": shallow.agree,
        "shallow": shallow.configurations,
        "slopes": "; ".join(
            f"for r = {r} the exponent is {slope:z.2f} ({2 - r} predicted)".replace("-", "−")
            for r, slope in slopes.items()
        ),
        "growth": found["small-start-makes-a-gap"].mean(),
        "growth_two": found["no-such-gap-at-two"].mean(),
        "rising": len(rising),
        "smallest_rising": rising.gap.min(),
        "largest_bump": configurations.bump.max(),
        "largest_gap": rising.gap.max(),
    }


def flow_figure(flow: pd.DataFrame) -> Figure:
    """Plot diagonal weights above biases over time, one line per class, coloured in the order of learning."""
    with style():
        figure, panels = plt.subplots(2, 1, figsize=(NARROW, 5), sharex=True, layout="constrained")
        for axes, measure in zip(panels, ("weight", "bias"), strict=True):
            sns.lineplot(
                flow,
                x="time",
                y=measure,
                hue="class",
                style="class",
                palette=in_order(flow["class"].nunique()),
                ax=axes,
                legend=measure == "weight",
                errorbar=None,
            )
        panels[0].set_ylabel("weight $W_{ii}$")
        panels[1].set(ylabel="bias $b_i$", xlabel="time")
        handles = panels[0].get_legend().legend_handles
        panels[0].get_legend().remove()
        figure.legend(handles=handles, title="class learned", loc="outside upper center", ncol=len(handles) // 2)
    return figure


def moving(powers: list[int], deltas: list[float], classes: list[int]) -> Moving:
    """Return an interactive `flow_figure` with sliders for power, initial scale and number of classes."""

    def traces(r: int, delta: float, k: int) -> list[dict]:
        flow = through_time(r, delta, k, points=90, digits=4)
        return [
            {
                "x": of_class.time.tolist(),
                "y": of_class[measure].tolist(),
                "name": name,
                "legendgroup": name,
                "showlegend": measure == "weight",
                "yaxis": axis,
                "line": {"color": colour, "dash": dash, "width": 2.5},
            }
            for measure, axis in (("weight", "y"), ("bias", "y2"))
            for (name, of_class), colour, dash in zip(flow.groupby("class", sort=False), in_order(k), cycle(DASHES))
        ]

    controls: dict[str, list] = {"r": powers, "δ": deltas, "classes": classes}
    return Moving(
        label="Weights and biases through training, for a chosen power, initial scale and number of classes",
        controls=controls,
        traces=traces,
        layout={
            "height": 420,
            "margin": {"l": 60, "r": 10, "t": 10, "b": 40},
            "xaxis": {"title": {"text": "time"}, "rangemode": "tozero", "anchor": "y2"},
            "yaxis": {"title": {"text": "W"}, "domain": [0.54, 1]},
            "yaxis2": {"title": {"text": "b"}, "domain": [0, 0.46]},
        },
        start=[min(place, len(values) - 1) for place, values in zip((2, 1, 1), controls.values(), strict=True)],
    )
