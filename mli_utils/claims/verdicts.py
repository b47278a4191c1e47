"""Judge a section's claims: from values to intervals and verdicts, for the page and the ledger."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import pandas as pd
import scipy  # loads scipy.stats, which takes a second, when first asked for it

from mli_utils.claims.statements import CLUSTERS, FEWEST, FILE, OVER, Claim, Predicate, counted, load
from mli_utils.core.config import InputError
from mli_utils.core.estimates import ESTIMATE, TAILS, clustered_mean, clustered_share
from mli_utils.core.words import span
from mli_utils.figures.tables import show_table
from mli_utils.runs import settings

TOLERANCE = 0.1  # of plateaus, for the verdict
OTHER_TOLERANCES = (0.05, 0.2)  # verdicts shown for comparison
NEAR = 1e-9  # rounding of a quantity at the edge of its range


def judge(measured: Mapping | Callable[..., Mapping], *given, runs: Iterable = (), left_out: int = 0) -> None:
    """Judge a section's claims by its measurements, display them in a table and pass them to the ledger.

    Prose quotes a verdict by its claim's id: ``{verdict}`id```, a badge.

    Parameters
    ----------
    measured : mapping or callable
        {claim id: values} for exactly the section's claims in `book/claims.yml`. The values depend on the claim's
        `over`: `mean` and `share`, a Series of numbers (NaN if missing) or of true and false, with the claim's cluster
        among the levels of its index; `estimate`, a dict of `mean`, `low`, `high`, `n`; `exact`, one number. Or a
        function `measured(*given, tolerance=τ)` that returns such a mapping: verdicts use τ = 0.1; those at 0.05 and
        0.2 are shown for comparison.
    *given : object
        Positional arguments of the function.
    runs : iterable of Run
        All requested runs; those that did not fit count as left out.
    left_out : int
        Networks that did not fit and are no runs.

    Raises
    ------
    InputError
        Claims are unknown or missing, values have the wrong kind, leave the quantity's range, or share a cluster that
        the claim does not name; the message names them.
    """
    known = load()
    if callable(measured):
        found, *beside = (_judged(measured(*given, tolerance=one), known) for one in (TOLERANCE, *OTHER_TOLERANCES))
    else:
        found, beside = _judged(measured, known), []
    left_out = int(left_out) + sum(run.summary["status"] != "fitted" for run in runs)
    measurements, rows = [], []
    for claim, of_claim in found.items():
        others = [other[claim] for other in beside]
        depends = any(other != of_claim for other in others)
        verdicts = [other["verdict"] for other in others if depends]
        tolerances = dict(zip(map("{:g}".format, OTHER_TOLERANCES), verdicts, strict=False))
        measurements.append({"id": claim.id, **of_claim, "left_out": left_out, "tolerances": tolerances})
        rows.append(
            {
                "claim": claim.statement,
                "verdict": of_claim["verdict"],
                "asked": str(claim.predicate),
                "value": span(of_claim, ".3g").replace(" to ", "\u00a0to\u00a0"),  # keeps an interval on one line
                "n": counted(of_claim["n"], claim.cluster),
                **({f"at τ = {', '.join(tolerances)}": ", ".join(verdicts)} if verdicts else {}),
            }
        )
    show_table(pd.DataFrame(rows), metadata={settings.FIGURE_MARK: {"claims": measurements}}, kind="claims")


def _judged(given: Mapping, known: Sequence[Claim]) -> dict[Claim, dict]:
    """Return `value`, `low`, `high`, `n`, `p` and `verdict` of each of the section's claims; None if not finite."""
    section = settings.section() or next((claim.section for claim in known if claim.id in given), "")
    listed = {claim.id: claim for claim in known if claim.section == section}
    if set(given) != set(listed) or not listed:
        wrong = {"unknown": [n for n in given if n not in listed], "missing": [n for n in listed if n not in given]}
        said = "; ".join(f"{fault} {', '.join(map(str, names))}" for fault, names in wrong.items() if names)
        where = f"{FILE} lists{f' for {section}' if section else ''}: {', '.join(listed) or 'none'}"
        raise InputError(f"judge: {said or 'nothing given'}; {where}")
    return {claim: _found(claim, given[name]) for name, claim in listed.items()}


def _found(claim: Claim, values) -> dict:
    try:
        found = _estimate(claim, values)
        estimate = {name: (int if name == "n" else float)(found[name]) for name in ESTIMATE}
    except InputError:
        raise
    except (TypeError, ValueError, OverflowError, AttributeError):
        raise InputError(f"judge: {claim.id} is over {claim.over}; allowed: {OVER[claim.over]}") from None
    value, low, high, n = (estimate[name] for name in ESTIMATE)
    numbers = {"value": value, "low": low, "high": high}
    for name, number in numbers.items():
        if number < claim.range[0] - NEAR or number > claim.range[1] + NEAR:
            raise InputError(
                f"judge: {claim.id}: {name}={number:g} is outside the range of its quantity, {claim.range}"
            )
    exact = claim.over == "exact"
    ends = (value, value) if exact else (low, high)
    decided = (exact or n >= FEWEST) and all(map(math.isfinite, ends))
    return {
        **{name: number if math.isfinite(number) else None for name, number in numbers.items()},
        "n": n,
        "p": p_value(estimate, claim.predicate) if decided and not exact else None,
        "verdict": claim.predicate.judge(*ends) if decided else "undecided",
    }


def _estimate(claim: Claim, values) -> Mapping:
    """Return `mean`, `low`, `high`, `n` of a claim's values; TypeError or ValueError if they do not fit `over`."""
    if claim.over == "estimate":
        if set(values) != set(ESTIMATE):
            raise ValueError
        return values
    if claim.over == "exact":
        return {"mean": float(values), "low": math.nan, "high": math.nan, "n": int(math.isfinite(values))}
    numbers, named = values.astype(float), set(values.index.names)
    one_each = "seed" in named and numbers.index.unique("seed").size == numbers.size  # then networks share no seed
    if claim.cluster == "network" and "network" not in named and one_each:
        numbers = numbers.rename_axis(index={"seed": "network"})
    _check_clusters(claim, numbers.dropna().index)
    if claim.over == "share":
        if not numbers.dropna().isin((0, 1)).all():
            raise ValueError
        return clustered_share(numbers, claim.cluster)
    return clustered_mean(numbers, claim.cluster, claim.range)


def _check_clusters(claim: Claim, index: pd.Index) -> None:
    """Raise InputError unless the index names the claim's clusters, and no two of them share another cluster."""
    known = [name for name in index.names if name in CLUSTERS]
    if claim.cluster not in known:
        raise InputError(f"judge: {claim.id} counts {claim.cluster}s; the index of its values has {index.names}")
    levels = index.to_frame(index=False)[known].drop_duplicates()
    for other in known:
        if levels.groupby(other)[claim.cluster].nunique().gt(1).any():
            raise InputError(
                f"judge: {claim.id} counts {claim.cluster}s, but some of them share a {other}; count {other}s"
            )


def p_value(estimate: Mapping, predicate: Predicate) -> float:
    """Return the probability of so clear an answer if the truth lay on the predicate's bound (two-sided).

    From the distance of the estimate from the bound in units of its interval's half on that side, by Student's t at
    n − 1 degrees of freedom; of two bounds the larger probability where the estimate lies between, and the nearer one's
    where it does not.
    """
    value, low, high, n = (estimate[name] for name in ESTIMATE)
    bounds = filter(math.isfinite, (predicate.low, predicate.high))
    sides = [(abs(value - bound), value - low if bound < value else high - value) for bound in bounds]
    ratios = [distance / half if half > 0 else math.inf if distance else 0.0 for distance, half in sides]
    return float(2 * scipy.stats.t.sf(min(ratios) * scipy.stats.t.ppf(TAILS[1], n - 1), n - 1))
