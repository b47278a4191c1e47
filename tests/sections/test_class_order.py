"""Predictions on the plateau, on classes and curves made by hand, whose answers can be read off."""

from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

import mli_utils as mli
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


def test_a_row_a_run(classes):
    found = section.summarize(classes)
    assert found[["first_learned", "last_learned"]].to_numpy().tolist() == [[1, 5], [2, 4]]
    assert found.gap.tolist() == [3, 1.5] and found.τ[0] == pytest.approx(1)


def test_predictions_on_the_plateau(classes, curves):
    found = section.plateau_predictions(classes, curves)
    assert found.largest.tolist() == [2, 0] and found.guess.tolist() == [1, 1] and found["last"].tolist() == [2, 0]
    assert found.as_largest.tolist() == pytest.approx([0.9, 0.0])  # means over α = 0.2 and 0.4
    assert found.as_guess.tolist() == pytest.approx([0.1, 0.1])
    early = curves.assign(error=np.where(curves.alpha > 0, 0.0, 0.9))
    assert section.plateau_predictions(classes, early).as_largest.isna().all()


def test_a_class_never_learned_comes_last(classes, curves):
    never = classes.assign(learned_at=classes.learned_at.where(classes.label > 0))
    assert section.plateau_predictions(never, curves)["last"].tolist() == [0, 0]


def test_shares_along_the_line(classes, curves):
    shares = section.predicted_as(classes, curves)
    of_first = shares[(shares.run == 0) & (shares["class"] == "the largest bias")]
    assert of_first.share.tolist() == pytest.approx([0, 0.8, 1.0, 1 / 3, 1 / 3])
    assert len(shares) == 2 * 3 * 5
    figure = section.share_figure(shares, chance=0.1)
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == list(section.KINDS.values())
    plt.close(figure)


def test_claims_compare_the_bias_with_the_order_and_the_guess(classes, curves):
    found = section.measured(classes, curves, tolerance=0.1)
    assert found["biases-differ-on-balanced-data"].tolist() == [3, 1.5]
    assert found["last-learned-has-the-largest-bias"].tolist() == [True, True]
    assert found["bias-beats-the-first-guess"].tolist() == pytest.approx([0.8, -0.1])
    assert found["later-learned-more-biased"]["n"] == 2


def test_numbers_of_the_text(classes, curves):
    summary = {"status": "fitted", "class_counts": [4, 5, 4]}
    runs = [Run(mli.RunConfig(), {"summary": {**summary, "output_bias": [0.0]}}, Store("nowhere"))] * 2
    found = section.numbers(runs, classes, section.plateau_predictions(classes, curves))
    assert found["last_is_largest"] == 2 and found["largest_is_guess"] == 0 and found["with_plateau"] == 2
    assert found["as_largest"] == pytest.approx(45) and found["members"] == "4 to 5" and found["fitted_runs"] == 2


def test_where_no_run_fitted_nothing_is_measured():
    classes = class_order([])
    curves = mli.interpolate([], "linear", 3, by_class=True)
    assert section.summarize(classes).empty
    assert all(not len(values) or values["n"] == 0 for values in section.measured(classes, curves, 0.1).values())
    plt.close(section.share_figure(section.predicted_as(classes, curves), chance=0.1))
