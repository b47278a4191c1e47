"""The benchmarks of `make bench` as frames and figures, and the time that many runs would take (section 13)."""

import json
import math

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from mli_utils.figures.kinds import empty_figure, nothing
from mli_utils.figures.style import PALETTE, colours, style
from mli_utils.runs import settings

COLUMNS = (
    *("name", "size", "seconds", "alternative", "ratio", "limit_share", "alternative_seconds", "low", "high"),
    *("rounds", "number", "machine", "code", "date"),
)
GROWING = {"grow_runs": "runs trained together", "grow_points": "points of a curve"}
PLAN = ["workers", "hours", "busy", "most"]
NOT_MEASURED = "nothing to draw: no benchmark has been run"


def benchmarks() -> pd.DataFrame:
    """One row an alternative, as `benchmarks.measure.compare` says, with `machine`, `code` and `date`.

    From `build/bench.json` where this machine has measured, else from the record; no row where there is neither.
    """
    own = [] if settings.mode() == "book" else [settings.bench_file()]
    path = next((path for path in [*own, settings.bench_record()] if path.exists()), None)
    frame = pd.DataFrame(json.loads(path.read_text(encoding="utf-8")) if path else [])
    return frame.reindex(columns=list(dict.fromkeys([*COLUMNS, *frame])))


def compared(rows: pd.DataFrame) -> pd.DataFrame:
    """The benchmarks that set the package beside alternatives, without growth and cluster."""
    return rows[rows.number.isna() & (rows.name != "cluster")]


def ratio_figure(rows: pd.DataFrame) -> Figure:
    """How many times as long each alternative takes, a bar each, with the range over rounds; ours is the line at 1."""
    if nothing(rows, "name", "alternative", "ratio"):
        return empty_figure(NOT_MEASURED)
    names = list(dict.fromkeys(rows.name))
    hues = dict(zip(names, colours(len(names)), strict=True))
    places, ends = range(len(rows)), [rows.ratio - rows.low, rows.high - rows.ratio]
    with style():
        figure, axes = plt.subplots(figsize=(7.6, 0.8 + 0.42 * len(rows)), layout="constrained")
        axes.barh(places, rows.ratio, xerr=ends, color=rows.name.map(hues), alpha=0.85, capsize=3)
        for place, row in zip(places, rows.itertuples(), strict=True):
            axes.annotate(f"{row.ratio:.1f}", (row.high, place), (5, 0), textcoords="offset points", va="center")
        axes.axvline(1, color="0.3", lw=1, ls=":")
        axes.set(xlabel="times as long as mli_utils (dotted: as long)", xlim=(0, 1.15 * rows.high.max()))
        axes.set_yticks(places, rows.name + ": " + rows.alternative)
        axes.invert_yaxis()
    return figure


def growth_figure(rows: pd.DataFrame) -> Figure:
    """Seconds against size on logarithmic axes, a panel a kind of work, with the fitted power drawn through them."""
    growing = rows[rows.name.isin(GROWING)]
    if nothing(growing, "number", "seconds"):
        return empty_figure(NOT_MEASURED)
    fitted = exponents(rows)
    with style():
        figure, panels = plt.subplots(1, len(GROWING), figsize=(8.4, 3.2), layout="constrained")
        for axes, (name, work) in zip(panels, GROWING.items(), strict=True):
            points = growing[growing.name == name]
            axes.plot(points.number, points.seconds, "o", color=PALETTE[0])
            if name in fitted.index:
                sizes = np.array([points.number.min(), points.number.max()])
                power, factor = fitted.loc[name]
                axes.plot(sizes, factor * sizes**power, color="0.4", ls="--", label=f"∝ n^{power:.2f}")
                axes.legend()
            axes.set(xscale="log", yscale="log", xlabel=work, ylabel="seconds")
            axes.set_xticks(points.number, [f"{size:g}" for size in points.number])
            axes.set_xticks([], minor=True)
    return figure


def exponents(rows: pd.DataFrame) -> pd.DataFrame:
    """The power of the size with which each kind of work grows, by name.

    `exponent` and `factor` of factor · n^exponent, fitted by least squares to the logarithms.
    """
    fits = {
        name: np.polyfit(np.log(of_name.number), np.log(of_name.seconds), 1)
        for name, of_name in rows[rows.name.isin(GROWING)].groupby("name")
        if len(of_name) > 1
    }
    found = {name: (power, np.exp(constant)) for name, (power, constant) in fits.items()}
    return pd.DataFrame.from_dict(found, orient="index", columns=["exponent", "factor"])


def many_runs(rows: pd.DataFrame, runs: int, workers: list[int]) -> pd.DataFrame:
    """The time that so many runs would take on a cluster, from the size of its tasks and the client's time for each.

    The client sends a task, gets its runs and keeps them, one after the other. So the client keeps more workers from
    helping: it can serve as many as do their tasks in the time that it needs for one each.

    Returns
    -------
    A row a number of workers: `workers`, `hours`, `busy` (the share of their time that workers work); and `most`, the
    number of workers from which on the client takes the time. Empty without the benchmark `cluster`.
    """
    of_cluster = rows[rows.name == "cluster"]
    if of_cluster.empty:
        return pd.DataFrame(columns=PLAN)
    row = of_cluster.iloc[0]
    tasks = runs / row.runs_a_task
    by_client = row.seconds + row.runs_a_task * row.store_seconds
    plan = pd.DataFrame({"workers": workers, "most": row.task_seconds / by_client})
    alone = tasks * row.task_seconds / plan.workers
    taken = alone.clip(lower=tasks * by_client)
    return plan.assign(hours=taken / 3600, busy=alone / taken)[PLAN]


def numbers(rows: pd.DataFrame, runs: int) -> dict[str, float | str]:
    """The numbers in the text of section 13; NaN where a benchmark has not been run.

    Parameters
    ----------
    rows : as `benchmarks` returns them
    runs : how many to plan for
    """
    first_word = rows.alternative.astype(str).str.split().str[0]
    ratio = rows.ratio.groupby([rows.name, first_word]).first()
    share = rows.limit_share.groupby(rows.name).first()
    exponent, plan = exponents(rows).exponent, many_runs(rows, runs, [1])
    return {
        **{f"{work}_share": 100 * share.get(f"{work}_fcn", math.nan) for work in ("train", "curve")},
        "train_textbook": ratio.get(("train_fcn", "textbook"), math.nan),
        "train_vmap": ratio.get(("train_fcn", "torch.func"), math.nan),
        "curve_textbook": ratio.get(("curve_fcn", "textbook"), math.nan),
        "curve_package": ratio.get(("curve_fcn", "loss-landscapes"), math.nan),
        "grouped": ratio.get(("train_conv", "one"), math.nan),
        "channels_first": ratio.get(("train_conv", "channels"), math.nan),
        "runs_exponent": exponent.get("grow_runs", math.nan),
        "points_exponent": exponent.get("grow_points", math.nan),
        "overhead": 100 / ratio.get(("cluster", "the"), math.nan),
        "planned": f"{runs:,}",
        "most": plan.most.max(),
        "hours": plan.hours.max(),
        "machine": next(iter(rows.machine), "no machine yet"),
        "day": next(iter(rows.date), "no day yet"),
    }
