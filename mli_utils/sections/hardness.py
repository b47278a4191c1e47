"""Toy problems that separate plateaus from the hardness of optimization (section 02).

Hardness is the number of steps of gradient descent at the best constant step size.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from scipy.special import expit

from mli_utils.core import theory
from mli_utils.core.config import InputError
from mli_utils.core.plateaus import crossing, monotonicity_gap
from mli_utils.figures.style import LABELS, colours, style

STEP_SIZES = np.geomspace(1e-6, 1e15, 211)  # ten per decade; large ones serve flat starting points
SOLVED = 0.01  # threshold, as a fraction of the initial loss
NEAREST = "plateau to the nearest solution"


@dataclass(frozen=True)
class Problem:
    """A loss to minimise from a starting point.

    loss, gradient : functions of parameters (…, n) that return (…,) and (…, n)
    start : initial parameters, (n,)
    """

    name: str
    loss: Callable[[np.ndarray], np.ndarray]
    gradient: Callable[[np.ndarray], np.ndarray]
    start: np.ndarray


@dataclass(frozen=True)
class Solution:
    """Result of the search over constant step sizes.

    steps : steps to the threshold at the best step size; None if none reached it
    step_size : best step size; if none reached the threshold, the largest at which the loss never rose
    window : largest over smallest step size with at most twice the steps; 0 if none reached the threshold
    end : final parameters, (n,)
    """

    steps: int | None
    step_size: float
    window: float
    end: np.ndarray


def scalar_power(r: int, start: float = 0.5) -> Problem:
    """Return the loss log(1 + exp(−w^r)) of one weight, r layers and one sample."""
    return Problem(
        f"one weight, power {r}",
        lambda params: np.logaddexp(0, -np.minimum(params[..., 0] ** r, 700)),
        lambda params: -r * params ** (r - 1) * expit(-np.minimum(params**r, 700)),
        np.array([start]),
    )


def four_classes(r: int, delta: float = 0.5, noise: float = 0.01) -> Problem:
    """Return the r-homogeneous model with biases (section 04), four classes, initial weights near δ."""
    k = 4
    return Problem(
        f"four classes, power {r}",
        lambda params: theory.mean_loss(*theory.unpack(params, k), r),
        lambda params: -theory.velocity(params, r, k),
        np.concatenate([theory.initial_weights(k, delta, noise=noise).ravel(), np.zeros(k)]),
    )


def stretched_bowl(condition: float, dimensions: int = 20) -> Problem:
    """Return the quadratic ½ Σ λ_i θ_i², λ_i from 1 to 1/condition, with equal initial loss in every direction."""
    curvatures = np.geomspace(1, 1 / condition, dimensions)
    return Problem(
        f"stretched bowl, condition {condition:g}",
        lambda params: 0.5 * (curvatures * params**2).sum(-1),
        lambda params: curvatures * params,
        1 / np.sqrt(curvatures),
    )


def many_valleys(dimensions: int = 10, seed: int = 0) -> Problem:
    """Return Rastrigin's function, Σ θ_i² + 10 (1 − cos 2πθ_i), started near a local minimum."""
    return Problem(
        f"many valleys, dimension {dimensions}",
        lambda params: (params**2 + 10 * (1 - np.cos(2 * np.pi * params))).sum(-1),
        lambda params: 2 * params + 20 * np.pi * np.sin(2 * np.pi * params),
        3 + np.random.default_rng(seed).uniform(-0.2, 0.2, dimensions),
    )


def solve(problem: Problem, budget: int = 100_000, step_sizes: np.ndarray = STEP_SIZES) -> Solution:
    """Run gradient descent at all constant step sizes at once, until the loss is `SOLVED` times its initial value.

    The fastest step size is the best, the smallest among ties. If none reaches the threshold within `budget` steps, the
    largest at which the loss never rose is returned.

    Raises
    ------
    InputError
        The budget is below one step, or all step sizes are too large.
    """
    if budget < 1:
        raise InputError(f"budget={budget} is not allowed; allowed: 1 or more")
    first = float(problem.loss(problem.start))
    steps = np.full(len(step_sizes), math.inf)
    ends = np.tile(problem.start, (len(step_sizes), 1))
    monotone = np.ones(len(step_sizes), bool)
    running, losses = np.arange(len(step_sizes)), np.full(len(step_sizes), first)
    with np.errstate(over="ignore", invalid="ignore"):
        for step in range(1, budget + 1):
            ends[running] -= step_sizes[running, None] * problem.gradient(ends[running])
            now = problem.loss(ends[running])
            monotone[running] &= now <= losses[running] * (1 + 1e-12)
            losses[running] = now
            solved = now <= SOLVED * first
            steps[running[solved]] = step
            # more than four times the fewest steps: neither the best nor in its window
            hopeless = ~np.isfinite(now) | (step > 4 * steps.min())
            settled = np.abs(step_sizes[running, None] * problem.gradient(ends[running])).max(1) < 1e-14
            running = running[~(solved | hopeless | settled)]
            if not len(running):
                break
    if np.isfinite(steps).any():
        best = int(np.argmin(steps))
        good = step_sizes[steps <= 2 * steps[best]]
        return Solution(int(steps[best]), float(step_sizes[best]), float(good[-1] / good[0]), ends[best])
    if not monotone.any():
        raise InputError(
            f"no step size from {step_sizes[0]:g} to {step_sizes[-1]:g} lowers the loss; allowed: smaller ones"
        )
    best = int(np.flatnonzero(monotone)[-1])
    return Solution(None, float(step_sizes[best]), 0.0, ends[best])


