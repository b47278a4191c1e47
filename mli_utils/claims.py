"""Statements, and what the data say of them."""

from collections.abc import Mapping

import pandas as pd

from mli_utils import metrics

FEWEST = 3  # runs below which nothing is decided


def verdict(low: float, high: float, n: int) -> str:
    """What an interval for a quantity says of "it is above zero": `holds`, `fails` or `undecided`."""
    if n >= FEWEST and low > 0:
        return "holds"
    if n >= FEWEST and high < 0:
        return "fails"
    return "undecided"


def compare(differences: Mapping[str, pd.Series]) -> pd.DataFrame:
    """Of each statement, given as differences that are above zero where it is true: mean, 95 % interval, verdict.

    Parameters
    ----------
    differences : by statement, one value a run (or a pair of runs); NaN where there is none
    """
    rows = []
    for statement, values in differences.items():
        row = metrics.mean_and_interval(values)
        rows.append({"statement": statement, **row, "verdict": verdict(row["low"], row["high"], row["n"])})
    return pd.DataFrame(rows)
