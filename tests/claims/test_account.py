"""The ledger as a frame, a figure and tables."""

import math

import pandas as pd
import pytest
from matplotlib import pyplot as plt

import mli_utils as mli
from mli_utils.claims import account


def test_the_ledger_has_every_claim(measured, monkeypatch):
    ledger = account.ledger().set_index("id")
    assert ledger.verdict.to_dict() == {
        "longer": "holds",
        "mostly": "undecided",
        "ordered": "not run",
        "solved": "not run",
    }
    longer = ledger.loc["longer"]
    assert (longer.value, longer.left_out, longer["at 0.05"], longer["at 0.2"]) == (1, 1, "holds", "")
    assert longer.sentence == ""
    assert ledger.sentence["mostly"] == (
        "Asked: difference (α), above 0.5; found: 1 (0.8 to 1.2) over 2\u00a0seeds, and 5 are needed. "
        "Few runs say little."
    )
    assert "nothing was measured under profile small" in ledger.sentence["solved"]
    monkeypatch.setenv("MLI_PROFILE", "smoke")
    assert set(account.ledger().verdict) == {"not run"}


def test_the_ledger_by_section_and_in_numbers(measured):
    ledger = account.ledger()
    table = account.by_section(ledger).set_index("section")
    assert table.columns.tolist() == ["profile", "claims", "hold", "fail", "undecided", "not_run", "left_out"]
    assert table.loc["05_some"].tolist() == ["small", 2, 1, 0, 1, 0, 1]
    assert table.loc["06_other"].tolist()[:-1] == ["–", 2, 0, 0, 0, 2]
    assert account.numbers(ledger) == {
        "claims": 4,
        "score": "1 of 4 claims holds, 1 is undecided, 2 were not run",
        "corrected": "1 of 4 claims holds, 1 is undecided, 2 were not run",
        "lost": 0,
        "tested": 1,
        "wrong": 0.05,
        "undecided_by_design": 1,  # no pilot says how many would do
        "bound_first": 0,
        "of_the_paper": "1 of 3 claims holds, 1 is undecided, 1 was not run",
        "ours": "0 of 1 claim hold, 1 was not run",
    }


@pytest.mark.parametrize(
    ("predicate", "value", "low", "high", "margins"),
    [
        ("above 0", 0.4, 0.3, 0.5, (1, 0.75, 1.25)),
        ("above 0", -0.4, -0.5, -0.3, (-1, -1.25, -0.75)),
        ("above 0.5", 0.25, math.nan, math.nan, (-0.5, -0.5, -0.5)),
        ("below 2", 1, 0.5, 1.5, (0.5, 0.25, 0.75)),
        ("between 0 and 2", 1, 0.5, 1.5, (1, 0.5, 1)),
        ("between 0 and 2", 3, 2.5, 3.5, (-1, -1.5, -0.5)),
        ("below 2", math.nan, math.nan, math.nan, [math.nan] * 3),
    ],
)
def test_margins_are_right_of_zero_where_the_claim_is_true(predicate, value, low, high, margins):
    ledger = pd.DataFrame([{"predicate": predicate, "value": value, "low": low, "high": high}])
    (found,) = account.margins(ledger)[["margin", "margin_low", "margin_high"]].to_numpy().tolist()
    assert found == pytest.approx(margins, nan_ok=True)


def test_the_ledger_is_drawn_and_told(measured, shown):
    ledger = account.ledger()
    figure = account.ledger_figure(ledger)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ledger.id.tolist()
    plt.close(figure)
    account.show_ledger(ledger)
    some, other = (data.data for data, _ in shown)
    assert (
        some.startswith("**{doc}`05_some`**")
        and "{bdg-success}`holds`" in some
        and "9\u00a0seeds (1 left out)" in some
        and "not committed" in some
        and "over 10,000" in some
    )
    assert "{numref}`some-figure`" in some and "abstract, {cite:t}`wang2023`" in some and "(ours)" in other
    assert some.count("\n- ") == 1 and other.count("\n- ") == 2
    with pytest.raises(mli.InputError, match="no claim to draw"):
        account.ledger_figure(ledger[:0])
