"""What was fixed before the runs: how many clusters a claim needs, and when its bound was written."""

import functools
import json
import math
import subprocess
from collections.abc import Mapping

import scipy  # loads scipy.stats, which takes a second, when first asked for it

from mli_utils.claims import sources
from mli_utils.claims.statements import FEWEST, FILE, Claim
from mli_utils.core.estimates import TAILS, needed
from mli_utils.runs import provenance, settings
from mli_utils.runs.files import write_atomically

PROFILE, PILOT = "pilot", "book/pilot.json"  # claims as measured on seeds 0 to 199: `make pilot` writes them


def pilot() -> dict[str, dict]:
    """Return what the pilot runs found of each claim: `value`, `low`, `high`, `n` by id; empty without a pilot."""
    try:
        return json.loads((settings.root() / PILOT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}


def write_pilot(entries: list[dict]) -> None:
    """Write the pilot's findings, as `ledger.entries` returns them."""
    kept = {entry["id"]: {name: entry[name] for name in ("value", "low", "high", "n")} for entry in entries}
    lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(found)}" for name, found in kept.items())
    write_atomically(settings.root() / PILOT, f"{{\n{lines}\n}}\n".encode())


def clusters_needed(claim: Claim, found: Mapping | None) -> int | None:
    """Return how many clusters decide a claim in four of five experiments, if its quantity is as the pilot found it.

    None: more than 10,000, or the pilot found nothing. A claim over an exact quantity needs one.
    """
    if claim.over == "exact":
        return 1
    if not found or found["value"] is None or found["low"] is None or found["n"] < 2:
        return None
    half = max(found["value"] - found["low"], found["high"] - found["value"])
    spread = half * math.sqrt(found["n"]) / scipy.stats.t.ppf(TAILS[1], found["n"] - 1)
    enough = needed(found["value"], spread, filter(math.isfinite, (claim.predicate.low, claim.predicate.high)))
    return enough and max(FEWEST, enough)


@functools.cache
def bounds_set() -> dict[str, str]:
    """Return, by claim id, when its quantity and predicate got their present words: the time of a commit, in UTC.

    Empty where git knows nothing of the file; a claim with uncommitted words is missing.
    """
    unchanged, found = _words(sources.read_yaml(FILE)), {}
    for commit, date in provenance.history(FILE):
        then = _at(commit)
        unchanged = {name: words for name, words in unchanged.items() if then.get(name) == words}
        if not unchanged:
            break
        found |= dict.fromkeys(unchanged, date)
    return found


def _words(entries: list[dict]) -> dict[str, tuple]:
    return {entry["id"]: (entry["quantity"], entry["predicate"]) for entry in entries}


def _at(commit: str) -> dict[str, tuple]:
    """Return the words of every claim at a commit."""
    try:
        return _words(sources.parse_yaml(provenance.file_at(commit, FILE)))
    except (OSError, ValueError, KeyError, TypeError, subprocess.CalledProcessError):
        return {}
