"""What networks predict on their error plateau, beside the biases and the order of learning (section 07)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from mli_utils.core.config import FIELDS
from mli_utils.core.estimates import bootstrap, mean_and_interval
from mli_utils.core.plateaus import plateau
from mli_utils.core.words import span
from mli_utils.figures.kinds import empty_figure, nothing
from mli_utils.figures.style import LABELS, colours, style
from mli_utils.runs.measured import order_correlations
from mli_utils.runs.trained import Run, counts

KINDS = {"largest": "the largest bias", "guess": "the first guess", "smallest": "the smallest bias"}


def summarize(classes: pd.DataFrame) -> pd.DataFrame:
    """Of what `class_order` returns, a row a run: the steps at which its first and last class were learned, Kendall's
    τ between step and bias, and the gap between the biases."""
    by_run = classes.groupby("run")
    found = by_run.agg(seed=("seed", "first"), first_learned=("learned_at", "min"), last_learned=("learned_at", "max"))
    found["τ"] = order_correlations(classes)
    found["gap"] = by_run.output_bias.max() - by_run.output_bias.min()
    return found


def predicted_as(classes: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """How large a share of the predictions along α three classes of each network are.

    Parameters
    ----------
    classes : as `class_order` returns them
    curves : of the same runs on one path, as `mli.interpolate(…, by_class=True)` returns them

    Returns
    -------
    Tidy frame of `run`, `kind`, `label`, `alpha`, `share` and `class`, the kind in words. `kind` is `largest` for the
    class with the largest output bias, `guess` for the one that the untrained network predicts most often, `smallest`
    for the one with the smallest bias.
    """
    curves = _numbered(classes, curves)
    chosen = _kinds(classes, curves).melt(var_name="kind", value_name="label", ignore_index=False).reset_index()
    found = chosen.merge(curves[["run", "label", "alpha", "predicted_share"]], on=["run", "label"])
    return found.assign(**{"class": found.kind.map(KINDS)}).rename(columns={"predicted_share": "share"})


def plateau_predictions(classes: pd.DataFrame, curves: pd.DataFrame, tolerance: float = 0.1) -> pd.DataFrame:
    """What networks predict on their error plateau: one row a run, from the same frames as `predicted_as`.

    Returns
    -------
    `run`; `seed`; `error_plateau`; `last`, the class learned last, where one that is never learned comes after all
    others; `largest`, `guess` and `smallest`, as `predicted_as` says; `as_largest`, `as_guess` and `as_smallest`, the
    share of all predictions at the grid points 0 < α ≤ error plateau that are these classes (NaN where there is no such
    point)
    """
    shares, lengths = predicted_as(classes, curves), plateau(curves[curves.label == 0], tolerance)
    found = _numbered(classes, lengths).set_index("run")[["seed", "error_plateau"]]
    found = found.join(_kinds(classes, _numbered(classes, curves)))
    found["last"] = _by_run(classes.fillna({"learned_at": np.inf})).learned_at.idxmax()
    on_plateau = shares[(shares.alpha > 0) & (shares.alpha <= shares.run.map(found.error_plateau))]
    means = on_plateau.groupby(["run", "kind"]).share.apply(pd.Series.mean).unstack("kind")  # sums in the order of α
    return found.join(means.reindex(columns=list(KINDS)).add_prefix("as_")).reset_index()


def _numbered(classes: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """A frame of runs with the number of each row's `run`."""
    return frame.merge(classes[["run", *FIELDS]].drop_duplicates())


def _kinds(classes: pd.DataFrame, numbered: pd.DataFrame) -> pd.DataFrame:
    """Which class of a run is of which kind, a column a kind."""
    bias, at_start = _by_run(classes).output_bias, _by_run(numbered[numbered.alpha == 0]).predicted_share
    return pd.DataFrame({"largest": bias.idxmax(), "guess": at_start.idxmax(), "smallest": bias.idxmin()})


def _by_run(frame: pd.DataFrame):
    """Groups of a frame's rows, each under its class."""
    return frame.set_index("label").groupby("run")


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
        axes.legend(title="class with", loc="upper right")
    return figure


def measured(classes: pd.DataFrame, curves: pd.DataFrame, tolerance: float) -> dict:
    """The quantity of each claim of section 07, by network, from what `plateau_predictions` takes."""
    of_runs, found = summarize(classes), plateau_predictions(classes, curves, tolerance)
    return {
        "biases-differ-on-balanced-data": of_runs.gap,
        "later-learned-more-biased": bootstrap(of_runs.τ),
        "last-learned-has-the-largest-bias": found["last"] == found.largest,
        "plateau-predicts-the-largest-bias": found.as_largest,
        "bias-beats-the-first-guess": found.as_largest - found.as_guess,
    }


def numbers(runs: Sequence[Run], classes: pd.DataFrame, predictions: pd.DataFrame) -> dict:
    """What the text of section 07 says: of all its runs, of the fitted ones' classes and predictions."""
    of_runs, members = summarize(classes), runs[0].summary["class_counts"]
    last, largest, guess = (predictions[name] for name in ("last", "largest", "guess"))
    return {
        "gap": span(mean_and_interval(of_runs.gap)),
        "order": span(bootstrap(of_runs.τ)),
        "lowest": of_runs.τ.min(),
        "highest": of_runs.τ.max(),
        "positive": (of_runs.τ > 0).sum(),
        "last_is_largest": (last == largest).sum(),
        "last_is_guess": (last == guess).sum(),
        "largest_is_guess": (largest == guess).sum(),
        "as_largest": 100 * predictions.as_largest.mean(),
        "as_guess": 100 * predictions.as_guess.mean(),
        "with_plateau": predictions.as_largest.notna().sum(),
        "classes": len(members),
        "members": " to ".join(map(str, sorted({min(members), max(members)}))),
        **counts(runs),
    }
