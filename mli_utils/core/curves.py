"""Loss and error along paths from θ(0) to θ(T), and over grids with separate α for weights and biases."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mli_utils.core.data import ImageSet
from mli_utils.core.evaluation import batch_norms, evaluate, plain_float32, statistics_of, sum_metrics
from mli_utils.core.networks import Line, Network, Statistics, first_product
from mli_utils.core.parameters import Params, device_of, mix, output_bias, parameter_groups, without_output_bias
from mli_utils.core.paths import SCHEDULES, alpha_grid, interpolate_parameters, schedules
from mli_utils.core.words import recorded

# Training-set statistics for batch norm at α: computed at θ(α); linear in α from θ(0) to θ(T); fixed at θ(T).
STATISTICS = ("recomputed", "interpolated", "frozen")


def curve(
    model: Network, start: Params, end: Params, alphas, path, images: ImageSet, statistics: str = "recomputed"
) -> dict[str, np.ndarray]:
    """Compute loss, errors and mean logits at every α, over all of `images`: `evaluate`'s dict as NumPy arrays.

    Runs on the device of `start` and `end`. `statistics` selects the batch-norm statistics (`STATISTICS`).
    """
    points, of_weights = alpha_grid(alphas), SCHEDULES[schedules(path)["weights"]]
    normalised_by = None
    if statistics != "recomputed" and batch_norms(model):
        pixels = images.images.to(device_of(start))
        at_start, at_end = (statistics_of(model, ends, pixels) for ends in (start, end))
        shares = points if statistics == "interpolated" else np.ones_like(points)

        def normalised_by(some: np.ndarray) -> Statistics:
            return {name: mix(at_start[name], at_end[name], shares[some].item()) for name in at_end}

    def at(some: np.ndarray) -> tuple[Params, np.ndarray]:
        return interpolate_parameters(model, start, end, points[some], path), of_weights(points[some], 1)

    return evaluate_points(model, (start, end), at, len(points), images, normalised_by)


def square(model: Network, start: Params, end: Params, alphas, images: ImageSet) -> dict[str, np.ndarray]:
    """Compute what `curve` does over all pairs (α_weights, α_bias), of weights and of other parameters.

    α_bias varies fastest.
    """
    points = alpha_grid(alphas)
    of_weights, of_biases = np.stack(np.meshgrid(points, points, indexing="ij")).reshape(2, -1)
    groups = parameter_groups(model)

    def at(some: np.ndarray) -> tuple[Params, np.ndarray]:
        shares = {name: (of_weights if group.name == "weights" else of_biases)[some] for name, group in groups.items()}
        return {name: mix(start[name], end[name], share) for name, share in shares.items()}, of_weights[some]

    return evaluate_points(model, (start, end), at, len(of_weights), images)


@dataclass(frozen=True)
class Bias:
    """An output bias at the end of a path, (classes,), and the power p of its schedule α^p."""

    values: np.ndarray | Sequence[float]
    power: float = 1.0


@torch.no_grad()
def biased(
    model: Network, ends: Sequence[Params], images: ImageSet, points, biases: Sequence[Bias], centred: bool = False
) -> dict[str, np.ndarray]:
    """Measure `loss`, `wrong` and `as_largest`, (biases, points), on the linear path, with each output bias at its end.

    One pass serves every bias, because a network adds its output bias last. `wrong` counts misclassified images,
    `as_largest` is the share of predictions of the class with the largest given bias (the first of ties). `centred`
    takes from each image's logits, before the bias is added, their mean over images.
    """
    device, bias = device_of(ends[0]), output_bias(ends[0])
    pixels, labels = images.images.to(device), images.labels.to(device)
    start, end = map(without_output_bias, ends)
    bias = torch.zeros(len(biases[0].values), device=device) if bias is None else bias
    at_once = len(pixels) if model.stacked or batch_norms(model) else model.samples_at_once
    parts = []
    with plain_float32():
        for chosen in chunks(len(points), model, device):
            there = interpolate_parameters(model, start, end, points[chosen])
            signal = torch.cat([model.logits(there, some) for some in pixels.split(at_once)], dim=1)
            signal = signal - signal.mean(1, keepdim=True) if centred else signal
            parts.append(with_biases(signal, points[chosen], bias, biases, labels))
    return {name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]}


def with_biases(
    signal: torch.Tensor, points: np.ndarray, start: torch.Tensor, biases: Sequence[Bias], labels: torch.Tensor
) -> dict[str, np.ndarray]:
    """Add each bias to logits without one, (points, samples, classes); return what `biased` does."""
    found: dict[str, list] = {"loss": [], "wrong": [], "as_largest": []}
    for bias in biases:
        end = torch.tensor(bias.values, dtype=start.dtype, device=start.device)
        sums = sum_metrics(signal + mix(start, end, points**bias.power).unsqueeze(1), labels)
        found["loss"].append((sums["loss"] / len(labels)).cpu().numpy())
        found["wrong"].append(sums["wrong"].sum(1).cpu().numpy())
        found["as_largest"].append((sums["predicted"][:, np.argmax(bias.values)] / len(labels)).cpu().numpy())
    return {name: np.stack(values) for name, values in found.items()}


def chunks(number: int, model: Network, device: torch.device) -> list[np.ndarray]:
    """Split the indices of a curve's points into arrays to evaluate together."""
    return np.array_split(np.arange(number), math.ceil(number / model.points_at_once(device)))


def evaluate_points(
    model: Network,
    ends: tuple[Params, Params],
    at: Callable[[np.ndarray], tuple[Params, np.ndarray]],
    number: int,
    images: ImageSet,
    normalised_by: Callable[[np.ndarray], Statistics] | None = None,
) -> dict[str, np.ndarray]:
    """Apply `evaluation.evaluate` at `number` points between two ends; return NumPy arrays.

    The first layer of an `FCN` has the same inputs at every point and weights on a line, so its products are
    interpolated between the ends.

    Parameters
    ----------
    at : maps the indices of some points to stacked parameters and the coefficients c of θ(T) in their first weights
    normalised_by : maps the index of a point to batch-norm statistics; None: computed over `images`
    """
    device = device_of(ends[0])
    pixels, labels = images.images.to(device), images.labels.to(device)
    parts = []
    with plain_float32():
        products = tuple(first_product(side, pixels) for side in ends) if model.dense else None
        for some in chunks(number, model, device):
            params, share = at(some)
            line = Line(products, torch.tensor(share, dtype=pixels.dtype, device=device)) if products else None
            statistics = normalised_by(some) if normalised_by else None
            parts.append(evaluate(model, params, pixels, labels, statistics, line))
    found = {name: torch.cat([part[name] for part in parts]).cpu().numpy() for name in parts[0]}
    return {**found, "mean_logits": np.vectorize(recorded)(found["mean_logits"])}
