"""What is measured of curves and histories: plateau, bump, and when a class is learned (sections 01 and 07)."""

import numpy as np
import pandas as pd

from mli_utils.core.config import DATASETS, FIELDS, InputError

ALONG = ("alpha", "alpha_weights", "alpha_bias")  # columns that say where on a path or square a row is
FITTED_ERROR = 0.01  # a run that gets more of its training set wrong than this is no minimizer


def crossing(alphas, values, threshold: float) -> float:
    """The largest α up to which `values` has stayed at or above `threshold`, linear between grid points.

    0 where the first value is already below, the last α where none is, NaN where a value is not finite.
    """
    alphas, values = np.asarray(alphas, float), np.asarray(values, float)
    if not np.isfinite(values).all():
        return float("nan")
    below = np.flatnonzero(values < threshold)
    if not len(below):
        return float(alphas[-1])
    j = below[0]
    if j == 0:
        return 0.0
    part = (values[j - 1] - threshold) / (values[j - 1] - values[j])
    return float(alphas[j - 1] + part * (alphas[j] - alphas[j - 1]))


def monotonicity_gap(values) -> float:
    """The largest rise of a curve from any point to any later one (Lucas et al. 2021), here called the bump."""
    values = np.asarray(values, float)
    return float(np.max(values - np.minimum.accumulate(values)))


def thresholds(classes: int, tolerance: float) -> dict[str, float]:
    """What error (fraction wrong) and loss (nats) fall below at a plateau's end: chance, less the tolerance's share."""
    level = 1 - tolerance
    return {"error": level * (1 - 1 / classes), "loss": level * np.log(classes)}


def plateau(curves: pd.DataFrame, tolerance: float = 0.1) -> pd.DataFrame:
    """Measure how far along each path nothing has been learned yet.

    The error plateau is the largest α such that error ≥ (1 − tolerance)(1 − 1/k) up to there, the loss plateau the
    largest such that loss ≥ (1 − tolerance) ln k, with k classes; both linear between grid points (section 01). The
    bump is the largest rise of the loss from any point to any later one (Lucas et al. 2021).

    Parameters
    ----------
    curves : pandas.DataFrame
        As `interpolate` returns them.
    tolerance : float
        Share of the way from chance to nothing, from 0 up to, but not, 1.

    Returns
    -------
    pandas.DataFrame
        A row a run and path: the fields that tell curves apart, `error_plateau` and `loss_plateau` (α), `bump` (nats).

    Raises
    ------
    InputError
        A tolerance outside 0 to 1, or a frame that lacks a column of a curve.
    """
    if not 0 <= tolerance < 1:
        raise InputError(f"tolerance={tolerance} is not allowed; allowed: from 0 up to, but not, 1")
    needed = [*FIELDS, "path", "alpha", "loss", "error"]
    missing = [name for name in needed if name not in curves]
    if missing:
        raise InputError(f"the curves lack {', '.join(missing)}; needed: {', '.join(needed)}")
    keys = [name for name in (*FIELDS, "status", "start", "statistics", "path") if name in curves]
    fields, arrays = apart(curves, keys, ["alpha", "loss", "error"])
    rows = []
    for dataset, curve in zip(fields.dataset, arrays, strict=True):
        levels = thresholds(DATASETS[dataset].classes, tolerance)
        ends = {f"{name}_plateau": crossing(curve["alpha"], curve[name], level) for name, level in levels.items()}
        rows.append({**ends, "bump": monotonicity_gap(curve["loss"])})
    return fields.join(pd.DataFrame(rows, columns=["error_plateau", "loss_plateau", "bump"]))


def apart(curves: pd.DataFrame, keys: list[str], columns: list[str]) -> tuple[pd.DataFrame, list[dict]]:
    """What a frame of many curves has of each: a row of `keys`, and `columns` as arrays in the order of α and label."""
    number = curves.groupby(keys, sort=False, dropna=False).ngroup().to_numpy()
    labels = [curves.label] if "label" in curves else []
    order = np.lexsort([*labels, curves.alpha, number])
    first = np.flatnonzero(np.diff(number[order], prepend=-1))
    of_columns = [np.split(curves[name].to_numpy()[order], first[1:]) for name in columns]
    arrays = [dict(zip(columns, of_curve, strict=True)) for of_curve in zip(*of_columns, strict=True)]
    return curves[keys].iloc[order[first]].reset_index(drop=True), arrays if len(curves) else []


def only_fitted(frame: pd.DataFrame) -> pd.DataFrame:
    """Blank what was measured of runs that did not fit.

    So a group of runs keeps its place in tables and figures when none of them fitted.

    Parameters
    ----------
    frame : pandas.DataFrame
        With a column `status`, as `interpolate` and `table` return it.

    Returns
    -------
    pandas.DataFrame
        The same rows, with NaN in every measured column where the run is not `fitted`.
    """
    kept = (*FIELDS, *ALONG, "label")
    measured = [name for name in frame.select_dtypes("number") if name not in kept]
    return frame.assign(**{name: frame[name].where(frame.status == "fitted") for name in measured})


def stays_from(steps, good) -> float:
    """The first of `steps` from which `good` holds to the end; NaN where it does not hold at the end."""
    bad = np.flatnonzero(~np.asarray(good))
    after = bad[-1] + 1 if len(bad) else 0
    return float(np.asarray(steps)[after]) if after < len(steps) else float("nan")


def learned_at(history: pd.DataFrame) -> pd.Series:
    """The first optimizer step from which each class's training error stays under 50 %; NaN where it never does.

    Parameters
    ----------
    history : a run's, with columns `step` and `class_error_0`, `class_error_1`, …

    Returns
    -------
    Series by class number
    """
    of_classes = history.filter(like="class_error_")
    first = {
        int(name.removeprefix("class_error_")): stays_from(history["step"], of_classes[name] < 0.5)
        for name in of_classes
    }
    return pd.Series(first, name="learned_at")
