"""Section 05: predictions for images are the network's own; what is claimed is what the curves say."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

import mli_utils as mli
from mli_utils.core.estimates import mean_and_interval
from mli_utils.core.evaluation import statistics_of
from mli_utils.runs import record
from mli_utils.runs.files import address
from mli_utils.runs.trained import NotInRecord, run_key
from mli_utils.sections import bias_ablation
from mli_utils.sections.bias_ablation import picture_figure, predict_images

PATHS = ["linear", "homogeneous"]


@pytest.fixture
def run(small):
    (run,) = mli.train(mli.RunConfig(**small, bias="output"))
    return run


def test_predictions_are_the_network_s_own(run):
    frame, pixels = predict_images(run, PATHS, alphas=5, images=12)
    assert len(frame) == 2 * 5 * 12 and pixels.shape == (12, 8, 8, 3)
    test = mli.load_data("digits", "test").first(12)
    assert np.allclose(pixels[..., 0], test.images[:, 0], atol=0.5 / 255)
    model = mli.build(run.config)
    for path in PATHS:
        there = mli.interpolate_parameters(model, run.start, run.end, 0.75, path)
        probability, label = model.logits(there, test.images).softmax(-1).max(-1)
        rows = frame[(frame.path == path) & (frame.alpha == 0.75)]
        assert rows.predicted.tolist() == [test.classes[i] for i in label]
        assert np.allclose(rows.probability, probability, atol=1e-3)
        assert rows.label.tolist() == [test.classes[i] for i in test.labels]


def test_batch_norm_normalises_by_the_training_set(small):
    fields = dict(model="resnet18", normalization="batch", dataset="digits32", n_train=30, width=2, epochs=1)
    (run,) = mli.train(mli.RunConfig(**fields, init_scale=1.0, batch_size=15))
    frame, pixels = predict_images(run, ["linear"], alphas=2, images=3)
    model, images = mli.build(run.config), mli.load_data("digits32").first(30).images
    with torch.no_grad():
        statistics = statistics_of(model, run.end, images)
        said = model.logits(run.end, mli.load_data("digits32", "test").first(3).images, statistics).argmax(-1)
    assert frame[frame.alpha == 1].predicted.tolist() == [str(i.item()) for i in said]
    assert pixels.shape == (3, 32, 32, 3)


def test_what_is_kept_needs_neither_network_nor_images(run, monkeypatch, tmp_path):
    before, _ = predict_images(run, alphas=3, images=4)
    for path in (tmp_path / "store").glob("runs/*.npz"):
        path.unlink()
    monkeypatch.setattr(bias_ablation, "load_data", None)
    after, pixels = predict_images(run, alphas=3, images=4)
    assert after.equals(before) and len(pixels) == 4
    entries = [json.loads(path.read_text(encoding="utf-8")) for path in (tmp_path / "store" / "images").glob("*.json")]
    assert len(entries) == 2 and all("provenance" in entry["body"] for entry in entries)


def test_a_book_from_the_record_says_what_it_lacks(run, monkeypatch, tmp_path):
    key = run_key(run.config)
    rows = {f"runs/{address(key)}": record.row(key, run.body, ["05_bias_ablation"])}
    record.write(tmp_path / "root" / "results" / "small", rows, {})
    monkeypatch.setenv("MLI_MODE", "book")
    (recorded,) = mli.train(run.config)
    assert recorded.body == run.body
    with pytest.raises(NotInRecord, match="what is predicted for test images on path 'linear' of .* not in the record"):
        predict_images(recorded, alphas=3)


@pytest.mark.parametrize("images", [0, 398])
def test_more_images_than_there_are_are_refused(run, images):
    with pytest.raises(mli.InputError, match="allowed: from 1 to 397"):
        predict_images(run, images=images)


def test_runs_on_different_data_are_refused(run):
    other = mli.train(run.config.replace(dataset="digits32", epochs=0))
    with pytest.raises(mli.InputError, match="digits, digits32 are not allowed together"):
        predict_images([run, *other])


def test_the_figure_has_a_panel_a_path_and_stands_without_a_run(run):
    figure = picture_figure(*predict_images(run, PATHS, alphas=5))
    assert [axes.get_title() for axes in figure.axes] == ["", "linear path", "homogeneous path"]
    figure = picture_figure(*predict_images([]))
    assert "nothing to draw" in figure.axes[0].texts[0].get_text()


def test_what_moves_is_what_was_measured(run):
    frame, pixels = predict_images(run, PATHS, alphas=5)
    others = mli.train(mli.grid(**{**vars(run.config), "seed": [1], "bias": ["none", "output"]}))
    curves = mli.interpolate([*others, run], PATHS, 5)
    figure = bias_ablation.moving(frame, pixels, curves)
    assert figure.controls == {"path": PATHS, "α": [0, 0.25, 0.5, 0.75, 1]}
    json.dumps([figure.always, figure.layout, figure.traces("linear", 0)])  # plain lists and numbers
    lines = [trace for trace in figure.always if "line" in trace]
    assert [trace["name"] for trace in lines] == ["linear", "linear", "homogeneous", "homogeneous"]
    of_loss, of_error, words = figure.traces("homogeneous", 0.5)
    own = curves[(curves.bias == "output") & (curves.seed == 0)]  # of the same network, not of another
    row = own[(own.path == "homogeneous") & (own.alpha == 0.5)].iloc[0]
    assert of_loss["y"][0] == pytest.approx(row.loss, rel=1e-3) and of_error["y"][0] == pytest.approx(row.error)
    assert lines[2]["y"] == pytest.approx(own[own.path == "homogeneous"].loss.tolist(), rel=1e-3)
    right = (frame.predicted == frame.label)[(frame.path == "homogeneous") & (frame.alpha == 0.5)]
    assert ["✓" in word for word in words["text"]] == right.tolist()
    assert figure.always[-1]["source"].startswith("data:image/png;base64,")


def test_the_headline_names_each_case_and_brackets_its_plateau(small):
    curves = mli.interpolate(mli.train(mli.grid(**small, bias=["none", "output"], seed=range(2))), PATHS, 5)
    plateaus = mli.plateau(curves)
    figure = bias_ablation.error_figure(curves, plateaus)
    said = [text.get_text() for text in figure.axes[0].texts]
    means = plateaus.groupby(["bias", "path"]).error_plateau.mean()
    named = [f"{name}: {means[case]:.2f}" for name, case in bias_ablation.CASES.items()]
    assert said == [*named, "chance"]
    figure = bias_ablation.error_figure(curves[:0], plateaus)
    assert "nothing to draw" in figure.axes[0].texts[0].get_text()


def test_without_a_fitted_network_nothing_moves(small):
    runs = mli.train(mli.grid(**{**small, "epochs": 1}, bias=["none", "output"]))
    one = bias_ablation.one_network(runs)
    assert one == []
    assert bias_ablation.moving(*predict_images(one, PATHS, 5), mli.interpolate(runs, PATHS, 5)) is None


def test_the_network_shown_is_the_first_that_fitted_and_has_an_output_bias(small):
    unfitted = mli.train(mli.RunConfig(**{**small, "epochs": 1}, bias="output"))
    fitted = mli.train(mli.grid(**small, bias=["none", "all", "output"], seed=range(2)))
    assert {run.summary["status"] for run in fitted} == {"fitted"}
    (found,) = bias_ablation.one_network([*unfitted, *fitted])
    assert found is fitted[4] and found.config.bias == "output" and found.config.seed == 0


# The lengths of plateaus by seed: of networks with an output bias on both paths, and without biases.
LENGTHS = {
    ("output", "linear"): ([0.8, 0.9, 0.7], [0.50, 0.60, 0.70]),
    ("output", "homogeneous"): ([0.3, 0.2, 0.1], [0.40, 0.50, 0.60]),
    ("none", "linear"): ([0.1, 0.3, 0.2], [0.25, 0.30, 0.35]),
}


@pytest.fixture
def plateaus():
    rows = [
        {"bias": bias, "path": path, "seed": seed, "error_plateau": error, "loss_plateau": loss}
        for (bias, path), lengths in LENGTHS.items()
        for seed, (error, loss) in enumerate(zip(*lengths, strict=True))
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=0)  # the order of rows does not matter


def test_lengths_are_compared_seed_by_seed(plateaus):
    rows = bias_ablation.compare(plateaus).set_index("statement")
    assert list(rows) == ["mean", "low", "high", "n"] and rows.n.tolist() == [3, 3]
    for said, differences in (
        ("longer than on the homogeneous path", [0.5, 0.7, 0.6]),
        ("longer than without biases", [0.7, 0.6, 0.5]),
    ):
        expected = mean_and_interval(differences)
        assert rows.loc[said].to_dict() == pytest.approx(expected)
    missing = plateaus.assign(error_plateau=plateaus.error_plateau.where(plateaus.seed != 1))
    assert bias_ablation.compare(missing).n.tolist() == [2, 2]
    nothing = bias_ablation.compare(plateaus.assign(error_plateau=np.nan))
    assert nothing.n.tolist() == [0, 0] and nothing["mean"].isna().all()


def ramp(length, dataset="digits", points=101):
    """A curve that stays at chance up to just before `length`, where it falls below nine tenths of it."""
    alpha = np.linspace(0, 1, points)
    fall = np.clip(1 - 0.1 * alpha / length, 0, 1)  # nine tenths at `length`
    return alpha, np.log(10) * fall, 0.9 * fall


def test_claims_are_measured_from_curves_by_seed(plateaus):
    fields = {name: getattr(mli.RunConfig(), name) for name in mli.RunConfig.__dataclass_fields__}
    frames = []
    for row in plateaus.itertuples():
        (alpha, loss, _), (_, _, error) = ramp(row.loss_plateau), ramp(row.error_plateau)
        own = {**fields, "bias": row.bias, "seed": row.seed, "status": "fitted", "path": row.path}
        frames.append(pd.DataFrame({**own, "alpha": alpha, "loss": loss, "error": error}))
    found = bias_ablation.measured(pd.concat(frames, ignore_index=True), 0.1)
    expected = {
        "homogeneous-path-shortens-the-error-plateau": [0.8 - 0.6, 0.9 - 0.4, 0.7 - 0.2],
        "biases-make-the-error-plateau": [0.8 - 0.2, 0.9 - 0.6, 0.7 - 0.4],
        "biases-make-the-loss-plateau": [0.25, 0.3, 0.35],
        "loss-plateau-needs-no-bias": [0.5, 0.5, 0.5],
    }
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].sort_index().tolist() == pytest.approx(values, abs=1e-9), name
    longer = bias_ablation.measured(pd.concat(frames, ignore_index=True), 0.05)["biases-make-the-loss-plateau"]
    assert longer.sort_index().tolist() == pytest.approx([0.125, 0.15, 0.175], abs=1e-9)  # half the fall, half the way


def test_numbers_of_the_text(small, plateaus):
    runs = mli.train(mli.grid(**small, bias=["none", "output"], seed=range(2)))
    unfitted = mli.train(mli.RunConfig(**{**small, "epochs": 1}, bias="output"))
    found = bias_ablation.numbers([*runs, *unfitted], plateaus)
    assert found["loss_left"] == pytest.approx(100 * 0.3 / 0.6)
    gaps = [max(bias) - min(bias) for run in runs if (bias := run.summary["output_bias"])]
    assert len(gaps) == 2 and found["gap"] == pytest.approx(np.mean(gaps))  # of those that fitted
    assert found["members"] == "10" and (found["all_runs"], found["fitted_runs"]) == (5, 4)
    assert found["fit"].startswith("4 of 5 networks fit their training set; 1 gets more")
    uneven = mli.train(mli.RunConfig(**{**small, "n_train": 103, "epochs": 0}))
    assert bias_ablation.numbers(uneven, plateaus)["members"] == "10 to 11"
