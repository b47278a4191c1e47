"""The ledger as a frame, a figure and tables (section 12)."""

import math
from collections.abc import Mapping

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from mli_utils.claims import sources
from mli_utils.claims.ledger import LEVEL, measured, score
from mli_utils.claims.statements import FEWEST, VERDICTS, Claim, Predicate, card, counted, load
from mli_utils.claims.verdicts import OTHER_TOLERANCES
from mli_utils.core.config import InputError
from mli_utils.core.words import span
from mli_utils.figures.style import PALETTE, style
from mli_utils.runs import settings

NUMBERS = ("value", "low", "high", "p", "needed", "left_out")  # float columns of the ledger
EDGE = 1.5  # largest margin drawn
LOOKS = {  # verdict: marker, colour, badge
    "holds": ("o", PALETTE[0], "success"),
    "fails": ("X", PALETTE[1], "danger"),
    "undecided": ("D", PALETTE[2], "warning"),
    "not run": ("s", "0.45", "muted"),
}


def ledger() -> pd.DataFrame:
    """Return every claim of the book with its measurement under the current profile.

    Columns `id`, `section`, `source`, `cite`, `statement`, `quantity`, `predicate`, `can_fail`, `over`, `cluster`,
    `seen`, `figure`, `value`, `low`, `high`, `n` (clusters), `p`, `needed` (clusters that would decide it), `left_out`,
    `verdict`, `corrected` (after Holm's correction), `bound_set` and `first_run` (times), `at 0.05` and `at 0.2`
    (verdicts at other tolerances, empty if the claim depends on none), and `sentence` (predicate and measured value;
    empty if the claim holds).
    """
    found, rows = measured(settings.profile()), []
    for claim in load():
        row = {**vars(claim), "predicate": claim.predicate.words, **found[claim.id]}
        at = row.pop("tolerances")
        row |= {f"at {tolerance:g}": at.get(f"{tolerance:g}", "") for tolerance in OTHER_TOLERANCES}
        times = {name: row[name] or "" for name in ("bound_set", "first_run")}
        rows.append({**row, **times, "n": row["n"] or 0, "sentence": _sentence(claim, row)})
    return pd.DataFrame(rows).drop(columns=["range", "remark"]).astype(dict.fromkeys(NUMBERS, float))


def _sentence(claim: Claim, row: Mapping) -> str:
    """Describe predicate and measured value of a claim, with its remark; empty if the claim holds."""
    asked = f"Asked: {claim.quantity}, {claim.predicate}"
    if row["verdict"] == "holds":
        return ""
    if row["verdict"] == "not run":
        return f"{asked}; nothing was measured under profile {settings.profile()}."
    over = ""
    if claim.over != "exact":
        over = f" over {counted(row['n'], claim.cluster)}"
        over += f", and {FEWEST} are needed" if row["n"] < FEWEST else ""
    return f"{asked}; found: {span(row, '.3g')}{over}. {claim.remark}".strip()


def by_section(ledger: pd.DataFrame) -> pd.DataFrame:
    """Count claims, verdicts and left-out runs, one row per section."""
    profiles = {section: sources.about(section).get("profile", "–") for section in ledger.section.unique()}
    counts = pd.crosstab(ledger.section, ledger.verdict).reindex(columns=VERDICTS, fill_value=0)
    counts.columns = ["hold", "fail", "undecided", "not_run"]
    counts.insert(0, "claims", counts.sum(axis=1))
    counts.insert(0, "profile", pd.Series(profiles))
    return counts.join(ledger.groupby("section").left_out.max()).reset_index()


def numbers(ledger: pd.DataFrame) -> dict[str, int | str]:
    """Return the numbers in the text of section 12."""
    decided = ledger.verdict.isin(["holds", "fails"])
    tested = decided & (ledger.over != "exact")
    short = (ledger.n < ledger.needed.fillna(math.inf)) & (ledger.verdict != "not run")
    return {
        "claims": len(ledger),
        "score": score(ledger.verdict),
        "corrected": score(ledger.corrected),
        "lost": int((decided & (ledger.corrected == "undecided")).sum()),
        "tested": int(tested.sum()),
        "wrong": LEVEL * tested.sum(),
        "undecided_by_design": int((short & ~decided).sum()),
        "bound_first": int((ledger.bound_set.ne("") & (ledger.bound_set < ledger.first_run)).sum()),
        "of_the_paper": score(ledger.verdict[ledger.cite == "wang2023"]),
        "ours": score(ledger.verdict[ledger.source == "ours"]),
    }


def margins(ledger: pd.DataFrame) -> pd.DataFrame:
    """Add `margin`, `margin_low`, `margin_high`: signed distances of value and interval from the predicate's bound.

    Margins are positive where the claim is true. For "above X" and "below X" the distance is divided by the larger of
    |X| and |value|, so X = 0 gives ±1. For "between X and Y" the distance from the nearer bound is divided by
    (Y − X)/2.
    """
    rows = [_margins(Predicate.parse(row.predicate), row.value, row.low, row.high) for row in ledger.itertuples()]
    names = ["margin", "margin_low", "margin_high"]
    return ledger.join(pd.DataFrame(rows, columns=names, index=ledger.index, dtype=float))


