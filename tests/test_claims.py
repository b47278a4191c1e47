"""Claims: what the file may hold, how values are judged, what the ledger and the comparison with the record say."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib import pyplot as plt

import mli_utils as mli
from mli_utils import claims, contents, ledger_plots
from mli_utils.claims import Predicate

LONGER = {
    "id": "longer",
    "section": "05_some",
    "source": "abstract",
    "cite": "wang2023",
    "statement": "It is longer.",
    "quantity": "difference (α)",
    "predicate": "above 0",
    "over": "runs",
    "figure": "some-figure",
}
MOSTLY = LONGER | {"id": "mostly", "over": "share", "predicate": "above 0.5", "remark": "Few runs say little."}
ORDERED = LONGER | {"id": "ordered", "over": "bootstrap", "section": "06_other"}
SOLVED = {key: value for key, value in LONGER.items() if key != "cite"} | {
    "id": "solved",
    "source": "ours",
    "over": "exact",
    "predicate": "between 1 and 2",
    "section": "06_other",
}


@pytest.fixture
def book(tmp_path):
    """Write a small book's claims; called with others, it writes those."""
    root = tmp_path / "root"
    for folder in ("book/notebooks", "notebooks"):
        (root / folder).mkdir(parents=True)
    files = [{"file": f"notebooks/{name}"} for name in ("05_some", "06_other")]
    (root / "book" / "_toc.yml").write_text(yaml.safe_dump({"root": "index", "chapters": files}))
    (root / "book" / "references.bib").write_text("@misc{wang2023,\n  title = {T},\n}\n")
    for name in ("05_some", "06_other"):
        cell = {"cell_type": "code", "source": ['mli.show(figure, name="some-figure")']}
        (root / "notebooks" / f"{name}.ipynb").write_text(json.dumps({"cells": [cell]}))

    def write(*entries):
        (root / claims.FILE).write_text(entries[0] if isinstance(entries[0], str) else yaml.safe_dump(list(entries)))
        return root

    write(LONGER, MOSTLY, ORDERED, SOLVED)
    return write


def measurements(shown):
    return {entry["id"]: entry for _, said in shown for entry in said.get("mli", {}).get("claims", ())}


def test_claims_are_read_as_they_are_written(book):
    longer, mostly, *_ = claims.load()
    assert (longer.cite, longer.remark, mostly.remark) == ("wang2023", "", "Few runs say little.")
    assert longer.predicate == Predicate(0, math.inf, "above 0")
    assert [claim.id for claim in claims.of_section("06_other")] == ["ordered", "solved"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"seciton": "x"},
            "unknown key of book/claims.yml, claim longer: 'seciton' (did you mean 'section'?)",
        ),
        ({"figure": None}, "claim longer: figure is missing; needed: id, section, source"),
        ({"cite": None}, "claim longer: cite is missing"),
        ({"statement": ["a"]}, "claim longer: statement=['a'] is not allowed; allowed: text"),
        ({"remark": " "}, "claim longer: remark=' ' is not allowed; allowed: text"),
        ({"id": "a b"}, "claim a b: id='a b' is not allowed; allowed: letters, digits and hyphens"),
        (
            {"section": "07_none"},
            "section of book/claims.yml, claim longer: '07_none'; known: 05_some, 06_other",
        ),
        ({"source": "blog"}, "unknown source of book/claims.yml, claim longer: 'blog'; known: abstract, section"),
        ({"cite": "wang2022"}, "'wang2022' (did you mean 'wang2023'?); known: wang2023"),
        ({"over": "seeds"}, "'seeds'; known: runs, share, bootstrap, exact"),
        ({"figure": "no-figure"}, "known: some-figure"),
        ({"predicate": "at least 3"}, "claim longer: predicate='at least 3' is not allowed; allowed: above X, below X"),
        ({"predicate": "between 2 and 1"}, "with X < Y"),
    ],
)
def test_a_bad_claim_is_one_sentence(book, change, said):
    entry = {key: value for key, value in (LONGER | change).items() if value is not None}
    book(entry)
    with pytest.raises(mli.InputError) as raised:
        claims.load()
    assert said in str(raised.value) and "\n" not in str(raised.value)


