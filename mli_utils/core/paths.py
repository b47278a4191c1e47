"""Paths from θ(0) to θ(T), and alternative starting points.

A path gives each parameter group a schedule c(α): θ(α) = (1 − c(α)) θ(0) + c(α) θ(T) within the group.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import nn

from mli_utils.core.config import InputError, RunConfig, choose
from mli_utils.core.initialization import initialize, stream
from mli_utils.core.networks import Network
from mli_utils.core.parameters import EMBEDDINGS, GROUPS, Group, Params, mix, own_parameters, parameter_groups

# c(α) in weight layer ℓ. `homogeneous` scales a bias like its layer's signal when all weights scale by α: from
# θ(0) = 0 the logits are α^depth z(θ(T)).
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
    """Return the schedule of every group, for a named path or {group: schedule}; InputError if one is unknown."""
    if isinstance(path, str):
        return PATHS[choose("path", path, PATHS)]
    for group, schedule in path.items():
        choose("parameter group", group, (*GROUPS, EMBEDDINGS))
        choose("schedule", schedule, SCHEDULES)
    lacking = [group for group in GROUPS if group not in path]
    if lacking:
        raise InputError(f"the path has no schedule for {', '.join(lacking)}; needed: {', '.join(GROUPS)}")
    return dict(path)


def named_paths(paths: str | Mapping | Iterable) -> dict[str, str | Mapping[str, str]]:
    """Return the paths by name that one name, several, or {name: path} ask for; InputError if none or unknown."""
    if not isinstance(paths, Mapping):
        paths = {choose("path", name, PATHS): name for name in ([paths] if isinstance(paths, str) else paths)}
    if not paths:
        raise InputError("paths are empty; allowed: at least one path")
    if paths.keys() >= set(GROUPS):
        raise InputError("this path has no name; allowed: {name: {group: schedule}}")
    for path in paths.values():
        schedules(path)
    return dict(paths)


def alpha_grid(alphas: int | Sequence[float] | np.ndarray) -> np.ndarray:
    """Return a curve's points as float64: `alphas` equally spaced ones from 0 to 1, or those listed.

    InputError for fewer than 2, or a list that is empty, not increasing or outside [0, 1].
    """
    if isinstance(alphas, (int, np.integer)):
        if alphas < 2:
            raise InputError(f"alphas={alphas} is not allowed; allowed: at least 2 points, or a list of them")
        return np.linspace(0, 1, alphas)
    try:
        points = np.asarray(alphas, float)
    except (TypeError, ValueError):
        points = np.empty(0)
    if points.ndim != 1 or not len(points) or not ((points >= 0) & (points <= 1)).all() or (np.diff(points) <= 0).any():
        raise InputError(f"alphas={alphas} is not allowed; allowed: increasing numbers from 0 to 1")
    return points


def interpolate_parameters(
    model: nn.Module, start: Params, end: Params, alpha: float | Sequence[float], path="linear"
) -> Params:
    """Interpolate between the parameters at the ends of a path.

    Parameters
    ----------
    model : torch.nn.Module
        Network with the names, shapes and groups of the parameters.
    start, end : dict of torch.Tensor
        θ(0) and θ(T), by parameter name; not modified.
    alpha : float or sequence of float
        One number in [0, 1], or increasing ones, which add a leading stack dimension to every parameter.
    path : str or dict
        Name in `PATHS`, or {group: schedule}.

    Returns
    -------
    dict of torch.Tensor
        θ(α), by parameter name; exactly `start` at α = 0 and `end` at α = 1 on paths that join them.

    Raises
    ------
    InputError
        An unknown path, α outside [0, 1] or not increasing, a parameter without a group, or parameters whose names or
        shapes differ from the network's.
    """
    alpha_grid(np.atleast_1d(alpha))
    for side, params in (("start", start), ("end", end)):
        own = own_parameters(model, params, f" at the {side}")
        for name, value in params.items():
            if value.shape != own[name].shape:
                there, allowed = tuple(value.shape), tuple(own[name].shape)
                raise InputError(f"{name} at the {side} has the shape {there}; allowed: {allowed}, the network's own")
    return interpolate_groups(parameter_groups(model), start, end, alpha, path)


def interpolate_groups(
    groups: Mapping[str, Group], start: Params, end: Params, alpha: float | Sequence[float], path
) -> Params:
    """Interpolate as `interpolate_parameters`, by the group and layer of each parameter."""
    points, of_group, there = np.atleast_1d(np.asarray(alpha, float)), schedules(path), {}
    for name, group in groups.items():
        schedule = of_group.get(group.name, of_group["weights"])  # embeddings
        share = SCHEDULES[schedule](points, group.layer)
        there[name] = mix(start[name], end[name], share if np.ndim(alpha) else share.item())
    return there


# Starting points of paths to one trained network (section 10), each as `start(model, config, (θ(0), θ(T)))`.


def other_initialization(model: Network, config: RunConfig, ends: Sequence[Params]) -> Params:
    """Draw another initialization from the run's distribution."""
    again = initialize(model, config.replace(seed=stream(config.seed, "another start")))
    return {name: value.to(ends[0][name].device) for name, value in again.items()}


def noise_of_trained_norm(model: Network, config: RunConfig, ends: Sequence[Params]) -> Params:
    """Replace each weight tensor of θ(0) by normal noise with the norm of the trained one."""
    generator = torch.Generator().manual_seed(stream(config.seed, "noise"))
    start = dict(ends[0])
    for name, group in parameter_groups(model).items():
        if group.name == "weights":
            drawn = torch.randn(start[name].shape, generator=generator).to(start[name])
            start[name] = model.in_memory_format(drawn * (ends[1][name].norm() / drawn.norm()))
    return start


STARTS = {
    "own": lambda model, config, ends: ends[0],
    "zero": lambda model, config, ends: {name: torch.zeros_like(value) for name, value in ends[0].items()},
    "other": other_initialization,
    "noise": noise_of_trained_norm,
}
