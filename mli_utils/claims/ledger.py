"""The ledger of claims: measurements on the pages, compared with the record."""

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
KEPT = ("value", "low", "high", "n", "verdict")  # fields of a claim in `FILE`
NOT_RUN: dict = {**dict.fromkeys(("value", "low", "high", "n", "left_out")), "verdict": "not run", "tolerances": {}}
COUNTED = {  # verdict in a score: singular, plural
    "holds": ("holds", "hold"),
    "fails": ("fails", "fail"),
    "undecided": ("is undecided", "are undecided"),
    "not run": ("was not run", "were not run"),
}


def measured(profile: str) -> dict[str, dict]:
    """Return {claim id: measurement with the keys of `NOT_RUN`}, as `verdicts.judge` stored it in a profile's pages.

    In lab mode, sections without such a page are read from the record.
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
    """Return `id`, `statement` and `KEPT` of every claim; claims outside `sections` are read from the record.

    Unmeasured claims have None as numbers and the verdict `not run`.
    """
    found, claims = measured(profile), load()
    if sections is not None:
        known = recorded(profile)
        found |= {claim.id: known.get(claim.id, NOT_RUN) for claim in claims if claim.section not in sections}
    return [{"id": c.id, "statement": c.statement, **{key: found[c.id][key] for key in KEPT}} for c in claims]


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
        f"{count[verdict]}{of_all.get(verdict, '')} {one if count[verdict] == 1 else several}"
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
