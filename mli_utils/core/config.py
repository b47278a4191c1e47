"""Run configurations: `RunConfig`, its allowed values, and grids of configurations."""

import dataclasses
import difflib
import itertools
import math
import numbers
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


class MLIError(Exception):
    """An error with a one-sentence message for the user; the command line exits with `exit_status`."""

    exit_status = 1


class InputError(MLIError, ValueError):
    """A value that is not allowed; the message names it and the allowed ones."""

    exit_status = 2


@dataclass(frozen=True)
class DatasetSpec:
    """Properties of an image set, to check a configuration before any image is loaded."""

    classes: int
    train: int
    test: int
    shape: tuple[int, int, int]  # channels, height, width
    standardise: bool  # per channel, over the training split; otherwise pixels are in [0, 1], 0 for no ink


DATASETS = {
    "digits": DatasetSpec(10, 1400, 397, (1, 8, 8), False),
    "digits32": DatasetSpec(10, 1400, 397, (3, 32, 32), True),  # digits enlarged to the shape of CIFAR images
    "mnist": DatasetSpec(10, 60_000, 10_000, (1, 28, 28), False),
    "cifar10": DatasetSpec(10, 50_000, 10_000, (3, 32, 32), True),
    "cifar100": DatasetSpec(100, 50_000, 10_000, (3, 32, 32), True),
}


@dataclass(frozen=True)
class ModelSpec:
    """Properties of an architecture, to check a configuration before any network is built."""

    depth: int  # default number of weight layers
    fixed_depth: bool
    stacked: bool  # whether batched matrix products compute many networks at once
    image: tuple[int, int, int] | None  # the only allowed image shape; None: any
    normalizations: tuple[str, ...]


MODELS = {
    "fcn": ModelSpec(10, False, True, None, ("none", "layer")),
    "vgg16": ModelSpec(14, True, False, (3, 32, 32), ("none", "batch")),  # 13 convolutions and one linear layer
    "resnet18": ModelSpec(18, True, False, (3, 32, 32), ("none", "batch")),  # not counting shortcut convolutions
    "vit": ModelSpec(10, True, True, None, ("layer",)),  # patch embedding, two blocks of four, output layer
}


def choose(what: str, value, known: Iterable):
    """Return `value` if it is one of `known`; otherwise raise InputError with all known ones and the nearest."""
    known = list(known)
    if value in known:
        return value
    near = difflib.get_close_matches(str(value), map(str, known), n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise InputError(f"unknown {what} {value!r}{hint}; known: {', '.join(map(str, known))}")


def check_columns(what: str, frame, columns: Iterable[str]) -> None:
    """Raise InputError if a frame lacks one of these columns."""
    if lacking := [name for name in columns if name not in frame]:
        raise InputError(f"{what}: no column {', '.join(lacking)}; the frame has {', '.join(map(str, frame))}")


KINDS: dict = {str: (str, "a name"), int: (numbers.Integral, "a whole number"), float: (numbers.Real, "a number")}


def _one_of(default: str, *known: str):
    return dataclasses.field(default=default, metadata={"known": known})


def _within(default: float | None, low: float, high: float = math.inf, below: bool = False):
    """Declare a field with values from `low` to `high`, excluding `high` itself if `below`."""
    return dataclasses.field(default=default, metadata={"low": low, "high": high, "below": below})


@dataclass(frozen=True)
class RunConfig:
    """Complete description of one trained network.

    Fields are checked on construction. `n_train=None` (the whole training set) and `depth=None` (the model's default)
    are replaced by numbers, so equal runs are equal objects.

    Parameters
    ----------
    dataset : str
        `digits`, `digits32`, `mnist`, `cifar10` or `cifar100`.
    model : str
        `fcn`, `vgg16`, `resnet18` or `vit`.
    depth : int or None
        Number of weight layers from image to logits; None: 10 for `fcn`, the model's fixed depth for others.
    width : int
        Units per hidden layer; for convolutional networks, channels of the first convolution (64 as published).
    bias : str
        `none`; `output`: the last layer only; `all`: every layer.
    normalization : str
        `none`; `batch`: after every convolution; `layer`: after every hidden layer of `fcn`, before attention, MLP and
        output layer of `vit`. Scales and shifts are trained whatever `bias` is.
    init_scale : float
        Factor on Kaiming-normal weights; biases start at zero.
    optimizer : str
        `sgd` or `adam`.
    lr : float
        Learning rate.
    schedule : str
        Learning-rate schedule over `epochs`: `constant`; `linear` or `cosine` decay to zero.
    momentum : float
        Momentum of `sgd`; `adam` always has betas (0.9, 0.999).
    weight_decay : float
        Multiple of each parameter, biases included, added to its gradient.
    clip : float
        Largest norm of the whole gradient, before weight decay; 0: no clipping.
    label_smoothing : float
        Fraction of every label spread evenly over the classes, in training only.
    freeze_bias : int
        Number of first steps in which the output bias is frozen.
    batch_size : int
        Images per step.
    epochs : int
        Largest number of epochs.
    stop_loss : float
        Loss over at most 500 first training images, in nats, at which training stops early; 0: only at exactly 0.
    n_train : int or None
        Number of training images, the first with classes taken in turn; None: all.
    imbalance : float
        Ratio of the first class's size to the last's; sizes fall geometrically in between.
    seed : int
        Seed of the initialization and of the batch order.

    Raises
    ------
    InputError
        A value is not allowed; the message names the allowed ones.
    """

    dataset: str = _one_of("digits", *DATASETS)
    model: str = _one_of("fcn", *MODELS)
    depth: int = _within(None, 1, 1000)
    width: int = _within(128, 1, 1_000_000)
    bias: str = _one_of("output", "none", "output", "all")
    normalization: str = _one_of("none", "none", "batch", "layer")
    init_scale: float = _within(0.6, 0, 1000)
    optimizer: str = _one_of("sgd", "sgd", "adam")
    lr: float = _within(0.03, 0, 1000)
    schedule: str = _one_of("constant", "constant", "linear", "cosine")
    momentum: float = _within(0.9, 0, 1, below=True)
    weight_decay: float = _within(0.0, 0, 1000)
    clip: float = _within(0.0, 0, 1e6)
    label_smoothing: float = _within(0.0, 0, 1, below=True)
    freeze_bias: int = _within(0, 0, 1_000_000_000)
    batch_size: int = _within(128, 1)
    epochs: int = _within(200, 0, 1_000_000)
    stop_loss: float = _within(1e-3, 0, 1000)
    n_train: int = _within(None, 1)
    imbalance: float = _within(1.0, 1, 1000)
    seed: int = _within(0, 0, 2**63 - 1)

    def __post_init__(self):
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _checked(field, getattr(self, field.name)))
        spec, data = MODELS[self.model], DATASETS[self.dataset]
        choose(f"normalization of {self.model}:", self.normalization, spec.normalizations)
        if self.depth is None:
            object.__setattr__(self, "depth", spec.depth)
        if self.n_train is None:
            object.__setattr__(self, "n_train", data.train)
        if spec.fixed_depth and self.depth != spec.depth:
            raise InputError(f"depth={self.depth} is not allowed for {self.model}; allowed: {spec.depth}, or None")
        if self.model == "vit" and self.width % 4:
            raise InputError(f"width={self.width} is not allowed for vit; allowed: multiples of 4, its heads")
        if spec.image and data.shape != spec.image:
            fitting = ", ".join(name for name, other in DATASETS.items() if other.shape == spec.image)
            raise InputError(f"{self.model} does not take the images of {self.dataset!r}; datasets it takes: {fitting}")
        if self.n_train > data.train:
            raise InputError(f"n_train={self.n_train} is not allowed; allowed: from 1 to {data.train}")
        if self.freeze_bias and self.bias == "none":
            raise InputError(f"freeze_bias={self.freeze_bias} is not allowed without biases; allowed: 0")

    def __str__(self):
        normalized = "" if self.normalization == "none" else f" {self.normalization} norm"
        return (
            f"{self.model} depth {self.depth} width {self.width} bias {self.bias}{normalized} "
            f"scale {self.init_scale:g} on {self.dataset}, seed {self.seed}"
        )

    def replace(self, **changes) -> "RunConfig":
        """Copy the configuration with some fields changed."""
        return make_config(**{**dataclasses.asdict(self), **changes})


