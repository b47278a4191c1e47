"""Hardness of optimization beside plateaus: networks, linearised networks and exact small problems (section 02).

Hardness is the number of steps to a threshold of the loss at the best constant learning rate.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from scipy.special import expit
from torch.func import jacrev, vmap

from mli_utils.core.config import DATASETS, InputError, RunConfig, grid
from mli_utils.core.curves import curve
from mli_utils.core.data import ImageSet
from mli_utils.core.estimates import mean_and_interval
from mli_utils.core.evaluation import plain_float32, sum_metrics
from mli_utils.core.initialization import build, initialize, stream
from mli_utils.core.networks import Network
from mli_utils.core.parameters import Params
from mli_utils.core.plateaus import crossing, plateaus_of, split_curves, thresholds
from mli_utils.core.training import LOGGED_APART, Trained, log_steps, reached, train_group
from mli_utils.core.versions import VERSIONS
from mli_utils.figures.kinds import empty_figure, label_rows, nothing_to_draw
from mli_utils.figures.style import LABELS, NARROW, colours, style
from mli_utils.runs import images as archive
from mli_utils.runs.measured import cached_frame, cached_frames
from mli_utils.runs.trained import progress

# ── Networks: each image set, with and without an output bias, at its best learning rate ─────────────────────────────

PATHS = ("linear", "homogeneous")
FORMS = ("no bias", "output bias", "output bias, homogeneous path")
RACE = ("problem", "bias", "seed", "lr", "steps", "fitted", "train_error", "gap")  # what is found of one network
MADE_BY = {name: VERSIONS[name] for name in ("data", "initialization", "training", "curves")}


def random_labels(images: ImageSet, draw: np.random.Generator, stretch: float) -> ImageSet:
    """Permute the labels among all images, so that classes stay balanced."""
    return replace(images, labels=images.labels[torch.from_numpy(draw.permutation(len(images)))])


def stretched_inputs(images: ImageSet, draw: np.random.Generator, stretch: float) -> ImageSet:
    """Multiply every pixel by its own factor, 1 to 1/`stretch` in random order; keep the images' mean square."""
    factors = draw.permutation(np.geomspace(1, 1 / stretch, images.images[0].numel()))
    scaled = images.images * torch.from_numpy(factors).float().view(images.images[0].shape)
    return replace(images, images=scaled * (images.images.square().mean() / scaled.square().mean()).sqrt())


PROBLEMS = {
    "true labels": lambda images, draw, stretch: images,
    "random labels": random_labels,
    "stretched inputs": stretched_inputs,
}


def image_set(problem: str, config: RunConfig, stretch: float) -> ImageSet:
    """Return a problem's training images; each seed has its own draw of labels or pixel factors."""
    draw = np.random.default_rng(stream(config.seed, problem))
    return PROBLEMS[problem](archive.of_run(config)[0], draw, stretch)


def race(networks: Mapping, seeds: Sequence[int], stretch: float, alphas: int) -> pd.DataFrame:
    """Train networks on every problem at all learning rates, and measure the curves of the fastest, or read them.

    Parameters
    ----------
    networks : `RunConfig` fields; lists for `bias` and `lr`
    seeds : one network each per problem and kind of bias
    stretch : largest over smallest pixel factor of `stretched inputs`
    alphas : points of a curve

    Returns
    -------
    Tidy curves of the fastest networks: `dataset`, the columns `RACE`, `path`, `alpha`, `loss` (nats), `error`. `lr` is
    the learning rate at which the loss of the first training images reached `stop_loss` in the fewest `steps`; `fitted`
    tells whether it did, and the training error is at most 1 %; `gap` is that of the output bias (logits).
    """
    groups = list(itertools.product(PROBLEMS, networks["bias"]))
    parts = []
    with progress(len(groups) * len(seeds), "races of learning rates", "race") as bar:
        for problem, bias in groups:
            keys = [
                {
                    "problem": problem,
                    "configs": [asdict(config) for config in grid(**{**networks, "bias": bias, "seed": seed})],
                    "stretch": stretch,
                    "points": alphas,
                    "made_by": MADE_BY,
                }
                for seed in seeds
            ]
            for frame in cached_frames("races", keys, _races, "hardness"):
                parts.append(frame.assign(problem=problem))
                bar.update()
    return pd.concat(parts, ignore_index=True)


