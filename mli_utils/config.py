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
    "resnet18": ModelSpec(
        18, True, False, (3, 32, 32), ("none", "batch")
    ),  # its shortcuts' convolutions are not counted
    "vit": ModelSpec(10, True, True, None, ("layer",)),  # two blocks of four between the patches' layer and the last
}
BIASES = ("none", "output", "all")
OPTIMIZERS = ("sgd", "adam")
SCHEDULES = ("constant", "linear", "cosine")
AUGMENTATIONS = ("none", "flip", "crop", "flip-crop")


def choose(what: str, value, known: Iterable):
    """Return `value` if it is one of `known`; otherwise raise InputError with the known ones and the nearest."""
    known = list(known)
    if value in known:
        return value
    near = difflib.get_close_matches(str(value), map(str, known), n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise InputError(f"unknown {what} {value!r}{hint}; known: {', '.join(map(str, known))}")


@dataclass(frozen=True)
class RunConfig:
    """One trained network, described completely.

    Every field is checked when the object is made. `n_train=None` means the whole training set and `depth=None` the
    model's own depth; both are replaced by the number, so equal runs are equal objects.

    Raises
    ------
    InputError
        A value outside what is allowed; the message says what is.
    """

    dataset: str = "digits"
    model: str = "fcn"
    depth: int | None = None  # weight layers on the way from image to logits; None: 10 for fcn, else the model's own
    width: int = 128  # units of each hidden layer; of a convolutional network, channels of the first (64 as published)
    bias: str = "output"  # none; output: the last layer only; all: every layer
    normalization: str = "none"  # batch: after every convolution, with its own scale and shift whatever `bias` says;
    # layer: after every hidden layer of fcn, before every part of a block of vit, in the same way
    init_scale: float = 0.6  # factor on Kaiming-normal weights; biases start at zero
    optimizer: str = "sgd"
    lr: float = 0.03
    schedule: str = "constant"  # what lr does over `epochs`; linear, cosine: down to zero
    momentum: float = 0.9  # of sgd; adam has its usual (0.9, 0.999)
    weight_decay: float = 0.0  # added to the gradient, biases included
    clip: float = 0.0  # the largest norm of a step's whole gradient, before weight decay; 0: any
    label_smoothing: float = 0.0  # share of every label that is spread evenly over the classes, in training only
    freeze_bias: int = 0  # first steps in which the output bias does not move
    augment: str = "none"  # of training batches: flip: mirrored at random; crop: padded by an eighth and cut at random
    batch_size: int = 128
    epochs: int = 200  # at most
    stop_loss: float = 1e-3  # nats; training ends once the training loss is this low; 0: never early
    n_train: int | None = None  # the first n training images, classes taken in turn; None: all of them
    imbalance: float = 1.0  # images of the first class for one of the last, falling by a constant factor between
    seed: int = 0

    def __post_init__(self):
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _typed(field, getattr(self, field.name)))
        choose("dataset", self.dataset, DATASETS)
        choose("model", self.model, MODELS)
        choose("bias", self.bias, BIASES)
        choose("optimizer", self.optimizer, OPTIMIZERS)
        choose("schedule", self.schedule, SCHEDULES)
        choose("augment", self.augment, AUGMENTATIONS)
        self._check_model(MODELS[self.model])
        whole = DATASETS[self.dataset].train
        if self.n_train is None:
            object.__setattr__(self, "n_train", whole)
        _within("n_train", self.n_train, 1, whole)
        for name, low, high in (
            ("depth", 1, 1000),
            ("width", 1, 1_000_000),
            ("batch_size", 1, math.inf),
            ("epochs", 0, 1_000_000),
            ("seed", 0, 2**63 - 1),
            ("init_scale", 0, 1000),
            ("lr", 0, 1000),
            ("weight_decay", 0, 1000),
            ("clip", 0, 1e6),
            ("stop_loss", 0, 1000),
            ("freeze_bias", 0, 1_000_000_000),
            ("imbalance", 1, 1000),
        ):
            _within(name, getattr(self, name), low, high)
        if not 0 <= self.momentum < 1:
            raise InputError(f"momentum={self.momentum} is not allowed; allowed: from 0 up to, but not, 1")
        if not 0 <= self.label_smoothing < 1:
            said = f"label_smoothing={self.label_smoothing} is not allowed"
            raise InputError(f"{said}; allowed: from 0 up to, but not, 1")
        if self.freeze_bias and self.bias == "none":
            raise InputError(f"freeze_bias={self.freeze_bias} is not allowed without biases; allowed: 0")

    def _check_model(self, spec: ModelSpec):
        choose(f"normalization of {self.model}:", self.normalization, spec.normalizations)
        if self.depth is None:
            object.__setattr__(self, "depth", spec.depth)
        if spec.fixed_depth and self.depth != spec.depth:
            raise InputError(f"depth={self.depth} is not allowed for {self.model}; allowed: {spec.depth}, or None")
        if self.model == "vit" and self.width % 4:
            raise InputError(f"width={self.width} is not allowed for vit; allowed: multiples of 4, its heads")
        if spec.image and DATASETS[self.dataset].shape != spec.image:
            fitting = ", ".join(name for name, data in DATASETS.items() if data.shape == spec.image)
            raise InputError(f"{self.model} does not take the images of {self.dataset!r}; datasets it takes: {fitting}")

    def __str__(self):
        normalized = "" if self.normalization == "none" else f" {self.normalization} norm"
        return (
            f"{self.model} depth {self.depth} width {self.width} bias {self.bias}{normalized} "
            f"scale {self.init_scale:g} on {self.dataset}, seed {self.seed}"
        )

    def key(self) -> dict:
        """What addresses the run: the fields, but for those of `LATER` that have their default value."""
        return {
            field.name: value
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) != field.default or field.name not in LATER
        }

    def replace(self, **changes) -> "RunConfig":
        """A copy with some fields changed."""
        return make_config(**{**dataclasses.asdict(self), **changes})


