"""The output bias's effect on the error plateau over depths, initialization scales and ways to train (section 06)."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from mli_utils.core.estimates import clustered_mean, intervals
from mli_utils.core.plateaus import only_fitted, plateau
from mli_utils.core.words import span
from mli_utils.figures.kinds import MARKERS, empty_figure, nothing_to_draw
from mli_utils.figures.style import LABELS, in_order, style
from mli_utils.runs.trained import Run, counts, table

WITH, WITHOUT, EFFECT = "with output bias", "without biases", "effect"  # error plateaus (α), and their difference
KINDS = {"output": WITH, "none": WITHOUT}
BOUNDS = {WITH: (0, 1), WITHOUT: (0, 1), EFFECT: (-1, 1)}
CELL = ("depth", "init_scale")
BASE = "as in the map"
TRAINING = {"lr": "rate {:g}", "batch_size": "batches of {:g}", "stop_loss": "stop at {:g} nats"}


def plateaus(fitted: pd.DataFrame, tolerance: float = 0.1) -> pd.DataFrame:
    """Return plateaus by depth, scale and seed, with `networks` (`KINDS`), networks without biases last."""
    rows = plateau(fitted, tolerance)
    return rows.assign(networks=rows.bias.map(KINDS)).sort_values(["networks", *CELL, "seed"])


def effects(fitted: pd.DataFrame, tolerance: float = 0.1, by: Sequence[str] = CELL) -> pd.DataFrame:
    """Pair networks with and without an output bias that share a seed, and subtract their error plateaus.

    Returns
    -------
    One row per value of `by` and seed: these, `with output bias`, `without biases`, and `effect`, their difference (α);
    all three NaN where one network of the pair did not fit
    """
    wide = plateau(fitted, tolerance).pivot(index=[*by, "seed"], columns="bias", values="error_plateau")
    pairs = wide.reindex(columns=list(KINDS)).rename(columns=KINDS)
    pairs = pairs.where(pairs.notna().all(axis=1))
    return pairs.assign(**{EFFECT: pairs[WITH] - pairs[WITHOUT]}).rename_axis(columns=None).reset_index()


def cells(pairs: pd.DataFrame) -> pd.DataFrame:
    """Estimate the mean `effect` in each cell of the map, over seeds; an interval that excludes zero is `marked`."""
    rows = intervals(pairs, list(CELL), [EFFECT], {EFFECT: BOUNDS[EFFECT]})
    return rows.assign(marked=(rows.low > 0) | (rows.high < 0))


def trend(pairs: pd.DataFrame, along: str, measure: str) -> pd.Series:
    """Compute Kendall's τ-a between `along` and a measure for each seed, over all values of `along`.

    It is the share of pairs of values between which the measure rises, minus the share between which it falls: 1 for a
    curve that rises at every step. NaN where a value is missing.
    """
    wide = pairs.pivot(index="seed", columns=along, values=measure)
    steps = [np.sign(wide[after] - wide[before]) for before, after in itertools.combinations(sorted(wide), 2)]
    return pd.concat(steps, axis=1).mean(axis=1, skipna=False)


def interaction(pairs: pd.DataFrame) -> pd.Series:
    """Return, by seed, how much more the effect grows with depth at the smallest than at the largest scale (α)."""
    wide = pairs.pivot(index="seed", columns=list(CELL), values=EFFECT)
    shallow, deep, small, large = _ends(pairs)
    return wide[deep, small] - wide[shallow, small] - wide[deep, large] + wide[shallow, large]


def _ends(pairs: pd.DataFrame) -> tuple[int, int, float, float]:
    return pairs.depth.min(), pairs.depth.max(), pairs.init_scale.min(), pairs.init_scale.max()


FULL_BATCH = (  # told where it is among the ways to train
    "A full batch has more epochs, since it takes one step in each; it compares with batches of the map's size at the "
    "same learning rate."
)


def training_effects(fitted: pd.DataFrame, base: Mapping, tolerance: float = 0.1) -> pd.DataFrame:
    """Return `effects` of networks trained in several ways, with `training`, what differs from `base`, in words."""
    pairs = effects(fitted, tolerance, list(TRAINING))
    whole = TRAINING["batch_size"].format(fitted.n_train.max())
    said = []
    for way in pairs[list(TRAINING)].to_dict("records"):
        changed = [form.format(way[name]) for name, form in TRAINING.items() if way[name] != base[name]]
        said.append(", ".join(changed).replace(whole, "full batch") or BASE)
    return pairs.assign(training=said).sort_values("training", key=lambda names: names != BASE, kind="stable")


def mean_effects(of_training: pd.DataFrame) -> pd.DataFrame:
    """Estimate means of `training_effects` over seeds: rows of `training`, `measure` and an estimate."""
    return intervals(of_training, ["training"], list(BOUNDS), BOUNDS)


def counted(name: str, runs: Sequence[Run]) -> dict[str, int]:
    """Return `counts` of runs, under names that begin with `name`."""
    return {f"{name}_{what}": number for what, number in counts(runs).items()}


def measured(fitted: pd.DataFrame, tried: pd.DataFrame, base: Mapping, tolerance: float) -> dict[str, pd.Series]:
    """Return the quantity of each claim of section 06.

    Parameters
    ----------
    fitted : fitted curves of the map's networks, on the linear path
    tried : fitted curves of the networks trained in other ways
    base : the map's way of training
    tolerance : tolerance of plateaus
    """
    pairs = effects(fitted, tolerance)
    _, deepest, smallest, usual = _ends(pairs)
    over_depth, over_scale = pairs[pairs.init_scale == smallest], pairs[pairs.depth == deepest]
    lengths = plateaus(fitted, tolerance)
    biased = lengths[lengths.networks == WITH]
    ways = training_effects(tried, base, tolerance)
    same = ways[(ways.batch_size == base["batch_size"]) & (ways.stop_loss == base["stop_loss"])]
    rates = same.pivot(index="seed", columns="lr", values=EFFECT)
    return {
        "plateau-grows-with-depth": trend(biased[biased.init_scale == smallest], "depth", "error_plateau"),
        "plateau-grows-as-scale-shrinks": -trend(biased[biased.depth == deepest], "init_scale", "error_plateau"),
        "depth-acts-through-the-bias": trend(over_depth, "depth", EFFECT),
        "scale-acts-through-the-bias": -trend(over_scale, "init_scale", EFFECT),
        "depth-needs-a-small-scale": interaction(pairs),
        "no-effect-at-the-usual-scale": pairs[pairs.init_scale == usual].set_index(["depth", "seed"])[EFFECT],
        "effect-outlives-training": ways[ways.training != BASE].set_index(["training", "seed"])[EFFECT],
        "effect-grows-with-the-rate": rates[base["lr"]] - rates[min(rates)],
    }


def trends(found: Mapping[str, pd.Series]) -> dict[str, str]:
    """Return, in words, the means of the claims about Kendall's τ, from `measured`."""
    named = [name for name in found if name.startswith("plateau-grows-") or "-acts-" in name]
    return {f"{name}/τ": span(clustered_mean(found[name], "seed", (-1, 1))) for name in named}