def _races(keys: list[dict]) -> Iterator[tuple[int, pd.DataFrame]]:
    """Hold the races of these keys, which differ in their seeds, together."""
    entered = [[RunConfig(**fields) for fields in key["configs"]] for key in keys]
    sets = [image_set(key["problem"], race[0], key["stretch"]) for key, race in zip(keys, entered, strict=True)]
    for number, first in winners(entered, sets):
        yield number, _measured(first, sets[number], keys[number]["points"])


def _measured(first: Trained, images: ImageSet, points: int) -> pd.DataFrame:
    found = {
        **{name: getattr(first.config, name) for name in ("dataset", "bias", "seed", "lr")},
        "steps": first.summary["steps"],
        "fitted": solved(first) and first.summary["status"] == "fitted",
        "train_error": first.summary["train_error"],
        "gap": float(np.ptp(first.summary["output_bias"] or [0.0])),
    }
    curves = [_curve(first, path, images, points, {**found, "path": path}) for path in PATHS]
    return pd.concat(curves, ignore_index=True)


def _curve(run: Trained, path: str, images: ImageSet, points: int, fields: Mapping) -> pd.DataFrame:
    """Return `fields`, `alpha`, `loss` and `error` on a path of a run."""
    alphas = np.linspace(0, 1, points)
    measured = curve(build(run.config), run.start, run.end, alphas, path, images)
    errors = measured["wrong"].sum(1) / len(images)
    return pd.DataFrame({**fields, "alpha": alphas, "loss": measured["loss"], "error": errors})


def solved(run: Trained) -> bool:
    """Tell whether a run's loss on the first training images reached its threshold."""
    return bool(run.history.loss.iloc[-1] <= run.config.stop_loss)


def fastest(configs: Sequence[RunConfig], images: ImageSet) -> Trained:
    """Train runs that differ in their learning rate until one reaches its `stop_loss`; return it, as `winners` does."""
    ((_, first),) = winners([configs], [images])
    return first


def winners(races: Sequence[Sequence[RunConfig]], sets: Sequence[ImageSet]) -> Iterator[tuple[int, Trained]]:
    """Train the runs of several races together, and yield each race's number and the run that wins it, as it ends.

    The runs of a race differ in their learning rate. The first whose loss reaches its `stop_loss` wins; of several at
    the same logged step, that of the smallest rate. If none does within `epochs`, the run with the smallest loss;
    InputError if no loss is finite.

    Parameters
    ----------
    races : configurations, of one shape
    sets : training images of each race, equally many
    """
    number = {config: i for i, race in enumerate(races) for config in sorted(race, key=lambda config: config.lr)}
    ended: list[list[Trained]] = [[] for _ in races]

    def over(configs: Sequence[RunConfig], losses: Sequence[float]) -> list[bool]:
        won = {number[config] for config in itertools.compress(configs, reached(configs, losses))}
        return [number[config] in won for config in configs]

    images = [sets[i] for i in number.values()]
    for run in train_group(list(number), images, images, rule=over):
        i = number[run.config]
        ended[i].append(run)
        if len(ended[i]) == len(races[i]):
            yield i, _first(ended[i])


def _first(ended: Sequence[Trained]) -> Trained:
    """Return the winner of a race, whose runs are in the order of their learning rates where they end together."""
    finite = [run for run in ended if math.isfinite(run.summary["train_loss"])]
    if not finite:
        rates = sorted(run.config.lr for run in ended)
        raise InputError(f"lr={rates}: training diverges at every rate; allowed: smaller")
    return next((run for run in finite if solved(run)), min(finite, key=lambda run: run.summary["train_loss"]))


