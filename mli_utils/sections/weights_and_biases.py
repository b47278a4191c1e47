"""The (α_weights, α_bias) square, and what one forward pass of the trained network predicts (section 03)."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from scipy.interpolate import RegularGridInterpolator

from mli_utils.core.config import InputError
from mli_utils.core.curves import chunks
from mli_utils.core.curves import square as square_of
from mli_utils.core.estimates import at_most, mean_and_interval, rank_correlation
from mli_utils.core.evaluation import anatomy
from mli_utils.core.parameters import device_of, output_bias, parameter_groups, without_output_bias
from mli_utils.core.paths import alpha_grid, interpolate_parameters
from mli_utils.core.plateaus import plateau
from mli_utils.core.theory import closed_form
from mli_utils.core.words import span
from mli_utils.figures.kinds import empty_figure, nothing
from mli_utils.figures.moving import Moving
from mli_utils.figures.style import LABELS, PALETTE, style
from mli_utils.runs.measured import ALONG_CURVES, Measurement, curve_of, measure
from mli_utils.runs.trained import Run, counts, fields_of, together

PREDICTIONS = ("closed form", "gain", "gain and shift")
NETWORK = ["depth", "init_scale", "seed"]  # what tells the networks of section 03 apart
ROUNDING = 1e-6  # of a plateau's length


def of_one_kind(runs: Iterable[Run], depth: int, init_scale: float, seeds: int) -> list[Run]:
    """The first fitted networks of this depth and initialization scale, at most so many."""
    wanted = ("fitted", depth, init_scale)
    return [run for run in runs if (run.summary["status"], run.config.depth, run.config.init_scale) == wanted][:seeds]


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
    points = alpha_grid(alphas)
    of_weights, of_bias = np.repeat(points, len(points)), np.tile(points, len(points))
    parts = [
        (fields_of(run), {**curve_of(run, body, of_weights), "alpha_bias": of_bias})
        for run, body in _each(runs, "squares", points, "the (α_weights, α_bias) square", _square_totals)
    ]
    return together(parts, "alpha", "loss", "error", "alpha_bias").rename(columns={"alpha": "alpha_weights"})


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
    points = alpha_grid(alphas)
    parts = []
    for run, body in _each(runs, "predictions", points, "the predicted curve", _predictions):
        gains = {name: np.array(body["gain"], float) for name in PREDICTIONS}
        gains["closed form"] = points**run.config.depth
        for name in PREDICTIONS:
            kept = {part: body[f"{name}: {part}"] for part in ("loss", "wrong")}
            closed = name == "closed form"
            alignment = np.full(len(points), np.nan) if closed else np.array(body["alignment"], float)
            columns = {**curve_of(run, kept, points), "gain": gains[name], "alignment": alignment}
            parts.append((fields_of(run, start="zero" if closed else "own", path=name), columns))
    return together(parts, "start", "path", *ALONG_CURVES, "gain", "alignment")


def _each(runs: Sequence[Run], kind: str, points: np.ndarray, what: str, compute: Callable) -> list[tuple[Run, dict]]:
    """Each run with what `compute(model, (θ(0), θ(T)), images, points)` measures of it, from the store where it is."""
    key, made = {"alphas": points.tolist()}, partial(compute, points=points)
    wanted = [Measurement(run, kind, key, what, made, "weights_and_biases") for run in runs]
    return list(zip(runs, measure(wanted, "run"), strict=True))


def _square_totals(model, ends, images, points: np.ndarray) -> dict[str, np.ndarray]:
    """`square_of` without the classes, which nobody asks for on a square."""
    measured = square_of(model, *ends, points, images)
    return {"loss": measured["loss"], "wrong": measured["wrong"].sum(1, keepdims=True)}


@torch.no_grad()
def _predictions(model, ends, images, points: np.ndarray) -> dict[str, np.ndarray]:
    depth = max(group.layer for group in parameter_groups(model).values())
    device = device_of(ends[0])
    pixels, labels = images.images.to(device), images.labels.to(device)
    bias = output_bias(ends[1]).double()
    start, end = (without_output_bias(side) for side in ends)
    signal = model.logits(end, pixels).double()
    signal -= signal.mean(1, keepdim=True)  # a shift of all logits changes nothing
    apart = signal - signal.mean(0)  # what tells images apart
    total, sums = [], {name: [] for name in PREDICTIONS}
    for chosen in chunks(len(points), model, device):
        some = points[chosen]
        there = model.logits(interpolate_parameters(model, start, end, some), pixels).double()
        there -= there.mean(-1, keepdim=True)
        shift = there.mean(1, keepdim=True)
        overlap = ((there - shift) * apart).sum((1, 2))
        gain = overlap / apart.square().sum()
        total.append({"gain": gain, "alignment": overlap / ((there - shift).flatten(1).norm(dim=1) * apart.norm())})
        alpha = torch.as_tensor(some, device=device)[:, None, None]
        kept = gain[:, None, None]
        for name, predicted in (
            ("closed form", closed_form(signal, bias, depth, alpha)),
            ("gain", kept * signal + alpha * bias),
            ("gain and shift", kept * apart + shift + alpha * bias),
        ):
            sums[name].append(anatomy(predicted, labels))
    arrays = {name: torch.cat([part[name] for part in total]).cpu().numpy() for name in ("gain", "alignment")}
    for name, parts in sums.items():
        arrays[f"{name}: loss"] = torch.cat([part["loss"] for part in parts]).cpu().numpy() / len(labels)
        arrays[f"{name}: wrong"] = torch.cat([part["wrong"].sum(1, keepdim=True) for part in parts]).cpu().numpy()
    return arrays


def square_figure(frame: pd.DataFrame, depth: int, measures: Sequence[str] = ("error", "loss")) -> Figure:
    """Means over runs on the (α_weights, α_bias) square, with the linear and the homogeneous path drawn on it."""
    if nothing(frame, "alpha_weights", "alpha_bias", *measures):
        return empty_figure()
    with style():
        figure, panels = plt.subplots(
            1, len(measures), figsize=(4.6 * len(measures), 3.9), squeeze=False, layout="constrained"
        )
        path = np.linspace(0, 1, 201)
        for axes, measure in zip(panels.flat, measures, strict=True):
            table = frame.pivot_table(index="alpha_bias", columns="alpha_weights", values=measure)
            drawn = axes.pcolormesh(
                table.columns, table.index, table, cmap="cividis", shading="gouraud", rasterized=True
            )
            figure.colorbar(drawn, ax=axes, label=LABELS.get(measure, measure))
            axes.plot(path, path, color="white", lw=2, label="linear")
            axes.plot(path, path**depth, color="white", lw=2, ls="--", label="homogeneous")
            axes.set(xlabel="α of the weights", ylabel="α of the bias", xlim=(0, 1), ylim=(0, 1), aspect="equal")
            axes.grid(False)
        panels.flat[0].legend(loc="upper left", labelcolor="white", frameon=True, facecolor="0.25", framealpha=0.75)
    return figure


def moving(square: pd.DataFrame, depth: int) -> Moving | None:
    """Error and loss on the (α_weights, α_bias) square with the linear and the homogeneous path, and a dot on each.

    Parameters
    ----------
    square : as `square` returns it; means over its runs are drawn. A dot's number is read off the map, linearly
        between its points
    depth : of the networks: on the homogeneous path the bias is at α^depth
    """
    if square.empty:
        return None
    paths = {"linear": ("solid", lambda alpha: alpha), "homogeneous": ("dash", lambda alpha: alpha**depth)}
    dense = np.linspace(0, 1, 101)
    always, read, axes = [], {}, {}
    for name, axis, domain in (("error", "", [0, 0.4]), ("loss", "2", [0.6, 1])):
        table = square.pivot_table(index="alpha_weights", columns="alpha_bias", values=name)
        read[axis] = RegularGridInterpolator((table.index, table.columns), table.to_numpy())
        there = {"xaxis": f"x{axis}", "yaxis": f"y{axis}"}
        always.append(
            {
                "type": "heatmap",
                "x": table.index.to_numpy().round(4).tolist(),
                "y": table.columns.to_numpy().round(4).tolist(),
                "z": [[float(f"{value:.3g}") for value in row] for row in table.to_numpy().T],
                "colorscale": "Cividis",
                "zsmooth": "best",
                "colorbar": {"x": domain[1], "thickness": 12, "len": 0.9, "title": {"text": name, "side": "top"}},
                "hovertemplate": f"α weights %{{x}}<br>α bias %{{y}}<br>{name} %{{z}}<extra></extra>",
                **there,
            }
        )
        for path, (dash, bias) in paths.items():
            always.append(
                {
                    "x": dense.round(3).tolist(),
                    "y": bias(dense).round(4).tolist(),
                    "name": path,
                    "mode": "lines",
                    "line": {"color": "white", "dash": dash, "width": 2},
                    "hoverinfo": "skip",
                    "showlegend": False,
                    **there,
                }
            )
        axes[f"xaxis{axis}"] = _axis("α of the weights", f"y{axis}", domain)
        axes[f"yaxis{axis}"] = _axis("α of the bias", f"x{axis}", [0, 1])

    def traces(alpha: float) -> list[dict]:
        return [
            {
                "x": [float(alpha)],
                "y": [float(bias(alpha))],
                "mode": "markers+text",
                "marker": {"size": 13, "color": PALETTE[place], "line": {"color": "white", "width": 2}},
                "text": [f"<b>{path} {read[axis]((alpha, bias(alpha))):.2f}</b>"],
                "textposition": _beside(alpha, bias(alpha), place),
                "textfont": {"color": "white", "size": 13, "shadow": "0 0 3px black, 0 0 3px black"},
                "cliponaxis": False,
                "hoverinfo": "skip",
                "showlegend": False,
                "xaxis": f"x{axis}",
                "yaxis": f"y{axis}",
            }
            for axis in read
            for place, (path, (_, bias)) in enumerate(paths.items())
        ]

    return Moving(
        label="Training error and loss over alpha of the weights and alpha of the bias, with the linear and the "
        "homogeneous path and the networks at a chosen alpha of each",
        controls={"α": [round(at / 50, 2) for at in range(51)]},
        traces=traces,
        layout={"height": 380, "margin": {"l": 50, "r": 70, "t": 30, "b": 45}, **axes},
        start=[20],
        always=always,
    )


def _axis(said: str, other: str, domain: list[float]) -> dict:
    return {"domain": domain, "title": {"text": said, "standoff": 4}, "range": [0, 1], "anchor": other}


def _beside(alpha: float, bias: float, place: int) -> str:
    """Where the words of a dot stand so that they stay in the square and out of each other's way."""
    height = "bottom" if bias > 0.9 and place else "middle" if bias > 0.9 else "top"
    return f"{height} {'right' if alpha < 0.5 else 'left'}"


