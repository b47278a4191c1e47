"""The house style of figures: colours, words on axes, and names that stand beside their lines.

The colours differ in lightness by ten steps of L* or more, so a copy in grey tells them apart, and all have three to
one against white; lines differ in their dashes as well. Figures are drawn on white, and keep it in dark mode.
"""

from collections.abc import Mapping

import numpy as np
import seaborn as sns
from matplotlib import colormaps, patheffects
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

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
WRITTEN = {"fontsize": "small", "fontweight": "bold"}
GAP = 5  # pixels between a line and its name, and what a name keeps from anything else


def style():
    """The house style on top of matplotlib's defaults, whatever a user's matplotlibrc says, as a context."""
    return plt.style.context(["default", {**sns.axes_style("ticks"), **STYLE}])


def colours(number: int) -> list[str]:
    """The first colours of the house, from the start again where more are asked for than there are."""
    return [PALETTE[i % len(PALETTE)] for i in range(number)]


def in_order(number: int) -> list[str]:
    """Colours from dark to bright, for what comes in an order; the darkest has three to one against a dark page."""
    return [to_hex(colormaps["viridis"](place)) for place in np.linspace(0.35, 0.8, number)]


def name_lines(panels: list[Axes], of: Mapping[str, str]) -> bool:
    """Write names beside their lines, in the panel with the most room; False, and nothing written, where none has.

    Parameters
    ----------
    panels : of a figure whose layout is final
    of : the colour of each name's line
    """
    panels[0].figure.canvas.draw()
    found = [(*_places(axes, of), axes) for axes in panels]
    room, places, axes = max(found, key=lambda one: one[0])
    for name, place in places.items() if room > 0 else ():
        x, y = axes.transData.inverted().transform(place)
        halo = [patheffects.withStroke(linewidth=2.5, foreground="white", alpha=0.8)]
        axes.text(x, y, name, color=of[name], ha="center", va="center", **WRITTEN, path_effects=halo)
    return room > 0


def _places(axes: Axes, of: Mapping[str, str]) -> tuple[float, dict[str, tuple[float, float]]]:
    """The centre of each name in pixels, and how far the worst of them is from other lines; 0 where one has none."""
    lines = {to_hex(line.get_color()): _pixels(line) for line in axes.lines if len(line.get_xdata()) > 2}
    if not all(colour in lines for colour in of.values()):
        return 0.0, {}
    every = [_pixels(line) for line in axes.lines if len(line.get_xdata()) > 1]
    places, taken, worst = {}, [], np.inf
    for name, colour in of.items():
        size = _size(axes, name)
        others = np.vstack([*(pixels for key, pixels in lines.items() if key != colour), np.empty((0, 2))])
        best = (0.0, None)
        for centre in _beside(lines[colour], size):
            box = Bbox.from_bounds(*(centre - size / 2), *size)
            free = box.padded(GAP)
            inside = axes.bbox.padded(-2).contains
            if not (inside(*box.min) and inside(*box.max)) or any(free.overlaps(one) for one in taken):
                continue
            if any(_distance(box, pixels) < GAP - 1 for pixels in every):
                continue
            room = _distance(box, others) if len(others) else np.inf
            if room > best[0] and room > 1.5 * _distance(box, lines[colour]):
                best = (min(room, 60), centre)  # far enough is far enough: the first such place
        if best[1] is None:
            return 0.0, {}
        worst = min(worst, best[0])
        places[name] = tuple(best[1])
        taken.append(Bbox.from_bounds(*(best[1] - size / 2), *size))
    return worst, places


def _pixels(line: Line2D) -> np.ndarray:
    """A line's course in pixels, densely."""
    corners = line.get_transform().transform(np.column_stack([line.get_xdata(), line.get_ydata()]).astype(float))
    corners = corners[np.isfinite(corners).all(1)]
    steps = np.linspace(0, 1, 400)
    along = np.linspace(0, 1, len(corners))
    return np.column_stack([np.interp(steps, along, corners[:, i]) for i in (0, 1)]) if len(corners) else corners


def _size(axes: Axes, name: str) -> np.ndarray:
    written = axes.text(0, 0, name, **WRITTEN)
    box = written.get_window_extent()
    written.remove()
    return np.array([box.width, box.height])


def _beside(line: np.ndarray, size: np.ndarray):
    """Places for the centre of something of this size on the eight sides of points of a line."""
    for point in line[20:-20:12]:
        for side in ((1, 1), (-1, -1), (1, -1), (-1, 1), (1, 0), (-1, 0), (0, 1), (0, -1)):
            yield point + np.array(side) * (size / 2 + GAP)


def _distance(box: Bbox, points: np.ndarray) -> float:
    """From a box to the nearest of some points."""
    apart = np.maximum(np.maximum(box.min - points, points - box.max), 0)
    return float(np.hypot(*apart.T).min())
