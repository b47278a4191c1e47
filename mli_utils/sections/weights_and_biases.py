"""The (α_weights, α_bias) square, and predictions from one forward pass of the trained network (section 03)."""

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
from mli_utils.core.evaluation import sum_metrics
from mli_utils.core.parameters import device_of, output_bias, parameter_groups, without_output_bias
from mli_utils.core.paths import alpha_grid, interpolate_parameters
from mli_utils.core.plateaus import plateau
from mli_utils.core.theory import closed_form
from mli_utils.core.words import span
from mli_utils.figures.kinds import empty_figure, nothing_to_draw
from mli_utils.figures.moving import Moving
from mli_utils.figures.style import LABELS, PALETTE, style
from mli_utils.runs.measured import ALONG_CURVES, Measurement, curve_of, measure
from mli_utils.runs.trained import Run, counts, fields_of, tidy_frame

PREDICTIONS = ("closed form", "gain", "gain and shift")
NETWORK = ["depth", "init_scale", "seed"]  # identifies a network of section 03
ROUNDING = 1e-6  # of plateau lengths


def of_one_kind(runs: Iterable[Run], depth: int, init_scale: float, seeds: int) -> list[Run]:
    """Return the first fitted networks of this depth and initialization scale, at most `seeds`."""
    wanted = ("fitted", depth, init_scale)
    return [run for run in runs if (run.summary["status"], run.config.depth, run.config.init_scale) == wanted][:seeds]


def square(runs: Run | Iterable[Run], alphas: int = 25) -> pd.DataFrame:
    """Return training loss and error with the weights at one α of the linear path and the biases at another.

    Returns
    -------
    Tidy frame with the runs' fields, `status`, `alpha_weights`, `alpha_bias`, `loss` (nats), `error`

    Raises
    ------
    InputError
        A network has normalization layers.
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
    return tidy_frame(parts, "alpha", "loss", "error", "alpha_bias").rename(columns={"alpha": "alpha_weights"})


def predict(runs: Run | Iterable[Run], alphas: int = 51) -> pd.DataFrame:
    """Predict curves on the linear path, for networks with an output bias only.

    `path` names the prediction, s(α) are the logits without output bias at α, centred over classes, and s = s(1).

    `closed form`: z(α) = α^r s + α b with depth r, from one forward pass of the trained network; exact if θ(0) = 0.
    `gain`: z(α) = g(α) s + α b, where g(α) is the projection coefficient of s(α) on s, centred over images.
    `gain and shift`: z(α) = g(α) (s − s̄) + m(α) + α b, where s̄ and m(α) are the means of s and s(α) over images.

    Returns
    -------
    Frame as `mli.interpolate` returns it, with the columns `gain` (g(α), or α^r) and `alignment` (cosine between s(α)
    and s, centred over images; NaN for the closed form)

    Raises
    ------
    InputError
        A network is not fully connected, has normalization layers, or `bias` is not `output`.
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
    return tidy_frame(parts, "start", "path", *ALONG_CURVES, "gain", "alignment")


def _each(runs: Sequence[Run], kind: str, points: np.ndarray, what: str, compute: Callable) -> list[tuple[Run, dict]]:
    """Pair each run with its result of `compute(model, (θ(0), θ(T)), images, points)`, stored or computed."""
    key, made = {"alphas": points.tolist()}, partial(compute, points=points)
    wanted = [Measurement(run, kind, key, what, made, "weights_and_biases") for run in runs]
    return list(zip(runs, measure(wanted, "run"), strict=True))


def _square_totals(model, ends, images, points: np.ndarray) -> dict[str, np.ndarray]:
    """Evaluate `square_of` and sum its counts over classes."""
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
    signal -= signal.mean(1, keepdim=True)  # the softmax ignores a shift of all logits
    apart = signal - signal.mean(0)  # centred over images
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
            sums[name].append(sum_metrics(predicted, labels))
    arrays = {name: torch.cat([part[name] for part in total]).cpu().numpy() for name in ("gain", "alignment")}
    for name, parts in sums.items():
        arrays[f"{name}: loss"] = torch.cat([part["loss"] for part in parts]).cpu().numpy() / len(labels)
        arrays[f"{name}: wrong"] = torch.cat([part["wrong"].sum(1, keepdim=True) for part in parts]).cpu().numpy()
    return arrays


def square_figure(frame: pd.DataFrame, depth: int, measures: Sequence[str] = ("error", "loss")) -> Figure:
    """Plot means over runs on the (α_weights, α_bias) square with the linear and the homogeneous path."""
    if nothing_to_draw(frame, "alpha_weights", "alpha_bias", *measures):
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
    """Return an interactive `square_figure` with a dot on each path.

    Parameters
    ----------
    square : as `square` returns it; means over runs are drawn, and interpolated linearly for the numbers at the dots
    depth : depth of the networks; on the homogeneous path the bias is at α^depth
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
    """Return the position of a dot's label, inside the square and clear of the other dot's label."""
    height = "bottom" if bias > 0.9 and place else "middle" if bias > 0.9 else "top"
    return f"{height} {'right' if alpha < 0.5 else 'left'}"


def lengths(measured: pd.DataFrame, from_zero: pd.DataFrame, predicted: pd.DataFrame) -> pd.DataFrame:
    """Return error plateaus, one row per network, with columns `measured`, `measured from zero` and `PREDICTIONS`.

    Parameters
    ----------
    measured, from_zero : curves on the linear path, from θ(0) and from the origin
    predicted : as `predict` returns them
    """
    kinds = {"measured": measured, "measured from zero": from_zero}
    curves = pd.concat([*(frame.assign(path=kind) for kind, frame in kinds.items()), predicted])
    return plateau(curves).pivot(index=NETWORK, columns="path", values="error_plateau")


def agreement(lengths: pd.DataFrame) -> pd.DataFrame:
    """Return the measured `error plateau` and the `predicted error plateau`, one row per network and `start`."""
    starts = {"measured": "θ(0) as it was", "measured from zero": "θ(0) = 0"}
    named = lengths.rename(columns={**starts, "closed form": "predicted error plateau"})
    tall = named.melt("predicted error plateau", list(starts.values()), "start", "error plateau", ignore_index=False)
    return tall.reset_index()


def deviations(from_zero: pd.DataFrame, predicted: pd.DataFrame) -> pd.DataFrame:
    """Return absolute deviations of the closed form from measured `loss` (nats) and `error`, by network and α."""
    closed = predicted[predicted.path == "closed form"]
    evaluated, expected = (frame.set_index([*NETWORK, "alpha"])[["loss", "error"]] for frame in (from_zero, closed))
    return (evaluated - expected).abs()


def claims(lengths: pd.DataFrame) -> dict:
    """Return the quantity of each claim of section 03, by network."""
    return {
        "prediction-is-an-upper-bound": at_most(lengths["measured"] - lengths["closed form"], ROUNDING),
        "prediction-ranks-plateaus": rank_correlation(lengths, "closed form", "measured"),
    }


def numbers(runs: Sequence[Run], lengths: pd.DataFrame, deviations: pd.DataFrame, predicted: pd.DataFrame) -> dict:
    """Return the numbers in the text of section 03."""
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
