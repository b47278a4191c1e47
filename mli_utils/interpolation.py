"""Curves along paths from θ(0) to θ(T).

A path gives each group of parameters a schedule c(α), and θ(α) = (1 − c(α)) θ(0) + c(α) θ(T) within the group.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

import numpy as np
import torch
from torch import nn

from mli_utils import adaptive, batchnorm, models, stacks
from mli_utils.adaptive import Adaptive
from mli_utils.config import InputError, choose
from mli_utils.data import ImageSet
from mli_utils.models import GROUPS, Params
from mli_utils.versions import VERSIONS

# Numbers in what a layer makes of the images that are evaluated at once: near the cache on a CPU, many on a GPU.
MEMORY = {"cpu": 2**20, "cuda": 2**26}
DIGITS = 6  # of mean logits

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

# What batch norm normalises by at α: the training set's statistics at θ(α); those at θ(0) and θ(T), mixed as the
# weights are; those at θ(T).
STATISTICS = ("recomputed", "interpolated", "frozen")


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


def points_of(alphas: str | Adaptive | int | Sequence[float]) -> np.ndarray | Adaptive:
    """The points of a curve as `alpha_grid` gives them, or how to choose them: `adaptive` means `Adaptive()`.

    Raises
    ------
    InputError
        As `alpha_grid`, or another string.
    """
    if isinstance(alphas, Adaptive):
        return alphas
    if isinstance(alphas, str):
        if alphas != "adaptive":
            raise InputError(
                f"alphas={alphas!r} is not allowed; allowed: 'adaptive', interpolation.Adaptive(…), "
                "how many points from 0 to 1, or a list of increasing ones"
            )
        return Adaptive()
    return alpha_grid(alphas)


def points_key(points: np.ndarray | Adaptive) -> dict:
    """What tells a curve's points from others in its address: themselves, or how they are chosen."""
    if isinstance(points, Adaptive):
        return {"adaptive": {**asdict(points), "version": VERSIONS["adaptive"]}}
    return {"alphas": points.tolist()}


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
        As `schedules`, `alpha_grid` and `models.parameter_groups`; or parameters at either end that the model has not,
        that it lacks, or that have other shapes than its own.
    """
    points = alpha_grid(np.atleast_1d(alpha))
    of_group = schedules(path)
    groups = models.parameter_groups(model)
    for side, params in (("start", start), ("end", end)):
        _check_fit(model, side, params)
    there = {}
    for name, group in groups.items():
        share = SCHEDULES[of_group[group.name]](points, group.layer)
        there[name] = mix(start[name], end[name], share if np.ndim(alpha) else share.item())
    return there


def _check_fit(model: nn.Module, side: str, params: Params) -> None:
    """Raise where the parameters at one end of a path are not the model's."""
    own = models.own_parameters(model, params, f" at the {side}")
    for name, value in params.items():
        if value.shape != own[name].shape:
            there, allowed = tuple(value.shape), tuple(own[name].shape)
            raise InputError(f"{name} at the {side} has the shape {there}; allowed: {allowed}, the network's own")


def mix(start: torch.Tensor, end: torch.Tensor, share: np.ndarray | float) -> torch.Tensor:
    """(1 − share) start + share end; several shares give a leading stack dimension."""
    c = torch.tensor(share, dtype=start.dtype, device=start.device)
    if c.ndim:
        c = c.view(-1, *[1] * start.ndim)
    return (1 - c) * start + c * end


