"""Changed biases, doses and ways to train: of small trained networks, and of frames made by hand."""

from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
import torch

import mli_utils as mli
from mli_utils.core.curves import Bias, biased
from mli_utils.figures.kinds import empty_figure
from mli_utils.runs.biases import biased_curves
from mli_utils.sections import interventions as section

OFFSET = 0.025  # from the last point at chance to where the error crosses the threshold, on the grid below
USUAL, LATEST = "as usual", "bias rests 9 steps"


@pytest.fixture
def runs(small):
    return mli.train(mli.grid(**small, bias="output", seed=range(3)))


@pytest.fixture
def free(small):
    return mli.train(mli.grid(**small, bias="none", seed=range(3)))


def curve(path="linear", length=0.0, status="fitted", as_largest=0.0, loss=0.0, columns=(), **fields):
    """A curve whose error is at chance until α = `length` and zero from the next point on."""
    alpha = np.linspace(0, 1, 5)
    frame = pd.DataFrame({"alpha": alpha, "error": np.where(alpha <= length, 0.9, 0.0), "loss": loss})
    frame = frame.assign(**asdict(mli.RunConfig(**{"depth": 3, **fields})), status=status, path=path, **dict(columns))
    return frame.assign(as_largest=np.where(alpha <= length, as_largest, 0.0))


def curves(lengths, **columns):
    """Curves of two seeds, by the name of the path."""
    return pd.concat([curve(path, length, seed=seed, **columns) for path, length in lengths.items() for seed in (0, 1)])


@pytest.fixture
def page():
    """What the claims and the text of section 09 are made from, lengths by hand."""
    lengths = {"as trained": 0.5, "zeroed": 0.0, "centred": 0.5, "permuted": 0.75, "swapped": 0.25}
    changed = curves(lengths, as_largest=0.8)
    at_origin, true = curves({"1": 0.5, "4": 0.75}, bias="none"), curves({"1": 0.0, "4": 0.5}, bias="none")
    doses = {"measured": true, "closed form": at_origin, "two scalars": at_origin, "class means": true}
    ways = {  # its length, gaps of both seeds, and fields
        USUAL: (0.5, (4.0, 6.0), {}),
        "bias rests 5 steps": (0.5, (3.0, 3.0), {"freeze_bias": 5}),
        LATEST: (0.25, (2.0, 3.0), {"freeze_bias": 9}),
        "unequal classes": (0.75, (6.0, 8.0), {"imbalance": 3.0}),
    }
    arms = pd.concat(
        curve(length=length, seed=seed, columns={"training": arm, "bias_gap": gap}, **fields)
        for arm, (length, gaps, fields) in ways.items()
        for seed, gap in enumerate(gaps)
    )
    return {
        "changed": changed,
        "doses": doses,
        "arms": arms,
        "powers": curves({"1": 0.75, "2": 0.5, "3": 0.25}),
        "paths": curves({"linear": 0.5, "then the bias": 0.0}),
    }


def test_the_trained_bias_gives_the_line_itself(runs):
    curves = biased_curves(runs, section.changed_biases(runs), 11)
    line = mli.interpolate(runs, "linear", 11)
    assert set(curves.path) == {"as trained", "zeroed", "centred", "permuted", "swapped"}
    trained, centred = (curves[curves.path == name] for name in ("as trained", "centred"))
    np.testing.assert_allclose(trained.loss, line.loss, rtol=1e-5)
    np.testing.assert_array_equal(trained.error, line.error)
    np.testing.assert_allclose(centred.loss, line.loss, rtol=1e-5)
    assert curves.as_largest.between(0, 1).all()
    largest = [np.argmax(run.summary["output_bias"]) for run in runs]
    by_class = mli.interpolate(runs, "linear", 11, by_class=True)
    shares = by_class[by_class.label == by_class.seed.map(dict(enumerate(largest)))].predicted_share
    np.testing.assert_allclose(trained.as_largest, shares)


