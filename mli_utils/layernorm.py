"""Networks with layer norm: fully connected, and a small vision transformer from torchvision's own parts.

The book's section 11 asks whether what biases do to a plateau is seen there. Many are computed at once through
`torch.vmap`. Their scales and shifts are a group of their own whatever `bias` says.
"""

import math

import torch
from torch import nn

from mli_utils.config import DATASETS, RunConfig

HEADS, BLOCKS, PATCHES = 4, 2, 4  # of attention; of attention and two layers; along each side of an image


def build(config: RunConfig) -> nn.Module:
    """The network of a run with layer norm; its parameters are of no meaning yet."""
    spec = DATASETS[config.dataset]
    if config.model == "vit":
        return transformer(spec.shape, spec.classes, config.width, config.bias)
    return LayerNormFCN(math.prod(spec.shape), spec.classes, config.depth, config.width, config.bias)


class LayerNormFCN(nn.Module):
    """`models.FCN` with a layer norm between every hidden layer and its ReLU.

    Takes images (…, channels, height, width), returns logits (…, classes).
    """

    memory_format = torch.contiguous_format
    vmapped = True

    def __init__(self, features: int, classes: int, depth: int, width: int, bias: str):
        super().__init__()
        sizes = [features, *[width] * (depth - 1)]
        hidden = [
            (nn.Linear(sizes[i], sizes[i + 1], bias=bias == "all"), nn.LayerNorm(width), nn.ReLU())
            for i in range(depth - 1)
        ]
        last = nn.Linear(sizes[-1], classes, bias=bias != "none")
        self.layers = nn.Sequential(*[part for layer in hidden for part in layer], last)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images.flatten(-3))


def transformer(shape: tuple[int, int, int], classes: int, width: int, bias: str) -> nn.Module:
    """torchvision's `VisionTransformer` of `BLOCKS` blocks for small images of any number of channels.

    Layer norm stands before attention, before the two layers that follow it, and before the last layer of all.
    """
    from torchvision.models import VisionTransformer  # takes long to load

    channels, side, _ = shape
    patch = side // PATCHES
    model = VisionTransformer(side, patch, BLOCKS, HEADS, width, 2 * width, num_classes=classes)
    model.conv_proj = nn.Conv2d(channels, width, patch, stride=patch)
    model.heads.head = nn.Linear(width, classes, bias=bias != "none")
    if bias != "all":
        for name, module in model.named_modules():
            if isinstance(module, nn.MultiheadAttention):
                module.in_proj_bias = None
            elif isinstance(module, (nn.Linear, nn.Conv2d)) and name != "heads.head":
                module.bias = None
    model.memory_format, model.vmapped = torch.contiguous_format, True
    return model
