"""The order in which a network learns its classes, the biases they end with, and what its plateau predicts.

The book's section 07 needs all of it, section 08 the first half.
"""

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from mli_utils import metrics, sweep
from mli_utils.config import InputError, make_config
from mli_utils.sweep import Run


def class_order(runs: Sequence[Run]) -> pd.DataFrame:
    """When each class was learned, and the output bias with which it ended: one row a run and class.

    Returns
    -------
    The runs' fields; `run`, its place among `runs`; `label`; `learned_at` (`metrics.learned_at`, NaN where never);
    `place` in the order of learning, from 1, the mean of their places for classes learned at one logged step;
    `output_bias` (logits); `centred_bias`, the same less its mean over classes, which changes no prediction

    Raises
    ------
    InputError
        A run without output bias.
    """
    frames = []
    for i, run in enumerate(runs):
        if run.summary["output_bias"] is None:
            raise InputError(f"{run.config} has no output bias; allowed here: bias 'output' or 'all'")
        bias = np.array(run.summary["output_bias"])
        learned = metrics.learned_at(run.history).sort_index()
        frames.append(
            pd.DataFrame(
                {
                    **asdict(run.config),
                    "run": i,
                    "label": learned.index,
                    "learned_at": learned.to_numpy(),
                    "place": learned.rank().to_numpy(),
                    "output_bias": bias,
                    "centred_bias": bias - bias.mean(),
                }
            )
        )
    return sweep.together(frames, "run", "label", "learned_at", "place", "output_bias", "centred_bias")


def order_correlations(classes: pd.DataFrame) -> pd.Series:
    """Kendall's τ-b, by run, between the step at which a class is learned and its output bias.

    Classes that are never learned are left out; NaN where fewer than two steps are left to tell apart.
    """

    taus = {
        run: kendalltau(of_run.learned_at, of_run.output_bias, nan_policy="omit").statistic
        for run, of_run in classes.groupby("run")
    }
    return pd.Series(taus, name="tau", dtype=float).rename_axis("run")


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
    lengths = metrics.plateau(curves[curves.label == 0], tolerance)
    rows = []
    for run, of_run in classes.groupby("run"):
        same = [name for name in metrics.FIELDS if name in of_run]
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
        fields = of_run.iloc[0][list(metrics.FIELDS)]
        curve = curves[(curves[list(metrics.FIELDS)] == fields).all(axis=1)]
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


def explained(curves: pd.DataFrame, runs: Sequence[Run], at: Sequence[float]) -> pd.DataFrame:
    """What networks predict early on a path, beside their first guess and their largest bias: a row a curve and α.

    Parameters
    ----------
    curves : of these runs, as `mli.interpolate(…, by_class=True)` returns them
    at : grid points to look at

    Returns
    -------
    The runs' fields, `status`, `start`, `path`, `alpha`; `favoured`, the class predicted most often there;
    `guess` and `guess_share`, that at α = 0 and its share of all predictions; `is_guess`; `is_largest`, whether the
    favoured class has the largest output bias at θ(T). NaN without such a bias, and for the guess of the origin, which
    tells no classes apart.

    Raises
    ------
    InputError
        A point that is not on the grid.
    """
    largest = {
        run.config: int(np.argmax(run.summary["output_bias"])) for run in runs if run.summary["output_bias"] is not None
    }
    keys = ["start", "path", "status", *metrics.FIELDS]
    fields, arrays = metrics.apart(curves, keys, ["alpha", "label", "predicted_share"])
    rows = []
    for of_curve, curve in zip(fields.to_dict("records"), arrays, strict=True):
        config = make_config(**{name: of_curve[name] for name in metrics.FIELDS})
        alphas, labels = np.unique(curve["alpha"]), np.unique(curve["label"])
        shares = curve["predicted_share"].reshape(len(alphas), len(labels))
        known = np.isfinite(shares[0]).all()
        guesses = known and of_curve["start"] != "zero"
        guess = labels[shares[0].argmax()] if guesses else np.nan
        for alpha in at:
            place = np.flatnonzero(np.isclose(alphas, alpha))
            if not len(place):
                raise InputError(f"alpha={alpha} is not on the curves; allowed: {', '.join(map(str, alphas))}")
            favoured = labels[shares[place[0]].argmax()] if known else np.nan
            told = {"is_guess": guess, "is_largest": largest.get(config, np.nan) if known else np.nan}
            rows.append(
                {
                    **of_curve,
                    "alpha": alpha,
                    "favoured": favoured,
                    "guess": guess,
                    "guess_share": shares[0].max() if guesses else np.nan,
                    **{name: np.nan if np.isnan(label) else float(favoured == label) for name, label in told.items()},
                }
            )
    return pd.DataFrame(rows, columns=[*keys, "alpha", "favoured", "guess", "guess_share", "is_guess", "is_largest"])


def _last(of_run: pd.DataFrame) -> int:
    """The class learned last; one that is never learned comes after all others."""
    return int(of_run.set_index("label").learned_at.fillna(np.inf).idxmax())
