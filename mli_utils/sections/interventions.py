"""Curves under another output bias at θ(T), or one that comes in at another pace (section 09).

The logits are those without output bias plus the bias, so one pass along the path serves every bias.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from mli_utils.core.config import DATASETS, FIELDS, InputError, choose
from mli_utils.core.curves import chunks
from mli_utils.core.evaluation import anatomy, plain_float32
from mli_utils.core.networks import stream, weights_and_biases
from mli_utils.core.parameters import device_of, mix, output_bias, without_output_bias
from mli_utils.core.paths import STARTS, alpha_grid, interpolate_parameters
from mli_utils.core.plateaus import apart, crossing, only_fitted, plateau, thresholds
from mli_utils.figures.kinds import empty_figure, nothing
from mli_utils.figures.style import style
from mli_utils.runs.measured import ALONG_CURVES, Measurement, curve_frame, measure
from mli_utils.runs.trained import Run, together

ALONG = ("as_largest",)


@dataclass(frozen=True)
class Bias:
    """An output bias for the end of a path, and the power p of the path on which it comes in, as α^p."""

    values: tuple[float, ...]
    power: float = 1.0

    def __post_init__(self):
        if not self.power > 0:
            raise InputError(f"power={self.power} is not allowed; allowed: above 0")


def trained_bias(run: Run) -> np.ndarray:
    """The output bias at θ(T), (classes,); zeros where the network has none."""
    bias = run.summary["output_bias"]
    return np.zeros(DATASETS[run.config.dataset].classes) if bias is None else np.array(bias)


def permuted(run: Run) -> np.ndarray:
    """The trained bias, its values given to classes at random, so that another class has the largest."""
    bias = trained_bias(run)
    draw = np.random.default_rng(stream(run.config.seed, "permutation"))
    while True:
        order = draw.permutation(len(bias))
        if order[bias.argmax()] != bias.argmax():
            return bias[np.argsort(order)]


CHANGES = {
    "as trained": trained_bias,
    "zeroed": lambda run: np.zeros_like(trained_bias(run)),
    "centred": lambda run: trained_bias(run) - trained_bias(run).mean(),
    "permuted": permuted,
}
SWAPPED = "swapped"  # for the bias of another run


def changed_biases(runs: Sequence[Run], changes: Iterable[str] = (*CHANGES, SWAPPED)) -> list[dict[str, Bias]]:
    """Of each run, {change: its output bias after that change}.

    `as trained`; `zeroed`; `centred`: less its mean, which changes no prediction and no loss; `permuted` among the
    classes; `swapped` for that of the next run in the list, its own where there is no other.

    Raises
    ------
    InputError
        An unknown change.
    """
    changes = [choose("change of the output bias", change, (*CHANGES, SWAPPED)) for change in changes]
    found = []
    for i, run in enumerate(runs):
        donor = runs[(i + 1) % len(runs)]
        given = {change: trained_bias(donor) if change == SWAPPED else CHANGES[change](run) for change in changes}
        found.append({change: Bias(tuple(values.tolist())) for change, values in given.items()})
    return found


def dose(run: Run, gap: float) -> Bias:
    """A bias of this gap (logits): one class above all others, another class for each seed."""
    values = np.zeros(DATASETS[run.config.dataset].classes)
    values[run.config.seed % len(values)] = gap
    return Bias(tuple(values.tolist()))


def biased_curves(
    runs: Sequence[Run], biases: Sequence[Mapping[str, Bias]], alphas: int = 51, start: str = "own"
) -> pd.DataFrame:
    """Curves on the linear path, but for the output bias, which goes from that at θ(0) to the one given as α^p.

    Parameters
    ----------
    biases : of each run, {name: bias}
    start : `own`, or `zero` for curves from the origin

    Returns
    -------
    A frame as `mli.interpolate`'s, with the name as `path`, and `as_largest`, the share of all predictions that are
    the class with the largest bias given (the first of several)

    Raises
    ------
    InputError
        A bias that has not one value a class, or another start.
    """
    compute = partial(_along_the_line, start=choose("start", start, ("own", "zero")))
    return _curves(runs, biases, alphas, {"curves": start}, compute)


def predicted_curves(
    runs: Sequence[Run], biases: Sequence[Mapping[str, Bias]], alphas: int = 51, kind: str = "origin"
) -> pd.DataFrame:
    """The same as predicted from one forward pass of the trained network: z(α) = g(α) s + α^p b, with s its logits
    without output bias.

    Parameters
    ----------
    kind : `origin`: g = α^r with r the depth, exact where θ(0) = 0 (section 03's closed form); `overlap`: g is the
        product over layers of α + (1−α) o, where o is how much of what tells images apart after W(T) there is after
        W(0), of the same signals (those of the trained network, projected)

    Raises
    ------
    InputError
        A network with hidden biases or other layers than fully-connected ones, or another kind.
    """
    for run in runs:
        if (run.config.model, run.config.normalization) != ("fcn", "none") or run.config.bias == "all":
            raise InputError(f"no prediction for {run.config}; allowed: fcn with bias 'none' or 'output', no norm")
    compute = partial(_from_the_end, kind=choose("kind of prediction", kind, ("origin", "overlap")))
    return _curves(runs, biases, alphas, {"predicted": kind}, compute)


def predicted_ends(curves: pd.DataFrame, tolerance: float = 0.1) -> pd.DataFrame:
    """Where predicted curves leave the error plateau for good: `end`, the largest α at which the error is still that of
    chance less the tolerance's share, 0 where it never is. One row a run and path.

    `overlap` needs this: it takes W(0) for a small W(T), which at the very start it is not.
    """
    fields, arrays = apart(curves, [*FIELDS, "status", "path"], ["alpha", "error"])
    levels = [thresholds(DATASETS[dataset].classes, tolerance)["error"] for dataset in fields.dataset]
    ends = [
        1 - crossing(1 - curve["alpha"][::-1], -curve["error"][::-1], -level)
        for curve, level in zip(arrays, levels, strict=True)
    ]
    return fields.assign(end=ends)


def dose_curves(runs: Sequence[Run], gaps: Sequence[float], alphas: int = 51) -> dict[str, pd.DataFrame]:
    """Curves of bias-free networks that are given biases of these gaps, the gap as `path`: `measured` from the true
    start, `measured from the origin`, and `origin` and `overlap` as `predicted_curves` of that kind has them."""
    given = [{f"{gap:g}": dose(run, gap) for gap in gaps} for run in runs]
    return {
        "measured": biased_curves(runs, given, alphas, "own"),
        "measured from the origin": biased_curves(runs, given, alphas, "zero"),
        **{kind: predicted_curves(runs, given, alphas, kind) for kind in ("origin", "overlap")},
    }


def dose_responses(curves: Mapping[str, pd.DataFrame], tolerance: float = 0.1) -> pd.DataFrame:
    """Where the error plateau of bias-free networks ends when they are given a bias: a row a run and gap.

    Parameters
    ----------
    curves : as `dose_curves` returns them

    Returns
    -------
    The runs' fields, `status`, `gap`, and a column for each of the curves: their error plateaus where measured, their
    `predicted_ends` where predicted; NaN where a run did not fit
    """
    keys = ["status", "path", *FIELDS]
    found = {}
    for name, of_name in curves.items():
        if name.startswith("measured"):
            found[name] = plateau(of_name, tolerance).set_index(keys).error_plateau
        else:
            found[name] = predicted_ends(of_name, tolerance).set_index(keys).end
    frame = pd.DataFrame(found).reset_index()
    gap = frame.path.astype(float)
    return only_fitted(frame.drop(columns="path")).assign(gap=gap)


def _curves(runs, biases, alphas: int, about: dict, compute: Callable) -> pd.DataFrame:
    points = alpha_grid(alphas)
    for run, given in zip(runs, biases, strict=True):
        classes = DATASETS[run.config.dataset].classes
        for name, bias in given.items():
            if len(bias.values) != classes:
                raise InputError(f"bias {name!r} has {len(bias.values)} values; allowed: {classes}, one a class")
    wanted = [
        Measurement(
            run,
            "interventions",
            {
                **about,
                "biases": [asdict(bias) | {"values": list(bias.values)} for bias in given.values()],
                "alphas": points.tolist(),
            },
            "curves under other biases",
            partial(compute, points=points, biases=list(given.values())),
            "interventions",
        )
        for run, given in zip(runs, biases, strict=True)
    ]
    frames = []
    for run, given, body in zip(runs, biases, measure(wanted, "run"), strict=True):
        for i, name in enumerate(given):
            kept = {part: body[part][i] for part in ("loss", "wrong")}
            frame = curve_frame(run, {**kept, "wrong": np.array(kept["wrong"])[:, None]}, points, path=name)
            frames.append(frame.assign(as_largest=np.array(body["as_largest"][i], float)))
    return together(frames, "path", *ALONG_CURVES, *ALONG)


@torch.no_grad()
def _along_the_line(model, ends, images, points: np.ndarray, biases: Sequence[Bias], start: str) -> dict:
    """Losses, wrong predictions and predictions of the largest bias's class, (biases, points)."""
    device = device_of(ends[0])
    pixels = images.images.to(device)
    first = STARTS[start](model, None, ends)
    free = [without_output_bias(side) for side in (first, ends[1])]
    bias = output_bias(first)
    bias = torch.zeros(len(biases[0].values), device=device) if bias is None else bias
    with plain_float32():
        parts = []
        for chosen in chunks(len(points), model, device):
            some = points[chosen]
            signal = model.logits(interpolate_parameters(model, *free, some), pixels)
            parts.append(_sums(signal, some, bias, biases, images.labels.to(device)))
    return {name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]}


