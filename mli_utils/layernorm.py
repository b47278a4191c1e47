"""Networks with layer norm: fully connected, and a small vision transformer.

The book's section 11 asks whether what biases do to a plateau is seen there. Parameters may carry a leading stack
dimension everywhere. Scales and shifts of layer norms are a group of their own whatever `bias` says.
"""

import math

import torch
from torch import nn

from mli_utils import models
from mli_utils.config import DATASETS, RunConfig

HEADS, BLOCKS, PATCHES = 4, 2, 4  # of attention; of attention and two layers; along each side of an image


def build(config: RunConfig) -> nn.Module:
    """The network of a run with layer norm; its parameters mean nothing yet."""
    spec = DATASETS[config.dataset]
    if config.model == "vit":
        return VisionTransformer(spec.shape, spec.classes, config.width, config.bias)
    return LayerNormFCN(math.prod(spec.shape), spec.classes, config.depth, config.width, config.bias)


class StackedLayerNorm(nn.LayerNorm):
    """`nn.LayerNorm` whose weight and bias (stack, width) may carry a leading stack dimension."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        normal = nn.functional.layer_norm(inputs, self.normalized_shape, eps=self.eps)
        return self.bias.unsqueeze(-2) + self.weight.unsqueeze(-2) * normal


class LayerNormFCN(nn.Module):
    """`models.FCN` with a layer norm between every hidden layer and its ReLU.

    Takes images (…, channels, height, width), returns logits (…, classes).
    """

    memory_format = torch.contiguous_format
    takes_stacks = True

    def __init__(self, features: int, classes: int, depth: int, width: int, bias: str):
        super().__init__()
        sizes = [features, *[width] * (depth - 1)]
        hidden = [
            (models.StackedLinear(sizes[i], sizes[i + 1], bias=bias == "all"), StackedLayerNorm(width), nn.ReLU())
            for i in range(depth - 1)
        ]
        last = models.StackedLinear(sizes[-1], classes, bias=bias != "none")
        self.layers = nn.Sequential(*[part for layer in hidden for part in layer], last)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images.flatten(-3))


class Block(nn.Module):
    """Attention, then two layers, each after a layer norm and added to what came in: (…, samples · tokens, width)."""

    def __init__(self, width: int, bias: bool, tokens: int):
        super().__init__()
        self.tokens = tokens
        self.before_attention = StackedLayerNorm(width)
        self.queries_keys_values = models.StackedLinear(width, 3 * width, bias=bias)
        self.out = models.StackedLinear(width, width, bias=bias)
        self.before_layers = StackedLayerNorm(width)
        self.up = models.StackedLinear(width, 2 * width, bias=bias)
        self.down = models.StackedLinear(2 * width, width, bias=bias)

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        signal = signal + self.out(self.attend(self.queries_keys_values(self.before_attention(signal))))
        return signal + self.down(nn.functional.gelu(self.up(self.before_layers(signal))))

    def attend(self, mixed: torch.Tensor) -> torch.Tensor:
        """Values of all tokens of an image, weighed by how queries fit keys, a head at a time."""
        size = mixed.shape[-1] // 3 // HEADS
        heads = mixed.unflatten(-2, (-1, self.tokens)).unflatten(-1, (3, HEADS, size)).transpose(-4, -2)
        queries, keys, values = heads.unbind(-3)  # each (…, samples, heads, tokens, size)
        weights = (queries @ keys.mT / math.sqrt(size)).softmax(-1)
        return (weights @ values).transpose(-3, -2).flatten(-2).flatten(-3, -2)


class VisionTransformer(nn.Module):
    """A vision transformer (Dosovitskiy et al. 2021) of `BLOCKS` blocks, ten weight layers deep.

    An image is cut into `PATCHES` by `PATCHES` tokens; the last layer sees their normalised mean. Takes images
    (…, channels, height, width), returns logits (…, classes).
    """

    memory_format = torch.contiguous_format
    takes_stacks = True
    inputs = ("position",)  # is added to what the first layer makes of the patches

    def __init__(self, shape: tuple[int, int, int], classes: int, width: int, bias: str):
        super().__init__()
        channels, side, _ = shape
        self.patch, tokens = side // PATCHES, PATCHES**2
        self.embed = models.StackedLinear(channels * self.patch**2, width, bias=bias == "all")
        self.position = nn.Parameter(torch.empty(tokens, width))
        self.blocks = nn.Sequential(*(Block(width, bias == "all", tokens) for _ in range(BLOCKS)))
        self.norm = StackedLayerNorm(width)
        self.head = models.StackedLinear(width, classes, bias=bias != "none")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        patches = images.unfold(-2, self.patch, self.patch).unfold(-2, self.patch, self.patch)
        tokens = patches.movedim(-5, -3).flatten(-3).flatten(-3, -2)  # (…, samples, tokens, pixels of a patch)
        signal = self.embed(tokens.flatten(-3, -2)).unflatten(-2, tokens.shape[-3:-1]) + self.position.unsqueeze(-3)
        signal = self.blocks(signal.flatten(-3, -2)).unflatten(-2, tokens.shape[-3:-1])
        return self.head(self.norm(signal.mean(-2)))
