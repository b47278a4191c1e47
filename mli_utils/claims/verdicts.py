"""What the data say of the claims: values in, intervals and verdicts out, for the page and for the ledger."""

import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import pandas as pd

from mli_utils.claims.statements import FEWEST, FILE, Claim, load, verdict
from mli_utils.core import estimates
from mli_utils.core.config import InputError
from mli_utils.core.words import span
from mli_utils.figures.show import glue
from mli_utils.figures.tables import show_table
from mli_utils.runs import settings

TOLERANCE = 0.1  # decides
OTHER_TOLERANCES = (0.05, 0.2)  # their verdicts are shown beside


def judge(measured: Mapping | Callable[..., Mapping], *given, runs: Iterable = ()) -> None:
    """Judge the claims of a section by what it measured: show them in a table, and leave them for the ledger.

    Prose finds each verdict under its claim's id: ``{glue:text}`id` ``.

    Parameters
    ----------
    measured : mapping or callable
        {claim id: values}, for exactly the claims that `book/claims.yml` lists for the section. By the claim's `over`:
        `runs`, a number a run, NaN where there is none; `share`, true or false a run; `bootstrap`, a dict of `mean`,
        `low`, `high`, `n`; `exact`, one number. Or a function `measured(*given, tolerance=τ)` that returns such a
        mapping: τ = 0.1 decides, and the verdicts at 0.05 and 0.2 are shown beside.
    *given : object
        What the function is called with.
    runs : iterable of Run
        The runs that were asked for; those that did not fit are counted as left out.

    Raises
    ------
    InputError
        Claims that are unknown here or missing, or values of the wrong kind; the message names them.
    """

    def at(tolerance: float) -> Mapping:
        return measured(*given, tolerance=tolerance) if callable(measured) else measured

    decisive = at(TOLERANCE)
    listed = _listed(decisive)
    found = {claim.id: _found(claim, decisive[claim.id]) for claim in listed}
    beside = {
        f"{tolerance:g}": {claim.id: _found(claim, other[claim.id])["verdict"] for claim in listed}
        for tolerance in (OTHER_TOLERANCES if callable(measured) else ())
        if _listed(other := at(tolerance))
    }
    left_out = sum(run.summary["status"] != "fitted" for run in runs)
    measurements = [
        {
            "id": claim.id,
            **found[claim.id],
            "left_out": left_out,
            "tolerances": {tolerance: verdicts[claim.id] for tolerance, verdicts in beside.items()},
        }
        for claim in listed
    ]
    rows = [
        {
            "claim": claim.statement,
            "verdict": of_claim["verdict"],
            "asked": str(claim.predicate),
            "value": span(of_claim, ".3g").replace(" to ", "\u00a0to\u00a0"),  # an interval stays in one line
            "n": of_claim["n"],
            **({f"at τ = {', '.join(beside)}": ", ".join(of_claim["tolerances"].values())} if beside else {}),
        }
        for claim, of_claim in zip(listed, measurements, strict=True)
    ]
    show_table(pd.DataFrame(rows), metadata={settings.FIGURE_MARK: {"claims": measurements}}, kind="claims")
    glue(**{of_claim["id"]: of_claim["verdict"] for of_claim in measurements})


def _listed(given: Mapping) -> list[Claim]:
    """The section's claims, which are those given and no others."""
    known = load()
    section = settings.section() or next((claim.section for claim in known if claim.id in given), "")
    listed = [claim for claim in known if claim.section == section]
    names = [claim.id for claim in listed]
    unknown = [name for name in given if name not in names]
    missing = [name for name in names if name not in given]
    if unknown or missing or not listed:
        where = f"{FILE} lists for {section}" if section else f"{FILE} lists"
        said = [
            *([f"unknown {', '.join(map(str, unknown))}"] if unknown else []),
            *([f"missing {', '.join(missing)}"] if missing else []),
        ]
        raise InputError(f"judge: {'; '.join(said) or 'nothing given'}; {where}: {', '.join(names) or 'none'}")
    return listed


def _found(claim: Claim, values) -> dict:
    """`value`, `low`, `high`, `n` and `verdict` of a claim; None in place of what is not finite."""
    summary = SUMMARIES[claim.over](claim, values)
    low, high = (summary["value"], summary["value"]) if claim.over == "exact" else (summary["low"], summary["high"])
    said = verdict(claim.predicate, low, high, summary["n"], 1 if claim.over == "exact" else FEWEST)
    finite = {name: number if math.isfinite(number) else None for name, number in summary.items()}
    return {**finite, "verdict": said}


def _over_runs(claim: Claim, values) -> dict:
    return _renamed(estimates.mean_and_interval(_numbers(claim, values)))


def _share(claim: Claim, values) -> dict:
    yes = _numbers(claim, values)
    yes = yes[np.isfinite(yes)]
    if not np.isin(yes, (0, 1)).all():
        raise InputError(f"judge: {claim.id} is over a share; allowed: true or false a run")
    return _renamed(estimates.share(yes))


def _bootstrap(claim: Claim, values) -> dict:
    if not isinstance(values, Mapping) or set(values) != set(estimates.ESTIMATE):
        raise InputError(f"judge: {claim.id} is over a bootstrap; allowed: a dict of mean, low, high, n")
    return _renamed(values)


def _exact(claim: Claim, value) -> dict:
    number = _numbers(claim, [value])[0]
    return {"value": float(number), "low": math.nan, "high": math.nan, "n": int(np.isfinite(number))}


SUMMARIES = {"runs": _over_runs, "share": _share, "bootstrap": _bootstrap, "exact": _exact}


def _renamed(summary: Mapping) -> dict:
    return {
        "value": float(summary["mean"]),
        "low": float(summary["low"]),
        "high": float(summary["high"]),
        "n": int(summary["n"]),
    }


def _numbers(claim: Claim, values) -> np.ndarray:
    try:
        found = np.asarray(list(values), float)
    except (TypeError, ValueError):
        found = None
    if found is None or found.ndim != 1:
        wanted = "one number" if claim.over == "exact" else "a list of values, one a run"
        raise InputError(f"judge: {claim.id} is over {claim.over}; allowed: {wanted}")
    return found
