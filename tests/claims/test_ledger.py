"""What pages measured of claims, beside the record."""

import json

import pytest

from mli_utils.claims import ledger, sources
from mli_utils.runs import record, settings


def keep(entries):
    """Make a record of these entries."""
    folder = settings.record_dir("small")
    folder.mkdir(parents=True)
    record.write(folder, {}, {"claims.json": ledger.json_text(entries).encode()})


def verdicts(found):
    return [entry["verdict"] for entry in found]


def test_a_lab_without_pages_shows_the_record(measured, monkeypatch):
    entries = ledger.entries("small")
    told = ["id", "statement", "cluster", "range", *ledger.FOUND]
    assert [list(entry) for entry in entries] == [told] * 4
    assert (entries[0]["range"], entries[1]["range"]) == ([None, None], [0, 1])
    assert entries[0]["first_run"] == "2026-02-01T00:00:00+00:00" and entries[0]["bound_set"] is None
    assert entries[3]["value"] is None and entries[3]["n"] is None and entries[3]["verdict"] == "not run"
    assert json.loads(ledger.json_text(entries)) == entries
    assert set(ledger.measured("small")["solved"]) == set(ledger.measured("small")["longer"]) == set(ledger.NOT_RUN)
    keep(entries)
    sources.page("05_some").unlink()
    assert set(verdicts(ledger.entries("small"))) == {"not run"}
    monkeypatch.setenv("MLI_MODE", "lab")
    assert verdicts(ledger.entries("small")) == ["holds", "undecided", "not run", "not run"]
    assert ledger.measured("small")["longer"]["tolerances"] == {}


def test_sections_that_were_not_run_again_stay_as_they_are_on_record(measured):
    keep([entry("fails"), entry("fails", name="solved")])
    assert verdicts(ledger.entries("small")) == ["holds", "undecided", "not run", "not run"]
    assert verdicts(ledger.entries("small", ["05_some"])) == ["holds", "undecided", "not run", "fails"]
    assert verdicts(ledger.entries("small", ["06_other"])) == ["fails", "not run", "not run", "not run"]
    assert ledger.write("small") == json.loads((settings.build_dir("small") / "claims.json").read_text())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "0 of 0 claims hold"),
        (["holds"], "1 of 1 claim holds"),
        (["fails"], "0 of 1 claim holds, 1 fails"),
        (["holds"] * 2 + ["fails"] * 2 + ["undecided"], "2 of 5 claims hold, 2 fail, 1 is undecided"),
        (["not run", "undecided", "undecided"], "0 of 3 claims hold, 2 are undecided, 1 was not run"),
    ],
)
def test_a_score_counts_verdicts(given, said):
    assert ledger.score(given) == said


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
    assert ledger.agreement(found, recorded) == said


def test_the_report_has_a_line_a_claim_and_the_score():
    found = [entry(), entry("fails", -1.0, -1.2, -0.8, "other")]
    alone = ledger.report("small", found).splitlines()
    assert len(alone) == 4 and alone[2].split() == ["other", "−1.00", "(−1.20", "to", "−0.80)", "fails"]
    assert alone[-1] == "1 of 2 claims holds, 1 fails; results/small has no claims.json to compare with"
    keep([entry(value=1.1)])
    beside = ledger.report("small", found).splitlines()
    assert beside[1].split()[-2:] == ["holds", "agrees"] and "not in it" in beside[2]
    assert beside[-1] == "1 of 2 claims holds, 1 fails; 1 agrees with the record"


def test_holm_s_correction_is_over_all_claims_that_were_tested():
    found = {
        name: {"p": p, "verdict": "holds"} for name, p in {"a": 0.001, "b": 0.03, "c": 0.04, "exact": None}.items()
    }
    after = ledger.corrected(found)
    assert [after[name]["corrected"] for name in found] == ["holds", "undecided", "undecided", "holds"]
