"""Groups of parameters, stacks of them, norms."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import mli_utils as mli
from mli_utils.core import parameters
from mli_utils.core.config import InputError
from mli_utils.core.initialization import build
from mli_utils.core.parameters import Group


@pytest.mark.parametrize("bias", ["none", "output", "all"])
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_size_and_groups(bias, depth):
    model = build(mli.RunConfig(width=12, init_scale=0.9, bias=bias, depth=depth))
    weights = 64 * 10 if depth == 1 else 64 * 12 + (depth - 2) * 144 + 120
    biases = {"none": 0, "output": 10, "all": 12 * (depth - 1) + 10}[bias]
    assert sum(parameter.numel() for parameter in model.parameters()) == weights + biases
    groups = parameters.parameter_groups(model)
    assert groups.keys() == dict(model.named_parameters()).keys()
    assert [group.layer for name, group in groups.items() if name.endswith("weight")] == list(range(1, depth + 1))
    named = [group for group in groups.values() if group.name == "output_bias"]
    assert named == ([] if bias == "none" else [Group("output_bias", depth)])


class Tied(nn.Module):
    """Two layers that share their weight."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2)
        self.second.weight = self.first.weight


@pytest.mark.parametrize(
    ("layer", "groups"),
    [
        (nn.Conv1d(1, 2, 3), ["weights", "hidden_biases"]),
        (nn.GroupNorm(1, 2), ["normalization", "normalization"]),
        (nn.BatchNorm1d(2), ["normalization", "normalization"]),
        (nn.Embedding(3, 2), ["embeddings"]),
        (nn.PReLU(), ["weights"]),
        (nn.LSTM(2, 2), ["weights", "weights", "hidden_biases", "hidden_biases"]),
        (nn.MultiheadAttention(4, 2), ["weights", "hidden_biases", "weights", "hidden_biases"]),
    ],
    ids=lambda given: type(given).__name__,
)
def test_groups_of_layers_of_other_kinds(layer, groups):
    found = parameters.parameter_groups(nn.Sequential(layer, nn.Linear(2, 2)))
    assert [group.name for group in found.values()] == [*groups, "weights", "output_bias"]


def test_no_parameter_has_a_group_in_silence():
    model = nn.Sequential(nn.Linear(2, 2))
    model[0].drive = nn.Parameter(torch.ones(2))
    with pytest.raises(
        InputError, match="no parameter group for drive of Linear '0' in Sequential; allowed in groups: "
    ):
        parameters.parameter_groups(model)


def test_layers_are_counted_along_the_forward_pass():
    model = nn.ModuleDict({"head": nn.Linear(3, 2), "b": nn.Linear(3, 3), "a": nn.Linear(2, 3)})  # defined backwards
    params, x = dict(model.named_parameters()), torch.randn(4, 2, requires_grad=True)
    first = model["a"](x).relu()
    use = parameters.use_of(params, [x], model["head"](first + model["b"](first)))
    assert use.last == {"head.weight", "head.bias"}
    assert (use.most["a.bias"], use.most["b.bias"], use.most["head.bias"]) == (1, 2, 3)
    assert (use.fewest["b.bias"], use.fewest["head.bias"]) == (2, 2)  # past the shortcut
    groups = parameters.parameter_groups(model, use)
    assert groups["head.bias"] == Group("output_bias", 3) and groups["a.bias"] == Group("hidden_biases", 1)


def test_a_shared_weight_has_one_group_and_a_norm_at_the_end_is_no_output_bias():
    groups = parameters.parameter_groups(Tied())
    assert list(groups) == [name for name, _ in Tied().named_parameters()]
    assert groups["head.bias"] == Group("output_bias", 3) and groups["second.bias"] == Group("hidden_biases", 2)
    last = parameters.parameter_groups(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)))
    assert {group.name for group in last.values()} == {"weights", "hidden_biases", "normalization"}
    assert parameters.parameter_groups(nn.Sequential(nn.ReLU())) == {}


def test_a_stack_comes_apart_into_its_networks():
    many = [{"a": torch.randn(2, 3), "b": torch.randn(4)} for _ in range(3)]
    for some in (many, many[:1]):
        stacked = parameters.stack(some)
        assert stacked["a"].shape == (len(some), 2, 3)
        for one, other in zip(parameters.unstack(stacked), some, strict=True):
            assert all(torch.equal(one[name], other[name]) for name in other)
    stacked["a"][0, 0, 0] = 7.0
    assert many[0]["a"][0, 0] != 7.0  # a copy


def test_the_output_bias_is_the_last_parameter_if_it_is_a_bias():
    params = {"layers.0.weight": torch.ones(2, 2), "layers.0.bias": torch.ones(2)}
    assert parameters.output_bias(params) is params["layers.0.bias"]
    without = parameters.without_output_bias(params)
    assert not without["layers.0.bias"].any() and without["layers.0.weight"].all() and params["layers.0.bias"].all()
    assert parameters.output_bias({"w.weight": torch.ones(1)}) is None


def test_a_norm_is_over_all_numbers_and_mixtures_are_exact_at_the_ends():
    assert parameters.norm([torch.tensor([3.0]), torch.tensor([[0.0, 4.0]])]) == 5
    assert parameters.norm([torch.full((100,), 1e-30)]) == pytest.approx(1e-29)
    start, end = torch.randn(4), torch.randn(4)
    mixed = parameters.mix(start, end, np.array([0.0, 0.25, 1.0]))
    assert torch.equal(mixed[0], start) and torch.equal(mixed[2], end)
    assert torch.equal(mixed[1], parameters.mix(start, end, 0.25)) and math.isfinite(mixed.sum())
