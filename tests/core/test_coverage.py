"""Coverage of every kind of interval, at the numbers and structures of the claims: 2,000 simulated experiments each.

Minutes, so not part of `make test`.
"""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mli_utils.core import estimates

pytestmark = pytest.mark.coverage
EXPERIMENTS = 2000
NOMINAL = (0.93, 0.97)


def coverage(experiment, truth):
    """Return the share of experiments whose interval holds the truth; it may be drawn with each."""
    draw = np.random.default_rng(0)
    inside = 0
    for _ in range(EXPERIMENTS):
        expected = truth(draw) if callable(truth) else truth
        found = experiment(draw, expected)
        inside += found["low"] <= expected <= found["high"]
    return inside / EXPERIMENTS


def clusters(draw, n, rows, spread=1.0):
    """Rows of n seeds that share half of their variance."""
    index = pd.Index(np.repeat(np.arange(n), rows), name="seed")
    return pd.Series(np.repeat(draw.normal(size=n), rows) + spread * draw.normal(size=n * rows), index)


@pytest.mark.parametrize(("n", "rows"), [(5, 1), (5, 3), (10, 2), (20, 1), (30, 4)])
def test_means_over_seeds(n, rows):
    assert (
        NOMINAL[0]
        <= coverage(lambda draw, _: estimates.clustered_mean(clusters(draw, n, rows), "seed"), 0)
        <= NOMINAL[1]
    )


@pytest.mark.parametrize("n", [5, 10, 20])
def test_means_of_lengths_between_0_and_1(n):
    index = pd.RangeIndex(n, name="seed")

    def experiment(draw, _):
        return estimates.clustered_mean(pd.Series(draw.beta(2, 3, n), index), "seed", (0, 1))

    assert NOMINAL[0] <= coverage(experiment, 0.4) <= NOMINAL[1]


@pytest.mark.parametrize("n", [10, 20, 30])
def test_shares_of_networks(n):
    """Averaged over shares, since the coverage of counts depends on the share in steps."""
    index = pd.RangeIndex(n, name="network")

    def experiment(draw, share):
        return estimates.clustered_share(pd.Series(draw.random(n) < share, index), "network")

    assert NOMINAL[0] <= coverage(experiment, lambda draw: draw.uniform(0.05, 0.95)) <= NOMINAL[1]


@pytest.mark.parametrize(("n", "rows", "rho"), [(20, 1, 0.5), (72, 1, 0.8), (10, 6, 0.0), (200, 1, 0.3)])
def test_rank_correlations(monkeypatch, n, rows, rho):
    monkeypatch.setitem(estimates.RESAMPLES, "correlation", 300)
    truth = 6 / np.pi * np.arcsin(rho / 2)  # Spearman's of a normal pair

    def experiment(draw, _):
        x = draw.normal(size=n * rows)
        y = rho * x + np.sqrt(1 - rho**2) * draw.normal(size=n * rows)
        frame = pd.DataFrame({"x": x, "y": y, "seed": np.repeat(np.arange(n), rows)})
        return estimates.rank_correlation(frame, "x", "y", (), "seed")

    assert NOMINAL[0] <= coverage(experiment, truth) <= NOMINAL[1]


def test_r_squared_over_seeds(monkeypatch):
    monkeypatch.setitem(estimates.RESAMPLES, "determination", 300)
    seeds, doses = 20, np.arange(6)
    noise = 0.5
    truth = 1 - noise**2 / (doses.var() + noise**2)

    def experiment(draw, _):
        predicted = pd.DataFrame(np.tile(doses.astype(float), (seeds, 1)))
        return estimates.determination_by_seed(predicted + noise * draw.normal(size=predicted.shape), predicted)

    assert NOMINAL[0] <= coverage(experiment, truth) <= NOMINAL[1]


def test_powers_are_as_planned():
    n = estimates.needed(0.6, 1.0, [0.0])
    draw = np.random.default_rng(0)
    decided = [estimates.mean_and_interval(draw.normal(0.6, 1.0, n))["low"] > 0 for _ in range(EXPERIMENTS)]
    assert np.mean(decided) == pytest.approx(0.8, abs=0.03)
    assert n == pytest.approx((2 * stats.norm.ppf(0.9) + 0.2) ** 2 / 0.36, rel=0.2)
