"""Networks written and trained in plain PyTorch, and the diagnosis of their checkpoints (section 14)."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from mli_utils.core.config import choose
from mli_utils.core.estimates import intervals, mean_and_interval
from mli_utils.core.parameters import GROUPS
from mli_utils.core.words import span
from mli_utils.runs.images import load_data
from mli_utils.runs.measured import cached_frame
from mli_utils.runs.own import diagnose, parameter_table
from mli_utils.runs.parallel import one_thread

MEASURES = ("error_plateau", "loss_plateau")
PATHS = {  # of `diagnose`, as the page names them
    "linear": "linear",
    "zeroed": "output bias zeroed",
    "common logits away": "common logits removed",
    "homogeneous": "homogeneous",
}


def plain_cnn() -> nn.Module:
    """Return six convolutions, 16 channels wide, and a head, for images of 8 × 8 pixels."""
    layers: list[nn.Module] = []
    for channels in (1, 16, 16, 16, 16, 16):
        layers += [nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU(), *[nn.MaxPool2d(2)] * (len(layers) in (2, 7))]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64, 10))


def resnet() -> nn.Module:
    """Return torchvision's ResNet-18 for ten classes."""
    from torchvision.models import resnet18

    return resnet18(num_classes=10)


NETWORKS = {"plain CNN": plain_cnn, "ResNet-18": resnet}


def digits(network: str, n: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the first n digits for a network, (samples, channels, height, width), and labels (samples,).

    ResNet-18 takes them twice as large, in three channels.
    """
    some = load_data("digits").first(n) if n else load_data("digits")
    larger = nn.functional.interpolate(some.images, scale_factor=2).expand(-1, 3, -1, -1)
    return some.images if network == "plain CNN" else larger, some.labels


def train(
    network: str, seed: int, n: int | None, lr: float, epochs: int, folder: Path | str
) -> tuple[nn.Module, Path, Path]:
    """Train a network as a tutorial would, with SGD, momentum 0.9 and batches of 64.

    Returns
    -------
    The network, and the checkpoints that are saved in `folder` before and after: its state dicts
    """
    inputs, labels = digits(choose("network", network, NETWORKS), n)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = NETWORKS[network]()
        start, end = (Path(folder) / f"{side}-{seed}.pt" for side in ("start", "end"))
        torch.save(model.state_dict(), start)
        optimizer = torch.optim.SGD(model.parameters(), lr, momentum=0.9)
        for _ in range(epochs):
            for batch in torch.randperm(len(labels)).split(64):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(inputs[batch]), labels[batch]).backward()
                optimizer.step()
        torch.save(model.state_dict(), end)
    return model, start, end


def diagnosed(
    settings: Mapping[str, Mapping[str, float | None]], seeds: Mapping[str, Sequence[int]], alphas: int
) -> pd.DataFrame:
    """Train networks and diagnose their checkpoints, or read the diagnoses from the store.

    Parameters
    ----------
    settings : `lr`, `epochs` and `n`, the number of images (None: all), by network
    seeds : one training each, by network

    Returns
    -------
    Curves of `diagnose` with `network`, `seed`, and what it says of each: `bias_gap` (logits), `first_share`
    """
    parts = [
        cached_frame("own", {"alphas": alphas, "network": network, "seed": seed, **asked}, _diagnosed, "own")
        for network, of_network in settings.items()
        for asked in [{name: value for name, value in of_network.items() if value is not None}]
        for seed in seeds[network]
    ]
    return pd.concat(parts, ignore_index=True)


def _diagnosed(network: str, seed: int, alphas: int, lr: float, epochs: int, n: int | None = None) -> pd.DataFrame:
    with tempfile.TemporaryDirectory() as folder, one_thread():
        model, start, end = train(network, seed, n, lr, epochs, folder)
        found = diagnose(model, start, end, digits(network, n), alphas, device="cpu")
    return found.curves.assign(network=network, seed=seed, bias_gap=found.bias_gap, first_share=found.first_share)


def compared(curves: pd.DataFrame) -> pd.DataFrame:
    """Return the curves that the page compares, their paths in its words."""
    return curves[curves.path.isin(PATHS)].replace({"path": PATHS})


def groups(networks: Sequence[str] = tuple(NETWORKS)) -> pd.DataFrame:
    """Count the parameters of each network by group: `network`, `group`, `tensors`, `numbers`, `layers`."""
    return pd.concat([cached_frame("groups", {"network": one}, _groups, "own") for one in networks], ignore_index=True)


def _groups(network: str) -> pd.DataFrame:
    inputs, labels = digits(network, 2)
    model = NETWORKS[network]()
    found = parameter_table(model, (inputs, labels)).set_index("name")
    sizes = pd.Series({name: value.numel() for name, value in model.named_parameters()})
    rows = []
    for group in [group for group in GROUPS if group in set(found.group)]:
        chosen = found[found.group == group]
        layers = sorted({chosen.layer.min(), chosen.layer.max()})
        row = {"tensors": len(chosen), "numbers": sizes[chosen.index].sum(), "layers": "–".join(map(str, layers))}
        rows.append({"network": network, "group": group.replace("_", " "), **row})
    return pd.DataFrame(rows)


def numbers(curves: pd.DataFrame, plateaus: pd.DataFrame) -> dict[str, str | float]:
    """Return the numbers in the text of section 14 by `network/quantity`: plateaus as texts, other means as numbers.

    `network/path/less` is by how much the error plateau is shorter than on the linear path, seed by seed, and
    `network/made by the bias` says in words how much of it is gone with the bias zeroed.

    Parameters
    ----------
    curves : as `compared` returns them
    plateaus : their `plateau`s
    """
    found: dict[str, str | float] = {}
    ranges = dict.fromkeys(MEASURES, (0, 1))
    for row in intervals(plateaus, ["network", "path"], MEASURES, ranges).to_dict("records"):
        found[f"{row['network']}/{row['path']}/{row['measure']}"] = span(row)
    lengths = plateaus.pivot(index=["network", "seed"], columns="path", values="error_plateau")
    for network, of_network in lengths.groupby("network"):
        for path in PATHS.values():
            less = (of_network[PATHS["linear"]] - of_network[path]).dropna()
            shorter = mean_and_interval(less)
            found[f"{network}/{path}/less"] = span(shorter)
            if path == PATHS["zeroed"]:
                found[f"{network}/made by the bias"] = _amount(shorter, of_network[PATHS["linear"]].mean())
    of_run = curves.groupby(["network", "seed"], sort=False)
    ends = of_run.first().assign(error=curves[curves.alpha == 1].groupby(["network", "seed"]).error.first())
    means = ends.groupby("network")[["bias_gap", "first_share", "error"]].mean()
    found |= {f"{network}/{name}": mean for network, row in means.iterrows() for name, mean in row.items()}
    return found


def _amount(shorter: Mapping, length: float) -> str:
    """Say which part of a plateau is gone, by the interval of what is gone."""
    if not shorter["low"] > 0:
        return "no measurable part of" if shorter["high"] < length / 10 else "an unclear part of"
    return "most of" if shorter["low"] > length / 2 else "a part of"
