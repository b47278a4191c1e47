"""One table of many networks; networks that moved far, with normalization, and layer by layer (section 11)."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from mli_utils.core.config import DATASETS, InputError, choose
from mli_utils.core.curves import Bias, biased, chunks
from mli_utils.core.estimates import (
    at_most,
    clustered_mean,
    intervals,
    mean_and_interval,
    rank_correlation,
)
from mli_utils.core.evaluation import evaluate, plain_float32
from mli_utils.core.parameters import device_of, mix, parameter_groups
from mli_utils.core.paths import alpha_grid
from mli_utils.core.plateaus import FITTED_ERROR, RISE, only_fitted, plateau, stays_from
from mli_utils.core.training import PROBE
from mli_utils.core.words import span
from mli_utils.figures.kinds import empty_figure, nothing_to_draw
from mli_utils.figures.style import LABELS, PALETTE, colours, style
from mli_utils.runs import settings
from mli_utils.runs.biases import biased_curves, curves_under, dose, trained_bias
from mli_utils.runs.files import write_atomically
from mli_utils.runs.measured import ALONG_CURVES, Measurement, curve_of, measure
from mli_utils.runs.trained import Run, counts, fields_of, table, tidy_frame

COLUMNS = {
    "part": "grid: every setting, a seed of its own; kinds: three architectures; far: networks that moved far",
    "model": "kind of network: fcn, fully connected; vit, a small vision transformer",
    "depth": "weight layers from image to logits",
    "width": "units of each hidden layer",
    "bias": "output, of the last layer only; or none",
    "init_scale": "factor on Kaiming-normal weights at the start",
    "optimizer": "sgd or adam",
    "momentum": "of sgd; 0 is plain SGD",
    "lr": "learning rate",
    "schedule": "of the learning rate: constant, or linear decay to 0",
    "stop_loss": "training loss that ends training, nats; 0: none does",
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
    "steps_to_fit": f"first logged step from which the error on up to {PROBE} first training images stays at most 1 %",
    "steps": "optimizer steps until training ended",
    "train_loss": "final training loss, nats",
    "train_wrong": "training images that are wrong in the end",
    "test_accuracy": "fraction of the test set that is right in the end",
    "test_wrong": "test images that are wrong in the end",
}
OTHERS = ("steps_to_fit", "test_accuracy", "train_loss", "bias_gap", "distance", "relative_distance")
HELD = ("depth", "init_scale", "width", "rule")  # controlled for in partial correlations
DISTANCE = "path length over ‖θ(0)‖"
CENTRED, WITHOUT = "no common logits", "trained without"


def steps_to_fit(run: Run) -> float:
    """Return the first logged step from which the training error stays at most 1 %; NaN if it never does."""
    return stays_from(run.history["step"], run.history["error"] <= FITTED_ERROR)


def line_curves(runs: Sequence[Run], alphas: int = 21) -> pd.DataFrame:
    """Return curves on the linear and homogeneous path of networks without hidden biases, from one pass for both."""
    return biased_curves(runs, [_paths(run) for run in runs], alphas)


def _paths(run: Run) -> dict[str, Bias]:
    """Return the schedules of the output bias that make a linear path the linear or the homogeneous one."""
    bias = trained_bias(run)
    return {"linear": Bias(bias), "homogeneous": Bias(bias, run.config.depth)}


def treated_curves(runs: Sequence[Run], doses: Sequence[float], alphas: int = 21) -> pd.DataFrame:
    """Return `line_curves`, and curves of the same networks under other output biases or without common logits.

    Paths: `linear`, `homogeneous`; `zeroed`, no output bias on the whole path; `dose 4`, a bias of 4 for one class
    instead; `CENTRED`, no output bias, and at each α the mean logits over images taken from those of each image.
    """
    zero = [Bias(np.zeros(DATASETS[run.config.dataset].classes)) for run in runs]
    biases = [
        {**_paths(run), "zeroed": none, **{f"dose {gap:g}": dose(run, gap) for gap in doses}}
        for run, none in zip(runs, zero, strict=True)
    ]
    bare = partial(biased, centred=True)
    centred = curves_under(runs, [{CENTRED: none} for none in zero], alphas, {"curves": "centred"}, bare)
    return pd.concat([biased_curves(runs, biases, alphas), centred], ignore_index=True)


def neighbours_table(
    parts: Mapping[str, Sequence[Run]], curves: Mapping[str, pd.DataFrame], tolerance: float = 0.1
) -> pd.DataFrame:
    """Return one row per run with the columns `COLUMNS`; InputError if a run is given twice.

    Parameters
    ----------
    parts : runs by the part of the design that they belong to
    curves : by part, curves of its runs in their order, among them those of `line_curves`
    tolerance : tolerance of plateaus
    """
    runs = [run for some in parts.values() for run in some]
    if len({run.config for run in runs}) < len(runs):
        raise InputError("a run is there twice; allowed: every run once")
    lengths = plateau(pd.concat([curves[name] for name in parts]), tolerance)
    linear, homogeneous = (lengths[lengths.path == path].reset_index(drop=True) for path in ("linear", "homogeneous"))
    ended = table(runs)
    whole = ended.assign(
        part=np.repeat(list(parts), [len(some) for some in parts.values()]),
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


def correlations(grid: pd.DataFrame) -> pd.DataFrame:
    """Return rank correlations of plateaus with `OTHERS`, plain and with the settings `HELD`."""
    rows = [
        {"x": x, "y": y, "kind": kind, **rank_correlation(grid, x, y, held)}
        for x in OTHERS
        for y in ("error_plateau", "loss_plateau")
        for kind, held in {"plain": (), "settings held": HELD}.items()
    ]
    return pd.DataFrame(rows)


def rises(fitted: pd.DataFrame, moved: pd.DataFrame) -> pd.DataFrame:
    """Return the largest rises of the loss in networks that moved far, with the trained output bias and without.

    Parameters
    ----------
    fitted : table of networks after `only_fitted`
    moved : their curves, as `treated_curves` returns them

    Returns
    -------
    One row per network and kind of bias: `seed`, `rule`, `lr`, `bias_gap`, `DISTANCE`, `output bias` (trained, zeroed)
    and `bump`
    """
    keys = ["depth", "width", "init_scale", "optimizer", "momentum", "lr", "seed"]
    far = fitted[fitted.part == "far"].rename(columns={"relative_distance": DISTANCE}).drop(columns="bump")
    some = plateau(moved[moved.path.isin(["linear", "zeroed"])])
    some = some.assign(**{"output bias": some.path.map({"linear": "trained", "zeroed": "zeroed"})})
    both = far.merge(some[[*keys, "output bias", "bump"]], on=keys)
    both["bump"] = both.bump.where(both.status == "fitted")
    return both[["seed", "rule", "lr", "bias_gap", DISTANCE, "output bias", "bump"]]


def treated_lengths(treated: pd.DataFrame, tolerance: float = 0.1) -> pd.DataFrame:
    """Return error plateaus of three architectures under each treatment of the output bias.

    Returns
    -------
    One row per network and treatment: `architecture`, `seed`, `treatment` (a path of `treated_curves`, or
    `WITHOUT`, the linear path of a network trained without output bias) and `error_plateau`
    """
    lengths = plateau(only_fitted(treated), tolerance)
    without = lengths.bias == "none"
    kind = lengths.normalization.map({"none": "plain", "layer": "layer norm"}).mask(lengths.model == "vit", "ViT")
    lengths = lengths.assign(architecture=kind, treatment=lengths.path.mask(without, WITHOUT))
    return lengths[~without | (lengths.path == "linear")][["architecture", "seed", "treatment", "error_plateau"]]


def changes_of_bias(treated: pd.DataFrame, tolerance: float = 0.1) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compare treatments network by network.

    Returns
    -------
    lengths : error plateaus, a row per `architecture` and `seed`, a column per treatment
    changes : differences in normalized networks (α): `by zeroing` (as trained less zeroed), `by a dose` (largest dose
        less zeroed), `by training` (as trained less `WITHOUT`), `by common logits` (zeroed less `CENTRED`)
    """
    of_kinds = treated_lengths(treated, tolerance).set_index(["architecture", "seed", "treatment"])
    lengths = of_kinds.error_plateau.unstack("treatment")
    normed = lengths.loc[lengths.index.get_level_values("architecture") != "plain"]
    largest = _largest_dose(lengths)
    changes = {
        "by zeroing": normed.linear - normed.zeroed,
        "by a dose": normed[largest] - normed.zeroed,
        "by training": normed.linear - normed[WITHOUT],
        "by common logits": normed.zeroed - normed[CENTRED],
    }
    return lengths, pd.DataFrame(changes)


