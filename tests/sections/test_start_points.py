"""Plateaus and early predictions from other starts: of trained networks, and of frames made by hand."""

from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

import mli_utils as mli
from mli_utils.runs.store import Store
from mli_utils.runs.trained import Run
from mli_utils.sections import start_points as section

SHALLOW, DEEP = {"depth": 3, "init_scale": 1.0}, {"depth": 5, "init_scale": 0.5}


def curve(start="own", length=0.0, bias="output", seed=0, loss=(2.0, 1.0, 0.5), said=0, **network):
    """A curve on digits, error at chance until α = `length`, that says class 1 at the start and then `said` only."""
    fields = asdict(mli.RunConfig(bias=bias, seed=seed, **(network or DEEP)))
    fields |= {"status": "fitted", "start": start, "path": "linear"}
    return [
        {
            **fields,
            "alpha": alpha,
            "loss": there,
            "error": 0.9 if alpha <= length else 0.0,
            "label": label,
            "predicted_share": (label == 1) * 0.6 + (label == 0) * 0.4 if not alpha else float(label == said),
        }
        for alpha, there in zip((0.0, 0.5, 1.0), loss, strict=True)
        for label in range(10)
    ]


def made(bias="output", seed=0, **network):
    """A run of the same network, whose class 0 has the largest output bias."""
    summary = {"status": "fitted", "output_bias": None if bias == "none" else [2.0, 1.0]}
    return Run(mli.RunConfig(bias=bias, seed=seed, **(network or DEEP)), {"summary": summary}, Store("nowhere"))


def test_early_predictions_are_laid_beside_guess_and_bias(small):
    runs = mli.train(mli.grid(**small, bias="output", seed=range(3)))
    curves = pd.concat([mli.interpolate(runs, "linear", 11, by_class=True, start=s) for s in ("own", "zero")])
    found = section.explained(curves, runs, [0.1, 1.0])
    assert len(found) == 12 and found[found.start == "zero"].is_guess.isna().all()
    own = found[found.start == "own"]
    assert own.is_guess.isin([0, 1]).all() and own.is_largest.isin([0, 1]).all() and (own.guess_share > 0.1).all()
    one = curves[(curves.start == "own") & (curves.seed == 1) & np.isclose(curves.alpha, 0.1)]
    favoured = int(one.predicted_share.argmax())
    row = own[(own.seed == 1) & (own.alpha == 0.1)].iloc[0]
    assert row.favoured == favoured
    assert row.is_largest == (favoured == np.argmax(runs[1].summary["output_bias"]))
    with pytest.raises(mli.InputError, match="alpha=0.15 is not on the curves"):
        section.explained(curves, runs, [0.15])
    blank = section.explained(mli.only_fitted(curves.assign(status="unfitted")), runs, [0.1])
    assert blank[["favoured", "guess", "is_guess", "is_largest"]].isna().all(axis=None)


def test_guess_and_bias_are_missing_where_a_network_has_none():
    curves = pd.DataFrame(curve() + curve(bias="none", said=1) + curve("zero"))
    found = section.explained(curves, [made(), made("none")], [0.5])
    assert found.favoured.tolist() == [0, 1, 0] and found.network[0] == "output bias, depth 5, scale 0.5"
    np.testing.assert_array_equal(found.is_guess, [0, 1, np.nan])
    np.testing.assert_array_equal(found.is_largest, [1, np.nan, 1])
    counted = section.agreeing(found, 0.5).set_index(["from", "network", "predicted"])
    without = ("its own start", "no biases, depth 5, scale 0.5")
    assert counted.loc[(*without, "first guess")].tolist() == [1, 1]
    assert counted.loc[(*without, "largest bias")].tolist() == [0, 0]
    written = [text.get_text() for axes in section.count_figure(counted.reset_index()).axes for text in axes.texts]
    assert sorted(written) == ["0 of 1", "1 of 1", "1 of 1", "1 of 1"]


def test_a_seed_counts_once_in_the_lengths():
    rows = [row for seed in (0, 1) for row in curve("zero", 0.5, seed=seed) + curve("zero", seed=seed, **SHALLOW)]
    curves = section.name_networks(pd.DataFrame(rows))
    (found, _) = section.lengths(section.name_networks(mli.plateau(curves))).to_dict("records")
    assert (found["biases"], found["from"], found["n"]) == ("output bias", "the origin", 2)
    assert found["mean"] == pytest.approx(0.28, abs=0.03)
    figure = section.start_figure(curves, "error")
    assert [axes.get_title() for axes in figure.axes] == ["from the origin"]


@pytest.fixture
def page():
    """Runs, curves with classes and predictions of two networks with an output bias and one without."""
    rises = (2.0, 2.5, 0.5)
    rows = curve() + curve("other", 0.5) + curve("noise", loss=rises) + curve("zero", 0.5)
    rows += curve(said=1, **SHALLOW) + curve(bias="none", said=1)
    runs = [made(), made(**SHALLOW), made("none")]
    curves = pd.DataFrame(rows)
    return runs, curves[curves.label == 0], section.explained(curves, runs, [0.5])


def test_claims_choose_their_networks(page):
    _, curves, predictions = page
    found = section.measured(curves, predictions, 0.5, tolerance=0.1)
    for name in ("another-start-lengthens-the-plateau", "the-origin-lengthens-the-plateau"):
        assert found[name][5, 0.5, 0] == pytest.approx(0.5, abs=0.06) and pd.isna(found[name][3, 1.0, 0])
    assert found["monotone-from-any-start"].xs("output", level="bias").tolist() == [1, 0, 1]
    assert found["untrained-networks-guess"].tolist() == [0.6] * 2  # one of the two deep ones, equal before training
    assert found["biases-explain-early-predictions"].tolist() == [1]  # the deep network alone
    assert all("seed" in values.index.names for values in found.values())


def test_biases_are_compared_on_the_deepest_networks_start_by_start(page):
    _, curves, predictions = page
    flat = pd.DataFrame(curve("noise", bias="none") + curve("noise", bias="none", **SHALLOW))
    both = pd.concat([curves, flat[flat.label == 0]])
    found = section.measured(both, predictions, 0.5, 0.1)["biases-break-monotonicity"].dropna()
    assert found.to_dict() == {(5, 0.5, 0, "noise"): 0.5}


def test_depths_are_compared_at_one_scale_and_seed(page):
    _, curves, _ = page
    wide = {"depth": 3, "init_scale": 0.5}
    both = pd.DataFrame(curve(bias="none", said=1, **wide) + curve(bias="none", said=0))
    predictions = section.explained(both, [made("none"), made("none", **wide)], [0.5])
    assert section.measured(curves, predictions, 0.5, 0.1)["depth-ends-the-guess"].tolist() == [1]


def test_numbers_of_the_text(page):
    runs, curves, predictions = page
    found = section.numbers(runs, section.name_networks(mli.plateau(curves)), predictions, 0.5)
    assert (found["rising"], found["replaced"]) == (found["rising_deepest"], found["replaced_deepest"]) == (1, 3)
    assert (found["rising_none"], found["replaced_none"]) == (0, 0)
    assert found["rise_deepest"] == pytest.approx(0.5 / 3)
    assert (found["shallowest"], found["deepest"], found["smallest"]) == (3, 5, 0.5)
    assert (found["largest_share"], found["guess_share"]) == (100, 0)
    assert (found["guess_shallow"], found["guess_deep"]) == (100, 100) and found["first"].startswith("0.60")
