"""What earlier and later work measured of the line, in one table of many networks; single layers (section 11)."""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from mli_utils.core.config import DATASETS, InputError
from mli_utils.core.curves import chunks, curve
from mli_utils.core.evaluation import evaluate, plain_float32
from mli_utils.core.parameters import device_of, mix, parameter_groups
from mli_utils.core.paths import alpha_grid, schedules
from mli_utils.core.plateaus import FITTED_ERROR, plateau
from mli_utils.figures.kinds import empty_figure, nothing
from mli_utils.figures.style import LABELS, style
from mli_utils.figures.tables import show_table
from mli_utils.runs import settings
from mli_utils.runs.measured import ALONG_CURVES, Measurement, curve_frame, measure
from mli_utils.runs.store import write_atomically
from mli_utils.runs.trained import Run, table, together

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
    bad = np.flatnonzero(~(run.history.error.to_numpy() <= FITTED_ERROR))
    after = bad[-1] + 1 if len(bad) else 0
    return float(run.history.step.iloc[after]) if after < len(run.history) else math.nan


def line_totals(runs: Sequence[Run], alphas: int = 21) -> pd.DataFrame:
    """Curves on the linear and the homogeneous path as `mli.interpolate` has them, kept without the classes."""
    points = alpha_grid(alphas)
    frames = []
    for path in ("linear", "homogeneous"):
        bodies = _measure(runs, "lines", {"schedules": schedules(path)}, points, partial(_totals, path=path))
        frames += [curve_frame(run, body, points, path=path) for run, body in zip(runs, bodies, strict=True)]
    return together(frames, "path", *ALONG_CURVES)


def neighbours_table(runs: Sequence[Run], lines: pd.DataFrame, tolerance: float = 0.1) -> pd.DataFrame:
    """One row a run, with the columns of `COLUMNS`; `lines` as `line_totals` returns them of the same runs.

    Raises
    ------
    InputError
        A run that is there twice.
    """
    if len({run.config for run in runs}) < len(runs):
        raise InputError("a run is there twice; allowed: every run once")
    lengths = plateau(lines, tolerance)
    linear, homogeneous = (lengths[lengths.path == path].reset_index(drop=True) for path in ("linear", "homogeneous"))
    ended = table(runs)
    sizes = [DATASETS[run.config.dataset].test for run in runs]
    rules = ["Adam" if c.optimizer == "adam" else "momentum" if c.momentum else "SGD" for c in (r.config for r in runs)]
    whole = ended.assign(
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
    return whole[list(COLUMNS)]


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
    show_table(said, kind="prose")


def layer_curves(runs: Sequence[Run], alphas: int = 21) -> pd.DataFrame:
    """Loss and error where one layer moves from θ(0) to θ(T) and all others stay at θ(T) (Vlaar and Frankle 2022).

    A layer is its weights, its biases and the normalization that follows it. One row a run, layer and α: a frame as
    `mli.interpolate`'s with `path` `layer 1`, …, and `layer`.
    """
    points = alpha_grid(alphas)
    bodies = _measure(runs, "layers", {}, points, _layers)
    frames = []
    for run, body in zip(runs, bodies, strict=True):
        for i, layer in enumerate(body["layer"]):
            kept = {"loss": body["loss"][i], "wrong": [[wrong] for wrong in body["wrong"][i]]}
            frames.append(curve_frame(run, kept, points, path=f"layer {layer}", layer=layer))
    return together(frames, "path", "layer", *ALONG_CURVES)


def _measure(runs: Sequence[Run], kind: str, key: dict, points: np.ndarray, compute) -> list[dict]:
    whole, made = {**key, "alphas": points.tolist()}, partial(compute, points=points)
    wanted = [Measurement(run, kind, whole, "a curve", made, "neighbours") for run in runs]
    return measure(wanted, "curve")


def _totals(model, ends, images, path: str, points: np.ndarray) -> dict[str, np.ndarray]:
    """`curve` without the classes, which nobody asks for here."""
    measured = curve(model, *ends, points, path, images)
    return {"loss": measured["loss"], "wrong": measured["wrong"].sum(1, keepdims=True)}


@torch.no_grad()
def _layers(model, ends, images, points: np.ndarray) -> dict[str, np.ndarray]:
    start, end = ends
    device = device_of(end)
    pixels, labels = images.images.to(device), images.labels.to(device)
    groups = parameter_groups(model)
    layers = sorted({group.layer for group in groups.values()})
    found = {"layer": np.array(layers), "loss": [], "wrong": []}
    with plain_float32():
        for layer in layers:
            parts = []
            for some in chunks(len(points), model, device):
                share, stay = points[some], np.ones(len(some))
                there = {
                    name: mix(start[name], end[name], share if group.layer == layer else stay)
                    for name, group in groups.items()
                }
                parts.append(evaluate(model, there, pixels, labels))
            found["loss"].append(torch.cat([part["loss"] for part in parts]).cpu().numpy())
            found["wrong"].append(torch.cat([part["wrong"].sum(1) for part in parts]).cpu().numpy())
    return {name: np.array(values) for name, values in found.items()}


def scatter_figure(
    frame: pd.DataFrame, x: str, measures: Sequence[str], hue: str, xlabel: str, log: bool = False
) -> Figure:
    """A dot a network against `x`, a panel a measure, coloured by `hue`."""
    if nothing(frame, x, hue, *measures):
        return empty_figure()
    with style():
        figure, panels = plt.subplots(1, len(measures), figsize=(4.2 * len(measures) + 1, 3.5), layout="constrained")
        for axes, measure in zip(panels, measures, strict=True):
            sns.scatterplot(
                frame.astype({hue: str}), x=x, y=measure, hue=hue, style=hue, palette="colorblind", ax=axes,
                alpha=0.6, s=24, legend=measure == measures[-1],
            )  # fmt: skip
            axes.set(xlabel=xlabel, ylabel=LABELS.get(measure, measure.replace("_", " ")), ylim=(0, None))
            if log:
                axes.set_xscale("log")
                axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
                axes.xaxis.set_major_formatter("{x:g}")
                axes.xaxis.set_minor_formatter(NullFormatter())
        sns.move_legend(panels[-1], "upper left", bbox_to_anchor=(1, 1), title=LABELS.get(hue, hue))
    return figure


def layer_figure(curves: pd.DataFrame, measures: Sequence[str] = ("loss", "error")) -> Figure:
    """Means over runs of curves on which one layer moves, from the first layer (dark) to the last (bright)."""
    if nothing(curves, "alpha", "layer", *measures):
        return empty_figure()
    layers = sorted(set(curves.layer))
    colours = sns.color_palette("viridis", len(layers))
    with style():
        figure, panels = plt.subplots(1, len(measures), figsize=(4.4 * len(measures) + 1, 3.3), layout="constrained")
        for axes, measure in zip(panels, measures, strict=True):
            middle = curves.groupby(["layer", "alpha"])[measure].mean().unstack("layer")
            for colour, layer in zip(colours, layers, strict=True):
                axes.plot(middle.index, middle[layer], color=colour, label=layer)
            axes.set(xlabel=LABELS["alpha"], ylabel=LABELS[measure], xlim=(0, 1), ylim=(0, None))
        panels[-1].legend(title="layer", loc="upper left", bbox_to_anchor=(1, 1))
    return figure
