"""Claims and numbers of practical networks, from curves made by hand."""

from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import mli_utils as mli
from mli_utils.runs.measured import class_order
from mli_utils.sections import practical_networks as section

PLATEAUS = {  # error plateaus by network and treatment
    section.VGG: {"as trained": 0.5, "homogeneous": 0.2, "zeroed": 0.1, "permuted": 0.5, section.FREE: 0.1},
    section.USUAL: {"as trained": 0.1, "zeroed": 0.1},
    section.ALL: {"as trained": 0.6, "zeroed": 0.4},
    section.RESNET: {"as trained": 0.3, "zeroed": 0.2, section.FREE: 0.15},
}
PLATEAUS[section.VGG] |= {f"{section.FREE}, dose {gap:g}": 0.1 + gap / 10 for gap in section.DOSES}


def curve(seed, length, loss=(2.0, 1.0, 0.5), **columns):
    """A curve on digits whose error is at chance until α = `length` and none afterwards."""
    fields = {**asdict(mli.RunConfig()), "seed": seed, "path": "linear", **columns}
    alphas = (0.0, length, length + 1e-6, 1.0)
    return [
        {**fields, "alpha": alpha, "loss": there, "error": 0.9 if alpha <= length else 0.0}
        for alpha, there in zip(alphas, (*loss, 0.4), strict=True)
    ]


@pytest.fixture
def curves():
    rows = []
    for network, lengths in PLATEAUS.items():
        for treatment, length in lengths.items():
            bias = "none" if treatment.startswith(section.FREE) else "output"
            for seed in (0, 1):
                of_curve = {"network": network, "treatment": treatment, "bias": bias, "path": treatment}
                rows += curve(seed, length + 0.02 * seed, **of_curve)
    return pd.DataFrame(rows)


def test_the_plateau_is_split_in_two(curves):
    found = section.split(mli.plateau(curves))
    assert found.index.tolist() == [0, 1]
    treatments = [treatment for network, treatment in found if network == section.VGG]
    doses = [f"{section.FREE}, dose {gap}" for gap in ("0.5", "1", "2", "4")]
    expected = ["as trained", "homogeneous", "zeroed", "permuted", section.FREE, *doses, section.MADE]
    assert sorted(treatments) == sorted(expected)
    vgg = found[section.VGG]
    assert vgg[section.MADE].tolist() == pytest.approx([0.4, 0.4], abs=1e-4)
    assert (vgg[section.MADE] + vgg.zeroed - vgg["as trained"]).abs().max() < 1e-12
    rows = section.summary(found).set_index(["network", "treatment"])
    assert rows["mean"][section.VGG, "as trained"] == pytest.approx(0.51, abs=1e-4)
    assert rows.low[section.USUAL, "as trained"] == 0  # cut to what a plateau can be
    assert rows.n.isin((0, 2)).all()


def test_claims_compare_seed_by_seed_and_take_statistics_recomputed(curves):
    without = (curves.bias == "none") & (curves.seed == 1)
    curves.loc[without, ["loss", "error"]] = np.nan
    rises = (2.0, 2.5, 0.5)
    statistics = curve(0, 0.1, loss=rises, statistics="recomputed") + curve(1, 0.1, statistics="recomputed")
    statistics += curve(1, 0.1, loss=rises, statistics="frozen")
    found = section.measured(curves, pd.DataFrame(statistics), tolerance=0.2)
    expected = {
        "practical-networks-have-the-plateau": [0.3, 0.3],
        "practical-plateau-needs-the-bias": [0.4, np.nan],  # a seed whose network without biases did not fit
        "practical-bias-makes-most": [0.3, 0.28],
        "practical-dose-makes-a-plateau": [0.4, np.nan],
        "practical-all-biases-lengthen-the-plateau": [0.5, np.nan],
        "practical-usual-scale-has-no-effect": [0, 0],
        "practical-effect-needs-small-scale": [0.4, 0.4],
        "practical-loss-plateau-needs-no-bias": [0.4 * (2 - 0.8 * np.log(10))] * 2,  # loss falls from 2 to 1
        "batch-norm-plateau-needs-no-bias": [0.1, 0.1],
        "batch-norm-plateau-trained-without-bias": [0.15, np.nan],
        "batch-norm-breaks-monotonicity": [1, 0],
    }
    for claim, values in expected.items():
        assert found[claim].tolist() == pytest.approx(values, abs=1e-4, nan_ok=True), claim
        assert found[claim].index.names == ["seed"], claim


