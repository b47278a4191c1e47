"""The ledger of claims: measurements on the pages, compared with the record."""

import json
import math
from collections import Counter
from collections.abc import Container, Iterable

from mli_utils.claims import design, sources
from mli_utils.claims.statements import load
from mli_utils.core.estimates import holm
from mli_utils.core.words import span
from mli_utils.runs import settings
from mli_utils.runs.files import write_atomically
from mli_utils.runs.record import Record

FILE = "claims.json"
FOUND = ("value", "low", "high", "n", "verdict", "p", "corrected", "needed", "bound_set", "first_run")  # kept in `FILE`
NOT_RUN: dict = {
    **dict.fromkeys((*FOUND, "left_out")),
    "verdict": "not run",
    "corrected": "not run",
    "tolerances": {},
    "profile": None,
    "others": {},
}
LEVEL = 0.05  # of the whole ledger, after Holm's correction
COUNTED = {  # verdict in a score: singular, plural
    "holds": ("holds", "hold"),
    "fails": ("fails", "fail"),
    "undecided": ("is undecided", "are undecided"),
    "not run": ("was not run", "were not run"),
}


def measured(profile: str) -> dict[str, dict]:
    """Return {claim id: measurement with the keys of `NOT_RUN`}, as `verdicts.judge` stored it in a profile's pages.

    A book from the record may have pages of several profiles, each the best on record; all count. In lab mode, sections
    without a page of the profile are read from its record. Where git does not know when bounds were set, the records of
    the pages' profiles say it. A claim of n = 0 has no `first_run`, since no run judges it. `others` has by profile
    what records of other profiles than `profile`, the page's, found, where they judged by the same bound.
    """
    pages, known = {}, recorded(profile) if settings.mode() == "lab" else {}
    dates, piloted = design.bounds_set(), design.pilot()
    dated = dict.fromkeys(sources.sections(), profile)
    for section in dated:
        about = sources.about(section)
        if about.get("profile") == profile or about.get("mode") == settings.mode() == "book":
            pages[section] = {
                entry["id"]: {"first_run": about.get("first_run") if entry["n"] else None, **entry}
                for entry in about.get("claims", [])
            }
            dated[section] = about["profile"]
    records = {one: recorded(one) for one in dict.fromkeys((*sources.RECORDS, *dated.values()))}
    found = {}
    for claim in load():
        entry = pages.get(claim.section, known).get(claim.id, {})
        shown = dated[claim.section]
        then = records[shown].get(claim.id, {})
        bound_set = dates.get(claim.id) if dates else then.get("bound_set")
        beside = {one: record.get(claim.id, NOT_RUN) for one, record in records.items() if one != shown}
        others = {one: it for one, it in beside.items() if it["value"] is not None and it["bound_set"] == bound_set}
        found[claim.id] = {key: entry.get(key, none) for key, none in NOT_RUN.items()} | {
            "needed": design.clusters_needed(claim, piloted.get(claim.id)),
            "bound_set": bound_set,
            "profile": shown,
            "others": others,
        }
    return corrected(found)


def corrected(found: dict[str, dict]) -> dict[str, dict]:
    """Set `corrected`, the verdict after Holm's correction over all claims with a p-value."""
    judged = [name for name, entry in found.items() if entry["p"] is not None]
    adjusted = dict(zip(judged, holm([found[name]["p"] for name in judged]), strict=True))
    return {
        name: {**entry, "corrected": "undecided" if adjusted.get(name, 0) > LEVEL else entry["verdict"]}
        for name, entry in found.items()
    }


def entries(profile: str, sections: Container[str] | None = None) -> list[dict]:
    """Return every claim's `id`, `statement`, `cluster`, `range` and `FOUND`.

    Claims outside `sections` are read from the record. A range has nulls where it is open.

    Unmeasured claims have None as numbers and the verdict `not run`.
    """
    found, claims = measured(profile), load()
    if sections is not None:
        known = recorded(profile)
        found |= {claim.id: known.get(claim.id, NOT_RUN) for claim in claims if claim.section not in sections}
        found = corrected({name: NOT_RUN | entry for name, entry in found.items()})
    return [
        {
            "id": claim.id,
            "statement": claim.statement,
            "cluster": claim.cluster,
            "range": [end if math.isfinite(end) else None for end in claim.range],
            **{key: found[claim.id][key] for key in FOUND},
        }
        for claim in claims
    ]


def write(profile: str) -> list[dict]:
    """Write the `entries` of a profile to `build/<profile>/claims.json`; return them."""
    found = entries(profile)
    write_atomically(settings.build_dir(profile) / FILE, json_text(found).encode())
    return found


def json_text(found: list[dict]) -> str:
    """Format entries as JSON, one per line."""
    return "[\n" + ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in found) + "\n]\n"


def recorded(profile: str) -> dict[str, dict]:
    """Return the `entries` of the committed record, by id."""
    return {entry["id"]: entry for entry in Record(settings.record_dir(profile)).json(FILE) or []}


def score(given: Iterable[str]) -> str:
    """Count verdicts in words: `21 of 25 claims hold, 2 fail, 2 are undecided`."""
    count = Counter(given)
    total = count.total()
    of_all = {"holds": f" of {total} claim{'s' * (total != 1)}"}
    return ", ".join(
        f"{count[verdict]}{of_all.get(verdict, '')} {one if 1 in (count[verdict], total) else several}"
        for verdict, (one, several) in COUNTED.items()
        if count[verdict] or verdict == "holds"
    )


def agreement(found: dict, known: dict) -> str:
    """Compare with the record: `agrees` for an equal verdict and a value in its interval, else the differences."""
    said = []
    if found["verdict"] != known["verdict"]:
        said.append(f"{found['verdict']}, not {known['verdict']}")
    value, other = found["value"], known["value"]
    if value is not None and other is not None and not math.isclose(value, other, rel_tol=1e-6, abs_tol=1e-9):
        low, high = (other if known[end] is None else known[end] for end in ("low", "high"))
        if value < low:
            said.append(f"{low - value:.2g} below")
        elif value > high:
            said.append(f"{value - high:.2g} above")
    return "; ".join(said) or "agrees"


def report(profile: str, found: list[dict]) -> str:
    """Tabulate each claim's value and verdict beside the record's, one per line; end with the score."""
    known = recorded(profile)
    rows = [["claim", "value", "verdict", *(["record", "", ""] if known else [])]]
    for entry in found:
        row = [entry["id"], span(entry, ".3g"), entry["verdict"]]
        if other := known.get(entry["id"]):
            row += [span(other, ".3g"), other["verdict"], agreement(entry, other)]
        elif known:
            row += ["–", "not in it", ""]
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    agreeing = sum(row[-1] == "agrees" for row in rows)
    agreed = f"{agreeing} {'agrees' if agreeing == 1 else 'agree'} with the record"
    beside = agreed if known else f"results/{profile} has no {FILE} to compare with"
    return "\n".join([*lines, f"{score(entry['verdict'] for entry in found)}; {beside}"])
