"""Training of many networks at once: runs of one shape share every batched product, and nothing else.

Each run draws its initialization and its batches from generators of its own, ends by itself, and comes out the same
(to float rounding) whichever runs were trained beside it.
"""

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd
import torch

from mli_utils import augmentation, balance, data, gradients, models
from mli_utils.config import FIELDS, LATER, MODELS, RunConfig
from mli_utils.metrics import FITTED_ERROR
from mli_utils.models import Params
from mli_utils.optimizers import OPTIMIZERS, SCHEDULES

# Of each model; raise when the same config comes to give another θ(T), history or summary.
VERSIONS = {"fcn": 3, "vgg16": 2, "resnet18": 2}
# The same of what came later and concerns only runs that have it: a model, a normalization, a field off its default.
LATER_VERSIONS = {"vit": 1, "layer": 1, "label_smoothing": 1, "freeze_bias": 1, "imbalance": 1}

# A history is measured on the first images, PROBE at most. It has a row at every step up to DENSE_STEPS, then
# ROWS_AN_E_FOLD while the number of steps grows by a factor e: an evaluation costs as much as a few steps.
PROBE, DENSE_STEPS, ROWS_AN_E_FOLD = 1000, 16, 12

# What runs of a stacked model must have in common to be trained together.
SHAPE = (
    *("dataset", "model", "depth", "width", "bias", "normalization", "n_train", "imbalance"),
    *("optimizer", "momentum", "schedule", "clip", "label_smoothing", "augment", "batch_size", "epochs"),
)


@dataclass(frozen=True)
class Trained:
    """What training gives: a run's endpoints (on the CPU), its history, and how it ended.

    `summary` has `status` (fitted; unfitted: more than 1 % of the training set is wrong; diverged: the loss is not
    finite), `steps`, `train_loss`, `train_error`, `test_error`, `start_norm` ‖θ(0)‖, `distance` ‖θ(T) − θ(0)‖,
    `output_bias` (a list, or None), `class_counts` (training images of each class) and `seconds`, the run's share of
    the time its group took.
    """

    config: RunConfig
    start: Params
    end: Params
    history: pd.DataFrame
    summary: dict


def versions(config: RunConfig) -> dict[str, int]:
    """The version of every mechanism of this module that makes a run."""
    has = {config.model, config.normalization, *(name for name in LATER if name in config.key())}
    later = {name: version for name, version in LATER_VERSIONS.items() if name in has}
    return {"training": VERSIONS[config.model], **later} if config.model in VERSIONS else later


def shape(config: RunConfig) -> tuple:
    """What runs must have in common to be trained together: `SHAPE`, or everything where a model is not stacked."""
    return tuple(getattr(config, name) for name in (SHAPE if MODELS[config.model].stacked else FIELDS))


def train_group(
    configs: Sequence[RunConfig], device: str = "cpu", progress: Callable[[int], None] = lambda epochs: None
) -> Iterator[Trained]:
    """Train runs of one shape together, and yield each as soon as it has ended.

    A run ends where its history is logged and the loss there is at most `stop_loss` or not finite, or else after
    `epochs`. The history has columns `step`, `loss`, `error`, `class_error_0`, …, on the first training images
    (`PROBE`), un-augmented.

    Parameters
    ----------
    configs : runs of equal `shape`
    device : where to compute
    progress : called with numbers of epochs that have been done, or will not be needed
    """
    assert len({shape(config) for config in configs}) == 1, "runs of different shapes cannot be stacked"
    with models.plain_float32():
        yield from _train_stack(list(configs), device, progress)


