"""Budgets of output biases through training, on images as they are, of equal norm, or dimmed by class (section 07).

A budget needs every step of training, so runs are trained, many at once, beside a `training.Budget`. On their own
images they are the runs that `train` returns, and stored as such.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from mli_utils.core import training
from mli_utils.core.config import DATASETS, InputError, RunConfig, choose
from mli_utils.core.data import ImageSet
from mli_utils.core.networks import FCN
from mli_utils.core.plateaus import stays_from
from mli_utils.core.versions import VERSIONS
from mli_utils.runs import images, parallel, provenance, settings
from mli_utils.runs.files import address, without_nan
from mli_utils.runs.store import Store
from mli_utils.runs.trained import Arrays, entry_of, progress, refuse_in_book, run_key, split_groups, tidy_frame

BRIGHTNESS = (1.0, 0.8, 0.64, 0.5)  # of the classes of a dimmed set
AT_STEPS = ("pull", "intrusions", "auc", "probability", "class_error")

# The step from which a class counts as learned: measure, and whether it is good from then on, on the logged images.
CLOCKS: dict[str, tuple[str, Callable]] = {
    "learned_at": ("class_error", lambda values: values < 0.5),
    "trusted_at": ("probability", lambda values: values > 0.5),
    "separated_at": ("auc", lambda values: values > 0.9),
}


def equal_norms(given: ImageSet) -> ImageSet:
    """Scale every image to the mean norm of all."""
    norms = given.images.flatten(1).norm(dim=1)
    scale = norms.mean() / norms.clamp(min=1e-12)
    return replace(given, images=given.images * scale.view(-1, 1, 1, 1))


def brightness(seed: int) -> np.ndarray:
    """Return the brightness of each class, (4,): `BRIGHTNESS`, turned by the seed.

    Four seeds in a row give every class every brightness once, so that brightness has nothing to do with identity.
    """
    return np.roll(BRIGHTNESS, seed % len(BRIGHTNESS))


def dimmed(given: ImageSet, seed: int) -> ImageSet:
    """Return the images of the first four classes, all of equal norm, then dimmed by the class's `brightness`."""
    factors = torch.tensor(brightness(seed), dtype=torch.float32)
    kept = equal_norms(given[given.labels < len(factors)])
    scaled = kept.images * factors[kept.labels].view(-1, 1, 1, 1)
    return replace(kept, images=scaled, classes=given.classes[: len(factors)])


# A run, the body of its budget, and the run's own body and arrays where it was trained on its own images.
Budgeted = tuple[RunConfig, dict, tuple[dict, Arrays] | None]


# What a run's training set becomes, by its seed.
DESIGNS: dict[str, Callable[[ImageSet, int], ImageSet]] = {
    "plain": lambda given, seed: given,
    "equal": lambda given, seed: equal_norms(given),
    "dimmed": dimmed,
}


def budgets(configs: Iterable[RunConfig], design: str = "plain") -> pd.DataFrame:
    """Return how the output biases of runs came about, step by step, from the store or else by training.

    Parameters
    ----------
    configs : runs with an output bias, trained by SGD
    design : `plain`; `equal`, every image scaled to the mean norm; `dimmed`, four classes of equal norm, dimmed
        by `BRIGHTNESS` in an order that the seed turns (`fcn` only)

    Returns
    -------
    pandas.DataFrame
        One row per run, logged step and class: the runs' fields, `status`, `design`, `run` (index in `configs`),
        `step`, `label`, `brightness` (1 unless dimmed), `pull` and `intrusions` (logits; `training.Budget`),
        `output_bias`, their difference, and on the first training images `auc`, `probability` (`training.Budget`) and
        `class_error`.

    Raises
    ------
    InputError
        An unknown design, or one that the network does not allow; no output bias; another optimizer.
    NotInRecord
        A budget is missing while the book is rendered from the record.
    """
    choose("design", design, DESIGNS)
    configs = list(configs)
    for config in configs:
        if design == "dimmed" and (config.model, config.normalization) != ("fcn", "none"):
            raise InputError(
                f"design {design!r} is not allowed for {config}; allowed: model 'fcn' without normalization"
            )
    store = Store.default()
    bodies: dict[RunConfig, Any] = {config: store.get("budgets", _key(config, design)) for config in configs}
    if missing := [config for config in bodies if bodies[config] is None]:
        for config, body, own in _compute(list(bodies), missing, design):
            if own and store.arrays("runs", run_key(config)) is None:
                store.put("runs", run_key(config), *own)
            store.put("budgets", _key(config, design), body)
            bodies[config] = body
    parts = []
    for run, config in enumerate(configs):
        body = bodies[config]
        values = {name: np.array(body[name], float) for name in AT_STEPS}
        steps, classes = values["pull"].shape
        columns = {
            "step": np.repeat(body["step"], classes),
            "label": np.tile(np.arange(classes), steps),
            "brightness": np.tile(brightness(config.seed) if design == "dimmed" else np.ones(classes), steps),
            **{name: value.ravel() for name, value in values.items()},
        }
        columns["output_bias"] = columns["pull"] - columns["intrusions"]
        parts.append(({**asdict(config), "status": body["status"], "design": design, "run": run}, columns))
    return tidy_frame(parts, "design", "run", "step", "label", "brightness", *AT_STEPS, "output_bias")


