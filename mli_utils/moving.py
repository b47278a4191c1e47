"""What the book's two figures of θ(α) draw in the browser: `interactive.show_interactive` takes it from here."""

import io
from base64 import b64encode
from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from scipy.interpolate import RegularGridInterpolator

from mli_utils import style
from mli_utils.pictures import ink

COLUMNS = 10  # images beside each other
ROW = 1.6  # height of an image and the line of words below it, in widths of an image
DASHES = ("solid", "dash", "dot", "dashdot")

Moving = tuple[list[dict], dict, Callable[..., list[dict]]]  # `always`, `layout` and `traces` of `show_interactive`


def square_traces(square: pd.DataFrame, depth: int) -> Moving:
    """Error and loss on the (α_weights, α_bias) square with the linear and the homogeneous path, and a dot on each.

    Parameters
    ----------
    square : as `landscape.square` returns it; means over its runs are drawn
    depth : of the networks: on the homogeneous path the bias is at α^depth

    Returns
    -------
    `always` and `layout` of `show_interactive`, and its `traces`, a function of α; a dot's number is read off the map,
    linearly between its points
    """
    ends = {"linear": lambda alpha: alpha, "homogeneous": lambda alpha: alpha**depth}
    dense = np.linspace(0, 1, 101)
    always, read = [], {}
    for measure, axis, side in (("error", "", 0.4), ("loss", "2", 1.0)):
        table = square.pivot_table(index="alpha_weights", columns="alpha_bias", values=measure)
        read[axis] = RegularGridInterpolator((table.index, table.columns), table.to_numpy())
        there = {"xaxis": f"x{axis}", "yaxis": f"y{axis}"}
        always.append(
            {
                "type": "heatmap",
                "x": table.index.to_numpy().round(4).tolist(),
                "y": table.columns.to_numpy().round(4).tolist(),
                "z": [[float(f"{value:.3g}") for value in row] for row in table.to_numpy().T],
                "colorscale": "Cividis",
                "zsmooth": "best",
                "colorbar": {"x": side, "thickness": 12, "len": 0.9, "title": {"text": measure, "side": "top"}},
                "hovertemplate": f"α weights %{{x}}<br>α bias %{{y}}<br>{measure} %{{z}}<extra></extra>",
                **there,
            }
        )
        for dash, (path, bias) in zip(DASHES, ends.items(), strict=False):
            always.append(
                {
                    "x": dense.round(3).tolist(),
                    "y": bias(dense).round(4).tolist(),
                    "name": path,
                    "mode": "lines",
                    "line": {"color": "white", "dash": dash, "width": 2},
                    "hoverinfo": "skip",
                    "showlegend": False,
                    **there,
                }
            )

    def traces(alpha: float) -> list[dict]:
        return [
            {
                "x": [float(alpha)],
                "y": [float(bias(alpha))],
                "mode": "markers+text",
                "marker": {"size": 13, "color": style.PALETTE[place], "line": {"color": "white", "width": 2}},
                "text": [f"<b>{path} {read[axis]((alpha, bias(alpha))):.2f}</b>"],
                "textposition": _beside(alpha, bias(alpha), place),
                "textfont": {"color": "white", "size": 13, "shadow": "0 0 3px black, 0 0 3px black"},
                "cliponaxis": False,
                "hoverinfo": "skip",
                "showlegend": False,
                "xaxis": f"x{axis}",
                "yaxis": f"y{axis}",
            }
            for axis in read
            for place, (path, bias) in enumerate(ends.items())
        ]

    def axes(other: str, domain: list[float], said: str) -> dict:
        return {"domain": domain, "title": {"text": said, "standoff": 4}, "range": [0, 1], "anchor": other}

    layout = {
        "height": 380,
        "margin": {"l": 50, "r": 70, "t": 30, "b": 45},
        "xaxis": axes("y", [0, 0.4], "α of the weights"),
        "xaxis2": axes("y2", [0.6, 1], "α of the weights"),
        "yaxis": axes("x", [0, 1], "α of the bias"),
        "yaxis2": axes("x2", [0, 1], "α of the bias"),
    }
    return always, layout, traces


def _beside(alpha: float, bias: float, place: int) -> str:
    """Where the words of a dot stand so that they stay in the square and out of each other's way."""
    height = "bottom" if bias > 0.9 and place else "middle" if bias > 0.9 else "top"
    return f"{height} {'right' if alpha < 0.5 else 'left'}"


