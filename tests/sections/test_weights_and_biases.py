"""The square, the predictions from one forward pass, and what the page says of them."""

import json
import math
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

import mli_utils as mli
from mli_utils.core.theory import predicted_logits
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
    closed = predicted[predicted.path == "closed form"].sort_values(["seed", "alpha"])
    from_zero = mli.interpolate(runs, "linear", 11, start="zero").sort_values(["seed", "alpha"])
    assert (closed.start == "zero").all() and np.allclose(closed.loss, from_zero.loss, atol=1e-5)
    assert np.array_equal(closed.error, from_zero.error)


def test_every_prediction_ends_at_the_trained_network(runs):
    predicted = section.predict(runs, 11)
    ends = predicted[predicted.alpha == 1].set_index(["seed", "path"])
    for run in runs:
        for path in section.RUNGS:
            assert ends.loss[run.config.seed, path] == pytest.approx(run.summary["train_loss"], abs=1e-6)
    gains = predicted[(predicted.path == "gain") & (predicted.alpha == 1)]
    assert np.allclose(gains.gain, 1) and np.allclose(gains.alignment, 1)


def test_the_laws_are_those_of_the_theory_and_begin_at_the_start(runs):
    predicted, (one, _) = section.predict(runs, 5), runs
    images = mli.load_data("digits").first(one.config.n_train)
    for rung in section.RUNGS[-2:]:
        logits = predicted_logits(one.start, one.end, images.images, 5, class_means=rung == section.LAW)
        errors = (logits.argmax(2) != images.labels).double().mean(1)
        some = predicted[(predicted.path == rung) & (predicted.seed == one.config.seed)]
        assert np.allclose(some.error, errors)
        assert some.loss.iloc[0] == pytest.approx(mli.interpolate(one, "linear", 5).loss.iloc[0], abs=1e-5)
    parts = predicted[predicted.path == "two scalars"]
    assert parts[list(section.PARTS)].notna().all(axis=None) and predicted.of_floor.isna().any()


CONVOLUTIONAL = dict(dataset="digits32", width=2, n_train=10, batch_size=10, epochs=1)
OTHERS = [
    dict(bias="none"),
    dict(normalization="layer"),
    dict(model="vit", depth=10, normalization="layer"),
    dict(model="vgg16", depth=14, **CONVOLUTIONAL),
    dict(model="vgg16", depth=14, normalization="batch", **CONVOLUTIONAL),
    dict(model="resnet18", depth=18, normalization="batch", **CONVOLUTIONAL),
]


@pytest.mark.parametrize("other", OTHERS, ids=lambda fields: " ".join(map(str, fields.values())))
def test_other_networks_have_no_prediction_and_those_with_normalization_no_square(small_config, other):
    (run,) = mli.train(small_config.replace(**{"width": 8, "epochs": 1, **other}))
    with pytest.raises(mli.InputError, match="no prediction for .*; allowed: fcn with an output bias, no norm"):
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
    at = moving.controls["α"][moving.start[0]]
    apart = {alpha: abs(np.subtract(*map(shown_error, moving.traces(alpha)[:2]))) for alpha in moving.controls["α"]}
    assert apart[at] >= max(apart.values()) - 0.01 and apart[at] > apart[1.0]  # opens where the paths differ


def shown_error(trace: dict) -> float:
    return float(trace["text"][0].removesuffix("</b>").split()[-1])


def test_without_a_fitted_network_there_is_no_square_to_draw():
    empty = section.square([])
    assert section.moving(empty, depth=4) is None
    figure = section.square_figure(empty, depth=4)
    assert "nothing to draw" in figure.axes[0].texts[0].get_text()


def test_a_panel_a_measure_with_both_paths(runs):
    figure = section.square_figure(section.square(runs, 3), depth=4)
    assert [line.get_label() for line in figure.axes[0].lines] == ["linear", "homogeneous"]
    assert np.allclose(figure.axes[1].lines[1].get_ydata()[100], 0.5**4)


def frame(seed, depth, ends, signal=(0.0, 1.0, 1.0, 1.0, 1.0), status="fitted", optimizer="sgd"):
    """Curves of one network on five points: error at chance up to the end of each path, zero from the next point on."""
    alpha = np.linspace(0, 1, 5)
    fields = asdict(mli.RunConfig(seed=seed, depth=depth, optimizer=optimizer)) | {"status": status}
    parts = []
    for path, end in ends.items():
        columns = {
            "alpha": alpha,
            "error": np.where(alpha <= end, 0.9, 0.0),
            "loss": 1.0,
            "gain": 0.75,
            "alignment": 0.9,
        }
        sizes = {"of_signal": signal, "of_floor": 0.25, "of_bias": 0.5} if path == "two scalars" else {}
        parts.append(pd.DataFrame({**columns, **sizes}).assign(path=path, start="own", **fields))
    return mli.only_fitted(pd.concat(parts, ignore_index=True))


