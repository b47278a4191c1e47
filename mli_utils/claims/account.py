"""The ledger as a frame, a figure and cards (section 12)."""

import math
from collections.abc import Mapping

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from mli_utils.claims import sources
from mli_utils.claims.ledger import LEVEL, measured, score
from mli_utils.claims.statements import BADGES, FEWEST, SOURCES, VERDICTS, Predicate, card, counted, load
from mli_utils.claims.verdicts import OTHER_TOLERANCES
from mli_utils.core.config import InputError
from mli_utils.core.words import span
from mli_utils.figures.kinds import label_rows
from mli_utils.figures.style import NARROW, PALETTE, style
from mli_utils.runs import settings

NUMBERS = ("value", "low", "high", "p", "needed", "left_out")  # float columns of the ledger
EDGE = 1.5  # largest margin drawn
TITLE = 2.4  # room for a section's name above its claims, in rows
LOOKS = {  # verdict: marker, colour
    "holds": ("o", PALETTE[0]),
    "fails": ("X", PALETTE[1]),
    "undecided": ("D", PALETTE[2]),
    "not run": ("s", "0.45"),
}
OTHER = "other profile"  # of a mark
ORDER = ("fails", "undecided", "holds", "not run")  # of cards: what was learned first


def ledger() -> pd.DataFrame:
    """Return every claim of the book with its measurement under the current profile.

    Columns `id`, `section`, `source`, `cite`, `statement`, `quantity`, `predicate`, `can_fail`, `over`, `cluster`,
    `remark`, `seen`, `figure`, `value`, `low`, `high`, `n` (clusters), `p`, `needed` (clusters that would decide it),
    `left_out`, `verdict`, `corrected` (after Holm's correction), `bound_set` and `first_run` (times), `at 0.05` and
    `at 0.2` (verdicts at other tolerances, empty if the claim depends on none), `profile` (of the section's page),
    `others` (what the records of other profiles have of the claim, by profile).
    """
    found, rows = measured(settings.profile()), []
    for claim in load():
        row = {**vars(claim), "predicate": claim.predicate.words, **found[claim.id]}
        at = row.pop("tolerances")
        rows.append(row | {f"at {one:g}": at.get(f"{one:g}", "") for one in OTHER_TOLERANCES})
    frame = pd.DataFrame(rows).drop(columns="range").fillna({"bound_set": "", "first_run": "", "n": 0})
    return frame.astype({**dict.fromkeys(NUMBERS, float), "n": int})


def by_section(ledger: pd.DataFrame) -> pd.DataFrame:
    """Count claims, verdicts and left-out runs, one row per section."""
    counts = pd.crosstab(ledger.section, ledger.verdict).reindex(columns=VERDICTS, fill_value=0)
    counts.columns = ["hold", "fail", "undecided", "not_run"]
    counts.insert(0, "claims", counts.sum(axis=1))
    of_section = ledger.groupby("section")
    counts.insert(0, "profile", of_section.profile.first().where(counts.not_run < counts.claims, "–"))
    return counts.join(of_section.left_out.max()).reset_index()


def numbers(ledger: pd.DataFrame) -> dict[str, int | str]:
    """Return the numbers in the text of section 12."""
    decided = ledger.verdict.isin(["holds", "fails"])
    tested = int(ledger.p.notna().sum())
    of_the_paper, ours = ledger.cite == "wang2023", ledger.source == "ours"
    bound_first = ledger.bound_set.ne("") & (ledger.bound_set < ledger.first_run)
    late = ledger.verdict[ledger.first_run.ne("") & ~bound_first]
    short = (ledger.n < ledger.needed.fillna(math.inf)) & (ledger.verdict != "not run")
    repeated = [
        {row.verdict, *(other["verdict"] for other in row.others.values())} - {"undecided"}
        for row in ledger[decided].itertuples()
        if any(other["verdict"] != "undecided" for other in row.others.values())
    ]
    return {
        "corrected": score(ledger.corrected),
        "lost": int((decided & (ledger.corrected == "undecided")).sum()),
        "tested": tested,
        "wrong": LEVEL * tested,
        "undecided": int((ledger.verdict == "undecided").sum()),
        "undecided_by_design": int((short & ~decided).sum()),
        "judged": int(ledger.first_run.ne("").sum()),
        "late_bounds": f"; of the others, {score(late)}" if len(late) else "",
        "bound_first": int(bound_first.sum()),
        "stated": int((ledger.source == "abstract").sum()),
        "reported": int((ledger.source == "section").sum()),
        "of_the_paper": score(ledger.verdict[of_the_paper]),
        "of_others": score(ledger.verdict[~of_the_paper & ~ours]),
        "ours": score(ledger.verdict[ours]),
        "repeated": len(repeated),
        "same": sum(len(verdicts) == 1 for verdicts in repeated),
    }


