"""The account of what became of the claims, as a frame, a figure and tables (section 12)."""

import math
from collections.abc import Mapping
from dataclasses import asdict

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from mli_utils.claims.ledger import measured
from mli_utils.claims.statements import FEWEST, VERDICTS, Claim, Predicate, load
from mli_utils.claims.verdicts import OTHER_TOLERANCES
from mli_utils.core.config import InputError
from mli_utils.core.words import span
from mli_utils.figures.style import PALETTE, style
from mli_utils.runs import settings

NUMBERS = ("value", "low", "high", "left_out")  # columns of the ledger


def ledger() -> pd.DataFrame:
    """Every claim of the book with what the pages of the current profile measured.

    Columns `id`, `section`, `source`, `cite`, `statement`, `quantity`, `predicate`, `figure`, `value`, `low`, `high`,
    `n`, `left_out`, `verdict`, `at 0.05` and `at 0.2` (verdicts at other tolerances, empty where the claim does
    not depend on one), and `sentence`: where the verdict is not `holds`, what was asked and what was found.
    """
    found = measured(settings.profile())
    never = {"value": None, "low": None, "high": None, "n": 0, "left_out": None, "verdict": "not run"}
    rows = []
    for claim in load():
        said = found.get(claim.id, never)
        row = asdict(claim) | {"predicate": claim.predicate.words} | {name: said.get(name) for name in never}
        at = said.get("tolerances", {})
        row |= {f"at {tolerance:g}": at.get(f"{tolerance:g}", "") for tolerance in OTHER_TOLERANCES}
        rows.append(row | {"sentence": _sentence(claim, row)})
    return pd.DataFrame(rows).drop(columns=["over", "remark"]).astype(dict.fromkeys(NUMBERS, float))


def _sentence(claim: Claim, row: Mapping) -> str:
    """What was asked and what was found, and the claim's remark; empty where the claim holds."""
    asked = f"Asked: {claim.quantity}, {claim.predicate}"
    if row["verdict"] == "holds":
        return ""
    if row["verdict"] == "not run":
        return f"{asked}; nothing was measured under profile {settings.profile()}."
    few = f", and {FEWEST} are needed" if claim.over != "exact" and row["n"] < FEWEST else ""
    over = "" if claim.over == "exact" else f" over {row['n']} {'value' if row['n'] == 1 else 'values'}{few}"
    return f"{asked}; found: {span(row, '.3g')}{over}. {claim.remark}".strip()


SHORTEST, LONGEST = -1.5, 1.5  # of margins that are drawn
MARKERS = dict(zip(VERDICTS, ("o", "X", "D", "s"), strict=True))
BADGES = dict(zip(VERDICTS, ("success", "danger", "warning", "muted"), strict=True))


def margins(ledger: pd.DataFrame) -> pd.DataFrame:
    """The ledger with `margin`, `margin_low`, `margin_high`: how far a value and its interval are on the right side.

    The margin of a number for "above X" is its distance from X over the larger of |X| and the |value| found: 0 on the
    bound, 1 for any value where X = 0 and the claim is true. For "between X and Y" it is the distance from the nearer
    bound over half the distance of the bounds.
    """
    rows = [_margins(Predicate.parse(row.predicate), row.value, row.low, row.high) for row in ledger.itertuples()]
    names = ["margin", "margin_low", "margin_high"]
    return ledger.join(pd.DataFrame(rows, columns=names, index=ledger.index, dtype=float))


def _margins(predicate: Predicate, value: float, low: float, high: float) -> tuple[float, float, float]:
    low, high = (value if math.isnan(low) else low), (value if math.isnan(high) else high)
    if math.isfinite(predicate.low) and math.isfinite(predicate.high):
        middle, half = (predicate.low + predicate.high) / 2, (predicate.high - predicate.low) / 2
        at, *ends = (1 - abs(number - middle) / half for number in (value, low, high))
        return at, min(ends), 1.0 if low < middle < high else max(ends)
    sign, bound = (1, predicate.low) if math.isfinite(predicate.low) else (-1, predicate.high)
    scale = max(abs(bound), abs(value)) or max(abs(low), abs(high)) or 1.0
    at, *ends = (sign * (number - bound) / scale for number in (value, low, high))
    return at, min(ends), max(ends)


