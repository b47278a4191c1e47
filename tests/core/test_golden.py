"""Notices when numbers change and no version was raised.

After a deliberate change: raise the version of the mechanism in `core/versions.py`, then
`python tests/core/test_golden.py` writes the numbers anew.
"""

import json
from pathlib import Path

import pytest

import mli_utils as mli
from mli_utils.core.versions import VERSIONS
from mli_utils.runs.budgets import DESIGNS, budgets
from mli_utils.runs.files import address
from mli_utils.runs.trained import run_key
from mli_utils.sections import (
    bias_ablation,
    bias_gap,
    hardness,
    interventions,
    neighbours,
    weights_and_biases,
    your_own_network,
)

GOLDEN = Path(__file__).with_name("golden.json")
SMALL = dict(depth=4, width=24, init_scale=0.9, n_train=200, epochs=10)
CONFIGS = [
    mli.RunConfig(**SMALL, lr=0.05, bias=bias, optimizer=optimizer)
    for bias, optimizer in (("none", "sgd"), ("all", "sgd"), ("output", "adam"))
]


def numbers() -> dict:
    """A few numbers that move when any mechanism does."""
    runs = mli.train(CONFIGS)
    curves = mli.interpolate(runs, ["linear", "homogeneous"], alphas=5)
    trained = [runs[2]]  # with an output bias
    training = {"n": 60, "lr": 0.05, "epochs": 1}
    biases = interventions.changed_biases(trained, ["zeroed", "permuted"])
    predicted = weights_and_biases.predict(trained, 3)
    others = {
        "starts": [
            mli.interpolate(trained, alphas=3, start=start).loss.iloc[1] for start in ("other", "noise", "zero")
        ],
        "weights_and_biases": [
            *weights_and_biases.square(trained, 3).loss,
            *predicted.loss,
        ],
        "law": predicted.loss[predicted.path == "class means"],
        "bias_gap": [
            *bias_gap.survey([2, 3], [0.1], [3], seeds=[0]).gap,
            *bias_gap.through_time(3, 0.1, 3, points=4).bias,
        ],
        "interventions": interventions.biased_curves(trained, biases, 3).loss,
        "neighbours": neighbours.layer_curves(trained, 3).loss,
        "own": your_own_network.diagnosed({"plain CNN": training}, {"plain CNN": [0]}, 3).loss,
        "hardness": hardness.race({**SMALL, "bias": ["none"], "lr": [0.05, 0.1]}, [0], 100.0, 3).loss,
        "budgets": [pull for design in DESIGNS for pull in budgets([CONFIGS[1]], design).pull.iloc[-4:]],
        "bias_ablation": bias_ablation.predict_images(trained, alphas=3, images=4)[0].probability,
    }
    return {
        "versions": VERSIONS,
        "data": mli.load_data("digits").images[::100].double().sum((1, 2, 3)).tolist(),
        "initialization": [run.start["layers.1.weight"][0, :4].tolist() for run in runs],
        "history": [run.history.loss.iloc[[0, 5, -1]].tolist() for run in runs],
        "summary": [run.summary["distance"] for run in runs],
        "curves": curves.loss.tolist(),
        **{name: list(values) for name, values in others.items()},
        "addresses": [address(run_key(config)) for config in CONFIGS],
    }


def test_numbers_change_only_with_a_version():
    golden, now = json.loads(GOLDEN.read_text(encoding="utf-8")), numbers()
    assert now["versions"] == golden["versions"], "a version was raised: write the numbers anew"
    assert now["addresses"] == golden["addresses"], "runs moved to other addresses; the record would be lost"
    unnamed = {"training"}  # under `history` and `summary`
    assert golden.keys() == now.keys() >= VERSIONS.keys() - unnamed, "a mechanism has no number here"
    for name in now.keys() - {"versions", "addresses"}:
        # other processors round otherwise; a change of mechanism is far larger
        flat = [pytest.approx(value, rel=2e-3, abs=1e-5) for value in golden[name]]
        assert now[name] == flat, f"{name} changed and no version was raised"


if __name__ == "__main__":
    import os
    import tempfile

    os.environ["MLI_STORE"] = tempfile.mkdtemp()
    GOLDEN.write_text(json.dumps(numbers(), indent=1) + "\n", encoding="utf-8")