def lengths(curves: pd.DataFrame) -> pd.DataFrame:
    """Measure the plateaus of `race`'s curves, one row per network and path.

    Returns
    -------
    The columns `RACE`; `path`; `form`, one of `FORMS`; `error_plateau`, `loss_plateau` (α), NaN where not fitted; a
    bias-free network has one row, since its paths are the same
    """
    kept = curves[(curves.bias != "none") | (curves.path == PATHS[0])]
    keys, arrays = split_curves(kept, [*RACE, "dataset", "path"], ["alpha", "loss", "error"])
    ends = [plateaus_of(of_curve, DATASETS[name].classes) for name, of_curve in zip(keys.dataset, arrays, strict=True)]
    biased = np.where(keys.path == PATHS[0], FORMS[1], FORMS[2])
    return keys.join(pd.DataFrame(ends).where(keys.fitted)).assign(form=np.where(keys.bias == "none", FORMS[0], biased))


def searches(networks: pd.DataFrame) -> pd.DataFrame:
    """Tabulate the searches for the best learning rate by problem and kind of bias, from `lengths`.

    Returns
    -------
    Frame of `problem`, `bias`, `networks`, `fitted` (numbers of networks), `steps` (median of those that fitted), and a
    column for each learning rate that was ever the fastest: how often it was
    """
    one_each = networks.drop_duplicates(["problem", "bias", "seed"])
    groups = one_each.assign(steps=one_each.steps.where(one_each.fitted)).groupby(["problem", "bias"], sort=False)
    table = groups.agg(networks=("seed", "size"), fitted=("fitted", "sum"), steps=("steps", "median"))
    counts = groups.lr.value_counts().unstack("lr", fill_value=0).sort_index(axis=1).rename(columns="{:g}".format)
    return table.join(counts).reset_index()


def effects(networks: pd.DataFrame) -> pd.DataFrame:
    """Compare networks of one seed, one row per seed.

    Returns
    -------
    Frame indexed by `seed`: `random labels/steps`, `stretched inputs/steps`: steps over those with true labels, without
    biases; `…/error`, `…/loss`: differences of their plateaus (α); `bias/steps`, `bias/error`, `bias/loss`: an output
    bias against none, means over problems (geometric of steps); `path/error`: linear against homogeneous path, with an
    output bias; `harder/biased error`: the mean difference of both harder problems from true labels, with one; `bias
    over labels/error`: `bias/error` less `random labels/error`
    """
    kept = networks.assign(steps=np.log(networks.steps.where(networks.fitted)))
    measures = {"steps": "steps", "error": "error_plateau", "loss": "loss_plateau"}
    wide = kept.pivot(index="seed", columns=["form", "problem"], values=list(measures.values()))
    base, *others = PROBLEMS
    found = {}
    for short, measure in measures.items():
        plain, biased = wide[measure][FORMS[0]], wide[measure][FORMS[1]]
        found |= {f"{problem}/{short}": plain[problem] - plain[base] for problem in others}
        found[f"bias/{short}"] = (biased - plain).mean(axis=1, skipna=False)
    biased, homogeneous = (wide["error_plateau"][form] for form in FORMS[1:])
    found["path/error"] = (biased - homogeneous).mean(axis=1, skipna=False)
    found["harder/biased error"] = biased[others].sub(biased[base], axis=0).mean(axis=1, skipna=False)
    found["bias over labels/error"] = found["bias/error"] - found["random labels/error"]
    frame = pd.DataFrame(found)
    return frame.assign(**{name: np.exp(frame[name]) for name in frame if name.endswith("steps")})


def estimates(compared: pd.DataFrame) -> pd.DataFrame:
    """Estimate the mean of every effect with its interval over seeds: `effect`, `mean`, `low`, `high`, `n`."""
    return pd.DataFrame([{"effect": name, **mean_and_interval(compared[name])} for name in compared])


