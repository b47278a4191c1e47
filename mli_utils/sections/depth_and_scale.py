"""Plateau lengths against depth and initialization scale (section 06)."""

from collections.abc import Sequence

import pandas as pd

from mli_utils.core.plateaus import only_fitted, plateau
from mli_utils.runs.trained import Run, counts, table

LINE, FREE = "output bias, linear", "no biases"
CURVES = {("output", "linear"): LINE, ("output", "homogeneous"): "output bias, homogeneous", ("none", "linear"): FREE}
ENDS = {"depth": ("shallowest", "deepest"), "init_scale": ("smallest", "largest")}


def plateaus(fitted: pd.DataFrame, tolerance: float = 0.1) -> pd.DataFrame:
    """Return the plateaus of each of `CURVES`, named in a column `curve`, sorted by depth and scale."""
    rows = plateau(fitted, tolerance).sort_values(["depth", "init_scale", "seed"])
    return pd.concat(
        rows[(rows.bias == bias) & (rows.path == path)].assign(curve=curve) for (bias, path), curve in CURVES.items()
    )


def growth(lengths: pd.DataFrame, along: str) -> pd.DataFrame:
    """Subtract error plateaus at the smallest `along` from those at the largest: one row per seed, column per curve."""
    error = lengths.pivot(index=["seed", "curve"], columns=along, values="error_plateau")
    return (error.iloc[:, -1] - error.iloc[:, 0]).unstack()


def measured(fitted: pd.DataFrame, base_depth: int, base_scale: float, tolerance: float) -> dict[str, pd.Series]:
    """Return the quantity of each claim of section 06, by seed."""
    lengths = plateaus(fitted, tolerance)
    deeper = growth(lengths[lengths.init_scale == base_scale], "depth")
    larger = growth(lengths[lengths.depth == base_depth], "init_scale")
    return {
        "plateau-grows-with-depth": deeper[LINE],
        "plateau-grows-as-scale-shrinks": -larger[LINE],
        "depth-acts-through-the-bias": deeper[LINE] - deeper[FREE],
    }


def ends(lengths: pd.DataFrame, along: str) -> pd.DataFrame:
    """Return the rows at the smallest and largest value of `along`, renamed by `ENDS`."""
    values = lengths[along]
    pairs = zip(ENDS[along], (values.min(), values.max()), strict=True)
    return pd.concat(lengths[values == value].assign(**{along: name}) for name, value in pairs)


def course(lengths: pd.DataFrame, measure: str) -> str:
    """Describe whether means on the linear path rise or fall at every step, in the order of the rows."""
    means = lengths[(lengths.curve == LINE) & (lengths.measure == measure)]["mean"]
    if means.isna().any():
        return "is not known everywhere"
    if means.is_monotonic_increasing:
        return "rises at every step"
    return "falls at every step" if means.is_monotonic_decreasing else "is not monotone"


def numbers(
    runs: Sequence[Run], by_depth: pd.DataFrame, by_scale: pd.DataFrame, base_depth: int, base_scale: float
) -> dict:
    """Return the numbers in the text of section 06."""
    ended = only_fitted(table(runs))
    of_depth = ended[ended.init_scale == base_scale].groupby("depth").bias_gap.mean()
    of_scale = ended[ended.depth == base_depth].groupby("init_scale").bias_gap.mean()
    return {
        "depth_course": course(by_depth, "error_plateau"),
        "depth_loss_course": course(by_depth, "loss_plateau"),
        "scale_course": course(by_scale, "error_plateau"),
        "base_depth": base_depth,
        "base_scale": base_scale,
        "shallowest": of_depth.index[0],
        "deepest": of_depth.index[-1],
        "smallest": f"{of_scale.index[0]:g}",
        "largest": f"{of_scale.index[-1]:g}",
        "gap_shallowest": of_depth.iloc[0],
        "gap_deepest": of_depth.iloc[-1],
        "gap_smallest": of_scale.iloc[0],
        "gap_largest": of_scale.iloc[-1],
        **counts(runs),
    }
