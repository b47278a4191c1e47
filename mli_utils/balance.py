"""The training set of a run: balanced, or with classes that fall off in size.

The book's section 09 needs the second.
"""

import numpy as np
import torch

from mli_utils import data
from mli_utils.config import DATASETS, InputError, RunConfig


def class_sizes(n: int, classes: int, imbalance: float) -> np.ndarray:
    """How many of n images each class has, (classes,): sizes in a geometric series whose first is `imbalance` times
    its last, rounded so that they add up to n."""
    exact = imbalance ** -np.linspace(0, 1, classes)
    exact *= n / exact.sum()
    sizes = np.floor(exact).astype(int)
    sizes[np.argsort(sizes - exact, kind="stable")[: n - sizes.sum()]] += 1
    return sizes


def training_set(config: RunConfig) -> data.ImageSet:
    """The images that a run is trained and evaluated on.

    Of each class its first images; any first part of the set is as imbalanced as the whole.

    Raises
    ------
    InputError
        A class that would be empty, or has not as many images as `imbalance` asks for.
    """
    whole = data.load(config.dataset)
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
    chosen = torch.from_numpy(np.argsort(place, kind="stable")[: config.n_train])
    images, answers = whole.images[chosen], whole.labels[chosen]
    return data.ImageSet(whole.name, whole.split, images, answers, whole.classes, whole.mean, whole.std)
