"""What the machine can do: its own matrix products at the shapes of the work, and nothing else.

The products of a piece of work are counted from the shapes of its layers. Their rate is measured at these very shapes,
every layer on operands of its own, as in the work; large ones, which no cache holds, on two sets in turn.
"""

import math
import time
from collections import Counter
from collections.abc import Iterable

import torch

from mli_utils.core.config import DATASETS, RunConfig
from mli_utils.core.networks import FCN

Product = tuple[int, int, int, int]  # stack, rows, inner, columns
REPEATS, SETS = 6, 10  # of each product, on as many sets of operands as a network of ten layers has


def layer_sizes(config: RunConfig) -> list[tuple[int, int]]:
    """Inputs and outputs of each layer of a fully-connected network."""
    spec = DATASETS[config.dataset]
    sizes = [math.prod(spec.shape), *[config.width] * (config.depth - 1), spec.classes]
    return list(zip(sizes, sizes[1:], strict=False))


def of_evaluation(config: RunConfig, networks: int, samples: int, on_a_line: bool = False) -> Counter:
    """The products of evaluating networks; `on_a_line`, the first layer's come from two networks."""
    counted = Counter()
    for i, (inputs, outputs) in enumerate(layer_sizes(config)):
        if i == 0 and on_a_line:
            counted[1, samples, inputs, outputs] += 2
            continue
        whole, rest = divmod(samples, FCN.samples_at_once)
        for rows, times in ((FCN.samples_at_once, whole), (rest, 1)):
            if rows:
                counted[networks, rows, inputs, outputs] += times
    return counted


def of_step(config: RunConfig, networks: int, samples: int) -> Counter:
    """The products of one step: forward, for the weights' gradients, and for the signals' but the first."""
    counted = Counter()
    for i, (inputs, outputs) in enumerate(layer_sizes(config)):
        counted[networks, samples, inputs, outputs] += 1
        counted[networks, outputs, samples, inputs] += 1
        if i:
            counted[networks, samples, outputs, inputs] += 1
    return counted


def flops(products: Counter) -> int:
    """Floating-point operations of products: two for each multiplication and addition."""
    return sum(2 * math.prod(product) * times for product, times in products.items())


def seconds(products: Counter) -> float:
    """How long the machine takes for products alone."""
    return sum(times * seconds_each(product) for product, times in products.items())


def seconds_each(product: Product) -> float:
    """The mean over `REPEATS` passes through `SETS` sets of operands, or two where they are large."""
    stack, rows, inner, columns = product
    sets = SETS if stack * (rows + columns) * inner < 2**22 else 2
    operands = [
        (torch.randn(stack, rows, inner), torch.randn(stack, inner, columns), torch.empty(stack, rows, columns))
        for _ in range(sets)
    ]
    _pass_through(operands)
    began = time.perf_counter()
    for _ in range(REPEATS):
        _pass_through(operands)
    return (time.perf_counter() - began) / (REPEATS * sets)


def _pass_through(operands: Iterable) -> None:
    for left, right, out in operands:
        torch.bmm(left, right, out=out)
