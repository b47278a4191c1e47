"""What the book claims (`book/claims.yml`), what its pages have measured of it, and how that agrees with the record."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mli_utils import contents, settings
from mli_utils.config import InputError, choose
from mli_utils.store import write_atomically

FILE = "book/claims.yml"
NEEDED = ("id", "section", "source", "statement", "quantity", "predicate", "over", "figure")
KEYS = (*NEEDED, "cite", "remark")
SOURCES = ("abstract", "section", "neighbour", "ours")
OVER = ("runs", "share", "bootstrap", "exact")
VERDICTS = ("holds", "fails", "undecided", "not run")
FEWEST = 3  # values below which nothing is decided
NUMBER = r"([+-]?\d+\.?\d*(?:[eE][+-]?\d+)?)"


@dataclass(frozen=True)
class Predicate:
    """The numbers strictly between `low` and `high`; `str` gives the words."""

    low: float
    high: float
    words: str

    def __str__(self) -> str:
        return self.words.replace("-", "−")  # a minus, not a hyphen

    @classmethod
    def parse(cls, words: str) -> "Predicate":
        """From `above X`, `below X` or `between X and Y`.

        Raises
        ------
        InputError
            Anything else, or X not below Y.
        """
        if found := re.fullmatch(f"above {NUMBER}", words):
            return cls(float(found[1]), math.inf, words)
        if found := re.fullmatch(f"below {NUMBER}", words):
            return cls(-math.inf, float(found[1]), words)
        found = re.fullmatch(f"between {NUMBER} and {NUMBER}", words)
        if found and float(found[1]) < float(found[2]):
            return cls(float(found[1]), float(found[2]), words)
        raise InputError(f"predicate={words!r} is not allowed; allowed: above X, below X, between X and Y with X < Y")

    def judge(self, low: float, high: float) -> str:
        """What an interval says: `holds` where it lies inside, `fails` where it lies outside, else `undecided`."""
        if self.low < low and high < self.high:
            return "holds"
        if high <= self.low or low >= self.high:
            return "fails"
        return "undecided"


POSITIVE = Predicate.parse("above 0")


@dataclass(frozen=True)
class Claim:
    """A statement and what decides it, as `book/claims.yml` has it; empty text where an optional key is left out."""

    id: str
    section: str  # the notebook that measures it
    source: str  # of SOURCES
    statement: str
    quantity: str  # what the number is, its unit, over what
    predicate: Predicate
    over: str  # of OVER: what the interval is over
    figure: str  # one that the section shows
    cite: str = ""  # a key of references.bib
    remark: str = ""  # said where the verdict is not `holds`


def load() -> list[Claim]:
    """Every claim of the book, in its order.

    Raises
    ------
    InputError
        A file that is no list of claims, an unknown, missing or repeated key or id, or a value that is not allowed;
        the message names the claim, the key and what is allowed.
    """
    entries = contents.read_yaml(FILE)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f"{FILE} should be a list of claims, each a mapping of {', '.join(KEYS)}")
    sections, works = contents.sections(), contents.citations()
    claims = [_claim(entry, number, sections, works) for number, entry in enumerate(entries, 1)]
    for name, count in Counter(claim.id for claim in claims).items():
        if count > 1:
            raise InputError(f"{FILE}: id={name!r} is there {count} times; allowed: once")
    return claims


def of_section(section: str) -> list[Claim]:
    """The claims that a section measures."""
    return [claim for claim in load() if claim.section == section]


def _claim(entry: dict, number: int, sections: list[str], works: list[str]) -> Claim:
    where = f"{FILE}, claim {entry.get('id', f'number {number}')}"
    for key, value in entry.items():
        choose(f"key of {where}:", key, KEYS)
        if not isinstance(value, str) or not value.strip():
            raise InputError(f"{where}: {key}={value!r} is not allowed; allowed: text")
    for key in (*NEEDED, *(["cite"] if entry.get("source") != "ours" else [])):
        if key not in entry:
            raise InputError(f"{where}: {key} is missing; needed: {', '.join(NEEDED)}, and cite unless source is ours")
    if not re.fullmatch("[A-Za-z0-9-]+", entry["id"]):
        raise InputError(f"{where}: id={entry['id']!r} is not allowed; allowed: letters, digits and hyphens")
    for key, known in (
        ("section", sections),
        ("source", SOURCES),
        ("cite", works),
        ("over", OVER),
        ("figure", contents.figures(entry["section"])),
    ):
        if key in entry:
            choose(f"{key} of {where}:", entry[key], known)
    try:
        predicate = Predicate.parse(entry["predicate"])
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return Claim(**{**entry, "predicate": predicate})


def verdict(predicate: Predicate, low: float, high: float, n: int, fewest: int = FEWEST) -> str:
    """`predicate.judge`, but `undecided` with fewer than `fewest` values or an interval that is not finite."""
    decided = n >= fewest and math.isfinite(low) and math.isfinite(high)
    return predicate.judge(low, high) if decided else "undecided"


def measured(profile: str) -> dict[str, dict]:
    """What the pages made under a profile have measured, by claim, as `verdicts.judge` put it there.

    In a lab, the record answers for sections that have no such page.
    """
    found = {}
    kept = {entry["id"]: entry for entry in record(profile) or [] if entry["verdict"] != "not run"}
    for section in contents.sections():
        about = contents.about(section)
        if about.get("profile") == profile:
            found |= {entry["id"]: entry for entry in about.get("claims", [])}
        elif settings.mode() == "lab":
            found |= {claim.id: kept[claim.id] for claim in of_section(section) if claim.id in kept}
    return found


def entries(profile: str) -> list[dict]:
    """Every claim's `id`, `statement`, `value`, `low`, `high`, `n`, `verdict` under a profile; None where there is
    none, and the verdict `not run` where nothing has been measured."""
    found = measured(profile)
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
    path = settings.record_dir(profile) / "claims.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def span(row: Mapping, form: str = ".2f") -> str:
    """A `value` (or `mean`) and its interval from `low` to `high` in words, `0.41 (0.35 to 0.47)`; a dash where there
    is none."""
    value, low, high = (row[name] for name in ("mean" if "mean" in row else "value", "low", "high"))
    if value is None or math.isnan(value):
        return "–"
    interval = "" if low is None or math.isnan(low) else f" ({low:{form}} to {high:{form}})"
    return f"{value:{form}}{interval}".replace("-", "−")


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
    beside = agreed if known else f"results/{profile} has no claims.json to compare with"
    return "\n".join([*lines, f"{score(entry['verdict'] for entry in found)}; {beside}"])