@pytest.fixture
def page():
    """Measured and predicted curves of four networks of two settings; the last did not fit."""
    rungs = [
        {"closed form": 0.75, "gain": 0.25, "gain and shift": 0.5, "two scalars": 0.25, "class means": 0.5},
        {"closed form": 0.0, "gain": 0.25, "gain and shift": 0.25, "two scalars": 0.25, "class means": 0.25},
        {"closed form": 0.75, "gain": 0.0, "gain and shift": 0.0, "two scalars": 0.25, "class means": 0.0},
        {"closed form": 0.75, "gain": 0.0, "gain and shift": 0.0, "two scalars": 0.25, "class means": 0.0},
    ]
    kinds = [(0, 6, 0.5, "fitted"), (1, 6, 0.25, "fitted"), (2, 7, 0.0, "fitted"), (3, 7, 0.5, "unfitted")]
    signals = [(0, 0.3, 0.4, 1, 1), (0, 1, 1, 1, 1), (0, 0.3, 1, 1, 1), (0, 1, 1, 1, 1)]
    measured = [frame(seed, depth, {"linear": end}, status=status) for seed, depth, end, status in kinds]
    predicted = [
        frame(seed, depth, of, signal, status)
        for (seed, depth, _, status), of, signal in zip(kinds, rungs, signals, strict=True)
    ]
    return pd.concat(measured), pd.concat(predicted)


def test_ends_are_for_good_and_of_fitted_networks(page):
    found = section.ends(*page)
    off = 0.0125  # from the last point at chance to where the error crosses the threshold
    assert found.measured.tolist()[:3] == pytest.approx([0.5 + off, 0.25 + off, off]) and math.isnan(found.measured[3])
    assert found["closed form"].tolist()[:3] == pytest.approx([0.75 + off, off, 0.75 + off])
    assert found["signal beats the bias"].tolist()[:3] == [0.5, 0.0, 0.25]
    assert found["signal beats the floor"].tolist()[:3] == [0.0, 0.0, 0.0] and found.iloc[3, -7:].isna().all()


def test_accuracy_is_pooled_and_within_settings(page):
    found = section.accuracy(section.ends(*page)).set_index(["rung", "over"])["mean"]
    assert found[section.LAW, "pooled"] == found[section.LAW, "within"] == 1
    assert found["two scalars", "pooled"] == pytest.approx(1 - 2 * 0.25**2 / (2 * 0.25**2))
    assert found["two scalars", "within"] == pytest.approx(0) and len(found) == 10


def test_the_rule_of_first_crossing_loses_predictions_that_begin_below():
    (line,) = [frame(0, 6, {"gain": 0.5})]
    assert section.artefact(line) == 0
    line.loc[0, "error"] = 0.0
    assert section.artefact(line) == 1


def test_claims(page):
    found = section.claims(section.ends(*page))
    nearer = found["class-means-bring-the-law-closer"]
    assert nearer.tolist()[:3] == pytest.approx([0.25, 0, 0.25]) and nearer.index.name == "seed"
    assert found["law-is-close"].tolist()[:3] == [0, 0, 0]
    upper = found["prediction-is-an-upper-bound"]
    assert np.array_equal(upper, [1, 0, 1, math.nan], equal_nan=True)
    assert found["law-predicts-plateaus"]["mean"] == found["law-predicts-within-settings"]["mean"] == 1
    assert found["closed-form-needs-the-origin"]["mean"] < 0
    assert found["plateau-ends-where-the-signal-beats-the-bias"]["n"] == 2


def test_numbers(runs, page):
    found = section.numbers(runs, section.ends(*page), section.ends(*page, tolerance=0.1), page[1])
    assert found["at a tenth"].startswith("1.00")
    assert (found["all_runs"], found["fitted_runs"], found["below"], found["settings"]) == (2, 2, 2, 2)
    assert found["class means off"] == 0 and found["two scalars off"] == pytest.approx(0.25 * math.sqrt(2 / 3))
    assert (found["bias_last"], found["beats_bias"]) == (2, 0.375)
    assert found["bias_last_end"] == pytest.approx(0.2625) and found["floor_last_end"] == pytest.approx(0.2625)
    assert found["gain_half"] == pytest.approx(0.75 / 0.5**6) and found["alignment_half"] == 0.9


def test_the_race_marks_where_signals_overtake_the_bias(page):
    figure = section.race_figure(section.gains(page[1], 6), powers=(2, 5))
    (axes,) = figure.axes
    marks = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]
    assert marks == pytest.approx([0.1, 0.1**0.25]) and {text.get_text() for text in axes.texts} >= {"0.10", "0.56"}
    assert "measured gain, r = 6" in axes.get_legend_handles_labels()[1]
    without = section.race_figure(section.gains(page[1], 12))
    assert len(without.axes[0].get_legend_handles_labels()[1]) == 4


def test_a_panel_a_rung_with_the_diagonal(page):
    figure = section.ladder_figure(section.ends(*page))
    titles = [axes.get_title().partition("\n")[0] for axes in figure.axes[:5]]
    assert titles == list(section.RUNGS) and figure.axes[4].get_title().endswith("R² = 1.00")


def test_parts_are_drawn_for_the_shortest_and_the_longest_plateaus(page):
    figure = section.parts_figure(section.extremes(page[1], section.ends(*page)))
    assert [axes.get_title()[:7] for axes in figure.axes] == ["depth 7", "depth 6"]
    assert [line.get_label() for line in figure.axes[1].lines] == ["signal", "what the start leaves", "bias"]
    nothing = section.ends(*(frame.assign(error=math.nan) for frame in page))
    for blank in (section.ladder_figure(nothing), section.parts_figure(section.extremes(page[1], nothing))):
        assert "nothing to draw" in blank.axes[0].texts[0].get_text()


def test_an_unknown_start_is_refused():
    with pytest.raises(mli.InputError, match="unknown start 'xyz'; known: own, zero, other, noise"):
        mli.interpolate([], start="xyz")