def picture_traces(predictions: pd.DataFrame, pixels: np.ndarray, curves: pd.DataFrame) -> Moving:
    """One network on its paths: loss and error with a dot on each, and below them images and what they are taken for.

    Parameters
    ----------
    predictions, pixels : as `predict_images` returns them, of one run
    curves : of the same run on the same paths at the same points

    Returns
    -------
    `always` and `layout` of `show_interactive`, and its `traces`, a function of a path and α
    """
    colour = dict(zip(dict.fromkeys(curves.path), style.PALETTE, strict=False))
    always = []
    for (path, of_path), dash in zip(curves.groupby("path", sort=False), DASHES, strict=False):
        for measure, axis in (("loss", ""), ("error", "2")):
            always.append(
                {
                    "x": of_path.alpha.round(4).tolist(),
                    "y": [float(f"{value:.4g}") for value in of_path[measure]],
                    "xaxis": f"x{axis}",
                    "yaxis": f"y{axis}",
                    "name": path,
                    "legendgroup": path,
                    "showlegend": measure == "loss",
                    "line": {"color": colour[path], "dash": dash, "width": 2},
                }
            )
    rows = -(-len(pixels) // COLUMNS)
    place = [(i % COLUMNS + 0.5, i // COLUMNS) for i in range(len(pixels))]
    sheet, width = _sheet(pixels)
    step = COLUMNS / width
    always.append(
        {
            "type": "image",
            "source": sheet,
            "x0": step / 2,
            "y0": step / 2,
            "dx": step,
            "dy": step,
            "xaxis": "x3",
            "yaxis": "y3",
            "hoverinfo": "skip",
        }
    )

    def traces(path: str, alpha: float) -> list[dict]:
        here = predictions[(predictions.path == path) & np.isclose(predictions.alpha, alpha, atol=1e-3)]
        on_curve = curves[(curves.path == path) & np.isclose(curves.alpha, alpha, atol=1e-3)].iloc[0]
        dots = [
            {
                "x": [float(alpha)],
                "y": [float(f"{on_curve[measure]:.4g}")],
                "xaxis": f"x{axis}",
                "yaxis": f"y{axis}",
                "mode": "markers",
                "showlegend": False,
                "marker": {"size": 12, "color": colour[path], "line": {"color": "white", "width": 2}},
            }
            for measure, axis in (("loss", ""), ("error", "2"))
        ]
        said = [
            f"<b>{row.predicted}</b> ✓" if row.predicted == row.label else f"{row.predicted} ✗"
            for row in here.itertuples()
        ]
        words = {
            "x": [x for x, _ in place],
            "y": [y * ROW + 1.25 for _, y in place],
            "text": said,
            "mode": "text",
            "textfont": {"size": 13},
            "xaxis": "x3",
            "yaxis": "y3",
            "hoverinfo": "skip",
            "showlegend": False,
        }
        return [*dots, words]

    hidden = {"visible": False, "fixedrange": True}
    layout = {
        "height": 430,
        "margin": {"l": 50, "r": 20, "t": 30, "b": 10},
        "legend": {"orientation": "h", "x": 0, "y": 1.12},
        "xaxis": {"domain": [0, 0.45], "title": {"text": "α", "standoff": 2}, "range": [0, 1], "anchor": "y"},
        "yaxis": {"domain": [0.5, 1], "title": {"text": "training loss"}, "rangemode": "tozero"},
        "xaxis2": {"domain": [0.56, 1], "title": {"text": "α", "standoff": 2}, "range": [0, 1], "anchor": "y2"},
        "yaxis2": {"domain": [0.5, 1], "title": {"text": "error"}, "range": [0, 1], "anchor": "x2"},
        "xaxis3": {**hidden, "domain": [0, 1], "range": [0, COLUMNS], "anchor": "y3"},
        "yaxis3": {**hidden, "domain": [0, 0.38], "range": [rows * ROW, 0], "anchor": "x3"},
    }
    return always, layout, traces


def _sheet(pixels: np.ndarray) -> tuple[str, int]:
    """All images in rows on one transparent sheet, as a PNG's address, and the sheet's width in pixels."""
    side = pixels.shape[1]
    margin = max(1, side // 10)
    cell = side + 2 * margin
    rows = -(-len(pixels) // COLUMNS)
    sheet = np.zeros((round(rows * ROW * cell), COLUMNS * cell, 4))
    for i, image in enumerate(pixels):
        top = round(i // COLUMNS * ROW * cell) + margin
        left = i % COLUMNS * cell + margin
        sheet[top : top + side, left : left + side] = np.dstack([ink(image), np.ones(image.shape[:2])])
    png = io.BytesIO()
    plt.imsave(png, sheet, format="png")
    return f"data:image/png;base64,{b64encode(png.getvalue()).decode()}", sheet.shape[1]
