"""One table of many networks, and single layers: of small trained networks, and of runs made by hand."""

from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
import torch

import mli_utils as mli
from mli_utils.core.initialization import build
from mli_utils.core.parameters import without_output_bias
from mli_utils.runs import settings
from mli_utils.runs.store import Store
from mli_utils.runs.trained import Run
from mli_utils.sections import neighbours as section

OFFSET = 0.025  # from the last point at chance to where the error crosses the threshold, on the grid below


@pytest.fixture
def runs(small):
    return mli.train(mli.grid(**small, seed=range(3), momentum=[0.0, 0.9]))


def made(status="fitted", errors=(0.9, 0.0), output_bias=(1.0, -1.0), distance=1.0, **fields):
    """A run that has errors at steps 0, 10, …"""
    ended = {"steps": 10, "train_loss": 0.1, "train_error": errors[-1], "test_error": 0.25, "seconds": 1.0}
    ended |= {
        "start_norm": 2.0,
        "distance": distance,
        "output_bias": list(output_bias),
        "class_counts": [1],
        "status": status,
    }
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


TREATMENTS = ("linear", "homogeneous", "zeroed", "dose 1", "dose 4", section.CENTRED)


@pytest.fixture(scope="module")
def page():
    """Runs and curves by part, and curves where one layer moves, all made by hand.

    In the grid plateaus follow the seed. Of the kinds, plain networks lose their plateau with the bias, the others with
    their common logits. Of the networks that moved far, those of Adam at its largest rate have a loss that rises.
    """
    adam, momentum, sgd = {"optimizer": "adam"}, {"momentum": 0.9}, {"momentum": 0.0}
    grid = [
        made(**rule, depth=depth, seed=seed, errors=(0.9,) * (seed + 1) + (0.0,))
        for rule in (adam, momentum, sgd)
        for depth in (2, 3)
        for seed in range(4)
    ] + [made("unfitted", depth=4, errors=(0.9,))]
    three = {"plain": {}, "layer norm": {"normalization": "layer"}, "ViT": {"model": "vit", "normalization": "layer"}}
    kinds = [
        made(**{"depth": 10, **kind}, bias=bias, seed=seed)
        for kind in three.values()
        for bias in ("output", "none")
        for seed in range(2)
    ]
    far = [
        made(**rule, lr=lr, depth=5, seed=seed, output_bias=[seed, 0.0], distance=lr)
        for rule in (adam, momentum)
        for lr in (0.1, 0.5)
        for seed in range(9)
    ]
    curves = {"grid": [], "kinds": [], "far": []}
    for run in grid:
        curves["grid"] += [curve(run, length=0.25 * run.config.seed), curve(run, "homogeneous")]
    for run in kinds:
        plain = run.config.normalization == "none"
        for path in TREATMENTS:
            biased = path == "linear" or path.startswith("dose")
            holds = biased and run.config.bias == "output" if plain else path != section.CENTRED
            curves["kinds"].append(curve(run, path, 0.5 if holds else 0.0))
    for run in far:
        rises = run.config.optimizer == "adam" and run.config.lr == 0.5
        for path in ("linear", "homogeneous", "zeroed", section.CENTRED):
            curves["far"].append(curve(run, path, bump=0.1 * run.config.seed if rises and path == "linear" else 0.0))
    moved = [run for run in kinds if run.config.normalization == "none" and run.config.bias == "output"]
    layers = [curve(run, f"layer {i}", 0.25 * (i == 2), layer=i) for run in moved for i in (1, 2, 3)]
    return (
        {"grid": grid, "kinds": kinds, "far": far},
        {n: pd.concat(some) for n, some in curves.items()},
        pd.concat(layers),
    )


@pytest.fixture(scope="module")
def fitted(page):
    return mli.only_fitted(section.neighbours_table(*page[:2]))


