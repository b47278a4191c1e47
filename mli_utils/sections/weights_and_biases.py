"""The (α_weights, α_bias) square, and predictions of the plateau from a network's two ends (section 03)."""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from scipy.interpolate import RegularGridInterpolator

from mli_utils.core.config import InputError
from mli_utils.core.curves import chunks
from mli_utils.core.curves import square as square_of
from mli_utils.core.estimates import ESTIMATE, at_most, determination_by_seed, rank_correlation
from mli_utils.core.evaluation import sum_metrics
from mli_utils.core.parameters import device_of, output_bias, parameter_groups, without_output_bias
from mli_utils.core.paths import alpha_grid, interpolate_parameters
from mli_utils.core.plateaus import plateau, plateau_ends
from mli_utils.core.theory import FITTED_ON, closed_form, law
from mli_utils.core.words import NAMES, span
from mli_utils.figures.kinds import empty_figure, nothing_to_draw
from mli_utils.figures.moving import Moving
from mli_utils.figures.style import LABELS, NARROW, PALETTE, WIDEST, colours, in_order, style
from mli_utils.runs.measured import ALONG_CURVES, Measurement, curve_of, measure
from mli_utils.runs.trained import Run, counts, fields_of, tidy_frame

RUNGS = ("closed form", "gain", "gain and shift", "two scalars", "class means")
LAW = RUNGS[-1]
PARTS = ("of_signal", "of_floor", "of_bias")
COLUMNS = ("gain", "alignment", *PARTS)
SETTING = ["dataset", "n_train", "optimizer", "bias", "depth", "init_scale", "width"]  # of a network of section 03
ROUNDING = 1e-6  # of plateau lengths
RATIO = 0.1  # of the race: gap of the biases over the margin of the signal, at α = 1
HALF_WAY = 0.05  # tolerance of ends: about half-way from the error of one guess, 0.9, to that of two, 0.8


def of_one_kind(runs: Iterable[Run], depth: int, init_scale: float, seeds: int) -> list[Run]:
    """Return the first fitted network of this depth and initialization scale, and those that differ in the seed alone.

    At most `seeds` in all.
    """
    wanted = ("fitted", depth, init_scale)
    found = [run for run in runs if (run.summary["status"], run.config.depth, run.config.init_scale) == wanted]
    return [run for run in found if run.config.replace(seed=found[0].config.seed) == found[0].config][:seeds]


def square(runs: Run | Iterable[Run], alphas: int = 25) -> pd.DataFrame:
    """Return training loss and error with the weights at one α of the linear path and the biases at another.

    InputError for networks with normalization layers.

    Returns
    -------
    Tidy frame with the runs' fields, `status`, `alpha_weights`, `alpha_bias`, `loss` (nats), `error`
    """
    runs = [runs] if isinstance(runs, Run) else list(runs)
    for run in runs:
        if run.config.normalization != "none":
            raise InputError(f"no square for {run.config}: its normalization is neither; allowed: networks without")
    points = alpha_grid(alphas)
    of_weights, of_bias = np.repeat(points, len(points)), np.tile(points, len(points))
    parts = [
        (fields_of(run), {**curve_of(run, body, of_weights), "alpha_bias": of_bias})
        for run, body in _each(
            runs, "squares", points, "the (α_weights, α_bias) square", _square_totals, "weights_and_biases"
        )
    ]
    return tidy_frame(parts, "alpha", "loss", "error", "alpha_bias").rename(columns={"alpha": "alpha_weights"})


