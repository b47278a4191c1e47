"""Layer norm, smoothed labels, classes of unequal size, a bias that rests: alone and side by side; what is refused."""

import numpy as np
import pytest
import torch

import mli_utils as mli
from mli_utils.core import data, training
from mli_utils.runs.images import of_run

VIT = dict(model="vit", depth=10, normalization="layer")


def trained(configs):
    return {run.config: run for run in training.train_group(configs, *of_run(configs[0]))}


def distance(one, other):
    return max((one.end[name] - other.end[name]).abs().max() for name in one.end)


@pytest.mark.parametrize(
    "fields",
    [dict(normalization="layer"), VIT, dict(label_smoothing=0.1), dict(imbalance=2.0), dict(freeze_bias=5)],
    ids=["layer norm", "vit", "smoothing", "imbalance", "resting bias"],
)
def test_such_runs_come_out_the_same_alone(small, fields):
    one, *others = mli.grid(**{**small, **fields, "epochs": 4}, seed=range(3))
    assert distance(trained([one])[one], trained([*others, one])[one]) <= 1e-5


def test_a_resting_bias_moves_only_later_and_only_in_its_network(small):
    rests, moves = mli.grid(**{**small, "epochs": 6}, freeze_bias=[4, 0])
    grouped = trained([rests, moves])
    (at_rest,) = trained([rests.replace(epochs=4)]).values()
    assert not any(at_rest.summary["output_bias"]) and any(grouped[rests].summary["output_bias"])
    assert distance(trained([moves])[moves], grouped[moves]) <= 1e-5


def test_classes_fall_off_by_a_constant_factor():
    sizes = data.class_sizes(500, 10, 3.0)
    assert sizes.sum() == 500 and sizes[0] / sizes[-1] == pytest.approx(3, rel=0.05) and (np.diff(sizes) <= 0).all()
    whole = mli.load_data("digits")
    chosen = data.training_set(mli.RunConfig(n_train=500, imbalance=3.0), whole)
    assert chosen.labels.bincount().tolist() == sizes.tolist()
    part = chosen.labels[:250].bincount()
    assert (part - torch.tensor(sizes) / 2).abs().max() <= 1
    assert torch.equal(data.training_set(mli.RunConfig(n_train=50), whole).images, whole.images[:50])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (dict(imbalance=0.5), "imbalance=0.5 is not allowed"),
        (dict(label_smoothing=1.0), "label_smoothing=1.0 is not allowed; allowed: from 0 up to, but not, 1"),
        (dict(freeze_bias=3, bias="none"), "freeze_bias=3 is not allowed without biases"),
        (dict(model="vit"), "unknown normalization of vit: 'none'"),
        (
            dict(model="vit", normalization="layer", width=30),
            "width=30 is not allowed for vit; allowed: multiples of 4",
        ),
    ],
)
def test_these_fields_are_checked(fields, said):
    with pytest.raises(mli.InputError, match=said):
        mli.RunConfig(**fields)


def test_an_imbalance_that_the_data_do_not_have_is_said():
    with pytest.raises(mli.InputError, match="imbalance=5 with n_train=1400 asks for .* images of one class"):
        data.training_set(mli.RunConfig(imbalance=5.0), mli.load_data("digits"))