def test_a_power_of_the_depth_is_the_homogeneous_path(runs):
    ramped, path = section.power_curves(runs, [3, 3.0], 11), mli.interpolate(runs, "homogeneous", 11)
    np.testing.assert_allclose(ramped.loss, path.loss, rtol=1e-5)


def test_changes_do_what_they_are_called(runs):
    for i, (run, changed) in enumerate(zip(runs, section.changed_biases(runs), strict=True)):
        bias = section.trained_bias(run)
        values = {name: np.array(given.values) for name, given in changed.items()}
        assert not values["zeroed"].any() and abs(values["centred"].sum()) < 1e-9
        assert sorted(values["permuted"]) == sorted(bias) and values["permuted"].argmax() != bias.argmax()
        np.testing.assert_array_equal(values["swapped"], section.trained_bias(runs[(i + 1) % 3]))


def test_predictions_of_doses_are_those_of_the_two_ends(free):
    curves = section.dose_curves(free, [2.0], 21)
    images, points, from_zero = mli.load_data("digits").first(100), np.linspace(0, 1, 21), []
    for run in free:
        origin = {name: torch.zeros_like(value) for name, value in run.end.items()}
        measured = biased(mli.build(run.config), (origin, run.end), images, points, [section.dose(run, 2.0)])
        from_zero += measured["loss"][0].tolist()
    np.testing.assert_allclose(curves["closed form"].loss, from_zero, rtol=1e-4)
    for kind in ("two scalars", "class means"):
        for end in (0, 1):
            measured, predicted = (curves[name][curves[name].alpha == end] for name in ("measured", kind))
            np.testing.assert_allclose(predicted.loss, measured.loss, rtol=1e-4)
    off = {kind: (curves[kind].loss - curves["measured"].loss).abs().mean() for kind in section.PREDICTIONS}
    assert off["class means"] < off["closed form"]
    responses = section.dose_responses(curves)
    assert responses.gap.tolist() == [2.0] * 3 and (responses.measured >= 0).all()


def test_a_dose_lifts_one_class_and_networks_without_bias_have_none(free):
    assert [np.flatnonzero(section.dose(run, 2.0).values).tolist() for run in free] == [[0], [1], [2]]
    assert section.dose(free[1], 2.0).values[1] == 2 and not section.trained_bias(free[0]).any()


def test_other_ways_to_train_count_every_class_the_same(runs, free, small):
    unequal = mli.train(mli.grid(**small, imbalance=3.0, seed=range(3)))
    arms = section.arm_curves({USUAL: runs, "without biases": free, "unequal": unequal}, 3)
    assert arms.training.unique().tolist() == [USUAL, "unequal"] and len(arms) == 18
    by_class = mli.interpolate(unequal[1], "linear", 3, by_class=True)
    one = arms[(arms.training == "unequal") & (arms.seed == 1)]
    np.testing.assert_allclose(one.error, by_class.groupby("alpha").class_error.mean())
    lengths = section.arm_lengths(arms)
    np.testing.assert_allclose(lengths.bias_gap, mli.table([*runs, *unequal]).bias_gap)
    np.testing.assert_allclose(lengths.error_plateau[:3], mli.plateau(mli.interpolate(runs, alphas=3)).error_plateau)


def test_two_ways_to_train_may_be_one(page):
    same = page["arms"].replace({"imbalance": {3.0: 1.0}})
    assert section.arm_lengths(same)[["training", "seed"]].drop_duplicates().shape == (8, 2)


def test_lengths_of_powers_come_in_their_order():
    lengths = section.power_lengths(curves({"10": 0.0, "2": 0.5}))
    assert lengths.power.tolist() == [2, 2, 10, 10]
    assert lengths.error_plateau.tolist() == pytest.approx([0.5 + OFFSET] * 2 + [OFFSET] * 2)


