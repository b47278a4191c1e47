"""What became of the claims: what pages measured of each, and how that agrees with the record."""

import json
import math
from collections import Counter
from collections.abc import Iterable

from mli_utils.claims import sources
from mli_utils.claims.statements import load, of_section
from mli_utils.core.words import span
from mli_utils.runs import settings
from mli_utils.runs.record import Record
from mli_utils.runs.store import write_atomically


def measured(profile: str) -> dict[str, dict]:
    """What the pages made under a profile have measured, by claim, as `verdicts.judge` put it there.

    In a lab, the record answers for sections that have no such page.
    """
    found = {}
    kept = {entry["id"]: entry for entry in record(profile) or [] if entry["verdict"] != "not run"}
    for section in sources.sections():
        about = sources.about(section)
        if about.get("profile") == profile:
            found |= {entry["id"]: entry for entry in about.get("claims", [])}
        elif settings.mode() == "lab":
            found |= {claim.id: kept[claim.id] for claim in of_section(section) if claim.id in kept}
    return found


def entries(profile: str, sections: Iterable[str] | None = None) -> list[dict]:
    """Every claim's `id`, `statement`, `value`, `low`, `high`, `n`, `verdict` under a profile; None where there is
    none, and the verdict `not run` where nothing has been measured. Of others than `sections` as the record has them.
    """
    found = measured(profile)
    if sections is not None:
        others = {claim.id for claim in load() if claim.section not in sections}
        found |= {entry["id"]: entry for entry in record(profile) or [] if entry["id"] in others}
    never = {"value": None, "low": None, "high": None, "n": None, "verdict": "not run"}
    return [
        {"id": claim.id, "statement": claim.statement, **{key: found.get(claim.id, never)[key] for key in never}}
        for claim in load()
    ]


def write(profile: str) -> list[dict]:
    """Leave the `entries` of a profile in `build/<profile>/claims.json`; return them."""
    found = entries(profile)
    write_atomically(settings.build_dir(profile) / "claims.json", json_text(found).encode())
    return found


def json_text(found: list[dict]) -> str:
    """Entries as a file holds them, a line each."""
    return "[\n" + ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in found) + "\n]\n"


def record(profile: str) -> list[dict] | None:
    """The `entries` that the committed record holds, or None where it holds none."""
    return Record(settings.record_dir(profile)).json("claims.json")


def score(given: Iterable[str]) -> str:
    """Verdicts counted in words: `21 of 25 claims hold, 2 fail, 2 are undecided`."""
    given = list(given)
    count = Counter(given)
    parts = [
        f"{count['holds']} of {len(given)} {'claim' if len(given) == 1 else 'claims'} {_verb(count['holds'], 'hold')}",
        f"{count['fails']} {_verb(count['fails'], 'fail')}",
        f"{count['undecided']} {'is' if count['undecided'] == 1 else 'are'} undecided",
        f"{count['not run']} {'was' if count['not run'] == 1 else 'were'} not run",
    ]
    return ", ".join([parts[0], *(part for part in parts[1:] if not part.startswith("0 "))])


def _verb(count: int, plural: str) -> str:
    return f"{plural}s" if count == 1 else plural


def agreement(found: dict, recorded: dict) -> str:
    """`agrees` where the verdict is the record's and the value lies in the record's interval, or is the record's to
    float rounding; otherwise by how much it does not."""
    said = []
    if found["verdict"] != recorded["verdict"]:
        said.append(f"{found['verdict']}, not {recorded['verdict']}")
    value, known = found["value"], recorded["value"]
    if value is not None and known is not None and not math.isclose(value, known, rel_tol=1e-6, abs_tol=1e-9):
        low, high = (known if recorded[end] is None else recorded[end] for end in ("low", "high"))
        if value < low:
            said.append(f"{low - value:.2g} below")
        elif value > high:
            said.append(f"{value - high:.2g} above")
    return "; ".join(said) or "agrees"


def report(profile: str, found: list[dict]) -> str:
    """What was found of every claim beside the profile's record, a line each, and the score."""
    known = {entry["id"]: entry for entry in record(profile) or []}
    rows, agreeing = [("claim", "value", "verdict", *(("record", "", "") if known else ()))], 0
    for entry in found:
        row = (entry["id"], span(entry, ".3g"), entry["verdict"])
        if other := known.get(entry["id"]):
            compared = agreement(entry, other)
            agreeing += compared == "agrees"
            row += (span(other, ".3g"), other["verdict"], compared)
        elif known:
            row += ("–", "not in it", "")
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    agreed = f"{agreeing} {_verb(agreeing, 'agree')} with the record"
    beside = agreed if known else f"results/{profile} has no json to compare with"
    return "\n".join([*lines, f"{score(entry['verdict'] for entry in found)}; {beside}"])
