"""Other starts than θ(0), and paths put together from the four schedules."""

import math

import numpy as np
import pytest
import torch

import mli_utils as mli
from mli_utils.core.initialization import build
from mli_utils.core.parameters import parameter_groups
from mli_utils.core.paths import PATHS, STARTS


@pytest.fixture
def run(small_config):
    (run,) = mli.train(small_config)
    return run


def test_a_start_may_be_another(run):
    own, other, again, noise, zero = (
        mli.interpolate(run, "linear", 3, start=start) for start in ("own", "other", "other", "noise", "zero")
    )
    assert own.loss[0] != other.loss[0] == again.loss[0] != noise.loss[0]
    assert zero.loss[0] == pytest.approx(math.log(10), rel=1e-6)
    assert len({frame.loss[2] for frame in (own, other, noise, zero)}) == 1
    model = build(run.config)
    start = STARTS["noise"](model, run.config, (run.start, run.end))
    for name, group in parameter_groups(model).items():
        if group.name == "weights":
            assert torch.isclose(start[name].norm(), run.end[name].norm(), rtol=1e-5)
        else:
            assert torch.equal(start[name], run.start[name])


def test_paths_are_built_from_the_four_schedules(run):
    stay = {"hidden_biases": "end", "normalization": "end"}
    then = mli.interpolate(run, {"p": {"weights": "end", "output_bias": "linear", **stay}}, 3)
    line = mli.interpolate(run, "linear", 3)
    np.testing.assert_array_equal(then.loss[then.alpha == 1], line.loss[line.alpha == 1])
    assert PATHS.keys() == {"linear", "homogeneous"}
