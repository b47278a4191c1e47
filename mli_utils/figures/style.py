"""The house style of figures: colours and words on axes.

The colours differ in lightness by ten steps of L* or more, so a copy in grey tells them apart, and all have three to
one against white; lines differ in their dashes as well. Figures are drawn on white, and keep it in dark mode.
"""

import numpy as np
import seaborn as sns
from matplotlib import colormaps
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex

PALETTE = ("#1b5fae", "#ee7a1c", "#5b1a4a", "#2f8a5f", "#0d0d0d")  # blue, orange, plum, green, black
STYLE = {
    "font.sans-serif": ["DejaVu Sans"],  # matplotlib's own, so that every machine draws the same
    "figure.dpi": 100,
    "savefig.dpi": 160,
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
    "path": "path",
    "bias": "biases",
    "depth": "depth",
    "delta": "initial scale δ",
    "gap": "gap between the biases",
    "bump": "largest rise of the loss (nats)",
    "init_scale": "initialization scale",
    "share": "share of predictions",
    "statistics": "statistics",
}


def style():
    """The house style on top of matplotlib's defaults, whatever a user's matplotlibrc says, as a context."""
    return plt.style.context(["default", {**sns.axes_style("ticks"), **STYLE}])


def colours(number: int) -> list[str]:
    """The first colours of the house, from the start again where more are asked for than there are."""
    return [PALETTE[i % len(PALETTE)] for i in range(number)]


def in_order(number: int) -> list[str]:
    """Colours from dark to bright, for what comes in an order; the darkest has three to one against a dark page."""
    return [to_hex(colormaps["viridis"](place)) for place in np.linspace(0.35, 0.8, number)]
