"""Drawing a curve: ours, the textbook's pass of a loader for each α, and `loss-landscapes`."""

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

import mli_utils as mli
from benchmarks import limits
from benchmarks.measure import compare, timed
from mli_utils.core.config import RunConfig
from mli_utils.core.curves import chunks, curve
from mli_utils.core.evaluation import sum_metrics
from mli_utils.core.parameters import Params
from mli_utils.core.theory import predicted_logits
from mli_utils.core.training import train_group
from mli_utils.core.words import NAMES
from mli_utils.runs import images, settings

EPOCHS = 5  # that the network trains, on the first images; how well is not what is measured
TRAINED_ON = 10_000
TEXTBOOK_POINTS = 2  # at which the textbook loop is measured; a pass takes as long at every α


def network() -> RunConfig:
    """Ten layers 256 wide on MNIST."""
    return mli.RunConfig(dataset="mnist", depth=10, width=256, lr=0.02, epochs=EPOCHS, n_train=TRAINED_ON)


def ends(config: RunConfig) -> tuple[Params, Params]:
    """θ(0) and θ(T) of a trained network."""
    (trained,) = train_group([config], *images.of_run(config))
    return trained.start, trained.end


def ours(config: RunConfig, points: np.ndarray, start: Params, end: Params) -> dict[str, np.ndarray]:
    return curve(mli.build(config), start, end, points, "linear", mli.load_data(config.dataset))


@torch.no_grad()
def textbook(config: RunConfig, loader: DataLoader, points: np.ndarray, start: Params, end: Params) -> dict:
    """One pass of a loader over the whole set for each α."""
    model = mli.build(config).eval()
    losses, wrong = [], []
    for alpha in points.tolist():
        model.load_state_dict({name: (1 - alpha) * start[name] + alpha * end[name] for name in start})
        loss, errors, samples = 0.0, 0, 0
        for pixels, labels in loader:
            logits = model(pixels)
            loss += nn.functional.cross_entropy(logits, labels, reduction="sum").item()
            errors += (logits.argmax(1) != labels).sum().item()
            samples += len(labels)
        losses.append(loss / samples)
        wrong.append(errors)
    return {"loss": np.array(losses), "wrong": np.array(wrong)}


def torchvision_loader(folder: Path, batch_size: int = 1000) -> DataLoader:
    """torchvision's own MNIST, from files as they are published, with its usual transform."""
    from torchvision import datasets, transforms

    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    with np.load(settings.data_dir() / "mnist.npz", allow_pickle=False) as archive:
        for split, name in (("train", "train"), ("test", "t10k")):
            for kind, suffix in (("images", "images-idx3-ubyte"), ("labels", "labels-idx1-ubyte")):
                array = archive[f"{split}_{kind}"].astype(np.uint8)
                header = np.array([0x0800 + array.ndim, *array.shape], ">i4")
                (raw / f"{name}-{suffix}").write_bytes(header.tobytes() + array.tobytes())
    return DataLoader(datasets.MNIST(folder, transform=transforms.ToTensor()), batch_size)


def loss_landscapes(config: RunConfig, number: int, start: Params, end: Params) -> np.ndarray:
    """As the README of loss-landscapes uses it: one metric over the whole set, one model after the other."""
    from loss_landscapes import linear_interpolation
    from loss_landscapes.metrics import Loss

    whole = mli.load_data(config.dataset)
    first, last = (mli.build(config) for _ in range(2))
    first.load_state_dict(start)
    last.load_state_dict(end)
    metric = Loss(nn.CrossEntropyLoss(), whole.images, whole.labels)
    with torch.no_grad():
        return linear_interpolation(first, last, metric, number, deepcopy_model=True)


def products(config: RunConfig, number: int, samples: int) -> Counter:
    """The products of a curve, its points taken together as `core.curves.chunks` has them."""
    counted = Counter()
    for some in chunks(number, mli.build(config), torch.device("cpu")):
        counted += limits.of_evaluation(config, len(some), samples, on_a_line=True)
    counted[1, samples, *limits.layer_sizes(config)[0]] = 2  # the first layer's: two for the whole curve
    return counted


