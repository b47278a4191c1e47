"""The house style of figures: colours, matplotlib settings and axis labels.

What several sections show keeps its colour (`ROLES`). Colours differ by at least 10 in L*, so they stay distinct in
greyscale, and contrast with white by at least 2.8:1. Lines differ in dashes as well. Figures are transparent; a dark
page inverts their lightness.
"""

from collections.abc import Sequence
from itertools import count

import numpy as np
import seaborn as sns
from matplotlib import colormaps
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex

PALETTE = ("#1b5fae", "#ee7a1c", "#5b1a4a", "#2f8a5f", "#0d0d0d")  # blue, orange, plum, green, black
DASHES = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)))  # beside the colours
ROLES = (  # names that have one place in PALETTE and DASHES in every figure
    ("linear", "linear path", "bias, linear path", "output bias", "with output bias", "as trained"),
    ("homogeneous", "homogeneous path", "bias, homogeneous path", "output bias, homogeneous path"),
    ("zeroed", "output bias zeroed"),
    ("none", "no bias", "no biases", "without biases", "trained without"),
)
WIDEST = 7.4  # inches; wider figures are shrunk on the page, and their words with them
QUARTERS = ([0, 0.25, 0.5, 0.75, 1], ["0", "¼", "½", "¾", "1"])  # ticks of α
NARROW = 4.5  # inches; what a phone shows whole
STYLE = {
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib, so every machine draws the same
    "figure.dpi": 100,
    "savefig.dpi": 120,
    "svg.fonttype": "path",
    "svg.hashsalt": "mli",  # same figure, same bytes
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.35,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
}
LABELS = {
    "alpha": "α",
    "loss": "training loss (nats)",
    "error": "training error",
    "error_plateau": "error plateau (α)",
    "loss_plateau": "loss plateau (α)",
    "bias": "biases",
    "depth": "depth",
    "delta": "initial scale δ",
    "gap": "gap between the biases",
    "bump": "largest rise of the loss (nats)",
    "init_scale": "initialization scale",
    "share": "share of predictions",
    "none": "no biases",
    "output": "output bias",
    "all": "all biases",
    "linear": "linear path",
    "homogeneous": "homogeneous path",
}


def style():
    """Return a context with the house style on matplotlib's defaults; a user's matplotlibrc is ignored."""
    return plt.style.context(["default", {**sns.axes_style("ticks"), **STYLE}])


def colours(names: Sequence) -> list[str]:
    """Return a colour for each name: that of its role, else the next of the palette, cycling if it has fewer."""
    return [PALETTE[place % len(PALETTE)] for place in _places(names)]


def dashes(names: Sequence) -> list:
    """Return the dashes of lines for each name, as `colours`."""
    return [DASHES[place % len(DASHES)] for place in _places(names)]


def _places(names: Sequence) -> list[int]:
    role = {name: place for place, alike in enumerate(ROLES) for name in alike}
    taken = {role.get(name) for name in names}
    free = (place for place in count() if place not in taken)
    return [role[name] if name in role else next(free) for name in names]


def in_order(number: int) -> list[str]:
    """Return sequential colours from dark to bright, to be seen on a bright page and, inverted, on a dark one."""
    return [to_hex(colormaps["viridis"](place)) for place in np.linspace(0.15, 0.7, number)]
