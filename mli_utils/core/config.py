"""What determines a run: `RunConfig`, its allowed values, and grids of them."""

import dataclasses
import difflib
import itertools
import math
import numbers
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


class MLIError(Exception):
    """An error whose message is one sentence for the user; `exit_status` is what the command line returns."""

    exit_status = 1


class InputError(MLIError, ValueError):
    """A value that is not allowed. The message names the value and what is allowed."""

    exit_status = 2


@dataclass(frozen=True)
class DatasetSpec:
    """The facts of an image set that a configuration can be checked against before anything is loaded."""

    classes: int
    train: int
    test: int
    shape: tuple[int, int, int]  # channels, height, width
    standardise: bool  # per channel, over the training split; otherwise pixels stay from 0 (no ink) to 1


DATASETS = {
    "digits": DatasetSpec(10, 1400, 397, (1, 8, 8), False),
    "digits32": DatasetSpec(10, 1400, 397, (3, 32, 32), True),  # digits enlarged, in the shape of the photographs
    "mnist": DatasetSpec(10, 60_000, 10_000, (1, 28, 28), False),
    "cifar10": DatasetSpec(10, 50_000, 10_000, (3, 32, 32), True),
    "cifar100": DatasetSpec(100, 50_000, 10_000, (3, 32, 32), True),
}


@dataclass(frozen=True)
class ModelSpec:
    """The facts of a kind of network that a configuration can be checked against before anything is built."""

    depth: int  # weight layers, unless the configuration says otherwise
    fixed_depth: bool
    stacked: bool  # many are computed at once, through batched products; otherwise one after the other
    image: tuple[int, int, int] | None  # the only image shape it takes; None: any
    normalizations: tuple[str, ...]


MODELS = {
    "fcn": ModelSpec(10, False, True, None, ("none", "layer")),
    "vgg16": ModelSpec(14, True, False, (3, 32, 32), ("none", "batch")),  # 13 convolutions and one linear layer
    "resnet18": ModelSpec(18, True, False, (3, 32, 32), ("none", "batch")),  # without its shortcuts' convolutions
    "vit": ModelSpec(10, True, True, None, ("layer",)),  # two blocks of four between the patches' layer and the last
}


def choose(what: str, value, known: Iterable):
    """Return `value` if it is one of `known`; otherwise raise InputError with the known ones and the nearest."""
    known = list(known)
    if value in known:
        return value
    near = difflib.get_close_matches(str(value), map(str, known), n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise InputError(f"unknown {what} {value!r}{hint}; known: {', '.join(map(str, known))}")


KINDS: dict = {str: (str, "a name"), int: (numbers.Integral, "a whole number"), float: (numbers.Real, "a number")}


def _one_of(default: str, *known: str):
    return dataclasses.field(default=default, metadata={"known": known})


def _within(default: float | None, low: float, high: float = math.inf, below: bool = False):
    """A field with values from `low` to `high`; `below` leaves `high` itself out."""
    return dataclasses.field(default=default, metadata={"low": low, "high": high, "below": below})


@dataclass(frozen=True)
class RunConfig:
    """One trained network, described completely.

    Every field is checked when the object is made. `n_train=None` means the whole training set and `depth=None` the
    model's own depth; both are replaced by the number, so equal runs are equal objects.

    Parameters
    ----------
    dataset : str
        `digits`, `digits32`, `mnist`, `cifar10` or `cifar100`.
    model : str
        `fcn`, `vgg16`, `resnet18` or `vit`.
    depth : int or None
        Weight layers on the way from image to logits; None: 10 for `fcn`, else the model's own.
    width : int
        Units of each hidden layer; of a convolutional network, channels of the first (64 as published).
    bias : str
        `none`; `output`: the last layer only; `all`: every layer.
    normalization : str
        `none`; `batch`: after every convolution; `layer`: after every hidden layer of `fcn`, before every part of a
        block of `vit`. Either has a scale and a shift of its own, whatever `bias` says.
    init_scale : float
        Factor on Kaiming-normal weights; biases start at zero.
    optimizer : str
        `sgd` or `adam`.
    lr : float
        Learning rate.
    schedule : str
        What `lr` does over `epochs`: `constant`; `linear`, `cosine`: down to zero.
    momentum : float
        Of `sgd`; `adam` has its usual (0.9, 0.999).
    weight_decay : float
        Added to the gradient, biases included.
    clip : float
        The largest norm of a step's whole gradient, before weight decay; 0: any.
    label_smoothing : float
        Share of every label that is spread evenly over the classes, in training only.
    freeze_bias : int
        First steps in which the output bias does not move.
    batch_size : int
        Images a step.
    epochs : int
        At most.
    stop_loss : float
        In nats; training ends once the training loss is this low; 0: never early.
    n_train : int or None
        The first n training images, classes taken in turn; None: all of them.
    imbalance : float
        Images of the first class for one of the last, falling by a constant factor between.
    seed : int
        Of the initialization and the order of the batches.

    Raises
    ------
    InputError
        A value outside what is allowed; the message says what is.
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
        """A copy with some fields changed."""
        return make_config(**{**dataclasses.asdict(self), **changes})


FIELDS = tuple(field.name for field in dataclasses.fields(RunConfig))


def make_config(**fields) -> RunConfig:
    """`RunConfig(**fields)`, with an InputError that lists the known fields where one is unknown."""
    for name in fields:
        choose("RunConfig field", name, FIELDS)
    return RunConfig(**fields)


def grid(**fields) -> list[RunConfig]:
    """Every combination of the values given, the last field varying fastest.

    Parameters
    ----------
    **fields : object
        Values of `RunConfig`'s fields. A list, tuple, range or array is a list of values to combine; anything else is
        one value.

    Returns
    -------
    list of RunConfig
        One for each combination.

    Raises
    ------
    InputError
        An unknown field, or a value that is not allowed.

    Examples
    --------
    >>> [c.seed for c in grid(depth=10, seed=range(3))]
    [0, 1, 2]
    """
    lists = [value if _is_list(value) else [value] for value in fields.values()]
    return [make_config(**dict(zip(fields, values, strict=True))) for values in itertools.product(*lists)]


def _is_list(value) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str)


def finite(value) -> bool:
    """Whether a number is finite; whole numbers beyond all floats are not."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _checked(field: dataclasses.Field, value):
    """The value as the field's own type, within its limits; NumPy scalars are welcome, booleans and digits are not."""
    kind, said = KINDS[field.type]
    if field.default is None:
        if value is None:
            return None
        said += ", or None"
    if kind is numbers.Integral and isinstance(value, (float, np.floating)) and value.is_integer():
        value = int(value)  # 1e3 is how people write a whole number
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
    return int(value) if kind is numbers.Integral else float(value)
