"""The book's claims, read from `book/claims.yml`."""

import math
import re
from collections import Counter
from dataclasses import MISSING, dataclass, fields

from mli_utils.claims import sources
from mli_utils.core.config import InputError, choose

FILE = "book/claims.yml"
SOURCES = {  # where a statement is from: heading of such claims in the ledger
    "abstract": "What the paper states",
    "section": "What the paper is reported to state",
    "neighbour": "What the works around it state",
    "ours": "What this book adds",
}
OVER = {  # kind of estimate: values that a section passes
    "mean": "a Series of numbers, whose index names the cluster of each",
    "share": "a Series of true or false, whose index names the cluster of each",
    "estimate": "a dict of mean, low, high, n",
    "exact": "one number",
}
# What n counts. Rows that share a seed (initialization and batches), a network or a draw of noise are one cluster.
CLUSTERS = ("seed", "network", "draw", "none")
BADGES = {"holds": "✓ holds", "fails": "✗ fails", "undecided": "? undecided", "not run": "– not run"}  # by verdict
VERDICTS = tuple(BADGES)
FEWEST = 5  # fewest clusters for a verdict
NUMBER = r"([+-]?\d+\.?\d*(?:[eE][+-]?\d+)?)"


@dataclass(frozen=True)
class Predicate:
    """An open interval (`low`, `high`) and its words, which `str` returns."""

    low: float
    high: float
    words: str

    def __str__(self) -> str:
        return self.words.replace("-", "−")  # a minus, not a hyphen

    @classmethod
    def parse(cls, words: str) -> "Predicate":
        """Parse `above X`, `below X` or `between X and Y`.

        Raises
        ------
        InputError
            Other words, or X ≥ Y.
        """
        if found := re.fullmatch(f"(above|below) {NUMBER}", words):
            bound = float(found[2])
            return cls(bound, math.inf, words) if found[1] == "above" else cls(-math.inf, bound, words)
        found = re.fullmatch(f"between {NUMBER} and {NUMBER}", words)
        if found and (low := float(found[1])) < (high := float(found[2])):
            return cls(low, high, words)
        raise InputError(f"predicate={words!r} is not allowed; allowed: above X, below X, between X and Y with X < Y")

    def judge(self, low: float, high: float) -> str:
        """Return `holds` if the interval lies inside, `fails` if it lies outside, else `undecided`."""
        if self.low < low and high < self.high:
            return "holds"
        if high <= self.low or low >= self.high:
            return "fails"
        return "undecided"


def parse_range(words: str) -> tuple[float, float]:
    """Parse the range of a quantity: `X to Y`, `X up`, or `any`.

    Raises
    ------
    InputError
        Other words, or X ≥ Y.
    """
    if words == "any":
        return -math.inf, math.inf
    if found := re.fullmatch(f"{NUMBER} up", words):
        return float(found[1]), math.inf
    if (found := re.fullmatch(f"{NUMBER} to {NUMBER}", words)) and (low := float(found[1])) < (high := float(found[2])):
        return low, high
    raise InputError(f"range={words!r} is not allowed; allowed: X to Y with X < Y, X up, any")


@dataclass(frozen=True)
class Claim:
    """A statement and its test, from `book/claims.yml`; missing optional keys are empty."""

    id: str
    section: str  # the notebook that measures it
    source: str  # one of SOURCES
    statement: str
    quantity: str  # the judged number, its unit and its runs
    predicate: Predicate
    can_fail: str  # what would make it fail
    over: str  # key of OVER
    cluster: str  # one of CLUSTERS
    range: tuple[float, float]  # of the quantity
    figure: str  # shown by the section
    cite: str = ""  # a key of references.bib
    remark: str = ""  # shown unless the verdict is `holds`
    seen: str = ""  # profile whose results were seen before the bound was set


KEYS = tuple(field.name.replace("_", " ") for field in fields(Claim))
NEEDED = tuple(field.name.replace("_", " ") for field in fields(Claim) if field.default is MISSING)


def load() -> list[Claim]:
    """Load all claims, in the order of the file.

    Raises
    ------
    InputError
        The file is no list of claims, a key or id is unknown, missing or repeated, or a value is not allowed; the
        message names the claim, the key and the allowed values.
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
        ("cluster", CLUSTERS),
        ("figure", sources.figures(entry["section"])),
    ):
        if key in entry:
            choose(f"{key} of {where}:", entry[key], known)
    if (entry["over"] == "exact") != (entry["cluster"] == "none"):
        raise InputError(
            f"{where}: cluster={entry['cluster']!r} is not allowed; allowed: none if over is exact, else a cluster"
        )
    try:
        parsed = {"predicate": Predicate.parse(entry["predicate"]), "range": parse_range(entry["range"])}
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return Claim(**{key.replace(" ", "_"): parsed.get(key, value) for key, value in entry.items()})


def counted(n: int, cluster: str) -> str:
    """Return a number of clusters in words: `20 seeds`; a dash where nothing is drawn at random."""
    return "–" if cluster == "none" else f"{n}\u00a0{cluster}{'s' * (n != 1)}"


def card(claim: str) -> str:
    """Return the anchor of a claim's card in the ledger."""
    return f"claim-{claim}"