def lengths(measured: pd.DataFrame, from_zero: pd.DataFrame, predicted: pd.DataFrame) -> pd.DataFrame:
    """Error plateaus, a row a network; columns `measured`, `measured from zero` and each of `PREDICTIONS`.

    Parameters
    ----------
    measured, from_zero : curves on the linear path from θ(0) and from the origin
    predicted : as `predict` returns them
    """
    kinds = {"measured": measured, "measured from zero": from_zero}
    curves = pd.concat([*(frame.assign(path=kind) for kind, frame in kinds.items()), predicted])
    return plateau(curves).pivot(index=NETWORK, columns="path", values="error_plateau")


def agreement(lengths: pd.DataFrame) -> pd.DataFrame:
    """Measured `error plateau` beside the `predicted error plateau`, a row a network and `start`."""
    starts = {"measured": "θ(0) as it was", "measured from zero": "θ(0) = 0"}
    named = lengths.rename(columns={**starts, "closed form": "predicted error plateau"})
    tall = named.melt("predicted error plateau", list(starts.values()), "start", "error plateau", ignore_index=False)
    return tall.reset_index()


def deviations(from_zero: pd.DataFrame, predicted: pd.DataFrame) -> pd.DataFrame:
    """How far the closed form is from the evaluated `loss` (nats) and `error`, by network and α."""
    closed = predicted[predicted.path == "closed form"]
    evaluated, expected = (frame.set_index([*NETWORK, "alpha"])[["loss", "error"]] for frame in (from_zero, closed))
    return (evaluated - expected).abs()