def ledger_figure(ledger: pd.DataFrame) -> Figure:
    """A line a claim: its margin and the interval of it, marked by verdict; right of zero the claim is true.

    Margins beyond ±1.5 are cut off.

    Raises
    ------
    InputError
        A ledger without
    """
    if ledger.empty:
        raise InputError("no claim to draw; allowed: a ledger with at least one")
    frame = margins(ledger).reset_index(drop=True)
    colours = dict(zip(VERDICTS, [*PALETTE[:3], "0.45"], strict=True))
    with style():
        figure, axes = plt.subplots(figsize=(8.2, 0.9 + 0.24 * len(frame)), layout="constrained")
        axes.axvline(0, color="0.4", lw=1)
        for said, rows in frame.groupby("verdict", sort=False):
            ends = rows[["margin_low", "margin_high"]].clip(SHORTEST, LONGEST)
            look = {"color": colours[said], "zorder": 3}
            axes.hlines(rows.index, ends.margin_low, ends.margin_high, lw=2.2, alpha=0.7, **look)
            places = rows.margin.fillna(0).clip(SHORTEST, LONGEST)
            hollow = {"facecolor": "white"} if said == "not run" else {}
            axes.scatter(
                places, rows.index, s=36, marker=MARKERS[said], edgecolor=colours[said], label=said, **look | hollow
            )
        axes.set_yticks(frame.index, frame.id, fontsize=9)
        axes.set(xlim=(SHORTEST, LONGEST), ylim=(len(frame) - 0.5, -0.5))
        axes.set_xticks([-1, 0, 1], ["−1", "bound", "+1"])
        axes.set_xlabel("margin: false ← → true")
        for place in frame.index[frame.section != frame.section.shift()][1:]:
            axes.axhline(place - 0.5, color="0.75", lw=0.8)
        handles, names = axes.get_legend_handles_labels()
        order = sorted(range(len(names)), key=lambda i: VERDICTS.index(names[i]))
        figure.legend([handles[i] for i in order], [names[i] for i in order], loc="outside upper center", ncol=4)
    return figure


def show_ledger(ledger: pd.DataFrame) -> None:
    """Display the ledger as the book has it: a table a section with links to figures, and below it a sentence for
    each claim that does not hold."""
    from IPython.display import Markdown, display

    for section, rows in ledger.groupby("section", sort=False):
        lines = [
            f"**{{doc}}`{section}`**",
            "",
            "| claim | verdict | asked | found | n | τ = 0.05, 0.2 | figure |",
            "|---|---|---|---|---|---|---|",
            *(_row(row) for row in rows.to_dict("records")),
            "",
            *(f"- *{row.statement}* {row.sentence}" for row in rows.itertuples() if row.sentence),
        ]
        display(Markdown("\n".join(lines)))


def _row(row: dict) -> str:
    source = "ours" if row["source"] == "ours" else f"{row['source']}, {{cite:t}}`{row['cite']}`"
    count = str(row["n"]) + (f" ({row['left_out']:.0f} left out)" if row["left_out"] > 0 else "")
    at = ", ".join(row[name] for name in ("at 0.05", "at 0.2") if row[name])
    cells = (
        f"{row['statement']} ({source})",
        f"{{bdg-{BADGES[row['verdict']]}}}`{row['verdict']}`",
        f"{row['quantity']}: {Predicate.parse(row['predicate'])}",
        span(row, ".3g"),
        count if row["n"] else "–",
        at or "–",
        f"{{numref}}`{row['figure']}`",
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
