import dataclasses

import pytest
import torch
from torch import nn

import mli_utils as mli
from mli_utils import models
from mli_utils.config import InputError
from mli_utils.models import Group


def config(**fields):
    return mli.RunConfig(**{"depth": 4, "width": 12, "init_scale": 0.9, **fields})


@pytest.mark.parametrize("bias", ["none", "output", "all"])
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_size_and_groups(bias, depth):
    model = models.build(config(bias=bias, depth=depth))
    weights = 64 * 10 if depth == 1 else 64 * 12 + (depth - 2) * 144 + 120
    biases = {"none": 0, "output": 10, "all": 12 * (depth - 1) + 10}[bias]
    assert sum(parameter.numel() for parameter in model.parameters()) == weights + biases
    groups = models.parameter_groups(model)
    assert groups.keys() == dict(model.named_parameters()).keys()
    assert [group.layer for name, group in groups.items() if name.endswith("weight")] == list(range(1, depth + 1))
    named = [group for group in groups.values() if group.name == "output_bias"]
    assert named == ([] if bias == "none" else [models.Group("output_bias", depth)])


def test_initialization_is_kaiming_times_scale_and_the_run_s_own():
    wide = models.build(config(width=400, init_scale=0.5, bias="all"))
    weight = wide.layers[1].weight
    assert abs(weight.std() / (0.5 * (2 / 400) ** 0.5) - 1) < 0.01
    assert all((layer.bias == 0).all() for layer in wide.layers)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    again = models.build(config(width=400, init_scale=0.5, bias="none"))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(weight, again.layers[1].weight)  # biases or not, the weights of a seed are the same
    other = models.build(dataclasses.replace(config(width=400, init_scale=0.5), seed=1))
    assert not torch.equal(weight, other.layers[1].weight)


def test_a_stack_gives_what_its_members_give():
    images = torch.rand(7, 1, 8, 8)
    members = [models.build(config(bias="all", seed=seed)) for seed in range(3)]
    for member in members:
        with torch.no_grad():
            for parameter in member.parameters():
                parameter.add_(0.1)
    stacked = models.stack([dict(member.named_parameters()) for member in members])
    together = models.logits(members[0], stacked, images)
    for one, member in zip(together, members, strict=True):
        assert torch.allclose(one, member(images), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("depth", [1, 3, 6])
def test_without_biases_logits_are_homogeneous_in_the_parameters(depth):
    model = models.build(config(bias="none", depth=depth)).double()
    params = dict(model.named_parameters())
    images = torch.rand(20, 1, 8, 8, dtype=torch.float64)
    whole = models.logits(model, params, images)
    for c in (0.0, 0.3, 0.9, 2.0):
        scaled = models.logits(model, {name: c * value for name, value in params.items()}, images)
        assert (scaled - c**depth * whole).abs().max() <= 1e-14 * whole.abs().max()


def test_parameters_of_another_network_are_refused():
    model = models.build(config(bias="none"))
    with pytest.raises(InputError, match="layers.3.bias"):
        models.logits(model, dict(models.build(config(bias="output")).named_parameters()), torch.rand(1, 1, 8, 8))


class Tied(nn.Module):
    """Two layers that share their weight."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2)
        self.second.weight = self.first.weight


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (nn.Conv1d(1, 2, 3), "no parameter group for Conv1d '0' has weight, bias of Sequential; known layers: Linear,"),
        (nn.GroupNorm(1, 2), "GroupNorm '0' has weight, bias"),
        (nn.BatchNorm1d(2), "BatchNorm1d '0' has weight, bias"),
        (nn.Embedding(3, 2), "Embedding '0' has weight"),
        (nn.PReLU(), "PReLU '0' has weight"),
        (nn.LSTM(2, 2), "LSTM '0' has weight_ih_l0"),
        (nn.MultiheadAttention(4, 2), "MultiheadAttention '0' has in_proj_weight"),
    ],
    ids=lambda given: type(given).__name__,
)
def test_layers_of_other_kinds_have_no_group_in_silence(layer, said):
    with pytest.raises(InputError) as raised:
        models.parameter_groups(nn.Sequential(layer, nn.Linear(2, 2)))
    assert said in str(raised.value)


def test_a_shared_weight_has_one_group_and_a_norm_at_the_end_is_no_output_bias():
    groups = models.parameter_groups(Tied())
    assert list(groups) == [name for name, _ in Tied().named_parameters()]
    assert groups["head.bias"] == Group("output_bias", 3) and groups["second.bias"] == Group("hidden_biases", 2)
    last = models.parameter_groups(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)))
    assert {group.name for group in last.values()} == {"weights", "hidden_biases", "normalization"}
    assert models.parameter_groups(nn.Sequential(nn.ReLU())) == {}