def test_the_table_has_a_described_row_a_run(runs):
    parts, lines = {"grid": runs[:4], "far": runs[4:]}, section.line_curves(runs, 6)
    curves = {"grid": lines[lines.seed < 2], "far": lines[lines.seed == 2]}
    table = section.neighbours_table(parts, curves)
    assert list(table) == list(section.COLUMNS) and len(table) == 6
    assert table.rule.tolist() == ["SGD", "momentum"] * 3 and table.part.tolist() == ["grid"] * 4 + ["far"] * 2
    for path, length in (("linear", "error_plateau"), ("homogeneous", "homogeneous_plateau")):
        plateaus = mli.plateau(mli.interpolate(runs, path, 6))
        np.testing.assert_allclose(table[length], plateaus.error_plateau, atol=1e-5)
    np.testing.assert_allclose(table.relative_distance, [r.summary["distance"] / r.summary["start_norm"] for r in runs])
    fitted = table[table.status == "fitted"]
    assert len(fitted) and (fitted.steps_to_fit <= fitted.steps).all() and (fitted.train_wrong <= 1).all()
    assert table[table.status != "fitted"].steps_to_fit.isna().all()
    assert (table.test_wrong / 397).round(6).tolist() == (1 - table.test_accuracy).round(6).tolist()
    with pytest.raises(mli.InputError, match="a run is there twice"):
        section.neighbours_table({"grid": runs, "far": runs[:1]}, {"grid": lines, "far": lines})


@pytest.mark.parametrize(
    ("errors", "step"),
    [((0.9, 0.0), 10), ((0.9, 0.01, 0.02, 0.01), 30), ((0.0, 0.0), 0), ((0.0, 0.5), np.nan), ((0.0, np.nan), np.nan)],
)
def test_steps_to_fit_end_where_the_error_stays_small(errors, step):
    assert section.steps_to_fit(made(errors=errors)) == pytest.approx(step, nan_ok=True)


def test_columns_are_told_and_kept(page):
    table = section.neighbours_table(*page[:2])
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


def test_a_treated_network_has_its_own_curves_and_others(runs):
    """The linear and the homogeneous path are those of `mli.interpolate`."""
    treated = section.treated_curves(runs[:2], [4.0], 6)
    assert treated.path.unique().tolist() == ["linear", "homogeneous", "zeroed", "dose 4", section.CENTRED]
    for path in ("linear", "homogeneous"):
        expected = mli.interpolate(runs[:2], path, 6)
        np.testing.assert_allclose(treated[treated.path == path].loss, expected.loss, rtol=1e-4)


def test_centred_logits_are_what_tells_images_apart(runs):
    run = runs[0]
    model, images = build(run.config), mli.load_data("digits").first(100)
    with torch.no_grad():
        logits = model.logits(without_output_bias(run.end), images.images)
    wrong = ((logits - logits.mean(0)).argmax(1) != images.labels).double().mean().item()
    treated = section.treated_curves([run], [], 3)
    assert treated[(treated.path == section.CENTRED) & (treated.alpha == 1)].error.item() == pytest.approx(wrong)


def test_the_longest_single_layer_is_laid_beside_all(page):
    _, curves, layers = page
    kinds = curves["kinds"]
    plain = kinds[(kinds.normalization == "none") & (kinds.bias == "output") & (kinds.path == "linear")]
    lengths = section.layer_lengths(layers, plain)
    assert lengths.index.tolist() == [0, 1]
    assert lengths.one.tolist() == pytest.approx([0.25 + OFFSET] * 2)
    assert lengths["all"].tolist() == pytest.approx([0.5 + OFFSET] * 2)


def test_treatments_are_told_apart_by_architecture(page):
    lengths = section.treated_lengths(page[1]["kinds"])
    assert lengths.architecture.value_counts().to_dict() == {"plain": 14, "layer norm": 14, "ViT": 14}
    means = section.treatment_means(lengths).set_index(["architecture", "treatment"])
    assert means["mean"]["plain", "linear"] == pytest.approx(0.5 + OFFSET)
    for treatment in ("zeroed", section.WITHOUT):
        assert means["mean"]["plain", treatment] == pytest.approx(OFFSET)
        assert means["mean"]["ViT", treatment] == pytest.approx(0.5 + OFFSET)
    uneven = section.treatment_means(lengths.assign(error_plateau=lengths.seed))
    assert uneven.low.eq(0).all() and uneven.high.eq(1).all()


