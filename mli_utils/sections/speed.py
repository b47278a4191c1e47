"""Benchmarks of `make bench` as frames and figures, and time estimates for many runs (section 13)."""

import json
import math

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from mli_utils.figures.kinds import empty_figure, label_rows, nothing_to_draw
from mli_utils.figures.style import NARROW, PALETTE, style
from mli_utils.runs import settings

COLUMNS = (
    *("name", "size", "seconds", "alternative", "ratio", "limit_share", "alternative_seconds", "low", "high"),
    *("rounds", "number", "machine", "code", "date"),
)
GROWING = {"grow_runs": "runs trained together", "grow_points": "points of a curve"}
WORK = {  # benchmark: in words
    "train_fcn": "training",
    "curve_fcn": "a curve",
    "law": "a curve by the law",
    "train_conv": "training VGG-16",
    "own_fcn": "own network, a point",
    "own_cnn": "own CNN, a point",
}
PLAN = ["workers", "hours", "busy", "most"]
NOT_MEASURED = "nothing to draw: no benchmark has been run"


def benchmarks() -> pd.DataFrame:
    """Return one row per alternative, as `benchmarks.measure.compare` does, with `machine`, `code` and `date`.

    Read this machine's `build/bench.json` unless in book mode; otherwise the record. Without a file return no rows.
    """
    own = [] if settings.mode() == "book" else [settings.bench_file()]
    path = next((path for path in [*own, settings.bench_record()] if path.exists()), None)
    frame = pd.DataFrame(json.loads(path.read_text(encoding="utf-8")) if path else [])
    return frame.reindex(columns=list(dict.fromkeys([*COLUMNS, *frame])))


def compared(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the benchmarks against alternatives, without growth and cluster."""
    return rows[rows.number.isna() & (rows.name != "cluster")]


def ratio_figure(rows: pd.DataFrame) -> Figure:
    """Plot each alternative's time relative to this package (the line at 1) on a log axis, with the range of rounds."""
    if nothing_to_draw(rows, "name", "alternative", "ratio"):
        return empty_figure(NOT_MEASURED)
    places, ends = np.arange(len(rows)) + 0.7, [rows.ratio - rows.low, rows.high - rows.ratio]
    with style():
        figure, axes = plt.subplots(figsize=(NARROW, 1 + 0.42 * len(rows)), layout="constrained")
        rest = np.arange(1, len(rows) + 1)  # lower edges of the rows, whose upper half is their label
        axes.vlines([1] * len(rows), rest - 0.5, rest, color="0.3", lw=1, ls=":")
        axes.errorbar(rows.ratio, places, xerr=ends, fmt="o", color=PALETTE[0], ms=7, lw=2, capsize=3)
        for place, row in zip(places, rows.itertuples(), strict=True):
            axes.annotate(f"{row.ratio:.2g}", (row.high, place), (6, 0), textcoords="offset points", va="center")
        axes.set(xscale="log", xlabel="times as long as this package takes", xlim=(0.7, 1.4 * rows.high.max()))
        ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100) if tick <= 1.4 * rows.high.max()]
        axes.set_xticks(ticks, map(str, ticks), minor=False)
        axes.set_xticks([], minor=True)
        axes.set_ylim(len(rows), 0)
        label_rows(axes, rows.name.map(lambda name: WORK.get(name, name)) + ": " + rows.alternative)
    return figure


