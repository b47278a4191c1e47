"""What was fixed before the runs: the number of clusters that decide a claim, and the time of its bound."""

import json
import subprocess

import pytest

from mli_utils.claims import design, statements
from mli_utils.runs import settings

from .conftest import LONGER, MOSTLY, SOLVED


@pytest.fixture
def fresh():
    design.bounds_set.cache_clear()
    yield
    design.bounds_set.cache_clear()


def git(root, *arguments, date="2026-01-01T00:00:00+00:00"):
    who = {name: "a" for name in ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME")}
    who |= {name: "a@b" for name in ("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL")}
    when = {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
    subprocess.run(["git", "-C", str(root), *arguments], check=True, env={"PATH": "/usr/bin:/bin", **who, **when})


def test_the_pilot_s_spread_says_how_many_clusters_decide(book):
    longer, mostly, _, solved = statements.load()
    found = {"value": 1.0, "low": 1.0 - 2.262157, "high": 1.0 + 2.262157, "n": 10}  # a spread of √10
    assert design.clusters_needed(longer, found) == 81  # (2.8 √10)², and a little
    assert design.clusters_needed(longer, {**found, "low": 0.99, "high": 1.01}) == statements.FEWEST
    assert design.clusters_needed(longer, {**found, "value": 0.0, "low": -1.0, "high": 1.0}) is None
    assert design.clusters_needed(mostly, None) is None and design.clusters_needed(solved, None) == 1
    assert design.pilot() == {}
    design.write_pilot([{"id": "longer", **found, "verdict": "undecided"}])
    assert design.pilot() == {"longer": found}


def test_a_bound_is_as_old_as_its_words(book, fresh, monkeypatch):
    root = book(LONGER, MOSTLY)
    assert design.bounds_set() == {}
    git(root, "init", "-q")
    days = [f"2026-01-0{day}T00:00:00+00:00" for day in (1, 2, 3)]
    versions = (
        [LONGER | {"predicate": "above 1"}, MOSTLY],
        [LONGER, MOSTLY | {"remark": "Otherwise."}],
        [LONGER | {"statement": "Longer."}, MOSTLY, SOLVED],
    )
    for day, entries in zip(days, versions, strict=True):
        book(*entries)
        git(root, "add", ".")
        git(root, "commit", "-qm", "claims", date=day)
    design.bounds_set.cache_clear()
    assert design.bounds_set() == {"longer": days[1], "mostly": days[0], "solved": days[2]}
    book(LONGER | {"predicate": "above 2"}, MOSTLY)
    design.bounds_set.cache_clear()
    assert design.bounds_set() == {"mostly": days[0]}  # the other's words are nobody's yet
    shallow = root.with_name("shallow")
    git(root, "clone", "-q", "--depth", "1", root.as_uri(), str(shallow))
    monkeypatch.setenv("MLI_ROOT", str(shallow))
    design.bounds_set.cache_clear()
    assert design.bounds_set() == {}, "its one commit did not make every claim"


@pytest.mark.parametrize("profile", sorted(path.name for path in settings.PACKAGE.glob("results/*/")))
def test_the_record_was_judged_by_older_bounds_and_intervals_in_range(profile, monkeypatch):
    monkeypatch.setenv("MLI_ROOT", str(settings.PACKAGE))
    entries = json.loads((settings.PACKAGE / "results" / profile / "claims.json").read_text())
    known = {claim.id: claim for claim in statements.load()}
    assert [entry["id"] for entry in entries] == list(known)
    younger = [entry["id"] for entry in entries if entry["first_run"] and entry["bound_set"] > entry["first_run"]]
    assert all(known[name].seen == profile for name in younger), younger
    for entry in entries:
        low, high = (entry["range"][0] or -float("inf")), entry["range"][1]
        ends = [entry[name] for name in ("value", "low", "high") if entry[name] is not None]
        assert all(end >= low and (high is None or end <= high) for end in ends), entry["id"]
        if entry["verdict"] in ("holds", "fails") and known[entry["id"]].over != "exact":
            assert entry["n"] >= statements.FEWEST


def test_none_is_undecided_by_design(monkeypatch):
    """What the small book leaves undecided had the clusters that the pilots ask for."""
    monkeypatch.setenv("MLI_ROOT", str(settings.PACKAGE))
    entries = json.loads((settings.PACKAGE / "results" / "small" / "claims.json").read_text())
    undecided = [entry for entry in entries if entry["verdict"] == "undecided"]
    assert not [entry["id"] for entry in undecided if not entry["needed"] or entry["n"] < entry["needed"]]