def test_rises_are_laid_beside_distance_with_the_bias_and_without(page, fitted):
    rises = section.rises(fitted, page[1]["far"])
    assert len(rises) == 72 and rises["output bias"].value_counts().to_dict() == {"trained": 36, "zeroed": 36}
    assert rises[section.DISTANCE].tolist() == (rises.lr / 2).tolist()
    rising = rises[rises.bump > 0]
    assert set(rising.rule) == {"Adam"} and set(rising["output bias"]) == {"trained"} and set(rising.lr) == {0.5}


def test_claims_have_the_quantities_they_name(page):
    found = section.measured(*page, tolerance=0.1)
    assert found["monotone-is-the-rule"].dropna().tolist() == [1] * 24
    assert found["error-plateau-is-not-hardness"]["n"] == 24  # the unfitted one is left out
    assert found["error-plateau-is-not-hardness"]["mean"] == pytest.approx(1)  # both follow the seed
    assert np.isnan(found["plateau-is-not-test-accuracy"]["mean"])  # nothing to rank
    assert found["adam-makes-bumps"].tolist() == [0] + [1] * 8
    assert found["far-goes-with-bumps"]["mean"] > 0.5 and found["far-goes-with-bumps"]["n"] == 9
    assert found["gap-goes-with-bumps"]["mean"] == pytest.approx(1)
    for name in ("layer-norm-needs-no-bias", "transformers-need-no-bias"):
        assert found[name].tolist() == pytest.approx([0.5 + OFFSET] * 2)
    for name in ("zeroing-changes-nothing-there", "nor-does-a-dose", "nor-training-without"):
        assert found[name].tolist() == [0] * 4 and "seed" in found[name].index.names
    assert found["common-logits-hold-the-error"].tolist() == pytest.approx([0.5] * 4)
    assert found["one-layer-alone-has-less"].tolist() == pytest.approx([0.25] * 2)


def test_correlations_are_plain_and_with_settings_held(fitted):
    found = section.correlations(fitted[fitted.part == "grid"])
    assert len(found) == 6 * 2 * 2 and found.kind.unique().tolist() == ["plain", "settings held"]
    row = found[(found.x == "steps_to_fit") & (found.y == "error_plateau")]
    assert row["mean"].tolist() == pytest.approx([1, 1])


def test_numbers_of_the_text(page, fitted):
    found = section.numbers([run for some in page[0].values() for run in some], fitted, *page[1:])
    assert (found["rising_Adam_trained"], found["rising_Adam_zeroed"], found["of_Adam"]) == (8, 0, 9)
    assert (found["rising_momentum_trained"], found["rate_adam"], found["rising_grid"]) == (0, 0.5, 0)
    assert (found["in_grid"], found["all_runs"], found["fitted_runs"], found["shown"]) == (24, 73, 72, 24)
    assert (found["deepest"], found["widest"], found["walked"]) == (4, 128, 2)
    assert found["one_layer"].startswith("0.27") and found["all_layers"].startswith("0.5")


def test_figures_have_a_panel_a_depth_or_a_measure_and_say_where_there_is_nothing(page, fitted):
    grid, layers = fitted[fitted.part == "grid"], page[2]
    panels = section.depth_figure(grid).axes
    assert [axes.get_title() for axes in panels] == ["depth 2", "depth 3", "depth 4"]
    loss, error = section.layer_figure(layers).axes
    assert loss.get_yscale() == "log" and len(loss.lines[0].get_xdata()) == 6
    assert error.lines[1].get_ydata().tolist() == pytest.approx([0.9] * 3)
    blank = mli.only_fitted(layers.assign(status="unfitted"))
    for figure in (section.layer_figure(blank), section.depth_figure(grid.assign(steps_to_fit=np.nan))):
        assert figure.axes[0].texts[0].get_text().startswith("nothing to draw")
