"""Coverage of every kind of interval, at the numbers and structures of the claims: 2,000 simulated experiments each.

Two minutes, so not part of `make test`.
"""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mli_utils.core import estimates

pytestmark = pytest.mark.coverage
EXPERIMENTS = 2000
NOMINAL = (0.93, 0.97)


def covers(experiment, truth):
    """Ask that 93 to 97 % of the experiments' intervals hold the truth, which may be drawn with each."""
    draw = np.random.default_rng(0)
    inside = 0
    for _ in range(EXPERIMENTS):
        expected = truth(draw) if callable(truth) else truth
        found = experiment(draw, expected)
        inside += found["low"] <= expected <= found["high"]
    assert NOMINAL[0] <= inside / EXPERIMENTS <= NOMINAL[1]


def seeds(n, rows=1):
    return pd.Index(np.repeat(np.arange(n), rows), name="seed")


def shared(draw, n, rows, of_seeds):
    """Draw n seeds of `rows` standard normals each, of whose variance the seed makes the share `of_seeds`."""
    together, alone = np.repeat(draw.normal(size=n), rows), draw.normal(size=n * rows)
    return np.sqrt(of_seeds) * together + np.sqrt(1 - of_seeds) * alone


LAWS = {  # draw(generator, size), mean, range: shapes of what the claims average
    "normal": (lambda draw, n: draw.normal(size=n), 0.0, (-np.inf, np.inf)),
    "a length": (lambda draw, n: draw.beta(2, 3, n), 0.4, (0, 1)),
    "a ratio of steps": (lambda draw, n: draw.lognormal(1.6, 0.25, n), np.exp(1.6 + 0.25**2 / 2), (0, np.inf)),
    "a difference of lengths": (lambda draw, n: draw.beta(2, 3, n) - draw.beta(2, 8, n), 0.2, (-1, 1)),
    "Kendall's τ of four": (lambda draw, n: 2 * draw.binomial(6, 0.8, n) / 6 - 1, 0.6, (-1, 1)),
    "a pseudo-value": (lambda draw, n: draw.chisquare(9, n), 9.0, (-np.inf, np.inf)),
}


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("n", [5, 8, 12, 24])
def test_means_over_seeds(n, law):
    values, truth, bounds = LAWS[law]
    covers(lambda draw, _: estimates.clustered_mean(pd.Series(values(draw, n), seeds(n)), "seed", bounds), truth)


@pytest.mark.parametrize(("n", "rows", "of_seeds"), [(5, 3, 0.5), (8, 2, 0.2), (20, 9, 0.3)])
def test_means_of_seeds_with_several_rows(n, rows, of_seeds):
    values = lambda draw: pd.Series(shared(draw, n, rows, of_seeds), seeds(n, rows))  # noqa: E731
    covers(lambda draw, _: estimates.clustered_mean(values(draw), "seed"), 0.0)


@pytest.mark.parametrize("n", [5, 10, 20, 31])
def test_shares_of_networks(n):
    """Averaged over shares, since the coverage of counts depends on the share in steps."""
    told = lambda draw, share: pd.Series(draw.random(n) < share, seeds(n))  # noqa: E731
    covers(
        lambda draw, share: estimates.clustered_share(told(draw, share), "seed"), lambda draw: draw.uniform(0.1, 0.9)
    )


@pytest.mark.parametrize(("n", "rows"), [(5, 9), (10, 2), (15, 12), (20, 9)])
def test_shares_of_seeds_with_several_rows(n, rows):
    """Averaged over shares, and over the likeness of a seed's rows."""

    def experiment(draw, share):
        like = draw.uniform(0.05, 0.8)
        strength = (1 - like) / like
        of_seed = draw.beta(strength * share, strength * (1 - share), n)
        told = draw.random(n * rows) < np.repeat(of_seed, rows)
        return estimates.clustered_share(pd.Series(told, seeds(n, rows)), "seed")

    covers(experiment, lambda draw: draw.uniform(0.1, 0.9))


@pytest.mark.parametrize(
    ("n", "rows", "rho", "of_seeds"),
    [
        (5, 1, 0.5, 0),
        (8, 1, 0.5, 0),
        (15, 1, 0.9, 0),
        (72, 1, 0.6, 0),
        (144, 1, 0.2, 0),
        (5, 6, 0.3, 0.3),
        (12, 6, 0.0, 0.3),
        (28, 2, 0.5, 0.5),
    ],
)
def test_rank_correlations(n, rows, rho, of_seeds):
    truth = 6 / np.pi * np.arcsin(rho / 2)  # Spearman's of a normal pair

    def experiment(draw, _):
        x, noise = shared(draw, n, rows, of_seeds), shared(draw, n, rows, of_seeds)
        frame = pd.DataFrame({"x": x, "y": rho * x + np.sqrt(1 - rho**2) * noise, "seed": seeds(n, rows)})
        return estimates.rank_correlation(frame, "x", "y", (), "seed" if rows > 1 else None)

    covers(experiment, truth)


@pytest.mark.parametrize(("n", "rows"), [(72, 1), (12, 4)])
def test_rank_correlations_given_settings(n, rows):
    """Settings move both quantities; within them there is no correlation."""

    def experiment(draw, _):
        frame = pd.DataFrame({"depth": np.arange(n * rows) % 4})
        frame["scale"] = np.arange(n * rows) // 4 % 3 if rows == 1 else 0
        moved = frame.depth + 0.5 * frame.scale
        frame["x"], frame["y"] = (moved + shared(draw, n, rows, 0.2) for _ in range(2))
        frame["seed"] = seeds(n, rows)
        return estimates.rank_correlation(frame, "x", "y", ["depth", "scale"], "seed" if rows > 1 else None)

    covers(experiment, 0.0)


@pytest.mark.parametrize(("n", "of_seeds"), [(5, 0.3), (11, 0.3), (20, 0.0)])
def test_r_squared_over_seeds(n, of_seeds):
    doses, noise = np.arange(6.0), 0.5
    predicted = pd.DataFrame(np.tile(doses, (n, 1)))

    def experiment(draw, _):
        errors = shared(draw, n, len(doses), of_seeds).reshape(predicted.shape)
        return estimates.determination_by_seed(predicted + noise * errors, predicted)

    covers(experiment, 1 - noise**2 / (doses.var() + noise**2))


def test_powers_are_as_planned():
    n = estimates.needed(0.6, 1.0, [0.0])
    draw = np.random.default_rng(0)
    decided = [estimates.mean_and_interval(draw.normal(0.6, 1.0, n))["low"] > 0 for _ in range(EXPERIMENTS)]
    assert np.mean(decided) == pytest.approx(0.8, abs=0.03)
    assert n == pytest.approx((2 * stats.norm.ppf(0.9) + 0.2) ** 2 / 0.36, rel=0.2)
