"""Put figures and numbers into the book.

`show` saves a figure with its data and provenance and displays it; `book.pages` moves it to the Markdown that names it.
"""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from mli_utils.core.config import InputError
from mli_utils.core.estimates import ESTIMATE
from mli_utils.core.words import NAMES, span
from mli_utils.figures.style import style
from mli_utils.runs import provenance, settings
from mli_utils.runs.files import address, write_atomically

if TYPE_CHECKING:  # loads torch, which figures without runs do not need
    from mli_utils.runs.trained import Run


def show(figure: Figure, name: str, data: pd.DataFrame, runs: "Iterable[Run]" = ()) -> None:
    """Save a figure (SVG, PNG), its data (CSV) and its provenance (JSON), and display it.

    Caption and alt text stand in the notebook's Markdown, in the `{glue:figure}` directive of this name.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Figure to save; closed afterwards.
    name : str
        Name of the files and of the directive: letters, digits and hyphens.
    data : pandas.DataFrame
        The plotted data. Columns with one value stand in the provenance. Columns `code`, `machine` and `date` say what
        measured each row, as benchmarks have them.
    runs : iterable of Run
        Runs that the figure is made from.

    Raises
    ------
    InputError
        The name has other characters.
    """
    from IPython.display import Markdown, display

    if not name.replace("-", "").isalnum():
        raise InputError(f"figure name {name!r} is not allowed; allowed: letters, digits and hyphens")
    folder = settings.figures_dir()
    svg, png = io.BytesIO(), io.BytesIO()
    with style():
        if layout := figure.get_layout_engine():
            layout.execute(figure)
        figure.set_layout_engine(None)  # SVG and PNG share one layout; with "none" each would draw once more to find it
        box = figure.get_tightbbox().padded(plt.rcParams["savefig.pad_inches"])
        figure.savefig(svg, format="svg", bbox_inches=box, metadata={"Date": None}, transparent=True)
        figure.savefig(png, format="png", bbox_inches=box, metadata={"Software": None})
    plt.close(figure)
    fixed = [name for name in data if len(data) > 1 and data[name].nunique(dropna=False) == 1]
    made = {**origin(runs, data), "same in every row": data[fixed].head(1).to_dict("records")}
    rows = data.drop(columns=fixed).to_csv(index=False, float_format="%.6g")
    for suffix, content in (
        ("svg", svg.getvalue()),
        ("png", png.getvalue()),
        ("csv", rows.encode()),
        ("json", json.dumps({"figure": name, **made}, indent=1, default=str).encode()),
    ):
        write_atomically(folder / f"{name}.{suffix}", content)
    links = ", ".join(
        f"[{said}]({folder.name}/{name}.{suffix})"
        for said, suffix in (("data", "csv"), ("PNG", "png"), ("provenance", "json"))
    )
    below = f"{links}. {made['line']}"
    display(
        {"image/svg+xml": svg.getvalue().decode(), "text/plain": name},
        raw=True,
        metadata={settings.FIGURE_MARK: {"figure": name, "below": below}},
    )
    display(Markdown(below), metadata={settings.FIGURE_MARK: {"left out": True}})


def origin(runs: "Iterable[Run]", data: pd.DataFrame) -> dict:
    """Return the provenance of runs, or without any of `data`, as a dict, and as one line of text under `line`."""
    runs = list(runs)
    here = {"profile": settings.profile(), "mode": settings.mode(), "drawn": provenance.stamp(provenance.processor())}
    if not runs and len(data) and {"code", "machine", "date"} <= set(data):
        code, machines = (", ".join(sorted(set(data[name]))) for name in ("code", "machine"))
        dates = provenance.date_range(data[["date"]].to_dict("records"))
        return {**here, "line": f"Measured by code {code}; {machines}; {dates}."}
    if not runs:
        return {**here, "line": f"Profile {here['profile']}; what is drawn was computed for this page."}
    from mli_utils.runs.trained import run_key

    made = [run.provenance for run in runs]
    values = {name: sorted({each[name] for each in made}) for name in ("code", "device", "torch")}
    seeds = sorted({run.config.seed for run in runs})
    mixed = [name for name in ("device", "torch") if len(values[name]) > 1]
    runs_, seeds_ = (f"{name}{'s' * (len(some) > 1)}" for some, name in ((runs, "run"), (seeds, "seed")))
    line = (
        f"Profile {here['profile']}; {len(runs)} {runs_}, {seeds_} {_ranges(seeds)}; code {', '.join(values['code'])}; "
        f"{', '.join(values['device'])}; torch {', '.join(values['torch'])}; {provenance.date_range(made)}."
        + (f" The runs differ in {' and '.join(mixed)}." if mixed else "")
    )
    return {**here, "line": line, "runs": {address(run_key(run.config)): run.provenance for run in runs}}


def glue(*found: pd.DataFrame | Mapping, **values: float | int | str) -> None:
    """Make values available to the notebook's prose.

    After `glue(gap=1.5)`, ``{glue:text}`gap:.2f``` reads 1.50. Each row of a frame of estimates is named by its other
    columns, joined by slashes: ``{glue:text}`output/linear/error_plateau``` reads 0.41 (0.35 to 0.47).

    Parameters
    ----------
    *found : pandas.DataFrame or mapping
        Frames of estimates with columns `mean`, `low`, `high` and `n`, as `intervals` and `paired_differences` return
        them, or mappings from names to numbers, texts and lists of these. Identifiers become words: `mnist`, MNIST;
        None, as in `n_train=None`, becomes `all`.
    **values : float, int or str
        Numbers and texts by name.

    Raises
    ------
    InputError
        A value is no number, text, list or None, so the prose would show a blank.
    """
    from IPython.display import display

    for name, value in {name: value for some in (*found, values) for name, value in _named(some).items()}.items():
        if isinstance(value, (np.integer, np.floating)):
            value = value.item()
        elif value is None:
            value = "all"  # `n_train=None`: all images
        elif isinstance(value, (list, tuple, range)):
            value = ", ".join(NAMES.get(str(item), str(item)) for item in value)
        elif isinstance(value, str):
            value = NAMES.get(value, value)
        if not isinstance(value, (int, float, str)):
            raise InputError(f"glue: {name} is a {type(value).__name__}; allowed: a number, text or a list")
        # Importing myst_nb.glue, which does the same, takes longer than many notebooks run.
        glued = {"scrapbook": {"name": name, "mime_prefix": settings.GLUED}}
        display({f"{settings.GLUED}text/plain": repr(value)}, raw=True, metadata=glued)


def _named(some: pd.DataFrame | Mapping) -> Mapping:
    """Return values by name; rows of a frame of estimates become texts."""
    if not isinstance(some, pd.DataFrame):
        return some
    if some.empty:
        return {}
    apart = [name for name in some if name not in ESTIMATE]
    words = some[apart].map(lambda value: f"{value:g}" if isinstance(value, float) else str(value))
    names = words.agg("/".join, axis=1)
    return dict(zip(names, (span(row) for row in some.to_dict("records")), strict=True))


def _ranges(numbers: Sequence[int]) -> str:
    """Format 0, 1, 2, 5 as `0–2, 5`."""
    parts = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    return ", ".join(f"{part[0]}–{part[-1]}" if len(part) > 1 else f"{part[0]}" for part in parts)
