"""What earlier and later work measured of the line, in one table of many networks; rank correlations; single layers.

The book's section 11 needs all of it.
"""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch

from mli_utils import interpolation, metrics, models, settings, sweep, tables
from mli_utils.config import DATASETS, InputError
from mli_utils.measurements import ALONG_CURVES, Measurement, curve_frame, measure
from mli_utils.store import write_atomically
from mli_utils.sweep import Run
from mli_utils.versions import VERSIONS

RESAMPLES = 1000  # of networks, for an interval
TABLE = "neighbours"  # the figure whose data the table is; the record keeps it with its columns

COLUMNS = {
    "model": "kind of network: fcn, fully connected; vit, a small vision transformer",
    "depth": "weight layers from image to logits",
    "width": "units of each hidden layer",
    "init_scale": "factor on Kaiming-normal weights at the start",
    "optimizer": "sgd or adam",
    "momentum": "of sgd; 0 is plain SGD",
    "lr": "learning rate",
    "normalization": "none, or layer: layer norm",
    "seed": "of initialization and batches",
    "rule": "optimizer in words: SGD, momentum, Adam",
    "status": "fitted; unfitted: more than 1 % of the training set is wrong; diverged: the loss is not finite",
    "bump": "largest rise of the training loss along the linear path, nats (Lucas et al. 2021)",
    "error_plateau": "length of the error plateau on the linear path, α, at tolerance 0.1",
    "loss_plateau": "length of the loss plateau on the linear path, α, at tolerance 0.1",
    "homogeneous_plateau": "length of the error plateau on the homogeneous path, α, at tolerance 0.1",
    "distance": "path length ‖θ(T) − θ(0)‖",
    "relative_distance": "path length over ‖θ(0)‖",
    "bias_gap": "largest less smallest output bias at θ(T), logits",
    "steps_to_fit": "first logged step from which the training error stays at most 1 %",
    "steps": "optimizer steps until training ended",
    "train_loss": "final training loss, nats",
    "train_wrong": "training images that are wrong in the end",
    "test_accuracy": "fraction of the test set that is right in the end",
    "test_wrong": "test images that are wrong in the end",
}


def steps_to_fit(run: Run) -> float:
    """The first logged step from which the training error stays at most 1 %; NaN where it never does."""
    bad = np.flatnonzero(~(run.history.error.to_numpy() <= metrics.FITTED_ERROR))
    after = bad[-1] + 1 if len(bad) else 0
    return float(run.history.step.iloc[after]) if after < len(run.history) else math.nan


def line_totals(runs: Sequence[Run], alphas: int = 21) -> pd.DataFrame:
    """Curves on the linear and the homogeneous path as `mli.interpolate` has them, kept without the classes."""
    points = interpolation.alpha_grid(alphas)
    frames = []
    for path in ("linear", "homogeneous"):
        bodies = _measure(runs, {"path": interpolation.schedules(path)}, points, partial(_totals, path=path))
        frames += [curve_frame(run, body, points, path=path) for run, body in zip(runs, bodies, strict=True)]
    return sweep.together(frames, "path", *ALONG_CURVES)


def neighbours_table(runs: Sequence[Run], lines: pd.DataFrame, tolerance: float = 0.1) -> pd.DataFrame:
    """One row a run, with the columns of `COLUMNS`; `lines` as `line_totals` returns them of the same runs.

    Raises
    ------
    InputError
        A run that is there twice.
    """
    if len({run.config for run in runs}) < len(runs):
        raise InputError("a run is there twice; allowed: every run once")
    lengths = metrics.plateau(lines, tolerance)
    linear, homogeneous = (lengths[lengths.path == path].reset_index(drop=True) for path in ("linear", "homogeneous"))
    ended = sweep.table(runs)
    sizes = [DATASETS[run.config.dataset].test for run in runs]
    rules = ["Adam" if c.optimizer == "adam" else "momentum" if c.momentum else "SGD" for c in (r.config for r in runs)]
    table = ended.assign(
        rule=rules,
        bump=linear.bump,
        error_plateau=linear.error_plateau,
        loss_plateau=linear.loss_plateau,
        homogeneous_plateau=homogeneous.error_plateau,
        relative_distance=ended.distance / ended.start_norm.where(ended.start_norm > 0),
        steps_to_fit=[steps_to_fit(run) for run in runs],
        train_wrong=(ended.train_error * ended.n_train).round(),
        test_accuracy=1 - ended.test_error,
        test_wrong=(ended.test_error * sizes).round(),
    )
    return table[list(COLUMNS)]


