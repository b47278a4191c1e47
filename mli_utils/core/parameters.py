"""Parameters by name: groups, stacks and mixtures of two.

A stack has a leading dimension on every parameter, over seeds or points on a path.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from mli_utils.core.config import InputError

Params = dict[str, torch.Tensor]

GROUPS = ("weights", "hidden_biases", "output_bias", "normalization")
EMBEDDINGS = "embeddings"  # of other modules than the book's; they move as the weights do unless a path says otherwise


@dataclass(frozen=True)
class Group:
    """A parameter's group, and the number of weight layers up to and including its own."""

    name: str
    layer: int


@dataclass(frozen=True)
class Use:
    """Where the forward pass of a batch uses parameters.

    fewest, most : number of weight layers up to and including a parameter's own, over all ways to it and uses of it
    last : parameters that the network's last operation with any uses, such as weight and bias of an output layer
    """

    fewest: dict[str, int]
    most: dict[str, int]
    last: frozenset[str]


def parameter_groups(model: nn.Module, use: Use | None = None) -> dict[str, Group]:
    """Map each parameter name to group and layer; a normalization belongs to the layer before it.

    Groups follow from the types of modules and the names of parameters. Without `use`, layers are numbered in the order
    of definition, and the last parameter is the output bias if it is a bias. Residual blocks count along their main
    branch: a shortcut convolution has the layer of the block's first convolution. Parameters that a module's class
    lists in `inputs`, such as position embeddings, are first-layer weights. InputError if nothing tells a group.
    """
    groups: dict[str, Group] = {}
    layer, last = 0, 0
    for name, module in model.named_modules():
        kinds = {
            f"{name}.{parameter}".strip("."): _kind(model, module, name, parameter, value)
            for parameter, value in module.named_parameters(recurse=False)
        }
        if "weights" in kinds.values():
            block, shortcut, _ = name.rpartition(".downsample.")
            if shortcut and f"{block}.conv1.weight" in groups:
                layer = groups[f"{block}.conv1.weight"].layer
            else:
                layer = last = last + 1
        groups |= {own: Group("weights", 1) if kind == "inputs" else Group(kind, layer) for own, kind in kinds.items()}
    own = dict(model.named_parameters())  # a parameter shared by two layers has one name
    groups = {name: group for name, group in groups.items() if name in own}
    final = {name for name in [*groups][-1:] if name.endswith("bias")}
    if use:
        groups = {name: Group(group.name, use.most.get(name, group.layer)) for name, group in groups.items()}
        final = set(use.last)
    for name in final:
        if groups[name].name == "hidden_biases":
            groups[name] = Group("output_bias", groups[name].layer)
    return groups


def _kind(model: nn.Module, module: nn.Module, path: str, parameter: str, value: torch.Tensor) -> str:
    """Return the group of a parameter by its module's type and its name; `inputs` if the module's class lists it."""
    words = f"{path.rpartition('.')[2]}.{parameter}" if "parametrizations" in path else parameter
    if parameter in getattr(module, "inputs", ()):
        return "inputs"
    if "norm" in type(module).__name__.lower():
        return "normalization"
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)) or any(word in words for word in ("embed", "token", "pos")):
        return EMBEDDINGS
    if "bias" in words:
        return "hidden_biases"
    if any(word in words for word in ("scale", "gamma")):
        return "normalization"
    if "weight" in words or value.squeeze().ndim > 1:
        return "weights"
    raise InputError(
        f"no parameter group for {parameter} of {type(module).__name__} {path!r} in {type(model).__name__}; "
        f"allowed in groups: {', '.join((*GROUPS, EMBEDDINGS))}"
    )


# Names of the operations that multiply signals by weights, in autograd's graph.
PRODUCTS = re.compile("mm|Mm|mv|Mv|Conv|Linear|Rnn|Embedding")


def use_of(params: Params, inputs: Iterable[torch.Tensor], outputs: torch.Tensor) -> Use:
    """Read from autograd's graph of `outputs` where they use parameters.

    Layers count along the ways from the inputs: a product with weights is one more layer than its inputs' largest
    (`most`) or smallest (`fewest`) number. Parameters that the outputs do not depend on are not in it.

    Parameters
    ----------
    params : parameters by name, leaves of the graph
    inputs : tensors that the signal comes from, leaves of the graph; embeddings look up others
    outputs : computed from them
    """
    names, data = {id(value): name for name, value in params.items()}, {id(value) for value in inputs}
    fewest: dict[str, int] = {}
    most: dict[str, int] = {}
    last: frozenset[str] = frozenset()
    signal: dict = {}  # by operation: fewest and most layers; None if it depends on parameters alone
    behind: dict = {}  # by operation without signal: the parameters that it depends on
    stack = [(outputs.grad_fn, False)]
    while stack:
        node, ready = stack.pop()
        if node is None or node in signal:
            continue
        before = [child for child, _ in node.next_functions if child is not None]
        if not ready:
            stack += [(node, True), *((child, False) for child in reversed(before))]
            continue
        leaf = getattr(node, "variable", None)
        ranges = [signal[child] for child in before if signal[child]]
        of_params = frozenset[str]().union(*(behind.get(child, ()) for child in before))
        lookup = "Embedding" in node.name()
        if leaf is not None and id(leaf) in data:
            signal[node] = (0, 0)
        elif not ranges and not lookup:
            signal[node], behind[node] = None, of_params | {names[id(leaf)]} if id(leaf) in names else of_params
        else:
            low = min((low for low, _ in ranges), default=0)
            high = max((high for _, high in ranges), default=0)
            if of_params:
                more = PRODUCTS.search(node.name()) is not None
                low, high, last = low + more, high + more, of_params
                for name in of_params:
                    fewest[name], most[name] = min(low, fewest.get(name, low)), max(high, most.get(name, high))
            signal[node] = (low, high)
    return Use(fewest, most, last)


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
