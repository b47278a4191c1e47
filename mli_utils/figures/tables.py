"""Tables of the book: numbers rounded to the digits they need, means with their intervals."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd

from mli_utils.core.config import InputError, check_columns
from mli_utils.core.estimates import ESTIMATE
from mli_utils.core.words import span


def show_table(frame: pd.DataFrame, digits: int = 3, metadata: dict | None = None, kind: str = "") -> None:
    """Display a frame without its index.

    A column gets only the decimals it needs. Nonzero numbers that would round to zero, and those from 1e5 on, are in
    scientific notation; those from 100 on have at most one decimal. Missing values are dashes.

    Parameters
    ----------
    frame : pandas.DataFrame
        Frame to display; underscores in column names become spaces.
    digits : int
        Most decimals.
    metadata : dict, optional
        Metadata of the cell's output.
    kind : str
        CSS class of the table.
    """
    from IPython.display import display

    formats = {name: partial(_number, digits=_needed(frame[name], digits)) for name in frame.select_dtypes("floating")}
    words = "words" if pd.api.types.is_string_dtype(frame.iloc[:, 0]) else ""
    display(
        frame.style.format(formats, na_rep="–")
        .relabel_index([str(name).replace("_", " ") for name in frame], axis="columns")
        .hide()
        .set_table_attributes(f'class="{" ".join(filter(None, ("dataframe", words, kind)))}"')
        .set_uuid("t"),
        metadata=metadata,
    )


def _needed(numbers: pd.Series, most: int) -> int:
    """Return the fewest decimals, at most `most`, that represent all numbers exactly."""
    exact = (digits for digits in range(most) if np.allclose(numbers.round(digits), numbers, rtol=1e-9, equal_nan=True))
    return next(exact, most)


def _number(value: float, digits: int) -> str:
    if 0 < abs(value) < 0.5 * 10**-digits or abs(value) >= 1e5:
        return f"{value:.1e}"
    return f"{value:.{min(digits, 1) if abs(value) >= 100 else digits}f}"


def show_intervals(frame: pd.DataFrame, columns: Sequence[str] = ("measure",), digits: int = 2) -> None:
    """Display means with their intervals, each as `0.27 (0.19 to 0.35)`.

    Parameters
    ----------
    frame : pandas.DataFrame
        Tidy rows with columns `mean`, `low`, `high`, `n`, as `intervals` returns them.
    columns : sequence of str
        Columns of `frame` whose values head the table's columns; its other columns label the rows.
    digits : int
        Number of decimals.

    Raises
    ------
    InputError
        A column is missing or none is left to label rows, or two rows share one cell of the table.
    """
    check_columns("show_intervals", frame, [*columns, *ESTIMATE])
    rows = [name for name in frame if name not in (*columns, *ESTIMATE)]
    if not rows:
        raise InputError(f"show_intervals: no column is left to label rows; allowed: fewer than {', '.join(columns)}")
    if frame.duplicated([*rows, *columns]).any():
        raise InputError(f"show_intervals: {', '.join([*rows, *columns])} do not tell the rows apart")
    spans = frame.assign(
        heading=frame[list(columns)].astype(str).agg(", ".join, axis=1),
        said=[span(row, f".{digits}f") for row in frame.to_dict("records")],
    )
    table = spans.set_index([*rows, "heading"]).said.unstack(sort=False).fillna("–")
    table["n"] = [_counts(numbers) for _, numbers in frame.groupby(rows, sort=False, dropna=False).n]
    show_table(_in_words(table.reset_index()), kind="intervals")


def _counts(numbers: pd.Series) -> str:
    """Format the sample sizes of a row's means: one number, or a range."""
    fewest, most = numbers.min(), numbers.max()
    return f"{fewest}" if fewest == most else f"{fewest}–{most}"


def _in_words(table: pd.DataFrame) -> pd.DataFrame:
    """Replace underscores in cells by spaces; drop the decimals of whole numbers."""
    whole = [name for name in table.select_dtypes("floating") if (table[name] % 1 == 0).all()]
    return table.astype(dict.fromkeys(whole, int)).map(
        lambda cell: cell.replace("_", " ") if isinstance(cell, str) else cell
    )
