import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mli_utils as mli
from mli_utils.core import plateaus
from mli_utils.core.config import FIELDS, InputError

values = st.lists(st.floats(0, 1), min_size=2, max_size=12)


@given(values, st.floats(0, 1))
def test_crossing_is_where_a_fine_walk_first_falls_below(curve, threshold):
    alphas = np.linspace(0, 1, len(curve))
    end = plateaus.crossing(alphas, curve, threshold)
    before = np.linspace(0, max(end - 1e-6, 0), 200)
    if end > 0:
        assert (np.interp(before, alphas, curve) >= threshold - 1e-9).all()
    if end < 1:
        just_after = np.append(np.linspace(end, 1, 20_001), alphas[alphas > end])  # a dip may be narrower than a step
        assert np.interp(just_after, alphas, curve).min() < threshold


def test_crossing_by_hand():
    assert plateaus.crossing([0, 0.5, 1], [1.0, 1.0, 0.0], 0.5) == 0.75
    assert plateaus.crossing([0, 0.5, 1], [0.4, 1.0, 1.0], 0.5) == 0
    assert plateaus.crossing([0, 0.5, 1], [1.0, 1.0, 1.0], 0.5) == 1
    assert math.isnan(plateaus.crossing([0, 1], [1.0, math.nan], 0.5))


@given(values, st.floats(0, 1))
def test_for_good_is_the_first_crossing_of_the_curve_walked_backwards(curve, threshold):
    alphas = np.linspace(0, 1, len(curve))
    found = plateaus.last_crossing(alphas, curve, threshold)
    if max(curve) < threshold:
        assert found == 0
    else:
        assert (
            np.interp(found, alphas, curve) == pytest.approx(threshold, abs=1e-9)
            or found == 1
            or (np.interp(found, alphas, curve) >= threshold - 1e-9)
        )
        assert (np.array(curve)[alphas > found + 1e-12] < threshold).all()


def test_last_crossing_by_hand():
    assert plateaus.last_crossing([0, 0.5, 1], [1.0, 1.0, 0.0], 0.5) == 0.75
    assert plateaus.last_crossing([0, 0.5, 1], [0.4, 1.0, 0.0], 0.5) == 0.75
    assert plateaus.last_crossing([0, 0.5, 1], [0.4, 0.4, 0.0], 0.5) == 0
    assert plateaus.last_crossing([0, 0.5, 1], [0.0, 0.0, 1.0], 0.5) == 1
    assert math.isnan(plateaus.last_crossing([0, 1], [1.0, math.nan], 0.5))


@given(values)
def test_monotonicity_gap_is_the_largest_rise(curve):
    rises = [late - early for i, early in enumerate(curve) for late in curve[i:]]
    assert plateaus.monotonicity_gap(curve) == max(rises)


def frame(loss, error, **fields):
    config = {**{name: getattr(mli.RunConfig(), name) for name in FIELDS}, **fields}
    return pd.DataFrame(
        {**config, "path": "linear", "alpha": np.linspace(0, 1, len(loss)), "loss": loss, "error": error}
    )


def test_plateau_knows_chance_from_the_dataset():
    ln10, ln100 = math.log(10), math.log(100)
    ten = frame([ln10, ln10, 0], [0.9, 0.9, 0])
    hundred = frame([ln100, ln100, 0], [0.99, 0.99, 0], dataset="cifar100")
    lengths = mli.plateau(pd.concat([ten, hundred]))
    assert lengths.error_plateau.to_numpy() == pytest.approx([0.55, 0.55])
    assert lengths.loss_plateau.to_numpy() == pytest.approx([0.55, 0.55])
    assert mli.plateau(ten, tolerance=0.2).error_plateau.item() == pytest.approx(0.6)
    assert mli.plateau(ten.sample(frac=1, random_state=0)).equals(mli.plateau(ten))


def test_plateau_refuses_what_it_cannot_measure():
    with pytest.raises(InputError, match="curves: no column loss; the frame has"):
        mli.plateau(frame([1, 0], [1, 0]).drop(columns="loss"))
    for tolerance in (1, "0.1", float("nan")):
        with pytest.raises(InputError, match=f"tolerance={tolerance!r} is not allowed"):
            mli.plateau(frame([1, 0], [1, 0]), tolerance=tolerance)


def test_learned_at_is_the_first_step_from_which_a_class_stays_learned():
    history = pd.DataFrame(
        {
            "step": [0, 1, 2, 5],
            "class_error_0": [0.9, 0.4, 0.6, 0.1],  # learned at 1, lost, learned for good at 5
            "class_error_1": [0.4, 0.4, 0.4, 0.4],
            "class_error_2": [0.9, 0.9, 0.9, 0.5],
        }
    )
    steps = plateaus.learned_at(history)
    assert steps[0] == 5 and steps[1] == 0 and math.isnan(steps[2])


def test_only_fitted_blanks_what_was_measured_and_keeps_the_rows():
    frame = pd.DataFrame({"status": ["fitted", "unfitted"], "seed": [0, 1], "alpha": [0.5, 0.5], "loss": [1.0, 2.0]})
    kept = plateaus.only_fitted(frame)
    assert kept.seed.tolist() == [0, 1] and kept.alpha.tolist() == [0.5, 0.5]
    assert kept.loss[0] == 1.0 and np.isnan(kept.loss[1]) and frame.loss[1] == 2.0


def two_curves(**columns):
    """Two curves, told apart by these columns."""
    frames = [
        pd.DataFrame({"path": "linear", "alpha": [0, 0.5, 1], "error": error, "loss": error}).assign(
            **{name: values[i] for name, values in columns.items()}
        )
        for i, error in enumerate(([0.9, 0.9, 0.0], [0.9, 0.0, 0.0]))
    ]
    return pd.concat(frames, ignore_index=True)


def test_curves_that_nothing_tells_apart_are_refused_not_merged():
    assert len(mli.plateau(two_curves(classes=[10, 10], change=["a", "b"]))) == 2
    with pytest.raises(InputError, match="curves repeat points of α; allowed: once each"):
        mli.plateau(two_curves(classes=[10, 10], dose=[1.0, 2.0]))


def test_curves_of_runs_and_of_one_s_own_network_side_by_side():
    found = mli.plateau(two_curves(classes=[np.nan, 10], dataset=["digits", None]))
    assert found.error_plateau.tolist() == pytest.approx([0.55, 0.05])
