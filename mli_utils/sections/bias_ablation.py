"""Predictions for single test images along a path (section 05).

The store keeps the images with their predictions, so rendering from the record needs no image archive.
"""

import io
from base64 import b64encode
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import groupby, product

import numpy as np
import pandas as pd
import torch
from matplotlib import pyplot as plt
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from mli_utils.core.config import DATASETS, InputError
from mli_utils.core.data import ImageSet
from mli_utils.core.estimates import interval, mean_and_interval
from mli_utils.core.evaluation import plain_float32, statistics_of
from mli_utils.core.parameters import device_of
from mli_utils.core.paths import alpha_grid, interpolate_parameters, schedules
from mli_utils.core.plateaus import only_fitted, plateau
from mli_utils.core.words import span
from mli_utils.figures.kinds import empty_figure, nothing_to_draw
from mli_utils.figures.moving import Moving
from mli_utils.figures.style import LABELS, PALETTE, QUARTERS, WIDEST, colours, dashes, style
from mli_utils.runs.biases import biased_curves, dose
from mli_utils.runs.images import load_data
from mli_utils.runs.measured import Measurement, measure
from mli_utils.runs.trained import Run, counts, fields_of, table, tidy_frame

COLUMNS = ("path", "alpha", "image", "label", "predicted", "probability")
SHOWN = 10  # images in `picture_figure`


def one_network(runs: Sequence[Run]) -> list[Run]:
    """Return a list of the first fitted network with an output bias, or an empty list."""
    return [run for run in runs if run.config.bias == "output" and run.summary["status"] == "fitted"][:1]


def predict_images(
    runs: Run | Iterable[Run], paths: Sequence[str] = ("linear", "homogeneous"), alphas: int = 51, images: int = 20
) -> tuple[pd.DataFrame, np.ndarray]:
    """Predict the classes of the first test images along paths; the images cycle through the classes.

    Returns
    -------
    Tidy frame with the runs' fields, `status`, `path`, `alpha`, `image` (its index), `label` and `predicted` (class
    names), `probability` (softmax of the predicted class); and the images, (images, height, width, 3) from 0 to 1,
    empty without runs

    Raises
    ------
    InputError
        `images` exceeds the test set, or the runs have different data sets.
    NotInRecord
        A prediction is missing while the book is rendered from the record.
    """
    runs = [runs] if isinstance(runs, Run) else list(runs)
    names = {run.config.dataset for run in runs}
    if len(names) > 1:
        raise InputError(f"images of {', '.join(sorted(names))} are not allowed together; allowed: one data set")
    for name in names:
        if not 1 <= images <= DATASETS[name].test:
            raise InputError(f"images={images} is not allowed; allowed: from 1 to {DATASETS[name].test}")
    points = alpha_grid(alphas)
    todo = list(product(runs, paths))
    bodies = measure([_predictions(run, path, points, images) for run, path in todo], "path")
    parts = [
        (fields_of(run, path=path), _columns(points, body)) for (run, path), body in zip(todo, bodies, strict=True)
    ]
    pixels = np.array(bodies[0]["pixels"]) / 255 if bodies else np.empty((0, 1, 1, 3))
    return tidy_frame(parts, *COLUMNS), np.broadcast_to(pixels, (*pixels.shape[:3], 3))


def _predictions(run: Run, path: str, points: np.ndarray, images: int) -> Measurement:
    key = {
        "schedules": schedules(path),
        "alphas": points.tolist(),
        "images": images,
    }
    compute = partial(_compute, path=path, points=points, number=images)
    return Measurement(
        run, "images", key, f"what is predicted for test images on path {path!r}", compute, "bias_ablation"
    )


