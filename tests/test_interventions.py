import math

import numpy as np
import pandas as pd
import pytest
import torch

import mli_utils as mli
from mli_utils import interpolation, interventions, models
from mli_utils.interventions import Bias

FIELDS = dict(depth=3, width=16, init_scale=1.0, lr=0.1, n_train=100, epochs=60)


@pytest.fixture
def runs():
    return mli.train(mli.grid(**FIELDS, bias="output", seed=range(3)))


def test_the_trained_bias_gives_the_line_itself(runs):
    curves = mli.biased_curves(runs, mli.changed_biases(runs), 11)
    line = mli.interpolate(runs, "linear", 11)
    trained = curves[curves.path == "as trained"]
    np.testing.assert_allclose(trained.loss, line.loss, rtol=1e-5)
    np.testing.assert_array_equal(trained.error, line.error)
    centred = curves[curves.path == "centred"]
    np.testing.assert_allclose(centred.loss, line.loss, rtol=1e-5)
    assert set(curves.path) == {"as trained", "zeroed", "centred", "permuted", "swapped"}
    assert curves.as_largest.between(0, 1).all()


def test_a_power_of_the_depth_is_the_homogeneous_path(runs):
    ramps = [{"p": Bias(tuple(mli.trained_bias(run)), 3.0)} for run in runs]
    ramped, path = mli.biased_curves(runs, ramps, 11), mli.interpolate(runs, "homogeneous", 11)
    np.testing.assert_allclose(ramped.loss, path.loss, rtol=1e-5)


def test_changes_do_what_they_are_called(runs):
    for i, (run, changed) in enumerate(zip(runs, mli.changed_biases(runs), strict=True)):
        bias = mli.trained_bias(run)
        values = {name: np.array(given.values) for name, given in changed.items()}
        assert not values["zeroed"].any() and abs(values["centred"].sum()) < 1e-9
        assert sorted(values["permuted"]) == sorted(bias) and values["permuted"].argmax() != bias.argmax()
        np.testing.assert_array_equal(values["swapped"], mli.trained_bias(runs[(i + 1) % 3]))


def test_from_the_origin_one_pass_is_exact_and_without_overlap_both_predictions_are_one():
    runs = mli.train(mli.grid(**FIELDS, bias="none", seed=range(3)))
    given = [{"2": interventions.dose(run, 2.0)} for run in runs]
    measured = mli.biased_curves(runs, given, 21, start="zero")
    predicted = interventions.predicted_curves(runs, given, 21)
    np.testing.assert_allclose(measured.loss, predicted.loss, rtol=1e-4)
    overlap = interventions.predicted_curves(runs, given, 21, kind="overlap")
    assert (overlap.loss[overlap.alpha == 1].to_numpy() == predicted.loss[predicted.alpha == 1].to_numpy()).all()
    assert overlap[overlap.alpha == 0.5].loss.mean() < predicted[predicted.alpha == 0.5].loss.mean()
    ends = interventions.predicted_ends(predicted).end.to_numpy()
    lengths = mli.plateau(measured).error_plateau.to_numpy()
    np.testing.assert_allclose(ends, lengths, atol=1e-6)
    responses = mli.dose_responses(mli.dose_curves(runs, [1.0, 4.0], 21))
    assert len(responses) == 6 and (responses.measured[responses.gap == 4] >= 0).all()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda runs: mli.changed_biases(runs, ["zerod"]), "'zerod' .did you mean 'zeroed'.*as trained, zeroed"),
        (lambda runs: mli.biased_curves(runs, [{"b": Bias((1.0,))}] * 3), "bias 'b' has 1 values; allowed: 10"),
        (lambda runs: mli.biased_curves(runs, mli.changed_biases(runs), start="noise"), "known: own, zero"),
        (lambda runs: Bias((0.0,), 0.0), "power=0.0 is not allowed"),
        (
            lambda runs: interventions.predicted_curves(runs, mli.changed_biases(runs), kind="gain"),
            "known: origin, overlap",
        ),
        (
            lambda runs: interventions.predicted_curves(
                mli.train(mli.RunConfig(**FIELDS, normalization="layer")), [{}]
            ),
            "allowed: fcn with bias 'none' or 'output'",
        ),
    ],
)
def test_what_is_not_allowed_is_said(runs, wrong, said):
    with pytest.raises(mli.InputError, match=said):
        wrong(runs)


def test_a_start_may_be_another(runs):
    own, other, again, noise, zero = (
        mli.interpolate(runs[0], "linear", 3, start=start) for start in ("own", "other", "other", "noise", "zero")
    )
    assert own.loss[0] != other.loss[0] == again.loss[0] != noise.loss[0]
    assert zero.loss[0] == pytest.approx(math.log(10), rel=1e-6)
    assert len({frame.loss[2] for frame in (own, other, noise, zero)}) == 1
    from mli_utils.starts import STARTS

    model, run = models.build(runs[0].config), runs[0]
    start = STARTS["noise"](model, run.config, (run.start, run.end))
    for name, group in models.parameter_groups(model).items():
        if group.name == "weights":
            assert torch.isclose(start[name].norm(), run.end[name].norm(), rtol=1e-5)
        else:
            assert torch.equal(start[name], run.start[name])


def test_early_predictions_are_laid_beside_guess_and_bias(runs):
    curves = pd.concat([mli.interpolate(runs, "linear", 11, by_class=True, start=s) for s in ("own", "zero")])
    found = mli.explained(curves, runs, [0.1, 1.0])
    assert len(found) == 12 and found[found.start == "zero"].is_guess.isna().all()
    own = found[found.start == "own"]
    assert own.is_guess.isin([0, 1]).all() and own.is_largest.isin([0, 1]).all() and (own.guess_share > 0.1).all()
    with pytest.raises(mli.InputError, match="alpha=0.15 is not on the curves"):
        mli.explained(curves, runs, [0.15])
    blank = mli.explained(mli.only_fitted(curves.assign(status="unfitted")), runs, [0.1])
    assert blank[["favoured", "is_guess", "is_largest"]].isna().all(axis=None)


def test_paths_are_built_from_the_four_schedules(runs):
    stay = {"hidden_biases": "end", "normalization": "end"}
    then = mli.interpolate(runs, {"p": {"weights": "end", "output_bias": "linear", **stay}}, 3)
    line = mli.interpolate(runs, "linear", 3)
    assert (then.loss[then.alpha == 1].to_numpy() == line.loss[line.alpha == 1].to_numpy()).all()
    assert interpolation.PATHS.keys() == {"linear", "homogeneous"}
