"""Plateaus and early predictions on paths from other starting points (section 10)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mli_utils.core.config import FIELDS, InputError, make_config
from mli_utils.core.estimates import at_most, clustered_mean, paired_differences, shares
from mli_utils.core.plateaus import plateau, split_curves
from mli_utils.core.words import span
from mli_utils.runs.trained import Run, counts

KEYS = ["depth", "init_scale", "seed"]  # identify a network among those of one `bias`
KINDS = {"is_guess": "first guess", "is_largest": "largest bias"}
RISE = 0.01  # nats; a larger rise of the loss counts as one
WORDS = {"none": "no biases", "output": "output bias", "all": "all biases"}


def name_networks(frame: pd.DataFrame) -> pd.DataFrame:
    """Add `network`: biases, depth and initialization scale in words."""
    words = zip(frame.bias, frame.depth, frame.init_scale, strict=True)
    return frame.assign(network=[f"{WORDS[bias]}, depth {depth}, scale {scale:g}" for bias, depth, scale in words])


def deepest(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the deepest networks with the smallest initialization scale."""
    return frame[(frame.depth == frame.depth.max()) & (frame.init_scale == frame.init_scale.min())]


def differences(plateaus: pd.DataFrame, measures: Sequence[str]) -> pd.DataFrame:
    """Return plateaus from other starts minus those from the own, paired by seed, per `network`, `start`, `measure`."""
    of_networks = plateaus.groupby("network", sort=False)
    frames = [paired_differences(some, "start", "own", measures).assign(network=name) for name, some in of_networks]
    return pd.concat(frames)


def explained(curves: pd.DataFrame, runs: Sequence[Run], at: Sequence[float]) -> pd.DataFrame:
    """Compare early predictions with the first guess and the largest bias, one row per curve and α.

    Parameters
    ----------
    curves : curves of `runs`, as `mli.interpolate(…, by_class=True)` returns them
    at : grid points α to compare at

    Returns
    -------
    The runs' fields, `status`, `start`, `path`, `network`, `alpha`; `favoured`, the class predicted most often at α;
    `guess` and `guess_share`, the class predicted most often at α = 0 and its share; `largest`, the class with the
    largest output bias at θ(T); `is_guess` and `is_largest`, whether `favoured` is that class. `largest` is NaN without
    output bias, `guess` is NaN from the origin, where all classes have equal logits.

    Raises
    ------
    InputError
        A point is not on the grid.
    """
    alphas = np.unique(curves.alpha)
    if off := [alpha for alpha in at if not np.isclose(alphas, alpha).any()]:
        raise InputError(f"alpha={off[0]} is not on the curves; allowed: {', '.join(map(str, alphas))}")
    biases = {run.config: run.summary["output_bias"] for run in runs}
    largest = {config: np.argmax(bias) for config, bias in biases.items() if bias is not None}
    fields, arrays = split_curves(curves, ["start", "path", "status", *FIELDS], ["predicted_share"])
    said = np.stack([curve["predicted_share"] for curve in arrays]).reshape(len(fields), len(alphas), -1)
    known = np.isfinite(said[:, 0]).all(1)
    guesses = known & (fields.start != "zero")
    configs = (make_config(**row) for row in fields[list(FIELDS)].to_dict("records"))
    fields = name_networks(fields).assign(
        guess=np.where(guesses, said[:, 0].argmax(1), np.nan),
        guess_share=np.where(guesses, said[:, 0].max(1), np.nan),
        largest=[largest.get(config, np.nan) for config in configs],
    )
    frames = []
    for alpha in at:
        favoured = said[:, np.isclose(alphas, alpha).argmax()].argmax(1)
        found = fields.assign(alpha=alpha, favoured=np.where(known, favoured, np.nan))
        for name in ("guess", "largest"):
            told = found[["favoured", name]].notna().all(axis=1)
            found[f"is_{name}"] = (found.favoured == found[name]).astype(float).where(told)
        frames.append(found)
    return pd.concat(frames, ignore_index=True)


def shares_at(predictions: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Return shares of networks that favour their first guess or largest bias at `alpha`, by start and network."""
    found = shares(predictions[predictions.alpha == alpha], ["start", "network"], list(KINDS))
    return found.assign(predicted=found.measure.map(KINDS))


def measured(curves: pd.DataFrame, predictions: pd.DataFrame, middle: float, tolerance: float) -> dict[str, pd.Series]:
    """Return the quantity of each claim of section 10, by seed and kind of network.

    Parameters
    ----------
    curves : curves of fitted networks from all starts, one row per α
    predictions : as `explained` returns them
    middle : α of the predictions to use
    tolerance : tolerance of plateaus
    """
    lengths = plateau(curves, tolerance)
    error = lengths[lengths.bias == "output"].set_index([*KEYS, "start"]).error_plateau.unstack("start")
    replaced = lengths[lengths.start != "own"].set_index([*KEYS, "start", "bias"]).bump
    by_bias = replaced.unstack("bias").reindex(columns=["none", "output"]).reset_index()
    by_bias = deepest(by_bias).set_index([*KEYS, "start"])
    own = _own(predictions, middle)
    without = own[own.bias == "none"].set_index(KEYS).is_guess.unstack("depth")
    return {
        "another-start-lengthens-the-plateau": error["other"] - error["own"],
        "the-origin-lengthens-the-plateau": error["zero"] - error["own"],
        "monotone-from-any-start": at_most(replaced, RISE),
        "biases-break-monotonicity": by_bias["output"] - by_bias["none"],
        "untrained-networks-guess": first_guesses(own),
        "biases-explain-early-predictions": deepest(own[own.bias == "output"]).set_index(KEYS).is_largest,
        "depth-ends-the-guess": without[without.columns.min()] - without[without.columns.max()],
    }


def first_guesses(own: pd.DataFrame) -> pd.Series:
    """Return the share of images that an untrained network predicts as one class, counting each network once.

    Networks that differ only in biases are the same before training.
    """
    return own.groupby(KEYS).guess_share.first()


def numbers(runs: Sequence[Run], plateaus: pd.DataFrame, predictions: pd.DataFrame, middle: float) -> dict:
    """Return the numbers in the text of section 10."""
    replaced, own = plateaus[plateaus.start != "own"].dropna(subset="bump"), _own(predictions, middle)
    gap = deepest(replaced[replaced.bias == "output"]).bump
    output, without = (own[own.bias == bias] for bias in ("output", "none"))
    by_depth = without.groupby("depth").is_guess.mean()
    return {
        "rising": (replaced.bump > RISE).sum(),
        "replaced": len(replaced),
        "rising_none": (replaced[replaced.bias == "none"].bump > RISE).sum(),
        "replaced_none": (replaced.bias == "none").sum(),
        "rising_deepest": (gap > RISE).sum(),
        "replaced_deepest": len(gap),
        "rise_deepest": gap.mean(),
        "first": span(clustered_mean(first_guesses(own), "seed", (0, 1))),
        "middle": middle,
        "shallowest": own.depth.min(),
        "deepest": own.depth.max(),
        "smallest": own.init_scale.min(),
        "largest_share": 100 * deepest(output).is_largest.mean(),
        "guess_share": 100 * deepest(output).is_guess.mean(),
        "guess_shallow": 100 * by_depth.iloc[0],
        "guess_deep": 100 * by_depth.iloc[-1],
        **counts(runs),
    }


def _own(predictions: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Return the predictions at `alpha` on paths from the networks' own starts."""
    return predictions[(predictions.alpha == alpha) & (predictions.start == "own")]
