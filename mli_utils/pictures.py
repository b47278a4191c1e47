"""What networks say of single images of the test set along a path, for the book's section 05.

The images are kept with the measurement, so a book rendered from the record needs no archive.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import groupby, product

import numpy as np
import pandas as pd
import torch
from matplotlib import pyplot as plt
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from mli_utils import data, interpolation, models, style, sweep
from mli_utils.config import DATASETS, FIELDS, InputError
from mli_utils.measurements import Measurement, measure
from mli_utils.plots import empty_figure
from mli_utils.sweep import Run
from mli_utils.versions import VERSIONS

COLUMNS = ("path", "alpha", "image", "label", "predicted", "probability")
SHOWN = 10  # images of `picture_figure`


def predict_images(
    runs: Run | Iterable[Run], paths: Sequence[str] = ("linear", "homogeneous"), alphas: int = 51, images: int = 20
) -> tuple[pd.DataFrame, np.ndarray]:
    """The class that networks predict for the first images of the test set, along paths; classes come in turn.

    Returns
    -------
    Tidy frame with the runs' fields, `status`, `path`, `alpha`, `image` (its number), `label`, `predicted` (names of
    classes), `probability` (of the class predicted, by the softmax); and the images, (images, height, width, 3) from 0
    to 1, as the first run's data set has them (of no run: an empty array)

    Raises
    ------
    InputError
        More images than the test set has, or runs on different data sets.
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
    points = interpolation.alpha_grid(alphas)
    todo = list(product(runs, paths))
    bodies = measure([_predictions(run, path, points, images) for run, path in todo], "path")
    frames = [_frame(run, path, points, body) for (run, path), body in zip(todo, bodies, strict=True)]
    pixels = np.array(bodies[0]["pixels"]) / 255 if bodies else np.empty((0, 1, 1, 3))
    return sweep.together(frames, *COLUMNS), np.broadcast_to(pixels, (*pixels.shape[:3], 3))


def _predictions(run: Run, path: str, points: np.ndarray, images: int) -> Measurement:
    key = {
        "schedules": interpolation.schedules(path),
        "alphas": points.tolist(),
        "images": images,
        "version": [VERSIONS[name] for name in ("interpolation", "data", "pictures")],
    }
    compute = partial(_compute, path=path, points=points, number=images)
    return Measurement(run, "images", key, f"what is predicted for test images on path {path!r}", compute)


@torch.no_grad()
def _compute(model, ends, images: data.ImageSet, path: str, points: np.ndarray, number: int) -> dict[str, np.ndarray]:
    device = models.device_of(ends[0])
    shown = data.load(images.name, "test").first(number)
    pixels = (shown.images * shown.std + shown.mean).clamp(0, 1).mul(255).round().to(torch.uint8)
    said = []
    with models.plain_float32():
        for alpha in points:
            there = interpolation.interpolate_parameters(model, *ends, float(alpha), path)
            statistics = models.statistics(model, there, images.images.to(device))
            said.append(models.logits(model, there, shown.images.to(device), statistics).softmax(-1).max(-1))
    return {
        "predicted": np.array([most.indices.tolist() for most in said]),
        "probability": np.round(np.array([most.values.tolist() for most in said]), 4),
        "labels": shown.labels.numpy(),
        "pixels": pixels.permute(0, 2, 3, 1).numpy(),
        "classes": np.array(shown.classes),
    }


def _frame(run: Run, path: str, points: np.ndarray, body: dict) -> pd.DataFrame:
    """Kept predictions as tidy rows."""
    classes = np.array(body["classes"])
    predicted = classes[np.array(body["predicted"])]
    count = predicted.shape[1]
    frame = sweep.table([run])[[*FIELDS, "status"]]
    frame = frame.loc[frame.index.repeat(predicted.size)].reset_index(drop=True)
    return frame.assign(
        path=path,
        alpha=np.repeat(points, count),
        image=np.tile(np.arange(count), len(points)),
        label=np.tile(classes[np.array(body["labels"])], len(points)),
        predicted=predicted.ravel(),
        probability=np.array(body["probability"], float).ravel(),
    )


def picture_figure(predictions: pd.DataFrame, pixels: np.ndarray) -> Figure:
    """Images of one network's predictions, and beside each what is predicted for it along α: a panel a path, dark where
    it is right, a name a stretch."""
    if predictions.empty:
        return empty_figure()
    paths, count = list(dict.fromkeys(predictions.path)), min(SHOWN, len(pixels))
    with style.style():
        widths = [0.5, *[4] * len(paths)]
        figure, panels = plt.subplots(
            1, len(widths), figsize=(1 + 4 * len(paths), 0.5 + 0.4 * count), width_ratios=widths, layout="constrained"
        )
        _draw_images(panels[0], pixels[:count])
        for axes, path in zip(panels[1:], paths, strict=True):
            of_path = predictions[(predictions.path == path) & (predictions.image < count)]
            said = of_path.pivot(index="image", columns="alpha", values="predicted")
            true = of_path.groupby("image").label.first()
            colours = ListedColormap(["#fde6d0", style.PALETTE[0]])
            right = said.eq(true, axis=0)
            half = said.columns[1] / 2
            axes.imshow(right, cmap=colours, vmin=0, vmax=1, aspect="auto", extent=(-half, 1 + half, count - 0.5, -0.5))
            for image, row in said.iterrows():
                _name_stretches(axes, image, row, true[image], half)
            axes.hlines(np.arange(count - 1) + 0.5, -half, 1 + half, color="white", lw=1.5)
            axes.set(xlim=(0, 1), xlabel=style.LABELS["alpha"], title=f"{path} path", yticks=[])
            axes.grid(False)
    return figure


def _draw_images(axes, pixels: np.ndarray) -> None:
    for place, image in enumerate(pixels):
        axes.imshow(ink(image), extent=(0, 1, place + 0.42, place - 0.42), interpolation="nearest")
    axes.set(xlim=(0, 1), ylim=(len(pixels) - 0.5, -0.5), aspect="auto")
    axes.set_axis_off()


def _name_stretches(axes, place: int, row: pd.Series, true: str, half: float) -> None:
    """Write the predicted class where it stays the same for long enough to hold its name."""
    for name, stretch in groupby(zip(row.index, row, strict=True), key=lambda pair: pair[1]):
        along = [alpha for alpha, _ in stretch]
        axes.vlines(along[0] - half, place - 0.5, place + 0.5, color="white", lw=1)
        if along[-1] - along[0] >= 0.02 * (1 + len(name)):
            colour = "white" if name == true else "0.15"
            axes.text((along[0] + along[-1]) / 2, place, name, color=colour, ha="center", va="center", fontsize="small")


def ink(image: np.ndarray) -> np.ndarray:
    """Grey images as ink on paper, photographs as they are."""
    return 1 - image if np.ptp(image, axis=2).max() == 0 else image