def _margins(asked: Predicate, value: float, low: float, high: float) -> tuple[float, float, float]:
    low, high = (value if math.isnan(end) else end for end in (low, high))
    middle = (asked.low + asked.high) / 2
    if math.isfinite(middle):
        scale = (asked.high - asked.low) / 2
    else:
        bound = asked.low if math.isfinite(asked.low) else asked.high
        scale = max(abs(bound), abs(value)) or max(abs(low), abs(high)) or 1.0
    at, *ends = (min(number - asked.low, asked.high - number) / scale for number in (value, low, high))
    return at, min(ends), 1.0 if low < middle < high else max(ends)


def ledger_figure(ledger: pd.DataFrame) -> Figure:
    """Plot the margin of each claim with its interval, marked by verdict; right of zero the claim is true.

    Margins are clipped to ±1.5.

    Raises
    ------
    InputError
        The ledger is empty.
    """
    if ledger.empty:
        raise InputError("no claim to draw; allowed: a ledger with at least one")
    frame = margins(ledger).reset_index(drop=True)
    edges = frame.index[frame.section != frame.section.shift()][1:] - 0.5
    with style():
        figure, axes = plt.subplots(figsize=(8.2, 0.9 + 0.24 * len(frame)), layout="constrained")
        axes.axvline(0, color="0.4", lw=1)
        axes.hlines(edges, -EDGE, EDGE, color="0.75", lw=0.8)
        for verdict, (marker, colour, _) in LOOKS.items():
            rows = frame[frame.verdict == verdict]
            if rows.empty:
                continue
            drawn = rows[["margin", "margin_low", "margin_high"]].clip(-EDGE, EDGE)
            axes.hlines(rows.index, drawn.margin_low, drawn.margin_high, color=colour, lw=2.2, alpha=0.7, zorder=3)
            middles = axes.scatter(drawn.margin.fillna(0), rows.index, s=36, marker=marker, color=colour, label=verdict)
            middles.set(zorder=3, facecolor="white" if verdict == "not run" else colour)
        axes.set_yticks(frame.index, frame.id, fontsize=9)
        axes.set(xlim=(-EDGE, EDGE), ylim=(len(frame) - 0.5, -0.5), xlabel="margin: false ← → true")
        axes.set_xticks([-1, 0, 1], ["−1", "bound", "+1"])
        figure.legend(loc="outside upper center", ncol=4)
    return figure


def show_ledger(ledger: pd.DataFrame) -> None:
    """Display one table per section with links to figures, then a sentence for each claim that does not hold."""
    from IPython.display import Markdown, display

    for section, rows in ledger.groupby("section", sort=False):
        lines = [
            f"**{{doc}}`{section}`**",
            "",
            "| claim | verdict | corrected | asked | found | n | needed | bound set | τ = 0.05, 0.2 | figure |",
            "|---|---|---|---|---|---|---|---|---|---|",
            *map(_row, rows.to_dict("records")),
            "",
            *(f"- *{row.statement}* {row.sentence}" for row in rows.itertuples() if row.sentence),
        ]
        display(Markdown("\n".join(lines)))


def _row(row: dict) -> str:
    source = "ours" if row["source"] == "ours" else f"{row['source']}, {{cite:t}}`{row['cite']}`"
    count = counted(row["n"], row["cluster"]) if row["n"] else "–"
    count += f" ({row['left_out']:.0f} left out)" if row["n"] and row["left_out"] > 0 else ""
    cells = (
        f'<span id="{card(row["id"])}"></span>{row["statement"]} ({source})',
        *(f"{{bdg-{LOOKS[row[name]][2]}}}`{row[name]}`" for name in ("verdict", "corrected")),
        f"{row['quantity']}: {Predicate.parse(row['predicate'])}",
        span(row, ".3g"),
        count,
        _needed(row),
        _when(row),
        ", ".join(filter(None, (row["at 0.05"], row["at 0.2"]))) or "–",
        f"{{numref}}`{row['figure']}`",
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _needed(row: dict) -> str:
    """Say how many clusters would decide a claim, as the pilot found its quantity."""
    if row["over"] == "exact":
        return "–"
    return "over 10,000" if math.isnan(row["needed"]) else f"{row['needed']:.0f}"


def _when(row: dict) -> str:
    """Return the day on which a bound was set, and whether that was before the first run of its section."""
    if not row["bound_set"]:
        return "not committed"
    before = "before" if row["bound_set"] < row["first_run"] else "after"
    seen = f", results of {row['seen']} seen" if row["seen"] else ""
    return row["bound_set"][:10] + (f", {before} the first run" if row["first_run"] else "") + seen
