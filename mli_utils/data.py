"""Image sets as tensors, in one order whatever archive they came from."""

import functools
import hashlib
import importlib.util
import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mli_utils import settings
from mli_utils.config import DATASETS, MLIError, choose
from mli_utils.store import write_atomically

SPLITS = ("train", "test")
DOWNLOADED = ("mnist", "cifar10", "cifar100")

# SHA-256 over the sorted digests of all labelled images: the same for any order of the same pixels.
CONTENT = {
    "digits": "ee80c2fd2a8a37f038406491d48b54b4a7288ebb40a3d000cd40e5d96ebb2c73",
    "mnist": "007af6aaadcf32ffaf0dc045515e14d56f8623a9164ed4987a5252bbd3f654fb",
    "cifar10": "4e1c00e3ed140ea0b11f09b1f4a1155931b99f1d6bf51f235e0336f05d953c78",
    "cifar100": "247a0a48f552065438071eff12ee474ef663fb967db09e147d2173534978e532",
}


class DataError(MLIError):
    """An archive that is missing or does not hold what it should."""

    exit_status = 2


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
        return ImageSet(self.name, self.split, self.images[:n], self.labels[:n], self.classes, self.mean, self.std)


def load(name: str, split: str = "train") -> ImageSet:
    """An image set, ready for a network.

    The order is the data's own: classes take turns, and within a class images are sorted by a hash of their pixels.
    So the first n images are balanced, and two archives with the same images in different order give the same set.
    `digits` comes with scikit-learn: its training split is 140 images of each class, its test split the others;
    `digits32` is the same, enlarged to 32 × 32 (linearly between pixels) and three equal channels. All else is read
    from `NAME.npz` in `MLI_DATA_DIR`.

    Raises
    ------
    InputError
        An unknown name or split.
    DataError
        The archive is missing, truncated, or holds other arrays, sizes, labels or pixels than it should.
    """
    choose("dataset", name, DATASETS)
    choose("split", split, SPLITS)
    return _load(name, split, settings.data_dir())


@functools.lru_cache(maxsize=4)
def _load(name: str, split: str, folder: Path) -> ImageSet:
    from_sklearn = name.startswith("digits")
    arrays = _digits() if from_sklearn else _read(folder / f"{name}.npz", name)
    full = 16 if from_sklearn else 255  # the value of a fully lit pixel
    shape = DATASETS[name].shape

    def pixels(of_split):
        images = arrays[f"{of_split}_images"]
        channels_first = images[:, None] if images.ndim == 3 else np.moveaxis(images, -1, 1)
        return _enlarged(channels_first.astype(np.float32) / full, shape)

    mean, std = np.zeros(shape[0]), np.ones(shape[0])
    if DATASETS[name].standardise:
        train = pixels("train")
        mean, std = train.mean((0, 2, 3), dtype=np.float64), train.std((0, 2, 3), dtype=np.float64)
    mean, std = (torch.tensor(value, dtype=torch.float32).view(-1, 1, 1) for value in (mean, std))
    order = _order(arrays[f"{split}_images"], arrays[f"{split}_labels"])
    images, labels = torch.from_numpy(pixels(split)[order]), torch.from_numpy(arrays[f"{split}_labels"][order])
    return ImageSet(name, split, (images - mean) / std, labels, tuple(map(str, arrays["classes"])), mean, std)


