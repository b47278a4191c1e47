"""Predictions on the error plateau, output biases and the order of learning (section 07)."""

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
    """Summarize `class_order` per run: steps of the first and last class learned, Kendall's τ of step and bias, gap."""
    by_run = classes.groupby("run")
    found = by_run.agg(seed=("seed", "first"), first_learned=("learned_at", "min"), last_learned=("learned_at", "max"))
    found["τ"] = order_correlations(classes)
    found["gap"] = by_run.output_bias.max() - by_run.output_bias.min()
    return found


def predicted_as(classes: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """Return the shares of predictions along α that go to three classes of each network.

    Parameters
    ----------
    classes : as `class_order` returns them
    curves : curves of the same runs on one path, as `mli.interpolate(…, by_class=True)` returns them

    Returns
    -------
    Tidy frame of `run`, `kind`, `label`, `alpha`, `share` and `class` (`kind` in words). The kinds are `largest` (class
    with the largest output bias), `guess` (class predicted most often at α = 0) and `smallest` (class with the smallest
    output bias).
    """
    curves = _numbered(classes, curves)
    chosen = _kinds(classes, curves).melt(var_name="kind", value_name="label", ignore_index=False).reset_index()
    found = chosen.merge(curves[["run", "label", "alpha", "predicted_share"]], on=["run", "label"])
    return found.assign(**{"class": found.kind.map(KINDS)}).rename(columns={"predicted_share": "share"})


def plateau_predictions(classes: pd.DataFrame, curves: pd.DataFrame, tolerance: float = 0.1) -> pd.DataFrame:
    """Summarize predictions on the error plateau, one row per run; arguments as for `predicted_as`.

    Returns
    -------
    `run`; `seed`; `error_plateau`; `last`, the class learned last (classes never learned come after all others);
    `largest`, `guess` and `smallest`, the classes of `predicted_as`; `as_largest`, `as_guess` and `as_smallest`, their
    mean shares of the predictions at grid points 0 < α ≤ error plateau (NaN without such points)
    """
    shares, lengths = predicted_as(classes, curves), plateau(curves[curves.label == 0], tolerance)
    found = _numbered(classes, lengths).set_index("run")[["seed", "error_plateau"]]
    found = found.join(_kinds(classes, _numbered(classes, curves)))
    found["last"] = _by_run(classes.fillna({"learned_at": np.inf})).learned_at.idxmax()
    on_plateau = shares[(shares.alpha > 0) & (shares.alpha <= shares.run.map(found.error_plateau))]
    means = on_plateau.groupby(["run", "kind"]).share.apply(pd.Series.mean).unstack("kind")  # sums in the order of α
    return found.join(means.reindex(columns=list(KINDS)).add_prefix("as_")).reset_index()


def _numbered(classes: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """Add the column `run` of `classes` to another frame of these runs."""
    return frame.merge(classes[["run", *FIELDS]].drop_duplicates())


def _kinds(classes: pd.DataFrame, numbered: pd.DataFrame) -> pd.DataFrame:
    """Return the class of each kind, one row per run, one column per kind."""
    bias, at_start = _by_run(classes).output_bias, _by_run(numbered[numbered.alpha == 0]).predicted_share
    return pd.DataFrame({"largest": bias.idxmax(), "guess": at_start.idxmax(), "smallest": bias.idxmin()})


def _by_run(frame: pd.DataFrame):
    """Group rows by run, with the class as index."""
    return frame.set_index("label").groupby("run")


def share_figure(shares: pd.DataFrame, chance: float) -> Figure:
    """Plot shares of predictions over α per `class`: means over runs, bands from lowest to highest, chance dotted."""
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
    """Return the quantity of each claim of section 07, by network; arguments as for `plateau_predictions`."""
    of_runs, found = summarize(classes), plateau_predictions(classes, curves, tolerance)
    return {
        "biases-differ-on-balanced-data": of_runs.gap,
        "later-learned-more-biased": bootstrap(of_runs.τ),
        "last-learned-has-the-largest-bias": found["last"] == found.largest,
        "plateau-predicts-the-largest-bias": found.as_largest,
        "bias-beats-the-first-guess": found.as_largest - found.as_guess,
    }


def numbers(runs: Sequence[Run], classes: pd.DataFrame, predictions: pd.DataFrame) -> dict:
    """Return the numbers in the text of section 07, from all runs, and classes and predictions of fitted ones."""
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
