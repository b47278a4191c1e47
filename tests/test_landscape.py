import numpy as np
import pytest

import mli_utils as mli


@pytest.fixture
def runs(small):
    return mli.train(mli.grid(**{**small, "depth": 4}, bias="output", seed=range(2)))


def test_the_diagonal_of_the_square_is_the_linear_path(runs):
    square = mli.square(runs, 5)
    assert len(square) == 2 * 25
    diagonal = square[square.alpha_weights == square.alpha_bias].sort_values(["seed", "alpha_weights"])
    line = mli.interpolate(runs, "linear", 5)
    assert np.allclose(diagonal.loss, line.loss, atol=1e-6) and np.array_equal(diagonal.error, line.error)


def test_the_edge_of_the_square_is_a_network_without_its_output_bias(runs):
    square = mli.square(runs, 5)
    edge = square[square.alpha_bias == 0].sort_values(["seed", "alpha_weights"])
    still = {"weights": "linear", "hidden_biases": "start", "output_bias": "start", "normalization": "start"}
    line = mli.interpolate(runs, {"no bias": still}, 5)
    assert np.allclose(edge.loss, line.loss, atol=1e-6)


def test_the_closed_form_is_the_curve_from_zero(runs):
    predicted = mli.predict(runs, 11)
    closed = predicted[predicted.path == "closed form"]
    from_zero = mli.interpolate(runs, "linear", 11, start="zero")
    assert (from_zero.start == "zero").all()
    assert np.allclose(closed.loss, from_zero.loss, atol=1e-5) and np.array_equal(closed.error, from_zero.error)


def test_every_prediction_ends_at_the_trained_network(runs):
    predicted = mli.predict(runs, 11)
    ends = predicted[predicted.alpha == 1].set_index(["seed", "path"])
    for run in runs:
        for path in ("closed form", "gain", "gain and shift"):
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
    run = mli.train(small_config.replace(**{"width": 8, "epochs": 1, **other}))
    with pytest.raises(mli.InputError, match="no closed form for .*; allowed: fcn with bias 'output', no norm"):
        mli.predict(run)
    if run[0].config.normalization == "none":
        assert len(mli.square(run, 2)) == 4
    else:
        with pytest.raises(mli.InputError, match="no square for .*; allowed: networks without"):
            mli.square(run, 2)


def test_an_unknown_start_is_refused():
    with pytest.raises(mli.InputError, match="unknown start 'xyz'; known: own, zero, other, noise"):
        mli.interpolate([], start="xyz")