def _enlarged(images: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Images of this shape, (channels, height, width): the same, or enlarged and repeated over the channels."""
    if images.shape[1:] == shape:
        return images
    larger = torch.nn.functional.interpolate(torch.from_numpy(images), shape[1:], mode="bilinear")
    return larger.expand(-1, *shape).numpy()


def fetch(name: str) -> Path:
    """Download an image set through torchvision into the one archive `NAME.npz`; one already there is checked and
    kept. A broken download is completed by the next call; an archive appears whole or not at all.

    Raises
    ------
    InputError
        A set that is not downloaded.
    DataError
        The download failed, or what came is not the published set.
    """
    choose("dataset to download", name, DOWNLOADED)
    archive = settings.data_dir() / f"{name}.npz"
    if not archive.exists():
        arrays = _download(name, settings.data_dir() / "download")
        _check(arrays, name, f"the download of {name}")
        packed = io.BytesIO()
        np.savez(packed, **arrays)
        write_atomically(archive, packed.getvalue())
    _read(archive, name)
    return archive


def _download(name: str, folder: Path) -> dict[str, np.ndarray]:
    from torchvision import datasets

    published = {"mnist": datasets.MNIST, "cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    arrays = {}
    for split in SPLITS:
        try:
            images = published(folder, train=split == "train", download=True)
        except Exception as error:  # torchvision raises many kinds; each means that the set could not be had
            raise DataError(f"could not download {name} into {folder}: {error}; 'make data' tries again") from error
        arrays[f"{split}_images"] = np.asarray(images.data, np.uint8)
        arrays[f"{split}_labels"] = np.asarray(images.targets, np.int64)
        classes = [label.split(" - ")[0] for label in images.classes]  # torchvision says "0 - zero" for MNIST
    return {**arrays, "classes": np.array(classes)}


def check_there(name: str) -> None:
    """Raise DataError where the archive of an image set is missing."""
    if name in DOWNLOADED:
        _check_there(settings.data_dir() / f"{name}.npz")


def _check_there(archive: Path) -> None:
    if not archive.exists():
        raise DataError(f"{archive} is not there; 'make data' fetches it, or set MLI_DATA_DIR to where it is")


def _read(archive: Path, name: str) -> dict[str, np.ndarray]:
    _check_there(archive)
    try:
        with archive.open("rb") as file, np.load(file, allow_pickle=False) as packed:
            arrays = dict(packed)
    except (zipfile.BadZipFile, zlib.error, ValueError, OSError, EOFError) as error:
        raise DataError(f"{archive} is damaged ({error}); remove it and run 'make data'") from error
    _check(arrays, name, str(archive))
    return arrays


@functools.cache
def _digits() -> dict[str, np.ndarray]:
    # The file that sklearn.datasets.load_digits reads, a row an image, its label last: importing that takes seconds.
    (package,) = importlib.util.find_spec("sklearn").submodule_search_locations
    rows = np.loadtxt(Path(package, "datasets", "data", "digits.csv.gz"), delimiter=",", dtype=np.uint8)
    images, labels = rows[:, :-1].reshape(-1, 8, 8), rows[:, -1].astype(np.int64)
    order = _order(images, labels)
    train, test = np.split(order, [DATASETS["digits"].train])
    arrays = {
        "train_images": images[train],
        "train_labels": labels[train],
        "test_images": images[test],
        "test_labels": labels[test],
        "classes": np.arange(10).astype(str),
    }
    _check(arrays, "digits", "scikit-learn's digits")
    return arrays


def _order(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Indices that put classes in turn and, within a class, images by the hash of their pixels."""
    by_class = np.lexsort((_fingerprints(images), labels))
    counts = np.bincount(labels)
    rank = np.concatenate([np.arange(count) for count in counts])
    return by_class[np.lexsort((labels[by_class], rank))]


def _fingerprints(images: np.ndarray) -> np.ndarray:
    return np.array([hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest() for image in images])


def content(arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 of all labelled images of both splits, whatever their order."""
    lines = []
    for split in SPLITS:
        marks, labels = _fingerprints(arrays[f"{split}_images"]), arrays[f"{split}_labels"]
        lines += sorted(f"{split} {label} {mark}" for label, mark in zip(labels, marks, strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _check(arrays: dict[str, np.ndarray], name: str, where: str) -> None:
    """Raise DataError unless `arrays` are the published set, naming the first thing that is not."""
    spec = DATASETS[name]
    channels, height, width = spec.shape
    image = (height, width) if channels == 1 else (height, width, channels)
    expected = {
        "train_images": ((spec.train, *image), np.uint8),
        "train_labels": ((spec.train,), np.int64),
        "test_images": ((spec.test, *image), np.uint8),
        "test_labels": ((spec.test,), np.int64),
    }
    said = "remove it and run 'make data'"
    for key, (shape, dtype) in expected.items():
        if key not in arrays:
            raise DataError(f"{where} has no array {key}; needed: {', '.join(expected)}, classes; {said}")
        found = arrays[key]
        if found.shape != shape or found.dtype != dtype:
            want = f"{shape} {np.dtype(dtype)}"
            raise DataError(f"{where}: {key} is {found.shape} {found.dtype}, should be {want}; {said}")
    if len(arrays.get("classes", ())) != spec.classes:
        raise DataError(f"{where} should name {spec.classes} classes; {said}")
    if content(arrays) != CONTENT[name]:
        raise DataError(f"{where} does not hold the published pixels and labels of {name}; {said}")