def steps_figure(networks: pd.DataFrame) -> Figure:
    """Plot plateaus against steps, a dot per network and path and a large mark per group's mean.

    Marks of the homogeneous path are open, so that those without a bias are seen through them.
    """
    kept = networks[networks.fitted]
    if nothing_to_draw(kept, "steps", "error_plateau"):
        return empty_figure()
    marks = dict(zip(PROBLEMS, ("o", "s", "^"), strict=True))
    with style():
        figure, panels = plt.subplots(2, 1, figsize=(NARROW, 6), sharex=True, sharey=True, layout="constrained")
        for axes, measure in zip(panels, ("error_plateau", "loss_plateau"), strict=True):
            for form, colour in zip(FORMS, colours(FORMS), strict=True):
                for problem, mark in marks.items():
                    some = kept[(kept.form == form) & (kept.problem == problem)]
                    filled = form != FORMS[2]
                    axes.plot(some.steps, some[measure], mark, color=colour, alpha=0.3, ms=4, mew=0)
                    middle = math.exp(np.log(some.steps).mean()) if len(some) else math.nan
                    look = {"ms": 10, "mec": "white"} if filled else {"ms": 13, "mfc": "none", "mew": 2}
                    axes.plot(middle, some[measure].mean(), mark, color=colour, **look)
            axes.set(xscale="log", ylabel=LABELS[measure])
            axes.set_xticks([], minor=True)
            axes.set_xticks(ticks := _ticks(kept.steps), [f"{tick:g}" for tick in ticks])
        panels[1].set_xlabel("steps at the best learning rate")
        panels[1].set_ylim(bottom=0)  # of both panels, now that both are drawn
        lines = [plt.Line2D([], [], marker="o", ls="", color=c) for c in colours(FORMS)]
        lines[2].set(markerfacecolor="none", markeredgewidth=2)
        shapes = [plt.Line2D([], [], marker=mark, ls="", color="0.5") for mark in marks.values()]
        figure.legend([*lines, *shapes], [*FORMS, *marks], loc="outside upper left", ncol=2)
    return figure


def _ticks(steps: pd.Series) -> list[float]:
    """Return 1, 2 and 5 times powers of ten around these numbers."""
    within = range(math.floor(math.log10(steps.min())), math.ceil(math.log10(steps.max())) + 1)
    ticks = [first * 10.0**power for power in within for first in (1, 2, 5)]
    return [tick for tick in ticks if steps.min() / 2 < tick < 2 * steps.max()]


# ── The linearised network: logits affine in the parameters ───────────────────────────────────────────────────────────

LINEAR_RATES = 2.0 ** np.arange(-2, 9)  # learning rates, in units of samples over the largest eigenvalue of the kernel


def tangent_kernel(model: Network, start: Params, images: torch.Tensor) -> torch.Tensor:
    """Compute the tangent kernel at `start`: products of the logits' gradients, (samples · classes)²."""

    def logits(params: Params, image: torch.Tensor) -> torch.Tensor:
        return model.logits(params, image.unsqueeze(0)).squeeze(0)

    slopes = vmap(jacrev(logits), in_dims=(None, 0))(start, images)  # (samples, classes, *shape) by name
    flat = [value.flatten(2).flatten(0, 1) for value in slopes.values()]
    return torch.stack([value @ value.mT for value in flat]).sum(0)


