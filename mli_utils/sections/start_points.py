"""Plateaus and early predictions on paths from other starting points (section 10)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from mli_utils.core.config import FIELDS, InputError, make_config
from mli_utils.core.estimates import at_most, clustered_mean, intervals, mean_and_interval
from mli_utils.core.plateaus import RISE, plateau, split_curves
from mli_utils.core.words import span
from mli_utils.figures.kinds import empty_figure, nothing_to_draw
from mli_utils.figures.style import LABELS, QUARTERS, colours, style
from mli_utils.runs.trained import Run, counts

KEYS = ["depth", "init_scale", "seed"]  # identify a network among those of one `bias`
KINDS = {"is_guess": "first guess", "is_largest": "largest bias"}
STARTS = {"own": "its own start", "other": "another initialization", "noise": "noise", "zero": "the origin"}


def name_networks(frame: pd.DataFrame) -> pd.DataFrame:
    """Add `network` (biases, depth and initialization scale), `biases` and `from`, in words."""
    biases = frame.bias.map(LABELS)
    kinds = zip(biases, frame.depth, frame.init_scale, strict=True)
    names = [f"{words}, depth {depth}, scale {scale:g}" for words, depth, scale in kinds]
    return frame.assign(network=names, biases=biases, **{"from": frame.start.map(STARTS)})


def deepest(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the deepest networks with the smallest initialization scale."""
    return frame[(frame.depth == frame.depth.max()) & (frame.init_scale == frame.init_scale.min())]


def lengths(plateaus: pd.DataFrame) -> pd.DataFrame:
    """Estimate mean plateaus over seeds by `biases` and `from`; a seed's kinds of network are averaged first."""
    by, measures = ["biases", "from"], ["error_plateau", "loss_plateau"]
    of_seeds = plateaus.groupby([*by, "seed"], sort=False)[measures].mean().reset_index()
    return intervals(of_seeds, by, measures, dict.fromkeys(measures, (0, 1)))


def explained(curves: pd.DataFrame, runs: Sequence[Run], at: Sequence[float]) -> pd.DataFrame:
    """Compare early predictions with the first guess and the largest bias, one row per curve and α.

    Parameters
    ----------
    curves : curves of `runs`, as `mli.interpolate(…, by_class=True)` returns them
    at : grid points α to compare at; InputError for others

    Returns
    -------
    The runs' fields, `status`, `start`, `path`, `network`, `alpha`; `favoured`, the class predicted most often at α;
    `guess` and `guess_share`, the class predicted most often at α = 0 and its share; `largest`, the class with the
    largest output bias at θ(T); `is_guess` and `is_largest`, whether `favoured` is that class. `largest` is NaN without
    output bias, `guess` is NaN from the origin, where all classes have equal logits.
    """
    alphas = np.unique(curves.alpha)
    if off := [alpha for alpha in at if not np.isclose(alphas, alpha).any()]:
        raise InputError(f"alpha={off[0]} is not on the curves; allowed: {', '.join(map(str, alphas))}")
    biases = {run.config: run.summary["output_bias"] for run in runs}
    largest = {config: np.argmax(bias) for config, bias in biases.items() if bias is not None}
    fields, arrays = split_curves(curves, ["start", "path", "status", *FIELDS], ["predicted_share"])
    said = np.stack([curve["predicted_share"] for curve in arrays]).reshape(len(fields), len(alphas), -1)
    known = np.isfinite(said[:, 0]).all(1)
    guesses = known & (fields.start != "zero")
    configs = (make_config(**row) for row in fields[list(FIELDS)].to_dict("records"))
    fields = name_networks(fields).assign(
        guess=np.where(guesses, said[:, 0].argmax(1), np.nan),
        guess_share=np.where(guesses, said[:, 0].max(1), np.nan),
        largest=[largest.get(config, np.nan) for config in configs],
    )
    frames = []
    for alpha in at:
        favoured = said[:, np.isclose(alphas, alpha).argmax()].argmax(1)
        found = fields.assign(alpha=alpha, favoured=np.where(known, favoured, np.nan))
        for name in ("guess", "largest"):
            told = found[["favoured", name]].notna().all(axis=1)
            found[f"is_{name}"] = (found.favoured == found[name]).astype(float).where(told)
        frames.append(found)
    return pd.concat(frames, ignore_index=True)


