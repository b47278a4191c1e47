"""Budgets, orders and predictions on the plateau, on classes and curves made by hand, whose answers can be read off."""

from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

import mli_utils as mli
from mli_utils.runs.budgets import budgets
from mli_utils.runs.budgets import learned as learned_by_design
from mli_utils.runs.measured import class_order
from mli_utils.runs.store import Store
from mli_utils.runs.trained import Run
from mli_utils.sections import class_order as section


def learned(steps, bias, seed):
    """What `class_order` says of one run on three classes."""
    config = asdict(mli.RunConfig(seed=seed))
    told = zip(steps, bias, strict=True)
    return [
        {**config, "run": seed, "label": label, "learned_at": at, "output_bias": b}
        for label, (at, b) in enumerate(told)
    ]


@pytest.fixture
def classes():
    return pd.DataFrame(learned([1.0, 3.0, 5.0], [-1.0, 0.0, 2.0], 0) + learned([4.0, 2.0, 2.0], [1.0, 0.5, -0.5], 1))


@pytest.fixture
def curves():
    """Chance error until α = 0.4. Predicted as: class 1 at 0, then class 2 mostly, then a third each."""
    shares = {0.0: (0.1, 0.9, 0), 0.2: (0, 0.2, 0.8), 0.4: (0, 0, 1.0), 0.6: (1 / 3,) * 3, 1.0: (1 / 3,) * 3}
    rows = [
        {
            **asdict(mli.RunConfig(seed=seed)),
            "path": "linear",
            "alpha": alpha,
            "loss": 1.0,
            "error": 0.9 if alpha <= 0.4 else 0.0,
            "label": label,
            "predicted_share": share,
        }
        for seed in range(2)
        for alpha, of_class in shares.items()
        for label, share in enumerate(of_class)
    ]
    return pd.DataFrame(rows)


def ended(design, seed, bias, pull, ranking, argmax=None, brightness=(1.0, 1.0, 1.0)):
    """What `budgets.learned` says of one run on three classes."""
    return pd.DataFrame(
        {
            "design": design,
            "seed": seed,
            "run": seed,
            "label": range(3),
            "brightness": brightness,
            "pull": pull,
            "intrusions": np.subtract(pull, bias),
            "output_bias": bias,
            "learned_at": ranking if argmax is None else argmax,
            "trusted_at": ranking,
            "separated_at": ranking,
        }
    )


@pytest.fixture
def designs():
    ones = [
        ended("plain", 0, [-1.0, 0.0, 1.0], [1.0, 2.0, 3.0], [1, 2, 3], argmax=[3, 2, 1]),
        ended("plain", 1, [1.0, 0.0, -1.0], [0.0, 2.0, 1.0], [np.nan, 2, np.nan]),
        ended("equal", 0, [-1.0, 0.0, 1.0], [1.0, 2.0, 3.0], [1, 3, 2]),
        ended("dimmed", 0, [-1.0, 0.0, 1.0], [1.0, 2.0, 3.0], [1, 3, 2], brightness=(1.0, 0.8, 0.5)),
    ]
    return pd.concat(ones, ignore_index=True)


def test_a_bias_is_pull_less_intrusions(designs):
    found = section.parts(designs).set_index(["design", "seed"])
    assert found.gap.tolist() == [2, 2, 2, 2]
    assert found.share_of_pull["plain"].tolist() == pytest.approx([1.0, -0.5])  # cov(b, A) / var(b)
    assert found.with_pull["plain", 1] == pytest.approx(-0.5)
    assert np.isnan(found.with_intrusions["plain", 0])  # the same for all classes
    against = section.against_parts(designs)
    sums = against.groupby(["design", "seed", "label"]).agg(logits=("logits", "sum"), bias=("output bias", "first"))
    assert sums.logits.tolist() == pytest.approx(sums.bias.tolist())


def test_the_order_of_learning_by_every_clock(designs):
    found = section.orders(designs).set_index(["design", "clock", "seed"])
    assert found.bias_order["plain", "ranking", 0] == 1 and found.bias_order["plain", "argmax", 0] == -1
    assert found.last_is_largest["plain", "argmax", 0] == 0
    # classes 0 and 2 are never learned: last both, and one of them has the largest bias
    assert found.last_is_largest["plain", "ranking", 1] == 0.5 and found.bias_order["plain", "ranking", 1] == 0
    assert found.bias_order["dimmed", "brightness", 0] == 1 and found.last_is_dimmest["dimmed", "brightness", 0] == 1
    assert found.last_is_dimmest["dimmed", "ranking", 0] == 0
    assert "brightness" not in found.loc["plain"].index.get_level_values("clock")
    assert section.in_places(designs).place[3:6].tolist() == [2.5, 1, 2.5]


def test_estimates_have_a_row_a_measure_and_stay_in_their_range(designs):
    found = section.estimates(designs).set_index(["design", "clock", "measure"])
    tops = found.xs("last_is_largest", level="measure")
    assert ((tops.low.dropna() >= 0) & (tops.high.dropna() <= 1)).all()
    assert found.loc[("plain", "budget", "gap"), "n"] == 2


