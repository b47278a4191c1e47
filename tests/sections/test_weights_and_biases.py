"""The square, the predictions from one forward pass, and what the page says of them."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

import mli_utils as mli
from mli_utils.sections import weights_and_biases as section


@pytest.fixture
def runs(small):
    return mli.train(mli.grid(**{**small, "depth": 4}, bias="output", seed=range(2)))


def test_the_diagonal_of_the_square_is_the_linear_path(runs):
    square = section.square(runs, 5)
    assert len(square) == 2 * 25
    diagonal = square[square.alpha_weights == square.alpha_bias].sort_values(["seed", "alpha_weights"])
    line = mli.interpolate(runs, "linear", 5)
    assert np.allclose(diagonal.loss, line.loss, atol=1e-6) and np.array_equal(diagonal.error, line.error)


def test_the_edge_of_the_square_is_a_network_without_its_output_bias(runs):
    square = section.square(runs, 5)
    edge = square[square.alpha_bias == 0].sort_values(["seed", "alpha_weights"])
    still = {"weights": "linear", "hidden_biases": "start", "output_bias": "start", "normalization": "start"}
    line = mli.interpolate(runs, {"no bias": still}, 5)
    assert np.allclose(edge.loss, line.loss, atol=1e-6)


def test_the_closed_form_is_the_curve_from_zero(runs):
    predicted = section.predict(runs, 11)
    from_zero = mli.interpolate(runs, "linear", 11, start="zero")
    assert (from_zero.start == "zero").all()
    deviations = section.deviations(from_zero, predicted)
    assert len(deviations) == 22 and deviations.loss.max() <= 1e-5 and deviations.error.max() == 0


def test_every_prediction_ends_at_the_trained_network(runs):
    predicted = section.predict(runs, 11)
    ends = predicted[predicted.alpha == 1].set_index(["seed", "path"])
    for run in runs:
        for path in section.PREDICTIONS:
            assert ends.loss[run.config.seed, path] == pytest.approx(run.summary["train_loss"], abs=1e-6)
    gains = predicted[(predicted.path == "gain") & (predicted.alpha == 1)]
    assert np.allclose(gains.gain, 1) and np.allclose(gains.alignment, 1)


CONVOLUTIONAL = dict(dataset="digits32", width=2, n_train=10, batch_size=10, epochs=1)
OTHERS = [
    dict(bias="all"),
    dict(bias="none"),
    dict(normalization="layer"),
    dict(model="vit", depth=10, normalization="layer"),
    dict(model="vgg16", depth=14, **CONVOLUTIONAL),
    dict(model="vgg16", depth=14, normalization="batch", **CONVOLUTIONAL),
    dict(model="resnet18", depth=18, normalization="batch", **CONVOLUTIONAL),
]


@pytest.mark.parametrize("other", OTHERS, ids=lambda fields: " ".join(map(str, fields.values())))
def test_other_networks_have_no_closed_form_and_those_with_normalization_no_square(small_config, other):
    (run,) = mli.train(small_config.replace(**{"width": 8, "epochs": 1, **other}))
    with pytest.raises(mli.InputError, match="no closed form for .*; allowed: fcn with bias 'output', no norm"):
        section.predict(run)
    if run.config.normalization == "none":
        assert len(section.square(run, 2)) == 4
    else:
        with pytest.raises(mli.InputError, match="no square for .*; allowed: networks without"):
            section.square(run, 2)


def test_networks_of_one_kind_are_fitted_and_the_first(small):
    runs = mli.train(mli.grid(**{**small, "depth": [3, 4]}, bias="output", seed=range(3)))
    unfitted = mli.train(mli.grid(**{**small, "epochs": 1, "depth": 4}, bias="output", seed=range(3)))
    found = section.of_one_kind([*unfitted, *runs], depth=4, init_scale=1.0, seeds=2)
    assert [(run.config.epochs, run.config.depth, run.config.seed) for run in found] == [(100, 4, 0), (100, 4, 1)]


def test_dots_on_the_square_are_where_the_paths_are(runs):
    square = section.square(runs[0], 5)
    moving = section.moving(square, depth=4)
    traces = moving.traces(0.5)
    json.dumps([moving.always, moving.layout, traces])  # plain lists and numbers
    assert [(trace["x"][0], trace["y"][0]) for trace in traces] == [(0.5, 0.5), (0.5, 0.5**4)] * 2
    on_map = square[(square.alpha_weights == 0.5) & (square.alpha_bias == 0.5)].iloc[0]
    assert traces[0]["text"] == [f"<b>linear {on_map.error:.2f}</b>"]
    assert traces[2]["text"] == [f"<b>linear {on_map.loss:.2f}</b>"] and traces[2]["xaxis"] == "x2"
    assert moving.controls["α"][moving.start[0]] == 0.4


def test_without_a_fitted_network_there_is_no_square_to_draw():
    empty = section.square([])
    assert section.moving(empty, depth=4) is None
    figure = section.square_figure(empty, depth=4)
    assert "nothing to draw" in figure.axes[0].texts[0].get_text()
    plt.close(figure)


def test_a_panel_a_measure_with_both_paths(runs):
    figure = section.square_figure(section.square(runs, 3), depth=4)
    assert [line.get_label() for line in figure.axes[0].lines] == ["linear", "homogeneous"]
    assert np.allclose(figure.axes[1].lines[1].get_ydata()[100], 0.5**4)
    plt.close(figure)


KINDS = ["closed form", "gain", "gain and shift", "measured", "measured from zero"]


@pytest.fixture
def lengths():
    """Four networks; the last did not fit, and the second is longer than predicted."""
    values = [[0.8, 0.5, 0.6, 0.4, 0.8], [0.6, 0.4, 0.4, 0.7, 0.6], [0.7, 0.6, 0.5, 0.6, 0.7], [math.nan] * 5]
    index = pd.MultiIndex.from_tuples([(6, 0.5, 0), (6, 0.5, 1), (7, 0.5, 0), (7, 0.5, 1)], names=section.NETWORK)
    return pd.DataFrame(values, index, columns=KINDS)


@pytest.fixture
def deviations(lengths):
    index = pd.MultiIndex.from_tuples(
        [(*network, alpha) for network in lengths.index for alpha in (0.0, 1.0)], names=[*section.NETWORK, "alpha"]
    )
    loss = [1e-6, 2e-6, 3e-6, 0, 0, 0, math.nan, math.nan]
    return pd.DataFrame({"loss": loss, "error": [0, 0.1, 0, 0, 0, 0, math.nan, math.nan]}, index)


def test_lengths_of_every_kind(runs):
    curves = [mli.interpolate(runs, "linear", 5), mli.interpolate(runs, "linear", 5, start="zero")]
    curves.append(section.predict(runs, 5))
    found = section.lengths(*map(mli.only_fitted, curves))
    assert list(found) == KINDS and found.index.tolist() == [(4, 1.0, 0), (4, 1.0, 1)]
    assert found.measured.tolist() == mli.plateau(curves[0]).error_plateau.tolist()
    assert found["measured from zero"].tolist() == pytest.approx(found["closed form"].tolist())


def test_agreement_has_a_row_a_network_and_start(lengths):
    found = section.agreement(lengths)
    assert len(found) == 8 and found.start.tolist() == ["θ(0) as it was"] * 4 + ["θ(0) = 0"] * 4
    assert found["predicted error plateau"].tolist()[:3] == found["error plateau"].tolist()[4:7] == [0.8, 0.6, 0.7]
    assert found["error plateau"].tolist()[:3] == [0.4, 0.7, 0.6]


def test_claims(lengths):
    found = section.claims(lengths)
    assert np.array_equal(found["prediction-is-an-upper-bound"], [1, 0, 1, math.nan], equal_nan=True)
    assert "seed" in found["prediction-is-an-upper-bound"].index.names
    assert found["prediction-ranks-plateaus"]["n"] == 3 and math.isnan(found["prediction-ranks-plateaus"]["low"])


def test_numbers(runs, lengths, deviations):
    predicted = pd.DataFrame(
        {
            "path": ["gain", "gain", "closed form"],
            "alpha": [0.5, 1.0, 0.5],
            "depth": 2,
            "gain": [0.75, 1, 0.25],
            "alignment": [0.9, 1, math.nan],
        }
    )
    found = section.numbers(runs, lengths, deviations, predicted)
    assert (found["all_runs"], found["fitted_runs"], found["below"]) == (2, 2, 2)
    assert (found["zero_loss"], found["zero_error"]) == (3e-6, 0.1)
    assert found["mean_closed"] == pytest.approx(0.7) and found["mean_both"] == pytest.approx(0.5)
    assert found["by_gain"] == pytest.approx(100 * 0.6 / 0.4) and found["by_both"] == pytest.approx(100 * 0.6 / 0.4)
    assert found["difference"].startswith("0.13 (") and found["rank_closed"] == -1 and found["rank_gain"] == -0.5
    assert (found["gain_half"], found["alignment_half"]) == (3, 0.9)


def test_an_unknown_start_is_refused():
    with pytest.raises(mli.InputError, match="unknown start 'xyz'; known: own, zero, other, noise"):
        mli.interpolate([], start="xyz")
