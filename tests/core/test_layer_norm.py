"""Networks with layer norm, transformers among them."""

import pytest
import torch

import mli_utils as mli
from mli_utils.core.initialization import build, initialize
from mli_utils.core.networks import Block
from mli_utils.core.parameters import parameter_groups, stack

FCN = dict(depth=3, width=16, normalization="layer")
VIT = dict(model="vit", depth=10, width=16, normalization="layer")


@pytest.mark.parametrize("fields", [FCN, VIT], ids=["fcn", "vit"])
@pytest.mark.parametrize("bias", ["none", "output", "all"])
def test_networks_with_layer_norm_take_stacks(fields, bias):
    configs = mli.grid(**fields, bias=bias, seed=range(2))
    model = build(configs[0])
    each = [initialize(model, one) for one in configs]
    images = torch.randn(2, 5, 1, 8, 8)
    alone = torch.stack([model.logits(*pair) for pair in zip(each, images, strict=True)])
    torch.testing.assert_close(model.logits(stack(each), images), alone, atol=1e-5, rtol=1e-4)
    biases = {"none": set(), "output": {"output_bias"}, "all": {"output_bias", "hidden_biases"}}[bias]
    groups = parameter_groups(model).values()
    assert {group.name for group in groups} == {"weights", "normalization"} | biases
    assert max(group.layer for group in groups) == configs[0].depth


def test_the_transformer_attends_as_torch_does():
    width, tokens = 16, 6
    block = Block(width, True, tokens)
    torch.manual_seed(0)
    theirs = torch.nn.MultiheadAttention(width, block.heads, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(block.queries_keys_values.weight)
        theirs.in_proj_bias.copy_(block.queries_keys_values.bias)
        theirs.out_proj.weight.copy_(block.out.weight)
        theirs.out_proj.bias.copy_(block.out.bias)
        signal = torch.randn(3, tokens, width)
        own = block.out(block.attend(block.queries_keys_values(signal.flatten(0, 1)))).view(3, tokens, width)
        torch.testing.assert_close(own, theirs(signal, signal, signal, need_weights=False)[0], atol=1e-5, rtol=1e-4)
