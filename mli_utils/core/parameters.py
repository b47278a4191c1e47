"""Parameters by name: groups, stacks and mixtures of two.

A stack has a leading dimension on every parameter, over seeds or points on a path.
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
WEIGHTED, NORMALIZING = (nn.Linear, nn.Conv2d), (nn.BatchNorm2d, nn.LayerNorm)  # layers with parameter groups


@dataclass(frozen=True)
class Group:
    """A parameter's group, and the number of weight layers up to and including its own."""

    name: str
    layer: int


def parameter_groups(model: nn.Module) -> dict[str, Group]:
    """Map each parameter name to group and layer; a normalization belongs to the layer before it.

    Residual blocks count along their main branch: a shortcut convolution has the layer of the block's first
    convolution. Parameters outside layers, such as position embeddings, are first-layer weights if their module's class
    lists them in `inputs`.

    Raises
    ------
    InputError
        A parameter belongs to no layer in `WEIGHTED` or `NORMALIZING` and is not in `inputs`.
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
    own = dict(model.named_parameters())  # a parameter shared by two layers has one name
    groups = {name: group for name, group in groups.items() if name in own}
    final = next(reversed(groups), "")
    if final.endswith(".bias") and groups[final].name == "hidden_biases":
        groups[final] = Group("output_bias", last)
    return groups


def own_parameters(model: nn.Module, params: Params, where: str = "") -> dict[str, nn.Parameter]:
    """Return the network's parameters by name; InputError if `params` (at `where`, for the message) has other names."""
    own = dict(model.named_parameters())
    if params.keys() != own.keys():
        wrong = ", ".join(sorted(params.keys() ^ own.keys()))
        raise InputError(f"parameters{where} do not fit the network: {wrong}; its own: {', '.join(own)}")
    return own


def output_bias(params: Params) -> torch.Tensor | None:
    """Return the output bias, (classes,), or None without one."""
    last = list(params)[-1]
    return params[last] if last.endswith("bias") else None


def without_output_bias(params: Params) -> Params:
    """Return the parameters with the output bias, if any, set to zero."""
    bias = output_bias(params)
    return {name: torch.zeros_like(value) if value is bias else value for name, value in params.items()}


def stack(many: list[Params]) -> Params:
    """Copy parameters of equal shapes into a stack, along a new leading dimension."""
    if len(many) > 1:
        return {name: torch.stack([params[name] for params in many]) for name in many[0]}
    return {name: value.clone().unsqueeze(0) for name, value in many[0].items()}  # keeps the memory format


def unstack(params: Params) -> list[Params]:
    """Return the networks of a stack, as views."""
    size = len(next(iter(params.values())))
    if size == 1:
        return [{name: value.squeeze(0) for name, value in params.items()}]
    return [{name: value[i] for name, value in params.items()} for i in range(size)]


def device_of(params: Params) -> torch.device:
    return next(iter(params.values())).device


def mix(start: torch.Tensor, end: torch.Tensor, share: np.ndarray | float) -> torch.Tensor:
    """Compute (1 − share) start + share end; several shares add a leading stack dimension."""
    c = torch.tensor(share, dtype=start.dtype, device=start.device)
    if c.ndim:
        c = c.view(-1, *[1] * start.ndim)
    return (1 - c) * start + c * end


def norm(tensors: Iterable[torch.Tensor]) -> float:
    """Compute the Euclidean norm of several tensors taken as one vector."""
    return math.sqrt(sum(tensor.double().square().sum().item() for tensor in tensors))
