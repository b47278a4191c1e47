"""A Plotly figure that a reader moves: computed beforehand for every setting of its controls, drawn in the browser.

The script is copied from the installed package when the book is built (`publish.render`); nothing is fetched from
another host. Every such figure has a numbered static twin, which is what is printed and what a browser without
scripts shows.
"""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mli_utils import settings
from mli_utils.config import InputError

SCRIPT = "plotly/plotly.min.js"  # inside the site

PAGE = """<div class="interactive" id="{name}" role="group" aria-label="{label}">
<form>{inputs}</form>
<div class="scrolled" tabindex="0" role="group" aria-label="The plot of the settings above">
<div class="plot" style="min-height: {height}px"></div>
</div>
</div>
<noscript><p>This figure moves only with scripts; the numbered figure above is its twin.</p></noscript>
{script}
<script>
window.addEventListener("load", function () {{
  const root = document.getElementById("{name}");
  const always = {always}, cases = {cases}, layout = {layout};
  const inputs = Array.from(root.querySelectorAll("input")), plot = root.querySelector(".plot");
  const values = {values};
  function draw() {{
    const chosen = inputs.map((input, i) => values[i][input.value]);
    inputs.forEach((input, i) => {{
      input.nextElementSibling.textContent = chosen[i];
      input.setAttribute("aria-valuetext", chosen[i]);
    }});
    const clear = "rgba(0,0,0,0)", faint = "rgba(128,128,128,0.3)";
    const look = {{font: {{color: getComputedStyle(root).color}}, paper_bgcolor: clear, plot_bgcolor: clear}};
    for (const [key, value] of Object.entries(layout)) {{
      if (/axis/.test(key)) look[key] = Object.assign({{gridcolor: faint, zerolinecolor: faint}}, value);
    }}
    Plotly.react(plot, always.concat(cases[chosen.join("|")]), Object.assign({{}}, layout, look),
      {{responsive: true, displayModeBar: false}});
  }}
  root.querySelector("form").addEventListener("input", draw);
  new MutationObserver(draw).observe(document.documentElement, {{attributeFilter: ["data-theme"]}});
  draw();
}});
</script>"""


def show_interactive(
    name: str,
    label: str,
    controls: Mapping[str, Sequence],
    traces: Callable[..., list[dict]],
    layout: dict,
    start: Sequence[int] = (),
    always: Sequence[dict] = (),
) -> None:
    """Display a figure with one slider a control.

    Parameters
    ----------
    name : the element's id
    label : what it shows, for those who do not see it
    controls : the values of each slider, by what is written beside it
    traces : called with one value of each control, returns Plotly traces of plain lists
    layout : Plotly's, with its `height`
    start : the sliders' first positions; the first values unless given
    always : traces that no slider changes, drawn below the others

    Raises
    ------
    InputError
        No control, or a control without values.
    """
    from IPython.display import HTML, display

    if not controls or not all(len(values) for values in controls.values()):
        raise InputError(f"the interactive figure {name!r} needs controls with at least one value each")
    start = list(start) or [0] * len(controls)
    written = [[str(value) for value in values] for values in controls.values()]
    cases = {"|".join(map(str, chosen)): traces(*chosen) for chosen in itertools.product(*controls.values())}
    inputs = "".join(
        f'<label>{said} <input type="range" min="0" max="{len(values) - 1}" step="1" value="{first}"> '
        f"<output>{values[first]}</output></label>"
        for (said, values), first in zip(controls.items(), start, strict=True)
    )
    page = PAGE.format(
        name=name,
        label=label,
        inputs=inputs,
        height=layout.get("height", 400),
        script=_script(),
        always=json.dumps(list(always), separators=(",", ":")),
        cases=json.dumps(cases, separators=(",", ":")),
        layout=json.dumps(layout),
        values=json.dumps(written),
    )
    display(HTML(page))


def _script() -> str:
    """How the page gets Plotly: from the site's own copy, or written out in a notebook that somebody edits."""
    if settings.mode() == "lab":
        return f"<script>{plotly_script().read_text(encoding='utf-8')}</script>"
    return f'<script src="../{SCRIPT}" defer></script>'


def plotly_script() -> Path:
    """The script in the installed package."""
    import plotly

    return Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
