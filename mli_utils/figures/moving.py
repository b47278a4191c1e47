"""A Plotly figure that a reader moves: computed beforehand for every setting of its controls, drawn in the browser.

The script is copied from the installed package when the book is built (`book.site.render`); nothing is fetched from
another host. Every such figure has a numbered static twin, which is what is printed and what a browser without
scripts shows.
"""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mli_utils.core.config import InputError
from mli_utils.runs import settings

SCRIPT = "plotly/plotly.min.js"  # inside the site

DRAW = "interactive.js"  # beside the book's sources, and in the site's `_static`

PAGE = """<div class="interactive" id="{name}" role="group" aria-label="{label}">
<form>{inputs}</form>
<div class="scrolled" tabindex="0" role="group" aria-label="The plot of the settings above">
<div class="plot" style="min-height: {height}px"></div>
</div>
<script type="application/json">{data}</script>
</div>
<noscript><p>This figure moves only with scripts; the numbered figure above is its twin.</p></noscript>
{scripts}"""


@dataclass(frozen=True)
class Moving:
    """A figure that sliders change.

    label : what it shows, for those who do not see it
    controls : the values of each slider, by what is written beside it
    traces : called with one value of each control, returns Plotly traces of plain lists
    layout : Plotly's, with its `height`
    start : the sliders' first positions; the first values unless given
    always : traces that no slider changes, drawn below the others
    """

    label: str
    controls: Mapping[str, Sequence]
    traces: Callable[..., list[dict]]
    layout: dict
    start: Sequence[int] = ()
    always: Sequence[dict] = ()


def show_interactive(name: str, moving: Moving | None) -> None:
    """Display a figure with one slider a control.

    Parameters
    ----------
    name : str
        The element's id.
    moving : Moving or None
        What it draws, which a section's `moving` returns; None: there is nothing to draw, which is said.

    Raises
    ------
    InputError
        No control, or a control without values.
    """
    from IPython.display import HTML, display

    if moving is None:
        display(HTML("<p>Nothing to draw: no run fitted.</p>"))
        return
    controls = moving.controls
    if not controls or not all(len(values) for values in controls.values()):
        raise InputError(f"the interactive figure {name!r} needs controls with at least one value each")
    start = list(moving.start) or [0] * len(controls)
    written = [[str(value) for value in values] for values in controls.values()]
    cases = {"|".join(map(str, chosen)): moving.traces(*chosen) for chosen in itertools.product(*controls.values())}
    inputs = "".join(
        f'<label>{said} <input type="range" min="0" max="{len(values) - 1}" step="1" value="{first}"> '
        f"<output>{values[first]}</output></label>"
        for (said, values), first in zip(controls.items(), start, strict=True)
    )
    data = {"always": list(moving.always), "cases": cases, "layout": moving.layout, "values": written}
    packed = json.dumps(data, separators=(",", ":")).replace("</", "<\\/")
    height = moving.layout.get("height", 400)
    page = PAGE.format(name=name, label=moving.label, inputs=inputs, height=height, data=packed, scripts=_scripts())
    display(HTML(page))


def _scripts() -> str:
    """How the page gets Plotly and what draws: from the site's copies, or written out in a notebook being edited."""
    if settings.mode() == "lab":
        draw = settings.root() / "book" / "_static" / DRAW
        texts = [path.read_text(encoding="utf-8") for path in (plotly_script(), draw) if path.exists()]
        return "".join(f"<script>{text}</script>" for text in texts)
    return f'<script src="../{SCRIPT}" defer></script>'


def plotly_script() -> Path:
    """The script in the installed package."""
    import plotly

    return Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