FIELDS = tuple(field.name for field in dataclasses.fields(RunConfig))


def make_config(**fields) -> RunConfig:
    """Make a RunConfig; for an unknown field, raise an InputError that lists the known ones."""
    for name in fields:
        choose("RunConfig field", name, FIELDS)
    return RunConfig(**fields)


def grid(**fields) -> list[RunConfig]:
    """Combine all given values into configurations, the last field varying fastest.

    Parameters
    ----------
    **fields : object
        Values of `RunConfig` fields. An iterable holds several values; a text or anything else is one value.

    Returns
    -------
    list of RunConfig
        One configuration per combination.

    Raises
    ------
    InputError
        An unknown field, or a value that is not allowed.

    Examples
    --------
    >>> [c.seed for c in grid(depth=10, seed=range(3))]
    [0, 1, 2]
    """
    lists = [
        value if isinstance(value, Iterable) and not isinstance(value, str) else [value] for value in fields.values()
    ]
    return [make_config(**dict(zip(fields, values, strict=True))) for values in itertools.product(*lists)]


def independent(configs: Iterable[RunConfig], first_seed: int = 0) -> list[RunConfig]:
    """Give every configuration a seed of its own, from `first_seed` up, so that no two runs share anything random."""
    return [config.replace(seed=first_seed + i) for i, config in enumerate(configs)]


def finite(value) -> bool:
    """Tell whether a number is finite; integers too large for a float are not."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _checked(field: dataclasses.Field, value):
    """Convert a value to its field's type and check its limits; accept NumPy scalars, no booleans or digit strings."""
    kind, said = KINDS[field.type]
    if field.default is None:
        if value is None:
            return None
        said += ", or None"
    if kind is numbers.Integral and isinstance(value, (float, np.floating)) and value.is_integer():
        value = int(value)  # users write integers as 1e3
    if isinstance(value, bool) or not isinstance(value, kind):
        raise InputError(f"{field.name}={value!r} is not allowed; allowed: {said}")
    if kind is str:
        return choose(field.name, value, field.metadata["known"])
    if not finite(value):
        raise InputError(f"{field.name}={value!r} is not allowed; allowed: a finite number")
    low, high, below = (field.metadata[name] for name in ("low", "high", "below"))
    if not low <= value <= high or (below and value == high):
        allowed = f"from {low} to {high}" if high < math.inf else f"{low} or more"
        allowed = f"from {low} up to, but not, {high}" if below else allowed
        raise InputError(f"{field.name}={value} is not allowed; allowed: {allowed}")
    return int(value) if kind is numbers.Integral else float(value) or 0.0  # −0.0 would have another address
