"""Order, bias and predictions on networks and curves made by hand, whose answers can be read off."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

import mli_utils as mli
from mli_utils import metrics, order
from mli_utils.config import InputError
from mli_utils.store import Store
from mli_utils.sweep import Run


def made(learned, bias, seed=0):
    """A run on three classes of digits whose class errors fall below one half at the steps given."""
    steps = np.arange(6)
    errors = {f"class_error_{c}": np.where(steps >= learned[c], 0.0, 1.0) for c in range(3)}
    history = pd.DataFrame({"step": steps, "loss": 1.0, "error": 1.0, **errors})
    summary = {"status": "fitted", "output_bias": bias, "class_counts": [1, 1, 1]}
    return Run(mli.RunConfig(seed=seed), history, summary, {}, Store("nowhere"))


@pytest.fixture
def runs():
    return [made([1, 3, 5], [-1.0, 0.0, 2.0]), made([4, 2, 2], [1.0, 0.5, -0.5], seed=1)]


def test_places_and_centred_biases(runs):
    classes = mli.class_order(runs)
    assert classes.learned_at.tolist() == [1, 3, 5, 4, 2, 2]
    assert classes.place.tolist() == [1, 2, 3, 3, 1.5, 1.5]  # a tie shares its places
    assert classes.centred_bias[:3].tolist() == pytest.approx([-4 / 3, -1 / 3, 5 / 3])


def test_correlations_are_kendall_s(runs):
    taus = mli.order_correlations(mli.class_order([*runs, made([5, 3, 1], [-1.0, 0.0, 2.0], seed=2)]))
    assert taus[0] == pytest.approx(1) and taus[2] == pytest.approx(-1)
    assert taus[1] == pytest.approx(2 / np.sqrt(3 * 2))  # two of three pairs agree, one is tied in the step


def test_a_class_never_learned_is_left_out_of_the_correlation_and_comes_last(runs):
    run = made([1, 3, 99], [-1.0, 0.0, -2.0])
    classes = mli.class_order([run])
    assert np.isnan(classes.place[2]) and mli.order_correlations(classes)[0] == pytest.approx(1)
    assert order._last(classes) == 2


def test_a_run_without_output_bias_is_refused(runs):
    with pytest.raises(InputError, match="has no output bias; allowed here: bias 'output' or 'all'"):
        mli.class_order([replace(runs[0], summary={**runs[0].summary, "output_bias": None})])


@pytest.fixture
def curves(runs):
    """Chance error until α = 0.4. Predicted as: class 1 at 0, then class 2 mostly, then a third each."""
    shares = {0.0: (0.1, 0.9, 0), 0.2: (0, 0.2, 0.8), 0.4: (0, 0, 1.0), 0.6: (1 / 3,) * 3, 1.0: (1 / 3,) * 3}
    rows = [
        {
            **{name: getattr(run.config, name) for name in metrics.FIELDS},
            "path": "linear",
            "alpha": alpha,
            "loss": 1.0,
            "error": 0.9 if alpha <= 0.4 else 0.0,
            "label": label,
            "predicted_share": share,
        }
        for run in runs
        for alpha, of_class in shares.items()
        for label, share in enumerate(of_class)
    ]
    return pd.DataFrame(rows)


def test_predictions_on_the_plateau(runs, curves):
    found = mli.plateau_predictions(mli.class_order(runs), curves)
    assert found.largest.tolist() == [2, 0] and found.guess.tolist() == [1, 1] and found["last"].tolist() == [2, 0]
    assert found.as_largest.tolist() == pytest.approx([0.9, 0.0])  # means over α = 0.2 and 0.4
    assert found.as_guess.tolist() == pytest.approx([0.1, 0.1])
    early = curves.assign(error=np.where(curves.alpha > 0, 0.0, 0.9))
    assert mli.plateau_predictions(mli.class_order(runs), early).as_largest.isna().all()


def test_shares_along_the_line(runs, curves):
    classes = mli.class_order(runs)
    shares = mli.predicted_as(mli.plateau_predictions(classes, curves), classes, curves)
    of_first = shares[(shares.run == 0) & (shares["class"] == "the largest bias")]
    assert of_first.share.tolist() == pytest.approx([0, 0.8, 1.0, 1 / 3, 1 / 3])
    assert len(shares) == 2 * 3 * 5


def test_figures_of_order_and_shares(runs, curves):
    classes = mli.class_order(runs)
    assert len(mli.order_figure(classes).axes) == 1
    shares = mli.predicted_as(mli.plateau_predictions(classes, curves), classes, curves)
    assert len(mli.share_figure(shares, chance=0.1).axes[0].get_legend().get_texts()) == 3
    plt.close("all")


def test_every_run_has_one_value_at_every_place(runs):
    classes = mli.class_order(runs)
    figure = mli.order_figure(classes)
    places, means = figure.axes[0].containers[0].lines[0].get_data()
    plt.close(figure)
    assert list(places) == [1, 2, 3]
    # the second run's first two places are one step, whose biases 0.5 and −0.5 have the mean 0, 1/3 of it centred away
    assert means == pytest.approx([(-4 / 3 - 1 / 3) / 2, (-1 / 3 - 1 / 3) / 2, (5 / 3 + 2 / 3) / 2])