@torch.no_grad()
def _from_the_end(model, ends, images, points: np.ndarray, biases: Sequence[Bias], kind: str) -> dict:
    device = device_of(ends[0])
    with plain_float32():
        gain, signal = np.ones_like(points), images.images.to(device).flatten(1)
        for first, last in zip(*([weight for weight, _ in weights_and_biases(side)] for side in ends), strict=True):
            before, after = (signal @ weight.T for weight in (first, last))
            apart = after - after.mean(0)  # what tells images apart
            overlap = 0.0 if kind == "origin" else ((before * apart).sum() / apart.square().sum()).item()
            gain *= points + (1 - points) * overlap
            signal = after.relu()
        signal = after
        scale = torch.tensor(gain, dtype=signal.dtype, device=device)[:, None, None]
        start = torch.zeros(signal.shape[-1], device=device)
        return _sums(scale * signal, points, start, biases, images.labels.to(device))


def _sums(signal: torch.Tensor, points: np.ndarray, start: torch.Tensor, biases, labels) -> dict[str, np.ndarray]:
    """Of logits without output bias, (points, samples, classes): what is counted with each of the biases."""
    found = {"loss": [], "wrong": [], "as_largest": []}
    for bias in biases:
        share = points**bias.power
        there = mix(start, torch.tensor(bias.values, dtype=start.dtype, device=start.device), share)
        sums = anatomy(signal + there.unsqueeze(1), labels)
        largest = int(np.argmax(bias.values))
        found["loss"].append((sums["loss"] / len(labels)).cpu().numpy())
        found["wrong"].append(sums["wrong"].sum(1).cpu().numpy())
        found["as_largest"].append((sums["predicted"][:, largest] / len(labels)).cpu().numpy())
    return {name: np.stack(values) for name, values in found.items()}