def show_columns(table: pd.DataFrame) -> None:
    """Show what each column of the table holds, and leave the same beside its data as `neighbours-columns.csv`.

    Raises
    ------
    InputError
        A column that nobody described.
    """
    unknown = [name for name in table if name not in COLUMNS]
    if unknown:
        raise InputError(f"no description of {', '.join(unknown)}; described: {', '.join(COLUMNS)}")
    said = pd.DataFrame({"column": list(table), "what it holds": [COLUMNS[name] for name in table]})
    write_atomically(settings.figures_dir() / f"{TABLE}-columns.csv", said.to_csv(index=False).encode())
    tables.show_table(said, kind="prose")


def layer_curves(runs: Sequence[Run], alphas: int = 21) -> pd.DataFrame:
    """Loss and error where one layer moves from θ(0) to θ(T) and all others stay at θ(T) (Vlaar and Frankle 2022).

    A layer is its weights, its biases and the normalization that follows it. One row a run, layer and α: a frame as
    `mli.interpolate`'s with `path` `layer 1`, …, and `layer`.
    """
    points = interpolation.alpha_grid(alphas)
    bodies = _measure(runs, {"path": "layers"}, points, _layers)
    frames = []
    for run, body in zip(runs, bodies, strict=True):
        for i, layer in enumerate(body["layer"]):
            kept = {"loss": body["loss"][i], "wrong": [[wrong] for wrong in body["wrong"][i]]}
            frames.append(curve_frame(run, kept, points, path=f"layer {layer}", layer=layer))
    return sweep.together(frames, "path", "layer", *ALONG_CURVES)


def _measure(runs: Sequence[Run], key: dict, points: np.ndarray, compute) -> list[dict]:
    whole = {**key, "alphas": points.tolist(), "version": [VERSIONS["interpolation"], VERSIONS["neighbours"]]}
    wanted = [Measurement(run, "neighbours", whole, "a curve", partial(compute, points=points)) for run in runs]
    return measure(wanted, "curve")


def _totals(model, ends, images, path: str, points: np.ndarray) -> dict[str, np.ndarray]:
    """`interpolation.curve` without the classes, which nobody asks for here."""
    measured = interpolation.curve(model, *ends, points, path, images)
    return {"loss": measured["loss"], "wrong": measured["wrong"].sum(1, keepdims=True)}


@torch.no_grad()
def _layers(model, ends, images, points: np.ndarray) -> dict[str, np.ndarray]:
    start, end = ends
    device = models.device_of(end)
    pixels, labels = images.images.to(device), images.labels.to(device)
    groups = models.parameter_groups(model)
    layers = sorted({group.layer for group in groups.values()})
    found = {"layer": np.array(layers), "loss": [], "wrong": []}
    with models.plain_float32():
        for layer in layers:
            parts = []
            for some in interpolation.chunks(len(points), model, device):
                share, stay = points[some], np.ones(len(some))
                there = {
                    name: interpolation.mix(start[name], end[name], share if group.layer == layer else stay)
                    for name, group in groups.items()
                }
                parts.append(models.evaluate(model, there, pixels, labels))
            found["loss"].append(torch.cat([part["loss"] for part in parts]).cpu().numpy())
            found["wrong"].append(torch.cat([part["wrong"].sum(1) for part in parts]).cpu().numpy())
    return {name: np.array(values) for name, values in found.items()}
