import pytest
import torch

from mli_utils.augmentation import augment


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images():
    return torch.rand(2, 50, 3, 16, 16, generator=generator(9)) + 1


def test_none_changes_nothing(images):
    assert augment(images, "none", [generator(), generator(1)]) is images


def test_flip_mirrors_about_half_of_the_images(images):
    changed = augment(images, "flip", [generator(), generator(1)])
    mirrored = (changed == images.flip(-1)).flatten(2).all(-1)
    same = (changed == images).flatten(2).all(-1)
    assert (mirrored ^ same).all() and 25 < mirrored.sum() < 75


def test_crop_cuts_out_of_the_padded_image(images):
    changed = augment(images, "crop", [generator(), generator(1)])
    padded = torch.nn.functional.pad(images.flatten(0, 1), (2,) * 4)
    places = set()
    for image, whole in zip(changed.flatten(0, 1), padded, strict=True):
        found = [(y, x) for y in range(5) for x in range(5) if torch.equal(whole[:, y : y + 16, x : x + 16], image)]
        assert len(found) == 1
        places.add(found[0])
    assert len(places) > 15


def test_each_network_has_draws_of_its_own(images):
    together = augment(images, "flip-crop", [generator(3), generator(4)])
    for i, seed in enumerate((3, 4)):
        assert torch.equal(augment(images[i : i + 1], "flip-crop", [generator(seed)])[0], together[i])
    assert not torch.equal(augment(images[:1], "flip-crop", [generator(5)])[0], together[0])
