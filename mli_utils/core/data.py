"""Image sets as tensors, in an order independent of the archive's, and the training sets of runs."""

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch

from mli_utils.core.config import DATASETS, InputError, RunConfig

SPLITS = ("train", "test")
Arrays = dict[str, np.ndarray]  # `train_images`, `train_labels`, `test_images`, `test_labels`, `classes`


@dataclass(frozen=True)
class ImageSet:
    """One split of an image set.

    images : (samples, channels, height, width) float32: pixels in [0, 1] for `digits` and `mnist`, otherwise
        standardised per channel over the whole training split
    labels : (samples,) int64
    classes : class names, by label
    mean, std : (channels, 1, 1); `images * std + mean` gives pixels in [0, 1]
    """

    name: str
    split: str
    images: torch.Tensor
    labels: torch.Tensor
    classes: tuple[str, ...]
    mean: torch.Tensor
    std: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, n: int) -> "ImageSet":
        """Return the first n images; classes take turns, so they are about as balanced as all."""
        return self[:n]

    def __getitem__(self, chosen: slice | torch.Tensor) -> "ImageSet":
        return replace(self, images=self.images[chosen], labels=self.labels[chosen])


def prepare(name: str, split: str, arrays: Arrays, brightest: int) -> ImageSet:
    """Convert one split of an archive to network inputs and labels.

    Classes take turns, and within a class images are sorted by a hash of their pixels. So the first n images are
    balanced, and the order of images in the archive does not matter.

    Parameters
    ----------
    arrays : both splits; images (samples, height, width) or (samples, height, width, channels) uint8
    brightest : value of a fully lit pixel
    """
    shape = DATASETS[name].shape

    def pixels(of_split: str) -> np.ndarray:
        images = arrays[f"{of_split}_images"]
        channels_first = images[:, None] if images.ndim == 3 else np.moveaxis(images, -1, 1)
        return _enlarged(channels_first.astype(np.float32) / brightest, shape)

    mean, std = np.zeros(shape[0]), np.ones(shape[0])
    if DATASETS[name].standardise:
        train = pixels("train")
        mean, std = train.mean((0, 2, 3), dtype=np.float64), train.std((0, 2, 3), dtype=np.float64)
    shift, scale = (torch.tensor(value, dtype=torch.float32).view(-1, 1, 1) for value in (mean, std))
    order = alternate_classes(arrays[f"{split}_images"], arrays[f"{split}_labels"])
    images, labels = torch.from_numpy(pixels(split)[order]), torch.from_numpy(arrays[f"{split}_labels"][order])
    return ImageSet(name, split, (images - shift) / scale, labels, tuple(map(str, arrays["classes"])), shift, scale)


def _enlarged(images: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Fit images to `shape` (channels, height, width): enlarge bilinearly and repeat over channels if necessary."""
    if images.shape[1:] == shape:
        return images
    larger = torch.nn.functional.interpolate(torch.from_numpy(images), shape[1:], mode="bilinear")
    return larger.expand(-1, *shape).numpy()


def alternate_classes(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return indices that let classes take turns and sort images within a class by pixel hash."""
    by_class = np.lexsort((_fingerprints(images), labels))
    counts = np.bincount(labels)
    rank = np.concatenate([np.arange(count) for count in counts])
    return by_class[np.lexsort((labels[by_class], rank))]


def _fingerprints(images: np.ndarray) -> np.ndarray:
    return np.array([hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest() for image in images])


def content_hash(arrays: Arrays) -> str:
    """Compute the SHA-256 of all labelled images of both splits, regardless of their order."""
    lines = []
    for split in SPLITS:
        marks, labels = _fingerprints(arrays[f"{split}_images"]), arrays[f"{split}_labels"]
        lines += sorted(f"{split} {label} {mark}" for label, mark in zip(labels, marks, strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def class_sizes(n: int, classes: int, imbalance: float) -> np.ndarray:
    """Split n images into class sizes (classes,), a geometric series that falls by a factor `imbalance` in all."""
    exact = imbalance ** -np.linspace(0, 1, classes)
    exact *= n / exact.sum()
    sizes = np.floor(exact).astype(int)
    sizes[np.argsort(sizes - exact, kind="stable")[: n - sizes.sum()]] += 1
    return sizes


def training_set(config: RunConfig, whole: ImageSet) -> ImageSet:
    """Select the images that a run is trained and evaluated on from the whole training split.

    Each class contributes its first images, interleaved so that any prefix is as imbalanced as the whole. InputError
    if a class would be empty, or has fewer images than `imbalance` requires.
    """
    if config.imbalance == 1:
        return whole.first(config.n_train)
    sizes = class_sizes(config.n_train, DATASETS[config.dataset].classes, config.imbalance)
    there = torch.bincount(whole.labels, minlength=len(sizes)).numpy()
    if (sizes > there).any() or not sizes.all():
        raise InputError(
            f"imbalance={config.imbalance:g} with n_train={config.n_train} asks for {sizes.max()} images of one class "
            f"and {sizes.min()} of another; {config.dataset} allows from 1 to {there.min()}"
        )
    labels = whole.labels.numpy()
    rank = pd.Series(labels).groupby(labels).cumcount().to_numpy()
    place = (rank + 0.5) / sizes[labels]
    return whole[torch.from_numpy(np.argsort(place, kind="stable")[: config.n_train])]