def check(config: RunConfig, points: np.ndarray, start: Params, end: Params, loader: DataLoader) -> dict[str, float]:
    """How far ours is from the textbook loop: the largest difference of loss (nats), and of the number of errors."""
    mine, theirs = ours(config, points, start, end), textbook(config, loader, points, start, end)
    return {
        "loss": float(np.abs(mine["loss"] - theirs["loss"]).max()),
        "wrong": int(np.abs(mine["wrong"].sum(1) - theirs["wrong"]).max()),
    }


def bench(rounds: int, number: int = 51) -> list[dict]:
    config, points = network(), np.linspace(0, 1, number)
    start, end = ends(config)
    few = points[:: number // TEXTBOOK_POINTS][:TEXTBOOK_POINTS]
    with tempfile.TemporaryDirectory() as folder:
        loader = torchvision_loader(Path(folder))
        ours(config, points[:4], start, end)

        samples = len(mli.load_data(config.dataset))
        rows = compare(
            "curve_fcn",
            f"{number} points on {samples:,} images of MNIST, 10 layers 256 wide",
            lambda: timed(lambda: ours(config, points, start, end)),
            {
                "textbook loop": lambda: timed(lambda: textbook(config, loader, few, start, end)) * number / len(few),
                "loss-landscapes 3.0.6": lambda: timed(lambda: loss_landscapes(config, number, start, end)),
            },
            lambda: limits.seconds(products(config, number, samples)),
            rounds,
        )
        off = check(config, points[:: number // 5], start, end, loader)
    return [row | {"loss_difference": off["loss"], "wrong_difference": off["wrong"]} for row in rows]


def growth(rounds: int, numbers: tuple[int, ...] = (11, 51, 201)) -> list[dict]:
    """Cost against the number of α, on fewer images."""
    config = network()
    start, end = ends(config.replace(epochs=1))
    some = mli.load_data(config.dataset).first(TRAINED_ON)
    model = mli.build(config)

    def seconds(number: int) -> Callable[[], float]:
        points = np.linspace(0, 1, number)
        return lambda: timed(lambda: curve(model, start, end, points, "linear", some))

    return grown("grow_points", "points of a curve", numbers, seconds, rounds)


def law(rounds: int, number: int = 51) -> list[dict]:
    """The law's prediction of a curve beside its evaluation, on MNIST and on digits."""
    points, rows = np.linspace(0, 1, number), []
    for config in (network().replace(epochs=1), mli.RunConfig(dataset="digits", width=64, epochs=20)):
        start, end = ends(config)
        some, model = mli.load_data(config.dataset).first(config.n_train), mli.build(config)

        def predicted(start=start, end=end, some=some) -> dict[str, torch.Tensor]:
            return sum_metrics(predicted_logits(start, end, some.images, points), some.labels)

        def evaluated(start=start, end=end, some=some, model=model) -> dict[str, np.ndarray]:
            return curve(model, start, end, points, "linear", some)

        measuring = f"measuring it on {NAMES.get(config.dataset, config.dataset)}"
        rows += compare(
            "law",
            f"{number} points, {len(some):,} images of {config.dataset}, 10 layers {config.width} wide",
            lambda predicted=predicted: timed(predicted),
            {measuring: lambda evaluated=evaluated: timed(evaluated)},
            None,
            rounds,
        )
    return rows


def grown(name: str, what: str, numbers: tuple[int, ...], seconds: Callable, rounds: int) -> list[dict]:
    """A row a size: beside ours, the smallest size as many times over as it takes."""
    rows = []
    for number in numbers:
        (row,) = compare(
            name,
            f"{number} {what}",
            seconds(number),
            {
                f"{numbers[0]} {what}, {number / numbers[0]:.3g} times": lambda times=number / numbers[0]: (
                    times * seconds(numbers[0])()
                )
            },
            None,
            rounds,
        )
        rows.append(row | {"number": number})
    return rows