def train_linearised(config: RunConfig, images: ImageSet) -> tuple[int, float, bool, torch.Tensor, torch.Tensor]:
    """Train the network linearised at θ(0), z(θ) = z(θ(0)) + J (θ − θ(0)), as `train_group` trains the network.

    Batches, momentum and threshold are the config's, the learning rate the fastest of `LINEAR_RATES`. A step of θ moves
    the logits by the tangent kernel's rows of the batch, so θ itself is not needed.

    Returns
    -------
    steps; learning rate; whether the loss reached `stop_loss`; logits (samples, classes) at θ(0) and at the end
    """
    model = build(config)
    start = initialize(model, config)
    kernel = tangent_kernel(model, start, images.images)
    with torch.no_grad():
        first = model.logits(start, images.images)
    n, k = first.shape
    rows, answers = kernel.view(n, k, n * k), torch.nn.functional.one_hot(images.labels, k).float()
    rate = torch.from_numpy(LINEAR_RATES).float().view(-1, 1) * n / torch.linalg.eigvalsh(kernel)[-1]
    logits = first.repeat(len(rate), 1, 1)
    velocity = torch.zeros(len(rate), n * k)
    batches = torch.Generator().manual_seed(stream(config.seed, "batches"))
    each = math.ceil(n / config.batch_size)
    last, due = config.epochs * each, log_steps()
    next_log = next(due)
    for step in range(last + 1):
        if step in (next_log, last):
            next_log = next(due)
            losses = (sum_metrics(logits, images.labels)["loss"] / n).nan_to_num(math.inf)
            reached = losses <= config.stop_loss
            if reached.any() or step == last:
                break
        if step % each == 0:
            order = torch.randperm(n, generator=batches)
        batch = order[step % each * config.batch_size :][: config.batch_size]
        errors = (logits[:, batch].softmax(-1) - answers[batch]) / len(batch)
        velocity = config.momentum * velocity + errors.flatten(1) @ rows[batch].flatten(0, 1)
        logits -= (rate * velocity).view_as(logits)
    best = int(reached.int().argmax() if reached.any() else losses.argmin())
    return step, float(rate[best]), bool(reached[best]), first, logits[best].clone()


def linearised(networks: Mapping, seeds: Sequence[int], n_train: int, alphas: int) -> pd.DataFrame:
    """Train networks with an output bias, and the same networks linearised at θ(0), on the same images; or read them.

    Returns
    -------
    Tidy curves: `dataset`, `network` (network, linearised), `seed`, `lr`, `steps`, `solved`, `alpha`, `loss`, `error`
    """
    parts = []
    for seed in seeds:
        fields = {**networks, "bias": "output", "n_train": n_train, "seed": seed}
        key = {"configs": [asdict(config) for config in grid(**fields)], "points": alphas, "made_by": MADE_BY}
        parts.append(cached_frame("linearised", key, _linearised, "hardness"))
    return pd.concat(parts, ignore_index=True)


def _linearised(configs: list[dict], points: int, made_by: dict) -> pd.DataFrame:
    entered = [RunConfig(**fields) for fields in configs]
    images = archive.of_run(entered[0])[0]
    run = fastest(entered, images)
    fields = {"dataset": run.config.dataset, "seed": run.config.seed}
    of_run = {"network": "network", "lr": run.config.lr, "steps": run.summary["steps"], "solved": solved(run)}
    own = _curve(run, PATHS[0], images, points, {**fields, **of_run})
    with plain_float32():
        steps, rate, done, *ends = train_linearised(entered[0], images)
    alphas = np.linspace(0, 1, points)
    share = torch.from_numpy(alphas).float().view(-1, 1, 1)  # its logits move on a line, too
    found = sum_metrics((1 - share) * ends[0] + share * ends[1], images.labels)
    of_run = {"network": "linearised", "lr": rate, "steps": steps, "solved": done}
    sums = {"loss": found["loss"], "error": found["wrong"].sum(1)}
    measured = {name: (values / len(images)).numpy() for name, values in sums.items()}
    return pd.concat([own, pd.DataFrame({**fields, **of_run, "alpha": alphas, **measured})])


def longest_convex(first: float, last: float, classes: int) -> float:
    """Bound the loss plateau (α) of a convex curve, which lies below its chord: (1 − α) first + α last."""
    return max(0.0, (first - thresholds(classes, 0.1)["loss"]) / (first - last))


