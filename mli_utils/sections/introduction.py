"""Shallow and deep networks on the linear path (section 01)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import chain

import numpy as np
import pandas as pd

from mli_utils.core.config import RunConfig
from mli_utils.core.estimates import at_most
from mli_utils.core.plateaus import RISE, plateau
from mli_utils.core.words import NAMES
from mli_utils.runs.trained import Run, counts

DIFFERENCES = {  # fields of a run in the reader's words; the others say how it is trained
    "model": "architecture",
    "depth": "depth",
    "init_scale": "initialization scale",
    "dataset": "images",
    "n_train": "images",
    "width": "width",
    "bias": "biases",
    "normalization": "normalization",
}


def lost_halfway(fitted: pd.DataFrame) -> pd.Series:
    """Return the fraction of the loss reduction reached nearest α = ½, by `network` and `seed`."""
    loss = fitted.pivot(index="alpha", columns=["network", "seed"], values="loss")
    half = loss.iloc[np.abs(loss.index - 0.5).argmin()]
    return (loss.iloc[0] - half) / (loss.iloc[0] - loss.iloc[-1])


def measured(fitted: pd.DataFrame, tolerance: float) -> dict[str, pd.Series]:
    """Return the quantity of each claim of section 01, by run or seed, from curves of `shallow` and `deep` networks."""
    lengths = plateau(fitted, tolerance)
    error = lengths.set_index(["network", "seed"]).error_plateau
    return {
        "loss-falls-on-the-line": at_most(lengths.set_index("seed").bump, RISE),
        "shallow-curve-looks-convex": lost_halfway(fitted)["shallow"],
        "deep-networks-have-a-plateau": error["deep"] - error["shallow"],
    }


def numbers(runs: Mapping[str, Sequence[Run]], fitted: pd.DataFrame) -> dict:
    """Return the numbers in the text of section 01, from runs and curves of `shallow` and `deep` networks."""
    lost, lengths = lost_halfway(fitted), plateau(fitted).dropna(subset="bump")
    bumps = {network: lengths.bump[lengths.network == network] for network in runs}
    return {
        **{network: _named(of_network[0]) for network, of_network in runs.items()},
        **{f"{network}_half": 100 * lost[network].mean() for network in runs},
        **{f"rising_{network}": f"{(bump > RISE).sum()} of {len(bump)}" for network, bump in bumps.items()},
        "differ": _differences(of_network[0].config for of_network in runs.values()),
        **counts(chain(*runs.values())),
    }


def _differences(configs: Iterable[RunConfig]) -> str:
    """Name in words what kinds of network differ in."""
    found = [asdict(config) for config in configs]
    names = [name for name in (*DIFFERENCES, *found[0]) if name != "seed" and len({one[name] for one in found}) > 1]
    *first, last = dict.fromkeys(DIFFERENCES.get(name, "way of training") for name in names) or ["nothing"]
    return f"{', '.join(first)} and {last}" if first else last


def _named(run: Run) -> str:
    """Describe a run's network in words."""
    config = run.config
    model = "" if config.model == "fcn" else f"{NAMES[config.model]}, "
    dataset = NAMES.get(config.dataset, config.dataset)
    return f"{model}{config.depth} layers, initialization scale {config.init_scale:g}, {dataset}"