def _largest_dose(treatments: Iterable[str]) -> str:
    return max((name for name in treatments if name.startswith("dose ")), key=lambda name: float(name[5:]))


def treatment_means(lengths: pd.DataFrame) -> pd.DataFrame:
    """Return mean plateaus by architecture and treatment, with intervals cut to 0 and 1."""
    ranges = {"error_plateau": (0, 1)}
    return intervals(lengths, ["architecture", "treatment"], list(ranges), ranges).drop(columns="measure")


def layer_curves(runs: Sequence[Run], alphas: int = 21) -> pd.DataFrame:
    """Move one layer from θ(0) to θ(T) with all others at θ(T); return loss and error (Vlaar and Frankle 2022).

    A layer comprises its weights, its biases and the normalization that follows. One row per run, layer and α, as in
    `mli.interpolate`, with `path` (`layer 1`, …) and `layer`.
    """
    points = alpha_grid(alphas)
    key, compute = {"alphas": points.tolist()}, partial(_layers, points=points)
    wanted = [Measurement(run, "layers", key, "a curve", compute, "neighbours") for run in runs]
    parts = [
        (
            fields_of(run, path=f"layer {layer}", layer=layer),
            curve_of(run, {"loss": loss, "wrong": np.array(wrong)[:, None]}, points),
        )
        for run, body in zip(runs, measure(wanted, "curve"), strict=True)
        for layer, loss, wrong in zip(body["layer"], body["loss"], body["wrong"], strict=True)
    ]
    return tidy_frame(parts, "path", "layer", *ALONG_CURVES)


