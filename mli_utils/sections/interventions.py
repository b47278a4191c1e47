"""Interventions on the output bias: its value at θ(T), its schedule and its training (section 09).

The output bias is added to the logits last, so one pass along the path serves every bias.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from mli_utils.core import estimates
from mli_utils.core.config import DATASETS, FIELDS, InputError, choose
from mli_utils.core.curves import Bias, with_biases
from mli_utils.core.evaluation import plain_float32
from mli_utils.core.networks import weights_and_biases
from mli_utils.core.parameters import device_of
from mli_utils.core.plateaus import crossing, only_fitted, plateau, split_curves, thresholds
from mli_utils.core.words import span
from mli_utils.figures.kinds import empty_figure, nothing_to_draw
from mli_utils.figures.style import colours, style
from mli_utils.runs.biases import biased_curves, curves_under, dose, permuted, trained_bias
from mli_utils.runs.measured import interpolate
from mli_utils.runs.trained import Run, counts, table

USUAL = "as usual"  # baseline of the training variants
MEASURED = {"measured": "own", "measured from the origin": "zero"}  # name in tables: start of `biased_curves`
PREDICTIONS = {"predicted with overlap": "overlap", "predicted from the origin": "origin"}  # of `predicted_curves`

CHANGES = {  # functions of a run and a donor run
    "as trained": lambda run, donor: trained_bias(run),
    "zeroed": lambda run, donor: np.zeros_like(trained_bias(run)),
    "centred": lambda run, donor: trained_bias(run) - trained_bias(run).mean(),  # changes no prediction and no loss
    "permuted": lambda run, donor: permuted(run),
    "swapped": lambda run, donor: trained_bias(donor),
}


def changed_biases(runs: Sequence[Run], changes: Iterable[str] = tuple(CHANGES)) -> list[dict[str, Bias]]:
    """Return each run's output bias after each change; `swapped` takes the bias of the next run in the list."""
    chosen = {change: CHANGES[choose("change of the output bias", change, CHANGES)] for change in changes}
    donors = [*runs[1:], *runs[:1]]
    return [
        {name: Bias(change(run, donor)) for name, change in chosen.items()}
        for run, donor in zip(runs, donors, strict=True)
    ]


def predicted_curves(
    runs: Sequence[Run], biases: Sequence[Mapping[str, Bias]], alphas: int = 51, kind: str = "overlap"
) -> pd.DataFrame:
    """Predict `biased_curves` from one forward pass of the trained network: z(α) = g(α) s + α^p b.

    s are its logits without output bias. `origin`: g = α^r with depth r, exact if θ(0) = 0 (section 03's closed form).
    `overlap`: g is the product over layers of α + (1−α) o, where o is the projection coefficient of W(0) h on W(T) h,
    centred over images, with h the layer's inputs in the trained network.

    Raises
    ------
    InputError
        A network has hidden biases or normalization or is not fully connected, or the kind is unknown.
    """
    choose("kind of prediction", kind, PREDICTIONS.values())
    for run in runs:
        config = run.config
        if (config.model, config.normalization, config.bias == "all") != ("fcn", "none", False):
            raise InputError(f"no prediction for {config}; allowed: fcn with bias 'none' or 'output', no norm")
    return curves_under(runs, biases, alphas, {"predicted": kind}, partial(_from_the_end, kind=kind))


@torch.no_grad()
def _from_the_end(model, ends, images, points: np.ndarray, biases: Sequence[Bias], kind: str) -> dict:
    """Predict what `biased` measures from one forward pass."""
    device = device_of(ends[0])
    with plain_float32():
        gain, signal = np.ones_like(points), images.images.to(device).flatten(1)
        for first, last in zip(*([weight for weight, _ in weights_and_biases(side)] for side in ends), strict=True):
            before, after = (signal @ weight.T for weight in (first, last))
            apart = after - after.mean(0)  # centred over images
            overlap = 0.0 if kind == "origin" else ((before * apart).sum() / apart.square().sum()).item()
            gain *= points + (1 - points) * overlap
            signal = after.relu()
        scale = torch.tensor(gain, dtype=after.dtype, device=device)[:, None, None]
        start = torch.zeros(after.shape[-1], device=device)
        return with_biases(scale * after, points, start, biases, images.labels.to(device))


def power_curves(runs: Sequence[Run], powers: Iterable[float], alphas: int = 51) -> pd.DataFrame:
    """Return curves from θ(0) to θ(T) whose output bias moves as α^power, with the power as `path`."""
    ramps = [{f"{power:g}": Bias(trained_bias(run), float(power)) for power in powers} for run in runs]
    return biased_curves(runs, ramps, alphas)


def power_lengths(curves: pd.DataFrame, tolerance: float = 0.1) -> pd.DataFrame:
    """Return the plateaus of `power_curves`, sorted by `power` and seed."""
    found = only_fitted(plateau(curves, tolerance))
    return found.assign(power=found.path.astype(float), path="weights linear").sort_values(["power", "seed"])


