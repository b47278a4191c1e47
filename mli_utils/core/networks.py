"""Networks and their evaluation.

`Network.logits` also takes stacked parameters, with a leading dimension `stack`: one call evaluates many networks
(seeds, or points on a path), by batched matrix products where `stacked`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.func import functional_call

from mli_utils.core.parameters import Params, own_parameters, unstack

Statistics = dict[str, torch.Tensor]  # mean and variance of every batch norm, by buffer name


@dataclass(frozen=True)
class Line:
    """First-layer products at the two ends of a line of networks; products in between follow by interpolation.

    ends : (samples, units) each, products of images and first weights at θ(0) and θ(T)
    share : (stack,), coefficient of θ(T) in each network's first weights
    """

    ends: tuple[torch.Tensor, ...]
    share: torch.Tensor

    def at(self, samples: slice, out: torch.Tensor) -> None:
        """Write the products of these images to `out` (stack, samples, units)."""
        start, end = self.ends
        torch.lerp(start[samples], end[samples], self.share.view(-1, 1, 1), out=out)


class Network(nn.Module):
    """A module on images (…, channels, height, width), with its evaluation settings."""

    memory_format = torch.contiguous_format  # layout of images and convolution weights on a CPU
    stacked = False  # whether it computes stacked parameters at once, rather than one after the other
    dense = False  # whether it has only linear layers and ReLUs, as `FCN`
    samples_at_once = 250  # evaluation batch size; constant, so that results do not depend on the stack

    def points_at_once(self, device: torch.device) -> int:
        """Return how many points of a curve to evaluate together."""
        return 8 if self.stacked else 1

    def in_memory_format(self, value: torch.Tensor) -> torch.Tensor:
        """Convert images or convolution weights to the network's memory format; on a GPU always to channels last."""
        fastest = torch.channels_last if value.is_cuda else self.memory_format
        return value.contiguous(memory_format=fastest) if value.ndim == 4 else value

    def logits(self, params: Params, images: torch.Tensor, statistics: Statistics | None = None) -> torch.Tensor:
        """Compute logits: (samples, classes), or (stack, samples, classes) at stacked parameters.

        InputError if the names in `params` differ from the network's.

        Parameters
        ----------
        images : (samples, channels, height, width); with stacked parameters also (stack, samples, …), one batch per
            network
        statistics : batch-norm statistics; None: the batch's own
        """
        own = own_parameters(self, params)
        if self.stacked:
            return functional_call(self, params, (images,))
        first = next(iter(own))
        if params[first].ndim == own[first].ndim:
            self.train(statistics is None)
            return functional_call(self, {**params, **(statistics or {})}, (self.in_memory_format(images),))
        # One grouped convolution for all would take 1.2 times as long (`make bench BENCH=train_conv`), and its last
        # bits would depend on the other networks.
        networks = unstack(params)
        batches = set_of_each(images, len(networks))
        return torch.stack([self.logits(one, batch, statistics) for one, batch in zip(networks, batches, strict=True)])

    def outputs(
        self, params: Params, images: torch.Tensor, parts: list[slice], statistics: Statistics | None, line: Line | None
    ) -> Iterator[torch.Tensor]:
        """Yield logits (stack, samples, classes) of the images part by part, each valid until the next is asked for."""
        for part in parts:
            yield self.logits(params, samples(images, part), statistics)


def samples(images: torch.Tensor, part: slice) -> torch.Tensor:
    """Return some samples of one set (samples, …), or of a set for each network (stack, samples, channels, …)."""
    return images[:, part] if images.ndim == 5 else images[part]


def set_of_each(images: torch.Tensor, networks: int) -> Sequence[torch.Tensor]:
    """Return the images of each of some networks: a set of its own, or the one that they share."""
    return images.unbind() if images.ndim == 5 else [images] * networks


class StackedLinear(nn.Linear):
    """`nn.Linear` with an optional leading stack dimension: weight (stack, out, in), bias (stack, out)."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.weight.ndim == 2:
            return super().forward(inputs)
        return affine(inputs.expand(len(self.weight), *inputs.shape[-2:]), self.weight, self.bias)


class Scratch:
    """Buffers by name, reused and grown as needed; allocating for every product would take a third longer."""

    def __init__(self):
        self.memory = {}

    def __call__(self, name, like: torch.Tensor, *shape: int) -> torch.Tensor:
        """Return an uninitialised tensor, with dtype and device of `like`, that is valid until the name is reused."""
        size, name = math.prod(shape), (name, like.dtype, like.device)
        if name not in self.memory or len(self.memory[name]) < size:
            self.memory[name] = like.new_empty(size)
        return self.memory[name][:size].view(shape)


class FCN(Network):
    """A fully-connected ReLU network with `depth` weight layers.

    Without hidden biases, and with an output bias of zero if any, logits are homogeneous: z(cθ) = c^depth z(θ), c ≥ 0.
    """

    stacked, dense = True, True
    samples_at_once = 1000
    memory = {"cpu": 2**20, "cuda": 2**26}  # activations per layer at once; on a CPU about the cache size

    def __init__(self, features: int, classes: int, depth: int, width: int, bias: str):
        super().__init__()
        sizes = [features, *[width] * (depth - 1), classes]
        self.widest = max(sizes[1:])  # units of a layer
        self.layers = nn.ModuleList(
            StackedLinear(sizes[i], sizes[i + 1], bias=bias == "all" or (bias == "output" and i == depth - 1))
            for i in range(depth)
        )
        self.scratch = Scratch()  # buffers for evaluations

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        hidden = images.flatten(-3)
        for layer in self.layers[:-1]:
            hidden = layer(hidden).relu_()
        return self.layers[-1](hidden)

    def points_at_once(self, device: torch.device) -> int:
        return max(1, self.memory[device.type] // (self.samples_at_once * self.widest))

    @torch.no_grad()
    def outputs(self, params, images, parts, statistics=None, line=None):
        """Yield logits as `Network.outputs`, in reused buffers and with the first layer's products from `line`."""
        last, stack = len(self.layers) - 1, len(next(iter(params.values())))
        for part in parts:
            inputs = samples(images, part).flatten(2 if images.ndim == 5 else 1)
            signal = inputs.expand(stack, *inputs.shape[-2:])
            for i, (weight, bias) in enumerate(weights_and_biases(params)):
                out = self.scratch("last" if i == last else i % 2, weight, stack, inputs.shape[-2], weight.shape[1])
                if i or line is None:
                    affine(signal, weight, bias, out)
                else:
                    line.at(part, out)
                    if bias is not None:
                        out.add_(bias.unsqueeze(1))
                signal = out if i == last else out.relu_()
            yield signal