def layer_lengths(layers: pd.DataFrame, whole: pd.DataFrame, tolerance: float = 0.1) -> pd.DataFrame:
    """Return error plateaus, one row per seed: `one`, the longest of a single moving layer; `all`, of the whole path.

    Parameters
    ----------
    layers, whole : curves of the same runs, as `layer_curves` and `mli.interpolate` return them
    """
    one = plateau(layers, tolerance).groupby("seed").error_plateau.max()
    return pd.DataFrame({"one": one, "all": plateau(whole, tolerance).set_index("seed").error_plateau})


def measured(
    parts: Mapping[str, Sequence[Run]], curves: Mapping[str, pd.DataFrame], layers: pd.DataFrame, tolerance: float
) -> dict[str, pd.Series | dict]:
    """Return the quantity of each claim of section 11.

    Parameters
    ----------
    parts, curves : as for `neighbours_table`, in the parts grid, kinds and far; of the last two by `treated_curves`
    layers : as `layer_curves` returns them, of the plain networks with an output bias among the kinds
    tolerance : tolerance of plateaus
    """
    fitted = only_fitted(neighbours_table(parts, curves, tolerance))
    grid = fitted[fitted.part == "grid"]
    rising = rises(fitted, curves["far"])
    rose = 1 - at_most(_fastest(rising).set_index(["seed", "rule", "output bias"]).bump, RISE)
    as_trained = rising[rising["output bias"] == "trained"]
    lengths, changes = changes_of_bias(curves["kinds"], tolerance)
    single = layer_lengths(layers, _whole(curves["kinds"]), tolerance)
    return {
        "monotone-is-the-rule": at_most(grid.set_index("seed").bump, RISE),
        "error-plateau-is-not-hardness": rank_correlation(grid, "error_plateau", "steps_to_fit", HELD),
        "plateau-is-not-test-accuracy": rank_correlation(grid, "loss_plateau", "test_accuracy", HELD),
        "gap-goes-with-the-plateau": rank_correlation(grid, "bias_gap", "error_plateau", HELD),
        "far-goes-with-bumps": rank_correlation(as_trained, DISTANCE, "bump", ["rule"], "seed"),
        "adam-makes-bumps": rose[:, "Adam", "trained"] - rose[:, "momentum", "trained"],
        "gap-goes-with-bumps": rank_correlation(_fastest_adam(rising), "bias_gap", "bump", cluster="seed"),
        "layer-norm-needs-no-bias": lengths.zeroed["layer norm"],
        "transformers-need-no-bias": lengths.zeroed["ViT"],
        "zeroing-changes-nothing-there": changes["by zeroing"],
        "nor-does-a-dose": changes["by a dose"],
        "nor-training-without": changes["by training"],
        "common-logits-hold-the-error": changes["by common logits"],
        "one-layer-alone-has-less": single["all"] - single.one,
    }