def dose_curves(runs: Sequence[Run], gaps: Sequence[float], alphas: int = 51) -> dict[str, pd.DataFrame]:
    """Return measured and predicted curves of bias-free networks given a `dose` of each gap, with the gap as `path`."""
    given = [{f"{gap:g}": dose(run, gap) for gap in gaps} for run in runs]
    found = {name: biased_curves(runs, given, alphas, start) for name, start in MEASURED.items()}
    return found | {name: predicted_curves(runs, given, alphas, kind) for name, kind in PREDICTIONS.items()}


def dose_responses(curves: Mapping[str, pd.DataFrame], tolerance: float = 0.1) -> pd.DataFrame:
    """Return ends of error plateaus on `dose_curves`, one row per run and `gap`; NaN for runs that did not fit."""
    keys = ["status", "path", *FIELDS]
    found = {
        name: (plateau if name.startswith("measured") else predicted_ends)(some, tolerance).set_index(keys)
        for name, some in curves.items()
    }
    frame = pd.DataFrame({name: ends.error_plateau for name, ends in found.items()}).reset_index()
    return only_fitted(frame.drop(columns="path")).assign(gap=frame.path.astype(float))


def predicted_ends(curves: pd.DataFrame, tolerance: float = 0.1) -> pd.DataFrame:
    """Return where predicted curves leave the error plateau for good, one row per run and path.

    `error_plateau` is the largest α with an error at or above the plateau's threshold, 0 if none: near α = 0, where
    `overlap` wrongly treats W(0) as a scaled W(T), the predicted error may be below it.
    """
    fields, arrays = split_curves(curves, [*FIELDS, "status", "path"], ["alpha", "error"])
    levels = [thresholds(DATASETS[dataset].classes, tolerance)["error"] for dataset in fields.dataset]
    ends = [
        1 - crossing(1 - curve["alpha"][::-1], -curve["error"][::-1], -level)
        for curve, level in zip(arrays, levels, strict=True)
    ]
    return fields.assign(error_plateau=ends)


def mean_responses(responses: pd.DataFrame) -> pd.DataFrame:
    """Average `dose_responses` over runs: rows of `gap`, `measure` and an estimate."""
    return estimates.intervals(responses, ["gap"], [*MEASURED, *PREDICTIONS])


def arm_curves(arms: Mapping[str, Sequence[Run]], alphas: int = 51) -> pd.DataFrame:
    """Return linear-path curves of the training variants with an output bias; add `training` and `bias_gap`.

    Errors are means over classes, so that classes of unequal size have equal weight.
    """
    frames = []
    for arm, runs in arms.items():
        if runs[0].config.bias != "none":
            curves = interpolate(runs, "linear", alphas, by_class=True)
            error = curves.groupby(["seed", "alpha"]).class_error.transform("mean")
            gap = curves.seed.map(table(runs).set_index("seed").bias_gap)
            frames.append(curves.assign(error=error, bias_gap=gap, training=arm)[curves.label == 0])
    return pd.concat(frames, ignore_index=True)


def arm_lengths(curves: pd.DataFrame, tolerance: float = 0.1) -> pd.DataFrame:
    """Return plateaus and bias gaps of `arm_curves`, one row per training variant and seed."""
    frames = [
        plateau(some, tolerance).assign(training=arm).join(some.groupby("seed").bias_gap.first(), on="seed")
        for arm, some in curves.groupby("training", sort=False)
    ]
    return only_fitted(pd.concat(frames, ignore_index=True))