def weights_and_biases(params: Params) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
    """Return weight and bias of each layer of an `FCN`, None for a missing bias."""
    depth = sum(name.endswith("weight") for name in params)
    return [(params[f"layers.{i}.weight"], params.get(f"layers.{i}.bias")) for i in range(depth)]


def first_product(params: Params, images: torch.Tensor) -> torch.Tensor:
    """Multiply images by the first weights of one `FCN`, giving (samples, units)."""
    return images.flatten(1) @ params["layers.0.weight"].mT


def affine(
    inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, out: torch.Tensor | None = None
) -> torch.Tensor:
    """Return a stacked layer's pre-activations (stack, samples, units), in `out` if given."""
    if bias is None:
        return torch.bmm(inputs, weight.mT, out=out)
    return torch.baddbmm(bias.unsqueeze(1), inputs, weight.mT, out=out)


class StackedLayerNorm(nn.LayerNorm):
    """`nn.LayerNorm` with an optional leading stack dimension: weight and bias (stack, width)."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        normal = nn.functional.layer_norm(inputs, self.normalized_shape, eps=self.eps)
        return self.bias.unsqueeze(-2) + self.weight.unsqueeze(-2) * normal


class LayerNormFCN(Network):
    """`FCN` with a layer norm before every ReLU."""

    stacked = True

    def __init__(self, features: int, classes: int, depth: int, width: int, bias: str):
        super().__init__()
        sizes = [features, *[width] * (depth - 1)]
        hidden = [
            (StackedLinear(sizes[i], sizes[i + 1], bias=bias == "all"), StackedLayerNorm(width), nn.ReLU())
            for i in range(depth - 1)
        ]
        last = StackedLinear(sizes[-1], classes, bias=bias != "none")
        self.layers = nn.Sequential(*[part for layer in hidden for part in layer], last)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images.flatten(-3))


class Block(nn.Module):
    """A pre-norm transformer block, attention then MLP, with residual connections: (…, samples · tokens, width)."""

    heads = 4

    def __init__(self, width: int, bias: bool, tokens: int):
        super().__init__()
        self.tokens = tokens
        self.before_attention = StackedLayerNorm(width)
        self.queries_keys_values = StackedLinear(width, 3 * width, bias=bias)
        self.out = StackedLinear(width, width, bias=bias)
        self.before_layers = StackedLayerNorm(width)
        self.up = StackedLinear(width, 2 * width, bias=bias)
        self.down = StackedLinear(2 * width, width, bias=bias)

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        signal = signal + self.out(self.attend(self.queries_keys_values(self.before_attention(signal))))
        return signal + self.down(nn.functional.gelu(self.up(self.before_layers(signal))))

    def attend(self, mixed: torch.Tensor) -> torch.Tensor:
        """Apply multi-head attention within each image to concatenated queries, keys and values."""
        size = mixed.shape[-1] // 3 // self.heads
        heads = mixed.unflatten(-2, (-1, self.tokens)).unflatten(-1, (3, self.heads, size)).transpose(-4, -2)
        queries_keys_values = (part.flatten(0, -4) for part in heads.unbind(-3))  # (images, heads, tokens, size)
        values = nn.functional.scaled_dot_product_attention(*queries_keys_values)
        return values.transpose(1, 2).reshape(*mixed.shape[:-1], -1)


class VisionTransformer(Network):
    """A vision transformer (Dosovitskiy et al. 2021) of two blocks, ten weight layers deep.

    An image is cut into a 4 × 4 grid of patches, one token each; the output layer takes the tokens' normalised mean.
    """

    stacked = True
    inputs = ("position",)  # counts as first-layer weights: added to the patch embedding

    def __init__(self, shape: tuple[int, int, int], classes: int, width: int, bias: str):
        super().__init__()
        channels, side, _ = shape
        self.patch, tokens = side // 4, 4**2
        self.embed = StackedLinear(channels * self.patch**2, width, bias=bias == "all")
        self.position = nn.Parameter(torch.empty(tokens, width))
        self.blocks = nn.Sequential(*(Block(width, bias == "all", tokens) for _ in range(2)))
        self.norm = StackedLayerNorm(width)
        self.head = StackedLinear(width, classes, bias=bias != "none")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        patches = images.unfold(-2, self.patch, self.patch).unfold(-2, self.patch, self.patch)
        tokens = patches.movedim(-5, -3).flatten(-3).flatten(-3, -2)  # (…, samples, tokens, pixels of a patch)
        signal = self.embed(tokens.flatten(-3, -2)).unflatten(-2, tokens.shape[-3:-1]) + self.position.unsqueeze(-3)
        signal = self.blocks(signal.flatten(-3, -2)).unflatten(-2, tokens.shape[-3:-1])
        return self.head(self.norm(signal.mean(-2)))
