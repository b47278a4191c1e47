"""Training of many networks at once: runs of one shape share every batched product, and nothing else.

Each run draws its initialization and its batches from generators of its own, ends by itself, and comes out the same
(to float rounding) whichever runs were trained beside it.
"""

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
import torch

from mli_utils import augmentation, data, models
from mli_utils.config import FIELDS, MODELS, RunConfig
from mli_utils.metrics import FITTED_ERROR
from mli_utils.models import Params

VERSION = 1  # raise when the same config comes to give another θ(T), history or summary


@dataclass(frozen=True)
class Logging:
    """How closely a history follows a run."""

    probe: int  # it is measured on the first images, this many at most: all of a small set
    dense_steps: int  # it has a row at every step up to here,
    rows_an_e_fold: int  # then this many while the number of steps grows by a factor e


LOGGING = {
    "fcn": Logging(2000, 64, 32),
    "vgg16": Logging(1000, 16, 12),  # an evaluation costs as much as a few steps
    "resnet18": Logging(1000, 16, 12),
}

# What runs of a stacked model must have in common to be trained together.
SHAPE = (
    *("dataset", "model", "depth", "width", "bias"),
    *("optimizer", "schedule", "augment", "batch_size", "epochs", "n_train"),
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


def shape(config: RunConfig) -> tuple:
    """What runs must have in common to be trained together: `SHAPE`, or everything where a model is not stacked."""
    return tuple(getattr(config, name) for name in (SHAPE if MODELS[config.model].stacked else FIELDS))


def train_group(
    configs: Sequence[RunConfig], device: str = "cpu", progress: Callable[[int], None] = lambda epochs: None
) -> Iterator[Trained]:
    """Train runs of one shape together, and yield each as soon as it has ended.

    A run ends where its history is logged and the loss there is at most `stop_loss` or not finite, or else after
    `epochs`. The history has columns `step`, `loss`, `error`, `class_error_0`, …, on the first training images
    (`LOGGING`), un-augmented.

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
    training_set = data.load(first.dataset).first(first.n_train)
    images, labels = training_set.images.to(device), training_set.labels.to(device)
    model = models.build(first)

    starts = [models.initialize(model, config) for config in configs]
    generators = [torch.Generator().manual_seed(models.stream(config.seed, "batches")) for config in configs]
    changes = [torch.Generator().manual_seed(models.stream(config.seed, "augmentation")) for config in configs]
    histories = [[] for _ in configs]
    params = {name: value.to(device).requires_grad_() for name, value in models.stack(starts).items()}
    update = {"sgd": Momentum, "adam": Adam}[first.optimizer](params, configs)

    batches = math.ceil(len(labels) / first.batch_size)
    last = first.epochs * batches
    logging = LOGGING[first.model]
    seen, answers = images[: logging.probe], labels[: logging.probe]
    due = log_steps(logging)
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
                end = {name: value[i].detach().clone() for name, value in params.items()}
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
                params = {name: value.detach()[keep].requires_grad_() for name, value in params.items()}
                orders = orders[keep]
                update.keep(keep)
        if step % batches == 0:
            orders = torch.stack([torch.randperm(len(labels), generator=each) for each in generators]).to(device)
        batch = orders[:, step % batches * first.batch_size :][:, : first.batch_size]
        logits = models.logits(model, params, augmentation.augment(images[batch], first.augment, changes))
        losses = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), labels[batch].flatten(), reduction="sum"
        )  # the sum over runs: each run's gradient is its own
        gradients = torch.autograd.grad(losses / batch.shape[1], list(params.values()))
        clip(gradients, configs)
        update(params, gradients, of_lr=SCHEDULES[first.schedule](step / last))


# What the learning rate is multiplied by, at a share of the way through training.
SCHEDULES = {
    "constant": lambda done: 1.0,
    "linear": lambda done: 1 - done,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
}


@torch.no_grad()
def clip(gradients: Sequence[torch.Tensor], configs: Sequence[RunConfig]) -> None:
    """Scale each run's whole gradient down to the norm `clip` where it is longer, as `clip_grad_norm_`."""
    if not any(config.clip for config in configs):
        return
    norms = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients]).norm(dim=0)
    largest = norms.new_tensor([config.clip or math.inf for config in configs])
    scale = (largest / (norms + 1e-6)).clamp(max=1)
    for gradient in gradients:
        gradient.mul_(_along(scale, gradient))


