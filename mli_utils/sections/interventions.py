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
from mli_utils.core.config import FIELDS, InputError, choose
from mli_utils.core.curves import Bias, with_biases
from mli_utils.core.networks import weights_and_biases
from mli_utils.core.parameters import device_of
from mli_utils.core.plateaus import only_fitted, plateau, plateau_ends
from mli_utils.core.theory import closed_form, predicted_logits
from mli_utils.core.versions import VERSIONS
from mli_utils.core.words import span
from mli_utils.figures.kinds import empty_figure, nothing_to_draw
from mli_utils.figures.style import NARROW, PALETTE, style
from mli_utils.runs.biases import biased_curves, curves_under, dose, permuted, trained_bias
from mli_utils.runs.measured import interpolate
from mli_utils.runs.trained import Run, counts, table

USUAL = "as usual"  # baseline of the training variants
PREDICTIONS = ("closed form", "two scalars", "class means")  # rungs of section 03's ladder

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
    runs: Sequence[Run], biases: Sequence[Mapping[str, Bias]], alphas: int = 51, kind: str = "class means"
) -> pd.DataFrame:
    """Predict `biased_curves` of networks without biases from their two ends: the logits at α, plus α^p b.

    The logits are those of section 03: `closed form`, α^r s with depth r and s the trained network's; `two scalars` and
    `class means`, `core.theory.predicted_logits` without and with class means. InputError for other networks.
    """
    choose("kind of prediction", kind, PREDICTIONS)
    for run in runs:
        config = run.config
        if (config.model, config.normalization, config.bias) != ("fcn", "none", "none"):
            raise InputError(f"no prediction for {config}; allowed: fcn with bias 'none', no norm")
    key = {"predicted": kind, "law": VERSIONS["law"]}
    return curves_under(runs, biases, alphas, key, partial(_from_the_ends, kind=kind))


@torch.no_grad()
def _from_the_ends(model, ends, images, points: np.ndarray, biases: Sequence[Bias], kind: str) -> dict:
    """Predict what `biased` measures."""
    device = device_of(ends[0])
    pixels, labels = images.images.to(device), images.labels.to(device)
    if kind == "closed form":
        depth = len(weights_and_biases(ends[1]))
        signal = model.logits(ends[1], pixels)
        logits = closed_form(signal, 0.0, depth, torch.as_tensor(points, device=device)[:, None, None]).to(signal)
    else:
        logits = predicted_logits(*ends, pixels, points, class_means=kind == "class means")
    return with_biases(logits, points, torch.zeros(logits.shape[-1], device=device), biases, labels)


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
    predicted = {kind: predicted_curves(runs, given, alphas, kind) for kind in PREDICTIONS}
    return {"measured": biased_curves(runs, given, alphas), **predicted}


def dose_responses(curves: Mapping[str, pd.DataFrame], tolerance: float = 0.1) -> pd.DataFrame:
    """Return where `dose_curves` leave the error plateau for good, one row per run and `gap`; NaN if it did not fit."""
    keys = ["status", "path", *FIELDS]
    found = {name: plateau_ends(some, tolerance).set_index(keys) for name, some in curves.items()}
    frame = pd.DataFrame({name: some.end for name, some in found.items()}).reset_index()
    return only_fitted(frame.drop(columns="path")).assign(gap=frame.path.astype(float))