def learned(frame: pd.DataFrame) -> pd.DataFrame:
    """Summarize `budgets` at the end of training: one row per run and class.

    Returns
    -------
    The runs' fields, `status`, `design`, `run`, `label`, `brightness`; `pull`, `intrusions` and `output_bias` at the
    end; and the logged step from which a class counts as learned by three clocks, NaN if never: `learned_at`, its error
    stays under one half; `trusted_at`, its mean probability on its own images stays above one half; both depend on the
    biases themselves, but not `separated_at`: its `auc` stays above 0.9.
    """
    by_class = frame.sort_values(["run", "label", "step"]).groupby(["run", "label"], sort=False)
    rows = by_class.tail(1).drop(columns=["step", "auc", "probability", "class_error"])
    for clock, (measure, good) in CLOCKS.items():
        steps = [stays_from(one.step, good(one[measure])) for _, one in by_class]
        rows = rows.assign(**{clock: np.array(steps, float)})
    return rows.reset_index(drop=True)


def _key(config: RunConfig, design: str) -> dict:
    return {"run": address(run_key(config)), "design": design, "versions": {"budgets": VERSIONS["budgets"]}}


def _compute(asked: Sequence[RunConfig], missing: Sequence[RunConfig], design: str) -> Iterator[Budgeted]:
    """Train the missing runs in the groups of all that were asked for."""
    refuse_in_book(f"the budget ({design}) of {missing[0]}")
    turns = len(BRIGHTNESS) if design == "dimmed" else 1  # seeds in a row that have different images
    with (
        parallel.workers(config.dataset for config in missing) as workers,
        progress(sum(config.epochs for config in missing), f"budgets of {len(missing)} runs", "epoch") as bar,
    ):
        for turn in range(turns):
            together_, left = ([config for config in some if config.seed % turns == turn] for some in (asked, missing))
            tasks = [(group[0], (group, design)) for group in split_groups(together_, left, workers)]
            yield from workers.each(budgets_here, tasks, bar.update)


def budgets_here(
    configs: Sequence[RunConfig], design: str, advance: Callable[[int], Any] = lambda epochs: None
) -> Iterator[Budgeted]:
    """Train runs of one shape and one set of images on this process's device."""
    device = settings.device()
    made = provenance.stamp(provenance.device_name(device))
    own = images.of_run(configs[0])
    training_set = DESIGNS[design](own[0], configs[0].seed)
    of_the_run = training_set is own[0]
    sets = own if of_the_run else (training_set, training_set)
    budget = training.Budget(configs)
    model = _network(configs[0]) if design == "dimmed" else None
    for run in training.train_group(configs, *sets, device, advance, watch=budget, model=model):
        errors = run.history.filter(like="class_error_").to_numpy()
        rows = {name: [row[name] for row in budget.logged[run.config]] for name in ("step", *AT_STEPS[:-1])}
        body = {"step": rows.pop("step"), **{name: _rounded(values) for name, values in rows.items()}}
        body |= {"class_error": _rounded(errors), "status": run.summary["status"]}
        stamped = {**without_nan(body), "provenance": {**made, "date": provenance.now()}}
        yield run.config, stamped, entry_of(run, made) if of_the_run else None


def _network(config: RunConfig) -> FCN:
    """Return the run's network for the classes of a dimmed set."""
    return FCN(math.prod(DATASETS[config.dataset].shape), len(BRIGHTNESS), config.depth, config.width, config.bias)


def _rounded(values: Iterable[Iterable[float]]) -> list[list[float]]:
    """Round to seven digits."""
    return [[float(f"{value:.7g}") for value in row] for row in values]