def test_claims_have_the_quantities_they_name(page):
    found = section.measured(**page, tolerance=0.1)
    means = {name: values.mean() for name, values in found.items() if isinstance(values, pd.Series)}
    assert means == pytest.approx(
        {
            "zeroing-ends-the-error-plateau": 0.5,
            "permuting-keeps-the-plateau": 0.25,
            "swapped-bias-is-predicted": 0.8,
            "loss-plateau-ignores-the-bias": 0,
            "a-gap-makes-a-plateau": 0.5,
            "late-bias-narrows-the-gap": 2.5,
            "late-bias-shortens-the-plateau": 0.25,
            "mild-imbalance-changes-little": 2,
            "bias-in-step-shortens-the-plateau": 0.5,
            "bias-last-keeps-the-answers": 0.9,
        }
    )
    estimates = {name: estimate["mean"] for name, estimate in found.items() if name not in means}
    assert estimates["law-predicts-doses"] == 1 and np.isnan(estimates["law-predicts-within-doses"])
    measured, predicted = np.array([0, 0.5] * 2), np.array([0.5, 0.75] * 2)
    r2 = 1 - ((measured - predicted) ** 2).sum() / ((measured - 0.25) ** 2).sum()
    assert estimates["closed-form-misses-doses"] == pytest.approx(r2)
    assert found["the-plateau-moves-with-the-gap"]["n"] == 2


def test_a_network_that_did_not_fit_is_in_no_difference(page):
    lost = {name: page[name].copy() for name in ("changed", "arms", "powers")}
    for frame in lost.values():
        frame.loc[frame.seed == 1, "status"] = "unfitted"
    found = section.measured(**page | lost | {"changed": mli.only_fitted(lost["changed"])}, tolerance=0.1)
    for name in ("zeroing-ends-the-error-plateau", "late-bias-narrows-the-gap", "bias-in-step-shortens-the-plateau"):
        assert found[name].isna().tolist() == [False, True]
    assert found["the-plateau-moves-with-the-gap"]["n"] == 1


def test_numbers_of_the_text(page, runs):
    responses, ways = section.dose_responses(page["doses"]), section.arm_lengths(page["arms"])
    found = section.numbers(runs, responses, ways, section.power_lengths(page["powers"]))
    assert (found["doses"], found["smallest_dose"], found["largest_dose"]) == (2, 1, 4)
    assert (found["least"], found["most"]) == pytest.approx((OFFSET, 0.5 + OFFSET))
    assert found["late"] == 9 and found["late_gap"].startswith("−2.50 (") and found["late_error"].startswith("−0.25")
    assert found["power_one"].startswith("0.78") and found["power_depth"].startswith("0.27")
    assert found["usual_error"].startswith("0.53") and found["doses by class means"] == "1.000"
    assert found["imbalance"] == 3.0 and found["all_runs"] == 3


def test_doses_are_drawn_at_equal_distances(page):
    means = section.mean_responses(section.dose_responses(page["doses"]))
    (axes,) = section.dose_figure(means).axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "4"]
    drawn = {container.get_label(): list(container[0].get_ydata()) for container in axes.containers}
    assert list(drawn) == ["measured", *(f"predicted: {name}" for name in section.PREDICTIONS)]
    assert drawn["measured"] == pytest.approx([OFFSET, 0.5 + OFFSET])
    blank = section.dose_figure(means.assign(mean=np.nan))
    assert blank.axes[0].texts[0].get_text() == empty_figure().axes[0].texts[0].get_text()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda runs: section.changed_biases(runs, ["zerod"]), "'zerod' .did you mean 'zeroed'.*as trained, zeroed"),
        (lambda runs: biased_curves(runs, [{"b": Bias((1.0,))}] * 3), "biases of b .* allowed: 10 values"),
        (lambda runs: section.predicted_curves(runs, [{}] * 3, kind="noise"), "known: closed form, two scalars"),
        (lambda runs: section.predicted_curves(runs, [{}] * 3), "allowed: fcn with bias 'none', no norm"),
        (
            lambda runs: section.predicted_curves(
                mli.train(runs[0].config.replace(bias="none", normalization="layer")), [{}]
            ),
            "allowed: fcn with bias 'none', no norm",
        ),
    ],
)
def test_what_is_not_allowed_is_said(runs, wrong, said):
    with pytest.raises(mli.InputError, match=said):
        wrong(runs)
