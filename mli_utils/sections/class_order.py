"""Output biases, the order of learning, and predictions on the error plateau (section 07)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from mli_utils.core.config import FIELDS
from mli_utils.core.estimates import ESTIMATE, clustered_mean, clustered_share, mean_and_interval
from mli_utils.core.plateaus import plateau
from mli_utils.core.training import LOGGED_APART, PROBE
from mli_utils.core.words import number, span
from mli_utils.figures.kinds import empty_figure, nothing_to_draw
from mli_utils.figures.style import LABELS, NARROW, colours, in_order, style
from mli_utils.runs.budgets import BRIGHTNESS
from mli_utils.runs.measured import order_correlations
from mli_utils.runs.trained import Run, counts

KINDS = {"largest": "the largest bias", "guess": "the first guess", "smallest": "the smallest bias"}
CLOCKS = {"learned_at": "argmax", "trusted_at": "probability", "separated_at": "ranking", "brightness": "brightness"}
PARTS = {"pull": "pull", "intrusions": "−intrusions"}
BOUNDS = {"gap": (0, np.inf), **dict.fromkeys(["last_is_largest", "last_is_dimmest"], (0, 1))}
BOUNDS |= dict.fromkeys(["with_pull", "with_intrusions", "bias_order", "pull_order"], (-1, 1))


def parts(classes: pd.DataFrame) -> pd.DataFrame:
    """Compare the output biases of each network with their two parts.

    Parameters
    ----------
    classes : as `budgets.learned` returns them, of one or more designs

    Returns
    -------
    One row per `design` and `seed`: `gap` (logits); `with_pull` and `with_intrusions`, correlations over classes of the
    bias with the pull and with minus the intrusions; `share_of_pull`, the share of the variance of the biases over
    classes that is covariance with the pull, the rest being covariance with minus the intrusions
    """
    rows = []
    for (design, seed), one in classes.groupby(["design", "seed"], sort=False):
        with_pull, with_intrusions = (np.cov(one.output_bias, values) for values in (one.pull, -one.intrusions))
        rows.append(
            {
                "design": design,
                "seed": seed,
                "gap": np.ptp(one.output_bias),
                "with_pull": _correlation(with_pull),
                "with_intrusions": _correlation(with_intrusions),
                "share_of_pull": with_pull[0, 1] / with_pull[0, 0],
            }
        )
    return pd.DataFrame(rows, columns=["design", "seed", "gap", "with_pull", "with_intrusions", "share_of_pull"])


def orders(classes: pd.DataFrame) -> pd.DataFrame:
    """Compare the order in which each network learns its classes, by every clock, with the order of their biases.

    Parameters
    ----------
    classes : as for `parts`

    Returns
    -------
    One row per `design`, `seed` and `clock` (`argmax`, `probability`, `ranking`; where images are dimmed also
    `brightness`, the order by design): `bias_order` and `pull_order`, Kendall's τ-b of the steps with the biases and
    with their pull; `last_is_largest`, whether the class learned last has the largest bias, and `last_is_dimmest`,
    whether it is the dimmest (both fractions, if several are last). Classes never learned come last, tied.
    """
    found = []
    for design, of_design in classes.groupby("design", sort=False):
        for clock, name in CLOCKS.items():
            if clock == "brightness" and design != "dimmed":
                continue
            timed = of_design.assign(at=of_design[clock].fillna(np.inf) * (-1 if clock == "brightness" else 1))
            columns = {
                "bias_order": order_correlations(timed, "at"),
                "pull_order": order_correlations(timed, "at", "pull"),
            }
            last = timed[timed["at"] == timed.groupby("run")["at"].transform("max")]
            by_run = last.groupby("run")
            largest = last.output_bias == last.run.map(of_design.groupby("run").output_bias.max())
            columns["last_is_largest"] = largest.groupby(last.run).mean()
            if design == "dimmed":
                columns["last_is_dimmest"] = (last.brightness == min(BRIGHTNESS)).groupby(last.run).mean()
            rows = pd.DataFrame({"seed": by_run.seed.first(), **columns})
            found.append(rows.assign(design=design, clock=name))
    columns = ["design", "seed", "clock", "bias_order", "pull_order", "last_is_largest", "last_is_dimmest"]
    return pd.concat(found).reindex(columns=columns) if found else pd.DataFrame(columns=columns)


def identity_share(classes: pd.DataFrame) -> pd.Series:
    """Estimate the share of the variance of biases that is the identity of the class, by network, as pseudo-values.

    The share is the intraclass correlation of centred biases, networks being the repetitions: 1 if all networks give a
    class the same bias, 0 if identity says nothing. Its jackknife pseudo-values n·share − (n − 1)·share without one
    network have about the share as their mean, and its standard error as theirs.

    Parameters
    ----------
    classes : as for `parts`, of one design

    Returns
    -------
    Series by `seed`
    """
    biases = classes.pivot(index="seed", columns="label", values="output_bias")
    n, centred = len(biases), biases.sub(biases.mean(axis=1), axis=0).to_numpy()
    if n < 3:
        return pd.Series(np.nan, index=biases.index)
    without = [_intraclass(np.delete(centred, i, axis=0)) for i in range(n)]
    return pd.Series(n * _intraclass(centred) - (n - 1) * np.array(without), index=biases.index)


def estimates(classes: pd.DataFrame) -> pd.DataFrame:
    """Estimate the measures of `parts` and `orders` over seeds.

    Returns
    -------
    Rows of `design`, `clock` (`budget` for `parts`), `measure`, `mean`, `low`, `high` (95 %, within the range of the
    measure) and `n`
    """
    every = pd.concat([parts(classes).assign(clock="budget"), orders(classes)]).set_index("seed")
    rows = []
    for (design, clock), one in every.groupby(["design", "clock"], sort=False):
        for measure in one.columns.drop(["design", "clock"]):
            if one[measure].notna().any():
                found = (
                    clustered_share(one[measure], "seed")
                    if clock == "brightness" and measure.startswith("last_is")  # yes or no: no class ties with another
                    else clustered_mean(one[measure], "seed", BOUNDS.get(measure, (-np.inf, np.inf)))
                )
                rows.append({"design": design, "clock": clock, "measure": measure, **found})
    return pd.DataFrame(rows, columns=["design", "clock", "measure", *ESTIMATE])


def recomputed(runs: Sequence[Run], classes: pd.DataFrame) -> pd.DataFrame:
    """Compare the biases of `runs` with those that pull and intrusions sum up to, one row per run.

    Parameters
    ----------
    classes : as `budgets.learned` returns them, of the same configurations and plain images

    Returns
    -------
    `seed`; `correlation` over classes; `deviation`, the largest (logits)
    """
    summed = classes.sort_values("label").groupby("seed").output_bias.apply(np.array)
    rows = []
    for run in runs:
        if run.config.seed not in summed:  # another machine's run, which did not fit here
            continue
        trained, of_run = np.array(run.summary["output_bias"]), summed[run.config.seed]
        correlation, deviation = _correlation(np.cov(trained, of_run)), abs(trained - of_run).max()
        rows.append({"seed": run.config.seed, "correlation": correlation, "deviation": deviation})
    return pd.DataFrame(rows, columns=["seed", "correlation", "deviation"])


def against_parts(classes: pd.DataFrame) -> pd.DataFrame:
    """Return a row per part of each bias, to draw: `design`, `seed`, `label`, `output bias`, `part` and its `logits`.

    A part is centred within its network.
    """
    signed = classes.assign(intrusions=-classes.intrusions).rename(columns={"output_bias": "output bias", **PARTS})
    tall = signed.melt(["design", "seed", "label", "output bias"], list(PARTS.values()), "part", "logits")
    centred = tall.logits - tall.groupby(["design", "seed", "part"]).logits.transform("mean")
    return tall.assign(logits=centred)


def in_places(classes: pd.DataFrame) -> pd.DataFrame:
    """Add `place`, the rank of each class in the order in which its network learned it, for `kinds.order_figure`.

    Ties share their places; classes never learned come last, tied. `centred_bias` is the output bias: those of a
    network sum to zero.
    """
    steps = classes.separated_at.fillna(np.inf)
    return classes.assign(place=steps.groupby(classes.run).rank(), centred_bias=classes.output_bias)


def through_training(budgets: pd.DataFrame) -> pd.DataFrame:
    """Average pull, intrusions and bias over networks, by step and brightness; ended networks stay as they ended.

    Parameters
    ----------
    budgets : as `budgets.budgets` returns them, of dimmed images

    Returns
    -------
    Tidy frame of `step`, `brightness`, `part` and `logits`, from the first step on
    """
    parts = ["output_bias", "pull", "intrusions"]
    tall = budgets.melt(["run", "step", "brightness"], parts, "part", "logits").replace(
        {"part": {"output_bias": "bias"}}
    )
    wide = tall.pivot(index="step", columns=["part", "brightness", "run"], values="logits").sort_index().ffill()
    means = wide.T.groupby(level=["part", "brightness"], sort=False).mean().T
    return means.unstack().rename("logits").reset_index()[["part", "brightness", "step", "logits"]]


def _correlation(covariances: np.ndarray) -> float:
    spread = covariances[0, 0] * covariances[1, 1]
    return float(covariances[0, 1] / np.sqrt(spread)) if spread > 0 else float("nan")


def _intraclass(values: np.ndarray) -> float:
    """Compute the intraclass correlation of columns, for values (networks, classes) centred within networks."""
    n, k = values.shape
    means = values.mean(axis=0)
    between = n * (means**2).sum() / (k - 1)
    within = ((values - means) ** 2).sum() / ((n - 1) * (k - 1))
    return (between - within) / (between + (n - 1) * within)


def predicted_as(classes: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """Return the shares of predictions along α that go to three classes of each network.

    Parameters
    ----------
    classes : as `class_order` returns them
    curves : curves of the same runs on one path, as `mli.interpolate(…, by_class=True)` returns them

    Returns
    -------
    Tidy frame of `run`, `kind`, `label`, `alpha`, `share` and `class` (`kind` in words). The kinds are `largest` (class
    with the largest output bias), `guess` (class predicted most often at α = 0) and `smallest` (class with the smallest
    output bias).
    """
    curves = _numbered(classes, curves)
    chosen = _kinds(classes, curves).melt(var_name="kind", value_name="label", ignore_index=False).reset_index()
    found = chosen.merge(curves[["run", "label", "alpha", "predicted_share"]], on=["run", "label"])
    return found.assign(**{"class": found.kind.map(KINDS)}).rename(columns={"predicted_share": "share"})


def plateau_predictions(classes: pd.DataFrame, curves: pd.DataFrame, tolerance: float = 0.1) -> pd.DataFrame:
    """Summarize predictions on the error plateau, one row per run; arguments as for `predicted_as`.

    Returns
    -------
    `run`; `seed`; `error_plateau`; `largest`, `guess` and `smallest`, the classes of `predicted_as`; `as_largest`,
    `as_guess` and `as_smallest`, their mean shares of the predictions at grid points 0 < α ≤ error plateau (NaN without
    such points)
    """
    shares, lengths = predicted_as(classes, curves), plateau(curves[curves.label == 0], tolerance)
    found = _numbered(classes, lengths).set_index("run")[["seed", "error_plateau"]]
    found = found.join(_kinds(classes, _numbered(classes, curves)))
    on_plateau = shares[(shares.alpha > 0) & (shares.alpha <= shares.run.map(found.error_plateau))]
    means = on_plateau.groupby(["run", "kind"]).share.apply(pd.Series.mean).unstack("kind")  # sums in the order of α
    return found.join(means.reindex(columns=list(KINDS)).add_prefix("as_")).reset_index()


def _numbered(classes: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """Add the column `run` of `classes` to another frame of these runs."""
    return frame.merge(classes[["run", *FIELDS]].drop_duplicates())


def _kinds(classes: pd.DataFrame, numbered: pd.DataFrame) -> pd.DataFrame:
    """Return the class of each kind, one row per run, one column per kind."""
    bias, at_start = _by_run(classes).output_bias, _by_run(numbered[numbered.alpha == 0]).predicted_share
    return pd.DataFrame({"largest": bias.idxmax(), "guess": at_start.idxmax(), "smallest": bias.idxmin()})


def _by_run(frame: pd.DataFrame):
    """Group rows by run, with the class as index."""
    return frame.set_index("label").groupby("run")


def course_figure(plain: pd.DataFrame, ended: pd.DataFrame) -> Figure:
    """Plot the output biases of the first network that fitted against training step; a dot where a class was learned.

    Parameters
    ----------
    plain : `budgets.budgets` of plain images
    ended : `budgets.learned` of fitted networks, of any designs
    """
    ends = ended[ended.design == "plain"]
    if nothing_to_draw(ends, "output_bias"):
        return empty_figure()
    ends = ends[ends.run == ends.run.min()].sort_values("separated_at")
    heights = ends.output_bias.sort_values()
    near = heights.diff() < 0.06 * np.ptp(heights)  # labels of neighbours would touch
    ends = ends.assign(column=near.groupby((~near).cumsum()).cumsum())  # each goes a column further
    course = plain[plain.run == ends.run.iloc[0]].pivot(index="step", columns="label", values="output_bias")
    with style():
        figure, axes = plt.subplots(figsize=(NARROW, 3.8), layout="constrained")
        for end, colour in zip(ends.itertuples(), in_order(len(ends)), strict=True):
            axes.plot(course.index, course[end.label], color=colour, lw=1.6)
            axes.annotate(end.label, (course.index[-1], end.output_bias), (5 + 11 * end.column, 0), va="center",
                          textcoords="offset points", size=9, color=colour)  # fmt: skip
            if np.isfinite(end.separated_at):
                axes.plot(end.separated_at, course[end.label][end.separated_at], "o", color=colour, ms=6)
        axes.set(xlabel="step of training", ylabel="output bias (logits)")
    return figure


def share_figure(shares: pd.DataFrame, chance: float) -> Figure:
    """Plot shares of predictions over α per `class`: means over runs, bands from lowest to highest, chance dotted."""
    if nothing_to_draw(shares, "alpha", "share", "class"):
        return empty_figure()
    names = list(dict.fromkeys(shares["class"]))
    with style():
        figure, axes = plt.subplots(figsize=(NARROW, 3.4), layout="constrained")
        axes.axhline(chance, color="0.4", ls=":", lw=1)
        sns.lineplot(
            shares,
            x="alpha",
            y="share",
            hue="class",
            style="class",
            errorbar=("pi", 100),
            hue_order=names,
            palette=colours(names),
            ax=axes,
        )
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel=LABELS["alpha"], ylabel=LABELS["share"])
        axes.get_legend().remove()
        figure.legend(title="class with", loc="outside upper center", ncol=2, columnspacing=1)
    return figure


def of_designs(designs: pd.DataFrame) -> dict:
    """Return the quantity of each claim of section 07 that knows no plateau, a value per seed.

    Parameters
    ----------
    designs : `budgets.learned` of all designs
    """
    budget, timed = parts(designs), orders(designs)

    def of(design: str, clock: str = "") -> pd.DataFrame:
        frame = timed[timed.clock == clock] if clock else budget
        return frame[frame.design == design].set_index("seed")

    ranking = of("plain", "ranking")
    return {
        "biases-differ-on-balanced-data": of("plain").gap,
        "pull-makes-the-gap": of("plain").share_of_pull,
        "later-learned-more-biased": ranking.bias_order,
        "order-without-unequal-norms": of("equal", "ranking").bias_order,
        "argmax-hides-the-order": ranking.bias_order - of("plain", "argmax").bias_order,
        "intrusions-blur-the-order": ranking.pull_order - ranking.bias_order,
        "last-learned-has-the-largest-bias": ranking.last_is_largest,
        "dimmest-class-has-the-largest-bias": of("dimmed", "brightness").last_is_largest,
        "identity-of-the-class": identity_share(designs[designs.design == "plain"]),
    }


def measured(of_designs: dict, classes: pd.DataFrame, curves: pd.DataFrame, tolerance: float) -> dict:
    """Return the quantity of each claim of section 07, a value per seed.

    Parameters
    ----------
    of_designs : what `of_designs` returns
    classes, curves : as for `plateau_predictions`
    """
    found = plateau_predictions(classes, curves, tolerance).set_index("seed")
    return {
        **of_designs,
        "plateau-predicts-the-largest-bias": found.as_largest,
        "bias-beats-the-first-guess": found.as_largest - found.as_guess,
    }


def _without_first(plain: pd.DataFrame) -> pd.Series:
    """Return Kendall's τ of ranking clock and biases over the classes of each network but the first learned."""
    at = plain.separated_at.fillna(np.inf)
    timed = orders(plain[at > at.groupby(plain.run).transform("min")])
    return timed[timed.clock == "ranking"].bias_order


