"""Curves along paths from θ(0) to θ(T).

A path gives each group of parameters a schedule c(α), and θ(α) = (1 − c(α)) θ(0) + c(α) θ(T) within the group.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from mli_utils import models
from mli_utils.config import InputError, choose
from mli_utils.data import ImageSet
from mli_utils.models import GROUPS, Params

VERSION = 1  # raise when the same endpoints come to give another curve
POINTS_AT_ONCE = 16  # networks evaluated together; their activations stay near the cache

# c(α) for a bias of weight layer ℓ. `homogeneous` keeps a bias in step with the signal that weights scaled by α
# bring to its layer, so that from θ(0) = 0 the logits are α^depth z(θ(T)).
SCHEDULES = {
    "linear": lambda alpha, layer: alpha,
    "homogeneous": lambda alpha, layer: alpha**layer,
    "start": lambda alpha, layer: np.zeros_like(alpha),
    "end": lambda alpha, layer: np.ones_like(alpha),
}

PATHS = {
    "linear": dict.fromkeys(GROUPS, "linear"),
    "homogeneous": {
        "weights": "linear",
        "hidden_biases": "homogeneous",
        "output_bias": "homogeneous",
        "normalization": "linear",
    },
}


def schedules(path: str | Mapping[str, str]) -> dict[str, str]:
    """The schedule of every group, for a named path or one given as {group: schedule}.

    Raises
    ------
    InputError
        An unknown path, group or schedule, or a group without a schedule.
    """
    if isinstance(path, str):
        return PATHS[choose("path", path, PATHS)]
    for group, schedule in path.items():
        choose("parameter group", group, GROUPS)
        choose("schedule", schedule, SCHEDULES)
    lacking = [group for group in GROUPS if group not in path]
    if lacking:
        raise InputError(f"the path has no schedule for {', '.join(lacking)}; needed: {', '.join(GROUPS)}")
    return dict(path)


def alpha_grid(alphas: int | Sequence[float]) -> np.ndarray:
    """The points of a curve, float64: that many equally spaced from 0 to 1, or the increasing ones given.

    Raises
    ------
    InputError
        Fewer than two points, points outside 0 to 1, or points that do not increase.
    """
    if isinstance(alphas, (int, np.integer)):
        if alphas < 2:
            raise InputError(f"alphas={alphas} is not allowed; allowed: at least 2 points, or a list of them")
        return np.linspace(0, 1, alphas)
    points = np.asarray(alphas, float)
    if points.ndim != 1 or not len(points) or not ((points >= 0) & (points <= 1)).all() or (np.diff(points) <= 0).any():
        raise InputError(f"alphas={alphas} is not allowed; allowed: increasing numbers from 0 to 1")
    return points


def interpolate_parameters(
    model: nn.Module, start: Params, end: Params, alpha: float | Sequence[float], path="linear"
) -> Params:
    """Parameters at α on a path. α = 0 gives exactly `start` and α = 1 exactly `end` on paths that join them.

    Parameters
    ----------
    model : names the parameters and their groups
    start, end : θ(0) and θ(T), by parameter name; left as they are
    alpha : one number from 0 to 1, or several, which give a leading stack dimension
    path : a name in `PATHS`, or {group: schedule}

    Raises
    ------
    InputError
        As `schedules` and `alpha_grid`.
    """
    points = alpha_grid(np.atleast_1d(alpha))
    of_group = schedules(path)
    there = {}
    for name, group in models.parameter_groups(model).items():
        share = SCHEDULES[of_group[group.name]](points, group.layer)
        c = torch.tensor(share, dtype=start[name].dtype, device=start[name].device)
        if np.ndim(alpha):
            c = c.view(-1, *[1] * start[name].ndim)
        there[name] = (1 - c) * start[name] + c * end[name]
    return there


def curve(model: nn.Module, start: Params, end: Params, alphas, path, images: ImageSet) -> dict[str, np.ndarray]:
    """Loss and errors at every α, over all of `images`: `models.evaluate`'s dict as NumPy arrays.

    Computed where `start` and `end` are.
    """
    device = next(iter(start.values())).device
    pixels, labels = images.images.to(device), images.labels.to(device)
    points = alpha_grid(alphas)
    with models.flushed_subnormals():
        parts = [
            models.evaluate(model, interpolate_parameters(model, start, end, some, path), pixels, labels)
            for some in np.array_split(points, max(1, round(len(points) / POINTS_AT_ONCE)))
        ]
    return {name: torch.cat([part[name] for part in parts]).cpu().numpy() for name in parts[0]}