def measured(
    changed: pd.DataFrame,
    doses: Mapping[str, pd.DataFrame],
    arms: pd.DataFrame,
    powers: pd.DataFrame,
    paths: pd.DataFrame,
    tolerance: float,
) -> dict[str, pd.Series | dict]:
    """Return the quantity of each claim of section 09.

    Parameters
    ----------
    changed : `biased_curves` of fitted networks with `changed_biases`
    doses, arms, powers : as `dose_curves`, `arm_curves` and `power_curves` return them
    paths : curves of fitted networks, the path `then the bias` included
    """
    lengths = _by_seed(plateau(changed, tolerance), "path")
    error, loss = lengths.error_plateau, lengths.loss_plateau
    swapped = changed[(changed.path == "swapped") & (changed.alpha > 0)]
    on_plateau = swapped[swapped.alpha <= swapped.seed.map(error.swapped)]
    responses = dose_responses(doses, tolerance)
    dosed = _by_seed(responses, "gap").measured
    ways = arm_lengths(arms, tolerance)
    gap, length = (_by_seed(ways, "training")[name] for name in ("bias_gap", "error_plateau"))
    latest = _latest(ways)
    ramps, determinations = power_lengths(powers, tolerance), _determinations(responses)
    power, depth = _by_seed(ramps, "power").error_plateau, ramps.depth.max()
    return {
        "zeroing-ends-the-error-plateau": error["as trained"] - error.zeroed,
        "permuting-keeps-the-plateau": error.permuted - error["as trained"],
        "swapped-bias-is-predicted": on_plateau.groupby("seed").as_largest.mean(),
        "loss-plateau-ignores-the-bias": loss["as trained"] - loss.zeroed,
        "a-gap-makes-a-plateau": dosed[max(dosed)] - dosed[min(dosed)],
        "one-pass-predicts-doses": determinations["origin"],
        "overlap-is-not-enough": determinations["overlap"],
        "late-bias-narrows-the-gap": gap[USUAL] - gap[latest],
        "late-bias-shortens-the-plateau": length[USUAL] - length[latest],
        "mild-imbalance-changes-little": gap["unequal classes"] - gap[USUAL],
        "smoothing-changes-little": gap[USUAL] - gap["smoothed labels"],
        "decay-does-not-narrow-the-gap": gap[USUAL] - gap["weight decay"],
        "the-plateau-moves-with-the-gap": estimates.rank_correlation(
            ways, "bias_gap", "error_plateau", ["training"], "seed"
        ),
        "bias-in-step-shortens-the-plateau": power[1.0] - power[depth],
        "bias-last-keeps-the-answers": paths[paths.path == "then the bias"].groupby("seed").error.max(),
    }


def numbers(runs: Sequence[Run], responses: pd.DataFrame, ways: pd.DataFrame, ramps: pd.DataFrame) -> dict:
    """Return the numbers in the text of section 09, from `dose_responses`, `arm_lengths` and `power_lengths`."""
    smallest, largest = responses.gap.min(), responses.gap.max()
    dosed = responses.groupby("gap").measured.mean()
    latest = ways[ways.training.isin([USUAL, _latest(ways)])]
    late = estimates.paired_differences(latest, "training", USUAL, ["bias_gap", "error_plateau"])
    determinations = _determinations(responses)
    return {
        "usual_error": span(estimates.mean_and_interval(ways[ways.training == USUAL].error_plateau)),
        "doses": responses.gap.nunique(),
        "smallest_dose": smallest,
        "largest_dose": largest,
        "least": dosed[smallest],
        "most": dosed[largest],
        "r2_origin": span(determinations["identity"], ".3f"),
        "r2_one_pass": span(determinations["origin"]),
        "r2_overlap": span(determinations["overlap"]),
        "late": ways.freeze_bias.max(),
        "late_gap": span(late.iloc[0]),
        "late_error": span(late.iloc[1]),
        "power_one": span(estimates.mean_and_interval(ramps[ramps.power == 1].error_plateau)),
        "power_depth": span(estimates.mean_and_interval(ramps[ramps.power == ramps.depth].error_plateau)),
        **counts(runs),
        **ways[["imbalance", "label_smoothing", "weight_decay"]].max(),
    }


def _by_seed(frame: pd.DataFrame, by: str) -> pd.DataFrame:
    """Pivot to one row per seed, one column per measure and value of `by`."""
    return frame.pivot(index="seed", columns=by)


def _latest(ways: pd.DataFrame) -> str:
    """Return the training variant that freezes the bias longest."""
    return ways.training[ways.freeze_bias.idxmax()]


def _determinations(responses: pd.DataFrame) -> dict[str, dict]:
    """Return R² of predicted and measured ends of plateaus: of both from the origin an `identity`."""
    ends = _by_seed(responses, "gap")
    pairs = {
        "identity": ("measured from the origin", "predicted from the origin"),
        "origin": ("measured", "predicted from the origin"),
        "overlap": ("measured", "predicted with overlap"),
    }
    return {name: estimates.determination_by_seed(ends[one], ends[other]) for name, (one, other) in pairs.items()}


def dose_figure(means: pd.DataFrame) -> Figure:
    """Plot `mean_responses` over equally spaced doses: measured as dots with intervals, predicted as lines."""
    if nothing_to_draw(means, "gap", "mean"):
        return empty_figure()
    doses = sorted(set(means.gap))
    with style():
        figure, axes = plt.subplots(figsize=(6.6, 3.8), layout="constrained")
        looks = zip(means.groupby("measure", sort=False), colours(4), ("o", "s", "-", "--"), strict=True)
        for (name, some), colour, look in looks:
            ends = [(some["mean"] - some.low).fillna(0).clip(0), (some.high - some["mean"]).fillna(0).clip(0)]
            bars = ends if name.startswith("measured") else None
            place = np.searchsorted(doses, some.gap)
            axes.errorbar(place, some["mean"], bars, fmt=look, color=colour, capsize=3, label=name)
        axes.set_xticks(range(len(doses)), [f"{value:g}" for value in doses])
        axes.set(xlabel="gap of the bias given (logits)", ylabel="end of the error plateau (α)", ylim=(0, 1))
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure
