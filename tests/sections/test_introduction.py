from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import mli_utils as mli
from mli_utils.sections import introduction

LINES = {"shallow": [1.0, 0.2, 0.0], "deep": [1.0, 0.9, 0.0]}  # shares of a loss of 2 nats, and of the error of chance


def curves(**lines):
    """Curves of two seeds, with 2.2 nats more half-way for the second."""
    frames = []
    for depth, (network, shares) in enumerate(lines.items(), start=2):
        for config in mli.grid(dataset="digits", depth=depth, seed=[0, 1]):
            loss = 2 * np.array(shares) + [0, 2.2 * config.seed, 0]
            measured = {"alpha": [0, 0.5, 1], "loss": loss, "error": 0.9 * np.array(shares)}
            told = {"status": "fitted", "path": "linear", "network": network}
            frames.append(pd.DataFrame({**asdict(config), **told, **measured}))
    return pd.concat(frames)


def test_rows_of_plateaus_keep_their_network():
    lengths = mli.plateau(curves(**LINES), 0.2)
    assert list(lengths.network) == ["shallow", "shallow", "deep", "deep"]
    assert lengths.error_plateau.tolist() == pytest.approx([0.125, 0.125, 0.5 + 0.5 / 9, 0.5 + 0.5 / 9])


def test_loss_that_is_gone_half_way():
    lost = introduction.lost_halfway(curves(**LINES))
    assert lost["shallow"].tolist() == pytest.approx([0.8, -0.3])
    assert lost["deep", 0] == pytest.approx(0.1)


def test_claims_compare_deep_and_shallow_networks_by_seed():
    found = introduction.measured(curves(**LINES), tolerance=0.2)
    assert list(found["loss-falls-on-the-line"]) == [1, 0, 1, 0]
    assert found["shallow-curve-looks-convex"][0] == pytest.approx(0.8)
    assert found["deep-networks-have-a-plateau"].tolist() == pytest.approx([0.375 + 0.5 / 9] * 2)


def test_a_seed_that_did_not_fit_is_neither_monotone_nor_compared():
    frame = curves(**LINES)
    frame.loc[(frame.network == "deep") & (frame.seed == 0), ["loss", "error"]] = np.nan
    found = introduction.measured(frame, tolerance=0.1)
    assert found["loss-falls-on-the-line"].isna().tolist() == [False, False, True, False]
    assert found["deep-networks-have-a-plateau"].isna().tolist() == [True, False]


def test_the_text_names_networks_and_counts_runs():
    configs = mli.grid(depth=2, init_scale=1.0, seed=[0, 1])
    runs = [SimpleNamespace(config=config, summary={"status": "fitted"}) for config in configs]
    numbers = introduction.numbers({"shallow": runs}, curves(shallow=LINES["shallow"]))
    assert numbers["shallow"] == "2 layers, initialization scale 1, digits"
    assert numbers["shallow_half"] == pytest.approx(25)
    assert (numbers["rising_shallow"], numbers["differ"]) == ("1 of 2", "nothing")
    deep = [SimpleNamespace(config=run.config.replace(depth=9, width=5), summary=run.summary) for run in runs]
    both = introduction.numbers({"shallow": runs, "deep": deep}, curves(**LINES))
    assert both["differ"] == "depth and width"
    vgg = mli.RunConfig(model="vgg16", dataset="digits32", lr=0.01, epochs=9, seed=0)
    both = introduction.numbers(
        {"shallow": runs, "deep": [SimpleNamespace(config=vgg, summary=runs[0].summary)]}, curves(**LINES)
    )
    assert both["differ"] == "architecture, depth, initialization scale, images and way of training"
    assert both["deep"] == "VGG-16, 14 layers, initialization scale 0.6, enlarged digits"
    assert (numbers["fitted_runs"], numbers["all_runs"]) == (2, 2)
