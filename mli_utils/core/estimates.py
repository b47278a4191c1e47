"""Estimates over runs with their 95 % intervals: means, differences, shares, correlations, R².

As a dict or as columns of a frame, an estimate is `mean` (the estimate), `low`, `high` and `n`, how many values it is
over; NaN where there is none.
"""

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd
from scipy import stats

LEVEL = 0.95  # of every interval
TAILS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)  # quantiles at its ends
ESTIMATE = ("mean", "low", "high", "n")
RESAMPLES = {"mean": 4999, "correlation": 1000, "determination": 2000}  # of a bootstrap, always from the same seed


def mean_and_interval(values: Iterable[float]) -> dict:
    """Estimate a mean with Student's t interval.

    Parameters
    ----------
    values : iterable of float
        One a run; NaN is left out.

    Returns
    -------
    dict
        `mean`, `low`, `high` (95 %) and `n`, how many values; ends are NaN for fewer than two.
    """
    values = _finite(values)
    mean, n = _mean(values), len(values)
    if n < 2:
        return _estimate(mean, n=n)
    half = stats.t.ppf(TAILS[1], n - 1) * values.std(ddof=1) / math.sqrt(n)
    return _estimate(mean, mean - half, mean + half, n=n)


def interval(values: Iterable[float]) -> tuple[float, float, float]:
    """`mean_and_interval` without the number of values: (mean, low, high)."""
    found = mean_and_interval(values)
    return found["mean"], found["low"], found["high"]


def intervals(frame: pd.DataFrame, by: list[str], measures: list[str]) -> pd.DataFrame:
    """Estimate the mean of each measure in each group, as `mean_and_interval`.

    Parameters
    ----------
    frame : pandas.DataFrame
        A row a run.
    by : list of str
        Columns that tell groups apart.
    measures : list of str
        Columns to estimate; their names become the rows' `measure`.

    Returns
    -------
    pandas.DataFrame
        Rows of `by`, `measure`, `mean`, `low`, `high` (95 %) and `n`.
    """
    return _by_group(mean_and_interval, frame, by, measures)


def paired_differences(frame: pd.DataFrame, by: str, base: str, measures: Sequence[str]) -> pd.DataFrame:
    """Estimate how each measure at each value of `by` differs from that at `base`, seed by seed.

    Parameters
    ----------
    frame : pandas.DataFrame
        A row a value of `by` and `seed`.
    by : str
        The column that tells groups apart.
    base : str
        The value that the others are compared with.
    measures : sequence of str
        Columns to compare.

    Returns
    -------
    pandas.DataFrame
        Rows of `by`, `measure`, `mean`, `low`, `high` (95 %) and `n`; none for `base`.
    """
    wide = frame.set_index([by, "seed"])[list(measures)].unstack("seed")
    rows = [
        {by: value, "measure": measure, **mean_and_interval(wide.loc[value, measure] - wide.loc[base, measure])}
        for value in dict.fromkeys(frame[by])
        if value != base
        for measure in measures
    ]
    return pd.DataFrame(rows, columns=[by, "measure", *ESTIMATE])


def share(told: Iterable[float]) -> dict:
    """The share of values that are true (1, not 0; NaN counts neither way), with Wilson's interval."""
    told = _finite(told)
    return _estimate(_mean(told), *wilson(int(told.sum()), len(told)), n=len(told))


def wilson(yes: int, n: int) -> tuple[float, float]:
    """Wilson's interval for a share, (low, high); NaN where n is 0."""
    if n == 0:
        return math.nan, math.nan
    found = stats.binomtest(yes, n).proportion_ci(LEVEL, method="wilson")
    return float(found.low), float(found.high)


def shares(frame: pd.DataFrame, by: list[str], measures: list[str]) -> pd.DataFrame:
    """`share` of each measure in each group: rows of `by`, `measure`, `mean`, `low`, `high`, `n`."""
    return _by_group(share, frame, by, measures)


def bootstrap(values: Iterable[float]) -> dict:
    """The mean and its bias-corrected and accelerated bootstrap interval (Efron 1987), leaving NaN out.

    Without an interval for fewer than three values.
    """
    values = _finite(values)
    mean, n = _mean(values), len(values)
    if n < 3:
        return _estimate(mean, n=n)
    if (values == values[0]).all():  # nothing to resample
        return _estimate(mean, mean, mean, n=n)
    found = stats.bootstrap(
        (values,), np.mean, n_resamples=RESAMPLES["mean"], confidence_level=LEVEL, rng=0
    ).confidence_interval
    return _estimate(mean, found.low, found.high, n=n)


