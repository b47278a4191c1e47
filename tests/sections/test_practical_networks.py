"""Claims and numbers of practical networks, from curves made by hand."""

from dataclasses import asdict

import pandas as pd
import pytest

import mli_utils as mli
from mli_utils.runs.measured import class_order
from mli_utils.runs.store import Store
from mli_utils.runs.trained import Run
from mli_utils.sections import practical_networks as section


def curve(seed, length, path="linear", loss=(2.0, 1.0, 0.5), **columns):
    """A curve on digits whose error is at chance until α = `length` and none afterwards."""
    fields = {**asdict(mli.RunConfig()), "seed": seed, "path": path, **columns}
    alphas = (0.0, 0.5, 1.0)
    return [
        {**fields, "alpha": alpha, "loss": there, "error": 0.9 if alpha <= length else 0.0}
        for alpha, there in zip(alphas, loss, strict=True)
    ]


def test_claims_compare_seed_by_seed_and_take_statistics_recomputed():
    vgg = curve(0, 0.5, bias="output") + curve(0, 0, "homogeneous", bias="output") + curve(0, 0, bias="none")
    vgg += curve(1, 0, bias="output") + curve(1, 0, "homogeneous", bias="output")
    rises = (2.0, 2.5, 0.5)
    resnet = curve(0, 0, loss=rises, statistics="recomputed") + curve(1, 0, statistics="recomputed")
    resnet += curve(1, 0, loss=rises, statistics="frozen")
    found = section.measured(pd.DataFrame(vgg), pd.DataFrame(resnet), class_order([]), tolerance=0.2)
    assert found["practical-networks-have-the-plateau"].tolist() == pytest.approx([0.5, 0])
    without = found["practical-plateau-needs-the-bias"]
    assert without[0] == pytest.approx(0.5) and pd.isna(without[1])  # that seed has no network without biases
    assert found["batch-norm-breaks-monotonicity"].tolist() == [1, 0]
    assert found["practical-order-is-bias"]["n"] == 0


def test_numbers_carry_the_kind_of_network_in_their_names():
    def made(status, bias):
        summary = {"status": status, "output_bias": bias, "class_counts": [1, 1]}
        return Run(mli.RunConfig(width=4), {"summary": summary}, Store("nowhere"))

    few = [made("fitted", [0.0, 2.0]), made("fitted", None), made("unfitted", [0.0, 9.0])]
    found = section.numbers(class_order([]), vgg=few, resnet=few[:1])
    assert found["vgg_gap"] == 2 and found["vgg_width"] == 4 and found["vgg_dataset"] == "digits"
    assert (found["vgg_fitted_runs"], found["vgg_all_runs"], found["resnet_all_runs"]) == (2, 3, 1)
    assert found["ordered"] == 0 and found["order"] == "–"
