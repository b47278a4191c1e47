"""Interactive Plotly figures: traces precomputed for every setting of the sliders, drawn in the browser.

`book.site.render` copies Plotly's script from the installed package, so nothing is fetched from another host. Each
figure has a numbered static twin for print and for browsers without scripts.
"""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mli_utils.core.config import InputError
from mli_utils.runs import settings

SCRIPT = "plotly/plotly.min.js"  # path in the site

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
    """An interactive figure with sliders.

    label : description for screen readers
    controls : {label of a slider: its values}
    traces : function of one value per slider; returns Plotly traces made of plain lists
    layout : Plotly layout, with its `height` in pixels
    start : initial positions of the sliders
    always : traces that do not depend on the sliders, drawn below the others
    """

    label: str
    controls: Mapping[str, Sequence]
    traces: Callable[..., list[dict]]
    layout: dict
    start: Sequence[int]
    always: Sequence[dict] = ()


def show_interactive(name: str, moving: Moving | None) -> None:
    """Display an interactive figure with one slider per control.

    Parameters
    ----------
    name : str
        HTML id of the element.
    moving : Moving or None
        Figure that a section's `moving` returns; None displays a message that nothing is drawn.

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
    written = [[str(value) for value in values] for values in controls.values()]
    cases = {"|".join(map(str, chosen)): moving.traces(*chosen) for chosen in itertools.product(*controls.values())}
    inputs = "".join(
        f'<label>{said} <input type="range" min="0" max="{len(values) - 1}" step="1" value="{first}"> '
        f"<output>{values[first]}</output></label>"
        for (said, values), first in zip(controls.items(), moving.start, strict=True)
    )
    data = {"always": list(moving.always), "cases": cases, "layout": moving.layout, "values": written}
    packed = json.dumps(data, separators=(",", ":")).replace("</", "<\\/")
    height = moving.layout["height"]
    page = PAGE.format(name=name, label=moving.label, inputs=inputs, height=height, data=packed, scripts=_scripts())
    display(HTML(page))


def _scripts() -> str:
    """Return script tags: Plotly and `interactive.js` inline in lab mode, otherwise a link to the site's Plotly."""
    if settings.mode() == "lab":
        draw = settings.root() / "book" / "_static" / "interactive.js"
        texts = [path.read_text(encoding="utf-8") for path in (plotly_script(), draw) if path.exists()]
        return "".join(f"<script>{text}</script>" for text in texts)
    return f'<script src="../{SCRIPT}" defer></script>'


def plotly_script() -> Path:
    """Return the path of Plotly's script in the installed package."""
    import plotly

    return Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
