"""Trained networks under other output biases: zeroed, permuted, dosed, at another pace (sections 05, 08, 09 and 11)."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd

from mli_utils.core.config import DATASETS, InputError
from mli_utils.core.curves import Bias, biased
from mli_utils.core.initialization import stream
from mli_utils.core.paths import alpha_grid
from mli_utils.runs.measured import ALONG_CURVES, Measurement, curve_of, measure
from mli_utils.runs.trained import Run, fields_of, tidy_frame


def trained_bias(run: Run) -> np.ndarray:
    """Return the output bias at θ(T), (classes,); zeros for a network without one."""
    return np.array(run.summary["output_bias"] or [0.0] * DATASETS[run.config.dataset].classes)


def permuted(run: Run) -> np.ndarray:
    """Permute the trained bias at random so that another class has the largest."""
    bias = trained_bias(run)
    draw = np.random.default_rng(stream(run.config.seed, "permutation"))
    while True:
        order = draw.permutation(len(bias))
        if order[bias.argmax()] != bias.argmax():
            return bias[np.argsort(order)]


def dose(run: Run, gap: float) -> Bias:
    """Return a bias of `gap` (logits) for one class, chosen by the seed, and 0 for the others."""
    values = np.zeros(DATASETS[run.config.dataset].classes)
    values[run.config.seed % len(values)] = gap
    return Bias(values)


def biased_curves(
    runs: Sequence[Run],
    biases: Sequence[Mapping[str, Bias]],
    alphas: int | Sequence[float] = 51,
    images: int | None = None,
) -> pd.DataFrame:
    """Measure curves on the linear path whose output bias goes from its value at θ(0) to a given one as α^p.

    Parameters
    ----------
    biases : {name: bias} of each run; InputError unless with one value per class
    alphas : number of equally spaced points from 0 to 1, or the points
    images : how many of the first training images to evaluate on, statistics included; None: all

    Returns
    -------
    Frame as `mli.interpolate` returns it, with the name as `path`, and `as_largest`, the share of predictions of the
    class with the largest given bias (the first of ties)
    """
    return curves_under(runs, biases, alphas, {"curves": "own"}, biased, images)


def curves_under(
    runs: Sequence[Run],
    biases: Sequence[Mapping[str, Bias]],
    alphas: int | Sequence[float],
    key: dict,
    compute: Callable,
    images: int | None = None,
) -> pd.DataFrame:
    """Return curves as `biased_curves`, by `compute(model, ends, images, points=, biases=)`, kept under `key`."""
    points, wanted = alpha_grid(alphas), []
    for run, given in zip(runs, biases, strict=True):
        classes = DATASETS[run.config.dataset].classes
        kept = [
            {"values": [float(value) for value in bias.values], "power": float(bias.power)} for bias in given.values()
        ]
        if wrong := [name for name, bias in given.items() if len(bias.values) != classes]:
            raise InputError(f"biases of {', '.join(wrong)} are not allowed; allowed: {classes} values, one a class")
        whole = {**key, "biases": kept, "alphas": points.tolist()}
        task = partial(compute, points=points, biases=list(given.values()))
        wanted.append(
            Measurement(run, "interventions", whole, "curves under other biases", task, "interventions", images)
        )
    parts = []
    for run, given, body in zip(runs, biases, measure(wanted, "run"), strict=True):
        for i, name in enumerate(given):
            of_bias = {**body, "loss": body["loss"][i], "wrong": np.array(body["wrong"][i])[:, None]}
            share = np.array(body["as_largest"][i], float)
            parts.append((fields_of(run, path=name), {**curve_of(run, of_bias, points), "as_largest": share}))
    return tidy_frame(parts, "path", *ALONG_CURVES, "as_largest")
