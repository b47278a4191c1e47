import json
import re

import pytest

import mli_utils as mli
from mli_utils.interactive import plotly_script


@pytest.fixture
def page(monkeypatch):
    """What is displayed."""
    import IPython.display

    seen = []
    monkeypatch.setattr(IPython.display, "display", lambda html: seen.append(html.data))
    return seen


def draw(**changes):
    mli.show_interactive(
        **{
            "name": "moving",
            "label": "what it shows",
            "controls": {"r": [2, 3], "δ": [0.1, 0.2, 0.4]},
            "traces": lambda r, delta: [{"x": [0, 1], "y": [r, delta]}],
            "layout": {"height": 300},
            "start": [1, 0],
            **changes,
        }
    )


def test_every_position_of_the_sliders_is_there_and_nothing_is_fetched_from_elsewhere(page, monkeypatch):
    monkeypatch.setenv("MLI_MODE", "book")
    draw()
    (html,) = page
    cases = json.loads(re.search(r"cases = (\{.*?\}), layout = ", html)[1])
    assert cases["3|0.4"] == [{"x": [0, 1], "y": [3, 0.4]}] and len(cases) == 6
    assert re.findall(r'max="(\d)" step="1" value="(\d)"', html) == [("1", "1"), ("2", "0")]
    assert re.findall(r'<script src="([^"]*)"', html) == ["../plotly/plotly.min.js"]
    assert 'aria-label="what it shows"' in html and "<noscript>" in html


def test_a_notebook_that_somebody_edits_carries_the_script_itself(page):
    draw()
    assert plotly_script().stat().st_size > 1e6 and len(page[0]) > 1e6 and "<script src" not in page[0]


def test_what_no_slider_moves_is_there_once(page):
    draw(always=[{"x": [0, 1], "y": [7, 7]}])
    assert page[0].count('"y":[7,7]') + page[0].count('"y": [7, 7]') == 1


def test_a_figure_without_settings_is_refused():
    with pytest.raises(mli.InputError, match="needs controls with at least one value"):
        draw(controls={"r": []})