@torch.no_grad()
def _compute(model, ends, images: ImageSet, path: str, points: np.ndarray, number: int) -> dict[str, np.ndarray]:
    device = device_of(ends[0])
    shown = load_data(images.name, "test").first(number)
    pixels = (shown.images * shown.std + shown.mean).clamp(0, 1).mul(255).round().to(torch.uint8)
    said = []
    with plain_float32():
        for alpha in points:
            there = interpolate_parameters(model, *ends, float(alpha), path)
            statistics = statistics_of(model, there, images.images.to(device))
            said.append(model.logits(there, shown.images.to(device), statistics).softmax(-1).max(-1))
    return {
        "predicted": np.array([most.indices.tolist() for most in said]),
        "probability": np.round(np.array([most.values.tolist() for most in said]), 4),
        "labels": shown.labels.numpy(),
        "pixels": pixels.permute(0, 2, 3, 1).numpy(),
        "classes": np.array(shown.classes),
    }


def _columns(points: np.ndarray, body: dict) -> dict[str, np.ndarray]:
    """Return the columns of stored predictions, one row per α and image."""
    classes = np.array(body["classes"])
    predicted = classes[np.array(body["predicted"])]
    count = predicted.shape[1]
    return {
        "alpha": np.repeat(points, count),
        "image": np.tile(np.arange(count), len(points)),
        "label": np.tile(classes[np.array(body["labels"])], len(points)),
        "predicted": predicted.ravel(),
        "probability": np.array(body["probability"], float).ravel(),
    }


TILE = 0.44  # inches: side of a picture
ON_ANY_PAGE = "#767676"  # 4.5:1 on white, 4.1:1 on a dark page
WORDS = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "xtick.labelcolor")


def picture_figure(predictions: pd.DataFrame, pixels: np.ndarray) -> Figure:
    """Plot test images beside the classes predicted along α: one panel per path, dark where correct.

    Pictures keep their colours on a dark page (`book.css`), so the words are of a grey that is read on both.
    """
    if predictions.empty:
        return empty_figure()
    paths, count = list(dict.fromkeys(predictions.path)), min(SHOWN, len(pixels))
    with style(), plt.rc_context(dict.fromkeys(WORDS, ON_ANY_PAGE)):
        widths = [1.5 * TILE, *[(WIDEST - 1.5 * TILE) / len(paths)] * len(paths)]
        size = (WIDEST, 0.7 + TILE * count)
        figure, panels = plt.subplots(1, len(widths), figsize=size, width_ratios=widths, layout="constrained")
        _draw_images(panels[0], pixels[:count])
        for axes, path in zip(panels[1:], paths, strict=True):
            of_path = predictions[(predictions.path == path) & (predictions.image < count)]
            said = of_path.pivot(index="image", columns="alpha", values="predicted")
            true = of_path.groupby("image").label.first()
            right_or_not = ListedColormap(["#fde6d0", PALETTE[0]])
            right = said.eq(true, axis=0)
            half = said.columns[1] / 2
            axes.imshow(
                right, cmap=right_or_not, vmin=0, vmax=1, aspect="auto", extent=(-half, 1 + half, count - 0.5, -0.5)
            )
            for image, row in said.iterrows():
                _name_stretches(axes, image, row, true[image], half)
            axes.hlines(np.arange(count - 1) + 0.5, -half, 1 + half, color="white", lw=1.5)
            axes.set(xlim=(0, 1), xlabel=LABELS["alpha"], title=f"{path} path", yticks=[])
            axes.set_xticks(*QUARTERS)
            axes.grid(False)
    return figure


def _draw_images(axes, pixels: np.ndarray) -> None:
    for place, image in enumerate(pixels):
        axes.imshow(ink(image), extent=(0, 0.92, place + 0.46, place - 0.46), interpolation="nearest")
    axes.set(xlim=(0, 1), ylim=(len(pixels) - 0.5, -0.5))
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_axis_off()


def _name_stretches(axes, place: int, row: pd.Series, true: str, half: float) -> None:
    """Label each stretch of equal predictions that is wide enough for the name of the class."""
    for name, stretch in groupby(zip(row.index, row, strict=True), key=lambda pair: pair[1]):
        along = [alpha for alpha, _ in stretch]
        axes.vlines(along[0] - half, place - 0.5, place + 0.5, color="white", lw=1)
        if along[-1] - along[0] >= 0.02 * (1 + len(name)):
            colour = "white" if name == true else "0.15"
            axes.text((along[0] + along[-1]) / 2, place, name, color=colour, ha="center", va="center", fontsize=10)