def growth_figure(rows: pd.DataFrame) -> Figure:
    """Plot seconds against size on logarithmic axes with the fitted power law, one panel per kind of work."""
    growing = rows[rows.name.isin(GROWING)]
    if nothing_to_draw(growing, "number", "seconds"):
        return empty_figure(NOT_MEASURED)
    fitted = exponents(rows)
    with style():
        figure, panels = plt.subplots(len(GROWING), 1, figsize=(NARROW, 5.6), layout="constrained")
        for axes, (name, work) in zip(panels, GROWING.items(), strict=True):
            points = growing[growing.name == name]
            axes.plot(points.number, points.seconds, "o", color=PALETTE[0])
            if name in fitted.index:
                sizes = np.array([points.number.min(), points.number.max()])
                power, factor = fitted.loc[name]
                axes.plot(sizes, factor * sizes**power, color="0.4", ls="--", label=f"$\\propto n^{{{power:.2f}}}$")
                axes.legend()
            axes.set(xscale="log", yscale="log", xlabel=work, ylabel="seconds")
            axes.set_xticks(points.number, [f"{size:g}" for size in points.number])
            axes.set_xticks([], minor=True)
    return figure


def exponents(rows: pd.DataFrame) -> pd.DataFrame:
    """Fit seconds = `factor` · n^`exponent` for each kind of work, by least squares on the logarithms."""
    fits = {
        name: np.polyfit(np.log(of_name.number), np.log(of_name.seconds), 1)
        for name, of_name in rows[rows.name.isin(GROWING)].groupby("name")
        if len(of_name) > 1
    }
    found = {name: (power, np.exp(constant)) for name, (power, constant) in fits.items()}
    return pd.DataFrame.from_dict(found, orient="index", columns=["exponent", "factor"])


def _steps(points: pd.DataFrame) -> str:
    """Tell the power between one size and the next."""
    sizes, seconds = np.array(points.number), np.array(points.seconds)
    powers = np.diff(np.log(seconds)) / np.diff(np.log(sizes))
    steps = zip(sizes, sizes[1:], powers, strict=False)
    return ", ".join(f"{power:.2f} from {start:g} to {end:g}" for start, end, power in steps) or "–"


def many_runs(rows: pd.DataFrame, runs: int, workers: list[int]) -> pd.DataFrame:
    """Estimate the time of `runs` on a cluster, from the worker's and the client's seconds per task.

    The client sends a task, receives its runs and stores them, one task after the other. So it is the bottleneck beyond
    task seconds / client seconds workers.

    Returns
    -------
    One row per number of workers: `workers`, `hours`, `busy` (fraction of time that workers compute) and `most`, the
    number of workers beyond which the client is the bottleneck. Empty without the benchmark `cluster`.
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
    """Return the numbers in the text of section 13; NaN for benchmarks that have not been run.

    Parameters
    ----------
    rows : as `benchmarks` returns them
    runs : number of runs to plan for
    """
    first_word = rows.alternative.astype(str).str.split().str[0]
    ratio = rows.ratio.groupby([rows.name, first_word]).first()
    share = rows.limit_share.groupby(rows.name).first()
    exponent, plan = exponents(rows).exponent, many_runs(rows, runs, [1])
    return {
        **{f"{work}_share": 100 * share.get(f"{work}_fcn", math.nan) for work in ("train", "curve")},
        "conv_share": 100 * share.get("train_conv", math.nan),
        "conv_in_turn": ratio.get(("train_conv", "in"), math.nan),
        "train_textbook": ratio.get(("train_fcn", "textbook"), math.nan),
        "train_vmap": ratio.get(("train_fcn", "torch.func"), math.nan),
        "curve_textbook": ratio.get(("curve_fcn", "textbook"), math.nan),
        "curve_package": ratio.get(("curve_fcn", "loss-landscapes"), math.nan),
        "grouped": ratio.get(("train_conv", "one"), math.nan),
        "channels_first": ratio.get(("train_conv", "channels"), math.nan),
        "runs_exponent": exponent.get("grow_runs", math.nan),
        "runs_steps": _steps(rows[rows.name == "grow_runs"]),
        "points_exponent": exponent.get("grow_points", math.nan),
        "overhead": 100 / plan.most.max(),
        "planned": f"{runs:,}",
        "most": plan.most.max(),
        "hours": plan.hours.max(),
        "machine": next(iter(rows.machine), "no machine yet"),
        "day": " to ".join(sorted({rows.date.min(), rows.date.max()})) if len(rows) else "no day yet",
    }