def test_a_bad_file_is_one_sentence(book):
    book(LONGER, LONGER)
    with pytest.raises(mli.InputError, match="id='longer' is there 2 times; allowed: once"):
        claims.load()
    for text, said in (("{", "is no YAML"), ("a: 1", "should be a list of claims"), ("- a", "should be a list")):
        root = book(text)
        with pytest.raises(mli.InputError, match=said):
            claims.load()
    (root / claims.FILE).unlink()
    with pytest.raises(mli.InputError, match="book/claims.yml is not there"):
        claims.load()


@pytest.mark.parametrize(
    ("words", "inside", "outside", "across"),
    [
        ("above 0", (0.1, 0.2), (-0.1, 0), (-0.1, 0.1)),
        ("below 1e-4", (0, 9e-5), (1e-4, 1), (0, 1)),
        ("between -1 and 1.5", (-0.9, 1.4), (1.5, 2), (0, 2)),
    ],
)
def test_a_predicate_holds_where_the_whole_interval_does(words, inside, outside, across):
    predicate = Predicate.parse(words)
    for (low, high), said in ((inside, "holds"), (outside, "fails"), (across, "undecided")):
        assert predicate.judge(low, high) == said
        assert claims.verdict(predicate, low, high, 3) == said
        assert claims.verdict(predicate, low, high, 2) == "undecided"
    assert claims.verdict(predicate, math.nan, math.nan, 5) == "undecided"


def test_values_are_judged_by_what_the_claim_is_over(book, shown, monkeypatch):
    runs = [SimpleNamespace(summary={"status": status}) for status in ("fitted", "unfitted", "diverged")]
    mli.judge({"longer": pd.Series([1.0, 1.1, 0.9, np.nan]), "mostly": [True, True, False]}, runs)
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


def test_other_tolerances_are_judged_beside(book, shown):
    base = np.array([0.1, 0.11, 0.12])
    mli.judge(lambda tolerance: {"longer": base - 1.5 * (tolerance - 0.1), "mostly": [tolerance < 0.2] * 9})
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
        ("05_some", {"longer": 1.0, "mostly": [1]}, "longer is over runs; allowed: a list of values, one a run"),
        ("05_some", {"longer": ["a"], "mostly": [1]}, "longer is over runs"),
        ("05_some", {"longer": [1], "mostly": [0.5]}, "mostly is over a share; allowed: true or false a run"),
        ("06_other", {"ordered": [1, 2], "solved": 1}, "ordered is over a bootstrap; allowed: a dict of mean, low"),
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


@pytest.fixture
def measured(book, monkeypatch):
    """A book of which section 05 has a page, made under `small`."""
    judged = {"value": 1.0, "low": 0.8, "high": 1.2, "n": 3, "left_out": 1, "tolerances": {"0.05": "holds"}}
    about = {
        "profile": "small",
        "claims": [
            {"id": "longer", "verdict": "holds", **judged},
            {"id": "mostly", "verdict": "undecided", **judged, "n": 2, "tolerances": {}},
        ],
    }
    contents_page = book(LONGER, MOSTLY, ORDERED, SOLVED) / "book" / "notebooks" / "05_some.ipynb"
    contents_page.write_text(json.dumps({"metadata": {"mli": about}}))
    monkeypatch.setenv("MLI_MODE", "reproduce")
    return book


def test_the_ledger_has_every_claim(measured, monkeypatch):
    ledger = mli.ledger().set_index("id")
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
        "Asked: difference (α), above 0.5; found: 1 (0.8 to 1.2) over 2 values, and 3 are needed. Few runs say little."
    )
    assert "nothing was measured under profile small" in ledger.sentence["solved"]
    assert mli.score(ledger.verdict) == "1 of 4 claims holds, 1 is undecided, 2 were not run"
    monkeypatch.setenv("MLI_PROFILE", "smoke")
    assert set(mli.ledger().verdict) == {"not run"}


