"""Numbers and names as text."""

import math
from collections.abc import Mapping

NAMES = {  # of what a `RunConfig` names, where a reader's word is another
    "fcn": "fully-connected network",
    "vgg16": "VGG-16",
    "resnet18": "ResNet-18",
    "vit": "vision transformer",
    "digits32": "enlarged digits",
    "mnist": "MNIST",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "sgd": "SGD",
    "adam": "Adam",
}

RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def recorded(value: float) -> float:
    """Round to six significant digits, as mean logits are kept; single precision holds them."""
    return float(f"{value:.6g}")


def span(row: Mapping, form: str = ".2f") -> str:
    """Format a value and its interval, as `0.41 (0.35 to 0.47)`.

    Parameters
    ----------
    row : mapping
        `mean` or `value`, `low` and `high`; None or NaN if undefined.
    form : str
        Format specification of the numbers. With `g`, an interval decides the decimals: two digits of its width.

    Returns
    -------
    str
        The value, and its interval if defined; a dash if the value is undefined.
    """
    value, low, high = (row[name] for name in ("mean" if "mean" in row else "value", "low", "high"))
    if value is None or math.isnan(value):
        return "–"
    if low is None or math.isnan(low):
        return number(value, form).replace("-", "−")
    width, largest = high - low, max(map(abs, (value, low, high)))
    if form.endswith("g") and 1e-6 < width < 100 and largest < 1000:
        form = f".{max(0, 1 - math.floor(math.log10(width)))}f"
    interval = f" ({number(low, form)} to {number(high, form)})"
    return f"{number(value, form)}{interval}".replace("-", "−")


def number(value: float, form: str) -> str:
    """Format a number: a large one without an exponent, other exponents as powers of ten."""
    if form.endswith("g") and 1000 <= abs(float(f"{value:{form}}")) < 1e9:
        return f"{value:,.0f}"
    digits, _, power = f"{value:z{form}}".partition("e")
    return f"{digits} · 10{str(int(power)).translate(RAISED)}" if power else digits
