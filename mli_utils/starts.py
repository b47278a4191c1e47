"""Other starts of a path than θ(0): the book's section 10 walks to the same trained networks from each."""

from collections.abc import Sequence

import torch
from torch import nn

from mli_utils import models
from mli_utils.config import RunConfig
from mli_utils.models import Params
from mli_utils.versions import VERSIONS


def other(model: nn.Module, config: RunConfig, ends: Sequence[Params]) -> Params:
    """An initialization of the same law that the run did not start from."""
    again = models.initialize(model, config.replace(seed=models.stream(config.seed, "another start")))
    return {name: value.to(ends[0][name].device) for name, value in again.items()}


def noise(model: nn.Module, config: RunConfig, ends: Sequence[Params]) -> Params:
    """Normal noise with the norm of the trained weights, layer by layer; all other parameters as at θ(0)."""
    generator = torch.Generator().manual_seed(models.stream(config.seed, "noise"))
    start = dict(ends[0])
    for name, group in models.parameter_groups(model).items():
        if group.name == "weights":
            drawn = torch.randn(start[name].shape, generator=generator).to(start[name])
            start[name] = models.lay_out(model, drawn * (ends[1][name].norm() / drawn.norm()))
    return start


STARTS = {
    "own": lambda model, config, ends: ends[0],
    "zero": lambda model, config, ends: {name: torch.zeros_like(value) for name, value in ends[0].items()},
    "other": other,
    "noise": noise,
}


def key(start: str) -> dict:
    """What tells a curve's start from others in its address."""
    if start == "own":
        return {}
    return {"start": start} if start == "zero" else {"start": start, "starts": VERSIONS["starts"]}