def linear_table(curves: pd.DataFrame) -> pd.DataFrame:
    """Tabulate `linearised`, one row per network: its fields, `error_plateau`, `loss_plateau`, `bound`, `bend`.

    Measurements are missing where the network did not reach the threshold. `bound` is `longest_convex` of its ends;
    `bend` the lowest second difference of the loss along the line (nats)
    """
    fields = ["network", "seed", "dataset", "lr", "steps", "solved"]
    keys, arrays = split_curves(curves, fields, ["alpha", "loss", "error"])
    rows = []
    for dataset, of_curve in zip(keys.dataset, arrays, strict=True):
        loss, k = of_curve["loss"], DATASETS[dataset].classes
        bound = longest_convex(loss[0], loss[-1], k)
        rows.append({**plateaus_of(of_curve, k), "bound": bound, "bend": float(np.diff(loss, 2).min())})
    keys = keys.assign(steps=keys.steps.where(keys.solved))
    return keys.join(pd.DataFrame(rows).where(keys.solved)).drop(columns="dataset")


# ── Small problems, solved exactly ────────────────────────────────────────────────────────────────────────────────────

STEP_SIZES = np.geomspace(1e-4, 1e6, 201)  # twenty per decade, in units of `Problem.unit`
SOLVED = 0.01  # threshold, as a fraction of the initial loss
NEAREST = "plateau to the nearest solution"
START = 0.5  # of the one weight


@dataclass(frozen=True)
class Problem:
    """A loss to minimise from a starting point.

    loss, gradient : functions of parameters (…, n) that return (…,) and (…, n); the gradient up to a constant factor,
        since that of a high power at a small weight is no float
    start : initial parameters, (n,)
    """

    name: str
    loss: Callable[[np.ndarray], np.ndarray]
    gradient: Callable[[np.ndarray], np.ndarray]
    start: np.ndarray

    @property
    def unit(self) -> float:
        """The step size at which the first step is as long as `start`."""
        return float(np.linalg.norm(self.start) / np.linalg.norm(self.gradient(self.start)))


@dataclass(frozen=True)
class Solution:
    """Result of the search over constant step sizes.

    steps : steps to the threshold at the best step size; None if none reached it
    step_size : best step size, in units of `Problem.unit`; if none reached the threshold, the largest at which the loss
        never rose
    end : final parameters, (n,)
    """

    steps: int | None
    step_size: float
    end: np.ndarray


def scalar_power(r: int) -> Problem:
    """Return the loss log(1 + exp(−w^r)) of one weight, r layers and one sample; its gradient over r START^(r−1)."""
    return Problem(
        f"one weight, power {r}",
        lambda params: np.logaddexp(0, -_power(params[..., 0], r)),
        lambda params: -np.exp((r - 1) * np.log(params / START) + np.log(expit(-_power(params, r)))),
        np.array([START]),
    )


def _power(values: np.ndarray, r: int) -> np.ndarray:
    """Compute values^r for positive values, at most 700."""
    return np.exp(np.minimum(r * np.log(values), math.log(700)))


def stretched_bowl(condition: float) -> Problem:
    """Return the quadratic ½ Σ λ_i θ_i², λ_i from 1 to 1/condition, with equal initial loss in every direction."""
    curvatures = np.geomspace(1, 1 / condition, 20)
    return Problem(
        f"stretched bowl, condition {condition:g}",
        lambda params: 0.5 * (curvatures * params**2).sum(-1),
        lambda params: curvatures * params,
        1 / np.sqrt(curvatures),
    )


def many_valleys(dimensions: int) -> Problem:
    """Return Rastrigin's function, Σ θ_i² + 10 (1 − cos 2πθ_i), started near a local minimum."""
    return Problem(
        f"many valleys, dimension {dimensions}",
        lambda params: (params**2 + 10 * (1 - np.cos(2 * np.pi * params))).sum(-1),
        lambda params: 2 * params + 20 * np.pi * np.sin(2 * np.pi * params),
        3 + np.random.default_rng(0).uniform(-0.2, 0.2, dimensions),
    )