def _fastest(rising: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `rises` at each rule's largest learning rate."""
    return rising[rising.lr == rising.groupby("rule").lr.transform("max")]


def _fastest_adam(rising: pd.DataFrame) -> pd.DataFrame:
    fastest = _fastest(rising)
    return fastest[(fastest.rule == "Adam") & (fastest["output bias"] == "trained")]


def _whole(treated: pd.DataFrame) -> pd.DataFrame:
    """Return the linear curves of the plain networks with an output bias that `layer_curves` takes apart."""
    plain = (treated.normalization == "none") & (treated.bias == "output")
    return only_fitted(treated[plain & (treated.path == "linear")])


def numbers(
    runs: Sequence[Run], fitted: pd.DataFrame, curves: Mapping[str, pd.DataFrame], layers: pd.DataFrame
) -> dict:
    """Return the numbers in the text of section 11: of all runs, the fitted table, curves as for `measured`."""
    grid, single = fitted[fitted.part == "grid"], layer_lengths(layers, _whole(curves["kinds"]))
    rising = rises(fitted, curves["far"])
    fastest, of_adam = _fastest(rising), _fastest_adam(rising)
    as_trained = rising[rising["output bias"] == "trained"]
    found: dict = {}
    for (rule, bias), bump in fastest.groupby(["rule", "output bias"]).bump:
        found |= {f"rising_{rule}_{bias}": (bump > RISE).sum(), f"of_{rule}": bump.count()}
    normed = fitted[(fitted.normalization == "layer") & (fitted.bias == "output")]
    lengths, changes = changes_of_bias(curves["kinds"])
    largest = _largest_dose(lengths)
    for architecture, of_architecture in lengths[largest].groupby("architecture"):
        found[f"{architecture} dosed"] = span(clustered_mean(of_architecture, "seed", (0, 1)))
    return found | {
        "largest_dose": largest.removeprefix("dose "),
        "far_distance": span(rank_correlation(as_trained, DISTANCE, "bump", ["rule"], "seed")),
        "rate_distance": span(rank_correlation(as_trained, DISTANCE, "bump", ["rule", "lr"], "seed")),
        "bump_gap": span(rank_correlation(of_adam, "bias_gap", "bump", cluster="seed")),
        "rate_adam": fastest[fastest.rule == "Adam"].lr.max(),
        "rate_momentum": fastest[fastest.rule == "momentum"].lr.max(),
        "deepest_steps": span(
            rank_correlation(grid[grid.depth == grid.depth.max()], "error_plateau", "steps_to_fit", HELD)
        ),
        "dataset": runs[0].config.dataset,
        "rising_grid": (grid.bump > RISE).sum(),
        "in_grid": grid.bump.count(),
        "shown": grid.steps_to_fit.count(),
        "flat_far": (as_trained.bump == 0).sum(),
        "in_far": as_trained.bump.count(),
        "held_gap": span(mean_and_interval(grid.bias_gap)),
        "normed_gap": span(mean_and_interval(normed.bias_gap)),
        "deepest": grid.depth.max(),
        "widest": grid.width.max(),
        "one_layer": span(clustered_mean(single.one, "seed", (0, 1))),
        "all_layers": span(clustered_mean(single["all"], "seed", (0, 1))),
        "walked": single["all"].count(),
        **{name: span(clustered_mean(change, "seed", (-1, 1))) for name, change in changes.items()},
        **counts(runs),
    }


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


def depth_figure(grid: pd.DataFrame) -> Figure:
    """Plot the error plateau against steps to fit, a panel a depth, one dot per network, coloured by optimizer."""
    if nothing_to_draw(grid, "steps_to_fit", "error_plateau"):
        return empty_figure()
    looks = {"hue": "rule", "style": "rule", "palette": colours(grid.rule.unique()), "alpha": 0.7, "s": 30}
    with style():
        drawn = sns.relplot(
            grid, x="steps_to_fit", y="error_plateau", **looks, col="depth", col_wrap=2, height=2.4, aspect=1.5
        )
        drawn.set(xscale="log", ylim=(0, None)).set_titles("depth {col_name}")
        drawn.set_axis_labels("steps to fit", LABELS["error_plateau"])
        for axes in drawn.axes.flat:
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
        sns.move_legend(drawn, "lower center", bbox_to_anchor=(0.5, 1), ncol=3, title=None)
    return drawn.figure


def layer_figure(layers: pd.DataFrame) -> Figure:
    """Plot loss (logarithmic) and error with one layer at its start and all others trained, by layer: dots, means."""
    if nothing_to_draw(layers, "alpha", "layer", "loss", "error"):
        return empty_figure()
    back = layers[layers.alpha == 0]
    with style():
        figure, panels = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
        for axes, measure in zip(panels, ("loss", "error"), strict=True):
            axes.plot(back.layer, back[measure], "o", color=PALETTE[0], alpha=0.3, ms=4)
            middle = back.groupby("layer")[measure].mean()
            axes.plot(middle.index, middle, "o-", color=PALETTE[0], ms=7, lw=1.2)
            axes.set(xlabel="layer, from image to logits", ylabel=LABELS[measure], xticks=middle.index)
        panels[0].set_yscale("log")
        panels[1].set_ylim(bottom=0)
    return figure
