"""VGG-16 and ResNet-18 for 32 × 32 images, built from torchvision's layers.

`initialization` imports this module only when needed, because torchvision is slow to load.
"""

import torch
from torch import nn
from torchvision.models import resnet, vgg

from mli_utils.core.networks import Network

PUBLISHED_WIDTH = 64  # channels of the first convolution as published


class VGG16(Network):
    """VGG-16 for 32 × 32 images: torchvision's 13 convolutions and five poolings, then one linear layer.

    `width` is the first convolution's number of channels, 64 as published; the others scale with it, rounded down.
    Without batch norm and hidden biases, logits minus output bias are homogeneous in the weights, as for `FCN`.
    """

    memory_format = torch.channels_last  # fastest for these convolutions

    def __init__(self, classes: int, width: int, bias: str, normalization: str):
        super().__init__()
        channels = [part if part == "M" else part * width // PUBLISHED_WIDTH for part in vgg.cfgs["D"]]
        self.features = vgg.make_layers(channels, batch_norm=normalization == "batch")
        self.classifier = nn.Linear(channels[-2], classes, bias=bias != "none")
        _give_biases(self, bias == "all")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(images).flatten(1))


class ResNet18(resnet.ResNet, Network):
    """ResNet-18 for 32 × 32 images: torchvision's blocks after a stride-1 3 × 3 convolution, without max-pooling.

    `width` is the first stage's number of channels, 64 as published; it doubles at each of the three later stages.
    """

    # With channels last, torch 2.11 on CPUs writes out of bounds in gradients of narrow 1 × 1 convolutions.
    memory_format = torch.contiguous_format

    def __init__(self, classes: int, width: int, bias: str, normalization: str):
        norm = nn.BatchNorm2d if normalization == "batch" else nn.Identity
        super().__init__(resnet.BasicBlock, [2, 2, 2, 2], norm_layer=norm)
        self.inplanes = width
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = norm(width)
        self.maxpool = nn.Identity()
        for stage, stride in enumerate((1, 2, 2, 2)):
            setattr(self, f"layer{stage + 1}", self._make_layer(resnet.BasicBlock, width << stage, 2, stride))  # type: ignore
        self.fc = nn.Linear(width << 3, classes, bias=bias != "none")
        _give_biases(self, bias == "all")


def _give_biases(model: nn.Module, wanted: bool) -> None:
    """Give all convolutions a bias, or none."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.bias = nn.Parameter(torch.empty(module.out_channels)) if wanted else None
