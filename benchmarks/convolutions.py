"""Training convolutional networks: one a thread, channels last, as the package does, and three other ways.

Whether `Network.logits` should compute them one after the other, as it does, is for this to measure. The limit is the
machine's own rate of large matrix products, on all threads, for the operations of the steps' convolutions.
"""

import math
from functools import partial
from unittest.mock import patch

import torch
from torch import nn
from torch.nn.functional import conv2d, cross_entropy, max_pool2d
from torch.utils.flop_counter import FlopCounterMode

import mli_utils as mli
from benchmarks import limits
from benchmarks.measure import compare, timed
from mli_utils.core import training
from mli_utils.core.config import RunConfig
from mli_utils.core.convnets import VGG16
from mli_utils.core.initialization import initialize
from mli_utils.core.optimizers import Autograd
from mli_utils.core.parameters import stack
from mli_utils.runs import parallel, trained


def networks(number: int, width: int, epochs: int) -> list[RunConfig]:
    """VGG-16 on a few enlarged digits, in batches of the size that the profile `large` has."""
    fields = dict(
        dataset="digits32", model="vgg16", width=width, n_train=256, batch_size=64, epochs=epochs, stop_loss=0.0
    )
    return mli.grid(**fields, lr=0.01, seed=range(number))


def without_evaluations():
    """Patch training to evaluate nothing, as `grouped` does not and the limit has no operations of it."""

    def nothing(model, params, images, labels, statistics=None):
        networks = len(next(iter(params.values())))
        return {"loss": torch.ones(networks), "wrong": torch.zeros(networks, 10)}

    return patch.object(training, "evaluate", nothing)


def ours(configs: list[RunConfig]) -> None:
    """As the package trains them, but for the evaluations."""
    with without_evaluations(), parallel.workers() as workers:
        list(workers.each(trained.train_here, [(config, ([config], None)) for config in configs], lambda epochs: None))


def contiguous(configs: list[RunConfig]) -> None:
    """The same, with channels before rows and columns in memory."""
    with patch.object(VGG16, "memory_format", torch.contiguous_format):
        ours(configs)


def in_turn(configs: list[RunConfig]) -> None:
    """The same, one network after the other on all threads."""
    with without_evaluations():
        for config in configs:
            list(trained.train_here([config]))


def operations(config: RunConfig) -> int:
    """Floating-point operations of a network's steps, forward and backward: two for a multiplication and addition."""
    params = stack([initialize(mli.build(config), config)])
    images = torch.zeros(1, config.batch_size, *mli.load_data(config.dataset).images.shape[1:])
    gradient, into = Autograd(mli.build(config)), [torch.zeros_like(value) for value in params.values()]
    with FlopCounterMode(display=False) as counter:
        gradient(params, images, torch.zeros(1, config.batch_size, dtype=torch.long), into, 0.0)
    return counter.get_total_flops() * config.epochs * config.n_train // config.batch_size


def grouped(configs: list[RunConfig]) -> None:
    """All networks in one: each layer a convolution in as many groups as there are networks; nothing is logged."""
    first, number = configs[0], len(configs)
    digits = mli.load_data(first.dataset).first(first.n_train)
    base = mli.build(first)
    members = stack([initialize(base, config) for config in configs])
    params = {name: value.flatten(0, 1).requires_grad_() for name, value in members.items() if value.ndim == 5}
    head = {name: value.requires_grad_() for name, value in members.items() if value.ndim < 5}
    steps = [module for module in base.features if not isinstance(module, nn.ReLU)]
    names = iter(list(params))
    plan = [partial(conv2d, weight=params[next(names)], padding=1, groups=number) if isinstance(s, nn.Conv2d) else None
            for s in steps]  # fmt: skip
    optimizer = torch.optim.SGD([*params.values(), *head.values()], lr=first.lr, momentum=first.momentum)
    for _ in range(first.epochs):
        orders = torch.stack([torch.randperm(len(digits)) for _ in configs])
        for batch in orders.split(first.batch_size, dim=1):
            signal = digits.images[batch].transpose(0, 1).flatten(1, 2)  # (samples, networks · channels, rows, columns)
            for convolve in plan:
                signal = max_pool2d(signal, 2) if convolve is None else convolve(signal).relu()
            features = signal.flatten(2).unflatten(1, (number, -1)).flatten(2).transpose(0, 1)
            logits = torch.baddbmm(head["classifier.bias"][:, None], features, head["classifier.weight"].mT)
            optimizer.zero_grad()
            (cross_entropy(logits.flatten(0, 1), digits.labels[batch].flatten()) * number).backward()
            optimizer.step()


def bench(rounds: int, number: int = 4, width: int = 16, epochs: int = 4) -> list[dict]:
    configs = networks(number, width, epochs)
    for work in (ours, grouped):
        work(networks(2, width, 1))
    counted, large = number * operations(configs[0]), (1, 1024, 1024, 1024)
    return compare(
        "train_conv",
        f"{number} runs of VGG-16, {width} channels wide, {epochs} epochs of {configs[0].n_train} digits of 32 × 32",
        lambda: timed(lambda: ours(configs)),
        {
            "one convolution in groups": lambda: timed(lambda: grouped(configs)),
            "channels first": lambda: timed(lambda: contiguous(configs)),
            "in turn, each on all threads": lambda: timed(lambda: in_turn(configs)),
        },
        lambda: limits.seconds_each(large) * counted / (2 * math.prod(large)),
        rounds,
    )
