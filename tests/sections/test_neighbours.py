"""One table of many networks, and single layers: of small trained networks, and of runs made by hand."""

from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
import torch

import mli_utils as mli
from mli_utils.core.initialization import build
from mli_utils.runs import settings
from mli_utils.runs.store import Store
from mli_utils.runs.trained import Run
from mli_utils.sections import neighbours as section

OFFSET = 0.025  # from the last point at chance to where the error crosses the threshold, on the grid below


@pytest.fixture
def runs(small):
    return mli.train(mli.grid(**small, seed=range(3), momentum=[0.0, 0.9]))


def made(status="fitted", errors=(0.9, 0.0), **fields):
    """A run that has errors at steps 0, 10, …"""
    ended = {"steps": 10, "train_loss": 0.1, "train_error": errors[-1], "test_error": 0.25, "seconds": 1.0}
    ended |= {"start_norm": 2.0, "distance": 1.0, "output_bias": [1.0, -1.0], "class_counts": [1], "status": status}
    log = {
        "step": [10 * i for i in range(len(errors))],
        "loss": errors,
        "error": errors,
        "class_error": [[0]] * len(errors),
    }
    return Run(mli.RunConfig(**{"depth": 3, **fields}), {"summary": ended, "history": log}, Store("nowhere"))


def curve(run, path="linear", length=0.0, bump=0.0, **columns):
    """A curve whose error is at chance until α = `length` and whose loss rises by `bump` at the end."""
    alpha = np.linspace(0, 1, 5)
    frame = pd.DataFrame({"alpha": alpha, "error": np.where(alpha <= length, 0.9, 0.0), "loss": [1, 0, 0, 0, bump]})
    return frame.assign(**asdict(run.config), status=run.summary["status"], path=path, **columns)


@pytest.fixture
def page():
    """Runs of three rules and kinds, their curves, and those where one layer or all move, lengths by hand."""
    adam, momentum, sgd = {"optimizer": "adam"}, {"momentum": 0.9}, {"momentum": 0.0}
    grid = [
        made(**rule, **kind, seed=seed, errors=(0.9,) * (seed + 1) + (0.0,))
        for rule in (adam, momentum, sgd)
        for kind in ({"depth": 2}, {"depth": 3}, {"depth": 3, "normalization": "layer"})
        for seed in range(4)
    ]
    runs = [*grid, made(model="vit", depth=None, normalization="layer"), made("unfitted", depth=4, errors=(0.9,))]
    lines = []
    for run in runs:
        normed, bump = run.config.normalization == "layer", 0.5 if run.config.optimizer == "adam" else 0.0
        length = 0.25 * run.config.seed if run.config.depth < 10 else 0.75
        lines.append(curve(run, length=length, bump=bump))
        lines.append(curve(run, "homogeneous", length if normed else 0.0))
    moved = [made(depth=3, seed=seed) for seed in (0, 1)]
    layers = [curve(run, f"layer {i}", 0.25 * (i == 2), layer=i) for run in moved for i in (1, 2, 3)]
    whole = [curve(run, length=0.5) for run in moved]
    return runs, *map(pd.concat, (lines, layers, whole))


def test_the_table_has_a_described_row_a_run(runs):
    lines = section.line_totals(runs, 6)
    table = section.neighbours_table(runs, lines)
    assert list(table) == list(section.COLUMNS) and len(table) == 6
    assert table.rule.tolist() == ["SGD", "momentum"] * 3
    for path, length in (("linear", "error_plateau"), ("homogeneous", "homogeneous_plateau")):
        plateaus = mli.plateau(mli.interpolate(runs, path, 6))
        np.testing.assert_allclose(table[length], plateaus.error_plateau)
    np.testing.assert_allclose(table.relative_distance, [r.summary["distance"] / r.summary["start_norm"] for r in runs])
    fitted = table[table.status == "fitted"]
    assert len(fitted) and (fitted.steps_to_fit <= fitted.steps).all() and (fitted.train_wrong <= 1).all()
    assert table[table.status != "fitted"].steps_to_fit.isna().all()
    assert (table.test_wrong / 397).round(6).tolist() == (1 - table.test_accuracy).round(6).tolist()
    with pytest.raises(mli.InputError, match="a run is there twice"):
        section.neighbours_table([*runs, runs[0]], lines)


@pytest.mark.parametrize(
    ("errors", "step"),
    [((0.9, 0.0), 10), ((0.9, 0.01, 0.02, 0.01), 30), ((0.0, 0.0), 0), ((0.0, 0.5), np.nan), ((0.0, np.nan), np.nan)],
)
def test_steps_to_fit_end_where_the_error_stays_small(errors, step):
    assert section.steps_to_fit(made(errors=errors)) == pytest.approx(step, nan_ok=True)


