"""Claims and numbers of VGG-16, and of ResNet-18 with batch norm (section 08)."""

from collections.abc import Sequence

import pandas as pd

from mli_utils.core.curves import Bias
from mli_utils.core.estimates import at_most, bootstrap
from mli_utils.core.plateaus import plateau
from mli_utils.core.words import span
from mli_utils.runs.biases import dose, permuted, trained_bias
from mli_utils.runs.measured import order_correlations
from mli_utils.runs.trained import Run, counts, table

DOSES = (0.5, 1.0, 2.0, 4.0)  # gaps, in logits, given to networks trained without biases


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


def measured(vgg: pd.DataFrame, resnet: pd.DataFrame, classes: pd.DataFrame, tolerance: float) -> dict:
    """Return the quantity of each claim of section 08.

    Parameters
    ----------
    vgg : fitted curves on the linear and homogeneous path, of networks with `bias` `none` and `output` at least
    resnet : fitted curves for each treatment of batch norm's statistics, in the column `statistics`
    classes : as `class_order` returns them, of the VGG-16 networks with an output bias
    tolerance : tolerance of plateaus
    """
    lengths = plateau(vgg, tolerance).set_index(["bias", "path", "seed"])
    error = lengths.error_plateau.unstack(["bias", "path"])
    linear = error["output", "linear"]
    bump = plateau(resnet[resnet.statistics == "recomputed"]).bump
    return {
        "practical-networks-have-the-plateau": linear - error["output", "homogeneous"],
        "practical-plateau-needs-the-bias": linear - error["none", "linear"],
        "practical-order-is-bias": bootstrap(order_correlations(classes)),
        "batch-norm-breaks-monotonicity": 1 - at_most(bump, 0.01),
    }


def numbers(classes: pd.DataFrame, **kinds: Sequence[Run]) -> dict:
    """Return the numbers in the text of section 08; those of a kind of network have names such as `vgg_gap`."""
    found = {"order": span(bootstrap(order_correlations(classes))), "ordered": classes.run.nunique()}
    for kind, runs in kinds.items():
        ended, config = table(runs), runs[0].config
        said = {name: getattr(config, name) for name in ("dataset", "n_train", "width", "init_scale")}
        said |= {"gap": ended[ended.status == "fitted"].bias_gap.mean(), **counts(runs)}
        found |= {f"{kind}_{name}": value for name, value in said.items()}
    return found
