"""What networks predict on their error plateau, beside the biases and the order of learning (section 07)."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from mli_utils.core.config import FIELDS
from mli_utils.core.plateaus import plateau
from mli_utils.figures.kinds import empty_figure, nothing
from mli_utils.figures.style import LABELS, colours, style


def plateau_predictions(classes: pd.DataFrame, curves: pd.DataFrame, tolerance: float = 0.1) -> pd.DataFrame:
    """What networks predict on their error plateau: one row a run.

    Parameters
    ----------
    classes : as `class_order` returns them
    curves : of the same runs on one path, as `mli.interpolate(…, by_class=True)` returns them

    Returns
    -------
    `run`; `seed`; `largest`, the class with the largest output bias; `last`, the class learned last; `guess`, the class
    that the untrained network predicts most often; `as_largest` and `as_guess`, the share of all predictions at the
    grid points 0 < α ≤ error plateau that are these classes (NaN where there is no such point)
    """
    lengths = plateau(curves[curves.label == 0], tolerance)
    rows = []
    for run, of_run in classes.groupby("run"):
        same = [name for name in FIELDS if name in of_run]
        fields = of_run.iloc[0][same]
        curve = curves[(curves[same] == fields).all(axis=1)]
        end = lengths[(lengths[same] == fields).all(axis=1)].error_plateau.item()
        shares = curve.pivot(index="alpha", columns="label", values="predicted_share")
        largest = int(of_run.set_index("label").output_bias.idxmax())
        guess = int(shares.loc[0].idxmax())
        on_plateau = shares[(shares.index > 0) & (shares.index <= end)]
        rows.append(
            {
                "run": run,
                "seed": fields.seed,
                "error_plateau": end,
                "largest": largest,
                "last": _last(of_run),
                "guess": guess,
                "as_largest": on_plateau[largest].mean(),
                "as_guess": on_plateau[guess].mean(),
            }
        )
    columns = ["run", "seed", "error_plateau", "largest", "last", "guess", "as_largest", "as_guess"]
    return pd.DataFrame(rows, columns=columns)


def predicted_as(predictions: pd.DataFrame, classes: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """Along α, how large a share of the predictions are three classes of each network.

    Returns
    -------
    Tidy frame of `run`, `alpha`, `class`, `share`; `class` says which: that with the largest output bias, that which
    the untrained network guesses, that with the smallest output bias
    """
    frames = [pd.DataFrame(columns=["run", "alpha", "class", "share"])]
    for (run, of_run), row in zip(classes.groupby("run"), predictions.itertuples(), strict=True):
        fields = of_run.iloc[0][list(FIELDS)]
        curve = curves[(curves[list(FIELDS)] == fields).all(axis=1)]
        smallest = int(of_run.set_index("label").output_bias.idxmin())
        for said, label in (
            ("the largest bias", row.largest),
            ("the first guess", row.guess),
            ("the smallest bias", smallest),
        ):
            chosen = curve[curve.label == label]
            frames.append(
                pd.DataFrame({"run": run, "alpha": chosen.alpha, "class": said, "share": chosen.predicted_share})
            )
    return pd.concat(frames, ignore_index=True)


def _last(of_run: pd.DataFrame) -> int:
    """The class learned last; one that is never learned comes after all others."""
    return int(of_run.set_index("label").learned_at.fillna(np.inf).idxmax())


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
