"""Plateau and bump of a curve, and the step at which a class is learned (sections 01 and 07)."""

from numbers import Real

import numpy as np
import pandas as pd

from mli_utils.core.config import DATASETS, FIELDS, InputError, check_columns

ALONG = ("alpha", "alpha_weights", "alpha_bias")  # columns with a row's position on a path or square
APART = (*FIELDS, "status", "start", "statistics", "path", "classes")  # columns that tell curves apart, as do texts
FITTED_ERROR = 0.01  # largest training error of a fitted run
RISE = 0.01  # nats; a curve whose loss rises by more is not monotone


def crossing(alphas, values, threshold: float) -> float:
    """Find the largest α up to which `values` stays at or above `threshold`, linear between grid points.

    0 if the first value is below, the last α if none is, NaN if a value or the threshold is not finite.
    """
    alphas, values = np.asarray(alphas, float), np.asarray(values, float)
    if not np.isfinite([threshold, *values]).all():
        return float("nan")
    below = np.flatnonzero(values < threshold)
    if not len(below):
        return float(alphas[-1])
    j = below[0]
    if j == 0:
        return 0.0
    part = (values[j - 1] - threshold) / (values[j - 1] - values[j])
    return float(alphas[j - 1] + part * (alphas[j] - alphas[j - 1]))


def last_crossing(alphas, values, threshold: float) -> float:
    """Find the largest α at which `values` is at or above `threshold`, linear between grid points.

    0 if no value is, the last α if the last value is, NaN if a value or the threshold is not finite. Where a curve
    crosses the threshold once, it is `crossing`; but it does not end a plateau at a first guess that α = 0 happens to
    get right.
    """
    alphas, values = np.asarray(alphas, float), np.asarray(values, float)
    if not np.isfinite([threshold, *values]).all():
        return float("nan")
    above = np.flatnonzero(values >= threshold)
    if not len(above):
        return 0.0
    j = above[-1]
    if j + 1 == len(alphas):
        return float(alphas[-1])
    return float(np.interp(-threshold, -values[j : j + 2], alphas[j : j + 2]))


def monotonicity_gap(values) -> float:
    """Compute the bump: the largest rise of a curve from any point to a later one (Lucas et al. 2021)."""
    values = np.asarray(values, float)
    return float(np.max(values - np.minimum.accumulate(values)))


def thresholds(classes: int, tolerance: float) -> dict[str, float]:
    """Return the error (fraction wrong) and loss (nats) that end a plateau: chance level times 1 − tolerance."""
    level = 1 - tolerance
    return {"error": level * (1 - 1 / classes), "loss": level * np.log(classes)}


def plateau(curves: pd.DataFrame, tolerance: float = 0.1) -> pd.DataFrame:
    """Measure the initial plateau and the bump of each curve.

    The error plateau is the largest α up to which error ≥ (1 − tolerance)(1 − 1/k), the loss plateau the largest up to
    which loss ≥ (1 − tolerance) ln k, for k classes; both are linear between grid points (section 01). The bump is the
    largest rise of the loss from any point to a later one (Lucas et al. 2021).

    Parameters
    ----------
    curves : pandas.DataFrame
        Curves from `interpolate` or `interpolate_model`.
    tolerance : float
        Relative drop below chance level that ends a plateau, in [0, 1).

    Returns
    -------
    pandas.DataFrame
        One row per curve: the fields that tell curves apart, `error_plateau` and `loss_plateau` (α; NaN without
        classes), `bump` (nats).

    Raises
    ------
    InputError
        A tolerance outside [0, 1), a frame that lacks a column of a curve, or one that repeats points of a curve.
    """
    if not isinstance(tolerance, Real) or not 0 <= tolerance < 1:
        raise InputError(f"tolerance={tolerance!r} is not allowed; allowed: from 0 up to, but not, 1")
    of_task = "dataset" if "classes" not in curves else "classes"
    check_columns("curves", curves, [of_task, "path", "alpha", "loss", "error"])
    fields, arrays = split_curves(curves, keys_of(curves), ["alpha", "loss", "error"])
    rows = []
    for classes, curve in zip(classes_of(fields), arrays, strict=True):
        rows.append({**plateaus_of(curve, classes, tolerance), "bump": monotonicity_gap(curve["loss"])})
    return fields.join(pd.DataFrame(rows, columns=["error_plateau", "loss_plateau", "bump"]))


