"""What networks predict early on a path from other starts (section 10)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mli_utils.core.config import FIELDS, InputError, make_config
from mli_utils.core.plateaus import apart
from mli_utils.runs.trained import Run


def explained(curves: pd.DataFrame, runs: Sequence[Run], at: Sequence[float]) -> pd.DataFrame:
    """What networks predict early on a path, beside their first guess and their largest bias: a row a curve and α.

    Parameters
    ----------
    curves : of these runs, as `mli.interpolate(…, by_class=True)` returns them
    at : grid points to look at

    Returns
    -------
    The runs' fields, `status`, `start`, `path`, `alpha`; `favoured`, the class predicted most often there;
    `guess` and `guess_share`, that at α = 0 and its share of all predictions; `is_guess`; `is_largest`, whether the
    favoured class has the largest output bias at θ(T). NaN without such a bias, and for the guess of the origin, which
    tells no classes apart.

    Raises
    ------
    InputError
        A point that is not on the grid.
    """
    largest = {
        run.config: int(np.argmax(run.summary["output_bias"])) for run in runs if run.summary["output_bias"] is not None
    }
    keys = ["start", "path", "status", *FIELDS]
    fields, arrays = apart(curves, keys, ["alpha", "label", "predicted_share"])
    rows = []
    for of_curve, curve in zip(fields.to_dict("records"), arrays, strict=True):
        config = make_config(**{name: of_curve[name] for name in FIELDS})
        alphas, labels = np.unique(curve["alpha"]), np.unique(curve["label"])
        shares = curve["predicted_share"].reshape(len(alphas), len(labels))
        known = np.isfinite(shares[0]).all()
        guesses = known and of_curve["start"] != "zero"
        guess = labels[shares[0].argmax()] if guesses else np.nan
        for alpha in at:
            place = np.flatnonzero(np.isclose(alphas, alpha))
            if not len(place):
                raise InputError(f"alpha={alpha} is not on the curves; allowed: {', '.join(map(str, alphas))}")
            favoured = labels[shares[place[0]].argmax()] if known else np.nan
            told = {"is_guess": guess, "is_largest": largest.get(config, np.nan) if known else np.nan}
            rows.append(
                {
                    **of_curve,
                    "alpha": alpha,
                    "favoured": favoured,
                    "guess": guess,
                    "guess_share": shares[0].max() if guesses else np.nan,
                    **{name: np.nan if np.isnan(label) else float(favoured == label) for name, label in told.items()},
                }
            )
    return pd.DataFrame(rows, columns=[*keys, "alpha", "favoured", "guess", "guess_share", "is_guess", "is_largest"])
