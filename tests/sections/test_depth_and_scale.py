"""Effects of the output bias over depth, scale and training, from curves made by hand."""

import itertools
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import mli_utils as mli
from mli_utils.sections import depth_and_scale as section

FREE = 0.1  # error plateau without biases
BIASED = {(2, 1.0): 0.1, (3, 1.0): 0.1, (4, 1.0): 0.2, (2, 0.5): 0.1, (3, 0.5): 0.3, (4, 0.5): 0.6}


def curves(length, **fields):
    """Curves of two seeds that fall off a cliff from chance at `length`, a little later for the second."""
    alphas, frames = np.linspace(0, 1, 101), []
    for config in mli.grid(dataset="digits", seed=[0, 1], **fields):
        chance = alphas <= length + 0.01 * config.seed + 1e-9
        measured = {"loss": np.log(10) * chance, "error": 0.9 * chance}
        frames.append(
            pd.DataFrame({**asdict(config), "status": "fitted", "path": "linear", "alpha": alphas, **measured})
        )
    return pd.concat(frames)


@pytest.fixture
def fitted():
    """Curves over three depths and two scales, with and without an output bias."""
    pairs = [
        curves(length, bias=bias, depth=depth, init_scale=scale)
        for (depth, scale), biased in BIASED.items()
        for bias, length in (("output", biased), ("none", FREE))
    ]
    return pd.concat(pairs)


BASE = {"lr": 0.02, "batch_size": 50, "stop_loss": 0.01}


@pytest.fixture
def tried():
    """Curves of three ways of training, with and without an output bias."""
    ways = [(BASE, 0.5), ({**BASE, "lr": 0.01}, 0.3), ({**BASE, "batch_size": 100, "lr": 0.01}, 0.2)]
    return pd.concat(
        curves(length if bias == "output" else FREE, bias=bias, n_train=100, **way)
        for way, length in ways
        for bias in ("output", "none")
    )


def test_an_effect_is_the_difference_of_a_pair_of_one_seed(fitted):
    found = section.effects(fitted)
    assert list(found) == ["depth", "init_scale", "seed", section.WITH, section.WITHOUT, section.EFFECT]
    deep = found[(found.depth == 4) & (found.init_scale == 0.5)]
    assert deep[section.WITH].tolist() == pytest.approx([0.6, 0.61], abs=0.01)
    assert found.effect.tolist() == pytest.approx([0, 0, 0, 0, 0.2, 0.2, 0, 0, 0.5, 0.5, 0.1, 0.1], abs=1e-6)


def test_a_pair_of_which_one_network_did_not_fit_is_left_out(fitted):
    unfitted = (fitted.bias == "none") & (fitted.depth == 4) & (fitted.init_scale == 0.5) & (fitted.seed == 0)
    fitted.loc[unfitted, ["loss", "error"]] = np.nan
    pairs = section.effects(fitted)
    left_out = pairs[pairs.effect.isna()]
    assert left_out[["depth", "init_scale", "seed"]].values.tolist() == [[4, 0.5, 0]]
    assert left_out[[section.WITH, section.WITHOUT]].isna().all(axis=None)
    cells = section.cells(pairs).set_index(["depth", "init_scale"])
    assert cells.n.loc[4, 0.5] == 1 and cells.n.loc[3, 0.5] == 2
    assert section.trend(pairs[pairs.init_scale == 0.5], "depth", section.EFFECT).isna().tolist() == [True, False]


def test_claims_about_biased_networks_do_not_need_the_others_to_fit(fitted, tried):
    fitted.loc[fitted.bias == "none", ["loss", "error"]] = np.nan
    found = section.measured(fitted, tried, BASE, tolerance=0.1)
    assert found["plateau-grows-with-depth"].tolist() == pytest.approx([1, 1])
    assert found["depth-acts-through-the-bias"].isna().all()


def test_a_page_on_which_nothing_fitted_has_numbers_and_a_placeholder(fitted, tried):
    for frame in (fitted, tried):
        frame[["loss", "error"]] = np.nan
    cells = section.cells(section.effects(fitted))
    ways = section.mean_effects(section.training_effects(tried, BASE))
    found = section.numbers([run(4, 0.5, [0.0, 9.0], status="unfitted")], cells, ways, bound=0.05)
    assert found["beyond_cells"] == 0 and found["effect_deep_small"] == found["begins"] == "–"
    assert section.measured(fitted, tried, BASE, tolerance=0.1)["effect-outlives-training"].isna().all()


@pytest.mark.parametrize(
    ("lows", "said"),
    [
        (
            [0, 0, 0, 0, 0.2, 0],
            "between 4 and 8 layers at the smallest scale, and between 1 and 0.5 of the usual scale at",
        ),
        (
            [0.2, 0, 0, 0, 0, 0],
            "beyond 8 layers at the smallest scale, and beyond 0.5 of the usual scale at the greatest",
        ),
        (
            [0.2] * 6,
            "at 2 layers at the smallest scale or before, and at 1 of the usual scale at the greatest depth or",
        ),
    ],
)
def test_where_the_effect_begins(lows, said):
    cells = pd.DataFrame(itertools.product((2, 4, 8), (0.5, 1.0)), columns=["depth", "init_scale"]).assign(low=lows)
    assert section._begins(cells, 0.05).startswith(said)