def rank_correlation(frame: pd.DataFrame, x: str, y: str, given: Sequence[str] = ()) -> dict:
    """Estimate Spearman's rank correlation, or the partial one, with its percentile bootstrap interval over networks.

    The partial correlation is that of what is left of both ranks when the mean of each value of each column in `given`
    is taken out, additively.

    Parameters
    ----------
    frame : pandas.DataFrame
        A row a network; rows with a missing value are left out.
    x, y : str
        The two columns.
    given : sequence of str
        Columns whose values are held.

    Returns
    -------
    dict
        `mean`, `low`, `high` (95 %) and `n`, how many values; NaN where there is none.
    """
    kept = frame[[x, y, *given]].dropna()
    n = len(kept)
    if n < 3 + sum(kept[name].nunique() for name in given):
        return _estimate(n=n)
    values = kept[[x, y]].to_numpy(float)
    held = np.ones((n, 1))
    if given:
        dummies = pd.get_dummies(kept[list(given)].astype(str), drop_first=True).to_numpy(float)
        held = np.hstack([held, dummies])
    chosen = np.vstack([np.arange(n), _resamples(n, "correlation")])
    found = _partial(values[chosen], held[chosen])
    whole, resampled = found[0], found[1:][np.isfinite(found[1:])]
    if not np.isfinite(whole) or not len(resampled):
        return _estimate(n=n)
    return _estimate(whole, *np.quantile(resampled, TAILS), n=n)


def rank_correlations(
    frame: pd.DataFrame, x: Iterable[str], y: Iterable[str], given: Sequence[str] = ()
) -> pd.DataFrame:
    """`rank_correlation` of every pair, plain and given the columns in `given`, one row a pair and kind."""
    kinds = {"plain": (), f"given {' and '.join(given).replace('_', ' ')}": tuple(given)} if given else {"plain": ()}
    rows = [
        {"x": one, "y": other, "kind": kind, **rank_correlation(frame, one, other, held)}
        for one in x
        for other in y
        for kind, held in kinds.items()
    ]
    return pd.DataFrame(rows)


def determination(measured: Iterable[float], predicted: Iterable[float]) -> float:
    """The coefficient of determination R² = 1 − Σ(measured − predicted)² / Σ(measured − mean)²; below zero where the
    mean would be the better prediction, NaN where nothing varies."""
    measured, predicted = (np.asarray(values, float) for values in (measured, predicted))
    varies = ((measured - measured.mean()) ** 2).sum()
    return float(1 - ((measured - predicted) ** 2).sum() / varies) if varies else math.nan


def determination_by_seed(measured: pd.DataFrame, predicted: pd.DataFrame) -> dict:
    """`determination` over all cells of two frames of a row a seed and a column a dose, and its percentile bootstrap
    interval: seeds are resampled, each with all of its doses, which are not independent.

    `n` counts seeds; there is no interval for fewer than three.
    """
    pairs = np.stack([measured.to_numpy(float), predicted.loc[measured.index, measured.columns].to_numpy(float)])
    pairs = pairs[:, np.isfinite(pairs).all(axis=(0, 2))]
    n = pairs.shape[1]
    whole = determination(*pairs) if n else math.nan
    if n < 3:
        return _estimate(whole, n=n)
    found = [determination(*pairs[:, some]) for some in _resamples(n, "determination")]
    return _estimate(whole, *np.nanquantile(found, TAILS), n=n)


def at_most(values: pd.Series, bound: float) -> pd.Series:
    """1.0 where a value is at most the bound, 0.0 where it is more, NaN where there is none."""
    return (values <= bound).astype(float).where(values.notna())


def _by_group(estimate: Callable, frame: pd.DataFrame, by: list[str], measures: list[str]) -> pd.DataFrame:
    rows = [
        {**dict(zip(by, values, strict=True)), "measure": measure, **estimate(group[measure])}
        for values, group in frame.groupby(by, sort=False)
        for measure in measures
    ]
    return pd.DataFrame(rows, columns=[*by, "measure", *ESTIMATE])


def _estimate(mean: float = math.nan, low: float = math.nan, high: float = math.nan, *, n: int) -> dict:
    return {"mean": float(mean), "low": float(low), "high": float(high), "n": int(n)}


def _finite(values: Iterable[float]) -> np.ndarray:
    values = np.asarray(list(values), float)
    return values[np.isfinite(values)]


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan


def _resamples(n: int, kind: str) -> np.ndarray:
    """Which of n values a bootstrap draws, one row a resample."""
    return np.random.default_rng(0).integers(n, size=(RESAMPLES[kind], n))


def _partial(values: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Correlation of ranks less their fit on `held`, of many resamples: (resamples, n, 2) and (resamples, n, k)."""
    rows = np.ascontiguousarray(values.mT)  # ranks along memory take a third of the time
    ranks = np.ascontiguousarray(stats.rankdata(rows, axis=-1).mT)
    normal = held.mT @ held + 1e-9 * np.eye(held.shape[-1])  # a resample may lack a value
    left = ranks - held @ np.linalg.solve(normal, held.mT @ ranks)
    sums = left.mT @ left
    spread = sums[:, 0, 0] * sums[:, 1, 1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(spread > 1e-6, sums[:, 0, 1] / np.sqrt(spread), np.nan)