def claims(lengths: pd.DataFrame, deviations: pd.DataFrame) -> dict:
    """The quantity of each claim of section 03, by network."""
    return {
        "one-pass-gives-the-curve": deviations.loss.groupby(level=NETWORK).max(),
        "prediction-is-an-upper-bound": at_most(lengths["measured"] - lengths["closed form"], ROUNDING),
        "prediction-ranks-plateaus": rank_correlation(lengths, "closed form", "measured"),
    }


def numbers(runs: Sequence[Run], lengths: pd.DataFrame, deviations: pd.DataFrame, predicted: pd.DataFrame) -> dict:
    """What the text of section 03 says besides the table of lengths."""
    mean, ranks = lengths.mean(), lengths.corr(method="spearman")["measured"]
    shorter = lengths.rsub(lengths["closed form"], axis=0)
    explained = 100 * shorter.sum() / shorter["measured"].sum()
    half = predicted[(predicted.path == "gain") & np.isclose(predicted.alpha, 0.5)]
    return {
        **counts(runs),
        "zero_loss": deviations.loss.max(),
        "zero_error": deviations.error.max(),
        "below": int(at_most(lengths["measured"] - lengths["closed form"], ROUNDING).sum()),
        "mean_closed": mean["closed form"],
        "mean_gain": mean["gain"],
        "mean_both": mean["gain and shift"],
        "mean_measured": mean["measured"],
        "difference": span(mean_and_interval(shorter["measured"])),
        "by_gain": explained["gain"],
        "by_both": explained["gain and shift"],
        "rank_closed": ranks["closed form"],
        "rank_gain": ranks["gain"],
        "rank_both": ranks["gain and shift"],
        "gain_half": (half.gain / 0.5**half.depth).median(),
        "alignment_half": half.alignment.median(),
    }
