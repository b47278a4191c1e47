"""The points of a curve, chosen as it is measured: a coarse grid, then where a plateau may end, then where it moves.

What measures the curve is handed in as a function; nothing here knows of networks.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mli_utils import metrics
from mli_utils.config import InputError

DIP = 0.2  # how far the error may dip between two points, as a share of the predictions that differ between them
DOUBT = 0.5  # steps of the finest grid: a smaller expected mistake in a plateau is not looked into
MOVE = 0.08  # share of a curve's range: where neighbours differ by more, the drawn curve gets a point between them
AT_ONCE = 4  # doubtful cells looked into at once: more take fewer stages, but look where no one need have looked


@dataclass(frozen=True)
class Adaptive:
    """How `refine` chooses points. The finest spacing is half the resolution; every point is on that grid.

    Raises
    ------
    InputError
        A value outside what is allowed; the message says what is.
    """

    coarse: int = 26  # equally spaced points to begin with
    resolution: float = 0.002  # the widest bracket left around a plateau's end, in α
    tolerances: tuple[float, ...] = (0.05, 0.1, 0.2)  # those of `metrics.plateau` whose ends are looked for
    most: int = 83  # points in all; a third of the 251 that are 0.004 apart

    def __post_init__(self):
        object.__setattr__(self, "tolerances", tuple(map(float, self.tolerances)))
        if not 0 < self.resolution <= 0.1:
            raise InputError(f"resolution={self.resolution} is not allowed; allowed: above 0, up to 0.1")
        if not self.tolerances or not all(0 <= tolerance < 1 for tolerance in self.tolerances):
            raise InputError(f"tolerances={self.tolerances} is not allowed; allowed: some from 0 up to, but not, 1")
        if not 3 <= self.coarse <= self.steps + 1:
            raise InputError(f"coarse={self.coarse} is not allowed; allowed: from 3 to {self.steps + 1} points")
        needed = self.coarse + 2 * len(self.tolerances) * _halvings(-(-self.steps // (self.coarse - 1)))
        if self.most < needed:
            raise InputError(f"most={self.most} is not allowed; allowed: at least {needed}, to narrow every bracket")

    @property
    def steps(self) -> int:
        """Steps of the finest grid between α = 0 and 1."""
        return math.ceil(2 / self.resolution - 1e-9)


def refine(evaluate: Callable[[np.ndarray], dict[str, np.ndarray]], how: Adaptive) -> dict[str, np.ndarray]:
    """Measure a curve where it decides how long its plateaus are, and where it moves.

    After the coarse grid, cells left of a plateau's end in which the curve may dip below the threshold and come back
    are halved, likeliest first. Then the bracket around each end is halved until it is no wider than the resolution,
    so that `metrics.plateau` is within the resolution of any finer grid's. Points that are left go where the drawn
    curve moves most.

    A dip is suspected where the curve is rough on the scale of its distance to the threshold (as a Brownian bridge
    would cross it), or where the predicted classes change. One that shows in neither is missed, as any grid misses
    what lies between its points. Where `how.most` is reached first, doubtful cells stay, and a bracket that appeared
    late may stay wider.

    Parameters
    ----------
    evaluate : of increasing α (points,), returns `models.evaluate`'s dict as NumPy arrays

    Returns
    -------
    The same dict at all points, with the increasing `alpha`, which holds exactly 0 and 1. Only the coarse grid where a
    loss on it is not finite.
    """
    grid = np.linspace(0, 1, how.steps + 1)
    at = np.round(np.linspace(0, how.steps, how.coarse)).astype(int)
    found = evaluate(grid[at])
    while len(more := _more(at, found, how)):
        new = evaluate(grid[more])
        order = np.argsort(np.concatenate([at, more]))
        at = np.concatenate([at, more])[order]
        found = {name: np.concatenate([values, new[name]])[order] for name, values in found.items()}
    return {"alpha": grid[at], **found}


def _more(at: np.ndarray, found: dict[str, np.ndarray], how: Adaptive) -> np.ndarray:
    """The next points to measure, given what was `found` at those measured; all are numbers of the finest grid."""
    if not np.isfinite(found["loss"]).all():
        return at[:0]
    images, classes = found["predicted"][0].sum(), found["wrong"].shape[1]
    values = {"error": found["wrong"].sum(1) / images, "loss": found["loss"]}
    changed = np.abs(np.diff(found["predicted"], axis=0)).sum(1) / 2 / images
    dips = {"error": DIP * changed, "loss": np.zeros(len(changed))}
    width = np.diff(at)
    doubts, brackets, kept_back = np.zeros(len(width)), set(), 0
    for tolerance in how.tolerances:
        for measure, threshold in metrics.thresholds(classes, tolerance).items():
            bracket, mistakes = _doubts(at, values[measure], threshold, dips[measure])
            mistakes[mistakes <= DOUBT] = 0
            doubts = np.maximum(doubts, mistakes)
            wide = [width[bracket]] if bracket is not None else []
            kept_back += _halvings(max([*wide, *-(-width[mistakes > 0] // 2)], default=0))
            if wide and _halvings(*wide):
                brackets.add(bracket)
    left = how.most - len(at)
    moves = [np.abs(np.diff(curve)) / max(np.ptp(curve), np.finfo(float).tiny) for curve in values.values()]
    moves = np.where(width > 2, np.maximum(*moves), 0)
    cells = (
        _largest(doubts, min(AT_ONCE, left - kept_back))
        or sorted(brackets)[:left]
        or _largest(np.where(moves > MOVE, moves, 0), left)
    )
    return np.sort(at[cells] + width[cells] // 2) if cells else at[:0]


def _doubts(at: np.ndarray, values: np.ndarray, threshold: float, dips: np.ndarray) -> tuple[int | None, np.ndarray]:
    """The cell in which `values` first fall below the threshold (None: in none), and what each cell before may cost.

    `dips` (cells,) is how far the curve may be expected to dip within each. The cost is the chance that the curve
    crosses the threshold within the cell, times how much shorter the plateau would then be, in steps.
    """
    below = np.flatnonzero(values < threshold)
    end = below[0] if len(below) else len(at) - 1
    bracket = end - 1 if len(below) and end else None
    width = np.diff(at).astype(float)
    # Roughness: the variance a step of the Brownian motion that would leave the line between its neighbours so far.
    before, after = width[:-1], width[1:]
    off = values[1:-1] - (values[:-2] * after + values[2:] * before) / (before + after)
    rough = np.pad(off**2 * (before + after) / (before * after), 2)
    rough = np.maximum.reduce([rough[:-3], rough[1:-2], rough[2:-1], rough[3:]])  # at both ends, and one beyond each
    variance = np.maximum(np.maximum(rough * width, dips**2), np.finfo(float).tiny)
    above = np.maximum(values - threshold, 0)
    chance = np.exp(-2 * above[:-1] * above[1:] / variance)  # that a Brownian bridge between the two crosses
    chance[width <= 1] = 0
    chance[end if bracket is None else bracket :] = 0
    return bracket, chance * (at[end] - at[:-1])


def _largest(scores: np.ndarray, count: int) -> list[int]:
    """Up to `count` places of the largest scores above 0."""
    order = np.argsort(-scores, kind="stable")[: max(count, 0)]
    return order[scores[order] > 0].tolist()


def _halvings(width: int) -> int:
    """How often a cell is halved until it is no wider than the resolution, which is two steps."""
    return max(0, math.ceil(math.log2(width / 2))) if width else 0
