"""Estimates and their intervals against the textbooks' and SciPy's."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import mli_utils as mli
from mli_utils.core import estimates


def test_interval_is_student_s():
    sample = [0.1, 0.4, 0.2, 0.7, math.nan]
    mean, low, high = estimates.interval(sample)
    assert (low, high) == pytest.approx(stats.ttest_1samp(sample[:4], 0).confidence_interval())
    assert mean == pytest.approx(0.35)
    assert math.isnan(estimates.interval([1.0])[1])


def test_differences_are_paired_by_seed():
    frame = pd.DataFrame({"arm": ["a"] * 3 + ["b"] * 3, "seed": [0, 1, 2, 2, 1, 0], "m": [1.0, 2, 3, 4, 3, 2]})
    (row,) = mli.paired_differences(frame, "arm", "a", ["m"]).to_dict("records")
    assert (row["arm"], row["mean"], row["low"], row["high"], row["n"]) == ("b", 1, 1, 1, 3)


def test_wilson_s_interval_is_the_textbook_s():
    assert estimates.wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert estimates.wilson(0, 10) == pytest.approx((0, 0.2775), abs=1e-4)
    assert estimates.wilson(10, 10)[1] == pytest.approx(1) and all(map(math.isnan, estimates.wilson(0, 0)))


def test_shares_have_wilson_s_interval():
    frame = pd.DataFrame({"g": ["a"] * 10, "yes": [1.0] * 8 + [0, 0]})
    (row,) = estimates.shares(frame, ["g"], ["yes"]).to_dict("records")
    assert row["mean"] == 0.8 and row["low"] == pytest.approx(0.4902, abs=1e-4) and row["n"] == 10


def test_bootstrap_covers_and_knows_its_limits():
    values = np.random.default_rng(0).normal(1.0, 2.0, 40)
    found = estimates.bootstrap(values)
    assert found["n"] == 40 and found["mean"] == pytest.approx(values.mean())
    mean, low, high = estimates.interval(values)
    assert found["low"] == pytest.approx(low, abs=0.15) and found["high"] == pytest.approx(high, abs=0.15)
    assert estimates.bootstrap(values) == found  # a fixed seed
    assert math.isnan(estimates.bootstrap([1.0, 2.0])["low"]) and estimates.bootstrap([])["n"] == 0
    assert estimates.bootstrap([0.5, 0.5, 0.5, math.nan]) == {"mean": 0.5, "low": 0.5, "high": 0.5, "n": 3}


def test_rank_correlations_are_spearman_s_and_hold_what_is_given():
    draw = np.random.default_rng(0)
    group = np.repeat([0, 1, 2], 60)
    frame = pd.DataFrame(
        {"g": group, "x": group + 0.1 * draw.normal(size=180), "y": group + 0.1 * draw.normal(size=180)}
    )
    plain, held = estimates.rank_correlation(frame, "x", "y"), estimates.rank_correlation(frame, "x", "y", ["g"])
    assert plain["mean"] == pytest.approx(stats.spearmanr(frame.x, frame.y).statistic, abs=1e-6)
    assert plain["low"] > 0.7 and held["low"] < 0 < held["high"] and held["n"] == 180
    both = estimates.rank_correlations(frame, ["x"], ["y"], ["g"])
    assert both.kind.tolist() == ["plain", "given g"]
    for few in (frame[:3], frame.assign(y=1.0), frame.assign(y=np.nan)):
        found = estimates.rank_correlation(few, "x", "y", ["g"])
        assert np.isnan(found["mean"]) and np.isnan(found["low"])


def test_r_squared_is_that_of_the_prediction_as_it_stands():
    measured = pd.DataFrame({1.0: [0.1, 0.2, 0.3], 2.0: [0.5, 0.6, 0.7]})
    assert estimates.determination_by_seed(measured, measured) == {"mean": 1.0, "low": 1.0, "high": 1.0, "n": 3}
    assert estimates.determination([0, 1], [0.5, 0.5]) == 0 and estimates.determination([0, 1], [1, 0]) == -3
    assert math.isnan(estimates.determination([1, 1], [1, 1]))
    few = estimates.determination_by_seed(measured[:2], measured[:2])
    assert few["n"] == 2 and math.isnan(few["low"])
    none = estimates.determination_by_seed(measured * np.nan, measured)
    assert none["n"] == 0 and math.isnan(none["mean"])


def test_at_most_leaves_unknown_what_is_not_known():
    said = estimates.at_most(pd.Series([0.0, 0.5, np.nan]), 0.1)
    assert said[:2].tolist() == [1.0, 0.0] and np.isnan(said[2])
