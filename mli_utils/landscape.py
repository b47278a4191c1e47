"""Beyond curves: the (α_weights, α_bias) square, and what one forward pass of the trained network predicts.

The book's section 03 needs both.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch

from mli_utils import interpolation, models, sweep
from mli_utils.config import InputError
from mli_utils.measurements import ALONG_CURVES, Measurement, curve_frame, measure
from mli_utils.sweep import Run
from mli_utils.versions import VERSIONS

PREDICTIONS = ("closed form", "gain", "gain and shift")


def square(runs: Run | Iterable[Run], alphas: int = 25) -> pd.DataFrame:
    """Training loss and error where the weights are at one α of the line and the biases at another.

    Returns
    -------
    Tidy frame with the runs' fields, `status`, `alpha_weights`, `alpha_bias`, `loss` (nats), `error`

    Raises
    ------
    InputError
        A run whose network has normalization layers.
    """
    runs = [runs] if isinstance(runs, Run) else list(runs)
    for run in runs:
        if run.config.normalization != "none":
            raise InputError(f"no square for {run.config}: its normalization is neither; allowed: networks without")
    points = interpolation.alpha_grid(alphas)
    frames = []
    for run, body in _each(runs, "squares", points, "the (α_weights, α_bias) square", _square_totals):
        frame = curve_frame(run, body, np.repeat(points, len(points)))
        frame["alpha_bias"] = np.tile(points, len(points))
        frames.append(frame.rename(columns={"alpha": "alpha_weights"}))
    return sweep.together(frames, "alpha_weights", "alpha_bias", "loss", "error")


def predict(runs: Run | Iterable[Run], alphas: int = 51) -> pd.DataFrame:
    """Curves on the linear path as theory has them, for networks with an output bias only.

    Three predictions, told apart by `path`. All start from the trained network's logits without its output bias, s.

    `closed form`: z(α) = α^r s + α b. From one forward pass of the trained network; exact where θ(0) = 0.
    `gain`: z(α) = g(α) s + α b, where g(α) is how much of what tells images apart in s there is in the logits without
    output bias at α on the true path (its projection; logits centred over classes and over images).
    `gain and shift`: z(α) = g(α) (s − s̄) + m(α) + α b, where s̄ is the mean of s over images and m(α) that of the
    logits without output bias at α: what θ(0) says of every image alike.

    Returns
    -------
    A frame as `mli.interpolate`'s, with the columns `gain` (g(α), or α^r) and `alignment` (the cosine between what
    tells images apart at α and at 1; NaN for the closed form)

    Raises
    ------
    InputError
        A run whose network is not fully connected, has normalization layers, or biases that are not `output`.
    """
    runs = [runs] if isinstance(runs, Run) else list(runs)
    for run in runs:
        if (run.config.model, run.config.normalization, run.config.bias) != ("fcn", "none", "output"):
            raise InputError(f"no closed form for {run.config}; allowed: fcn with bias 'output', no norm")
    points = interpolation.alpha_grid(alphas)
    frames = []
    for run, body in _each(runs, "predictions", points, "the predicted curve", _predictions):
        gains = {name: np.array(body["gain"], float) for name in PREDICTIONS}
        gains["closed form"] = points**run.config.depth
        for name in PREDICTIONS:
            kept = {part: body[f"{name}: {part}"] for part in ("loss", "wrong")}
            frame = curve_frame(run, kept, points, start="zero" if name == "closed form" else "own", path=name)
            alignment = np.nan if name == "closed form" else np.array(body["alignment"], float)
            frames.append(frame.assign(gain=gains[name], alignment=alignment))
    return sweep.together(frames, "start", "path", *ALONG_CURVES, "gain", "alignment")


def _each(runs: Sequence[Run], kind: str, points: np.ndarray, what: str, compute: Callable) -> list[tuple[Run, dict]]:
    """Each run with what `compute(model, (θ(0), θ(T)), images, points)` measures of it, from the store where it is."""
    key = {"alphas": points.tolist(), "version": [VERSIONS["interpolation"], VERSIONS["landscape"]]}
    wanted = [Measurement(run, kind, key, what, partial(compute, points=points)) for run in runs]
    return list(zip(runs, measure(wanted, "run"), strict=True))


def _square_totals(model, ends, images, points: np.ndarray) -> dict[str, np.ndarray]:
    """`interpolation.square` without the classes, which nobody asks for on a square."""
    measured = interpolation.square(model, *ends, points, images)
    return {"loss": measured["loss"], "wrong": measured["wrong"].sum(1, keepdims=True)}


@torch.no_grad()
def _predictions(model, ends, images, points: np.ndarray) -> dict[str, np.ndarray]:
    start, end = ends
    depth = max(group.layer for group in models.parameter_groups(model).values())
    device = models.device_of(start)
    pixels, labels = images.images.to(device), images.labels.to(device)
    bias = models.output_bias(end).double()
    free = [models.without_output_bias(side) for side in (start, end)]
    signal = models.logits(model, free[1], pixels).double()
    signal -= signal.mean(1, keepdim=True)  # a shift of all logits changes nothing
    apart = signal - signal.mean(0)  # what tells images apart
    total, sums = [], {name: [] for name in PREDICTIONS}
    for chosen in interpolation.chunks(len(points), model, device):
        some = points[chosen]
        there = models.logits(model, interpolation.interpolate_parameters(model, *free, some), pixels).double()
        there -= there.mean(-1, keepdim=True)
        shift = there.mean(1, keepdim=True)
        overlap = ((there - shift) * apart).sum((1, 2))
        gain = overlap / apart.square().sum()
        total.append({"gain": gain, "alignment": overlap / ((there - shift).flatten(1).norm(dim=1) * apart.norm())})
        alpha = torch.as_tensor(some, device=device)[:, None, None]
        kept = gain[:, None, None]
        for name, predicted in (
            ("closed form", alpha**depth * signal),
            ("gain", kept * signal),
            ("gain and shift", kept * apart + shift),
        ):
            sums[name].append(models.anatomy(predicted + alpha * bias, labels))
    arrays = {name: torch.cat([part[name] for part in total]).cpu().numpy() for name in ("gain", "alignment")}
    for name, parts in sums.items():
        arrays[f"{name}: loss"] = torch.cat([part["loss"] for part in parts]).cpu().numpy() / len(labels)
        arrays[f"{name}: wrong"] = torch.cat([part["wrong"].sum(1, keepdim=True) for part in parts]).cpu().numpy()
    return arrays
