"""The ledger as a frame, a figure and cards."""

import json
import math
import shutil

import pandas as pd
import pytest

import mli_utils as mli
from mli_utils.claims import account
from mli_utils.runs import record, settings


def keep(profile, *entries):
    """Make a record of these claims."""
    folder = settings.record_dir(profile)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    record.write(folder, {}, {"claims.json": json.dumps(entries).encode()})


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
    monkeypatch.setenv("MLI_PROFILE", "smoke")
    assert set(account.ledger().verdict) == {"not run"}


def test_the_ledger_by_section_and_in_numbers(measured):
    ledger = account.ledger()
    table = account.by_section(ledger).set_index("section")
    assert table.columns.tolist() == ["profile", "claims", "hold", "fail", "undecided", "not_run", "left_out"]
    assert table.loc["05_some"].tolist() == ["small", 2, 1, 0, 1, 0, 1]
    assert table.loc["06_other"].tolist()[:-1] == ["–", 2, 0, 0, 0, 2]
    assert account.numbers(ledger) == {
        "corrected": "1 of 4 claims holds, 1 is undecided, 2 were not run",
        "lost": 0,
        "tested": 1,
        "wrong": 0.05,
        "undecided": 1,
        "undecided_by_design": 1,  # no pilot says how many would do
        "judged": 2,
        "bound_first": 0,
        "late_bounds": "; of the others, 1 of 2 claims holds, 1 is undecided",
        "stated": 3,
        "reported": 0,
        "of_the_paper": "1 of 3 claims holds, 1 is undecided, 1 was not run",
        "of_others": "0 of 0 claims hold",
        "ours": "0 of 1 claim holds, 1 was not run",
        "repeated": 0,
        "same": 0,
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
    others = {"large": {"value": value}}
    ledger = pd.DataFrame([{"predicate": predicate, "value": value, "low": low, "high": high, "others": others}])
    (found,) = account.margins(ledger)[["margin", "margin_low", "margin_high"]].to_numpy().tolist()
    assert found == pytest.approx(margins, nan_ok=True)
    assert account.margins(ledger)["margin in large"].tolist() == pytest.approx(margins[:1], nan_ok=True)
    assert not {"margin in paper", "others"}.intersection(account.margins(ledger))


def test_other_records_stand_beside_the_page_s_where_they_judged_by_the_same_bound(measured, shown):
    entry = {"low": 0.8, "high": 1.2, "n": 30, "bound_set": None}
    keep("large", {"id": "longer", "value": 1.0, "verdict": "holds", **entry}, {"id": "solved", "value": None})
    keep("paper", {"id": "longer", "value": 0.0, "verdict": "fails", **entry, "low": -0.1, "high": 0.1})
    keep("small", {"id": "longer", "value": 3.0, "verdict": "fails", **entry})  # the page's own profile
    keep(
        "medium", {"id": "longer", "value": 3.0, "verdict": "fails", **entry, "bound_set": "2026-01-01T00:00:00+00:00"}
    )
    ledger = account.ledger()
    assert [list(others) for others in ledger.others] == [["paper", "large"], [], [], []]
    assert (account.numbers(ledger)["repeated"], account.numbers(ledger)["same"]) == (1, 0)
    assert account.differing(ledger).to_dict("records") == [
        {
            "claim": "It is longer.",
            "paper": "fails: 0.00 (−0.10 to 0.10) over 30\u00a0seeds",
            "large": "holds: 1.00 (0.80 to 1.20) over 30\u00a0seeds",
            "small": "holds: 1.00 (0.80 to 1.20) over 9\u00a0seeds",
        }
    ]
    (axes,) = account.ledger_figure(ledger).axes
    assert sorted(line.get_xdata().tolist() for line in axes.lines) == [[0.0], [1.0]]
    account.show_ledger(ledger)
    said = "Under other profiles\n: fails in `paper`, 0.00 (−0.10 to 0.10) over 30\u00a0seeds; holds in `large`, 1.00"
    assert said in shown[0][0].data
    keep("paper", {"id": "longer", "value": 0.5, "verdict": "undecided", **entry})
    assert (account.numbers(account.ledger())["repeated"], account.numbers(account.ledger())["same"]) == (1, 1)


def test_the_ledger_is_drawn_by_section(measured, tmp_path):
    title = json.dumps(
        {"cells": [{"cell_type": "markdown", "source": ["# Some title\n", ":::{glue:figure} some-figure\n"]}]}
    )
    (tmp_path / "root" / "notebooks" / "05_some.ipynb").write_text(title)
    figure = account.ledger_figure(account.ledger())
    assert [text.get_text() for text in figure.axes[0].texts] == ["5  Some title", "06_other"]
    with pytest.raises(mli.InputError, match="no claim to draw"):
        account.ledger_figure(account.ledger()[:0])


def test_each_claim_has_a_card_failures_first(measured, shown):
    account.show_ledger(account.ledger())
    papers, ours = (data.data for data, _ in shown)
    assert papers.startswith("### What the paper states\n\n1 of 3 claims holds, 1 is undecided, 1 was not run.")
    assert papers.index("claim-mostly") < papers.index("claim-longer") < papers.index("claim-ordered")
    longer = papers[papers.index("claim-longer") : papers.index("claim-ordered")]
    for said in (
        '<span class="verdict holds">✓ holds</span> **It is longer.** {cite:p}`wang2023`',
        "\n\nDifference (α): **1.00 (0.80 to 1.20) over 9\u00a0seeds**. Asked: above 0.\n\n",
        "What would make it fail\n: it is shorter",
        "With another tolerance of the plateau\n: holds at τ = 0.05",
        "Needed to decide it\n: more than 10,000",
        "Left out, since they did not fit\n: 1\u00a0network\n",
        "Bound set\n: not committed",
        "{numref}`some-figure` of {doc}`05_some`",
    ):
        assert said in longer
    assert "over 2\u00a0seeds**; at least 5 are needed. Asked: above 0.5. Few runs say little." in papers
    assert "Nothing was measured" in ours and "### What this book adds" in ours and "cite" not in ours