def solve(problem: Problem, budget: int = 100_000, step_sizes: np.ndarray = STEP_SIZES) -> Solution:
    """Run gradient descent at all constant step sizes at once, until the loss is `SOLVED` times its initial value.

    The fastest step size is the best, the smallest among ties. If none reaches the threshold within `budget` steps, the
    largest at which the loss never rose is returned; InputError if there is none.
    """
    if budget < 1:
        raise InputError(f"budget={budget} is not allowed; allowed: 1 or more")
    first, unit = float(problem.loss(problem.start)), problem.unit
    ends = np.tile(problem.start, (len(step_sizes), 1))
    monotone = np.ones(len(step_sizes), bool)
    running, losses = np.arange(len(step_sizes)), np.full(len(step_sizes), first)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for step in range(1, budget + 1):
            ends[running] -= step_sizes[running, None] * unit * problem.gradient(ends[running])
            now = problem.loss(ends[running])
            if (solved := now <= SOLVED * first).any():
                best = int(running[solved.argmax()])
                return Solution(step, float(step_sizes[best]), ends[best])
            monotone[running] &= now <= losses[running] * (1 + 1e-12)
            losses[running] = now
            settled = np.abs(step_sizes[running, None] * unit * problem.gradient(ends[running])).max(1) < 1e-14
            running = running[np.isfinite(now) & ~settled]
            if not len(running):
                break
    if not monotone.any():
        raise InputError(
            f"no step size from {step_sizes[0]:g} to {step_sizes[-1]:g} lowers the loss; allowed: smaller ones"
        )
    best = int(np.flatnonzero(monotone)[-1])
    return Solution(None, float(step_sizes[best]), ends[best])


def line(problem: Problem, end: np.ndarray, alphas: np.ndarray) -> np.ndarray:
    """Return the loss on the line from the start to `end`, scaled from 1 at the start to 0 at the end, (alphas,)."""
    shares = np.asarray(alphas)[:, None]
    losses = problem.loss((1 - shares) * problem.start + shares * end)
    first, last = problem.loss(np.stack([problem.start, end]))
    return (losses - last) / (first - last)


def exact_plateau(r: int) -> float:
    """Return the α at which a tenth of the loss is lost on the line of `scalar_power` to its nearest solution.

    The loss ℓ is reached at the weight w(ℓ) = (−ln(e^ℓ − 1))^(1/r), which tends to 1 as r grows, for every ℓ < ln 2. So
    α = (w(0.9 first + 0.1 last) − START) / (w(last) − START) tends to 1, from any start in (0, 1).
    """
    first = math.log1p(math.exp(-(START**r)))
    last = SOLVED * first
    leaves, solves = (math.log(1 / math.expm1(loss)) ** (1 / r) for loss in (0.9 * first + 0.1 * last, last))
    return (leaves - START) / (solves - START)