def dose_figure(rows: pd.DataFrame, lines: pd.DataFrame, dose: str, response: str, hue: str, xlabel: str) -> Figure:
    """Measured responses to doses as means with intervals, and predicted ones as lines; doses at equal distances.

    Parameters
    ----------
    rows : `dose`, `mean`, `low`, `high`, and `hue`, what was measured
    lines : `dose`, `mean`, and `hue`, what was predicted
    response : what the axis says
    """
    if nothing(rows, dose, "mean", hue) or nothing(lines, dose, "mean", hue):
        return empty_figure()
    doses = sorted(set(rows[dose]))
    names = list(dict.fromkeys([*rows[hue], *lines[hue]]))
    colours = dict(zip(names, sns.color_palette("colorblind", len(names)), strict=True))
    with style():
        figure, axes = plt.subplots(figsize=(6.6, 3.8), layout="constrained")
        for name, some in rows.groupby(hue, sort=False):
            place = [doses.index(value) for value in some[dose]]
            ends = [(some["mean"] - some.low).fillna(0).clip(0), (some.high - some["mean"]).fillna(0).clip(0)]
            axes.errorbar(place, some["mean"], yerr=ends, fmt="o", color=colours[name], capsize=3, label=name)
        for (name, some), dashes in zip(lines.groupby(hue, sort=False), ("-", "--", ":", "-."), strict=False):
            place = [doses.index(value) for value in some[dose]]
            axes.plot(place, some["mean"], ls=dashes, color=colours[name], label=name)
        axes.set_xticks(range(len(doses)), [f"{value:g}" for value in doses])
        axes.set(xlabel=xlabel, ylabel=response, ylim=(0, 1))
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure
