"""Image sets as tensors, in one order whatever archive they came from, and the training set of a run."""

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import torch

from mli_utils.core.config import DATASETS, InputError, RunConfig

SPLITS = ("train", "test")
Arrays = dict[str, np.ndarray]  # `train_images`, `train_labels`, `test_images`, `test_labels`, `classes`


@dataclass(frozen=True)
class ImageSet:
    """One split of an image set.

    images : (samples, channels, height, width) float32, what a network gets: pixels from 0 to 1 for the sets of
        digits; standardised per channel by the whole training split for the sets of photographs
    labels : (samples,) int64
    classes : names, by label
    mean, std : (channels, 1, 1); `images * std + mean` are the pixels, from 0 to 1
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
        """The first n images. Classes come in turn, so any number of them is as balanced as it can be."""
        return self[:n]

    def __getitem__(self, chosen: slice | torch.Tensor) -> "ImageSet":
        return replace(self, images=self.images[chosen], labels=self.labels[chosen])


def prepare(name: str, split: str, arrays: Arrays, brightest: int) -> ImageSet:
    """One split of an image set as networks get it.

    Classes take turns, and within a class images are sorted by a hash of their pixels. So the first n images are
    balanced, and two archives with the same images in different order give the same set.

    Parameters
    ----------
    arrays : both splits; images (samples, height, width) or (samples, height, width, channels) uint8
    brightest : the value of a fully lit pixel
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
    order = in_turn(arrays[f"{split}_images"], arrays[f"{split}_labels"])
    images, labels = torch.from_numpy(pixels(split)[order]), torch.from_numpy(arrays[f"{split}_labels"][order])
    return ImageSet(name, split, (images - shift) / scale, labels, tuple(map(str, arrays["classes"])), shift, scale)


def _enlarged(images: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Images of this shape, (channels, height, width): the same, or enlarged and repeated over the channels."""
    if images.shape[1:] == shape:
        return images
    larger = torch.nn.functional.interpolate(torch.from_numpy(images), shape[1:], mode="bilinear")
    return larger.expand(-1, *shape).numpy()


def in_turn(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Indices that put classes in turn and, within a class, images by the hash of their pixels."""
    by_class = np.lexsort((_fingerprints(images), labels))
    counts = np.bincount(labels)
    rank = np.concatenate([np.arange(count) for count in counts])
    return by_class[np.lexsort((labels[by_class], rank))]


def _fingerprints(images: np.ndarray) -> np.ndarray:
    return np.array([hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest() for image in images])


def content(arrays: Arrays) -> str:
    """SHA-256 of all labelled images of both splits, whatever their order."""
    lines = []
    for split in SPLITS:
        marks, labels = _fingerprints(arrays[f"{split}_images"]), arrays[f"{split}_labels"]
        lines += sorted(f"{split} {label} {mark}" for label, mark in zip(labels, marks, strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def class_sizes(n: int, classes: int, imbalance: float) -> np.ndarray:
    """How many of n images each class has, (classes,): sizes in a geometric series whose first is `imbalance` times
    its last, rounded so that they add up to n."""
    exact = imbalance ** -np.linspace(0, 1, classes)
    exact *= n / exact.sum()
    sizes = np.floor(exact).astype(int)
    sizes[np.argsort(sizes - exact, kind="stable")[: n - sizes.sum()]] += 1
    return sizes


def training_set(config: RunConfig, whole: ImageSet) -> ImageSet:
    """The images that a run is trained and evaluated on, of the whole training split.

    Of each class its first images; any first part of the set is as imbalanced as the whole.

    Raises
    ------
    InputError
        A class that would be empty, or has not as many images as `imbalance` asks for.
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
    rank = np.empty(len(labels), int)
    for label, size in enumerate(there):
        rank[labels == label] = np.arange(size)
    place = (rank + 0.5) / sizes[labels]
    return whole[torch.from_numpy(np.argsort(place, kind="stable")[: config.n_train])]
