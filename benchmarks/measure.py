"""Rounds of ours, the alternatives and the limit in turn, in one process; medians, spreads and ratios of them."""

import statistics
import time
from collections.abc import Callable, Mapping

Seconds = Callable[[], float]  # does the work once, and says how long that took (or would have taken, all of it)


def timed(work: Callable[[], object]) -> float:
    """Seconds that calling `work` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def compare(
    name: str, size: str, ours: Seconds, alternatives: Mapping[str, Seconds], limit: Seconds | None, rounds: int
) -> list[dict]:
    """One row an alternative.

    Parameters
    ----------
    size : what the work is, in words
    limit : how long the machine would take for the counted work alone, measured in every round as well

    Returns
    -------
    dicts of `name`; `seconds`, ours, the median over rounds; `alternative`; `ratio`, how many times as long it takes,
    the median of the rounds' own ratios; `limit_share`, the limit's seconds over ours, or None; `alternative_seconds`;
    `low` and `high`, the smallest and largest ratio of a round; `rounds`; `size`
    """
    said = {"ours": ours, **alternatives, **({"limit": limit} if limit else {})}
    taken = {what: [] for what in said}
    for number in range(rounds):
        for what, seconds in said.items():
            taken[what].append(seconds())
            print(f"{name}, round {number + 1}: {what} {taken[what][-1]:.3g} s", flush=True)
    shares = [limited / own for limited, own in zip(taken.get("limit", ()), taken["ours"], strict=False)]
    rows = []
    for what in alternatives:
        ratios = [other / own for other, own in zip(taken[what], taken["ours"], strict=True)]
        rows.append(
            {
                "name": name,
                "seconds": statistics.median(taken["ours"]),
                "alternative": what,
                "ratio": statistics.median(ratios),
                "limit_share": statistics.median(shares) if shares else None,
                "alternative_seconds": statistics.median(taken[what]),
                "low": min(ratios),
                "high": max(ratios),
                "rounds": rounds,
                "size": size,
            }
        )
    return rows
