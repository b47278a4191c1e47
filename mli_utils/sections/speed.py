"""What `make bench` measured: rows as frames, figures, and what many runs would take (section 13)."""

import json

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


def benchmarks() -> pd.DataFrame:
    """One row an alternative, as `benchmarks.measure.compare` says, with `machine`, `code` and `date`.

    From `build/bench.json` where this machine has measured, else from the record; no row where there is neither.
    """
    own = [] if settings.mode() == "book" else [settings.bench_file()]
    path = next((path for path in [*own, settings.bench_record()] if path.exists()), None)
    frame = pd.DataFrame(json.loads(path.read_text(encoding="utf-8")) if path else [])
    return frame.reindex(columns=list(dict.fromkeys([*COLUMNS, *frame])))


def ratio_figure(rows: pd.DataFrame) -> Figure:
    """How many times as long each alternative takes, a bar each, with the range over rounds; ours is the line at 1."""
    if nothing(rows, "name", "alternative", "ratio"):
        return empty_figure("nothing to draw: no benchmark has been run")
    names = list(dict.fromkeys(rows.name))
    hues = dict(zip(names, colours(len(names)), strict=True))
    with style():
        figure, axes = plt.subplots(figsize=(7.6, 0.8 + 0.42 * len(rows)), layout="constrained")
        for place, row in enumerate(rows.itertuples()):
            ends = [[row.ratio - row.low], [row.high - row.ratio]]
            axes.barh(place, row.ratio, xerr=ends, color=hues[row.name], alpha=0.85, capsize=3)
            axes.annotate(f"{row.ratio:.1f}", (row.high, place), (5, 0), textcoords="offset points", va="center")
        axes.axvline(1, color="0.3", lw=1, ls=":")
        axes.set(xlabel="times as long as mli_utils (dotted: as long)", xlim=(0, 1.15 * rows.high.max()))
        axes.set_yticks(range(len(rows)), rows.name + ": " + rows.alternative)
        axes.invert_yaxis()
    return figure


def growth_figure(rows: pd.DataFrame) -> Figure:
    """Seconds against size on logarithmic axes, a panel a kind of work, with the fitted power drawn through them."""
    growing = rows[rows.name.isin(GROWING)]
    if nothing(growing, "number", "seconds"):
        return empty_figure("nothing to draw: no benchmark has been run")
    fitted = exponents(rows)
    with style():
        figure, panels = plt.subplots(1, len(GROWING), figsize=(8.4, 3.2), squeeze=False, layout="constrained")
        for axes, (name, said) in zip(panels.flat, GROWING.items(), strict=True):
            points = growing[growing.name == name]
            axes.plot(points.number, points.seconds, "o", color=PALETTE[0])
            if name in fitted.index:
                sizes = np.array([points.number.min(), points.number.max()])
                power, factor = fitted.loc[name, ["exponent", "factor"]]
                label = f"∝ n^{power:.2f}"
                axes.plot(sizes, factor * sizes**power, color="0.4", ls="--", label=label)
                axes.legend()
            axes.set(xscale="log", yscale="log", xlabel=said, ylabel="seconds")
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
    """What so many runs would take on a cluster, from the size of its tasks and what each costs the client.

    The client sends a task, gets its runs and keeps them, one after the other. So it is what stops more workers from
    helping: it can serve as many as do their tasks in the time that it needs for one each.

    Returns
    -------
    A row a number of workers: `workers`, `hours`, `busy` (the share of their time that workers work); and `most`, the
    number of workers from which on the client is what takes the time. Empty without the benchmark `cluster`.
    """
    measured = rows[rows.name == "cluster"]
    columns = ["workers", "hours", "busy", "most"]
    if measured.empty:
        return pd.DataFrame(columns=columns)
    row = measured.iloc[0]
    count = runs / row.runs_a_task
    by_client = row.seconds + row.runs_a_task * row.store_seconds
    made = []
    for number in workers:
        alone = count * row.task_seconds / number
        taken = max(alone, count * by_client)
        made.append((number, taken / 3600, alone / taken, row.task_seconds / by_client))
    return pd.DataFrame(made, columns=columns)