def log_steps(logging: Logging) -> Iterator[int]:
    """The steps at which a history has a row: every one at first, then a constant number an e-fold."""
    step = 0
    while True:
        yield step
        step += max(1, step // logging.rows_an_e_fold) if step >= logging.dense_steps else 1


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


class Momentum:
    """SGD with momentum and weight decay, as `torch.optim.SGD`, with each run's own settings along the stack."""

    def __init__(self, params: Params, configs: Sequence[RunConfig]):
        self.settings = _settings(params, configs, "lr", "momentum", "weight_decay")
        self.velocity = [torch.zeros_like(value) for value in params.values()]

    @torch.no_grad()
    def __call__(self, params: Params, gradients: Sequence[torch.Tensor], of_lr: float = 1.0) -> None:
        for value, gradient, velocity in zip(params.values(), gradients, self.velocity, strict=True):
            lr, momentum, decay = (_along(setting, value) for setting in self.settings)
            velocity.mul_(momentum).add_(gradient).addcmul_(value, decay)
            value.addcmul_(velocity, lr, value=-of_lr)

    def keep(self, runs: list[int]) -> None:
        """Go on with these runs of the stack only."""
        self.settings = [setting[runs] for setting in self.settings]
        self.velocity = [velocity[runs] for velocity in self.velocity]


class Adam:
    """Adam with weight decay added to the gradient, as `torch.optim.Adam`, with each run's own settings."""

    betas, epsilon = (0.9, 0.999), 1e-8

    def __init__(self, params: Params, configs: Sequence[RunConfig]):
        self.settings = _settings(params, configs, "lr", "weight_decay")
        self.means = [torch.zeros_like(value) for value in params.values()]
        self.squares = [torch.zeros_like(value) for value in params.values()]
        self.steps = 0

    @torch.no_grad()
    def __call__(self, params: Params, gradients: Sequence[torch.Tensor], of_lr: float = 1.0) -> None:
        self.steps += 1
        unbias_mean, unbias_square = (1 - beta**self.steps for beta in self.betas)
        for value, gradient, mean, square in zip(params.values(), gradients, self.means, self.squares, strict=True):
            lr, decay = (_along(setting, value) for setting in self.settings)
            gradient = gradient.addcmul(value, decay)
            mean.lerp_(gradient, 1 - self.betas[0])
            square.mul_(self.betas[1]).addcmul_(gradient, gradient, value=1 - self.betas[1])
            scale = (square / unbias_square).sqrt_().add_(self.epsilon)
            value.addcdiv_(mean * lr, scale, value=-of_lr / unbias_mean)

    def keep(self, runs: list[int]) -> None:
        """Go on with these runs of the stack only."""
        self.settings = [setting[runs] for setting in self.settings]
        self.means = [mean[runs] for mean in self.means]
        self.squares = [square[runs] for square in self.squares]


def _settings(params: Params, configs: Sequence[RunConfig], *names: str) -> list[torch.Tensor]:
    like = next(iter(params.values()))
    return [like.new_tensor([getattr(config, name) for config in configs]) for name in names]


def _along(setting: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """A setting (stack,) in the shape that multiplies `value` (stack, …)."""
    return setting.view(-1, *[1] * (value.ndim - 1))


def _norm(tensors) -> float:
    return math.sqrt(sum(tensor.double().square().sum().item() for tensor in tensors))


def _on_cpu(params: Params) -> Params:
    return {name: value.cpu() for name, value in params.items()}