def survey(problems: Sequence[Problem], budget: int, points: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Solve problems and evaluate the loss on their lines.

    Returns
    -------
    table : one row per problem: `steps` (missing if unsolved), `plateau` (α up to which 0.9 of the loss remains)
    lines : tidy rows of `problem`, `alpha`, `to lose` (see `line`)
    """
    alphas = np.linspace(0, 1, points)
    rows, lines = [], []
    for problem in problems:
        found = solve(problem, budget)
        curve = line(problem, found.end, alphas)
        rows.append({"problem": problem.name, "steps": found.steps, "plateau": crossing(alphas, curve, 0.9)})
        lines.append(pd.DataFrame({"problem": problem.name, "alpha": alphas, "to lose": curve}))
    return pd.DataFrame(rows).astype({"steps": "Int64"}), pd.concat(lines, ignore_index=True)


def growth(powers: Sequence[int], budget: int, points: int) -> pd.DataFrame:
    """Return `survey`'s table of `scalar_power`, and beside it the plateau to the nearest solution."""
    table, _ = survey([scalar_power(r) for r in powers], budget, points)
    return table.assign(**{NEAREST: [exact_plateau(r) for r in powers]})


def hardness_figure(lines: pd.DataFrame, table: pd.DataFrame, budget: int) -> Figure:
    """Plot the remaining loss over α, and a dot at the steps to solve each problem; an arrow if never within budget."""
    names, of_names = list(table.problem), colours(table.problem)
    with style():
        figure, (above, below) = plt.subplots(2, 1, figsize=(NARROW, 5), layout="constrained")
        looks = {"hue": "problem", "style": "problem", "palette": of_names, "legend": False}
        sns.lineplot(lines, x="alpha", y="to lose", **looks, ax=above)
        above.set(xlabel=LABELS["alpha"], ylabel="share of the loss still to lose", xlim=(0, 1), ylim=(0, 1.05))
        for place, (steps, colour) in enumerate(zip(table.steps, of_names, strict=True)):
            never = pd.isna(steps)
            at, said = (budget, "never") if never else (steps, str(steps))
            if never:
                below.annotate("", (budget * 8, place), (at, place), arrowprops={"arrowstyle": "->", "color": colour})
            below.plot(at, place, "o", color=colour, ms=8, mfc="white" if never else colour)
            beside = {"xytext": (-8, 0), "ha": "right"} if never else {"xytext": (8, 0)}
            below.annotate(said, (at, place), textcoords="offset points", va="center", **beside)
        below.set(xscale="log", xlim=(0.5, budget * 12), xlabel="steps at the best step size")
        below.set_ylim(len(names) - 0.7, -0.9)
        label_rows(below, names, np.arange(len(names)) - 0.75)
    return figure


# ── What the page says ────────────────────────────────────────────────────────────────────────────────────────────────


def claims(compared: pd.DataFrame, table: pd.DataFrame, grown: pd.DataFrame) -> dict:
    """Return the quantity of each claim of section 02, from `effects`, and the tables of `survey` and `growth`."""
    return {
        "random-labels-are-harder": compared["random labels/steps"],
        "random-labels-leave-the-error-plateau": compared["random labels/error"],
        "random-labels-leave-the-loss-plateau": compared["random labels/loss"],
        "stretched-inputs-are-harder": compared["stretched inputs/steps"],
        "stretched-inputs-leave-the-error-plateau": compared["stretched inputs/error"],
        "bias-moves-the-plateau": compared["bias/error"],
        "bias-leaves-hardness": compared["bias/steps"],
        "bias-moves-the-plateau-more-than-labels": compared["bias over labels/error"],
        "easy-with-a-plateau": grown[NEAREST][grown.steps <= 10].max(),
        "hard-without-a-plateau": table.steps[table.plateau < 0.1].max() / table.steps.min(),
    }


def numbers(
    compared: pd.DataFrame, searched: pd.DataFrame, linear: pd.DataFrame, table: pd.DataFrame, grown: pd.DataFrame
) -> dict:
    """Return the numbers in the text of section 02, from `effects`, `searches`, `linear_table`, `survey` and `growth`.

    Those of an exact problem have names such as `many valleys/steps`, medians of networks such as `random
    labels/none/steps` and `linearised/loss_plateau`.
    """
    straight = linear[linear.network == "linearised"]
    longer = mean_and_interval(compared["harder/biased error"])["low"] > 0
    found = {
        "apart": "so the two are not wholly apart" if longer else "which may be nothing",
        "step_sizes": len(STEP_SIZES),
        "longest": grown[NEAREST].max(),
        "reached": grown.plateau.max(),
        "networks": int(searched.networks.sum()),
        "unfitted": int((searched.networks - searched.fitted).sum()),
        "bound": straight.bound.max(),
        "logged_apart": LOGGED_APART,
    }
    for row in searched.itertuples():
        found[f"{row.problem}/{row.bias}/steps"] = "–" if math.isnan(row.steps) else f"{row.steps:.0f}"
    for network, of_network in linear.groupby("network"):
        medians = of_network[["steps", "loss_plateau"]].median()
        found |= {f"{network}/{name}": float(value) for name, value in medians.items()}
    for row in table.to_dict("records"):
        name = row["problem"].partition(",")[0]
        steps = "never" if pd.isna(row["steps"]) else f"in {row['steps']} step{'s' * (row['steps'] != 1)}"
        found |= {f"{name}/plateau": row["plateau"], f"{name}/steps": steps}
    return found
