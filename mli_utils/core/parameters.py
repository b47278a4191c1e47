"""Parameters by name: the groups they move in, stacks of them, mixtures of two.

A stack is a leading dimension on every parameter: other seeds, or other points on a path.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from mli_utils.core.config import InputError

Params = dict[str, torch.Tensor]

GROUPS = ("weights", "hidden_biases", "output_bias", "normalization")
WEIGHTED, NORMALIZING = (nn.Linear, nn.Conv2d), (nn.BatchNorm2d, nn.LayerNorm)  # layers whose parameters have groups


@dataclass(frozen=True)
class Group:
    """Where a parameter belongs: its group's name, and the number of weight layers up to and including its own."""

    name: str
    layer: int


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
    groups: dict[str, Group] = {}
    layer, last = 0, 0
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


def own_parameters(model: nn.Module, params: Params, where: str = "") -> dict[str, nn.Parameter]:
    """The network's own parameters by name; InputError where `params` (at `where`, for the message) has other names."""
    own = dict(model.named_parameters())
    if params.keys() != own.keys():
        wrong = ", ".join(sorted(params.keys() ^ own.keys()))
        raise InputError(f"parameters{where} do not fit the network: {wrong}; its own: {', '.join(own)}")
    return own


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


def device_of(params: Params) -> torch.device:
    return next(iter(params.values())).device


def mix(start: torch.Tensor, end: torch.Tensor, share: np.ndarray | float) -> torch.Tensor:
    """(1 − share) start + share end; several shares give a leading stack dimension."""
    c = torch.tensor(share, dtype=start.dtype, device=start.device)
    if c.ndim:
        c = c.view(-1, *[1] * start.ndim)
    return (1 - c) * start + c * end


def norm(tensors: Iterable[torch.Tensor]) -> float:
    """The Euclidean norm of all numbers in several tensors."""
    return math.sqrt(sum(tensor.double().square().sum().item() for tensor in tensors))
