"""How values are judged, and how they are shown."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import mli_utils as mli
from mli_utils.claims import verdicts
from mli_utils.claims.statements import Predicate
from mli_utils.core.estimates import interval

from .conftest import LONGER, MOSTLY


def measurements(shown):
    return {entry["id"]: entry for _, said in shown for entry in said.get("mli", {}).get("claims", ())}


def seeds(values):
    """A Series with a seed for each value."""
    return pd.Series(values, index=pd.RangeIndex(len(values), name="seed"))


def test_values_are_judged_by_what_the_claim_is_over(book, shown):
    runs = [SimpleNamespace(summary={"status": status}) for status in ("fitted", "unfitted", "diverged")]
    longer = seeds([1.0, 1.1, 0.9, 1.0, 1.0, np.nan])
    mli.judge({"longer": longer, "mostly": seeds([True, True, False, True, False])}, runs=runs)
    mli.judge({"ordered": {"mean": -0.5, "low": -0.7, "high": -0.2, "n": np.int64(9)}, "solved": 1.5})
    found = measurements(shown)
    assert (found["longer"]["verdict"], found["longer"]["n"], found["longer"]["left_out"]) == ("holds", 5, 2)
    assert found["longer"]["low"] == pytest.approx(interval(longer)[1])
    assert found["longer"]["p"] == pytest.approx(stats.ttest_1samp(longer.dropna(), 0).pvalue)
    assert (found["mostly"]["verdict"], found["mostly"]["value"]) == ("undecided", pytest.approx(0.6))
    assert (found["ordered"]["verdict"], found["ordered"]["n"]) == ("fails", 9)
    assert found["solved"] == {
        "id": "solved",
        "value": 1.5,
        "low": None,
        "high": None,
        "n": 1,
        "p": None,
        "verdict": "holds",
        "left_out": 0,
        "tolerances": {},
    }
    json.dumps(found, allow_nan=False)
    table = shown[0][0].to_html()
    assert (
        "It is longer." in table
        and "1.00 (0.91\u00a0to\u00a01.09)" in table
        and "5\u00a0seeds" in table
        and "above 0" in table
    )


def test_networks_that_are_no_runs_are_counted(book, shown):
    mli.judge({"longer": seeds([1.0, 1.1, 0.9, 1.0, 1.0]), "mostly": seeds([True] * 5)}, left_out=np.int64(3))
    assert {entry["left_out"] for entry in measurements(shown).values()} == {3}


def test_too_few_values_decide_nothing(book, shown):
    mli.judge({"longer": seeds([1.0] * 4), "mostly": seeds([])})
    mli.judge({"ordered": {"mean": 1, "low": 1, "high": 1, "n": 4}, "solved": math.nan})
    found = measurements(shown)
    assert {entry["verdict"] for entry in found.values()} == {"undecided"}
    assert found["mostly"]["value"] is None and found["mostly"]["n"] == 0 and found["solved"]["n"] == 0
    shown.clear()
    mli.judge({"ordered": {"mean": 1, "low": math.nan, "high": 1, "n": 9}, "solved": 1.5})
    assert measurements(shown)["ordered"]["verdict"] == "undecided"


def test_other_tolerances_are_judged_beside(book, shown):
    base = seeds([0.1, 0.11, 0.12, 0.11, 0.1])

    def lengths(times, tolerance):
        return {"longer": base - times * (tolerance - 0.1), "mostly": seeds([tolerance < 0.2] * 9)}

    mli.judge(lengths, 1.5)
    found = measurements(shown)
    assert found["longer"]["tolerances"] == {"0.05": "holds", "0.2": "fails"} and found["longer"]["verdict"] == "holds"
    assert found["mostly"]["tolerances"] == {"0.05": "holds", "0.2": "fails"}
    assert "at τ = 0.05" in shown[0][0].to_html()
    shown.clear()
    mli.judge(lambda tolerance: {"longer": base, "mostly": seeds([tolerance < 0.2] * 9)})
    assert measurements(shown)["longer"]["tolerances"] == {}, "it depends on none"


@pytest.mark.parametrize(
    ("section", "measured", "said"),
    [
        ("", {"longer": seeds([1])}, "missing mostly; book/claims.yml lists for 05_some: longer, mostly"),
        ("", {"longer": seeds([1]), "mostly": seeds([1]), "solved": 1}, "unknown solved"),
        ("", {"lnoger": [1]}, "unknown lnoger; book/claims.yml lists: none"),
        ("06_other", {"longer": [1], "mostly": [1]}, "unknown longer, mostly; missing ordered, solved"),
        (
            "05_some",
            {"longer": 1.0, "mostly": seeds([1])},
            "longer is over mean; allowed: a Series of numbers, whose index",
        ),
        ("05_some", {"longer": seeds(["a"]), "mostly": seeds([1])}, "longer is over mean"),
        ("05_some", {"longer": seeds([1]), "mostly": seeds([0.5])}, "mostly is over share; allowed: a Series of true"),
        (
            "05_some",
            {"longer": pd.Series([1]), "mostly": seeds([1])},
            "longer counts seeds; the index of its values has",
        ),
        ("06_other", {"ordered": [1, 2], "solved": 1}, "ordered is over estimate; allowed: a dict of mean, low"),
        (
            "06_other",
            {"ordered": dict(mean=0.9, low=0.8, high=1.2, n=9), "solved": 1},
            "ordered: high=1.2 is outside the range of its quantity, (-1.0, 1.0)",
        ),
        ("06_other", {"ordered": dict(mean="x", low=0, high=1, n=5), "solved": 1}, "ordered is over estimate; allowed"),
        ("06_other", {"ordered": dict(mean=None, low=0, high=1, n=5), "solved": 1}, "ordered is over estimate"),
        ("06_other", {"ordered": dict(mean=1, low=0, high=1, n=math.nan), "solved": 1}, "ordered is over estimate"),
        ("06_other", {"ordered": dict(mean=1, low=0, high=1, n=math.inf), "solved": 1}, "ordered is over estimate"),
        (
            "06_other",
            {"ordered": dict(mean=1, low=1, high=1, n=3), "solved": [1]},
            "solved is over exact; allowed",
        ),
    ],
)
def test_judge_takes_exactly_the_section_s_claims(book, shown, monkeypatch, section, measured, said):
    monkeypatch.setenv("MLI_SECTION", section)
    with pytest.raises(mli.InputError, match="judge: ") as raised:
        mli.judge(measured)
    assert said in str(raised.value) and not shown


def test_rows_of_one_cluster_count_once_and_none_is_shared(book, shown):
    index = pd.MultiIndex.from_product([range(6), ("shallow", "deep")], names=["seed", "kind"])
    mli.judge({"longer": pd.Series(np.arange(12.0), index), "mostly": pd.Series(True, index)})
    assert {entry["n"] for entry in measurements(shown).values()} == {6}
    book(LONGER | {"cluster": "network"}, MOSTLY)
    networks = pd.MultiIndex.from_arrays([range(12), np.arange(12) // 2], names=["network", "seed"])
    with pytest.raises(mli.InputError, match="longer counts networks, but some of them share a seed; count seeds"):
        mli.judge({"longer": pd.Series(1.0, networks), "mostly": seeds([True] * 6)})
    shown.clear()
    mli.judge({"longer": seeds(np.arange(6.0)), "mostly": seeds([True] * 6)})  # a seed each: networks share nothing
    assert measurements(shown)["longer"]["n"] == 6


@pytest.mark.parametrize(
    ("value", "low", "high", "n", "predicate", "p"),
    [
        (0.5, 0.2, 0.8, 10, "above 0", 0.0044),
        (0.5, 0.2, 0.8, 10, "above 0.2", 0.05),
        (0.9, 0.7, 0.95, 10, "between 0 and 1", 0.0012),
        (1.0, 1.0, 1.0, 10, "above 0", 0.0),
        (0.0, 0.0, 0.0, 10, "above 0", 1.0),
    ],
)
def test_the_probability_of_so_clear_an_answer(value, low, high, n, predicate, p):
    found = verdicts.p_value({"mean": value, "low": low, "high": high, "n": n}, Predicate.parse(predicate))
    assert found == pytest.approx(p, abs=2e-3)
