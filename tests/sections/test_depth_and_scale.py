from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import mli_utils as mli
from mli_utils.sections import depth_and_scale as section

ENDS = {  # where the error begins to fall, by bias and path: at depths 2 and 3, and at depth 3 from a smaller scale
    ("none", "linear"): {(2, 1.0): 0.1, (3, 1.0): 0.2, (3, 0.5): 0.2},
    ("output", "homogeneous"): {(2, 1.0): 0.1, (3, 1.0): 0.1, (3, 0.5): 0.1},
    ("output", "linear"): {(2, 1.0): 0.2, (3, 1.0): 0.5, (3, 0.5): 0.6},
}


@pytest.fixture
def fitted():
    """Curves that fall off a cliff from chance at their plateau's end, a little later for the second seed."""
    alphas, frames = np.linspace(0, 1, 101), []
    for (bias, path), ends in ENDS.items():
        for (depth, scale), end in ends.items():
            for config in mli.grid(dataset="digits", bias=bias, depth=depth, init_scale=scale, seed=[0, 1]):
                chance = alphas <= end + 0.01 * config.seed + 1e-9
                measured = {"loss": np.log(10) * chance, "error": 0.9 * chance}
                told = {"status": "fitted", "path": path, "alpha": alphas}
                frames.append(pd.DataFrame({**asdict(config), **told, **measured}))
    return pd.concat(frames)


def test_three_kinds_of_curve_in_the_order_of_depth_and_scale(fitted):
    lengths = section.plateaus(fitted)
    assert list(lengths.curve.unique()) == ["output bias, linear", "output bias, homogeneous", "no biases"]
    line = lengths[lengths.curve == section.LINE]
    assert list(zip(line.depth, line.init_scale, line.seed, strict=True)) == [
        (depth, scale, seed) for depth, scale in ((2, 1.0), (3, 0.5), (3, 1.0)) for seed in (0, 1)
    ]
    assert line.error_plateau.tolist() == pytest.approx([0.2, 0.21, 0.6, 0.61, 0.5, 0.51], abs=0.01)


def test_claims_compare_the_ends_seed_by_seed(fitted):
    found = section.measured(fitted, 3, 1.0, tolerance=0.1)
    assert found["plateau-grows-with-depth"].tolist() == pytest.approx([0.3, 0.3])
    assert found["plateau-grows-as-scale-shrinks"].tolist() == pytest.approx([0.1, 0.1])
    assert found["depth-acts-through-the-bias"].tolist() == pytest.approx([0.2, 0.2])


def test_a_seed_of_which_one_network_did_not_fit_is_left_out(fitted):
    fitted.loc[(fitted.bias == "none") & (fitted.depth == 2) & (fitted.seed == 0), ["loss", "error"]] = np.nan
    found = section.measured(fitted, 3, 1.0, tolerance=0.1)
    assert found["plateau-grows-with-depth"].isna().tolist() == [False, False]
    assert found["depth-acts-through-the-bias"].isna().tolist() == [True, False]


def test_rows_at_both_ends_are_named():
    lengths = pd.DataFrame({"curve": "a", "depth": [4, 6, 8], "mean": [0.1, 0.2, 0.3]})
    found = section.ends(lengths, "depth")
    assert list(zip(found.depth, found["mean"], strict=True)) == [("shallowest", 0.1), ("deepest", 0.3)]
    alone = section.ends(lengths[:1].rename(columns={"depth": "init_scale"}), "init_scale")
    assert list(alone.init_scale) == ["smallest", "largest"]


@pytest.mark.parametrize(
    "means, said",
    [
        ([0.1, 0.2, 0.2], "rises at every step"),
        ([0.3, 0.2, 0.1], "falls at every step"),
        ([0.1, 0.3, 0.2], "is not monotone"),
        ([0.1, np.nan, 0.2], "is not known everywhere"),
    ],
)
def test_the_course_of_means_in_words(means, said):
    lengths = pd.DataFrame({"curve": section.LINE, "measure": "error_plateau", "mean": means})
    others = lengths.assign(curve=section.FREE, mean=lengths["mean"].to_numpy()[::-1])
    assert section.course(pd.concat([lengths, others]), "error_plateau") == said


def test_gaps_are_means_over_fitted_networks_with_a_bias():
    runs = [
        run(2, 1.0, 0, [0.0, 1.0]),
        run(2, 1.0, 1, [0.0, 3.0]),
        run(2, 1.0, 0, None, bias="none"),
        run(3, 1.0, 0, [0.0, 4.0]),
        run(3, 1.0, 1, [0.0, 9.0], status="unfitted"),
        run(3, 0.5, 0, [0.0, 6.0]),
    ]
    means = pd.DataFrame({"curve": section.LINE, "measure": ["error_plateau", "loss_plateau"], "mean": 0.1})
    numbers = section.numbers(runs, means, means, 3, 1.0)
    assert (numbers["shallowest"], numbers["deepest"]) == (2, 3)
    assert (numbers["gap_shallowest"], numbers["gap_deepest"]) == (2, 4)
    assert (numbers["smallest"], numbers["largest"]) == ("0.5", "1")
    assert (numbers["gap_smallest"], numbers["gap_largest"]) == (6, 4)
    assert (numbers["fitted_runs"], numbers["all_runs"]) == (5, 6)


def run(depth, init_scale, seed, output_bias, bias="output", status="fitted"):
    config = mli.RunConfig(depth=depth, init_scale=init_scale, seed=seed, bias=bias)
    summary = {"status": status, "output_bias": output_bias, "class_counts": [5, 5]}
    return SimpleNamespace(config=config, summary=summary)