def curve(
    model: nn.Module, start: Params, end: Params, alphas, path, images: ImageSet, statistics: str = "recomputed"
) -> dict[str, np.ndarray]:
    """Loss, errors and mean logits at every α, over all of `images`: `models.evaluate`'s dict as NumPy arrays.

    Computed where `start` and `end` are. `statistics` says what batch norm normalises by (`STATISTICS`). Of an
    `Adaptive` the dict also holds the `alpha` it chose, with the same numbers that a grid with those points has.
    """
    device, of_weights = models.device_of(start), SCHEDULES[schedules(path)["weights"]]
    products = _first_products(model, start, end, images)
    recomputed = statistics == "recomputed" or not batchnorm.has_batch_norm(model)
    if not recomputed:
        pixels = images.images.to(device)
        at_start, at_end = (models.statistics(model, ends, pixels) for ends in (start, end))

    def measure(points):
        shares = points if statistics == "interpolated" else np.ones_like(points)

        def at(some):
            return interpolate_parameters(model, start, end, points[some], path), of_weights(points[some], 1)

        def normalised_by(some):
            if recomputed:
                return None
            return {name: mix(at_start[name], at_end[name], shares[some].item()) for name in at_end}

        return _evaluate(model, device, at, len(points), images, products, normalised_by)

    return adaptive.refine(measure, alphas) if isinstance(alphas, Adaptive) else measure(alpha_grid(alphas))


def square(model: nn.Module, start: Params, end: Params, alphas, images: ImageSet) -> dict[str, np.ndarray]:
    """Loss, errors and mean logits where weights are at one α and biases at another, over all of `images`.

    Returns
    -------
    `models.evaluate`'s dict as NumPy arrays over all pairs (α_weights, α_bias), the latter varying fastest
    """
    points = alpha_grid(alphas)
    of_weights, of_biases = np.stack(np.meshgrid(points, points, indexing="ij")).reshape(2, -1)
    groups = models.parameter_groups(model)

    def at(some):
        shares = {name: (of_weights if group.name == "weights" else of_biases)[some] for name, group in groups.items()}
        return {name: mix(start[name], end[name], share) for name, share in shares.items()}, of_weights[some]

    products = _first_products(model, start, end, images)
    return _evaluate(model, models.device_of(start), at, len(of_weights), images, products)


def chunks(number: int, model: nn.Module, device: torch.device) -> list[np.ndarray]:
    """The numbers of the points of a curve, in parts that are evaluated together: as many as fit `MEMORY`, one by one
    for convolutional networks."""
    if not isinstance(model, models.FCN):
        return np.array_split(np.arange(number), math.ceil(number / (8 if models.takes_stacks(model) else 1)))
    of_one = models.SAMPLES_AT_ONCE * max(layer.out_features for layer in model.layers)
    at_once = max(1, MEMORY[device.type] // of_one)
    return np.array_split(np.arange(number), math.ceil(number / at_once))


def _first_products(model: nn.Module, start: Params, end: Params, images: ImageSet) -> list[torch.Tensor]:
    """What the first layer of a fully-connected network makes of the images at both ends; nothing of another.

    It sees the same images at every point, and its weights lie on a line: these two products make all of them.
    """
    if not isinstance(model, models.FCN):
        return []
    pixels = images.images.to(models.device_of(start))
    with models.plain_float32():
        return [stacks.first_product(side, pixels) for side in (start, end)]


def _evaluate(
    model: nn.Module,
    device: torch.device,
    at: Callable[[np.ndarray], tuple[Params, np.ndarray]],
    number: int,
    images: ImageSet,
    products: list[torch.Tensor],
    statistics: Callable = lambda some: None,
) -> dict[str, np.ndarray]:
    """`models.evaluate` at `number` points; `at` returns the parameters of some, and their first weights' shares."""
    pixels, labels = images.images.to(device), images.labels.to(device)
    parts = []
    with models.plain_float32():
        for some in chunks(number, model, device):
            params, share = at(some)
            line = stacks.Line(*products, torch.tensor(share, dtype=pixels.dtype, device=device)) if products else None
            parts.append(models.evaluate(model, params, pixels, labels, statistics(some), line))
    found = {name: torch.cat([part[name] for part in parts]).cpu().numpy() for name in parts[0]}
    return {**found, "mean_logits": np.vectorize(lambda value: float(f"{value:.{DIGITS}g}"))(found["mean_logits"])}
