"""Training of many networks at once: runs of one shape share batched matrix products and nothing else.

Each run has its own generators for initialization and batches, and its own end. Its result does not depend, up to float
rounding, on the runs trained beside it.
"""

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch

from mli_utils.core.config import FIELDS, MODELS, InputError, RunConfig
from mli_utils.core.data import ImageSet
from mli_utils.core.evaluation import evaluate, plain_float32, statistics_of
from mli_utils.core.initialization import build, initialize, stream
from mli_utils.core.networks import Network, samples
from mli_utils.core.optimizers import OPTIMIZERS, SCHEDULES, Adam, Momentum, Replayed, freezing_output_bias, gradient_of
from mli_utils.core.parameters import Params, device_of, norm, output_bias, stack
from mli_utils.core.plateaus import FITTED_ERROR

# Histories are measured on at most PROBE first images, at every step at first, then ROWS_AN_E_FOLD times per factor e
# of steps, because an evaluation costs as much as a few steps.
PROBE, ROWS_AN_E_FOLD = 500, 12

# Fields that runs of a stacked model must share to be trained together.
SHAPE = (
    *("dataset", "model", "depth", "width", "bias", "normalization", "n_train", "imbalance"),
    *("optimizer", "momentum", "schedule", "clip", "label_smoothing", "batch_size", "epochs"),
)


@dataclass(frozen=True)
class Trained:
    """Result of training: a run's endpoints (on the CPU), history and summary.

    `summary` has `status` (fitted; unfitted: over 1 % of the training set misclassified; diverged: the loss is not
    finite), `steps`, `train_loss`, `train_error`, `test_error`, `start_norm` ‖θ(0)‖, `distance` ‖θ(T) − θ(0)‖,
    `output_bias` (a list, or None), `class_counts` (training images of each class) and `seconds`, its share of the
    group's training time.
    """

    config: RunConfig
    start: Params
    end: Params
    history: pd.DataFrame
    summary: dict


@dataclass(frozen=True)
class State:
    """A run between two epochs: steps done, its share of the seconds, rows of history, and arrays by name."""

    step: int
    seconds: float
    history: list[dict]
    arrays: dict[str, np.ndarray]


Save = Callable[[Sequence[RunConfig], Callable[[], Iterator[State]]], None]  # runs, and a function yielding states


def shape(config: RunConfig) -> tuple:
    """Return the values that runs trained together share: `SHAPE`, or all fields if the model is not stacked."""
    return tuple(getattr(config, name) for name in (SHAPE if MODELS[config.model].stacked else FIELDS))


Sets = ImageSet | Sequence[ImageSet]
Rule = Callable[[Sequence[RunConfig], Sequence[float]], Sequence[bool]]  # runs and their losses; True: it ends


def reached(configs: Sequence[RunConfig], losses: Sequence[float]) -> list[bool]:
    """Tell which runs' losses are at most their `stop_loss`."""
    return [loss <= config.stop_loss for config, loss in zip(configs, losses, strict=True)]


