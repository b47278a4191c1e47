"""Training many fully-connected networks: ours, one at a time as textbooks do, and stacked through `torch.func`."""

import itertools
from collections import Counter

import torch
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import mli_utils as mli
from benchmarks import limits
from benchmarks.curves import grown
from benchmarks.measure import compare, timed
from mli_utils.core import training
from mli_utils.core.config import RunConfig
from mli_utils.runs import images


def networks(number: int, epochs: int) -> list[RunConfig]:
    """Runs on digits, ten layers 128 wide, that train to the last epoch."""
    return mli.grid(dataset="digits", depth=10, width=128, epochs=epochs, stop_loss=0.0, seed=range(number))


def ours(configs: list[RunConfig]) -> None:
    list(training.train_group(configs, *images.of_run(configs[0])))


def textbook(configs: list[RunConfig]) -> None:
    """One network after the other, batches from a `DataLoader`, `torch.optim.SGD`; nothing is logged."""
    for config in configs:
        digits = mli.load_data(config.dataset)
        batches = DataLoader(TensorDataset(digits.images, digits.labels), config.batch_size, shuffle=True)
        model = mli.build(config)
        optimizer = torch.optim.SGD(model.parameters(), lr=config.lr, momentum=config.momentum)
        for _ in range(config.epochs):
            for pixels, labels in batches:
                optimizer.zero_grad()
                cross_entropy(model(pixels), labels).backward()
                optimizer.step()


def vmapped(configs: list[RunConfig]) -> None:
    """All networks at once, as the documentation of `torch.func` has it; nothing is logged."""
    first = configs[0]
    digits = mli.load_data(first.dataset)
    members = [_plain(config) for config in configs]
    params, buffers = stack_module_state(members)
    params = {name: value.detach() for name, value in params.items()}
    velocity = {name: torch.zeros_like(value) for name, value in params.items()}
    base = members[0].to("meta")

    def loss(params, buffers, pixels, labels):
        return cross_entropy(functional_call(base, (params, buffers), (pixels,)), labels)

    gradient = vmap(grad(loss))
    with torch.no_grad():
        for _ in range(first.epochs):
            orders = torch.stack([torch.randperm(len(digits)) for _ in configs])
            for batch in orders.split(first.batch_size, dim=1):
                slopes = gradient(params, buffers, digits.images[batch], digits.labels[batch])
                for name, slope in slopes.items():
                    velocity[name].mul_(first.momentum).add_(slope)
                    params[name].sub_(velocity[name], alpha=first.lr)


def _plain(config: RunConfig) -> nn.Module:
    """The network from PyTorch's own modules, whose in-place ReLU `vmap` takes too."""
    sizes = limits.layer_sizes(config)
    layers = [nn.Linear(*size, bias=i == len(sizes) - 1) for i, size in enumerate(sizes)]
    between = itertools.chain.from_iterable((layer, nn.ReLU()) for layer in layers[:-1])
    plain = nn.Sequential(nn.Flatten(), *between, layers[-1])
    plain.load_state_dict(dict(zip(plain.state_dict(), mli.build(config).state_dict().values(), strict=True)))
    return plain


def products(configs: list[RunConfig]) -> Counter:
    """The products of our work: those of every step, and of the evaluations that a history has a row for."""
    first, samples = configs[0], len(mli.load_data(configs[0].dataset))
    whole, rest = divmod(samples, first.batch_size)
    counted = Counter()
    steps = first.epochs * (whole + bool(rest))
    for batch, times in ((first.batch_size, whole), (rest, 1)):
        if batch:
            for product, count in limits.of_step(first, len(configs), batch).items():
                counted[product] += count * times * first.epochs
    rows = 1 + sum(1 for _ in itertools.takewhile(lambda step: step < steps, training.log_steps()))
    for product, count in limits.of_evaluation(first, len(configs), min(samples, training.PROBE)).items():
        counted[product] += count * rows
    return counted


def bench(rounds: int, runs: int = 15, epochs: int = 60) -> list[dict]:
    configs = networks(runs, epochs)
    for work in (ours, vmapped):  # what is slow the first time only
        work(networks(runs, 1))
    return compare(
        "train_fcn",
        f"{runs} runs on digits, 10 layers 128 wide, {epochs} epochs",
        lambda: timed(lambda: ours(configs)),
        {
            "textbook loop": lambda: timed(lambda: textbook(configs)),
            "torch.func vmap": lambda: timed(lambda: vmapped(configs)),
        },
        lambda: limits.seconds(products(configs)),
        rounds,
    )


def growth(rounds: int, numbers: tuple[int, ...] = (1, 4, 16, 64), epochs: int = 6) -> list[dict]:
    """Cost against the number of runs."""

    def seconds(number: int):
        return lambda: timed(lambda: ours(networks(number, epochs)))

    return grown("grow_runs", "runs", numbers, seconds, rounds)