def _train_stack(configs: list[RunConfig], device: str, progress: Callable[[int], None]) -> Iterator[Trained]:
    began, everyone = time.perf_counter(), len(configs)
    first = configs[0]
    training_set = balance.training_set(first)
    images, labels = training_set.images.to(device), training_set.labels.to(device)
    model = models.build(first)

    starts = [models.initialize(model, config) for config in configs]
    generators = [torch.Generator().manual_seed(models.stream(config.seed, "batches")) for config in configs]
    changes = [torch.Generator().manual_seed(models.stream(config.seed, "augmentation")) for config in configs]
    histories = [[] for _ in configs]
    params = {name: value.to(device) for name, value in models.stack(starts).items()}
    optimizer = OPTIMIZERS[first.optimizer](params, configs)
    gradient = gradients.of(model, first.label_smoothing)

    batches = math.ceil(len(labels) / first.batch_size)
    last = first.epochs * batches
    seen, answers = images[:PROBE], labels[:PROBE]
    due = log_steps()
    next_log = next(due)
    orders = torch.empty(len(configs), 0, dtype=torch.int64, device=device)
    for step in range(last + 1):
        if step and step % batches == 0:
            progress(len(configs))
        if step in (next_log, last):
            next_log = next(due)
            measured = models.evaluate(model, params, seen, answers)
            for history, row in zip(histories, history_rows(step, measured, answers), strict=True):
                history.append(row)
            losses = measured["loss"].tolist()
            over = [
                step == last or not math.isfinite(loss) or loss <= config.stop_loss
                for loss, config in zip(losses, configs, strict=True)
            ]
            for i in itertools.compress(range(len(configs)), over):
                progress(first.epochs - step // batches)
                seconds = (time.perf_counter() - began) / everyone
                end = {name: value[i].clone() for name, value in params.items()}
                history = pd.DataFrame(histories[i])
                summary = summarize(model, starts[i], end, training_set, seconds)
                yield Trained(configs[i], starts[i], _on_cpu(end), history, {"steps": step, **summary})
            if all(over):
                return
            if any(over):
                keep = [i for i, done in enumerate(over) if not done]
                configs, starts, generators, changes, histories = (
                    [values[i] for i in keep] for values in (configs, starts, generators, changes, histories)
                )
                params = {name: value[keep] for name, value in params.items()}
                orders = orders[keep]
                optimizer.keep(keep)
        if step % batches == 0:
            orders = torch.stack([torch.randperm(len(labels), generator=each) for each in generators]).to(device)
        batch = orders[:, step % batches * first.batch_size :][:, : first.batch_size]
        seen_now = augmentation.augment(images[batch], first.augment, changes)
        resting = [step < config.freeze_bias for config in configs]
        now = gradients.resting(gradient, torch.tensor(resting, device=device)) if any(resting) else gradient
        of_batch = partial(now, params, seen_now, labels[batch])
        optimizer.step(params, of_batch, of_lr=SCHEDULES[first.schedule](step / last))


def log_steps() -> Iterator[int]:
    """The steps at which a history has a row: every one at first, then a constant number an e-fold."""
    step = 0
    while True:
        yield step
        step += max(1, step // ROWS_AN_E_FOLD) if step >= DENSE_STEPS else 1


def history_rows(step: int, measured: dict[str, torch.Tensor], labels: torch.Tensor) -> Iterator[dict]:
    """One row of history for each run of a stack, to seven digits."""
    members = torch.bincount(labels, minlength=measured["wrong"].shape[1])
    errors = measured["wrong"].sum(1) / len(labels)
    class_errors = measured["wrong"] / members
    for loss, error, of_class in zip(measured["loss"].tolist(), errors.tolist(), class_errors.tolist(), strict=True):
        values = {"loss": loss, "error": error, **{f"class_error_{c}": e for c, e in enumerate(of_class)}}
        yield {"step": step, **{name: float(f"{value:.7g}") for name, value in values.items()}}


def summarize(model: torch.nn.Module, start: Params, end: Params, training_set: data.ImageSet, seconds: float) -> dict:
    """How a run ended: `Trained.summary`, but for its `steps`. `end` is where to compute."""
    device = next(iter(end.values())).device
    stacked = {name: value.unsqueeze(0) for name, value in end.items()}

    def measure(images, statistics=None):
        measured = models.evaluate(model, stacked, images.images.to(device), images.labels.to(device), statistics)
        return measured["loss"].item(), measured["wrong"].sum().item() / len(images)

    loss, error = measure(training_set)
    of_training = models.statistics(model, end, training_set.images.to(device))
    _, test_error = measure(data.load(training_set.name, "test"), of_training)
    if not math.isfinite(loss):
        status, error, test_error = "diverged", math.nan, math.nan
    else:
        status = "fitted" if error <= FITTED_ERROR else "unfitted"
    final = _on_cpu(end)
    bias = models.output_bias(final)
    return {
        "status": status,
        "train_loss": loss,
        "train_error": error,
        "test_error": test_error,
        "start_norm": _norm(start.values()),
        "distance": _norm(final[name] - start[name] for name in start),
        "output_bias": None if bias is None else bias.tolist(),
        "class_counts": training_set.labels.bincount(minlength=len(training_set.classes)).tolist(),
        "seconds": round(seconds, 3),
    }


def _norm(tensors) -> float:
    return math.sqrt(sum(tensor.double().square().sum().item() for tensor in tensors))


def _on_cpu(params: Params) -> Params:
    return {name: value.cpu() for name, value in params.items()}
