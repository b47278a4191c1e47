"""Image sets: balanced, in an order of their own, standardised where they are photographs."""

import dataclasses

import numpy as np
import pytest
import torch

from mli_utils.core import config, data
from mli_utils.runs.images import load_data


def test_digits_are_balanced_however_many_are_taken():
    digits = load_data("digits")
    assert digits.images.shape == (1400, 1, 8, 8) and digits.images.dtype == torch.float32
    assert digits.images.min() == 0 and digits.images.max() == 1
    assert digits.labels.bincount().tolist() == [140] * 10
    for n in (1, 10, 123):
        counts = digits.first(n).labels.bincount(minlength=10)
        assert counts.max() - counts.min() <= 1


def test_no_digit_is_in_both_splits():
    train, test = load_data("digits"), load_data("digits", "test")
    assert len(train) + len(test) == 1797
    seen = {image.numpy().tobytes() for image in train.images}
    assert not any(image.numpy().tobytes() in seen for image in test.images)


def test_the_order_of_the_arrays_does_not_matter(tiny_mnist):
    order = np.random.default_rng(1).permutation(60)
    shuffled = {key: value[order] if key.startswith("train") else value for key, value in tiny_mnist.items()}
    one, other = (data.prepare("mnist", "train", arrays, 255) for arrays in (tiny_mnist, shuffled))
    assert torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)
    assert data.content_hash(tiny_mnist) == data.content_hash(shuffled)


def test_photographs_are_standardised(monkeypatch, tiny_mnist):
    monkeypatch.setitem(config.DATASETS, "mnist", dataclasses.replace(config.DATASETS["mnist"], standardise=True))
    images = data.prepare("mnist", "train", tiny_mnist, 255)
    assert images.images.mean().abs() < 1e-5 and abs(images.images.std(correction=0) - 1) < 1e-5
    pixels = images.images * images.std + images.mean
    assert torch.allclose(pixels.sum(), torch.from_numpy(tiny_mnist["train_images"]).sum() / 255)
    test = data.prepare("mnist", "test", tiny_mnist, 255)  # by the training split's mean and spread
    assert torch.equal(test.mean, images.mean) and torch.equal(test.std, images.std)


def test_digits32_are_the_digits_enlarged():
    small, large = load_data("digits"), load_data("digits32")
    assert large.images.shape == (1400, 3, 32, 32) and torch.equal(large.labels, small.labels)
    pixels = large.images * large.std + large.mean
    assert torch.allclose(pixels[:, 0], pixels[:, 2], atol=1e-6) and pixels.min() >= -1e-5 and pixels.max() <= 1 + 1e-5
    back = torch.nn.functional.avg_pool2d(pixels[:, :1], 4)
    assert torch.corrcoef(torch.stack([back.flatten(), small.images.flatten()]))[0, 1] > 0.95
    assert large.images.mean().abs() < 1e-4 and large.images.std() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("imbalance", [1.0, 5.0])
def test_a_training_set_has_the_first_images_of_each_class(imbalance):
    whole = load_data("digits")
    images = data.training_set(config.RunConfig(n_train=200, imbalance=imbalance), whole)
    assert images.labels.bincount().tolist() == data.class_sizes(200, 10, imbalance).tolist()
    for label in range(10):
        of_class = images.images[images.labels == label]
        assert torch.equal(of_class, whole.images[whole.labels == label][: len(of_class)])
