"""Archives of images: what is in them is checked, what is wrong is named, a download is whole or not there."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mli_utils.core import config, data
from mli_utils.core.config import InputError
from mli_utils.runs import images
from mli_utils.runs.images import DataError, fetch, load_data


@pytest.fixture
def tiny_mnist(tiny_mnist, monkeypatch, tmp_path):
    """They pass for the published ones, in a folder of archives that is empty."""
    monkeypatch.setitem(images.CONTENT, "mnist", data.content_hash(tiny_mnist))
    monkeypatch.setenv("MLI_DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    return tiny_mnist


def test_the_order_of_an_archive_does_not_matter(tiny_mnist, tmp_path, monkeypatch):
    loaded = []
    for order in (np.arange(60), np.random.default_rng(1).permutation(60)):
        folder = tmp_path / f"archive{len(loaded)}"
        folder.mkdir()
        shuffled = {key: value[order] if key.startswith("train") else value for key, value in tiny_mnist.items()}
        np.savez(folder / "mnist.npz", **shuffled)
        monkeypatch.setenv("MLI_DATA_DIR", str(folder))
        loaded.append(load_data("mnist"))
    assert torch.equal(loaded[0].images, loaded[1].images) and torch.equal(loaded[0].labels, loaded[1].labels)


def test_pixels_of_an_archive_go_from_0_to_1(tiny_mnist, tmp_path):
    np.savez(tmp_path / "data" / "mnist.npz", **tiny_mnist)
    for split, count in (("train", 60), ("test", 20)):
        loaded = load_data("mnist", split)
        assert len(loaded) == count and loaded.images.min() == 0 and loaded.images.max() == 1
        assert torch.allclose(loaded.images.sum(), torch.from_numpy(tiny_mnist[f"{split}_images"]).sum() / 255)


@pytest.mark.parametrize("damage", ["truncated", "empty", "no zip", "flipped"])
def test_a_damaged_archive_is_named(tiny_mnist, tmp_path, damage):
    archive = tmp_path / "data" / "mnist.npz"
    np.savez(archive, **tiny_mnist)
    whole = archive.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    archive.write_bytes(
        {"truncated": whole[:-500], "empty": b"", "no zip": b"x" * 999, "flipped": bytes(flipped)}[damage]
    )
    with pytest.raises(DataError, match="mnist.npz is damaged.*make data"):
        load_data("mnist")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: a.pop("test_labels"), "has no array test_labels"),
        (lambda a: a.update(train_images=a["train_images"][:50]), r"train_images is \(50, 28, 28\) uint8, should be"),
        (lambda a: a.update(train_labels=a["train_labels"].astype(np.int32)), "train_labels is .* int32"),
        (lambda a: a.update(classes=a["classes"][:9]), "should name 10 classes"),
        (lambda a: a.update(train_labels=a["train_labels"][::-1].copy()), "does not hold the published pixels"),
    ],
)
def test_an_archive_of_something_else_is_refused(tiny_mnist, tmp_path, change, said):
    change(tiny_mnist)
    np.savez(tmp_path / "data" / "mnist.npz", **tiny_mnist)
    with pytest.raises(DataError, match=said):
        load_data("mnist")


def test_a_missing_archive_says_how_to_get_it(tiny_mnist):
    with pytest.raises(DataError, match="mnist.npz is not there; 'make data' fetches it"):
        load_data("mnist")
    with pytest.raises(DataError, match="mnist.npz is not there; 'make data' fetches it"):
        images.check_there("mnist")
    images.check_there("digits")


def test_unknown_names_list_the_known():
    with pytest.raises(InputError, match="known: digits, digits32, mnist, cifar10, cifar100"):
        load_data("imagenet")
    with pytest.raises(InputError, match="known: train, test"):
        load_data("digits", "validation")


def torchvision_that_has(arrays, asked):
    def mnist(folder, train, download):
        asked.append((folder, train, download))
        split = "train" if train else "test"
        return SimpleNamespace(
            data=torch.from_numpy(arrays[f"{split}_images"]),
            targets=torch.from_numpy(arrays[f"{split}_labels"]),
            classes=[f"{digit} - name" for digit in range(10)],
        )

    return mnist


def test_fetch_makes_one_archive_and_keeps_it(tiny_mnist, monkeypatch, tmp_path):
    from torchvision import datasets

    asked = []
    monkeypatch.setattr(datasets, "MNIST", torchvision_that_has(tiny_mnist, asked))
    archive = fetch("mnist")
    assert archive == tmp_path / "data" / "mnist.npz" and len(asked) == 2
    with np.load(archive) as made:
        assert made.files and all(np.array_equal(made[key], tiny_mnist[key]) for key in tiny_mnist)
    fetch("mnist")
    assert len(asked) == 2


def test_a_failed_download_leaves_no_archive(tiny_mnist, monkeypatch, tmp_path):
    from torchvision import datasets

    def broken(*_, **__):
        raise RuntimeError("no network")

    monkeypatch.setattr(datasets, "MNIST", broken)
    with pytest.raises(DataError, match="could not download mnist .*no network"):
        fetch("mnist")
    tiny_mnist["train_images"][0] ^= 1
    monkeypatch.setattr(datasets, "MNIST", torchvision_that_has(tiny_mnist, []))
    with pytest.raises(DataError, match="the download of mnist does not hold"):
        fetch("mnist")
    assert not list((tmp_path / "data").glob("*.npz"))


def test_a_run_has_its_own_training_images_and_the_whole_test_split():
    training, test = images.of_run(config.RunConfig(n_train=30))
    assert torch.equal(training.images, load_data("digits").images[:30])
    assert torch.equal(test.images, load_data("digits", "test").images)
