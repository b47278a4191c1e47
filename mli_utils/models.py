"""Networks, their initialization, and the groups their parameters move in.

`logits` also takes stacked parameters: with a leading dimension `stack` on every parameter, one call evaluates many
networks (other seeds, or other points on a path), fully-connected ones through batched products.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.func import functional_call

from mli_utils import batchnorm, stacks
from mli_utils.batchnorm import Statistics
from mli_utils.config import DATASETS, InputError, RunConfig
from mli_utils.stacks import Params

SAMPLES_AT_ONCE = 1000  # of an evaluation; a constant, so that results do not depend on the stack
CONV_SAMPLES_AT_ONCE = 250  # the same of convolutional networks, whose activations are larger

GROUPS = ("weights", "hidden_biases", "output_bias", "normalization")
WEIGHTED, NORMALIZING = (nn.Linear, nn.Conv2d), (nn.BatchNorm2d, nn.LayerNorm)  # layers whose parameters have groups


@dataclass(frozen=True)
class Group:
    """Where a parameter belongs: its group's name, and the number of weight layers up to and including its own."""

    name: str
    layer: int


class StackedLinear(nn.Linear):
    """`nn.Linear` whose weight (stack, out, in) and bias (stack, out) may carry a leading stack dimension."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.weight.ndim == 2:
            return super().forward(inputs)
        inputs = inputs.expand(len(self.weight), *inputs.shape[-2:])
        if self.bias is None:
            return torch.bmm(inputs, self.weight.mT)
        return torch.baddbmm(self.bias.unsqueeze(1), inputs, self.weight.mT)


class FCN(nn.Module):
    """A fully-connected ReLU network of `depth` weight layers.

    Takes images (…, channels, height, width), returns logits (…, classes). Without biases, or with an output bias of
    zero, the logits are homogeneous in the parameters: z(cθ) = c^depth z(θ) for c ≥ 0.
    """

    memory_format = torch.contiguous_format

    def __init__(self, features: int, classes: int, depth: int, width: int, bias: str):
        super().__init__()
        sizes = [features, *[width] * (depth - 1), classes]
        self.layers = nn.ModuleList(
            StackedLinear(sizes[i], sizes[i + 1], bias=bias == "all" or (bias == "output" and i == depth - 1))
            for i in range(depth)
        )
        self.scratch = stacks.Scratch()  # for evaluations

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        hidden = images.flatten(-3)
        for layer in self.layers[:-1]:
            hidden = layer(hidden).relu_()
        return self.layers[-1](hidden)


@contextmanager
def plain_float32() -> Iterator[None]:
    """Compute in 32-bit floating point on every device: subnormal numbers as zero, no TensorFloat-32; then as before.

    Deep small-scale networks pass through subnormal numbers, and dead units' momentum decays into them, at three times
    the time. TensorFloat-32, torch's default for convolutions on GPUs, keeps ten bits; near a plateau ties decide the
    error.
    """
    smallest = 5e-324
    flushed_before, tf32_before = smallest * 1.0 == 0, torch.backends.cudnn.allow_tf32
    torch.set_flush_denormal(True)
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_flush_denormal(flushed_before)
        torch.backends.cudnn.allow_tf32 = tf32_before


def takes_stacks(model: nn.Module) -> bool:
    """Whether the network computes stacked parameters at once; others are computed one after the other."""
    return isinstance(model, FCN) or getattr(model, "takes_stacks", False)


def build(config: RunConfig) -> nn.Module:
    """The network of a run, at its initialization θ(0)."""
    spec = DATASETS[config.dataset]
    with torch.random.fork_rng([]):  # layers draw values of their own, which are replaced at once
        if config.model == "fcn" and config.normalization == "none":
            model = FCN(math.prod(spec.shape), spec.classes, config.depth, config.width, config.bias)
        elif config.normalization == "layer":
            from mli_utils import layernorm

            model = layernorm.build(config)
        else:
            from mli_utils import convnets

            network = {"vgg16": convnets.VGG16, "resnet18": convnets.ResNet18}[config.model]
            model = network(spec.classes, config.width, config.bias, config.normalization)
    model.load_state_dict(initialize(model, config), strict=False)  # batch norm's running statistics are never read
    return model


def initialize(model: nn.Module, config: RunConfig) -> Params:
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
            start[name] = lay_out(model, spread * torch.randn(parameter.shape, generator=generator))
        else:
            scales = groups[name].name == "normalization" and name.endswith("weight")
            start[name] = torch.full(parameter.shape, float(scales))
    return start


def stream(seed: int, purpose: str) -> int:
    """A generator seed for one purpose of a run, unrelated to its seeds for other purposes."""
    import numpy as np

    return int(np.random.SeedSequence([seed, *purpose.encode()]).generate_state(1, np.uint64)[0] >> 1)


def parameter_groups(model: nn.Module) -> dict[str, Group]:
    """The group and layer of every parameter, by name; a normalisation has the layer that it follows.

    Of two ways between the same layers the longer counts: the convolution on a residual block's shortcut has the layer
    of the block's first. Parameters that a module has besides its layers count as weights of the first layer where its
    class lists them in `inputs`, as a transformer's positions.

    Raises
    ------
    InputError
        A layer of another kind than `WEIGHTED` and `NORMALIZING`, or a parameter that belongs to none.
    """
    groups, layer, last = {}, 0, 0
    for name, module in model.named_modules():
        of_module = [parameter for parameter, _ in module.named_parameters(recurse=False)]
        if isinstance(module, WEIGHTED):
            block, shortcut, _ = name.rpartition(".downsample.")
            if shortcut:
                layer = groups[f"{block}.conv1.weight"].layer
            else:
                layer = last = last + 1
            named = {"weight": "weights", "bias": "hidden_biases"}
            groups |= {f"{name}.{parameter}": Group(named[parameter], layer) for parameter in of_module}
        elif isinstance(module, NORMALIZING):
            groups |= {f"{name}.{parameter}": Group("normalization", layer) for parameter in of_module}
        elif unknown := [parameter for parameter in of_module if parameter not in getattr(module, "inputs", ())]:
            kinds = ", ".join(kind.__name__ for kind in (*WEIGHTED, *NORMALIZING))
            said = f"{type(module).__name__} {name!r} has {', '.join(unknown)}" if name else f"{', '.join(unknown)}"
            raise InputError(f"no parameter group for {said} of {type(model).__name__}; known layers: {kinds}")
        else:
            groups |= {f"{name}.{parameter}".strip("."): Group("weights", 1) for parameter in of_module}
    own = dict(model.named_parameters())  # a parameter that two layers share has one name
    groups = {name: group for name, group in groups.items() if name in own}
    final = next(reversed(groups), "")
    if final.endswith(".bias") and groups[final].name == "hidden_biases":
        groups[final] = Group("output_bias", last)
    return groups


def output_bias(params: Params) -> torch.Tensor | None:
    """The bias on the logits, (classes,), or None where the network has none."""
    last = list(params)[-1]
    return params[last] if last.endswith("bias") else None


def without_output_bias(params: Params) -> Params:
    """The same parameters with an output bias of zero; those of a network without one as they are."""
    bias = output_bias(params)
    return {name: torch.zeros_like(value) if value is bias else value for name, value in params.items()}


def stack(many: list[Params]) -> Params:
    """Copies of parameters of equal shapes, stacked along a new leading dimension."""
    if len(many) > 1:
        return {name: torch.stack([params[name] for params in many]) for name in many[0]}
    return {name: value.clone().unsqueeze(0) for name, value in many[0].items()}  # keeps its order in memory


def unstack(params: Params) -> list[Params]:
    """The networks of a stack, as views."""
    size = len(next(iter(params.values())))
    if size == 1:
        return [{name: value.squeeze(0) for name, value in params.items()}]
    return [{name: value[i] for name, value in params.items()} for i in range(size)]


def lay_out(model: nn.Module, value: torch.Tensor) -> torch.Tensor:
    """Images or weights in the order in memory that the network computes in."""
    return value.contiguous(memory_format=model.memory_format) if value.ndim == 4 else value


def device_of(params: Params) -> torch.device:
    return next(iter(params.values())).device


def own_parameters(model: nn.Module, params: Params, where: str = "") -> dict[str, nn.Parameter]:
    """The network's own parameters by name; InputError where `params` (at `where`, for the message) has other names."""
    own = dict(model.named_parameters())
    if params.keys() != own.keys():
        wrong = ", ".join(sorted(params.keys() ^ own.keys()))
        raise InputError(f"parameters{where} do not fit the network: {wrong}; its own: {', '.join(own)}")
    return own