def agreeing(predictions: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Count the networks that favour their first guess or largest bias at `alpha`: `yes` of `n`, by start and network.

    Returns
    -------
    One row per `predicted` (`KINDS`), `network` and `from`, in the order of `STARTS`; n is 0 where neither is defined
    """
    here = predictions[predictions.alpha == alpha]
    tall = here.melt(["network", "from"], list(KINDS), "predicted", "yes").replace({"predicted": KINDS})
    counted = tall.groupby(["predicted", "network", "from"], sort=False).yes.agg(yes="sum", n="count").astype(int)
    return counted.reset_index()


def measured(curves: pd.DataFrame, predictions: pd.DataFrame, middle: float, tolerance: float) -> dict[str, pd.Series]:
    """Return the quantity of each claim of section 10, by seed and kind of network.

    Parameters
    ----------
    curves : curves of fitted networks from all starts, one row per α
    predictions : as `explained` returns them
    middle : α of the predictions to use
    tolerance : tolerance of plateaus
    """
    of_curves = plateau(curves, tolerance)
    error = of_curves[of_curves.bias == "output"].set_index([*KEYS, "start"]).error_plateau.unstack("start")
    replaced = of_curves[of_curves.start != "own"].set_index([*KEYS, "start", "bias"]).bump
    by_bias = replaced.unstack("bias").reindex(columns=["none", "output"]).reset_index()
    by_bias = deepest(by_bias).set_index([*KEYS, "start"])
    own = _own(predictions, middle)
    without = own[own.bias == "none"].set_index(KEYS).is_guess.unstack("depth")
    return {
        "another-start-lengthens-the-plateau": error["other"] - error["own"],
        "the-origin-lengthens-the-plateau": error["zero"] - error["own"],
        "monotone-from-any-start": at_most(replaced, RISE),
        "biases-break-monotonicity": by_bias["output"] - by_bias["none"],
        "untrained-networks-guess": first_guesses(own),
        "biases-explain-early-predictions": deepest(own[own.bias == "output"]).set_index(KEYS).is_largest,
        "depth-ends-the-guess": without[without.columns.min()] - without[without.columns.max()],
    }


def first_guesses(own: pd.DataFrame) -> pd.Series:
    """Return the share of images that an untrained network predicts as one class, counting each network once.

    Networks that differ only in biases are the same before training.
    """
    return own.groupby(KEYS).guess_share.first()


def numbers(runs: Sequence[Run], plateaus: pd.DataFrame, predictions: pd.DataFrame, middle: float) -> dict:
    """Return the numbers in the text of section 10."""
    replaced, own = plateaus[plateaus.start != "own"].dropna(subset="bump"), _own(predictions, middle)
    rise = deepest(replaced[replaced.bias == "output"]).bump
    output, without = (own[own.bias == bias] for bias in ("output", "none"))
    by_depth = without.groupby("depth").is_guess.mean()
    return {
        "rising": (replaced.bump > RISE).sum(),
        "replaced": len(replaced),
        "rising_none": (replaced[replaced.bias == "none"].bump > RISE).sum(),
        "replaced_none": (replaced.bias == "none").sum(),
        "rising_deepest": (rise > RISE).sum(),
        "replaced_deepest": len(rise),
        "rise_deepest": rise.mean(),
        **{
            f"deepest/{start}": span(mean_and_interval(of_start))
            for start, of_start in deepest(plateaus[plateaus.bias == "output"]).groupby("from").error_plateau
        },
        "first": span(clustered_mean(first_guesses(own), "seed", (0, 1))),
        "middle": middle,
        "shallowest": own.depth.min(),
        "deepest": own.depth.max(),
        "smallest": own.init_scale.min(),
        "largest_share": 100 * deepest(output).is_largest.mean(),
        "guess_share": 100 * deepest(output).is_guess.mean(),
        "guess_shallow": 100 * by_depth.iloc[0],
        "guess_deep": 100 * by_depth.iloc[-1],
        "starts": replaced.start.nunique(),
        **counts(runs),
    }


def _own(predictions: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Return the predictions at `alpha` on paths from the networks' own starts."""
    return predictions[(predictions.alpha == alpha) & (predictions.start == "own")]


def start_figure(curves: pd.DataFrame, measure: str) -> Figure:
    """Plot `loss` or `error` over α, a panel a start: networks thin, means thick; for curves after `name_networks`."""
    if nothing_to_draw(curves, "alpha", measure, "from"):
        return empty_figure()
    looks = {"x": "alpha", "y": measure, "hue": "biases", "palette": colours(curves.biases.unique())}
    with style():
        grid = sns.relplot(
            curves, **looks, col="from", col_wrap=2, kind="line", units="seed", estimator=None, height=2.4, aspect=1.5,
            lw=0.5, alpha=0.5, legend=False,
        )  # fmt: skip
        for name, axes in grid.axes_dict.items():
            means = (
                curves[curves["from"] == name].groupby(["biases", "alpha"], sort=False)[measure].mean().reset_index()
            )
            shown = axes is grid.axes.flat[min(1, len(grid.axes.flat) - 1)]
            sns.lineplot(means, **looks, style="biases", lw=2.6, ax=axes, legend=shown)
            axes.set(title=f"from {name}", xlabel=LABELS["alpha"], ylabel=LABELS[measure], xlim=(0, 1), ylim=(0, None))
            axes.set_xticks(*QUARTERS)
            if shown:
                sns.move_legend(axes, "lower left", title=None)
    return grid.figure


def count_figure(counted: pd.DataFrame) -> Figure:
    """Draw `agreeing` as cells that say k of n, a panel for each of `KINDS`, darker where more networks agree."""
    if nothing_to_draw(counted[counted.n > 0], "yes"):
        return empty_figure()
    told = counted[counted.n > 0]
    told = told.assign(share=told.yes / told.n, said=[f"{yes} of {n}" for yes, n in zip(told.yes, told.n, strict=True)])
    starts = list(counted["from"].unique())
    wide = {
        kind: rows.pivot(index="network", columns="from", values=["share", "said"]).reindex(rows.network.unique())
        for kind, rows in told.groupby("predicted", sort=False)
    }
    with style():
        figure, panels = plt.subplots(
            len(wide), 1, figsize=(7.6, 1.6 + 0.36 * sum(map(len, wide.values()))), sharex=True, squeeze=False,
            layout="constrained", height_ratios=list(map(len, wide.values())),
        )  # fmt: skip
        for axes, (kind, of_kind) in zip(panels.flat, wide.items(), strict=True):
            shares, said = (of_kind[name].reindex(columns=starts) for name in ("share", "said"))
            looks = {"vmin": 0, "vmax": 1.6, "cmap": "Blues", "cbar": False, "linewidths": 2}  # dark words on all cells
            sns.heatmap(shares.astype(float), annot=said, annot_kws={"color": "0.1"}, fmt="", **looks, ax=axes)
            axes.set(title=f"predicts its {kind}", xlabel="", ylabel="")
            axes.set_xticklabels([start.replace("another ", "another\n") for start in starts])
            axes.tick_params(length=0, rotation=0, labeltop=True, labelbottom=False)
            axes.grid(False)
    return figure
