"""Augmentation of whole batches at once, on the device where they are."""

from collections.abc import Sequence

import torch

PADDING = 1 / 8  # of the side: four pixels of 32


def augment(images: torch.Tensor, kind: str, generators: Sequence[torch.Generator]) -> torch.Tensor:
    """A changed copy of a stack of batches; the images themselves where `kind` is `none`.

    `flip` mirrors every other image left to right, at random. `crop` pads each side by an eighth with zeros (the mean
    of standardised pixels) and cuts the old size out at a random place. `flip-crop` does both.

    Parameters
    ----------
    images : (stack, samples, channels, height, width)
    kind : one of `config.AUGMENTATIONS`
    generators : on the CPU, a network of the stack each, so that its draws are its own
    """
    if kind == "none":
        return images
    stack, samples, channels, height, width = images.shape
    pad = round(PADDING * height) if "crop" in kind else 0
    flips, shifts = [], []
    for generator in generators:
        flips.append(torch.rand(samples, generator=generator) < (0.5 if "flip" in kind else 0.0))
        shifts.append(torch.randint(2 * pad + 1, (2, samples), generator=generator))
    flip = torch.cat(flips).to(images.device)
    down, right = torch.cat(shifts, 1).to(images.device)
    columns = torch.arange(width, device=images.device)
    columns = torch.where(flip[:, None], columns.flip(0), columns) + right[:, None]
    rows = torch.arange(height, device=images.device) + down[:, None]
    each = torch.arange(stack * samples, device=images.device)[:, None, None]
    padded = torch.nn.functional.pad(images.flatten(0, 1), (pad,) * 4)
    cut = padded[each, :, rows[:, :, None], columns[:, None, :]]  # (images, height, width, channels)
    return cut.permute(0, 3, 1, 2).unflatten(0, (stack, samples))
