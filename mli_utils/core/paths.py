"""Paths from θ(0) to θ(T), and other starts than θ(0).

A path gives each group of parameters a schedule c(α), and θ(α) = (1 − c(α)) θ(0) + c(α) θ(T) within the group.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from mli_utils.core.config import InputError, RunConfig, choose
from mli_utils.core.initialization import initialize, stream
from mli_utils.core.networks import Network
from mli_utils.core.parameters import GROUPS, Params, mix, own_parameters, parameter_groups

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


def alpha_grid(alphas: int | Sequence[float] | np.ndarray) -> np.ndarray:
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
    """Mix the parameters at two ends of a path.

    Parameters
    ----------
    model : torch.nn.Module
        Names the parameters and their groups.
    start, end : dict of torch.Tensor
        θ(0) and θ(T), by parameter name; left as they are.
    alpha : float or sequence of float
        One number from 0 to 1, or several, which give every parameter a leading stack dimension.
    path : str or dict
        A name in `PATHS`, or {group: schedule}.

    Returns
    -------
    dict of torch.Tensor
        Parameters at α, by name; at α = 0 exactly `start` and at α = 1 exactly `end` on paths that join them.

    Raises
    ------
    InputError
        An unknown path, points outside 0 to 1, a layer that belongs to no group, or parameters at either end that the
        model has not, that it lacks, or that have other shapes than its own.
    """
    points = alpha_grid(np.atleast_1d(alpha))
    of_group = schedules(path)
    groups = parameter_groups(model)
    for side, params in (("start", start), ("end", end)):
        _check_fit(model, side, params)
    there = {}
    for name, group in groups.items():
        share = SCHEDULES[of_group[group.name]](points, group.layer)
        there[name] = mix(start[name], end[name], share if np.ndim(alpha) else share.item())
    return there


def _check_fit(model: nn.Module, side: str, params: Params) -> None:
    """Raise where the parameters at one end of a path are not the model's."""
    own = own_parameters(model, params, f" at the {side}")
    for name, value in params.items():
        if value.shape != own[name].shape:
            there, allowed = tuple(value.shape), tuple(own[name].shape)
            raise InputError(f"{name} at the {side} has the shape {there}; allowed: {allowed}, the network's own")


# Section 10 walks to the same trained networks from each start: `start(model, config, (θ(0), θ(T)))` gives it.


def other(model: Network, config: RunConfig, ends: Sequence[Params]) -> Params:
    """An initialization of the same law that the run did not start from."""
    again = initialize(model, config.replace(seed=stream(config.seed, "another start")))
    return {name: value.to(ends[0][name].device) for name, value in again.items()}


def noise(model: Network, config: RunConfig, ends: Sequence[Params]) -> Params:
    """Normal noise with the norm of the trained weights, layer by layer; all other parameters as at θ(0)."""
    generator = torch.Generator().manual_seed(stream(config.seed, "noise"))
    start = dict(ends[0])
    for name, group in parameter_groups(model).items():
        if group.name == "weights":
            drawn = torch.randn(start[name].shape, generator=generator).to(start[name])
            start[name] = model.lay_out(drawn * (ends[1][name].norm() / drawn.norm()))
    return start


STARTS = {
    "own": lambda model, config, ends: ends[0],
    "zero": lambda model, config, ends: {name: torch.zeros_like(value) for name, value in ends[0].items()},
    "other": other,
    "noise": noise,
}