def test_a_lab_without_pages_shows_the_record(measured, monkeypatch):
    record = claims.entries("small")
    assert [list(entry) for entry in record] == [["id", "statement", "value", "low", "high", "n", "verdict"]] * 4
    assert record[3]["value"] is None and record[3]["verdict"] == "not run"
    assert json.loads(claims.json_text(record)) == record
    results = contents.settings.record_dir("small")
    results.mkdir(parents=True)
    (results / "claims.json").write_text(claims.json_text(record))
    contents.page("05_some").unlink()
    assert set(mli.ledger().verdict) == {"not run"}
    monkeypatch.setenv("MLI_MODE", "lab")
    assert mli.ledger().verdict.tolist() == ["holds", "undecided", "not run", "not run"]


def entry(verdict="holds", value=1.0, low=0.8, high=1.2, name="longer"):
    return {"id": name, "statement": "s", "value": value, "low": low, "high": high, "n": 3, "verdict": verdict}


@pytest.mark.parametrize(
    ("found", "recorded", "said"),
    [
        (entry(value=1.19), entry(), "agrees"),
        (entry(value=1.5), entry(), "0.3 above"),
        (entry(value=0.7), entry(), "0.1 below"),
        (entry("fails", value=0.7), entry(), "fails, not holds; 0.1 below"),
        (entry("undecided"), entry(), "undecided, not holds"),
        (entry(value=3.0000001, low=None, high=None), entry(value=3.0, low=None, high=None), "agrees"),
        (entry(value=3.5, low=None, high=None), entry(value=3.0, low=None, high=None), "0.5 above"),
        (entry("not run", None, None, None), entry("not run", None, None, None), "agrees"),
        (entry("not run", None, None, None), entry(), "not run, not holds"),
    ],
)
def test_agreement_says_by_how_much_not(found, recorded, said):
    assert claims.agreement(found, recorded) == said


def test_the_report_has_a_line_a_claim_and_the_score(tmp_path):
    found = [entry(), entry("fails", -1.0, -1.2, -0.8, "other")]
    alone = claims.report("small", found).splitlines()
    assert len(alone) == 4 and alone[2].split() == ["other", "−1", "(−1.2", "to", "−0.8)", "fails"]
    assert alone[-1] == "1 of 2 claims holds, 1 fails; results/small has no claims.json to compare with"
    folder = contents.settings.record_dir("small")
    folder.mkdir(parents=True)
    (folder / "claims.json").write_text(claims.json_text([entry(value=1.1)]))
    beside = claims.report("small", found).splitlines()
    assert beside[1].split()[-2:] == ["holds", "agrees"] and "not in it" in beside[2]
    assert beside[-1] == "1 of 2 claims holds, 1 fails; 1 agrees with the record"


@pytest.mark.parametrize(
    ("predicate", "value", "low", "high", "margins"),
    [
        ("above 0", 0.4, 0.3, 0.5, (1, 0.75, 1.25)),
        ("above 0", -0.4, -0.5, -0.3, (-1, -1.25, -0.75)),
        ("above 0.5", 0.25, math.nan, math.nan, (-0.5, -0.5, -0.5)),
        ("below 2", 1, 0.5, 1.5, (0.5, 0.25, 0.75)),
        ("between 0 and 2", 1, 0.5, 1.5, (1, 0.5, 1)),
        ("between 0 and 2", 3, 2.5, 3.5, (-1, -1.5, -0.5)),
    ],
)
def test_margins_are_right_of_zero_where_the_claim_is_true(predicate, value, low, high, margins):
    assert ledger_plots._margins(Predicate.parse(predicate), value, low, high) == pytest.approx(margins)


def test_the_ledger_is_drawn_and_told(measured, shown):
    ledger = mli.ledger()
    figure = mli.ledger_figure(ledger)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ledger.id.tolist()
    plt.close(figure)
    mli.show_ledger(ledger)
    some, other = (data.data for data, _ in shown)
    assert some.startswith("**{doc}`05_some`**") and "{bdg-success}`holds`" in some and "3 (1 left out)" in some
    assert "{numref}`some-figure`" in some and "abstract, {cite:t}`wang2023`" in some and "(ours)" in other
    assert some.count("\n- ") == 1 and other.count("\n- ") == 2
    with pytest.raises(mli.InputError, match="no claim to draw"):
        mli.ledger_figure(ledger[:0])
