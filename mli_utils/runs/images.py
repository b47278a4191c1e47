"""Image archives: scikit-learn's digits, and MNIST and CIFAR as `NAME.npz` in `MLI_DATA_DIR`."""

import functools
import importlib.util
import io
import zipfile
import zlib
from pathlib import Path

import numpy as np

from mli_utils.core.config import DATASETS, MLIError, RunConfig, choose
from mli_utils.core.data import SPLITS, Arrays, ImageSet, alternate_classes, content_hash, prepare, training_set
from mli_utils.runs import settings
from mli_utils.runs.files import write_atomically

DOWNLOADED = ("mnist", "cifar10", "cifar100")

# SHA-256 by `data.content_hash`, independent of the order of images.
CONTENT = {
    "digits": "ee80c2fd2a8a37f038406491d48b54b4a7288ebb40a3d000cd40e5d96ebb2c73",
    "mnist": "007af6aaadcf32ffaf0dc045515e14d56f8623a9164ed4987a5252bbd3f654fb",
    "cifar10": "4e1c00e3ed140ea0b11f09b1f4a1155931b99f1d6bf51f235e0336f05d953c78",
    "cifar100": "247a0a48f552065438071eff12ee474ef663fb967db09e147d2173534978e532",
}


class DataError(MLIError):
    """An archive is missing or has unexpected content."""

    exit_status = 2


def load_data(name: str, split: str = "train") -> ImageSet:
    """Load one split of an image set, ready for a network.

    Classes take turns, and within a class images are sorted by a hash of their pixels. So the first n images are
    balanced, and the order of images in the archive does not matter.

    Parameters
    ----------
    name : str
        `digits`: scikit-learn's, 140 training images per class, the rest for testing; `digits32`: bilinearly enlarged
        to 32 × 32, three equal channels; `mnist`, `cifar10`, `cifar100`: from `NAME.npz` in `MLI_DATA_DIR`.
    split : str
        `train` or `test`.

    Returns
    -------
    ImageSet
        `images` (samples, channels, height, width) float32, `labels` (samples,), `classes`; `first(n)` gives fewer.

    Raises
    ------
    InputError
        An unknown name or split.
    DataError
        The archive is missing, truncated, or has wrong arrays, sizes, labels or pixels.
    """
    choose("dataset", name, DATASETS)
    choose("split", split, SPLITS)
    return _load(name, split, settings.data_dir())


@functools.lru_cache(maxsize=4)
def _load(name: str, split: str, folder: Path) -> ImageSet:
    from_sklearn = name.startswith("digits")
    arrays = _digits() if from_sklearn else _read(folder / f"{name}.npz", name)
    return prepare(name, split, arrays, brightest=16 if from_sklearn else 255)


def of_run(config: RunConfig) -> tuple[ImageSet, ImageSet]:
    """Return the images that a run is trained and evaluated on, and the test split."""
    return training_set(config, load_data(config.dataset)), load_data(config.dataset, "test")


def fetch(name: str) -> Path:
    """Download an image set through torchvision into `NAME.npz`; check and keep an existing archive.

    The next call completes a broken download. The archive is written atomically.

    Raises
    ------
    InputError
        An image set that cannot be downloaded.
    DataError
        The download failed, or is not the published set.
    """
    choose("dataset to download", name, DOWNLOADED)
    archive = settings.data_dir() / f"{name}.npz"
    if not archive.exists():
        arrays = _download(name, settings.data_dir() / "download")
        _check(arrays, name, f"the download of {name}")
        packed = io.BytesIO()
        np.savez(packed, **arrays)  # type: ignore[arg-type]
        write_atomically(archive, packed.getvalue())
    _read(archive, name)
    return archive


def _download(name: str, folder: Path) -> Arrays:
    from torchvision import datasets

    published = {"mnist": datasets.MNIST, "cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    arrays = {}
    for split in SPLITS:
        try:
            images = published(folder, train=split == "train", download=True)
        except Exception as error:  # torchvision raises many kinds, all for a failed download
            raise DataError(f"could not download {name} into {folder}: {error}; 'make data' tries again") from error
        arrays[f"{split}_images"] = np.asarray(images.data, np.uint8)
        arrays[f"{split}_labels"] = np.asarray(images.targets, np.int64)
        classes = [label.split(" - ")[0] for label in images.classes]  # torchvision says "0 - zero" for MNIST
    return {**arrays, "classes": np.array(classes)}


def check_there(name: str) -> None:
    """Raise DataError if the archive of an image set is missing."""
    archive = settings.data_dir() / f"{name}.npz"
    if name in DOWNLOADED and not archive.exists():
        raise DataError(f"{archive} is not there; 'make data' fetches it, or set MLI_DATA_DIR to where it is")


def _read(archive: Path, name: str) -> Arrays:
    check_there(name)
    try:
        with archive.open("rb") as file, np.load(file, allow_pickle=False) as packed:
            arrays = dict(packed)
    except (zipfile.BadZipFile, zlib.error, ValueError, TypeError, RuntimeError, OSError, EOFError) as error:
        raise DataError(f"{archive} is damaged ({error}); remove it and run 'make data'") from error
    _check(arrays, name, str(archive))
    return arrays


@functools.cache
def _digits() -> Arrays:
    # Read load_digits' file, one image per row and its label last, since importing sklearn.datasets takes seconds.
    (package,) = importlib.util.find_spec("sklearn").submodule_search_locations  # type: ignore
    rows = np.loadtxt(Path(package, "datasets", "data", "digits.csv.gz"), delimiter=",", dtype=np.uint8)
    images, labels = rows[:, :-1].reshape(-1, 8, 8), rows[:, -1].astype(np.int64)
    order = alternate_classes(images, labels)
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


def _check(arrays: Arrays, name: str, where: str) -> None:
    """Raise DataError, naming the first difference, unless `arrays` are the published set."""
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
    if content_hash(arrays) != CONTENT[name]:
        raise DataError(f"{where} does not hold the published pixels and labels of {name}; {said}")
