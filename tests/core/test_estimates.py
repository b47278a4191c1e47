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


def test_estimates_name_the_columns_and_values_that_are_not_there():
    frame = pd.DataFrame({"arm": ["a", "a", "b", "b"], "seed": [0, 1, 0, 1], "m": [1.0, 2, 3, 4]})
    assert mli.intervals(frame, "arm", ["m"]).equals(mli.intervals(frame, ["arm"], ["m"]))
    for call, said in (
        (lambda: mli.intervals(frame, ["nope"], ["m"]), "intervals: no column nope; the frame has arm, seed, m"),
        (lambda: mli.intervals(frame, "arm", ["m"], {"nope": (0, 1)}), "unknown measure with a range: 'nope'"),
        (lambda: mli.paired_differences(frame, "arm", "c", ["m"]), "unknown arm to compare with: 'c'; known: a, b"),
        (lambda: mli.paired_differences(frame, "arm", "a", ["n"]), "paired_differences: no column n"),
        (lambda: mli.paired_differences(frame.assign(seed=0), "arm", "a", ["m"]), "arm and seed do not tell"),
        (lambda: mli.only_fitted(frame), "only_fitted: no column status"),
    ):
        with pytest.raises(mli.InputError, match=said):
            call()


def test_wilson_s_interval_is_the_textbook_s():
    assert estimates.wilson(0.8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert estimates.wilson(0, 10) == pytest.approx((0, 0.2775), abs=1e-4)
    assert estimates.wilson(1, 10)[1] == pytest.approx(1) and all(map(math.isnan, estimates.wilson(0, 0)))


def test_a_cluster_counts_once_and_an_interval_stays_in_its_range():
    values = pd.Series([0.0, 1.0, 1.0, 1.0, 0.9, 0.8, np.nan], index=pd.Index([1, 1, 2, 2, 3, 4, 5], name="seed"))
    found = estimates.clustered_mean(values, "seed", (0, 1))
    plain = estimates.mean_and_interval([0.5, 1.0, 0.9, 0.8])
    assert (found["mean"], found["low"], found["n"]) == (pytest.approx(plain["mean"]), pytest.approx(plain["low"]), 4)
    assert plain["high"] > 1 and found["high"] == 1
    told = pd.Series([True] * 6, index=pd.Index([1, 1, 2, 2, 3, 3], name="seed"))
    assert estimates.clustered_share(told, "seed") == {"mean": 1, "low": estimates.wilson(1, 3)[0], "high": 1, "n": 3}
    one_row_each = pd.Series([0.5, 1.0, 0.0], index=pd.Index([1, 2, 3], name="seed"))
    assert estimates.clustered_share(one_row_each, "seed")["low"] == estimates.wilson(0.5, 3)[0]
    mixed = pd.Series([True, False] * 10, index=pd.Index(np.repeat(range(10), 2), name="seed"))  # 20 rows, no clusters
    told_apart = mixed.sort_index().rename_axis("row").set_axis(range(20)).rename_axis("seed")
    apart, as_ten = (estimates.clustered_share(told, "seed") for told in (told_apart, mixed))
    assert as_ten["n"] == 10 and apart["high"] <= as_ten["high"] <= estimates.wilson(0.5, 10)[1]


def test_so_many_clusters_are_needed():
    assert estimates.needed(1.0, 1.0, [0.0]) == 10  # the textbook's number for an effect of one standard deviation
    assert estimates.needed(0.5, 1.0, [0.0, 1.0]) == 34  # likewise for half of one
    assert estimates.needed(0.0, 1.0, [0.0]) is None and estimates.needed(1e-3, 1.0, [0.0]) is None
    assert estimates.needed(3.0, 0.0, [0.0]) == 2


def test_holm_s_correction_is_the_textbook_s():
    assert estimates.holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert estimates.holm([0.9, 0.8]).tolist() == [1, 1] and len(estimates.holm([])) == 0


def test_rank_correlations_leave_clusters_out_whole():
    draw = np.random.default_rng(0)
    x = np.repeat(draw.normal(size=12), 20)
    frame = pd.DataFrame({"x": x, "y": x + draw.normal(size=240), "seed": np.repeat(range(12), 20)})
    rows, seeds = (estimates.rank_correlation(frame, "x", "y", (), cluster) for cluster in (None, "seed"))
    assert rows["mean"] == seeds["mean"] and (rows["n"], seeds["n"]) == (240, 12)
    assert seeds["high"] - seeds["low"] > 1.5 * (rows["high"] - rows["low"])
    uneven = estimates.rank_correlation(frame[3:], "x", "y", (), "seed")
    assert uneven["n"] == 12 and abs(uneven["low"] - seeds["low"]) < 0.1
    assert estimates.rank_correlation(frame.set_index("seed"), "x", "y", (), "seed") == seeds
    assert math.isnan(estimates.rank_correlation(frame[frame.seed < 4], "x", "y", (), "seed")["low"])


def test_rank_correlations_are_spearman_s_and_hold_what_is_given():
    draw = np.random.default_rng(0)
    group = np.repeat([0, 1, 2], 60)
    frame = pd.DataFrame(
        {"g": group, "x": group + 0.1 * draw.normal(size=180), "y": group + 0.1 * draw.normal(size=180)}
    )
    plain, held = estimates.rank_correlation(frame, "x", "y"), estimates.rank_correlation(frame, "x", "y", ["g"])
    assert plain["mean"] == pytest.approx(stats.spearmanr(frame.x, frame.y).statistic, abs=1e-6)
    assert plain["low"] > 0.7 and held["low"] < 0 < held["high"] and held["n"] == 180
    for few in (frame[:3], frame.assign(y=1.0), frame.assign(y=np.nan)):
        found = estimates.rank_correlation(few, "x", "y", ["g"])
        assert np.isnan(found["mean"]) and np.isnan(found["low"])


def test_r_squared_is_that_of_the_prediction_as_it_stands():
    measured = pd.DataFrame({1.0: np.arange(8) / 10, 2.0: np.arange(8) / 10 + 0.4})
    assert estimates.determination_by_seed(measured, measured) == pytest.approx(
        {"mean": 1.0, "low": 1.0, "high": 1.0, "n": 8}
    )
    assert estimates.determination([0, 1], [0.5, 0.5]) == 0 and estimates.determination([0, 1], [1, 0]) == -3
    assert math.isnan(estimates.determination([1, 1], [1, 1]))
    few = estimates.determination_by_seed(measured[:4], measured[:4])
    assert few["n"] == 4 and math.isnan(few["low"])
    none = estimates.determination_by_seed(measured * np.nan, measured)
    assert none["n"] == 0 and math.isnan(none["mean"])


def test_at_most_leaves_unknown_what_is_not_known():
    said = estimates.at_most(pd.Series([0.0, 0.5, np.nan]), 0.1)
    assert said[:2].tolist() == [1.0, 0.0] and np.isnan(said[2])
