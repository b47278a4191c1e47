"""Figures with sliders: every setting is there, nothing is fetched from elsewhere."""

import dataclasses
import json
import re
import shutil

import pytest
from conftest import PROJECT

import mli_utils as mli
from mli_utils.figures.moving import Moving, plotly_script

MOVING = Moving(
    label="what it shows",
    controls={"r": [2, 3], "δ": [0.1, 0.2, 0.4]},
    traces=lambda r, delta: [{"x": [0, 1], "y": [r, delta]}],
    layout={"height": 300},
    start=[1, 0],
)


@pytest.fixture
def page(monkeypatch):
    """What is displayed."""
    import IPython.display

    seen = []
    monkeypatch.setattr(IPython.display, "display", lambda html: seen.append(html.data))
    return seen


def draw(**changes):
    mli.show_interactive("moving", dataclasses.replace(MOVING, **changes))


def data_of(html):
    """What the page's script draws from."""
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', html, re.S)[1])


def test_every_position_of_the_sliders_is_there_and_nothing_is_fetched_from_elsewhere(page, monkeypatch):
    monkeypatch.setenv("MLI_MODE", "book")
    draw()
    (html,) = page
    data = data_of(html)
    assert data["cases"]["3|0.4"] == [{"x": [0, 1], "y": [3, 0.4]}] and len(data["cases"]) == 6
    assert data["values"] == [["2", "3"], ["0.1", "0.2", "0.4"]] and data["layout"] == {"height": 300}
    assert {f"{r}|{delta}" for r in data["values"][0] for delta in data["values"][1]} == data["cases"].keys()
    assert re.findall(r'max="(\d)" step="1" value="(\d)"', html) == [("1", "1"), ("2", "0")]
    assert re.findall(r"<output>([^<]*)</output>", html) == ["3", "0.1"]
    assert re.findall(r'<script src="([^"]*)"', html) == ["../plotly/plotly.min.js"]
    assert 'aria-label="what it shows"' in html and "<noscript>" in html


def test_a_notebook_that_somebody_edits_carries_the_scripts_itself(page, tmp_path):
    shutil.copytree(PROJECT / "book" / "_static", tmp_path / "root" / "book" / "_static")
    draw()
    assert plotly_script().stat().st_size > 1e6 and len(page[0]) > 1e6 and "<script src" not in page[0]
    assert "Plotly.react" in page[0] and (PROJECT / "book" / "_static" / "interactive.js").read_text("utf-8") in page[0]


def test_what_no_slider_moves_is_there_once(page):
    draw(always=[{"x": [0, 1], "y": [7, 7]}])
    assert page[0].count('"y":[7,7]') + page[0].count('"y": [7, 7]') == 1
    assert data_of(page[0])["always"] == [{"x": [0, 1], "y": [7, 7]}]


def test_words_in_the_data_do_not_end_the_script(page):
    draw(always=[{"text": "</script><b>"}])
    assert data_of(page[0])["always"] == [{"text": "</script><b>"}]


def test_a_figure_without_settings_is_refused():
    for controls in ({"r": []}, {}):
        with pytest.raises(mli.InputError, match="'moving' needs controls with at least one value"):
            draw(controls=controls)


def test_where_there_is_nothing_to_draw_it_is_said(page):
    mli.show_interactive("moving", None)
    assert page == ["<p>Nothing to draw: no run fitted.</p>"]