def test_columns_are_told_and_kept(page):
    runs, lines, *_ = page
    table = section.neighbours_table(runs, lines)
    told = section.columns(table)
    kept = pd.read_csv(settings.figures_dir() / "neighbours-columns.csv")
    assert kept.equals(told) and kept.column.tolist() == list(table) and kept["what it holds"].notna().all()
    with pytest.raises(mli.InputError, match="unknown column 'new'"):
        section.columns(table.assign(new=1))


def test_one_layer_moves_and_the_others_stay(runs):
    curves = section.layer_curves(runs[:1], 3)
    assert sorted(set(curves.layer)) == [1, 2, 3] and len(curves) == 9
    run, model = runs[0], build(runs[0].config)
    images = mli.load_data("digits").first(100)
    moved = {**run.end, "layers.1.weight": run.start["layers.1.weight"]}
    with torch.no_grad():
        logits = model.logits(moved, images.images)
        loss = torch.nn.functional.cross_entropy(logits, images.labels).item()
    second = curves[(curves.layer == 2) & (curves.alpha == 0)]
    assert second.loss.item() == pytest.approx(loss, rel=1e-5)
    assert second.error.item() == pytest.approx((logits.argmax(1) != images.labels).double().mean().item())


def test_the_longest_single_layer_is_laid_beside_all(page):
    _, _, layers, whole = page
    lengths = section.layer_lengths(layers, whole)
    assert lengths.index.tolist() == [0, 1]
    assert lengths.one.tolist() == pytest.approx([0.25 + OFFSET] * 2)
    assert lengths["all"].tolist() == pytest.approx([0.5 + OFFSET] * 2)


def test_two_paths_of_the_deepest_networks_that_have_a_layer_norm(page):
    runs, lines, *_ = page
    found = section.two_paths(mli.only_fitted(section.neighbours_table(runs, lines)))
    assert found.network.value_counts().to_dict() == {"plain": 24, "layer norm": 24, "ViT": 2}
    plain = found[(found.network == "plain") & (found.seed == 3)].groupby("path").error_plateau.first()
    assert plain.to_dict() == pytest.approx({"linear": 0.75 + OFFSET, "homogeneous": OFFSET})


def test_claims_have_the_quantities_they_name(page):
    found = section.measured(*page, tolerance=0.1)
    assert found["adam-makes-bumps"].dropna().tolist() == [0.5] * 12
    assert found["layer-norm-ends-the-story"].tolist() == [0] * 12
    assert found["transformers-end-the-story"].tolist() == [0]
    assert found["one-layer-alone-has-less"].tolist() == pytest.approx([0.25] * 2)
    hard = found["error-plateau-is-not-hardness"]
    assert hard["mean"] == pytest.approx(1) and hard["n"] == 24  # both follow the seed; the unfitted one is left out
    for name in ("plateau-is-not-test-accuracy", "far-goes-with-bumps"):
        assert np.isnan(found[name]["mean"])  # nothing to rank


def test_correlations_are_plain_and_with_depth_and_scale_held(page):
    runs, lines, *_ = page
    fitted = mli.only_fitted(section.neighbours_table(runs, lines))
    found = section.correlations(fitted[fitted.normalization == "none"])
    assert len(found) == 6 * 3 * 2 and found.kind.unique().tolist() == ["plain", "given depth and init scale"]
    row = found[(found.x == "steps_to_fit") & (found.y == "error_plateau")]
    assert row["mean"].tolist() == pytest.approx([1, 1])


def test_numbers_of_the_text(page):
    runs, lines, layers, whole = page
    fitted = mli.only_fitted(section.neighbours_table(runs, lines))
    found = section.numbers(fitted, section.layer_lengths(layers, whole))
    assert (found["rising_adam"], found["rising_momentum"], found["rising_sgd"], found["rising_all"]) == (12, 0, 0, 12)
    assert (found["in_grid"], found["all_runs"], found["fitted_runs"], found["shown"]) == (37, 38, 37, 24)
    assert (found["deepest"], found["norm_depth"], found["norm_width"], found["walked"]) == (4, 3, 128, 2)
    assert found["one_layer"].startswith("0.27") and found["all_layers"].startswith("0.5")


def test_figures_have_a_panel_a_measure_and_say_where_there_is_nothing(page):
    runs, lines, layers, _ = page
    fitted = mli.only_fitted(section.neighbours_table(runs, lines))
    plain = fitted[fitted.normalization == "none"]
    left, right = section.scatter_figure(plain).axes
    assert (left.get_ylabel(), right.get_ylabel()) == ("error plateau (α)", "loss plateau (α)")
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["2", "3", "4"]
    loss, error = section.layer_figure(layers).axes
    assert [line.get_label() for line in loss.lines] == ["1", "2", "3"]
    assert error.lines[1].get_ydata().tolist() == [0.9, 0.9, 0, 0, 0]
    blank = mli.only_fitted(layers.assign(status="unfitted"))
    for figure in (section.layer_figure(blank), section.scatter_figure(plain.assign(steps_to_fit=np.nan))):
        assert figure.axes[0].texts[0].get_text().startswith("nothing to draw")
