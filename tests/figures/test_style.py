"""The colours of the house, seen in grey and without green cones."""

import itertools

import matplotlib
import numpy as np
import pytest
from conftest import PROJECT
from matplotlib.colors import to_hex, to_rgb

from mli_utils.figures import style

# Linear sRGB as it is seen without green or without red cones (Machado, Oliveira and Fernandes 2009, severity 1).
SEEN = {
    "all": np.eye(3),
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour):
    rgb = np.array(to_rgb(colour))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """CIELAB of linear sRGB."""
    ratio = XYZ @ rgb / [0.9505, 1, 1.089]
    f = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def pairs(values):
    return [np.linalg.norm(a - b) for a, b in itertools.combinations(values, 2)]


TURNED = np.array([[-0.574, 1.43, 0.144], [0.426, 0.43, 0.144], [0.426, 1.43, -0.856]])  # hue-rotate(180deg)


def on_a_dark_page(colour):
    """A colour as book.css shows it on a dark page: invert(1) hue-rotate(180deg) brightness(1.2)."""
    css = (PROJECT / "book" / "_static" / "book.css").read_text(encoding="utf-8")
    assert "filter: invert(1) hue-rotate(180deg) brightness(1.2);" in css
    return to_hex(np.clip(1.2 * np.clip(TURNED @ (1 - np.array(to_rgb(colour))), 0, 1), 0, 1))


def test_colours_in_order_are_seen_on_bright_and_dark_pages():
    colours = style.in_order(8)
    luminance = [(XYZ @ linear(colour))[1] for colour in colours]
    assert luminance == sorted(luminance) and 1.05 / (luminance[-1] + 0.05) > 2
    page = (XYZ @ linear("#121212"))[1]
    turned = [(XYZ @ linear(on_a_dark_page(colour)))[1] for colour in (*colours, *style.PALETTE)]
    assert (min(turned) + 0.05) / (page + 0.05) > 3  # WCAG 2.1, 1.4.11


def test_a_copy_in_grey_tells_the_colours_apart():
    lightness = [lab(linear(colour))[0] for colour in style.PALETTE]
    assert min(pairs(lightness)) > 10


@pytest.mark.parametrize("eyes", SEEN)
def test_eyes_that_lack_cones_tell_the_colours_apart(eyes):
    seen = [lab(np.clip(SEEN[eyes] @ linear(colour), 0, 1)) for colour in style.PALETTE]
    assert min(pairs(seen)) > 18


def test_every_colour_stands_out_on_paper():
    luminance = [(XYZ @ linear(colour))[1] for colour in style.PALETTE]
    assert min(1.05 / (value + 0.05) for value in luminance) > 2.7  # and every line is dashed in its own way


def test_more_colours_than_there_are_begin_again():
    assert style.colours(range(7)) == [*style.PALETTE, *style.PALETTE[:2]]


def test_a_name_keeps_its_colour_and_dashes_from_figure_to_figure():
    blue, orange, plum, green, black = style.PALETTE
    assert style.colours(["no biases", "output bias"]) == [green, blue]
    assert style.colours(["linear", "homogeneous"]) == [blue, orange]
    assert style.colours(["as trained", "centred", "zeroed"]) == [blue, orange, plum]
    assert style.colours(["shallow", "trained without", "deep", "zeroed", "third"]) == [
        blue,
        green,
        orange,
        plum,
        black,
    ]
    assert style.dashes(["trained without", "new"]) == [style.DASHES[3], style.DASHES[0]]
    assert len({name for names in style.ROLES for name in names}) == sum(map(len, style.ROLES))


def test_a_user_s_settings_do_not_get_into_figures():
    with matplotlib.rc_context({"font.size": 40, "lines.linewidth": 9}), style.style():
        assert matplotlib.rcParams["font.size"] == 11 and matplotlib.rcParams["lines.linewidth"] == 1.8