def plateaus_of(curve: dict, classes: int, tolerance: float = 0.1) -> dict[str, float]:
    """Return `error_plateau` and `loss_plateau` (α) of one curve, as `split_curves` returns it."""
    levels = thresholds(classes, tolerance)
    return {f"{name}_plateau": crossing(curve["alpha"], curve[name], level) for name, level in levels.items()}


def keys_of(curves: pd.DataFrame) -> list[str]:
    """Return the columns that tell curves apart: those of `APART`, and texts."""
    keys = [name for name in APART if name in curves]
    return keys + [name for name in curves.select_dtypes(exclude="number") if name not in keys]


def classes_of(curves: pd.DataFrame) -> pd.Series:
    """Return the number of classes behind each row: the column `classes`, or else the dataset's."""
    if "dataset" not in curves:
        return curves.classes
    of_dataset = curves.dataset.map(lambda name: DATASETS[name].classes, na_action="ignore")
    return curves.classes.fillna(of_dataset) if "classes" in curves else of_dataset


def plateau_ends(curves: pd.DataFrame, tolerance: float = 0.1) -> pd.DataFrame:
    """Return where curves leave the error plateau for good: `end`, one row per run, `start` and path.

    `end` is the largest α with error ≥ (1 − tolerance)(1 − 1/k); predicted and measured curves are compared by it.
    """
    fields, arrays = split_curves(curves, keys_of(curves), ["alpha", "error"])
    levels = [thresholds(classes, tolerance)["error"] for classes in classes_of(fields)]
    ends = [last_crossing(curve["alpha"], curve["error"], level) for curve, level in zip(arrays, levels, strict=True)]
    return fields.assign(end=ends)


def split_curves(curves: pd.DataFrame, keys: list[str], columns: list[str]) -> tuple[pd.DataFrame, list[dict]]:
    """Split a frame into curves: a row of `keys` each, and arrays of `columns` each, ordered by α and label."""
    number = curves.groupby(keys, sort=False, dropna=False).ngroup().to_numpy()
    labels = [curves.label] if "label" in curves else []
    order = np.lexsort([*labels, curves.alpha, number])
    first = np.flatnonzero(np.diff(number[order], prepend=-1))
    again = (np.diff(curves.alpha.to_numpy()[order]) == 0) & (np.diff(number[order]) == 0)
    if not labels and again.any():
        raise InputError(f"curves repeat points of α; allowed: once each, with curves told apart by {', '.join(keys)}")
    of_columns = [np.split(curves[name].to_numpy()[order], first[1:]) for name in columns]
    arrays = [dict(zip(columns, of_curve, strict=True)) for of_curve in zip(*of_columns, strict=True)]
    return curves[keys].iloc[order[first]].reset_index(drop=True), arrays if len(curves) else []


def only_fitted(frame: pd.DataFrame) -> pd.DataFrame:
    """Set measurements of runs that did not fit to NaN.

    Rows stay, so a group without fitted runs keeps its place in tables and figures.

    Parameters
    ----------
    frame : pandas.DataFrame
        Frame with a column `status`, as from `interpolate` or `table`.

    Returns
    -------
    pandas.DataFrame
        The same rows, with NaN in every measured column where the run is not `fitted`.

    Raises
    ------
    InputError
        The frame has no column `status`.
    """
    check_columns("only_fitted", frame, ["status"])
    kept = (*FIELDS, *ALONG, "label")
    measured = [name for name in frame.select_dtypes("number") if name not in kept]
    return frame.assign(**{name: frame[name].where(frame.status == "fitted") for name in measured})


def stays_from(steps, good) -> float:
    """Return the first of `steps` from which `good` holds to the end, NaN if none."""
    bad = np.flatnonzero(~np.asarray(good))
    after = bad[-1] + 1 if len(bad) else 0
    return float(np.asarray(steps)[after]) if after < len(steps) else float("nan")


def learned_at(history: pd.DataFrame) -> pd.Series:
    """Find the first step from which each class's error in a run's history stays under 50 %, by class; NaN if none."""
    of_classes = history.filter(like="class_error_")
    first = {
        int(name.removeprefix("class_error_")): stays_from(history["step"], of_classes[name] < 0.5)
        for name in of_classes
    }
    return pd.Series(first, name="learned_at")
