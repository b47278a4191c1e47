"""When classes were learned and with which bias they ended, on networks made by hand."""

import numpy as np
import pytest

import mli_utils as mli
from mli_utils.figures.kinds import order_figure
from mli_utils.runs.measured import class_order, order_correlations
from mli_utils.runs.store import Store
from mli_utils.runs.trained import Run


def made(learned, bias, seed=0):
    """A run on three classes of digits whose class errors fall below one half at the steps given."""
    steps = np.arange(6)
    errors = np.where(steps[:, None] >= learned, 0.0, 1.0).tolist()
    history = {"step": steps.tolist(), "loss": [1.0] * 6, "error": [1.0] * 6, "class_error": errors}
    summary = {"status": "fitted", "output_bias": bias, "class_counts": [1, 1, 1]}
    return Run(mli.RunConfig(seed=seed), {"history": history, "summary": summary}, Store("nowhere"))


@pytest.fixture
def runs():
    return [made([1, 3, 5], [-1.0, 0.0, 2.0]), made([4, 2, 2], [1.0, 0.5, -0.5], seed=1)]


def test_places_and_centred_biases(runs):
    classes = class_order(runs)
    assert classes.learned_at.tolist() == [1, 3, 5, 4, 2, 2]
    assert classes.place.tolist() == [1, 2, 3, 3, 1.5, 1.5]  # a tie shares its places
    assert classes.centred_bias[:3].tolist() == pytest.approx([-4 / 3, -1 / 3, 5 / 3])


def test_correlations_are_kendall_s(runs):
    taus = order_correlations(class_order([*runs, made([5, 3, 1], [-1.0, 0.0, 2.0], seed=2)]))
    assert taus[0] == pytest.approx(1) and taus[2] == pytest.approx(-1)
    assert taus[1] == pytest.approx(2 / np.sqrt(3 * 2))  # two of three pairs agree, one is tied in the step


def test_a_class_never_learned_has_no_place_and_is_left_out_of_the_correlation():
    classes = class_order([made([1, 3, 99], [-1.0, 0.0, -2.0])])
    assert np.isnan(classes.place[2]) and order_correlations(classes)[0] == pytest.approx(1)


def test_of_no_run_there_is_no_correlation():
    assert class_order([]).empty and order_correlations(class_order([])).empty


def test_a_run_without_output_bias_is_refused():
    with pytest.raises(mli.InputError, match="has no output bias; allowed here: bias 'output' or 'all'"):
        class_order([made([1, 3, 5], None)])


def test_every_run_has_one_value_at_every_place(runs):
    figure = order_figure(class_order(runs))
    places, means = figure.axes[0].containers[0].lines[0].get_data()
    assert list(places) == [1, 2, 3]
    # the second run's first two places are one step, whose biases 0.5 and −0.5 have the mean 0, 1/3 of it centred away
    assert means == pytest.approx([(-4 / 3 - 1 / 3) / 2, (-1 / 3 - 1 / 3) / 2, (5 / 3 + 2 / 3) / 2])