def deepest(lengths: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the greatest depth."""
    return lengths[lengths.depth == lengths.depth.max()]


def numbers(runs: Sequence[Run], of_cells: pd.DataFrame, ways: pd.DataFrame, bound: float) -> dict:
    """Return the numbers in the text of section 06, from `cells` and the means of `training_effects`."""
    ended = only_fitted(table(runs))
    gap = ended[ended.bias == "output"].groupby(list(CELL)).bias_gap.mean()
    shallow, deep, small, large = _ends(of_cells)
    corners = {
        "deep_small": (deep, small),
        "deep_large": (deep, large),
        "shallow_small": (shallow, small),
        "shallow_large": (shallow, large),
    }
    effect = of_cells.set_index(list(CELL))
    changed = ways[(ways.measure == EFFECT) & (ways.training != BASE)].sort_values("mean")
    return {
        "begins": _begins(of_cells, bound),
        "beyond_cells": int((of_cells.low > bound).sum()),
        "bound": f"{bound:g}",
        "shallowest": shallow,
        "deepest": deep,
        "smallest": f"{small:g}",
        "largest": f"{large:g}",
        "above_cells": int((of_cells.low > 0).sum()),
        "below_cells": int((of_cells.high < 0).sum()),
        "least_cell": span(of_cells.sort_values("mean").iloc[0]),
        "all_cells": len(of_cells),
        **{f"effect_{name}": span(effect.loc[corner]) for name, corner in corners.items()},
        **{f"gap_{name}": gap.get(corner, np.nan) for name, corner in corners.items()},
        "full_batch": FULL_BATCH if ways.training.str.contains("full batch").any() else "",
        "base_effect": span(ways[(ways.measure == EFFECT) & (ways.training == BASE)].iloc[0]),
        **{f"{place}_effect": span(changed.iloc[i]) for place, i in (("least", 0), ("most", -1))},
        **{f"{place}_training": changed.training.iloc[i] for place, i in (("least", 0), ("most", -1))},
        **counts(runs),
    }


def _begins(of_cells: pd.DataFrame, bound: float) -> str:
    """Say between which depths, at the smallest scale, and which scales, at the greatest depth, the effect begins.

    It begins after the last cell whose interval is not above `bound`; – if some cell has no interval.
    """
    if of_cells.low.isna().any():
        return "–"
    _, deep, small, _ = _ends(of_cells)
    by_depth = of_cells[of_cells.init_scale == small].sort_values("depth").set_index("depth")
    by_scale = of_cells[of_cells.depth == deep].sort_values("init_scale", ascending=False).set_index("init_scale")
    said = []
    places = (by_depth, "layers at the smallest scale"), (by_scale, "of the usual scale at the greatest depth")
    for cells, where in places:
        if len(without := cells.index[~(cells.low > bound)]) == 0:
            said.append(f"at {cells.index[0]:g} {where} or before")
        elif without[-1] == cells.index[-1]:
            said.append(f"beyond {without[-1]:g} {where}")
        else:
            said.append(f"between {without[-1]:g} and {cells.index[cells.index.get_loc(without[-1]) + 1]:g} {where}")
    return ", and ".join(said)


def length_figure(lengths: pd.DataFrame) -> Figure:
    """Plot `plateaus` against depth, means with intervals over seeds: a line a scale, a panel for each of `KINDS`."""
    if nothing_to_draw(lengths, "depth", "error_plateau"):
        return empty_figure()
    means = intervals(lengths, ["networks", *CELL], ["error_plateau"], {"error_plateau": (0, 1)}).sort_values("depth")
    scales = sorted(set(means.init_scale))
    with style():
        figure, panels = plt.subplots(1, 2, figsize=(8, 3.2), sharey=True, layout="constrained")
        for axes, networks in zip(panels, KINDS.values(), strict=True):
            for scale, colour, mark in zip(scales, in_order(len(scales)), itertools.cycle(MARKERS)):
                some = means[(means.networks == networks) & (means.init_scale == scale)]
                ends = [some["mean"] - some.low, some.high - some["mean"]]
                look = {"fmt": f"{mark}-", "color": colour, "capsize": 3, "label": f"{scale:g}"}
                axes.errorbar(some.depth, some["mean"], ends, **look)
            axes.set(title=networks, xlabel=LABELS["depth"], xticks=sorted(set(means.depth)))
        panels[0].set(ylabel=LABELS["error_plateau"], ylim=(0, None))  # of both panels, now that both are drawn
        panels[1].legend(title=LABELS["init_scale"])
    return figure


def map_figure(of_cells: pd.DataFrame, bound: float) -> Figure:
    """Draw `cells` as a heat map: in each the mean, its interval and the pairs of networks; a line around the effect.

    Means whose interval excludes zero are bold and starred; the line encloses cells whose interval lies above `bound`.
    """
    if nothing_to_draw(of_cells, *CELL, "mean"):
        return empty_figure()
    wide = of_cells.pivot(index="depth", columns="init_scale")
    depths, scales = wide.index, wide["mean"].columns
    limit = np.nanmax(np.abs(wide["mean"])) or 1.0
    with style():
        figure, axes = plt.subplots(figsize=(1.6 + 1.5 * len(scales), 0.9 + 0.8 * len(depths)), layout="constrained")
        axes.set_facecolor("0.85")  # cells without a pair
        drawn = axes.imshow(wide["mean"], cmap="PuOr_r", vmin=-limit, vmax=limit, origin="lower", aspect="auto")
        figure.colorbar(drawn, ax=axes, label="effect on the error plateau (α)")
        for row in of_cells.to_dict("records"):
            place = scales.get_loc(row["init_scale"]), depths.get_loc(row["depth"])
            ink = "white" if abs(row["mean"]) > 0.72 * limit else "black"
            value, _, interval = span(row, ".3f").partition(" ")
            look = {"ha": "center", "color": ink, "textcoords": "offset points", "xy": place}
            weight = "bold" if row["marked"] else "normal"
            axes.annotate(value + "*" * row["marked"], xytext=(0, 5), va="center", weight=weight, size=12, **look)
            axes.annotate(f"{interval}\nn = {row['n']}", xytext=(0, -3), va="top", size=8, **look)
        for start, end in border(wide["low"].to_numpy(float) > bound):
            axes.plot(*zip(start, end, strict=True), color="black", lw=3, solid_capstyle="round")
        axes.set_xticks(range(len(scales)), [f"{scale:g}" for scale in scales])
        axes.set_yticks(range(len(depths)), depths)
        axes.set(xlabel=LABELS["init_scale"], ylabel=LABELS["depth"])
        axes.grid(False)
    return figure


def border(inside: np.ndarray) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Return the edges between cells inside and outside, as pairs of (x, y); cells are centred at whole numbers."""
    rows, columns = (np.argwhere(np.diff(inside, axis=axis)) for axis in (0, 1))
    across = [((x - 0.5, y + 0.5), (x + 0.5, y + 0.5)) for y, x in rows.tolist()]
    return across + [((x + 0.5, y - 0.5), (x + 0.5, y + 0.5)) for y, x in columns.tolist()]