def mean_responses(responses: pd.DataFrame) -> pd.DataFrame:
    """Average `dose_responses` over runs: rows of `gap`, `measure` and an estimate."""
    return estimates.intervals(responses, ["gap"], ["measured", *PREDICTIONS])


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
    gaps = curves.groupby(["training", "seed"]).bias_gap.first()
    return only_fitted(plateau(curves, tolerance).join(gaps, on=["training", "seed"]))


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
    lengths = plateau(changed, tolerance).pivot(index="seed", columns="path")
    error, loss = lengths.error_plateau, lengths.loss_plateau
    swapped = changed[(changed.path == "swapped") & (changed.alpha > 0)]
    on_plateau = swapped[swapped.alpha <= swapped.seed.map(error.swapped)]
    responses = dose_responses(doses, tolerance)
    of_doses = only_fitted(plateau(doses["measured"], tolerance)).pivot(index="seed", columns="path")
    dosed = of_doses.error_plateau.rename(columns=float)
    ways = arm_lengths(arms, tolerance)
    of_ways = ways.pivot(index="seed", columns="training")
    gap, length = of_ways.bias_gap, of_ways.error_plateau
    latest = _latest(ways)
    ramps, determinations = power_lengths(powers, tolerance), _determinations(responses)
    power, depth = ramps.pivot(index="seed", columns="power").error_plateau, ramps.depth.max()
    return {
        "zeroing-ends-the-error-plateau": error["as trained"] - error.zeroed,
        "permuting-keeps-the-plateau": error.permuted - error["as trained"],
        "swapped-bias-is-predicted": on_plateau.groupby("seed").as_largest.mean(),
        "loss-plateau-ignores-the-bias": loss["as trained"] - loss.zeroed,
        "a-gap-makes-a-plateau": dosed[max(dosed)] - dosed[min(dosed)],
        "law-predicts-doses": determinations["class means"],
        "law-predicts-within-doses": determinations["class means within"],
        "closed-form-misses-doses": determinations["closed form"],
        "late-bias-narrows-the-gap": gap[USUAL] - gap[latest],
        "late-bias-shortens-the-plateau": length[USUAL] - length[latest],
        "mild-imbalance-changes-little": gap["unequal classes"] - gap[USUAL],
        "the-plateau-moves-with-the-gap": with_gap(ways),
        "bias-in-step-shortens-the-plateau": power[1.0] - power[depth],
        "bias-last-keeps-the-answers": paths[paths.path == "then the bias"].groupby("seed").error.max(),
    }


def with_gap(ways: pd.DataFrame) -> dict:
    """Correlate gap and error plateau over the networks of `arm_lengths`, each way to train held."""
    return estimates.rank_correlation(ways, "bias_gap", "error_plateau", ["training"], "seed")


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
        **{f"doses by {name}": span(found, ".3f") for name, found in determinations.items()},
        "moves_with_gap": span(with_gap(ways)),
        "late": ways.freeze_bias.max(),
        "late_gap": span(late.iloc[0]),
        "late_error": span(late.iloc[1]),
        "power_one": span(estimates.mean_and_interval(ramps[ramps.power == 1].error_plateau)),
        "power_depth": span(estimates.mean_and_interval(ramps[ramps.power == ramps.depth].error_plateau)),
        **counts(runs),
        "imbalance": ways.imbalance.max(),
    }


def _latest(ways: pd.DataFrame) -> str:
    """Return the training variant that freezes the bias longest."""
    return ways.training[ways.freeze_bias.idxmax()]


def _determinations(responses: pd.DataFrame) -> dict[str, dict]:
    """Return R² of measured and predicted ends of plateaus, over all doses and `within` doses."""
    ends = responses.pivot(index="seed", columns="gap")
    found = {}
    for name in PREDICTIONS:
        measured, predicted = (ends[one][np.isfinite(ends.measured).all(axis=1)] for one in ("measured", name))
        found[name] = estimates.determination_by_seed(measured, predicted)
        found[f"{name} within"] = estimates.determination_by_seed(
            measured - measured.mean(), predicted - predicted.mean()
        )
    return found


def dose_figure(means: pd.DataFrame) -> Figure:
    """Plot `mean_responses` over equally spaced doses: measured as dots with intervals, predicted as lines."""
    if nothing_to_draw(means, "gap", "mean"):
        return empty_figure()
    doses = sorted(set(means.gap))
    with style():
        figure, axes = plt.subplots(figsize=(NARROW, 4.2), layout="constrained")
        looks = zip(means.groupby("measure", sort=False), PALETTE[:4], ("o", "-.", ":", "-"), strict=True)
        for (name, some), colour, look in looks:
            ends = [(some["mean"] - some.low).fillna(0).clip(0), (some.high - some["mean"]).fillna(0).clip(0)]
            measured = name == "measured"
            place = np.searchsorted(doses, some.gap)
            said = name if measured else f"predicted: {name}"
            axes.errorbar(
                place,
                some["mean"],
                ends if measured else None,
                fmt=look,
                color=colour,
                capsize=3,
                label=said,
                zorder=3 - measured,
            )
        axes.set_xticks(range(len(doses)), [f"{value:g}" for value in doses])
        axes.set(xlabel="gap of the bias given (logits)", ylabel="end of the error plateau (α)", ylim=(0, 1))
        figure.legend(loc="outside upper center", ncol=2, columnspacing=1)
    return figure
