"""Judge a section's claims: from values to intervals and verdicts, for the page and the ledger."""

import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import pandas as pd

from mli_utils.claims.statements import FEWEST, FILE, OVER, Claim, load
from mli_utils.core.config import InputError
from mli_utils.core.estimates import ESTIMATE, mean_and_interval, share
from mli_utils.core.words import span
from mli_utils.figures.show import glue
from mli_utils.figures.tables import show_table
from mli_utils.runs import settings

TOLERANCE = 0.1  # of plateaus, for the verdict
OTHER_TOLERANCES = (0.05, 0.2)  # verdicts shown for comparison


def judge(measured: Mapping | Callable[..., Mapping], *given, runs: Iterable = ()) -> None:
    """Judge a section's claims by its measurements, display them in a table and pass them to the ledger.

    Prose quotes a verdict by its claim's id: ``{glue:text}`id```.

    Parameters
    ----------
    measured : mapping or callable
        {claim id: values} for exactly the section's claims in `book/claims.yml`. The values depend on the claim's
        `over`: `runs`, one number per run, NaN if missing; `share`, true or false per run; `bootstrap`, a dict of
        `mean`, `low`, `high`, `n`; `exact`, one number. Or a function `measured(*given, tolerance=τ)` that returns
        such a mapping: verdicts use τ = 0.1; those at 0.05 and 0.2 are shown for comparison.
    *given : object
        Positional arguments of the function.
    runs : iterable of Run
        All requested runs; those that did not fit count as left out.

    Raises
    ------
    InputError
        Claims are unknown or missing, or values have the wrong kind; the message names them.
    """
    if callable(measured):
        found, *beside = (_judged(measured(*given, tolerance=one)) for one in (TOLERANCE, *OTHER_TOLERANCES))
    else:
        found, beside = _judged(measured), []
    left_out = sum(run.summary["status"] != "fitted" for run in runs)
    measurements, rows = [], []
    for claim, of_claim in found.items():
        verdicts = [other[claim]["verdict"] for other in beside]
        tolerances = dict(zip(map("{:g}".format, OTHER_TOLERANCES), verdicts, strict=False))
        measurements.append({"id": claim.id, **of_claim, "left_out": left_out, "tolerances": tolerances})
        rows.append(
            {
                "claim": claim.statement,
                "verdict": of_claim["verdict"],
                "asked": str(claim.predicate),
                "value": span(of_claim, ".3g").replace(" to ", "\u00a0to\u00a0"),  # keeps an interval on one line
                "n": of_claim["n"],
                **({f"at τ = {', '.join(tolerances)}": ", ".join(verdicts)} if verdicts else {}),
            }
        )
    show_table(pd.DataFrame(rows), metadata={settings.FIGURE_MARK: {"claims": measurements}}, kind="claims")
    glue({claim.id: of_claim["verdict"] for claim, of_claim in found.items()})


def _judged(given: Mapping) -> dict[Claim, dict]:
    """Return `value`, `low`, `high`, `n` and `verdict` of each of the section's claims; None if not finite."""
    known = load()
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
        estimate = _estimate(claim.over, values)
    except (TypeError, ValueError):
        raise InputError(f"judge: {claim.id} is over {claim.over}; allowed: {OVER[claim.over]}") from None
    value, low, high = (float(estimate[name]) for name in ("mean", "low", "high"))
    ends, fewest = ((value, value), 1) if claim.over == "exact" else ((low, high), FEWEST)
    decided = estimate["n"] >= fewest and all(map(math.isfinite, ends))
    numbers = {"value": value, "low": low, "high": high}
    return {
        **{name: number if math.isfinite(number) else None for name, number in numbers.items()},
        "n": int(estimate["n"]),
        "verdict": claim.predicate.judge(*ends) if decided else "undecided",
    }


def _estimate(over: str, values) -> Mapping:
    """Return `mean`, `low`, `high`, `n` of a claim's values; TypeError or ValueError if they do not fit `over`."""
    if over == "bootstrap":
        if set(values) != set(ESTIMATE):
            raise ValueError
        return values
    numbers = np.asarray([values] if over == "exact" else list(values), float)
    finite = np.isfinite(numbers)
    if numbers.ndim != 1 or (over == "share" and not np.isin(numbers[finite], (0, 1)).all()):
        raise ValueError
    if over == "exact":
        return {"mean": numbers[0], "low": math.nan, "high": math.nan, "n": finite.sum()}
    return share(numbers) if over == "share" else mean_and_interval(numbers)
