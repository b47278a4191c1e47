"""Networks of runs, and their initial parameters θ(0)."""

import math

import numpy as np
import torch

from mli_utils.core.config import DATASETS, RunConfig
from mli_utils.core.networks import FCN, LayerNormFCN, Network, VisionTransformer
from mli_utils.core.parameters import Params, parameter_groups


def build(config: RunConfig) -> Network:
    """Build the network of a run, at its initialization θ(0).

    Parameters
    ----------
    config : RunConfig
        Configuration of the run.

    Returns
    -------
    torch.nn.Module
        Network that maps images (samples, channels, height, width) float32 to logits (samples, classes).
    """
    spec = DATASETS[config.dataset]
    model: Network
    with torch.random.fork_rng([]):  # torch initializes layers too; its draws must not change the global state
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
    """Draw θ(0): weights normal with variance 2 init_scale² / fan-in (Kaiming), biases 0, normalization scales 1.

    Weights are drawn on the CPU from the run's own generator in the order of `named_parameters`, so runs that differ
    only in biases, learning rate or device start from the same weights.
    """
    generator = torch.Generator().manual_seed(stream(config.seed, "initialization"))
    groups = parameter_groups(model)
    start = {}
    for name, parameter in model.named_parameters():
        if groups[name].name == "weights":
            spread = config.init_scale * math.sqrt(2 / parameter[0].numel())
            start[name] = model.in_memory_format(spread * torch.randn(parameter.shape, generator=generator))
        else:
            scales = groups[name].name == "normalization" and name.endswith("weight")
            start[name] = torch.full(parameter.shape, float(scales))
    return start


def stream(seed: int, purpose: str) -> int:
    """Derive a generator seed for one purpose of a run, independent of its seeds for other purposes."""
    return int(np.random.SeedSequence([seed, *purpose.encode()]).generate_state(1, np.uint64)[0] >> 1)