def ink(image: np.ndarray) -> np.ndarray:
    """Invert grey images to dark on white; leave colour images unchanged."""
    return 1 - image if np.ptp(image, axis=2).max() == 0 else image


ACROSS = 10  # images per row
ROW = 1.6  # height of an image and its label, in image widths
DASHES = ("solid", "dash", "dot", "dashdot")


def moving(predictions: pd.DataFrame, pixels: np.ndarray, curves: pd.DataFrame) -> Moving | None:
    """Return the interactive figure of one network: loss and error along its paths, and predictions for images.

    Parameters
    ----------
    predictions, pixels : as `predict_images` returns them, of one run
    curves : curves of runs, this one included, on the same paths and α
    """
    if predictions.empty:
        return None
    one = predictions.iloc[0]
    curves = curves[(curves.bias == one.bias) & (curves.seed == one.seed)]
    paths, points = list(dict.fromkeys(predictions.path)), [round(alpha, 3) for alpha in curves.alpha.unique()]
    colour = dict(zip(dict.fromkeys(curves.path), PALETTE, strict=False))
    always = []
    for (path, of_path), dash in zip(curves.groupby("path", sort=False), DASHES, strict=False):
        for name, axis in (("loss", ""), ("error", "2")):
            always.append(
                {
                    "x": of_path.alpha.round(4).tolist(),
                    "y": [float(f"{value:.4g}") for value in of_path[name]],
                    "xaxis": f"x{axis}",
                    "yaxis": f"y{axis}",
                    "name": path,
                    "legendgroup": path,
                    "showlegend": name == "loss",
                    "line": {"color": colour[path], "dash": dash, "width": 2},
                }
            )
    rows = -(-len(pixels) // ACROSS)
    place = [(i % ACROSS + 0.5, i // ACROSS) for i in range(len(pixels))]
    sheet, width = _sheet(pixels)
    step = ACROSS / width
    always.append(
        {
            "type": "image",
            "source": sheet,
            "x0": step / 2,
            "y0": step / 2,
            "dx": step,
            "dy": step,
            "xaxis": "x3",
            "yaxis": "y3",
            "hoverinfo": "skip",
        }
    )

    def traces(path: str, alpha: float) -> list[dict]:
        here = predictions[(predictions.path == path) & np.isclose(predictions.alpha, alpha, atol=1e-3)]
        on_curve = curves[(curves.path == path) & np.isclose(curves.alpha, alpha, atol=1e-3)].iloc[0]
        dots = [
            {
                "x": [float(alpha)],
                "y": [float(f"{on_curve[measure]:.4g}")],
                "xaxis": f"x{axis}",
                "yaxis": f"y{axis}",
                "mode": "markers",
                "showlegend": False,
                "marker": {"size": 12, "color": colour[path], "line": {"color": "white", "width": 2}},
            }
            for measure, axis in (("loss", ""), ("error", "2"))
        ]
        said = [
            f"<b>{row.predicted}</b> ✓" if row.predicted == row.label else f"{row.predicted} ✗"
            for row in here.itertuples()
        ]
        words = {
            "x": [x for x, _ in place],
            "y": [y * ROW + 1.25 for _, y in place],
            "text": said,
            "mode": "text",
            "textfont": {"size": 13},
            "xaxis": "x3",
            "yaxis": "y3",
            "hoverinfo": "skip",
            "showlegend": False,
        }
        return [*dots, words]

    hidden = {"visible": False, "fixedrange": True}
    layout = {
        "height": 430,
        "margin": {"l": 50, "r": 20, "t": 30, "b": 10},
        "legend": {"orientation": "h", "x": 0, "y": 1.12},
        "xaxis": {"domain": [0, 0.45], "title": {"text": "α", "standoff": 2}, "range": [0, 1], "anchor": "y"},
        "yaxis": {"domain": [0.5, 1], "title": {"text": "training loss"}, "rangemode": "tozero"},
        "xaxis2": {"domain": [0.56, 1], "title": {"text": "α", "standoff": 2}, "range": [0, 1], "anchor": "y2"},
        "yaxis2": {"domain": [0.5, 1], "title": {"text": "error"}, "range": [0, 1], "anchor": "x2"},
        "xaxis3": {**hidden, "domain": [0, 1], "range": [0, ACROSS], "anchor": "y3"},
        "yaxis3": {**hidden, "domain": [0, 0.38], "range": [rows * ROW, 0], "anchor": "x3"},
    }
    return Moving(
        label="Training loss and error of one network at a chosen alpha of a chosen path, and the classes that it "
        "predicts for images of the test set",
        controls={"path": paths, "α": points},
        traces=traces,
        layout=layout,
        start=[0, len(points) // 3],
        always=always,
    )


def _sheet(pixels: np.ndarray) -> tuple[str, int]:
    """Arrange all images on a transparent sheet; return it as a PNG data URL, and its width in pixels."""
    side = pixels.shape[1]
    margin = max(1, side // 10)
    cell = side + 2 * margin
    rows = -(-len(pixels) // ACROSS)
    sheet = np.zeros((round(rows * ROW * cell), ACROSS * cell, 4))
    for i, image in enumerate(pixels):
        top = round(i // ACROSS * ROW * cell) + margin
        left = i % ACROSS * cell + margin
        sheet[top : top + side, left : left + side] = np.dstack([ink(image), np.ones(image.shape[:2])])
    png = io.BytesIO()
    plt.imsave(png, sheet, format="png")
    return f"data:image/png;base64,{b64encode(png.getvalue()).decode()}", sheet.shape[1]


CASES = {  # bias and path of a curve in `error_figure`
    "no bias": ("none", "linear"),
    "bias, homogeneous path": ("output", "homogeneous"),
    "bias, linear path": ("output", "linear"),
}


def error_figure(fitted: pd.DataFrame, plateaus: pd.DataFrame) -> Figure:
    """Plot the error over α without biases and with an output bias on both paths; bracket each mean plateau by name.

    Thin lines: one seed each; thick lines: means over seeds.

    Parameters
    ----------
    fitted : curves of fitted networks on both paths
    plateaus : their plateaus
    """
    if nothing_to_draw(fitted, "alpha", "error"):
        return empty_figure()
    chance = 1 - 1 / DATASETS[fitted.dataset.iloc[0]].classes
    with style():
        figure, axes = plt.subplots(figsize=(3.7, 3.4), layout="constrained")
        axes.axhline(chance, color="0.4", ls=":", lw=1)
        for place, (name, colour, dash) in enumerate(zip(CASES, colours(CASES), dashes(CASES), strict=True)):
            bias, path = CASES[name]
            curves = fitted[(fitted.bias == bias) & (fitted.path == path)]
            curves = curves.pivot(index="alpha", columns="seed", values="error")
            length = plateaus[(plateaus.bias == bias) & (plateaus.path == path)].error_plateau.mean()
            axes.plot(curves, color=colour, lw=0.7, alpha=0.4)
            axes.plot(curves.mean(axis=1), color=colour, ls=dash, lw=2.6)
            height = chance * (1.1 + 0.12 * place)
            axes.errorbar([0, length], [height] * 2, yerr=0.03, color=colour, ls=dash, lw=2.2, elinewidth=2.2)
            axes.text(length + 0.02, height, f"{name}: {length:.2f}", color="0.15", va="center")
        axes.text(1, chance, "chance", color="0.3", ha="right", va="bottom")
        axes.set(xlim=(0, 1), ylim=(0, chance * 1.44), xlabel="α: from start to trained network")
        axes.set(ylabel=LABELS["error"])
        axes.set_yticks([0, 0.2, 0.4, 0.6, 0.8])
    return figure


def dosed(runs: Sequence[Run], gaps: Sequence[float], alphas: int = 51) -> pd.DataFrame:
    """Give bias-free networks an output bias after training; return their plateaus, with a column `gap` (logits).

    The bias is `gap` for one class, which the seed chooses, and 0 for the others. It moves linearly.
    """
    curves = biased_curves(runs, [{f"{gap:g}": dose(run, gap) for gap in gaps} for run in runs], alphas)
    found = only_fitted(plateau(curves))
    return found.assign(gap=found.path.astype(float))


def dose_figure(doses: pd.DataFrame) -> Figure:
    """Plot the error plateau of `dosed` networks against the gap: a thin line a network, means with intervals."""
    if nothing_to_draw(doses, "gap", "error_plateau"):
        return empty_figure()
    lengths = doses.pivot(index="gap", columns="seed", values="error_plateau")
    mean, low, high = np.array([interval(row) for row in lengths.to_numpy()]).T
    places = range(len(lengths))
    with style():
        figure, axes = plt.subplots(figsize=(3.7, 3.4), layout="constrained")
        axes.plot(places, lengths, color=PALETTE[2], lw=0.7, alpha=0.4)
        look = {"color": PALETTE[2], "fmt": "o-", "lw": 2.6, "ms": 7, "capsize": 4}
        axes.errorbar(places, mean, np.nan_to_num([mean - low, high - mean]), **look)
        axes.set_xticks(places, [f"{gap:g}" if gap else "none" for gap in lengths.index])
        axes.set(xlabel="bias given to one class (logits)", ylabel=LABELS["error_plateau"], ylim=(0, 1))
    return figure


def dose_numbers(doses: pd.DataFrame) -> dict[str, float | str]:
    """Return the numbers in the text on `dosed` networks."""
    lengths = [span(mean_and_interval(some.error_plateau)) for _, some in doses.groupby("gap")]
    return {"dose/least": lengths[0], "dose/most": lengths[-1], "dose/largest": doses.gap.max()} if lengths else {}


def compare(plateaus: pd.DataFrame) -> pd.DataFrame:
    """Compare error plateaus, paired by seed: linear path with output bias minus homogeneous path or no biases."""
    error = _by_seed(plateaus).error_plateau
    linear = error["output", "linear"]
    longer = {
        "longer than on the homogeneous path": linear - error["output", "homogeneous"],
        "longer than without biases": linear - error["none", "linear"],
    }
    return pd.DataFrame([{"statement": said, **mean_and_interval(values)} for said, values in longer.items()])


def measured(fitted: pd.DataFrame, tolerance: float) -> dict[str, pd.Series]:
    """Return the quantity of each claim of section 05, by seed, from curves of fitted networks."""
    lengths = _by_seed(plateau(fitted, tolerance))
    error, loss = lengths.error_plateau, lengths.loss_plateau
    linear = error["output", "linear"]
    return {
        "homogeneous-path-shortens-the-error-plateau": linear - 2 * error["output", "homogeneous"],
        "biases-make-the-error-plateau": linear - 2 * error["none", "linear"],
        "biases-make-the-loss-plateau": loss["output", "linear"] - loss["none", "linear"],
        "loss-plateau-needs-no-bias": loss["none", "linear"] / loss["output", "linear"],
    }


def numbers(runs: Sequence[Run], plateaus: pd.DataFrame) -> dict:
    """Return the numbers in the text of section 05."""
    loss = _by_seed(plateaus).loss_plateau
    ended, members = table(runs), runs[0].summary["class_counts"]
    return {
        "loss_left": 100 * (loss["none", "linear"] / loss["output", "linear"]).mean(),
        "gap": ended[(ended.status == "fitted") & (ended.bias == "output")].bias_gap.mean(),
        "members": " to ".join(map(str, sorted({min(members), max(members)}))),
        **counts(runs),
    }


def _by_seed(plateaus: pd.DataFrame) -> pd.DataFrame:
    """Pivot plateau lengths: one row per seed, one column per measure, `bias` and path."""
    lengths = plateaus.set_index(["bias", "path", "seed"])[["error_plateau", "loss_plateau"]]
    return lengths.unstack(["bias", "path"])
