"""VGG-16, and ResNet-18 with batch norm, under other output biases (section 08)."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from mli_utils.core.config import grid
from mli_utils.core.curves import Bias
from mli_utils.core.estimates import at_most, clustered_mean, intervals
from mli_utils.core.plateaus import plateau
from mli_utils.core.words import span
from mli_utils.runs.biases import biased_curves, dose, permuted, trained_bias
from mli_utils.runs.measured import order_correlations
from mli_utils.runs.trained import Run, counts, table, train

DOSES = (0.5, 1.0, 2.0, 4.0)  # gaps, in logits, given to networks trained without biases
VGG, USUAL, RESNET = "VGG-16", "VGG-16, usual scale", "ResNet-18"
FREE, MADE = "no biases", "linear − zeroed"
DRAWN = ("linear", "homogeneous", "zeroed", FREE)  # treatments in the figure of curves


def output_biases(run: Run) -> dict[str, Bias]:
    """Return the output biases that a network is measured with on the linear path of its weights.

    A trained bias moves linearly or as α^depth (`homogeneous`, the path of the weights' signal), is zeroed, permuted so
    that another class has the largest, halved or doubled. A network without one is given each of `DOSES`.
    """
    if run.config.bias == "none":
        without = Bias(trained_bias(run))
        return {"linear": without, **{f"dose {gap:g}": dose(run, gap) for gap in DOSES}}
    bias = trained_bias(run)
    return {
        "linear": Bias(bias),
        "homogeneous": Bias(bias, run.config.depth),
        "zeroed": Bias(0 * bias),
        "permuted": Bias(permuted(run)),
        "halved": Bias(bias / 2),
        "doubled": Bias(2 * bias),
    }


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
    Frame as `biased_curves` returns it, with `network`, the key in `networks`, and `treatment`: the name in
    `output_biases`, after `no biases` for networks trained without
    """
    frames = []
    for name, runs in networks.items():
        curves = biased_curves(runs, [output_biases(run) for run in runs], alphas, images=images)
        frames.append(curves.assign(network=name, treatment=_treatment(curves)))
    return pd.concat(frames, ignore_index=True)


def _treatment(curves: pd.DataFrame) -> pd.Series:
    without = curves.path.map(lambda path: FREE if path == "linear" else f"{FREE}, {path}")
    return curves.path.where(curves.bias != "none", without)


def lengths(curves: pd.DataFrame, tolerance: float = 0.1) -> pd.DataFrame:
    """Return the plateaus of `treated_curves`, with `network` and `treatment`."""
    frames = [plateau(some, tolerance).assign(network=name) for name, some in curves.groupby("network", sort=False)]
    found = pd.concat(frames, ignore_index=True)
    return found.assign(treatment=_treatment(found))


def errors(curves: pd.DataFrame, tolerance: float = 0.1, measure: str = "error_plateau") -> pd.DataFrame:
    """Return error plateaus (α), or another measure, and what the bias makes of each.

    The frame has a row a seed and a column a network and treatment. The part that the bias makes is the plateau on the
    linear path minus the plateau of the same network with its output bias zeroed; no bias explains the rest.
    """
    found = lengths(curves, tolerance)
    wide = found.pivot(index="seed", columns=["network", "treatment"], values=measure)
    order = found[["network", "treatment"]].drop_duplicates().itertuples(index=False, name=None)
    wide = wide[list(order)]
    for network in dict.fromkeys(wide.columns.get_level_values("network")):
        wide[network, MADE] = wide[network, "linear"] - wide[network, "zeroed"]
    return wide


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """Estimate the mean of each column of `errors` over seeds: rows of `network`, `treatment` and an estimate."""
    rows = [
        {
            "network": network,
            "treatment": treatment,
            **clustered_mean(found[network, treatment], "seed", (-1 if treatment == MADE else 0, 1)),
        }
        for network, treatment in found
    ]
    return pd.DataFrame(rows)


def by_statistics(curves: pd.DataFrame) -> pd.DataFrame:
    """Estimate mean plateaus and bumps over seeds for each treatment of batch norm's statistics, one row a measure."""
    ranges = {"error_plateau": (0, 1), "loss_plateau": (0, 1), "bump": (0, math.inf)}
    return intervals(plateau(curves), ["statistics"], list(ranges), ranges)


def orders(classes: pd.DataFrame) -> pd.Series:
    """Return `order_correlations` by seed."""
    return order_correlations(classes).rename(classes.groupby("run").seed.first()).rename_axis("seed")


def measured(curves: pd.DataFrame, statistics: pd.DataFrame, classes: pd.DataFrame, tolerance: float) -> dict:
    """Return the quantity of each claim of section 08, by seed.

    Parameters
    ----------
    curves : fitted curves of `VGG`, `USUAL` and `RESNET`, as `treated_curves` returns them
    statistics : fitted curves of ResNet-18 for each treatment of batch norm's statistics, in the column `statistics`
    classes : as `class_order` returns them, of the VGG-16 networks with an output bias
    tolerance : tolerance of plateaus
    """
    error, loss = errors(curves, tolerance), errors(curves, tolerance, "loss_plateau")
    vgg, resnet = error[VGG], error[RESNET]
    bumps = plateau(statistics[statistics.statistics == "recomputed"]).set_index("seed").bump
    return {
        "practical-networks-have-the-plateau": vgg.linear - vgg.homogeneous,
        "practical-plateau-needs-the-bias": vgg.linear - vgg[FREE],
        "practical-bias-makes-most": vgg[MADE] - vgg.zeroed,
        "practical-dose-makes-a-plateau": vgg[f"{FREE}, dose {max(DOSES):g}"] - vgg[FREE],
        "practical-usual-scale-has-no-effect": error[USUAL, MADE],
        "practical-effect-needs-small-scale": vgg[MADE] - error[USUAL, MADE],
        "practical-loss-plateau-needs-no-bias": loss[VGG, MADE],
        "practical-order-is-bias": orders(classes),
        "batch-norm-plateau-needs-no-bias": resnet[MADE],
        "batch-norm-plateau-trained-without-bias": resnet.linear - resnet.get(FREE, math.nan),
        "batch-norm-breaks-monotonicity": 1 - at_most(bumps, 0.01),
    }


def numbers(networks: Mapping[str, Sequence[Run]], classes: pd.DataFrame) -> dict:
    """Return the numbers in the text of section 08; those of a network have names such as `ResNet-18 gap`."""
    order = clustered_mean(orders(classes), "seed", (-1, 1))
    found = {"order": span(order), "ordered": classes.run.nunique(), "doses": DOSES}
    for network, runs in networks.items():
        ended, config = table(runs), runs[0].config
        fitted = ended[ended.status == "fitted"]
        said = {name: getattr(config, name) for name in ("dataset", "n_train", "width", "init_scale")}
        said |= {"gap": fitted.bias_gap.mean(), "test_error": fitted.test_error.mean(), **counts(runs)}
        said["seeds"] = ended.groupby("bias").seed.nunique().max()
        found |= {f"{network} {name}": value for name, value in said.items()}
    return found
