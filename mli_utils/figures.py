"""The one way by which a figure and a number get into the book.

`show` saves a figure with its data and its provenance, and displays it. In a notebook the caption and the links
stand below it; the runner turns them into a numbered figure with alt text (`publish.publish`).
"""

import io
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from mli_utils import plots, provenance, settings
from mli_utils.config import InputError
from mli_utils.store import address, write_atomically

if TYPE_CHECKING:  # loads torch, which figures of no run can do without
    from mli_utils.sweep import Run


def show(figure: Figure, name: str, data: pd.DataFrame, caption: str, alt: str, runs: "Iterable[Run]" = ()) -> None:
    """Save a figure as SVG and PNG with its data as CSV and its provenance as JSON, and display it.

    Parameters
    ----------
    figure : closed afterwards
    name : of the files, and what the book refers to it by: ``{numref}`name` ``
    data : what is plotted
    caption : one paragraph of Markdown
    alt : what is seen, in a sentence, for those who do not see it
    runs : what the figure was made from

    Raises
    ------
    InputError
        A name that is no plain file name, an empty caption, or alt text of 40 characters or fewer.
    """
    from IPython.display import Markdown, display

    if not name.replace("-", "").isalnum():
        raise InputError(f"figure name {name!r} is not allowed; allowed: letters, digits and hyphens")
    if not caption.strip() or len(alt) <= 40:
        raise InputError(f"figure {name!r} needs a caption, and alt text of more than 40 characters")
    folder = settings.figures_dir()
    svg, png = io.BytesIO(), io.BytesIO()
    with plots.style():
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once, for both
        box = figure.get_tightbbox().padded(plt.rcParams["savefig.pad_inches"])
        figure.savefig(svg, format="svg", bbox_inches=box, metadata={"Date": None})
        figure.savefig(png, format="png", bbox_inches=box, metadata={"Software": None})
    plt.close(figure)
    made = origin(runs)
    for suffix, content in (
        ("svg", svg.getvalue()),
        ("png", png.getvalue()),
        ("csv", data.to_csv(index=False).encode()),
        ("json", json.dumps({"figure": name, "caption": caption, **made}, indent=1).encode()),
    ):
        write_atomically(folder / f"{name}.{suffix}", content)
    links = ", ".join(
        f"[{said}]({folder.name}/{name}.{suffix})"
        for said, suffix in (("data", "csv"), ("SVG", "svg"), ("PNG", "png"), ("provenance", "json"))
    )
    below = f"{caption}\n\n{links}. {made['line']}"
    display(
        {"image/svg+xml": svg.getvalue().decode(), "text/plain": alt},
        raw=True,
        metadata={settings.FIGURE_MARK: {"name": name, "caption": below, "alt": alt}},
    )
    display(Markdown(below), metadata={settings.FIGURE_MARK: {"below": name}})


def origin(runs: "Iterable[Run]") -> dict:
    """What runs were made by, as a dict, with `line`: the same as one sentence."""
    runs = list(runs)
    here = {"profile": settings.profile(), "mode": settings.mode(), "drawn": provenance.stamp(provenance.processor())}
    if not runs:
        return {**here, "line": f"Profile {here['profile']}; no trained network."}
    from mli_utils.sweep import run_key

    made = [run.provenance for run in runs]
    values = {name: sorted({each[name] for each in made}) for name in ("code", "device", "torch")}
    seeds = sorted({run.config.seed for run in runs})
    mixed = [name for name in values if len(values[name]) > 1]
    runs_, seeds_ = (f"{name}{'s' * (len(some) > 1)}" for some, name in ((runs, "run"), (seeds, "seed")))
    line = (
        f"Profile {here['profile']}; {len(runs)} {runs_}, {seeds_} {_ranges(seeds)}; code {', '.join(values['code'])}; "
        f"{', '.join(values['device'])}; torch {', '.join(values['torch'])}; {provenance.days(made)}."
        + (f" The runs differ in {' and '.join(mixed)}." if mixed else "")
    )
    return {**here, "line": line, "runs": {address(run_key(run.config)): run.provenance for run in runs}}


def glue(**values: float | int | str) -> None:
    """Put values where prose finds them: after `glue(gap=1.5)`, ``{glue:text}`gap:.2f` `` reads 1.50.

    Raises
    ------
    InputError
        A value that is no number or text, which would leave a blank in the prose.
    """
    from IPython.display import display

    for name, value in values.items():
        if isinstance(value, (np.integer, np.floating)):
            value = value.item()
        if not isinstance(value, (int, float, str)):
            raise InputError(f"glue: {name} is a {type(value).__name__}; allowed: a number or text")
        # What myst_nb.glue does, whose import takes longer than many a notebook.
        prefix = "application/papermill.record/"
        display(
            {f"{prefix}text/plain": repr(value)},
            raw=True,
            metadata={"scrapbook": {"name": name, "mime_prefix": prefix}},
        )


def _ranges(numbers: Sequence[int]) -> str:
    """0, 1, 2, 5 as `0–2, 5`."""
    parts, first = [], None
    for i, number in enumerate(numbers):
        first = number if first is None else first
        if i + 1 == len(numbers) or numbers[i + 1] != number + 1:
            parts.append(str(first) if first == number else f"{first}–{number}")
            first = None
    return ", ".join(parts)
