"""How values are judged, and how they are shown."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import mli_utils as mli


def measurements(shown):
    return {entry["id"]: entry for _, said in shown for entry in said.get("mli", {}).get("claims", ())}


def test_values_are_judged_by_what_the_claim_is_over(book, shown):
    runs = [SimpleNamespace(summary={"status": status}) for status in ("fitted", "unfitted", "diverged")]
    mli.judge({"longer": pd.Series([1.0, 1.1, 0.9, np.nan]), "mostly": [True, True, False]}, runs=runs)
    mli.judge({"ordered": {"mean": -0.5, "low": -0.7, "high": -0.2, "n": np.int64(9)}, "solved": 1.5})
    found = measurements(shown)
    assert (found["longer"]["verdict"], found["longer"]["n"], found["longer"]["left_out"]) == ("holds", 3, 2)
    assert found["longer"]["low"] == pytest.approx(1 - 4.302653 * 0.1 / math.sqrt(3))
    assert (found["mostly"]["verdict"], found["mostly"]["value"]) == ("undecided", pytest.approx(2 / 3))
    assert (found["ordered"]["verdict"], found["ordered"]["n"]) == ("fails", 9)
    assert found["solved"] == {
        "id": "solved",
        "value": 1.5,
        "low": None,
        "high": None,
        "n": 1,
        "verdict": "holds",
        "left_out": 0,
        "tolerances": {},
    }
    json.dumps(found, allow_nan=False)
    table = shown[0][0].to_html()
    assert "It is longer." in table and "1 (0.752\u00a0to\u00a01.25)" in table and "above 0" in table
    glued = {said["scrapbook"]["name"]: list(data.values()) for data, said in shown if "scrapbook" in said}
    assert glued == {"longer": ["'holds'"], "mostly": ["'undecided'"], "ordered": ["'fails'"], "solved": ["'holds'"]}


def test_too_few_values_decide_nothing(book, shown):
    mli.judge({"longer": [1.0, 1.0], "mostly": []})
    mli.judge({"ordered": {"mean": 1, "low": 1, "high": 1, "n": 2}, "solved": math.nan})
    found = measurements(shown)
    assert {entry["verdict"] for entry in found.values()} == {"undecided"}
    assert found["mostly"]["value"] is None and found["mostly"]["n"] == 0 and found["solved"]["n"] == 0
    shown.clear()
    mli.judge({"ordered": {"mean": 1, "low": math.nan, "high": 2, "n": 9}, "solved": 1.5})
    assert measurements(shown)["ordered"]["verdict"] == "undecided"


def test_other_tolerances_are_judged_beside(book, shown):
    base = np.array([0.1, 0.11, 0.12])

    def lengths(times, tolerance):
        return {"longer": base - times * (tolerance - 0.1), "mostly": [tolerance < 0.2] * 9}

    mli.judge(lengths, 1.5)
    found = measurements(shown)
    assert found["longer"]["tolerances"] == {"0.05": "holds", "0.2": "fails"} and found["longer"]["verdict"] == "holds"
    assert found["mostly"]["tolerances"] == {"0.05": "holds", "0.2": "fails"}
    assert "at τ = 0.05" in shown[0][0].to_html()


@pytest.mark.parametrize(
    ("section", "measured", "said"),
    [
        ("", {"longer": [1]}, "missing mostly; book/claims.yml lists for 05_some: longer, mostly"),
        ("", {"longer": [1], "mostly": [1], "solved": 1}, "unknown solved"),
        ("", {"lnoger": [1]}, "unknown lnoger; book/claims.yml lists: none"),
        ("06_other", {"longer": [1], "mostly": [1]}, "unknown longer, mostly; missing ordered, solved"),
        ("05_some", {"longer": 1.0, "mostly": [1]}, "longer is over runs; allowed: a list of numbers, one a run"),
        ("05_some", {"longer": ["a"], "mostly": [1]}, "longer is over runs"),
        ("05_some", {"longer": [1], "mostly": [0.5]}, "mostly is over share; allowed: a list of true or false"),
        ("06_other", {"ordered": [1, 2], "solved": 1}, "ordered is over bootstrap; allowed: a dict of mean, low"),
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
