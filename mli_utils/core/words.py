"""Numbers in words."""

import math
from collections.abc import Mapping


def span(row: Mapping, form: str = ".2f") -> str:
    """A `value` (or `mean`) and its interval from `low` to `high` in words, `0.41 (0.35 to 0.47)`; a dash where there
    is none."""
    value, low, high = (row[name] for name in ("mean" if "mean" in row else "value", "low", "high"))
    if value is None or math.isnan(value):
        return "–"
    interval = "" if low is None or math.isnan(low) else f" ({low:{form}} to {high:{form}})"
    return f"{value:{form}}{interval}".replace("-", "−")