def numbers(runs: Sequence[Run], classes: pd.DataFrame, predictions: pd.DataFrame, designs: pd.DataFrame) -> dict:
    """Return the numbers in the text of section 07: of all runs, and of `measured`'s frames."""
    members = runs[0].summary["class_counts"]
    largest, guess = predictions.largest, predictions.guess
    fitted = [run for run in runs if run.summary["status"] == "fitted"]
    plain = designs[designs.design == "plain"]
    compared = recomputed(fitted, plain)
    of_designs = designs.groupby("design").seed.nunique()
    return {
        "decorrelation": number(1 - compared.correlation.min(), ".0e"),
        "deviation": number(compared.deviation.max(), ".0e"),
        "without_first": span(mean_and_interval(_without_first(plain))),
        "logged_apart": LOGGED_APART,
        "logged_images": min(PROBE, runs[0].config.n_train),
        "never_ranked": plain.separated_at.isna().sum(),
        "plain_classes": len(plain),
        **{f"{design}_networks": of_designs.get(design, 0) for design in ("equal", "dimmed")},
        "identity_plain": span(mean_and_interval(identity_share(plain))),
        "largest_is_guess": (largest == guess).sum(),
        "as_largest": 100 * predictions.as_largest.mean(),
        "as_guess": 100 * predictions.as_guess.mean(),
        "with_plateau": predictions.as_largest.notna().sum(),
        "classes": len(members),
        "members": " to ".join(map(str, sorted({min(members), max(members)}))),
        **counts(runs),
    }
