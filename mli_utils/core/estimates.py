"""Estimates over runs with 95 % intervals: means, differences, proportions, correlations, R².

As a dict or frame columns, an estimate has `mean` (the estimate), `low`, `high` and `n` (number of values); undefined
numbers are NaN.
"""

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import scipy  # loads scipy.stats, which takes a second, when first asked for it

from mli_utils.core.config import InputError, check_columns, choose

LEVEL = 0.95  # confidence level of every interval
TAILS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)  # quantiles at the ends of an interval
ESTIMATE = ("mean", "low", "high", "n")
FEWEST_LEFT = 5  # clusters; fewer, left out one by one, give no interval
MOST = 10_000  # clusters that `needed` tries
NEAREST = 1e-12  # to a perfect correlation or prediction, whose transforms are infinite
CLUSTER = "its cluster"


def mean_and_interval(values: Iterable[float]) -> dict:
    """Estimate a mean with Student's t interval; NaN and infinities are left out, and n < 2 gives no interval."""
    found = np.asarray(list(values), float)
    found = found[np.isfinite(found)]
    mean, n = _mean(found), len(found)
    if n < 2:
        return _estimate(mean, n=n)
    half = scipy.stats.t.ppf(TAILS[1], n - 1) * found.std(ddof=1) / math.sqrt(n)
    return _estimate(mean, mean - half, mean + half, n=n)


def clustered_mean(values: pd.Series, cluster: str, bounds: tuple[float, float] = (-math.inf, math.inf)) -> dict:
    """Estimate a mean over independent clusters with Student's t interval, cut to the range of the quantity.

    Rows of one cluster, an entry of the index level `cluster`, are averaged first, so that a network or a seed counts
    once; `n` counts clusters. Cutting an interval to values that the mean can have does not change its coverage
    (`tests/core/test_coverage.py` simulates it).
    """
    found = mean_and_interval(values.astype(float).groupby(level=cluster).mean())
    low, high = np.clip([found["low"], found["high"]], *bounds)
    return {**found, "low": float(low), "high": float(high)}


def clustered_share(told: pd.Series, cluster: str) -> dict:
    """Estimate a share over independent clusters with Wilson's interval at their effective number.

    `told` has true and false, or shares; `mean` is over the shares of clusters, entries of the index level `cluster`,
    which `n` counts. The effective number m* has p(1 − p)/m* as the squared standard error of p; it lies between the
    numbers of clusters, n, and of rows. It is taken as n + (m* − n)(n − 1)/(n + 3), since a few clusters say little of
    their spread.
    """
    told = told.astype(float).dropna()
    of_clusters = told.groupby(level=cluster).mean()
    n, mean = len(of_clusters), _mean(of_clusters.to_numpy())
    variance = of_clusters.var() / n if n > 1 else 0.0
    effective = np.clip(mean * (1 - mean) / variance, n, len(told)) if variance > 0 else n
    return _estimate(mean, *wilson(mean, n + (effective - n) * (n - 1) / (n + 3)), n=n)


def needed(mean: float, spread: float, bounds: Iterable[float]) -> int | None:
    """Return how many clusters put the 95 % interval of a mean to one side of each bound in four of five experiments.

    The smallest n from 2 to `MOST`, or None, with (t(0.975) + t(0.8)) · spread / √n at most the distance of the
    expected mean to the nearest of the finite `bounds`; t at n − 1 degrees of freedom, `spread` over clusters.
    """
    distance = min(abs(mean - bound) for bound in bounds)
    n = np.arange(2, MOST + 1)
    enough = _decisive() * spread / np.sqrt(n) <= distance
    return int(n[enough.argmax()]) if distance > 0 and enough.any() else None


@functools.cache
def _decisive() -> np.ndarray:
    """Return t(0.975) + t(0.8) at 1 to `MOST` − 1 degrees of freedom."""
    freedom = np.arange(1, MOST)
    return scipy.stats.t.ppf(TAILS[1], freedom) + scipy.stats.t.ppf(0.8, freedom)


def holm(p: Sequence[float]) -> np.ndarray:
    """Adjust p-values for their number (Holm 1979), so that all wrong rejections together have probability 5 %."""
    values = np.asarray(p, float)
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def interval(values: Iterable[float]) -> tuple[float, float, float]:
    """Return `mean_and_interval` as a tuple (mean, low, high)."""
    found = mean_and_interval(values)
    return found["mean"], found["low"], found["high"]