def test_kendalls_tau_counts_every_pair_of_depths_and_ties_as_none():
    lengths = {0: [0.1, 0.2, 0.3], 1: [0.1, 0.3, 0.2], 2: [0.2, 0.2, 0.2], 3: [0.3, 0.2, 0.1]}
    rows = [{"seed": s, "depth": d, "x": x} for s, xs in lengths.items() for d, x in zip((2, 10, 4), xs, strict=True)]
    found = section.trend(pd.DataFrame(rows), "depth", "x")
    assert found.index.name == "seed" and found.tolist() == pytest.approx([1 / 3, 1, 0, -1 / 3])


def test_a_line_encloses_the_cells_inside():
    inside = np.array([[False, False], [True, False]])
    assert section.border(inside) == [((-0.5, 0.5), (0.5, 0.5)), ((0.5, 0.5), (0.5, 1.5))]
    assert section.border(np.ones((2, 2), bool)) == []


def test_the_map_writes_value_interval_and_pairs_into_each_cell():
    frame = pd.DataFrame(
        {
            "depth": [2, 3] * 2,
            "init_scale": [0.5, 0.5, 1.0, 1.0],
            "mean": [0.0, 0.3, -0.01, np.nan],
            "low": [-0.1, 0.2, -0.02, np.nan],
            "high": [0.1, 0.4, 0.01, np.nan],
            "n": [5, 5, 5, 0],
            "marked": [False, True, False, False],
        }
    )
    figure = section.map_figure(frame, 0.05)
    said = [text.get_text() for text in figure.axes[0].texts]
    assert said == ["0.000", "(−0.100 to 0.100)\nn = 5", "0.300*", "(0.200 to 0.400)\nn = 5"] + [
        *("−0.010", "(−0.020 to 0.010)\nn = 5", "–", "\nn = 0")
    ]
    assert len(figure.axes[0].lines) == 2  # below the marked cell and beside it
    empty = section.map_figure(frame.assign(mean=np.nan), 0.05)
    assert "nothing to draw" in empty.axes[0].texts[0].get_text()


def test_ways_of_training_are_named_by_what_they_change(tried):
    found = section.training_effects(tried, BASE)
    assert list(found.training.unique()) == [section.BASE, "rate 0.01", "rate 0.01, full batch"]
    means = section.mean_effects(found).set_index(["training", "measure"])["mean"]
    assert means[section.BASE, section.EFFECT] == pytest.approx(0.4)
    assert means["rate 0.01", section.WITHOUT] == pytest.approx(0.11, abs=0.01)


def test_claims_go_seed_by_seed_over_all_depths_and_scales(fitted, tried):
    found = section.measured(fitted, tried, BASE, tolerance=0.1)
    assert found["plateau-grows-with-depth"].tolist() == pytest.approx([1, 1])
    assert found["depth-acts-through-the-bias"].tolist() == pytest.approx([1, 1])
    assert found["plateau-grows-as-scale-shrinks"].tolist() == found["scale-acts-through-the-bias"].tolist() == [1, 1]
    assert found["depth-needs-a-small-scale"].tolist() == pytest.approx([0.4, 0.4])
    usual = found["no-effect-at-the-usual-scale"]
    assert usual.index.names == ["depth", "seed"]
    assert usual.tolist() == pytest.approx([0, 0, 0, 0, 0.1, 0.1], abs=1e-6)
    assert found["effect-outlives-training"].groupby("seed").mean().tolist() == pytest.approx([0.15, 0.15])
    assert found["effect-grows-with-the-rate"].tolist() == pytest.approx([0.2, 0.2])
    assert all("seed" in values.index.names for values in found.values())


def test_the_text_says_how_lengths_grow_and_the_figure_has_a_line_for_each_scale(fitted, tried):
    found = section.trends(section.measured(fitted, tried, BASE, tolerance=0.1))
    assert len(found) == 4 and found["plateau-grows-with-depth/τ"] == "1.00 (1.00 to 1.00)"
    lengths = section.plateaus(fitted)
    assert set(section.deepest(lengths).depth) == {4}
    figure = section.length_figure(lengths)
    assert [axes.get_title() for axes in figure.axes] == [section.WITH, section.WITHOUT]
    assert [len(axes.containers) for axes in figure.axes] == [2, 2]


def test_numbers_of_the_corners_and_of_the_ways(fitted, tried):
    runs = [run(4, 0.5, [0.0, 4.0]), run(4, 0.5, [0.0, 6.0]), run(4, 0.5, None, bias="none"), run(2, 1.0, [0.0, 1.0])]
    runs.append(run(2, 1.0, [0.0, 9.0], status="unfitted"))
    cells = section.cells(section.effects(fitted))
    ways = section.mean_effects(section.training_effects(tried, BASE))
    found = section.numbers(runs, cells, ways, bound=0.05)
    assert (found["gap_deep_small"], found["gap_shallow_large"]) == (5, 1) and np.isnan(found["gap_deep_large"])
    assert found["effect_deep_small"].startswith("0.50") and found["base_effect"].startswith("0.40")
    assert found["beyond_cells"] == 3
    assert (found["least_training"], found["most_training"]) == ("rate 0.01, full batch", "rate 0.01")
    assert (found["shallowest"], found["deepest"], found["smallest"], found["largest"]) == (2, 4, "0.5", "1")
    assert (found["fitted_runs"], found["all_runs"], found["all_cells"]) == (4, 5, 6)
    assert section.counted("tried", runs).items() >= {"tried_all_runs": 5, "tried_fitted_runs": 4}.items()


def run(depth, init_scale, output_bias, bias="output", status="fitted"):
    config = mli.RunConfig(depth=depth, init_scale=init_scale, bias=bias)
    summary = {"status": status, "output_bias": output_bias, "class_counts": [5, 5]}
    return SimpleNamespace(config=config, summary=summary)
