import json

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt

import mli_utils as mli
from mli_utils import data, interpolation, models
from mli_utils.sweep import NotInRecord

PATHS = ["linear", "homogeneous"]


@pytest.fixture
def run(small):
    (run,) = mli.train(mli.RunConfig(**small, bias="output"))
    return run


def test_predictions_are_the_network_s_own(run):
    frame, pixels = mli.predict_images(run, PATHS, alphas=5, images=12)
    assert len(frame) == 2 * 5 * 12 and pixels.shape == (12, 8, 8, 3)
    test = data.load("digits", "test").first(12)
    assert np.allclose(pixels[..., 0], test.images[:, 0], atol=0.5 / 255)
    model = models.build(run.config)
    for path in PATHS:
        there = interpolation.interpolate_parameters(model, run.start, run.end, 0.75, path)
        probability, label = models.logits(model, there, test.images).softmax(-1).max(-1)
        rows = frame[(frame.path == path) & (frame.alpha == 0.75)]
        assert rows.predicted.tolist() == [test.classes[i] for i in label]
        assert np.allclose(rows.probability, probability, atol=1e-3)
        assert rows.label.tolist() == [test.classes[i] for i in test.labels]


def test_batch_norm_normalises_by_the_training_set(small):
    fields = dict(model="resnet18", normalization="batch", dataset="digits32", n_train=30, width=2, epochs=1)
    (run,) = mli.train(mli.RunConfig(**fields, init_scale=1.0, batch_size=15))
    frame, pixels = mli.predict_images(run, ["linear"], alphas=2, images=3)
    model, images = models.build(run.config), data.load("digits32").first(30).images
    with torch.no_grad():
        statistics = models.statistics(model, run.end, images)
        said = models.logits(model, run.end, data.load("digits32", "test").first(3).images, statistics).argmax(-1)
    assert frame[frame.alpha == 1].predicted.tolist() == [str(i.item()) for i in said]
    assert pixels.shape == (3, 32, 32, 3)


def test_what_is_kept_needs_neither_network_nor_images(run, monkeypatch, tmp_path):
    before, _ = mli.predict_images(run, alphas=3, images=4)
    for path in (tmp_path / "store").glob("runs/*.npz"):
        path.unlink()
    monkeypatch.setattr(data, "load", None)
    after, pixels = mli.predict_images(run, alphas=3, images=4)
    assert after.equals(before) and len(pixels) == 4
    entries = [json.loads(path.read_text(encoding="utf-8")) for path in (tmp_path / "store" / "images").glob("*.json")]
    assert len(entries) == 2 and all("provenance" in entry["body"] for entry in entries)


def test_a_book_from_the_record_says_what_it_lacks(run, monkeypatch, tmp_path):
    (tmp_path / "root" / "results").mkdir(parents=True)
    (tmp_path / "store").rename(tmp_path / "root" / "results" / "small")
    monkeypatch.setenv("MLI_MODE", "book")
    (recorded,) = mli.train(run.config)
    with pytest.raises(NotInRecord, match="what is predicted for test images on path 'linear' of .* not in the record"):
        mli.predict_images(recorded, alphas=3)


@pytest.mark.parametrize("images", [0, 398])
def test_more_images_than_there_are_are_refused(run, images):
    with pytest.raises(mli.InputError, match="allowed: from 1 to 397"):
        mli.predict_images(run, images=images)


def test_runs_on_different_data_are_refused(run):
    other = mli.train(run.config.replace(dataset="digits32", epochs=0))
    with pytest.raises(mli.InputError, match="digits, digits32 are not allowed together"):
        mli.predict_images([run, *other])


def test_the_figure_has_a_panel_a_path_and_stands_without_a_run(run):
    figure = mli.picture_figure(*mli.predict_images(run, PATHS, alphas=5))
    assert [axes.get_title() for axes in figure.axes] == ["", "linear path", "homogeneous path"]
    plt.close(figure)
    figure = mli.picture_figure(*mli.predict_images([]))
    assert "nothing to draw" in figure.axes[0].texts[0].get_text()
    plt.close(figure)


def test_what_moves_is_what_was_measured(run):
    frame, pixels = mli.predict_images(run, PATHS, alphas=5)
    curves = mli.interpolate(run, PATHS, 5)
    always, layout, traces = mli.picture_traces(frame, pixels, curves)
    json.dumps([always, layout])  # plain lists and numbers
    of_loss, of_error, words = traces("homogeneous", 0.5)
    row = curves[(curves.path == "homogeneous") & (curves.alpha == 0.5)].iloc[0]
    assert of_loss["y"][0] == pytest.approx(row.loss, rel=1e-3) and of_error["y"][0] == pytest.approx(row.error)
    right = (frame.predicted == frame.label)[(frame.path == "homogeneous") & (frame.alpha == 0.5)]
    assert ["✓" in word for word in words["text"]] == right.tolist()
    assert always[-1]["source"].startswith("data:image/png;base64,")


def test_dots_on_the_square_are_where_the_paths_are(run):
    square = mli.square(run, 5)
    always, layout, traces = mli.square_traces(square, run.config.depth)
    json.dumps([always, layout, traces(0.5)])
    places = [(trace["x"][0], trace["y"][0]) for trace in traces(0.5)]
    assert places == [(0.5, 0.5), (0.5, 0.5**3)] * 2
    on_map = square[(square.alpha_weights == 0.5) & (square.alpha_bias == 0.5)].iloc[0]
    assert traces(0.5)[0]["text"] == [f"<b>linear {on_map.error:.2f}</b>"]