def intervals(
    frame: pd.DataFrame,
    by: str | list[str],
    measures: Sequence[str],
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> pd.DataFrame:
    """Estimate the mean of each measure in each group by `mean_and_interval`.

    Parameters
    ----------
    frame : pandas.DataFrame
        One row per run.
    by : str or list of str
        Columns that define the groups.
    measures : sequence of str
        Columns to estimate.
    ranges : mapping or None
        Smallest and largest possible value of measures whose intervals are to be cut to them.

    Returns
    -------
    pandas.DataFrame
        One row per group and measure: `by`, `measure` (its column), `mean`, `low`, `high` (95 %) and `n`.

    Raises
    ------
    InputError
        A column is missing, or `ranges` has something else than a measure.
    """
    by = [by] if isinstance(by, str) else list(by)
    check_columns("intervals", frame, [*by, *measures])
    rows = [
        {**dict(zip(by, values, strict=True)), "measure": measure, **mean_and_interval(group[measure])}
        for values, group in frame.groupby(by, sort=False, dropna=False)
        for measure in measures
    ]
    found = pd.DataFrame(rows, columns=[*by, "measure", *ESTIMATE])
    for measure, (least, most) in (ranges or {}).items():
        choose("measure with a range:", measure, measures)
        ends = found.loc[found.measure == measure, ["low", "high"]].clip(least, most)
        found.loc[ends.index, ["low", "high"]] = ends
    return found


def paired_differences(frame: pd.DataFrame, by: str, base: str, measures: Sequence[str]) -> pd.DataFrame:
    """Estimate the mean difference of each measure from group `base`, paired by seed.

    Parameters
    ----------
    frame : pandas.DataFrame
        One row per value of `by` and `seed`.
    by : str
        Column that defines the groups.
    base : str
        Value of `by` to compare with.
    measures : sequence of str
        Columns to compare.

    Returns
    -------
    pandas.DataFrame
        One row per group, except `base`, and measure: `by`, `measure`, `mean`, `low`, `high` (95 %) and `n`.

    Raises
    ------
    InputError
        A column is missing, no group is `base`, or two rows of a group share their seed.
    """
    check_columns("paired_differences", frame, [by, "seed", *measures])
    choose(f"{by} to compare with:", base, frame[by].unique())
    if frame.duplicated([by, "seed"]).any():
        raise InputError(f"paired_differences: {by} and seed do not tell the rows apart; allowed: one row of each")
    wide = frame.set_index([by, "seed"])[list(measures)].unstack("seed")
    rows = [
        {by: value, "measure": measure, **mean_and_interval(wide.loc[value, measure] - wide.loc[base, measure])}
        for value in dict.fromkeys(frame[by])
        if value != base
        for measure in measures
    ]
    return pd.DataFrame(rows, columns=[by, "measure", *ESTIMATE])


def wilson(share: float, n: float) -> tuple[float, float]:
    """Compute Wilson's interval (low, high) for a proportion of `n` (1927); NaN for n = 0."""
    if n == 0:
        return math.nan, math.nan
    z = scipy.stats.norm.ppf(TAILS[1]) ** 2 / n
    middle, half = (share + z / 2) / (1 + z), math.sqrt(z * (share * (1 - share) + z / 4)) / (1 + z)
    return (middle - half if share > 0 else 0.0), (middle + half if share < 1 else 1.0)


def rank_correlation(
    frame: pd.DataFrame, x: str, y: str, given: Sequence[str] = (), cluster: str | None = None
) -> dict:
    """Estimate Spearman's rank correlation, plain or partial, with an interval over clusters (`without_each`).

    The partial correlation is between the residuals of both ranks after an additive fit of the categories in the
    columns `given`. Its interval is Student's on Fisher's scale, artanh. Rows with a missing value are left out. The
    column or index level `cluster` names the clusters, which `n` counts; without one every row is one. Numbers are NaN
    where undefined or with under five clusters.
    """
    whose = np.arange(len(frame)) if cluster is None else frame.reset_index()[cluster].to_numpy()
    kept = frame[[x, y, *given]].assign(**{CLUSTER: whose}).dropna()
    codes, n = pd.factorize(kept[CLUSTER])[0], kept[CLUSTER].nunique()
    if n < FEWEST_LEFT or len(kept) < 3 + sum(kept[name].nunique() for name in given):
        return _estimate(n=n)
    values = kept[[x, y]].to_numpy(float)
    held = np.ones((len(kept), 1))
    if given:
        dummies = pd.get_dummies(kept[list(given)].astype(str), drop_first=True).to_numpy(float)
        held = np.hstack([held, dummies])
    if n == len(kept):  # all rests have one size
        rest = np.arange(n - 1) + (np.arange(n - 1) >= np.arange(n)[:, None])
        found = _partial(values[rest], held[rest])
    else:
        rests = (codes != one for one in range(n))
        found = np.concatenate([_partial(values[None, rest], held[None, rest]) for rest in rests])
    return without_each(_partial(values[None], held[None])[0], found, _fisher, np.tanh)


def without_each(whole: float, rests: np.ndarray, scale: Callable, back: Callable) -> dict:
    """Estimate a statistic with an interval from its values without each of n independent clusters, `rests` (n,).

    `scale` is a monotone function to a scale on which the statistic is about normal, `back` its inverse. The interval
    is Student's t interval of the pseudo-values n f − (n − 1) f₋ᵢ (Tukey 1958), widened to hold `whole`, the statistic
    of all clusters, if need be; under five clusters or an undefined statistic give none.
    """
    n = len(rests)
    if n < FEWEST_LEFT or not np.isfinite(whole) or not np.isfinite(rests).all():
        return _estimate(whole, n=n)
    found = mean_and_interval(n * scale(whole) - (n - 1) * scale(rests))
    low, high = sorted(back(np.array([found["low"], found["high"]])))
    return _estimate(whole, min(low, whole), max(high, whole), n=n)


def determination(measured: Iterable[float], predicted: Iterable[float]) -> float:
    """Compute R² = 1 − Σ(measured − predicted)² / Σ(measured − mean)²; NaN where `measured` is constant or empty."""
    measured, predicted = (np.asarray(values, float) for values in (measured, predicted))
    varies = measured.size and ((measured - measured.mean()) ** 2).sum()
    return float(1 - ((measured - predicted) ** 2).sum() / varies) if varies else math.nan


def determination_by_seed(measured: pd.DataFrame, predicted: pd.DataFrame) -> dict:
    """Estimate R² over all cells of two frames (one row per seed, one column per dose) with an interval over seeds.

    The doses of a seed are dependent, so whole seeds are left out (`without_each`), on the scale log(1 − R²). `n`
    counts seeds; fewer than five give no interval.
    """
    pairs = np.stack([measured.to_numpy(float), predicted.loc[measured.index, measured.columns].to_numpy(float)])
    pairs = pairs[:, np.isfinite(pairs).all(axis=(0, 2))]
    whole = determination(*pairs)
    rests = np.array([determination(*np.delete(pairs, one, axis=1)) for one in range(pairs.shape[1])])
    return without_each(whole, rests, lambda value: np.log(np.maximum(1 - value, NEAREST)), lambda log: 1 - np.exp(log))


def at_most(values: pd.Series, bound: float) -> pd.Series:
    """Return 1.0 where a value is at most the bound, 0.0 where it is larger, NaN where it is missing."""
    return (values <= bound).astype(float).where(values.notna())


def _estimate(mean: float = math.nan, low: float = math.nan, high: float = math.nan, *, n: int) -> dict:
    return {"mean": float(mean), "low": float(low), "high": float(high), "n": int(n)}


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan


def _fisher(correlation: np.ndarray) -> np.ndarray:
    return np.arctanh(np.clip(correlation, NEAREST - 1, 1 - NEAREST))


def _partial(values: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Correlate rank residuals after a fit on `held` (parts, n, k), for values (parts, n, 2)."""
    rows = np.ascontiguousarray(values.mT)  # ranking contiguous rows takes a third of the time
    ranks = np.ascontiguousarray(scipy.stats.rankdata(rows, axis=-1).mT)
    normal = held.mT @ held + 1e-9 * np.eye(held.shape[-1])  # a part may lack a category
    left = ranks - held @ np.linalg.solve(normal, held.mT @ ranks)
    sums = left.mT @ left
    spread = sums[:, 0, 0] * sums[:, 1, 1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(spread > 1e-6, sums[:, 0, 1] / np.sqrt(spread), np.nan)