def logits(
    model: nn.Module, params: Params, images: torch.Tensor, statistics: Statistics | None = None
) -> torch.Tensor:
    """Logits at `params`: (samples, classes), or (stack, samples, classes) at stacked parameters.

    Parameters
    ----------
    images : (samples, channels, height, width); at stacked parameters also (stack, samples, …), a batch a network
    statistics : what a network with batch norm normalises by; None: by the batch's own

    Raises
    ------
    InputError
        Names in `params` that are not the network's own, or some of its own missing.
    """
    own = own_parameters(model, params)
    if takes_stacks(model):
        return functional_call(model, params, (images,))
    first = next(iter(own))
    if params[first].ndim == own[first].ndim:
        model.train(statistics is None)
        return functional_call(model, {**params, **(statistics or {})}, (lay_out(model, images),))
    # One network after the other. One convolution in groups takes from 0.86 to 1.08 times as long, by the processor
    # (`make bench BENCH=train_conv`), and its last bits would depend on the other networks of the group.
    networks = unstack(params)
    batches = images if images.ndim == 5 else [images] * len(networks)
    return torch.stack([logits(model, one, batch, statistics) for one, batch in zip(networks, batches, strict=True)])


def anatomy(logits: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
    """Sums over samples that add up across batches, so that means are sample means, never means of batch means.

    Parameters
    ----------
    logits : (stack, samples, classes), float32
    labels : (samples,) or (stack, samples), integers

    Returns
    -------
    dict of `loss` (stack,) float64, the summed cross-entropy in nats; `wrong` (stack, classes) integers, the
    samples of each class that are misclassified; `predicted` (stack, classes) integers, how often each class
    is predicted; `logits` (stack, classes) float64, their sums. Of equal largest logits the first class is the
    prediction.
    """
    stack, _, classes = logits.shape
    labels = labels.expand(logits.shape[:2])
    by_class = logits.mT.contiguous()  # so reductions over the few classes run along the many samples
    losses = torch.nn.functional.cross_entropy(by_class, labels, reduction="none")
    prediction = by_class.max(1).indices
    offset = classes * torch.arange(stack, device=logits.device).unsqueeze(1)

    def count(of_class, chosen=None):
        cells = of_class + offset
        return torch.bincount((cells if chosen is None else cells[chosen]).flatten(), minlength=stack * classes)

    return {
        "loss": losses.sum(1, dtype=torch.float64),
        "wrong": count(labels, prediction != labels).view(stack, classes),
        "predicted": count(prediction).view(stack, classes),
        "logits": by_class.sum(2, dtype=torch.float64),
    }


@torch.no_grad()
def evaluate(
    model: nn.Module,
    params: Params,
    images: torch.Tensor,
    labels: torch.Tensor,
    statistics: Statistics | None = None,
    line: stacks.Line | None = None,
) -> dict[str, torch.Tensor]:
    """Loss, errors and mean logits over all images, at stacked parameters, in float32.

    Parameters
    ----------
    statistics : what networks with batch norm normalise by; None: by those of `images` at `params`, exactly
    line : of fully-connected networks, the first layer's products at the ends of a line on which `params` lie

    Returns
    -------
    dict of `loss` (stack,) float64, the mean cross-entropy in nats; `wrong` and `predicted` (stack, classes)
    integers, how many images of each class are misclassified and how many are predicted as each class; `mean_logits`
    (stack, classes) float64.
    Where the loss is not finite the counts mean nothing.
    """
    at_once = SAMPLES_AT_ONCE if isinstance(model, FCN) else CONV_SAMPLES_AT_ONCE
    parts = [slice(first, first + at_once) for first in range(0, len(labels), at_once)]
    if isinstance(model, FCN):
        outputs = (stacks.logits(params, images, model.scratch, part, line) for part in parts)
    elif statistics is None and batchnorm.has_batch_norm(model):
        whole = [batchnorm.whole_set(model, one, lay_out(model, images)) for one in unstack(params)]
        outputs = torch.stack(whole).split(at_once, dim=1)
    else:
        outputs = (logits(model, params, images[part], statistics) for part in parts)
    total = None
    for output, part in zip(outputs, parts, strict=True):
        sums = anatomy(output, labels[part])
        total = sums if total is None else {name: total[name] + sums[name] for name in sums}
    loss, mean = (total.pop(name) / len(labels) for name in ("loss", "logits"))
    return {**total, "loss": loss, "mean_logits": mean}


@torch.no_grad()
def statistics(model: nn.Module, params: Params, images: torch.Tensor) -> Statistics | None:
    """What batch norm normalises by at `params` (of one network), over all of `images`; None where there is none."""
    if not batchnorm.has_batch_norm(model):
        return None
    return batchnorm.statistics(model, params, lay_out(model, images))
