import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mli_utils as mli
from mli_utils.core.config import FIELDS


def test_grid_combines_lists_and_the_last_field_varies_fastest():
    configs = mli.grid(depth=[2, 4], bias="none", seed=range(2))
    assert [(c.depth, c.bias, c.seed) for c in configs] == [
        (2, "none", 0),
        (2, "none", 1),
        (4, "none", 0),
        (4, "none", 1),
    ]


def test_equal_runs_are_equal_objects():
    whole = mli.RunConfig(n_train=1400)
    assert whole == mli.RunConfig() and hash(whole) == hash(mli.RunConfig())
    assert mli.RunConfig(seed=np.int64(3), lr=np.float32(0.5)) == mli.RunConfig(seed=3, lr=0.5)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            dict(dataset="digit"),
            "unknown dataset 'digit' (did you mean 'digits'?); known: digits, digits32, mnist, cifar10, cifar100",
        ),
        (dict(model="vgg"), "unknown model 'vgg' (did you mean 'vgg16'?); known: fcn, vgg16, resnet18"),
        (dict(bias="some"), "known: none, output, all"),
        (dict(optimizer="lbfgs"), "known: sgd, adam"),
        (dict(depth=-1), "depth=-1 is not allowed; allowed: from 1 to 1000"),
        (dict(depth=2.5), "depth=2.5 is not allowed; allowed: a whole number"),
        (dict(depth=True), "depth=True is not allowed; allowed: a whole number"),
        (dict(lr="fast"), "lr='fast' is not allowed; allowed: a number"),
        (dict(lr=float("nan")), "lr=nan is not allowed; allowed: a finite number"),
        (dict(momentum=1), "momentum=1 is not allowed; allowed: from 0 up to, but not, 1"),
        (dict(n_train=1401), "n_train=1401 is not allowed; allowed: from 1 to 1400"),
        (dict(dpth=3), "unknown RunConfig field 'dpth' (did you mean 'depth'?); known: dataset, model, depth"),
    ],
)
def test_a_bad_value_is_named_with_what_is_allowed(fields, said):
    with pytest.raises(mli.InputError) as raised:
        mli.grid(**fields)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


anything = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.lists(st.integers()))


@given(st.sampled_from(FIELDS), anything)
def test_any_value_is_taken_or_refused_in_a_sentence(field, value):
    try:
        config = mli.RunConfig(**{field: value})
    except mli.InputError as error:
        assert str(error)
    else:
        assert mli.RunConfig(**dataclasses.asdict(config)) == config


def test_depth_is_the_model_s_own_unless_it_is_given():
    assert mli.RunConfig(depth=3).depth == 3
    assert mli.RunConfig().depth == 10 and mli.RunConfig(model="vgg16", dataset="digits32").depth == 14