def made(seed, bias, status="fitted", learned=(1, 2)):
    config = mli.RunConfig(seed=seed, width=4, bias="output" if bias else "none")
    summary = {"status": status, "output_bias": bias, "class_counts": [1, 1], "test_error": 0.2}
    errors = {f"class_error_{label}": [1.0 * (step < at) for step in range(4)] for label, at in enumerate(learned)}
    return SimpleNamespace(config=config, summary=summary, history=pd.DataFrame({"step": range(4), **errors}))


def test_orders_are_by_seed():
    found = section.orders(class_order([made(205, [0.0, 1.0]), made(207, [1.0, 0.0])]))
    assert found.to_dict() == pytest.approx({205: 1, 207: -1}) and found.index.name == "seed"


def test_numbers_carry_the_network_in_their_names(curves):
    few = [made(0, [0.0, 2.0]), made(0, None), made(1, [0.0, 9.0], status="unfitted")]
    lengths = mli.plateau(curves)
    networks = {section.VGG: few, section.ALL: [], section.USUAL: few[:1], section.RESNET: few[:1]}
    found = section.numbers(networks, class_order([]), lengths)
    assert found["VGG-16 gap"] == 2 and found["VGG-16 width"] == 4 and found["VGG-16 dataset"] == "digits"
    assert found["fit"].startswith("4 of 5 networks fit")
    assert (found["VGG-16 seeds"], found["VGG-16 none test"]) == (1, "0.20 (0.20 to 0.20)")  # the other did not fit
    assert found["ordered"] == 0 and found["order"] == "–"
    assert found["without"] == ""
    assert found["all_biases"] == "VGG-16 with a bias in every layer, as torchvision has it, was not trained here."
    found = section.numbers({**networks, section.ALL: few, section.RESNET: few}, class_order([]), lengths)
    assert found["more"].startswith("0.29")
    assert "0.61" in found["all_biases"] and "0.41" in found["all_biases"] and "0.16" in found["without"]


def test_plateaus_stand_against_the_gap_of_their_bias(curves):
    runs = {section.VGG: [made(0, [0.0, 3.0]), made(1, [1.0, 3.0]), made(0, None)], section.USUAL: []}
    against = section.against_gap(mli.plateau(curves[curves.network == section.VGG]), runs)
    trained = against[against.given == "in training"].set_index(["seed", "gap"]).error_plateau
    assert trained.to_dict() == pytest.approx({(0, 3): 0.5, (0, 0): 0.1, (1, 2): 0.52, (1, 0): 0.12}, abs=1e-4)
    given = against[against.given == "after training"].groupby("gap").error_plateau.mean()
    assert given.to_dict() == pytest.approx({0: 0.11, 0.5: 0.16, 1: 0.21, 2: 0.31, 4: 0.51}, abs=1e-4)


def test_without_an_arm_its_claim_has_no_values(curves):
    curves = curves[(curves.network != section.RESNET) | (curves.bias != "none")]
    statistics = pd.DataFrame(curve(0, 0.1, statistics="recomputed"))
    found = section.measured(curves, statistics, tolerance=0.1)
    assert found["batch-norm-plateau-trained-without-bias"].isna().all()


def test_networks_are_trained_seed_by_seed(monkeypatch):
    asked = {
        "a": [({"width": 8}, "output", 2), ({"width": 8}, "none", 1)],
        "b": [({"width": 4}, "output", 2)],
        "c": [({"width": 2}, "all", 0)],
    }
    order = []

    def train(configs):
        order.extend(configs)
        return [SimpleNamespace(config=config) for config in configs]

    monkeypatch.setattr(section, "train", train)
    runs = section.trained(asked, 7)
    assert [config.seed for config in order] == [7, 7, 7, 8, 8]
    told = {name: [(run.config.width, run.config.bias, run.config.seed) for run in some] for name, some in runs.items()}
    assert told == {
        "a": [(8, "output", 7), (8, "output", 8), (8, "none", 7)],
        "b": [(4, "output", 7), (4, "output", 8)],
        "c": [],
    }
    assert [run.config.bias for run in section.with_output_bias(runs["a"])] == ["output", "output"]