@dataclass
class _Data:
    """Training images and labels: one set for all runs of a stack, or one for each along a leading dimension."""

    images: torch.Tensor
    labels: torch.Tensor

    @classmethod
    def of(cls, sets: Sets, device: str) -> "_Data":
        if isinstance(sets, ImageSet):
            return cls(sets.images.to(device), sets.labels.to(device))
        return cls(*(torch.stack([getattr(one, name) for one in sets]).to(device) for name in ("images", "labels")))

    @property
    def shared(self) -> bool:
        return self.labels.ndim == 1

    def first(self, n: int) -> "_Data":
        return _Data(samples(self.images, slice(n)), self.labels[..., :n])

    def batch(self, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return each run's images and labels of these numbers (stack, samples)."""
        if self.shared:
            return self.images[chosen], self.labels[chosen]
        runs, n = self.labels.shape
        number = chosen + n * torch.arange(runs, device=chosen.device).unsqueeze(1)
        images = self.images.flatten(0, 1).index_select(0, number.flatten())
        return images.view(*chosen.shape, *images.shape[1:]), self.labels.gather(1, chosen)

    def select(self, runs: list[int]) -> "_Data":
        return self if self.shared else _Data(self.images[runs], self.labels[runs])


@dataclass
class _Stack:
    """Runs in training: one item of each list and one row of each tensor per run."""

    configs: list[RunConfig]
    starts: list[Params]
    batches: list[torch.Generator]
    histories: list[list[dict]]
    params: Params
    optimizer: Momentum | Adam

    @classmethod
    def begin(cls, model: Network, configs: list[RunConfig], device: str) -> "_Stack":
        starts = [initialize(model, config) for config in configs]
        batches = [torch.Generator().manual_seed(stream(config.seed, "batches")) for config in configs]
        params = {name: value.to(device) for name, value in stack(starts).items()}
        optimizer = OPTIMIZERS[configs[0].optimizer](params, configs)
        return cls(configs, starts, batches, [[] for _ in configs], params, optimizer)

    def select(self, runs: list[int]) -> None:
        """Drop all runs of the stack but these."""
        for name in ("configs", "starts", "batches", "histories"):
            setattr(self, name, [getattr(self, name)[i] for i in runs])
        self.params = {name: value[runs] for name, value in self.params.items()}
        self.optimizer.select(runs)

    def states(self, seconds: float) -> Iterator[State]:
        """Yield each run's state, for a checkpoint."""
        for i, history in enumerate(self.histories):
            tensors = {f"params/{name}": value[i] for name, value in self.params.items()}
            for kind in self.optimizer.buffers:
                values = zip(self.params, getattr(self.optimizer, kind), strict=True)
                tensors |= {f"{kind}/{name}": value[i] for name, value in values}
            tensors["batches"] = self.batches[i].get_state()
            arrays = {name: tensor.cpu().numpy() for name, tensor in tensors.items()}
            yield State(self.optimizer.steps, seconds, list(history), arrays)

    def restore(self, model: Network, states: Sequence[State]) -> None:
        """Restore these states."""

        def of(kind: str) -> Params:
            rows = [
                {name: model.in_memory_format(torch.tensor(state.arrays[f"{kind}/{name}"])) for name in self.params}
                for state in states
            ]
            return {name: value.to(self.params[name].device) for name, value in stack(rows).items()}

        self.params = of("params")
        for kind in self.optimizer.buffers:
            setattr(self.optimizer, kind, list(of(kind).values()))
        self.optimizer.steps = states[0].step
        self.histories = [list(state.history) for state in states]
        for i, state in enumerate(states):
            self.batches[i].set_state(torch.tensor(state.arrays["batches"]))


def train_group(
    configs: Sequence[RunConfig],
    training_set: Sets,
    test_set: Sets,
    device: str = "cpu",
    progress: Callable[[int], None] = lambda epochs: None,
    states: Sequence[State] = (),
    save: Save | None = None,
    watch: "Budget | None" = None,
    model: Network | None = None,
    rule: Rule = reached,
) -> Iterator[Trained]:
    """Train runs of one shape together, and yield each as soon as it ends.

    A run ends at a logged step where `rule` says so or its loss is not finite, or else after `epochs`. The history
    has columns `step`, `loss`, `error`, `class_error_0`, …, on the first training images (`PROBE`).

    Parameters
    ----------
    configs : runs of equal `shape`
    training_set, test_set : training images, as from `data.training_set`, and test images; one set for all runs, or a
        sequence of equally large ones, one for each
    device : device to compute on
    progress : called with numbers of epochs done or no longer needed
    states : checkpoints to resume from, all at one step, bit for bit; empty: start at initialization
    save : called after every epoch with the unfinished runs and a function that yields their states, whose arrays the
        next step overwrites
    watch : sees every step, and changes nothing; not with `states`
    model : network to train, for example of fewer classes; None: the configs' own
    rule : which runs end, from their losses on the first training images; by default those at their `stop_loss`
    """
    assert not (watch and states), "a run is watched from its first step"
    assert len({shape(config) for config in configs}) == 1, "runs of different shapes cannot be stacked"
    with plain_float32():
        sets = training_set, test_set
        yield from _train_group(list(configs), sets, device, progress, states, save, watch, model, rule)


def _train_group(configs, sets, device, progress, states, save, watch, model, rule) -> Iterator[Trained]:
    everyone, first = len(configs), configs[0]
    share, clock = states[0].seconds if states else 0.0, time.perf_counter()  # seconds of each run, and since when
    data = _Data.of(sets[0], device)
    of_run = list(zip(*([one] * everyone if isinstance(one, ImageSet) else one for one in sets), strict=True))
    model = (model or build(first)).to(device)
    gradient = gradient_of(model, first.label_smoothing)
    runs = _Stack.begin(model, configs, device)
    if states:
        runs.restore(model, states)

    size = data.labels.shape[-1]
    batches = math.ceil(size / first.batch_size)
    done, last = runs.optimizer.steps, first.epochs * batches
    progress(everyone * (done // batches))
    seen = data.first(PROBE)
    due = itertools.dropwhile(lambda step: states and step <= done, log_steps())
    next_log = next(due)
    orders = torch.empty(0)
    replayed = None
    if device == "cuda" and data.shared and not model.stacked and isinstance(runs.optimizer, Momentum) and not watch:
        replayed = Replayed(runs.optimizer, runs.params, gradient, data.images, data.labels)
    for step in range(done, last + 1):
        if step > done and step % batches == 0:
            progress(len(runs.configs))
        if step in (next_log, last):
            next_log = next(due)
            measured = evaluate(model, runs.params, seen.images, seen.labels)
            for history, row in zip(runs.histories, history_rows(step, measured, seen.labels), strict=True):
                history.append(row)
            if watch:
                with torch.no_grad():
                    watch.log(step, runs.configs, model.logits(runs.params, seen.images), seen.labels)
            losses = measured["loss"].tolist()
            share, clock = share + (time.perf_counter() - clock) / len(runs.configs), time.perf_counter()
            over = [
                step == last or not math.isfinite(loss) or ends
                for loss, ends in zip(losses, rule(runs.configs, losses), strict=True)
            ]
            for i in itertools.compress(range(len(over)), over):
                progress(first.epochs - step // batches)
                end = {name: value[i].clone() for name, value in runs.params.items()}
                summary = summarize(model, runs.starts[i], end, *of_run[i])
                summary = {"steps": step, **summary, "seconds": round(share, 3)}
                on_cpu = {name: value.cpu() for name, value in end.items()}
                yield Trained(runs.configs[i], runs.starts[i], on_cpu, pd.DataFrame(runs.histories[i]), summary)
            if all(over):
                return
            if any(over):
                going_on = [i for i, ended in enumerate(over) if not ended]
                runs.select(going_on)
                if watch:
                    watch.select(going_on)
                data, seen = data.select(going_on), seen.select(going_on)
                of_run = [of_run[i] for i in going_on]
                orders = orders[going_on] if len(orders) else orders
        if step % batches == 0:
            if save and step > done:
                save(runs.configs, partial(runs.states, share + (time.perf_counter() - clock) / len(runs.configs)))
            orders = torch.stack([torch.randperm(size, generator=each) for each in runs.batches]).to(device)
        batch = orders[:, step % batches * first.batch_size :][:, : first.batch_size]
        rest = [step < config.freeze_bias for config in runs.configs]
        now = freezing_output_bias(gradient, torch.tensor(rest, device=device)) if any(rest) else gradient
        of_lr = SCHEDULES[first.schedule](step / last)
        if replayed and now is gradient:
            replayed(batch, of_lr)
        else:
            images, labels = data.batch(batch)
            runs.optimizer.step(runs.params, partial(now, runs.params, images, labels), of_lr)
        if watch:
            watch.step(step, runs.configs, labels, gradient.errors, runs.optimizer.scale, of_lr)


LOGGED_APART = 100 / ROWS_AN_E_FOLD  # percent between logged steps, but for the first ones


def log_steps() -> Iterator[int]:
    """Yield the logged steps: every step at first, then a constant number per factor e."""
    step = 0
    while True:
        yield step
        step += max(1, step // ROWS_AN_E_FOLD)


def history_rows(step: int, measured: dict[str, torch.Tensor], labels: torch.Tensor) -> Iterator[dict]:
    """Yield one row of history per run of a stack, to seven digits."""
    classes = measured["wrong"].shape[1]
    members = torch.stack([of_set.bincount(minlength=classes) for of_set in labels.view(-1, labels.shape[-1])])
    errors = measured["wrong"].sum(1) / labels.shape[-1]
    class_errors = measured["wrong"] / members
    for loss, error, of_class in zip(measured["loss"].tolist(), errors.tolist(), class_errors.tolist(), strict=True):
        values = {"loss": loss, "error": error, **{f"class_error_{c}": e for c, e in enumerate(of_class)}}
        yield {"step": step, **{name: float(f"{value:.7g}") for name, value in values.items()}}


def summarize(model: Network, start: Params, end: Params, training_set: ImageSet, test_set: ImageSet) -> dict:
    """Compute `Trained.summary`, except `steps` and `seconds`, on the device of `end`."""
    device = device_of(end)
    stacked = {name: value.unsqueeze(0) for name, value in end.items()}

    def measure(images, statistics=None):
        measured = evaluate(model, stacked, images.images.to(device), images.labels.to(device), statistics)
        return measured["loss"].item(), measured["wrong"].sum().item() / len(images)

    loss, error = measure(training_set)
    _, test_error = measure(test_set, statistics_of(model, end, training_set.images.to(device)))
    if not math.isfinite(loss):
        status, error, test_error = "diverged", math.nan, math.nan
    else:
        status = "fitted" if error <= FITTED_ERROR else "unfitted"
    final = {name: value.cpu() for name, value in end.items()}
    bias = output_bias(final)
    return {
        "status": status,
        "train_loss": loss,
        "train_error": error,
        "test_error": test_error,
        "start_norm": norm(start.values()),
        "distance": norm(final[name] - start[name] for name in start),
        "output_bias": None if bias is None else bias.tolist(),
        "class_counts": training_set.labels.bincount(minlength=len(training_set.classes)).tolist(),
    }


class Budget:
    """Splits the output biases of runs under SGD into the pull of their own class and the intrusions of others.

    A step of SGD at rate η moves the bias of class j by −η Σᵢ (pᵢⱼ − yᵢⱼ)/n. Images of class j pull it up, by 1 − pᵢⱼ
    each; images of other classes push it down by pᵢⱼ, the probability with which they intrude on j. Momentum, weight
    decay, clipping and schedule are linear in these sums, so both parts pass through the same optimizer, and from
    b(0) = 0

        b = pull − intrusions    exactly, at every step (section 07).

    `logged` has by config a list of rows, one per logged step: `step`, and by class `pull`, `intrusions`, `auc`
    (`separation`) and `probability`, the mean probability of the class on its own images; the last two on the first
    training images. InputError for runs without output bias, or with an optimizer whose steps are not linear.
    """

    def __init__(self, configs: Sequence[RunConfig]):
        for config in configs:
            if config.bias == "none" or config.optimizer != "sgd":
                raise InputError(f"{config} has no budget of its output bias; allowed: bias 'output' or 'all', sgd")
        self.logged: dict[RunConfig, list[dict]] = {config: [] for config in configs}
        self.parts: Params = {}

    def log(self, step: int, configs: Sequence[RunConfig], logits: torch.Tensor, labels: torch.Tensor) -> None:
        """See the logits (stack, samples, classes) of the first training images at a logged step, the last included."""
        if not self.parts:
            zeros = logits.new_zeros(len(configs), logits.shape[-1], dtype=torch.float64)
            self.parts = {"own": zeros, "others": zeros.clone()}
            self.optimizer = Momentum(self.parts, configs)
            self.optimizer.longest = 0.0  # the whole gradient is clipped, not these sums
        own = torch.nn.functional.one_hot(labels, logits.shape[-1]).to(logits.dtype)
        by_class = {
            "pull": self.parts["own"],
            "intrusions": -self.parts["others"],
            "auc": separation(logits, labels),
            "probability": (logits.mT.contiguous().softmax(1) * own.mT).sum(-1) / own.sum(0),
        }
        values = {name: value.cpu().numpy() for name, value in by_class.items()}
        for i, config in enumerate(configs):
            self.logged[config].append({"step": step, **{name: value[i].copy() for name, value in values.items()}})

    def step(self, number: int, configs: Sequence[RunConfig], labels, errors, scale, of_lr: float) -> None:
        """See the step that runs have taken after `number` others.

        Parameters
        ----------
        labels : (stack, samples)
        errors : (stack, samples, classes), ∂loss/∂logits before the update: (p − y)/samples, y smoothed as labels are
        scale : (stack,), factors by which clipping shortened the gradients; None without clipping
        of_lr : factor of the learning rate
        """
        errors = errors.double()
        resting = errors.new_tensor([number < config.freeze_bias for config in configs]).view(-1, 1, 1)
        errors *= (1 - resting) * (1 if scale is None else scale.view(-1, 1, 1))
        of_label = errors.gather(2, labels.unsqueeze(2)).squeeze(2)
        own = torch.zeros_like(self.parts["own"]).scatter_add_(1, labels, of_label)

        def gradient(into, keep):
            for buffer, sums in zip(into, (own, errors.sum(1) - own), strict=True):
                buffer.mul_(keep).add_(sums)

        self.optimizer.step(self.parts, gradient, of_lr)

    def select(self, runs: list[int]) -> None:
        """Drop all runs of the stack but these."""
        self.parts = {name: value[runs] for name, value in self.parts.items()}
        self.optimizer.select(runs)


def separation(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Compute the area under the ROC curve of each class's logit, (stack, classes), which no output bias changes.

    From logits (stack, samples, classes) and labels (samples,): the probability that an image of the class has a larger
    logit of the class than an image of another, where ties count half; NaN for a class without images.
    """
    values, areas = logits.mT.contiguous(), []
    for label, in_order in enumerate(values.sort(-1).values.unbind(1)):
        own = values[:, label, labels == label].contiguous()
        below, upto = (torch.searchsorted(in_order.contiguous(), own, right=right) for right in (False, True))
        ranks, members = (below + upto + 1).double() / 2, own.shape[1]
        areas.append((ranks.sum(-1) - members * (members + 1) / 2) / (members * (len(labels) - members)))
    return torch.stack(areas, -1)