def line(problem: Problem, end: np.ndarray, alphas: np.ndarray) -> np.ndarray:
    """Return the loss on the line from the start to `end`, scaled from 1 at the start to 0 at the end, (alphas,)."""
    shares = np.asarray(alphas)[:, None]
    losses = problem.loss((1 - shares) * problem.start + shares * end)
    first, last = problem.loss(np.stack([problem.start, end]))
    return (losses - last) / (first - last)


def nearest_solution(r: int, start: float = 0.5) -> float:
    """Return the smallest weight that solves `scalar_power`, at which the loss equals the threshold."""
    threshold = SOLVED * math.log1p(math.exp(-(start**r)))
    return math.log(1 / math.expm1(threshold)) ** (1 / r)


def survey(problems: Sequence[Problem], budget: int, points: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Solve problems and evaluate the loss on their lines.

    Returns
    -------
    table : one row per problem: `steps` (missing if unsolved), `step size`, `window`, `plateau` (α up to which at least
        0.9 of the loss remains), `largest rise`, `convex`
    lines : tidy rows of `problem`, `alpha`, `to lose` (see `line`)
    """
    alphas = np.linspace(0, 1, points)
    rows, lines = [], []
    for problem in problems:
        found = solve(problem, budget)
        curve = line(problem, found.end, alphas)
        rows.append(
            {
                "problem": problem.name,
                "steps": found.steps,
                "step size": found.step_size,
                "window": found.window,
                "plateau": crossing(alphas, curve, 0.9),
                "largest rise": monotonicity_gap(curve),
                "convex": bool(np.diff(curve, 2).min() > -1e-9),
            }
        )
        lines.append(pd.DataFrame({"problem": problem.name, "alpha": alphas, "to lose": curve}))
    return pd.DataFrame(rows).astype({"steps": "Int64"}), pd.concat(lines, ignore_index=True)


def growth(powers: Sequence[int], budget: int, points: int) -> pd.DataFrame:
    """Survey `scalar_power`, one row per power, with the plateau on the line to the nearest solution."""
    problems = [scalar_power(power) for power in powers]
    alphas, nearest = np.linspace(0, 1, points), [np.array([nearest_solution(power)]) for power in powers]
    curves = [line(problem, end, alphas) for problem, end in zip(problems, nearest, strict=True)]
    table = survey(problems, budget, points)[0][["problem", "steps", "window", "plateau"]]
    return table.assign(**{NEAREST: [crossing(alphas, curve, 0.9) for curve in curves]})


def hardness_figure(lines: pd.DataFrame, table: pd.DataFrame, budget: int) -> Figure:
    """Plot the remaining loss over α, and bars of the steps to solve each problem on a logarithmic axis."""
    names, of_names = list(table.problem), colours(len(table))
    lengths = table.steps.fillna(budget).astype(int)
    with style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.4), layout="constrained")
        looks = {"hue": "problem", "style": "problem", "palette": of_names, "legend": False}
        sns.lineplot(lines, x="alpha", y="to lose", **looks, ax=left)
        left.set(xlabel=LABELS["alpha"], ylabel="share of the loss still to lose", xlim=(0, 1), ylim=(0, 1.05))
        bars = right.barh(names, lengths, left=0.5, color=of_names, alpha=0.85)
        right.bar_label(bars, ["never" if pd.isna(steps) else str(steps) for steps in table.steps], padding=4)
        right.set(xscale="log", xlim=(0.5, budget * 12), xlabel="steps at the best step size")
        right.invert_yaxis()
    return figure


def claims(table: pd.DataFrame, grown: pd.DataFrame) -> dict[str, float]:
    """Return the quantity of each claim of section 02, from the tables of `survey` and `growth`."""
    return {
        "easy-with-a-plateau": grown[NEAREST][grown.steps <= 10].max(),
        "hard-without-a-plateau": table.steps[table.plateau < 0.1].max() / table.steps.min(),
    }


def numbers(table: pd.DataFrame, grown: pd.DataFrame) -> dict:
    """Return the numbers in the text of section 02; those of a problem have names such as `many valleys/steps`."""
    found = {
        "step_sizes": len(STEP_SIZES),
        "convex": " and ".join(table.problem[table.convex]),
        "rise": table["largest rise"].max(),
        "longest": grown[NEAREST].max(),
    }
    for row in table.to_dict("records"):
        name = row["problem"].partition(",")[0]
        found |= {f"{name}/{column}": row[column] for column in ("plateau", "window")}
        found[f"{name}/steps"] = _in_words(row["steps"])
    return found


def _in_words(steps: int) -> str:
    """Format a number of steps."""
    if pd.isna(steps):
        return "no number of steps"
    return "one step" if steps == 1 else f"{steps} steps"