FIELDS = tuple(field.name for field in dataclasses.fields(RunConfig))
# Fields that runs of earlier records were made without.
LATER = ("normalization", "schedule", "clip", "augment", "label_smoothing", "freeze_bias", "imbalance")


def make_config(**fields) -> RunConfig:
    """`RunConfig(**fields)`, with an InputError that lists the known fields where one is unknown."""
    for name in fields:
        choose("RunConfig field", name, FIELDS)
    return RunConfig(**fields)


def grid(**fields) -> list[RunConfig]:
    """Every combination of the values given, the last field varying fastest.

    A list, tuple, range or array is a list of values to combine; anything else is one value.

    >>> [c.seed for c in grid(depth=10, seed=range(3))]
    [0, 1, 2]
    """
    lists = [value if _is_list(value) else [value] for value in fields.values()]
    return [make_config(**dict(zip(fields, values, strict=True))) for values in itertools.product(*lists)]


def _is_list(value) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str)


def _typed(field: dataclasses.Field, value):
    """The value as the field's own type; NumPy scalars are welcome, booleans and strings of digits are not."""
    kinds = {
        str: (str, "a name"),
        int: (numbers.Integral, "a whole number"),
        int | None: (numbers.Integral, "a whole number, or None"),
        float: (numbers.Real, "a number"),
    }
    kind, said = kinds[field.type]
    if value is None and field.type == int | None:
        return None
    if kind is numbers.Integral and isinstance(value, (float, np.floating)) and value.is_integer():
        value = int(value)  # 1e3 is how people write a whole number
    if isinstance(value, bool) or not isinstance(value, kind):
        raise InputError(f"{field.name}={value!r} is not allowed; allowed: {said}")
    if kind is str:
        return value
    try:
        finite = math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        finite = False
    if not finite:
        raise InputError(f"{field.name}={value!r} is not allowed; allowed: a finite number")
    return int(value) if kind is numbers.Integral else float(value)


def _within(name: str, value, low, high):
    if not low <= value <= high:
        allowed = f"{low} or more" if high == math.inf else f"from {low} to {high}"
        raise InputError(f"{name}={value} is not allowed; allowed: {allowed}")
