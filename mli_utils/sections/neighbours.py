"""Measures of related work in one table of many networks, and paths of single layers (section 11)."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from mli_utils.core.config import DATASETS, InputError, choose
from mli_utils.core.curves import chunks, curve
from mli_utils.core.estimates import mean_and_interval, rank_correlation, rank_correlations
from mli_utils.core.evaluation import evaluate, plain_float32
from mli_utils.core.parameters import device_of, mix, parameter_groups
from mli_utils.core.paths import alpha_grid, schedules
from mli_utils.core.plateaus import FITTED_ERROR, only_fitted, plateau, stays_from
from mli_utils.core.words import span
from mli_utils.figures.kinds import empty_figure, nothing
from mli_utils.figures.style import LABELS, colours, in_order, style
from mli_utils.runs import settings
from mli_utils.runs.files import write_atomically
from mli_utils.runs.measured import ALONG_CURVES, Measurement, curve_of, measure
from mli_utils.runs.trained import Run, fields_of, table, together

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
OTHERS = ("steps_to_fit", "test_accuracy", "train_loss", "bias_gap", "distance", "relative_distance")
HELD = ("depth", "init_scale")  # controlled for in partial correlations


def steps_to_fit(run: Run) -> float:
    """Return the first logged step from which the training error stays at most 1 %; NaN if it never does."""
    return stays_from(run.history["step"], run.history["error"] <= FITTED_ERROR)


def line_totals(runs: Sequence[Run], alphas: int = 21) -> pd.DataFrame:
    """Return curves on the linear and homogeneous path like `mli.interpolate`, but store no counts per class."""
    points = alpha_grid(alphas)
    parts = []
    for path in ("linear", "homogeneous"):
        bodies = _measure(runs, "lines", {"schedules": schedules(path)}, points, partial(_totals, path=path))
        of_path = zip(runs, bodies, strict=True)
        parts += [(fields_of(run, path=path), curve_of(run, body, points)) for run, body in of_path]
    return together(parts, "path", *ALONG_CURVES)


def neighbours_table(runs: Sequence[Run], lines: pd.DataFrame, tolerance: float = 0.1) -> pd.DataFrame:
    """Return one row per run with the columns `COLUMNS`; `lines` are the `line_totals` of these runs.

    Raises
    ------
    InputError
        A run is given twice.
    """
    if len({run.config for run in runs}) < len(runs):
        raise InputError("a run is there twice; allowed: every run once")
    lengths = plateau(lines, tolerance)
    linear, homogeneous = (lengths[lengths.path == path].reset_index(drop=True) for path in ("linear", "homogeneous"))
    ended = table(runs)
    whole = ended.assign(
        rule=np.select([ended.optimizer == "adam", ended.momentum > 0], ["Adam", "momentum"], "SGD"),
        **linear[["bump", "error_plateau", "loss_plateau"]],
        homogeneous_plateau=homogeneous.error_plateau,
        relative_distance=ended.distance / ended.start_norm.where(ended.start_norm > 0),
        steps_to_fit=[steps_to_fit(run) for run in runs],
        train_wrong=(ended.train_error * ended.n_train).round(),
        test_accuracy=1 - ended.test_error,
        test_wrong=(ended.test_error * [DATASETS[name].test for name in ended.dataset]).round(),
    )
    return whole[list(COLUMNS)]


def columns(table: pd.DataFrame) -> pd.DataFrame:
    """Describe the columns of the table; write the descriptions to `neighbours-columns.csv` beside its data."""
    held = {name: COLUMNS[choose("column", name, COLUMNS)] for name in table}
    said = pd.DataFrame(held.items(), columns=["column", "what it holds"])
    write_atomically(settings.figures_dir() / "neighbours-columns.csv", said.to_csv(index=False).encode())
    return said


def correlations(plain: pd.DataFrame) -> pd.DataFrame:
    """Return rank correlations of plateaus and rises with `OTHERS`, plain and controlled for depth and scale."""
    return rank_correlations(plain, OTHERS, ["error_plateau", "loss_plateau", "bump"], HELD)


def two_paths(fitted: pd.DataFrame) -> pd.DataFrame:
    """Return error plateaus on two paths: networks with layer norm, plain networks of that size, and transformers.

    Returns
    -------
    One row per network and path: `network`, `seed`, `rule`, `init_scale`, `status`, `path`, `error_plateau`
    """
    normed = fitted[(fitted.model == "fcn") & (fitted.normalization == "layer")]
    alike = (fitted.depth == normed.depth.max()) & (fitted.width == normed.width.max())
    some = fitted[alike | (fitted.model == "vit")]
    some = some.rename(columns={"error_plateau": "linear", "homogeneous_plateau": "homogeneous"})
    kind = some.normalization.map({"none": "plain", "layer": "layer norm"}).mask(some.model == "vit", "ViT")
    return some.assign(network=kind).melt(
        id_vars=["network", "seed", "rule", "init_scale", "status"],
        value_vars=["linear", "homogeneous"],
        var_name="path",
        value_name="error_plateau",
    )


def layer_curves(runs: Sequence[Run], alphas: int = 21) -> pd.DataFrame:
    """Move one layer from θ(0) to θ(T) with all others at θ(T); return loss and error (Vlaar and Frankle 2022).

    A layer comprises its weights, its biases and the normalization that follows. One row per run, layer and α, as in
    `mli.interpolate`, with `path` (`layer 1`, …) and `layer`.
    """
    points = alpha_grid(alphas)
    parts = [
        (
            fields_of(run, path=f"layer {layer}", layer=layer),
            curve_of(run, {"loss": loss, "wrong": np.array(wrong)[:, None]}, points),
        )
        for run, body in zip(runs, _measure(runs, "layers", {}, points, _layers), strict=True)
        for layer, loss, wrong in zip(body["layer"], body["loss"], body["wrong"], strict=True)
    ]
    return together(parts, "path", "layer", *ALONG_CURVES)


def layer_lengths(layers: pd.DataFrame, whole: pd.DataFrame, tolerance: float = 0.1) -> pd.DataFrame:
    """Return error plateaus, one row per seed: `one`, the longest of a single moving layer; `all`, of the whole path.

    Parameters
    ----------
    layers, whole : curves of the same runs, as `layer_curves` and `mli.interpolate` return them
    """
    one = plateau(layers, tolerance).groupby("seed").error_plateau.max()
    return pd.DataFrame({"one": one, "all": plateau(whole, tolerance).set_index("seed").error_plateau})


def measured(
    runs: Sequence[Run], lines: pd.DataFrame, layers: pd.DataFrame, whole: pd.DataFrame, tolerance: float
) -> dict[str, pd.Series | dict]:
    """Return the quantity of each claim of section 11; arguments as for `neighbours_table` and `layer_lengths`."""
    of_runs = only_fitted(neighbours_table(runs, lines, tolerance))
    grid, vit = (of_runs[of_runs.model == model] for model in ("fcn", "vit"))
    plain, normed = (grid[grid.normalization == kind] for kind in ("none", "layer"))
    bumps = grid.pivot(index=["depth", "width", "init_scale", "normalization", "seed"], columns="rule", values="bump")
    lengths = layer_lengths(layers, whole, tolerance)
    return {
        "error-plateau-is-not-hardness": rank_correlation(plain, "error_plateau", "steps_to_fit", HELD),
        "loss-plateau-is-not-hardness": rank_correlation(plain, "loss_plateau", "steps_to_fit", HELD),
        "plateau-is-not-test-accuracy": rank_correlation(plain, "loss_plateau", "test_accuracy", HELD),
        "gap-goes-with-the-plateau": rank_correlation(plain, "bias_gap", "error_plateau", HELD),
        "far-goes-with-bumps": rank_correlation(grid, "relative_distance", "bump"),
        "adam-makes-bumps": bumps.Adam - bumps.momentum,
        "layer-norm-ends-the-story": normed.error_plateau - normed.homogeneous_plateau,
        "transformers-end-the-story": vit.error_plateau - vit.homogeneous_plateau,
        "one-layer-alone-has-less": lengths["all"] - lengths.one,
    }


def numbers(fitted: pd.DataFrame, lengths: pd.DataFrame) -> dict:
    """Return the numbers in the text of section 11, from the table after `only_fitted` and `layer_lengths`."""
    grid = fitted[fitted.model == "fcn"]
    normed = grid[grid.normalization == "layer"]
    rising = grid[grid.bump > 0.01].rule.value_counts().reindex(["Adam", "momentum", "SGD"], fill_value=0)
    return {
        "bump_distance": span(rank_correlation(grid, "relative_distance", "bump")),
        **rising.rename(lambda rule: f"rising_{rule.lower()}"),
        "rising_all": rising.sum(),
        "in_grid": len(grid),
        "shown": grid[grid.normalization == "none"].steps_to_fit.count(),
        "deepest": grid.depth.max(),
        "norm_depth": normed.depth.max(),
        "norm_width": normed.width.max(),
        "one_layer": span(mean_and_interval(lengths.one)),
        "all_layers": span(mean_and_interval(lengths["all"])),
        "walked": len(lengths),
        "all_runs": len(fitted),
        "fitted_runs": (fitted.status == "fitted").sum(),
    }


def _measure(runs: Sequence[Run], kind: str, key: dict, points: np.ndarray, compute) -> list[dict]:
    whole, made = {**key, "alphas": points.tolist()}, partial(compute, points=points)
    return measure([Measurement(run, kind, whole, "a curve", made, "neighbours") for run in runs], "curve")


def _totals(model, ends, images, path: str, points: np.ndarray) -> dict[str, np.ndarray]:
    """Evaluate `curve` and sum its counts over classes."""
    found = curve(model, ends[0], ends[1], points, path, images)
    return {"loss": found["loss"], "wrong": found["wrong"].sum(1, keepdims=True)}


@torch.no_grad()
def _layers(model, ends, images, points: np.ndarray) -> dict[str, np.ndarray]:
    start, end = ends
    pixels, labels = (part.to(device_of(end)) for part in (images.images, images.labels))
    groups = parameter_groups(model)
    layers = sorted({group.layer for group in groups.values()})
    found: dict[str, list] = {"layer": layers, "loss": [], "wrong": []}
    with plain_float32():
        for layer in layers:
            parts = []
            for some in chunks(len(points), model, pixels.device):
                there = {
                    name: mix(start[name], end[name], points[some] if group.layer == layer else np.ones(len(some)))
                    for name, group in groups.items()
                }
                parts.append(evaluate(model, there, pixels, labels))
            found["loss"].append(torch.cat([part["loss"] for part in parts]).cpu().numpy())
            found["wrong"].append(torch.cat([part["wrong"].sum(1) for part in parts]).cpu().numpy())
    return {name: np.array(values) for name, values in found.items()}


def scatter_figure(plain: pd.DataFrame) -> Figure:
    """Plot plateaus against steps to fit, one dot per network, coloured by depth."""
    if nothing(plain, "steps_to_fit", "error_plateau", "loss_plateau"):
        return empty_figure()
    with style():
        figure, panels = plt.subplots(1, 2, figsize=(9.4, 3.5), layout="constrained")
        looks = {"hue": "depth", "style": "depth", "palette": colours(plain.depth.nunique()), "alpha": 0.6, "s": 24}
        for axes, length in zip(panels, ("error_plateau", "loss_plateau"), strict=True):
            some = plain.astype({"depth": str})
            sns.scatterplot(some, x="steps_to_fit", y=length, **looks, ax=axes, legend=axes is panels[1])
            axes.set(xscale="log", xlabel="steps to fit", ylabel=LABELS[length], ylim=(0, None))
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
        sns.move_legend(panels[1], "upper left", bbox_to_anchor=(1, 1))
    return figure


def layer_figure(curves: pd.DataFrame) -> Figure:
    """Plot mean curves of single moving layers over runs, from the first layer (dark) to the last (bright)."""
    if nothing(curves, "alpha", "layer", "loss", "error"):
        return empty_figure()
    with style():
        figure, panels = plt.subplots(1, 2, figsize=(9.8, 3.3), layout="constrained")
        for axes, measure in zip(panels, ("loss", "error"), strict=True):
            middle = curves.pivot_table(index="alpha", columns="layer", values=measure)
            middle.plot(ax=axes, color=in_order(middle.shape[1]), legend=False)
            axes.set(xlabel=LABELS["alpha"], ylabel=LABELS[measure], xlim=(0, 1), ylim=(0, None))
        panels[1].legend(title="layer", loc="upper left", bbox_to_anchor=(1, 1))
    return figure
