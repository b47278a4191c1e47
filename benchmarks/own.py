"""A network of one's own, a point of a curve: ours, a textbook loop over a loader, and `loss-landscapes`."""

import copy
import tempfile
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader

import mli_utils as mli
from benchmarks.curves import torchvision_loader
from benchmarks.measure import compare, timed
from mli_utils.core.data import ImageSet

ALPHA = 0.5
POINTS = 11  # of our curve; a pass of the others takes as long at every α
MOVED = 0.01  # by which the end's parameters differ from the start's; how is not what is measured


def fcn() -> nn.Module:
    hidden = [layer for _ in range(8) for layer in (nn.Linear(256, 256), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), *hidden, nn.Linear(256, 10))


def cnn() -> nn.Module:
    first = [nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(
        *first, nn.Conv2d(8, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16 * 5 * 5, 10)
    )


NETWORKS = {"own_fcn": (fcn, "ten layers 256 wide"), "own_cnn": (cnn, "two convolutions and a head")}


@torch.no_grad()
def textbook(model: nn.Module, end: nn.Module, loader: DataLoader) -> float:
    """The mean loss at `ALPHA`, from one pass of a loader."""
    there, (start, last) = copy.deepcopy(model).eval(), (side.state_dict() for side in (model, end))
    there.load_state_dict({name: (1 - ALPHA) * start[name] + ALPHA * last[name] for name in start})
    loss = 0.0
    for pixels, labels in loader:
        loss += nn.functional.cross_entropy(there(pixels), labels, reduction="sum").item()
    return loss / len(loader.dataset)  # type: ignore[arg-type]


@torch.no_grad()
def loss_landscapes(model: nn.Module, end: nn.Module, images: ImageSet) -> float:
    """As its README has it: one metric over the whole set. Of one step it measures α = 1, which takes as long."""
    from loss_landscapes import linear_interpolation
    from loss_landscapes.metrics import Loss

    metric = Loss(nn.CrossEntropyLoss(), images.images, images.labels)
    return linear_interpolation(model, end, metric, 1, deepcopy_model=True)[0]


def ends(name: str) -> tuple[nn.Module, nn.Module]:
    """A network at both ends of a path."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = NETWORKS[name][0]()
        end = copy.deepcopy(model)
        for value in end.parameters():
            value.data += MOVED * torch.randn_like(value)
    return model, end


def bench(rounds: int, name: str) -> list[dict]:
    images, (model, end) = mli.load_data("mnist"), ends(name)

    def ours() -> float:
        return mli.interpolate_model(model, model, end, images, alphas=POINTS).loss[POINTS // 2]

    with tempfile.TemporaryDirectory() as folder:
        loader = torchvision_loader(Path(folder))
        off = abs(ours() - textbook(model, end, loader))
        rows = compare(
            name,
            f"one of {POINTS} points on {len(images):,} images of MNIST, {NETWORKS[name][1]}",
            lambda: timed(ours) / POINTS,
            {
                "textbook loop": lambda: timed(lambda: textbook(model, end, loader)),
                "loss-landscapes 3.0.6": lambda: timed(lambda: loss_landscapes(model, end, images)),
            },
            None,
            rounds,
        )
    return [row | {"loss_difference": off} for row in rows]
