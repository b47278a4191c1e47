"""The ledger of claims: what pages measured of each, and how that agrees with the record."""

import json
import math
from collections import Counter
from collections.abc import Container, Iterable

from mli_utils.claims import sources
from mli_utils.claims.statements import load
from mli_utils.core.words import span
from mli_utils.runs import settings
from mli_utils.runs.files import write_atomically
from mli_utils.runs.record import Record

FILE = "claims.json"
KEPT = ("value", "low", "high", "n", "verdict")  # of a claim, in the file
NOT_RUN: dict = {**dict.fromkeys(("value", "low", "high", "n", "left_out")), "verdict": "not run", "tolerances": {}}
COUNTED = {  # how a score says that one, or several, have a verdict
    "holds": ("holds", "hold"),
    "fails": ("fails", "fail"),
    "undecided": ("is undecided", "are undecided"),
    "not run": ("was not run", "were not run"),
}


def measured(profile: str) -> dict[str, dict]:
    """The keys of `NOT_RUN` for every claim, by id, as `verdicts.judge` left them in the pages made under a profile.

    In a lab, the record answers for sections that have no such page.
    """
    pages = {}
    for section in sources.sections():
        about = sources.about(section)
        if about.get("profile") == profile:
            pages[section] = {entry["id"]: entry for entry in about.get("claims", [])}
    known = recorded(profile) if settings.mode() == "lab" else {}
    found = {claim.id: pages.get(claim.section, known).get(claim.id, {}) for claim in load()}
    return {name: {key: entry.get(key, none) for key, none in NOT_RUN.items()} for name, entry in found.items()}


def entries(profile: str, sections: Container[str] | None = None) -> list[dict]:
    """`id`, `statement` and `KEPT` of every claim under a profile; of others than `sections` as the record has them.

    None and `not run` where nothing has been measured.
    """
    found, claims = measured(profile), load()
    if sections is not None:
        known = recorded(profile)
        found |= {claim.id: known.get(claim.id, NOT_RUN) for claim in claims if claim.section not in sections}
    return [{"id": c.id, "statement": c.statement, **{key: found[c.id][key] for key in KEPT}} for c in claims]


def write(profile: str) -> list[dict]:
    """Leave the `entries` of a profile in `build/<profile>/claims.json`; return them."""
    found = entries(profile)
    write_atomically(settings.build_dir(profile) / FILE, json_text(found).encode())
    return found


def json_text(found: list[dict]) -> str:
    """Entries as a file holds them, a line each."""
    return "[\n" + ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in found) + "\n]\n"


def recorded(profile: str) -> dict[str, dict]:
    """The `entries` of the committed record, by id."""
    return {entry["id"]: entry for entry in Record(settings.record_dir(profile)).json(FILE) or []}


def score(given: Iterable[str]) -> str:
    """Verdicts counted in words: `21 of 25 claims hold, 2 fail, 2 are undecided`."""
    count = Counter(given)
    total = count.total()
    of_all = {"holds": f" of {total} claim{'s' * (total != 1)}"}
    return ", ".join(
        f"{count[verdict]}{of_all.get(verdict, '')} {one if count[verdict] == 1 else several}"
        for verdict, (one, several) in COUNTED.items()
        if count[verdict] or verdict == "holds"
    )


def agreement(found: dict, known: dict) -> str:
    """`agrees` where the verdict is the record's and the value lies in the record's interval, or is the record's to
    float rounding; otherwise by how much it does not."""
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
    """Each claim's value and verdict beside the profile's record, a line each, and the score."""
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