def differing(ledger: pd.DataFrame) -> pd.DataFrame:
    """Return the claims whose verdict differs between profiles: `claim`, and a column for each profile in words."""
    rows = []
    for row in ledger.to_dict("records"):
        of_profiles = {row["profile"]: row, **row["others"]}
        if row["verdict"] != "not run" and len({one["verdict"] for one in of_profiles.values()}) > 1:
            said = {one: f"{found['verdict']}: {_value(found, row, '.2g')}" for one, found in of_profiles.items()}
            rows.append({"claim": row["statement"], **said})
    return pd.DataFrame(rows, columns=["claim", *(one for one in sources.RECORDS if any(one in row for row in rows))])


def margins(ledger: pd.DataFrame) -> pd.DataFrame:
    """Add `margin`, `margin_low`, `margin_high`: signed distances of value and interval from the predicate's bound.

    Margins are positive where the claim is true. For "above X" and "below X" the distance is divided by the larger of
    |X| and |value|, so X = 0 gives ±1. For "between X and Y" the distance from the nearer bound is divided by
    (Y − X)/2. In place of `others` there is `margin in PROFILE`, that of its value in each other record.
    """
    rows = []
    for row in ledger.to_dict("records"):
        asked = Predicate.parse(row["predicate"])
        at, low, high = _margins(asked, row["value"], row["low"], row["high"])
        own = {"margin": at, "margin_low": low, "margin_high": high}
        others = {one: _margins(asked, *[other["value"]] * 3)[0] for one, other in row["others"].items()}
        rows.append(own | {f"margin in {one}": margin for one, margin in others.items()})
    found = pd.DataFrame(rows, index=ledger.index, dtype=float)
    return ledger.drop(columns="others").join(found)


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
    """Plot the margin of each claim with its interval by section, marked by verdict; right of zero the claim is true.

    Grey ticks are values in the records of other profiles. Margins are clipped to ±1.5.

    Raises
    ------
    InputError
        The ledger is empty.
    """
    if ledger.empty:
        raise InputError("no claim to draw; allowed: a ledger with at least one")
    frame = margins(ledger).reset_index(drop=True)
    frame["place"] = frame.index + TITLE * (1 + pd.factorize(frame.section)[0])
    sections = frame.drop_duplicates("section").set_index("section").place  # of each section's first claim
    tops = (sections - 0.5 - TITLE).tolist()
    bottom = frame.place.iloc[-1] + 0.5
    with style():
        figure, axes = plt.subplots(figsize=(NARROW, 1 + 0.11 * bottom), layout="constrained")
        ends = [*tops[1:], bottom]
        axes.vlines([0] * len(tops), [top + TITLE for top in tops], ends, color="0.4", lw=1)  # below a section's title
        for top, end in zip(tops[1::2], ends[1::2], strict=True):
            axes.axhspan(top, end, color="0.5", alpha=0.15, lw=0)
        for verdict, (marker, colour) in LOOKS.items():
            rows = frame[frame.verdict == verdict]
            if rows.empty:
                continue
            drawn = rows[["margin", "margin_low", "margin_high"]].clip(-EDGE, EDGE)
            axes.hlines(rows.place, drawn.margin_low, drawn.margin_high, color=colour, lw=2, alpha=0.7, zorder=3)
            middles = axes.scatter(drawn.margin.fillna(0), rows.place, s=26, marker=marker, color=colour, label=verdict)
            middles.set(zorder=3, facecolor=["white" if hollow else colour for hollow in drawn.margin.isna()])
        for name in frame.filter(like="margin in "):
            there = frame.dropna(subset=name)
            axes.plot(there[name].clip(-EDGE, EDGE), there.place, "|", color="0.35", ms=9, label=OTHER)
        axes.set(xlim=(-EDGE, EDGE), ylim=(bottom, tops[0]), xlabel="on the wrong side ← → on the right side")
        label_rows(axes, sections.index.map(sources.title), tops)
        axes.set_xticks([-1, 0, 1], ["−1", "bound", "+1"])
        handles = {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
        figure.legend(handles.values(), handles, loc="outside upper center", ncol=5, handletextpad=0.2, columnspacing=1)
    return figure


def show_ledger(ledger: pd.DataFrame) -> None:
    """Display a card for each claim: by source, then by verdict, failures first. `ledger.js` filters them."""
    from IPython.display import Markdown, display

    for source, heading in SOURCES.items():
        rows = ledger[ledger.source == source].to_dict("records")
        if rows:
            rows = sorted(rows, key=lambda row: ORDER.index(row["verdict"]))
            head = f"### {heading}\n\n{score(row['verdict'] for row in rows).capitalize()}."
            display(Markdown("\n\n".join([head, *map(_card, rows)])))


def _value(found: Mapping, claim: Mapping, form: str = ".3g") -> str:
    """Return a value with its interval and number of clusters in words."""
    value = span(found, form)
    return value if claim["over"] == "exact" else f"{value} over {counted(found['n'], claim['cluster'])}"


def _card(row: Mapping) -> str:
    """Return a claim's card in MyST Markdown: badge and statement, what was found, and folded how it was judged."""
    verdict, n, exact = row["verdict"], row["n"], row["over"] == "exact"
    found = "Nothing was measured under these settings."
    quantity = row["quantity"][0].upper() + row["quantity"][1:]
    if verdict != "not run":
        few = f"; at least {FEWEST} are needed" if not exact and n < FEWEST else ""
        value = _value(row, row) if n or exact else "there was nothing to measure it on"
        found = f"**{value}**{few}. Asked: {Predicate.parse(row['predicate'])}."
    at = [f"{row[f'at {one:g}']} at τ = {one:g}" for one in OTHER_TOLERANCES if row[f"at {one:g}"]]
    left = row["left_out"] > 0 and not exact
    facts = {
        "What would make it fail": row["can_fail"],
        "Under other profiles": "; ".join(
            f"{other['verdict']} in `{one}`, {_value(other, row)}" for one, other in row["others"].items()
        ),
        "With another tolerance of the plateau": ", ".join(at),
        "After Holm's correction": row["corrected"] if row["p"] == row["p"] else "",
        "Needed to decide it": "" if exact else _needed(row),
        "Left out, since they did not fit": counted(int(row["left_out"]), "network") if left else "",
        "Bound set": _when(row),
    }
    cite = "" if row["source"] == "ours" else f" {{cite:p}}`{row['cite']}`"
    return "\n\n".join(
        [
            f'<div class="claim" id="{card(row["id"])}" data-verdict="{verdict}" data-source="{row["source"]}">',
            f'<span class="verdict {verdict.replace(" ", "-")}">{BADGES[verdict]}</span> **{row["statement"]}**{cite}',
            " ".join(filter(None, (f"{quantity}:", found, row["remark"] if verdict != "holds" else ""))),
            "<details><summary>How it was judged</summary>",
            *(f"{name}\n: {fact}" for name, fact in facts.items() if fact),
            f"Figure\n: {{numref}}`{row['figure']}` of {{doc}}`{row['section']}`",
            "</details></div>",
        ]
    )


def _needed(row: Mapping) -> str:
    """Say how many clusters would decide a claim, as the pilot found its quantity."""
    if math.isnan(row["needed"]):
        return "more than 10,000, or unknown without a pilot"
    return counted(round(row["needed"]), row["cluster"])


def _when(row: Mapping) -> str:
    """Return the day on which a bound was set, and whether that was before the first run of its section."""
    if not row["bound_set"]:
        return "not committed"
    before = "before" if row["bound_set"] < row["first_run"] else "after"
    seen = f"; results of profile {row['seen']} had been seen" if row["seen"] else ""
    return row["bound_set"][:10] + (f", {before} the first run that judges it" if row["first_run"] else "") + seen