def predict(runs: Run | Iterable[Run], alphas: int = 51) -> pd.DataFrame:
    """Predict curves on the linear path, from rung to rung of a ladder, for fully-connected networks.

    `path` names the rung; s(α) are the logits without output bias at α, centred over classes, and s = s(1).

    `closed form`: z(α) = α^r s + α b with depth r, from one forward pass of the trained network; exact if θ(0) = 0 and
    the output bias is the only one.
    `gain`: z(α) = g(α) s + α b, where g(α) is the projection coefficient of s(α) on s, centred over images.
    `gain and shift`: z(α) = g(α) (s − s̄) + m(α) + α b, where s̄ and m(α) are the means of s and s(α) over images.
    `two scalars`, `class means`: `core.theory.predicted_logits` without and with class means, from the two ends alone.

    Returns
    -------
    Frame as `mli.interpolate` returns it, with columns that are NaN on other rungs: `gain`, g(α) or α^r; `alignment`,
    cosine between s(α) and s, centred over images, with `gain`; `of_signal`, `of_floor`, `of_bias`, sizes of the parts
    of the logits (`core.theory.Law.parts`), with `two scalars`
    """
    runs = [runs] if isinstance(runs, Run) else list(runs)
    for run in runs:
        if (run.config.model, run.config.normalization, run.config.bias == "none") != ("fcn", "none", False):
            raise InputError(f"no prediction for {run.config}; allowed: fcn with an output bias, no norm")
    points = alpha_grid(alphas)
    parts = []
    for run, body in _each(runs, "predictions", points, "the predicted curve", _predictions, "law"):
        own = {
            "closed form": {"gain": points**run.config.depth},
            "gain": {"gain": body["gain"], "alignment": body["alignment"]},
            "two scalars": dict(zip(PARTS, np.array(body["parts"], float).T, strict=True)),
        }
        for name in RUNGS:
            kept = {part: body[f"{name}: {part}"] for part in ("loss", "wrong")}
            more = {column: own.get(name, {}).get(column, np.full(len(points), np.nan)) for column in COLUMNS}
            columns = {**curve_of(run, kept, points), **{name: np.array(some, float) for name, some in more.items()}}
            parts.append((fields_of(run, start="zero" if name == "closed form" else "own", path=name), columns))
    return tidy_frame(parts, "start", "path", *ALONG_CURVES, *COLUMNS)


def _each(
    runs: Sequence[Run], kind: str, points: np.ndarray, what: str, compute: Callable, mechanism: str
) -> list[tuple[Run, dict]]:
    """Pair each run with its result of `compute(model, (θ(0), θ(T)), images, points)`, stored or computed."""
    key, made = {"alphas": points.tolist()}, partial(compute, points=points)
    wanted = [Measurement(run, kind, key, what, made, mechanism) for run in runs]
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
    total, sums = [], {name: [] for name in RUNGS}
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
    laws = {name: law(*ends, pixels, points, class_means=name == LAW) for name in RUNGS[-2:]}
    for name, predicted in laws.items():
        sums[name].append(sum_metrics(predicted.logits, labels))
    arrays = {name: torch.cat([part[name] for part in total]).cpu().numpy() for name in ("gain", "alignment")}
    arrays["parts"] = laws["two scalars"].parts
    for name, parts in sums.items():
        arrays[f"{name}: loss"] = torch.cat([part["loss"] for part in parts]).cpu().numpy() / len(labels)
        arrays[f"{name}: wrong"] = torch.cat([part["wrong"].sum(1, keepdim=True) for part in parts]).cpu().numpy()
    return arrays


def square_figure(frame: pd.DataFrame, depth: int) -> Figure:
    """Plot means over runs on the (α_weights, α_bias) square with the linear and the homogeneous path."""
    if nothing_to_draw(frame, "alpha_weights", "alpha_bias", "error", "loss"):
        return empty_figure()
    with style():
        figure, panels = plt.subplots(1, 2, figsize=(9.2, 3.9), layout="constrained")
        path = np.linspace(0, 1, 201)
        casing = [withStroke(linewidth=4, foreground="0.15")]  # for paths to be seen where all is bright
        for axes, measure in zip(panels, ("error", "loss"), strict=True):
            table = frame.pivot_table(index="alpha_bias", columns="alpha_weights", values=measure)
            drawn = axes.pcolormesh(
                table.columns, table.index, table, cmap="cividis", shading="gouraud", rasterized=True
            )
            figure.colorbar(drawn, ax=axes, label=LABELS.get(measure, measure))
            for name, bias, dash in (("linear", path, "-"), ("homogeneous", path**depth, "--")):
                axes.plot(path, bias, color="white", lw=2, ls=dash, label=name, path_effects=casing)
            axes.set(xlabel="α of the weights", ylabel="α of the bias", xlim=(0, 1), ylim=(0, 1), aspect="equal")
            axes.grid(False)
        panels.flat[0].legend(loc="upper left", labelcolor="white", frameon=True, facecolor="0.25", framealpha=0.75)
    return figure


