"""What the book claims, `book/claims.yml`."""

import math
import re
from collections import Counter
from dataclasses import dataclass

from mli_utils.claims import sources
from mli_utils.core.config import InputError, choose

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
    entries = sources.read_yaml(FILE)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f"{FILE} should be a list of claims, each a mapping of {', '.join(KEYS)}")
    sections, works = sources.sections(), sources.citations()
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
        ("figure", sources.figures(entry["section"])),
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
