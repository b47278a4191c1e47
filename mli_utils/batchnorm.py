"""Batch norm where training never was: the statistics of a whole image set, exactly, in one pass.

A network at θ(α) needs the means and variances that its layers have there. Averages kept through training belong to
θ(T), and a mean over batches is not that of the set. Here the whole set passes the network as one batch.
"""

import torch
from torch import nn
from torch.func import functional_call

Statistics = dict[str, torch.Tensor]  # means and variances of every batch norm, named as the network's buffers


def has_batch_norm(model: nn.Module) -> bool:
    return any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


@torch.no_grad()
def whole_set(model: nn.Module, params: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """Logits (samples, classes) of an image set, normalised by its own statistics.

    Holds a few layers' activations of all images at once: 4 · 64 · 32² bytes an image and layer at full width.

    Parameters
    ----------
    params : of one network, by name
    images : (samples, channels, height, width)
    """
    return functional_call(model.train(), params, (images,))


def statistics(model: nn.Module, params: dict[str, torch.Tensor], images: torch.Tensor) -> Statistics:
    """What `whole_set` normalises by, which `models.logits` takes."""
    found = {}

    def note(name):
        def hook(module, inputs):
            variance, mean = torch.var_mean(inputs[0], (0, 2, 3), correction=0)
            found.update({f"{name}.running_mean": mean, f"{name}.running_var": variance})

        return hook

    norms = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [module.register_forward_pre_hook(note(name)) for name, module in norms]
    try:
        whole_set(model, params, images)
    finally:
        for hook in hooks:
            hook.remove()
    return found