def moving(square: pd.DataFrame, depth: int) -> Moving | None:
    """Return an interactive `square_figure` with a dot on each path.

    It opens where the errors on the two paths differ most.

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
    for name, axis, domain in (("error", "", [0, 0.36]), ("loss", "2", [0.62, 0.98])):
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
            always += [
                {
                    "x": dense.round(3).tolist(),
                    "y": bias(dense).round(4).tolist(),
                    "name": path,
                    "mode": "lines",
                    "line": line,
                    "hoverinfo": "skip",
                    "showlegend": False,
                    **there,
                }
                for line in ({"color": "#262626", "width": 4}, {"color": "white", "dash": dash, "width": 2})
            ]
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
                "textfont": {"color": "white", "size": 11, "shadow": "0 0 3px black, 0 0 3px black"},
                "cliponaxis": False,
                "hoverinfo": "skip",
                "showlegend": False,
                "xaxis": f"x{axis}",
                "yaxis": f"y{axis}",
            }
            for axis in read
            for place, (path, (_, bias)) in enumerate(paths.items())
        ]

    stops = np.arange(51) / 50
    linear, homogeneous = (read[""]((stops, bias(stops))) for _, bias in paths.values())
    return Moving(
        label="Training error and loss over alpha of the weights and alpha of the bias, with the linear and the "
        "homogeneous path and the networks at a chosen alpha of each",
        controls={"α": stops.round(2).tolist()},
        traces=traces,
        layout={"height": 380, "margin": {"l": 50, "r": 70, "t": 30, "b": 45}, **axes},
        start=[int(np.argmax(abs(linear - homogeneous)))],
        always=always,
    )


def _axis(said: str, other: str, domain: list[float]) -> dict:
    return {"domain": domain, "title": {"text": said, "standoff": 4}, "range": [0, 1], "anchor": other}


def _beside(alpha: float, bias: float, place: int) -> str:
    """Return the position of a dot's label, inside the square and clear of the other dot's label."""
    height = "bottom" if bias > 0.9 and place else "middle" if bias > 0.9 else "top"
    return f"{height} {'right' if alpha < 0.5 else 'left'}"


def ends(measured: pd.DataFrame, predicted: pd.DataFrame, tolerance: float = HALF_WAY) -> pd.DataFrame:
    """Return where curves leave the error plateau for good, one row per network.

    Parameters
    ----------
    measured : curves on the linear path
    predicted : as `predict` returns them

    Returns
    -------
    Frame with the fields of the networks, `measured`, a column for each of `RUNGS`, and `signal beats the bias` and
    `signal beats the floor`, the largest α at which the signal of the law in two scalars is the smaller
    """
    keys = [*SETTING, "seed"]
    curves = pd.concat([measured.assign(path="measured"), predicted])
    found = plateau_ends(curves, tolerance).pivot(index=keys, columns="path", values="end")[["measured", *RUNGS]]
    scalars = predicted[predicted.path == "two scalars"]
    for part in PARTS[1:]:
        behind = scalars.assign(end=scalars.alpha.where(scalars.of_signal < scalars[part], 0.0))
        found[f"signal beats the {part.removeprefix('of_')}"] = behind.groupby(keys).end.max()
    return found.where(found.measured.notna()).reset_index()


def centred(ends: pd.DataFrame) -> pd.DataFrame:
    """Take from every end the mean over the fitted networks of its setting."""
    fitted = ends.dropna(subset="measured")
    columns = ["measured", *RUNGS]
    return fitted.assign(**(fitted[columns] - fitted.groupby(SETTING)[columns].transform("mean")))


def accuracy(ends: pd.DataFrame) -> pd.DataFrame:
    """Estimate R² of every rung over all networks (`pooled`) and `within` settings: rows of `rung` and `over`."""
    rows = []
    for rung in RUNGS:
        for over, some in (("pooled", ends), ("within", centred(ends))):
            of_network = some.set_index("seed")
            measured, predicted = (of_network[[name]].set_axis(["end"], axis=1) for name in ("measured", rung))
            rows.append({"rung": rung, "over": over, **determination_by_seed(measured, predicted)})
    return pd.DataFrame(rows)


def artefact(predicted: pd.DataFrame) -> float:
    """Return the share of networks whose plateau by `gain` is 0 by the rule of first crossing and longer for good."""
    gain = predicted[predicted.path == "gain"].dropna(subset="error")
    first, for_good = plateau(gain, HALF_WAY).error_plateau, plateau_ends(gain, HALF_WAY).end
    return float(((first == 0) & (for_good > 0)).mean()) if len(gain) else math.nan


def bias_last(ends: pd.DataFrame) -> pd.Series:
    """Tell in which networks the signal overtakes the bias after what the start leaves."""
    return ends["signal beats the bias"] > ends["signal beats the floor"]


def claims(of_networks: pd.DataFrame) -> dict:
    """Return the quantity of each claim of section 03, by network, from `ends`."""
    found = accuracy(of_networks).set_index(["rung", "over"])[list(ESTIMATE)].T
    by_seed = of_networks.set_index("seed")
    off = by_seed[list(RUNGS)].sub(by_seed.measured, axis=0)
    return {
        "law-predicts-plateaus": found[LAW, "pooled"].to_dict(),
        "law-predicts-within-settings": found[LAW, "within"].to_dict(),
        "law-is-close": off[LAW].abs(),
        "class-means-bring-the-law-closer": off["two scalars"].abs() - off[LAW].abs(),
        "closed-form-needs-the-origin": found["closed form", "pooled"].to_dict(),
        "prediction-is-an-upper-bound": at_most(-off["closed form"], ROUNDING),
        "plateau-ends-where-the-signal-beats-the-bias": rank_correlation(
            of_networks[bias_last(of_networks)], "signal beats the bias", "measured"
        ),
    }


def numbers(runs: Sequence[Run], ends: pd.DataFrame, at_tenth: pd.DataFrame, predicted: pd.DataFrame) -> dict:
    """Return the numbers in the text of section 03; `at_tenth` are `ends` at the tolerance 0.1."""
    off = ends[list(RUNGS)].sub(ends.measured, axis=0)
    half = predicted[np.isclose(predicted.alpha, 0.5)]
    gains = half[half.path == "gain"]
    biased, others = ends[bias_last(ends)], ends[~bias_last(ends)]
    return {
        **counts(runs),
        **{f"{row.rung}/{row.over}": span(row._asdict()) for row in accuracy(ends).itertuples()},
        **{f"{rung} off": float(np.sqrt(off[rung].pow(2).mean())) for rung in RUNGS},
        "at a tenth": span(accuracy(at_tenth).set_index(["rung", "over"]).loc[(LAW, "pooled")]),
        "settings": ends.dropna(subset="measured").groupby(SETTING).ngroups,
        "fitted_on": FITTED_ON,
        "biases": " or ".join(LABELS[kind] for kind in dict.fromkeys(ends.bias)),
        "mean_closed": ends["closed form"].mean(),
        "mean_measured": ends.measured.mean(),
        "below": int(at_most(-off["closed form"], ROUNDING).sum()),
        "artefact": 100 * artefact(predicted),
        "gain_half": (gains.gain / 0.5**gains.depth).median(),
        "alignment_half": gains.alignment.median(),
        "bias_last": len(biased),
        "beats_bias": biased["signal beats the bias"].mean(),
        "bias_last_end": biased.measured.mean(),
        "beats_floor": others["signal beats the floor"].mean(),
        "floor_last_end": others.measured.mean(),
    }


def gains(predicted: pd.DataFrame, depth: int) -> pd.DataFrame:
    """Return the gains of networks of one depth, of what `predict` returns, where they are positive and α > 0."""
    some = predicted[(predicted.path == "gain") & (predicted.depth == depth) & (predicted.alpha > 0)]
    return some.loc[some.gain > 0, [*SETTING, "seed", "alpha", "gain"]]


def race_figure(measured: pd.DataFrame, powers: Sequence[int] = (2, 5, 10)) -> Figure:
    """Plot the lead α^r that the signal gives, and the share α `RATIO` that the bias takes, on logarithmic scales.

    Parameters
    ----------
    measured : as `gains` returns it; drawn in from the lowest network to the highest
    powers : depths r of the signals drawn
    """
    alphas = np.linspace(0.02, 1, 400)
    with style():
        figure, axes = plt.subplots(figsize=(NARROW, 4.6), layout="constrained")
        axes.fill_between(alphas, 1e-4, RATIO * alphas, color="0.5", alpha=0.14, lw=0)
        axes.plot(alphas, RATIO * alphas, color="0.2", lw=2.2, ls="--", label="bias")
        for r, colour in zip(powers, colours(powers), strict=True):
            axes.plot(alphas, alphas**r, color=colour, label=f"signal, r = {r}")
            crossing = RATIO ** (1 / (r - 1))
            axes.plot(crossing, RATIO * crossing, "o", color=colour, ms=7)
            look = {"textcoords": "offset points", "path_effects": [withStroke(linewidth=3, foreground="white")]}
            axes.annotate(f"{crossing:.2f}", (crossing, RATIO * crossing), (6, -13), zorder=4, **look)
        for depth, some in measured.groupby("depth"):
            of_alpha = some.groupby("alpha").gain
            axes.fill_between(of_alpha.min().index, of_alpha.min(), of_alpha.max(), color=PALETTE[3], alpha=0.25, lw=0)
            axes.plot(of_alpha.median(), color=PALETTE[3], ls=":", lw=2.4, label=f"measured gain, r = {depth}")
        axes.text(0.97, 1.3e-4, "bias decides", ha="right", va="bottom", style="italic")
        axes.text(0.03, 0.6, "signal decides", ha="left", va="top", style="italic")
        axes.set(
            yscale="log", xlim=(0, 1), ylim=(1e-4, 1), xlabel="α", ylabel="lead in the logits (margin at the end = 1)"
        )
        figure.legend(loc="outside upper center", ncol=2)
    return figure


def ladder_figure(ends: pd.DataFrame) -> Figure:
    """Plot measured against predicted ends, a panel for each of `RUNGS`, coloured by depth, with the diagonal."""
    if nothing_to_draw(ends, "measured", LAW):
        return empty_figure()
    pooled = accuracy(ends).set_index(["rung", "over"])["mean"]
    depths = sorted(ends.depth.unique())
    with style():
        figure, panels = plt.subplots(2, 3, figsize=(WIDEST, 5.6), sharex=True, sharey=True, layout="constrained")
        for axes, rung in zip(panels.flat, RUNGS, strict=False):
            axes.axline((0, 0), slope=1, color="0.4", ls=":", lw=1)
            for depth, colour in zip(depths, in_order(len(depths)), strict=True):
                some = ends[ends.depth == depth]
                axes.plot(some[rung], some.measured, "o", color=colour, ms=4, alpha=0.7, label=f"{depth}")
            axes.set_title(f"{rung}\nR² = {pooled[rung, 'pooled']:.2f}".replace("-", "−"), fontsize="medium")
            axes.set(xlim=(-0.02, 1), ylim=(-0.02, 1), aspect="equal")
        panels[0, 2].tick_params(labelbottom=True)
        panels[1, 2].set_axis_off()
        handles = panels[0, 0].get_legend_handles_labels()
        figure.legend(*handles, title="depth", loc="outside upper left", ncol=len(depths), columnspacing=1)
        figure.supxlabel("predicted end of the error plateau (α)")
        figure.supylabel("measured end (α)")
    return figure


def extremes(predicted: pd.DataFrame, ends: pd.DataFrame) -> pd.DataFrame:
    """Return sizes of signal, floor and bias in the logits, α > 0, in the settings of shortest and longest plateau.

    `mean_end` is the setting's mean measured end; the shortest comes first. No network has an end: no row.
    """
    lengths = ends.groupby(SETTING).measured.mean().dropna()
    both = lengths.iloc[list(dict.fromkeys((lengths.argmin(), lengths.argmax())))] if len(lengths) else lengths
    scalars = predicted[(predicted.path == "two scalars") & (predicted.alpha > 0)]
    kept = [*SETTING, "seed", "alpha", "of_signal", "of_floor", "of_bias"]
    return both.rename("mean_end").reset_index().merge(scalars[kept], on=SETTING)


def parts_figure(sizes: pd.DataFrame) -> Figure:
    """Plot what `extremes` returns, a panel a setting: geometric means over networks, and the error plateau shaded."""
    if sizes.empty:
        return empty_figure()
    looks = {
        "of_signal": ("signal", "-", PALETTE[0]),
        "of_floor": ("what the start leaves", ":", PALETTE[1]),
        "of_bias": ("bias", "--", "0.2"),  # as in `race_figure`
    }
    with style():
        figure, panels = plt.subplots(1, 2, figsize=(WIDEST, 3.4), sharey=True, layout="constrained")
        for axes, (_, some) in zip(panels, sizes.groupby(SETTING, sort=False), strict=False):
            of = some.iloc[0]
            axes.axvspan(0, of.mean_end, color="0.5", alpha=0.14, lw=0)
            for part, (name, dashes, colour) in looks.items():
                logs = np.log(some.set_index("alpha")[part].where(lambda size: size > 0))
                axes.plot(np.exp(logs.groupby("alpha").mean()), dashes, color=colour, lw=2.2, label=name)
            said = f"depth {of.depth}, width {of.width}, scale {of.init_scale:g}\n"
            said += f"{NAMES.get(of.dataset, of.dataset)}, {NAMES[of.optimizer]}, {LABELS[of.bias]}"
            axes.set_title(said, fontsize="medium")
            axes.set(yscale="log", xlim=(0, 1), xlabel="α")
        panels[0].set(ylabel="size in the logits", ylim=(1e-4, None))  # after both are drawn, which share their limit
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncol=3)
    return figure