def test_identity_is_everything_where_all_networks_agree_and_nothing_where_biases_are_drawn():
    agreed = pd.concat([ended("plain", seed, [-1.0, 0.0, 1.0], [0.0] * 3, [1, 2, 3]) for seed in range(5)])
    assert section.identity_share(agreed).tolist() == pytest.approx([1.0] * 5)
    draws = np.random.default_rng(0).normal(size=(200, 3))
    drawn = pd.concat([ended("plain", seed, bias, [0.0] * 3, [1, 2, 3]) for seed, bias in enumerate(draws)])
    assert abs(section.identity_share(drawn).mean()) < 0.05
    half = drawn.assign(output_bias=drawn.output_bias + np.tile(np.array([-1.0, 0, 1]) * np.sqrt(1.0), 200))
    # class means vary by 1 (two degrees of freedom), networks by 1 around them
    assert section.identity_share(half).mean() == pytest.approx(0.5, abs=0.1)


def test_one_network_has_a_line_a_class_and_a_dot_where_it_was_learned(designs):
    steps = pd.concat([designs.assign(step=step, output_bias=designs.output_bias * step / 3) for step in range(4)])
    figure = section.course_figure(steps[steps.design == "plain"], designs)
    assert [text.get_text() for text in figure.axes[0].texts] == ["0", "1", "2"]
    assert len(figure.axes[0].lines) == 6
    section.course_figure(steps[:0], designs[:0])


def test_ended_networks_stay_as_they_ended():
    rows = [
        {"run": run, "step": step, "brightness": 1.0, "pull": value, "intrusions": 0.0, "output_bias": value}
        for run, values in enumerate(([0.0, 1.0], [0.0, 2.0, 3.0]))
        for step, value in enumerate(values)
    ]
    course = section.through_training(pd.DataFrame(rows))
    assert course[course.part == "bias"].sort_values("step").logits.tolist() == [0, 1.5, 2]


def test_predictions_on_the_plateau(classes, curves):
    found = section.plateau_predictions(classes, curves)
    assert found.largest.tolist() == [2, 0] and found.guess.tolist() == [1, 1]
    assert found.as_largest.tolist() == pytest.approx([0.9, 0.0])  # means over α = 0.2 and 0.4
    assert found.as_guess.tolist() == pytest.approx([0.1, 0.1])
    early = curves.assign(error=np.where(curves.alpha > 0, 0.0, 0.9))
    assert section.plateau_predictions(classes, early).as_largest.isna().all()


def test_shares_along_the_line(classes, curves):
    shares = section.predicted_as(classes, curves)
    of_first = shares[(shares.run == 0) & (shares["class"] == "the largest bias")]
    assert of_first.share.tolist() == pytest.approx([0, 0.8, 1.0, 1 / 3, 1 / 3])
    assert len(shares) == 2 * 3 * 5
    figure = section.share_figure(shares, chance=0.1)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(section.KINDS.values())


def test_claims_compare_the_bias_with_the_order_and_the_guess(classes, curves, designs):
    found = section.measured(section.of_designs(designs), classes, curves, tolerance=0.1)
    assert found["later-learned-more-biased"].to_dict() == {0: 1, 1: 0}
    assert found["argmax-hides-the-order"][0] == 2
    assert found["dimmest-class-has-the-largest-bias"].tolist() == [1]
    assert found["bias-beats-the-first-guess"].tolist() == pytest.approx([0.8, -0.1])
    assert all(values.index.name == "seed" for values in found.values())


def test_numbers_of_the_text(classes, curves, designs):
    summary = {"status": "fitted", "class_counts": [4, 5, 4]}
    biases = [[-1.0, 0.0, 1.0], [1.0, 0.0, -1.25]]
    runs = [
        Run(mli.RunConfig(seed=seed), {"summary": {**summary, "output_bias": bias}}, Store("nowhere"))
        for seed, bias in enumerate(biases)
    ]
    found = section.numbers(runs, classes, section.plateau_predictions(classes, curves), designs)
    compared = section.recomputed(runs, designs[designs.design == "plain"])
    assert compared.deviation.max() == 0.25 and 0 < 1 - compared.correlation.min() < 0.01
    assert found["deviation"] == "2 · 10⁻¹" and found["decorrelation"].endswith(" · 10⁻³")
    assert found["never_ranked"] == 2
    assert found["largest_is_guess"] == 0 and found["with_plateau"] == 2 and found["dimmed_networks"] == 1
    assert found["as_largest"] == pytest.approx(45) and found["members"] == "4 to 5" and found["fitted_runs"] == 2


def test_where_no_run_fitted_nothing_is_measured():
    classes, designs = class_order([]), learned_by_design(budgets([]))
    curves = mli.interpolate([], "linear", 3, by_class=True)
    assert all(
        not len(values) for values in section.measured(section.of_designs(designs), classes, curves, 0.1).values()
    )
    assert section.estimates(designs).empty
    section.share_figure(section.predicted_as(classes, curves), chance=0.1)
