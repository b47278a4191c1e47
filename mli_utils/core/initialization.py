"""The network of a run, and its parameters θ(0) before training."""

import math

import numpy as np
import torch

from mli_utils.core.config import DATASETS, RunConfig
from mli_utils.core.networks import FCN, LayerNormFCN, Network, VisionTransformer
from mli_utils.core.parameters import Params, parameter_groups


def build(config: RunConfig) -> Network:
    """The network of a run, at its initialization θ(0).

    Parameters
    ----------
    config : RunConfig
        What determines the run.

    Returns
    -------
    torch.nn.Module
        Takes images (samples, channels, height, width) float32, returns logits (samples, classes).
    """
    spec = DATASETS[config.dataset]
    model: Network
    with torch.random.fork_rng([]):  # layers draw values of their own, which are replaced at once
        if config.model == "vit":
            model = VisionTransformer(spec.shape, spec.classes, config.width, config.bias)
        elif config.model == "fcn":
            kind = FCN if config.normalization == "none" else LayerNormFCN
            model = kind(math.prod(spec.shape), spec.classes, config.depth, config.width, config.bias)
        else:
            from mli_utils.core import convnets  # torchvision takes long to load

            network = {"vgg16": convnets.VGG16, "resnet18": convnets.ResNet18}[config.model]
            model = network(spec.classes, config.width, config.bias, config.normalization)
    model.load_state_dict(initialize(model, config), strict=False)  # batch norm's running statistics are never read
    return model


def initialize(model: Network, config: RunConfig) -> Params:
    """θ(0): Kaiming-normal weights times `init_scale` (variance 2 scale² / fan-in), biases 0, batch norm's scales 1.

    Every weight is drawn on the CPU from the run's own generator, in the order of `named_parameters`, so runs that
    differ only in their biases, learning rate or device start from the same weights.
    """
    generator = torch.Generator().manual_seed(stream(config.seed, "initialization"))
    groups = parameter_groups(model)
    start = {}
    for name, parameter in model.named_parameters():
        if groups[name].name == "weights":
            spread = config.init_scale * math.sqrt(2 / parameter[0].numel())
            start[name] = model.lay_out(spread * torch.randn(parameter.shape, generator=generator))
        else:
            scales = groups[name].name == "normalization" and name.endswith("weight")
            start[name] = torch.full(parameter.shape, float(scales))
    return start


def stream(seed: int, purpose: str) -> int:
    """A generator seed for one purpose of a run, unrelated to its seeds for other purposes."""
    return int(np.random.SeedSequence([seed, *purpose.encode()]).generate_state(1, np.uint64)[0] >> 1)
