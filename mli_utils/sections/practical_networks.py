"""VGG-16, and ResNet-18 with batch norm, under other output biases (section 08)."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from mli_utils.core.config import grid
from mli_utils.core.curves import Bias
from mli_utils.core.estimates import at_most, clustered_mean, intervals
from mli_utils.core.plateaus import RISE, only_fitted, plateau
from mli_utils.core.training import PROBE
from mli_utils.core.words import span
from mli_utils.runs.biases import biased_curves, dose, permuted, trained_bias
from mli_utils.runs.measured import order_correlations
from mli_utils.runs.trained import Run, counts, table, train

DOSES = (0.5, 1.0, 2.0, 4.0)  # gaps, in logits, given to networks trained without biases
FACTORS = {"zeroed": 0.0, "halved": 0.5, "as trained": 1.0, "doubled": 2.0}  # of a trained output bias
IN_ORDER = ("as trained", "homogeneous", "zeroed", "permuted", "halved", "doubled")  # part of the address
VGG, ALL, USUAL, RESNET = "VGG-16", "VGG-16, all biases", "VGG-16, usual scale", "ResNet-18"
FREE, MADE = "trained without", "made by the bias"
DRAWN = ("as trained", "homogeneous", "zeroed", FREE)  # treatments in the figures


def output_biases(run: Run) -> dict[str, Bias]:
    """Return the output biases that a network is measured with on the linear path of its other parameters.

    A trained bias moves linearly or as α^depth (`homogeneous`, the path of the weights' signal), is scaled by
    `FACTORS`, or permuted so that another class has the largest. A network without one is given each of `DOSES`.
    """
    bias = trained_bias(run)
    if run.config.bias == "none":
        return {FREE: Bias(bias), **{f"{FREE}, dose {gap:g}": dose(run, gap) for gap in DOSES}}
    factors = {name: Bias(factor * bias) for name, factor in FACTORS.items()}
    others = {"homogeneous": Bias(bias, run.config.depth), "permuted": Bias(permuted(run))}
    return {name: {**factors, **others}[name] for name in IN_ORDER}


def trained(asked: Mapping[str, Sequence[tuple[Mapping, str, int]]], first_seed: int) -> dict[str, list[Run]]:
    """Train networks: for each name and (fields, bias, number of seeds) the runs with seeds from `first_seed` on.

    All networks of one seed are trained before the next one's, so that an interrupted night leaves whole seeds.
    """
    configs = {
        name: [
            config
            for fields, bias, seeds in some
            for config in grid(**fields, bias=bias, seed=range(first_seed, first_seed + seeds))
        ]
        for name, some in asked.items()
    }
    everyone = sorted((config for some in configs.values() for config in some), key=lambda config: config.seed)
    runs = dict(zip(everyone, train(everyone), strict=True))
    return {name: [runs[config] for config in some] for name, some in configs.items()}


def with_output_bias(runs: Sequence[Run]) -> list[Run]:
    """Return the runs that were trained with an output bias."""
    return [run for run in runs if run.config.bias != "none"]


def treated_curves(networks: Mapping[str, Sequence[Run]], alphas: int, images: int | None = None) -> pd.DataFrame:
    """Measure networks under `output_biases`, one pass a network.

    Returns
    -------
    Frame as `biased_curves` returns it, with `network`, the key in `networks`, and the bias's name as `treatment`
    """
    frames = []
    for name, runs in networks.items():
        curves = biased_curves(runs, [output_biases(run) for run in runs], alphas, images=images)
        frames.append(curves.assign(network=name, treatment=curves.path))
    return pd.concat([frame for frame in frames if len(frame)], ignore_index=True)


def split(lengths: pd.DataFrame, measure: str = "error_plateau") -> pd.DataFrame:
    """Return plateaus (α) in a row a seed and a column a network and treatment, and what the bias makes of each.

    `MADE` is the plateau as trained minus the plateau of the same network with its output bias zeroed; no bias explains
    the rest. Networks that were not asked for have columns of NaN.
    """
    wide = lengths.pivot(index="seed", columns=["network", "treatment"], values=measure)
    order = lengths[["network", "treatment"]].drop_duplicates().itertuples(index=False, name=None)
    asked = [(network, treatment) for network in (VGG, ALL, USUAL, RESNET) for treatment in DRAWN]
    wide = wide.reindex(columns=pd.MultiIndex.from_tuples(dict.fromkeys([*order, *asked])))
    for network in (VGG, ALL, USUAL, RESNET):
        wide[network, MADE] = wide[network, "as trained"] - wide[network, "zeroed"]
    return wide


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """Estimate the mean of each column of `split` over seeds: rows of `network`, `treatment` and an estimate."""
    rows = [
        {
            "network": network,
            "treatment": treatment,
            **clustered_mean(found[network, treatment], "seed", (-1 if treatment == MADE else 0, 1)),
        }
        for network, treatment in found
    ]
    return pd.DataFrame(rows)


def against_gap(lengths: pd.DataFrame, runs: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """Return error plateaus against the gap of the output bias, trained and scaled, or given after training.

    Columns: `network`, `seed`, `given` (`in training` or `after training`), `gap` (logits), `error_plateau` (α)
    """
    ended = [table(some).assign(network=name) for name, some in runs.items() if len(some)]
    trained = pd.concat(ended).dropna(subset="bias_gap")[["network", "seed", "bias_gap"]]
    scaled = lengths[lengths.treatment.isin(FACTORS)].merge(trained, on=["network", "seed"])
    scaled = scaled.assign(given="in training", gap=scaled.bias_gap * scaled.treatment.map(FACTORS))
    doses = {f"{FREE}, dose {gap:g}": gap for gap in DOSES} | {FREE: 0.0}
    given = lengths[lengths.treatment.isin(doses)]
    given = given.assign(given="after training", gap=given.treatment.map(doses))
    columns = ["network", "seed", "given", "gap", "error_plateau"]
    return pd.concat([scaled, given], ignore_index=True)[columns]


def by_statistics(curves: pd.DataFrame) -> pd.DataFrame:
    """Estimate mean plateaus and bumps over seeds for each treatment of batch norm's statistics, one row a measure."""
    ranges = {"error_plateau": (0, 1), "loss_plateau": (0, 1), "bump": (0, math.inf)}
    return intervals(plateau(curves), ["statistics"], list(ranges), ranges)


def orders(classes: pd.DataFrame) -> pd.Series:
    """Return `order_correlations` by seed."""
    return order_correlations(classes).rename(classes.groupby("run").seed.first()).rename_axis("seed")


def measured(curves: pd.DataFrame, statistics: pd.DataFrame, tolerance: float) -> dict:
    """Return the quantity of each claim of section 08, by seed.

    Parameters
    ----------
    curves : fitted curves, as `treated_curves` returns them
    statistics : fitted curves of ResNet-18 for each treatment of batch norm's statistics, in the column `statistics`
    tolerance : tolerance of plateaus
    """
    found = plateau(curves, tolerance)
    error, loss = split(found), split(found, "loss_plateau")
    vgg, resnet = error[VGG], error[RESNET]
    bumps = plateau(statistics[statistics.statistics == "recomputed"]).set_index("seed").bump
    return {
        "practical-networks-have-the-plateau": vgg["as trained"] - vgg.homogeneous,
        "practical-plateau-needs-the-bias": vgg["as trained"] - vgg[FREE],
        "practical-bias-makes-most": vgg[MADE] - vgg.zeroed,
        "practical-dose-makes-a-plateau": vgg[f"{FREE}, dose {max(DOSES):g}"] - vgg[FREE],
        "practical-all-biases-lengthen-the-plateau": error[ALL, "as trained"] - vgg[FREE],
        "practical-usual-scale-has-no-effect": error[USUAL, MADE],
        "practical-effect-needs-small-scale": vgg[MADE] - error[USUAL, MADE],
        "practical-loss-plateau-needs-no-bias": loss[VGG, MADE],
        "batch-norm-plateau-needs-no-bias": resnet[MADE],
        "batch-norm-plateau-trained-without-bias": resnet["as trained"] - resnet[FREE],
        "batch-norm-breaks-monotonicity": 1 - at_most(bumps, RISE),
    }


def numbers(networks: Mapping[str, Sequence[Run]], classes: pd.DataFrame, lengths: pd.DataFrame) -> dict:
    """Return the numbers in the text of section 08; those of a network have names such as `ResNet-18 gap`.

    Sentences about networks that a profile may lack are empty then.
    """
    error, loss = split(lengths), split(lengths, "loss_plateau")
    runs = [run for some in networks.values() for run in some]
    found = {"ordered": classes.run.nunique(), "doses": DOSES, "fit": counts(runs)["fit"]}
    found["logged_images"] = min(PROBE, networks[VGG][0].config.n_train)
    found["order"] = _mean(orders(classes), -1)
    found["scales"] = _mean(error[VGG, MADE] - error[USUAL, MADE], -2)
    found["loss"] = _mean(loss[VGG, MADE], -1)
    found["more"] = _mean(error[VGG, MADE] - error[VGG, "zeroed"], -2)
    for network, some in networks.items():
        if not some:
            continue
        ended, config = only_fitted(table(some)), some[0].config
        said = {name: getattr(config, name) for name in ("dataset", "n_train", "width", "init_scale")}
        said |= {"gap": ended.bias_gap.mean(), "seeds": ended.groupby("bias").test_error.count().max()}
        said |= {f"{bias} test": _range(of_bias.test_error) for bias, of_bias in ended.groupby("bias")}
        found |= {f"{network} {name}": value for name, value in said.items()}
    whole, zeroed = (_mean(error[ALL, treatment], 0) for treatment in ("as trained", "zeroed"))
    found["all_biases"] = "VGG-16 with a bias in every layer, as torchvision has it, was not trained here."
    found["without"] = ""
    if networks.get(ALL):
        said = f"With a bias in every layer, as torchvision's VGG-16 has it, the plateau is {whole}"
        found["all_biases"] = f"{said}, and {zeroed} with the output bias zeroed."
    if len(with_output_bias(networks[RESNET])) < len(networks[RESNET]):
        found["without"] = f"Trained without an output bias it is {_mean(error[RESNET, FREE], 0)}."
    return found


def _mean(values: pd.Series, lowest: float) -> str:
    """Return a mean over seeds with its interval in words; no value is below `lowest`, or above its size or 1."""
    return span(clustered_mean(values, "seed", (lowest, max(1, -lowest))))


def _range(errors: pd.Series) -> str:
    """Return a mean with the lowest and the highest value in words."""
    return span({"mean": errors.mean(), "low": errors.min(), "high": errors.max()})
