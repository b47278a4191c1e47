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
from mli_utils.checkpoints import Checkpoints, Pace, State
from mli_utils.config import FIELDS, LATER, MODELS, RunConfig
from mli_utils.metrics import FITTED_ERROR
from mli_utils.models import Params
from mli_utils.optimizers import OPTIMIZERS, SCHEDULES, Adam, Momentum
from mli_utils.versions import VERSIONS

# A history is measured on the first images, PROBE at most. It has a row at every step up to DENSE_STEPS, then
# ROWS_AN_E_FOLD while the number of steps grows by a factor e: an evaluation costs as much as a few steps.
PROBE, DENSE_STEPS, ROWS_AN_E_FOLD = 500, 16, 12

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
    later = {name: version for name, version in VERSIONS["later"].items() if name in has}
    of_model = VERSIONS["training"].get(config.model)
    return later if of_model is None else {"training": of_model, **later}


def shape(config: RunConfig) -> tuple:
    """What runs must have in common to be trained together: `SHAPE`, or everything where a model is not stacked."""
    return tuple(getattr(config, name) for name in (SHAPE if MODELS[config.model].stacked else FIELDS))


def train_group(
    configs: Sequence[RunConfig],
    device: str = "cpu",
    progress: Callable[[int], None] = lambda epochs: None,
    kept: Checkpoints | None = None,
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
    kept : where half-trained runs are kept and looked for; they go on where they were, to the last bit
    """
    assert len({shape(config) for config in configs}) == 1, "runs of different shapes cannot be stacked"
    groups = kept.together(configs) if kept else [(list(configs), [])]
    with models.plain_float32():
        for group, states in groups:
            yield from _train_stack(group, states, device, progress, kept)


@dataclass
class _Stack:
    """Runs that are being trained: one of each list a run, one row of each tensor."""

    configs: list[RunConfig]
    starts: list[Params]
    batches: list[torch.Generator]
    changes: list[torch.Generator]
    histories: list[list[dict]]
    params: Params
    optimizer: Momentum | Adam

    @classmethod
    def begin(cls, model: torch.nn.Module, configs: list[RunConfig], device: str) -> "_Stack":
        starts = [models.initialize(model, config) for config in configs]
        batches, changes = (
            [torch.Generator().manual_seed(models.stream(config.seed, purpose)) for config in configs]
            for purpose in ("batches", "augmentation")
        )
        params = {name: value.to(device) for name, value in models.stack(starts).items()}
        optimizer = OPTIMIZERS[configs[0].optimizer](params, configs)
        return cls(configs, starts, batches, changes, [[] for _ in configs], params, optimizer)

    def keep(self, runs: list[int]) -> None:
        """Go on with these runs of the stack only."""
        for name in ("configs", "starts", "batches", "changes", "histories"):
            setattr(self, name, [getattr(self, name)[i] for i in runs])
        self.params = {name: value[runs] for name, value in self.params.items()}
        self.optimizer.keep(runs)

    def states(self, seconds: float) -> Iterator[State]:
        """What a checkpoint holds of each run."""
        for i, history in enumerate(self.histories):
            tensors = {f"params/{name}": value[i] for name, value in self.params.items()}
            for kind in self.optimizer.kept:
                values = zip(self.params, getattr(self.optimizer, kind), strict=True)
                tensors |= {f"{kind}/{name}": value[i] for name, value in values}
            tensors |= {"batches": self.batches[i].get_state(), "changes": self.changes[i].get_state()}
            arrays = {name: tensor.cpu().numpy() for name, tensor in tensors.items()}
            yield State(self.optimizer.steps, seconds, list(history), arrays)

    def go_on(self, model: torch.nn.Module, states: Sequence[State]) -> None:
        """Be where these states are."""

        def of(kind: str) -> Params:
            rows = [
                {name: models.lay_out(model, torch.tensor(state.arrays[f"{kind}/{name}"])) for name in self.params}
                for state in states
            ]
            return {name: value.to(self.params[name].device) for name, value in models.stack(rows).items()}

        self.params = of("params")
        for kind in self.optimizer.kept:
            setattr(self.optimizer, kind, list(of(kind).values()))
        self.optimizer.steps = states[0].step
        self.histories = [list(state.history) for state in states]
        for i, state in enumerate(states):
            self.batches[i].set_state(torch.tensor(state.arrays["batches"]))
            self.changes[i].set_state(torch.tensor(state.arrays["changes"]))


def _train_stack(
    configs: list[RunConfig],
    states: Sequence[State],
    device: str,
    progress: Callable[[int], None],
    kept: Checkpoints | None,
) -> Iterator[Trained]:
    began, everyone, pace = time.perf_counter(), len(configs), Pace()
    first = configs[0]
    training_set = balance.training_set(first)
    images, labels = training_set.images.to(device), training_set.labels.to(device)
    model = models.build(first)
    gradient = gradients.of(model, first.label_smoothing)
    runs = _Stack.begin(model, configs, device)
    if states:
        runs.go_on(model, states)
        began -= states[0].seconds

    batches = math.ceil(len(labels) / first.batch_size)
    done, last = runs.optimizer.steps, first.epochs * batches
    progress(everyone * (done // batches))
    seen, answers = images[:PROBE], labels[:PROBE]
    due = itertools.dropwhile(lambda step: states and step <= done, log_steps())
    next_log = next(due)
    orders = None
    for step in range(done, last + 1):
        if step > done and step % batches == 0:
            progress(len(runs.configs))
        if step in (next_log, last):
            next_log = next(due)
            measured = models.evaluate(model, runs.params, seen, answers)
            for history, row in zip(runs.histories, history_rows(step, measured, answers), strict=True):
                history.append(row)
            losses = measured["loss"].tolist()
            over = [
                step == last or not math.isfinite(loss) or loss <= config.stop_loss
                for loss, config in zip(losses, runs.configs, strict=True)
            ]
            for i in itertools.compress(range(len(over)), over):
                progress(first.epochs - step // batches)
                seconds = (time.perf_counter() - began) / everyone
                end = {name: value[i].clone() for name, value in runs.params.items()}
                history = pd.DataFrame(runs.histories[i])
                summary = summarize(model, runs.starts[i], end, training_set, seconds)
                yield Trained(runs.configs[i], runs.starts[i], _on_cpu(end), history, {"steps": step, **summary})
            if all(over):
                return
            if any(over):
                going_on = [i for i, ended in enumerate(over) if not ended]
                runs.keep(going_on)
                orders = None if orders is None else orders[going_on]
        if step % batches == 0:
            if kept and step > done:
                pace.write(kept, runs.configs, partial(runs.states, time.perf_counter() - began))
            orders = torch.stack([torch.randperm(len(labels), generator=each) for each in runs.batches]).to(device)
        batch = orders[:, step % batches * first.batch_size :][:, : first.batch_size]
        seen_now = augmentation.augment(images[batch], first.augment, runs.changes)
        resting = [step < config.freeze_bias for config in runs.configs]
        now = gradients.resting(gradient, torch.tensor(resting, device=device)) if any(resting) else gradient
        of_batch = partial(now, runs.params, seen_now, labels[batch])
        runs.optimizer.step(runs.params, of_batch, of_lr=SCHEDULES[first.schedule](step / last))


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
    device = models.device_of(end)
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
