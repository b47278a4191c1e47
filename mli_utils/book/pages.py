"""Turn executed notebooks into pages; write the generated pages (status, citation)."""

import json
import re
from collections.abc import Mapping

import nbformat

from mli_utils.claims import sources
from mli_utils.core.config import InputError, MLIError
from mli_utils.runs import provenance, settings
from mli_utils.runs.files import write_atomically
from mli_utils.runs.store import Store

MADE = "made"  # folder in `book/` of generated pages, ignored by git
# A `{glue:figure}` directive: its fence, the figure's name, options, caption.
FIGURE = re.compile(r"^(:{3,}|`{3,})\{glue:figure\} *(\S+)\n((?::\w+:[^\n]*\n)*)(.*?)^\1 *$", re.M | re.S)
FOLDS = {"judge(": "Claims of this section: bounds, values, intervals", "mli.table(": "Runs of this section"}  # by call
SHORTEST_ALT = 40  # characters


class NotebookFailed(MLIError):
    """A notebook failed or cannot become a page; the message names the section and the cell."""


def publish(notebook: nbformat.NotebookNode, name: str, about: dict) -> None:
    """Turn an executed notebook into a page: move figures to the prose and the code to the end, drop stderr.

    A line of provenance follows the first Markdown cell; what a cell with the tag `hide-cell` shows is folded, named by
    the cell's metadata `fold` or else by the heading above. `about`, the names of figures and the measured claims go
    into the page's metadata.

    Raises
    ------
    NotebookFailed
        A cell shows an error, or a figure lacks a caption or alt text, or is named but not shown.
    """
    figures: dict[str, str] = {}  # text below each figure
    profile = profiles(name, about)
    claimed: list[dict] = []
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        if any(output.output_type == "error" for output in cell.outputs):
            raise NotebookFailed(f"{name}: a cell shows an error:\n\n{cell.source}")
        kept = []
        for output in cell.outputs:
            mark = output.get("metadata", {}).get(settings.FIGURE_MARK, {})
            claimed += mark.get("claims", ())
            if "figure" in mark:
                figures[mark["figure"]] = mark["below"].replace(f"Profile {about['profile']};", f"Profile {profile};")
                output.data = {f"{settings.GLUED}{kind}": data for kind, data in output.data.items()}
                output.metadata["scrapbook"] = {"name": mark["figure"], "mime_prefix": settings.GLUED}
            if "left out" not in mark and not (output.output_type == "stream" and output.name == "stderr"):
                kept.append(output)
        cell.outputs = kept
    named = set()
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for figure in FIGURE.finditer(cell.source):
                named.add(_check_figure(name, figure, figures))
            cell.source = FIGURE.sub(lambda figure: _with_below(figure, figures), cell.source)
    if lacking := figures.keys() - named:
        raise NotebookFailed(f"{name}: no {{glue:figure}} with a caption for {', '.join(sorted(lacking))}")
    notebook.metadata.papermill.update(input_path=f"notebooks/{name}.ipynb", output_path=f"book/notebooks/{name}.ipynb")
    notebook.metadata["mli"] = {**about, "figures": list(figures), "claims": claimed}
    line = nbformat.v4.new_markdown_cell(f":::{{div}} made\n{origin(name, about)}\n:::", id="made")
    first = next((place for place, cell in enumerate(notebook.cells) if cell.cell_type == "markdown"), -1)
    notebook.cells.insert(first + 1, line)
    _move_code(notebook)
    notebook.metadata["mli"]["seal"] = sources.seal(json.loads(nbformat.writes(notebook)))


def _check_figure(section: str, figure: re.Match, shown: Mapping) -> str:
    """Return the name of a directive's figure; raise NotebookFailed if the directive is incomplete."""
    name, options, caption = figure[2], figure[3], figure[4]
    alt = re.search(r"^:alt: *(.*)$", options, re.M)
    for fault, said in (
        (name not in shown, "mli.show has not shown it"),
        (f":name: {name}\n" not in options, f"the option :name: {name}"),
        (not alt or len(alt[1]) <= SHORTEST_ALT, f"alt text of more than {SHORTEST_ALT} characters"),
        (not caption.strip(), "a caption"),
    ):
        if fault:
            raise NotebookFailed(f"{section}: the figure {name} cannot be numbered; it lacks: {said}")
    return name


def _with_below(figure: re.Match, below: Mapping[str, str]) -> str:
    fence, name, options, caption = figure.groups()
    return f"{fence}{{glue:figure}} {name}\n{options}{caption.rstrip()}\n\n{below[name]}\n{fence}"


def _move_code(notebook: nbformat.NotebookNode) -> None:
    """Gather the code of all cells in one folded cell at the end; where they stood, leave what they show."""
    code, quiet, kept, heading = [], [], [], ""
    for cell in notebook.cells:
        if cell.cell_type != "code":
            heading = (re.findall(r"^#+ (.+)$", cell.source, re.M) or [heading])[-1]
            kept.append(cell)
            continue
        code.append(cell.source)
        quiet += [output for output in cell.outputs if "scrapbook" in output.get("metadata", {})]
        cell.outputs = [output for output in cell.outputs if output not in quiet]
        if cell.outputs:
            folded = "hide-cell" in cell.metadata.get("tags", [])
            cell.metadata["tags"] = ["remove-input", *(["hide-output"] if folded else [])]
            named = cell.metadata.pop("fold", heading)
            said = next((said for call, said in FOLDS.items() if call in cell.source), named)
            cell.metadata["mystnb"] = {"code_prompt_show": said, "code_prompt_hide": said}
            kept.append(cell)
    if code:
        last = nbformat.v4.new_code_cell("\n\n".join(code), id="code", outputs=quiet)
        lines = sum(bool(line.strip()) for line in last.source.splitlines())
        said = f"The code of this page: {lines} line{'s' * (lines != 1)}"
        last.metadata.update(tags=["hide-input"], mystnb={"code_prompt_show": said, "code_prompt_hide": said})
        kept.append(last)
    notebook.cells = kept


def profiles(name: str, about: dict) -> str:
    """Return the page's profile; in a book, whose pages may have several, for the ledger all that it reads."""
    if name != sources.LEDGER or about["mode"] != "book":
        return about["profile"]
    read = [each for each in sources.sections() if each != name]  # its own page is still the one before
    return ", ".join(sorted({about["profile"]} | {page["profile"] for each in read if (page := sources.about(each))}))


def origin(name: str, about: dict) -> str:
    """Return a page's provenance as one line of Markdown: profile, networks, dates, devices and code."""
    store = Store.default(about["profile"], about["mode"])
    entries = [entry for entry in about["used"] if entry.startswith("runs/")]
    made = [one for entry in entries or about["used"] if (one := store.read(entry, "provenance"))] or [about]
    devices, codes = (", ".join(sorted({each[name] for each in made})) for name in ("device", "code"))
    if entries:
        where = f"from the record: {len(entries)}" if about["mode"] == "book" else f"computed afresh: {len(entries)}"
        what = f", {where} {'network' if len(entries) == 1 else 'networks'}, trained"
    else:
        what = ", computed"
    usual = settings.DEFAULT_PROFILE
    asked = "" if about["profile"] == usual else f" The boxes below start from profile `{usual}`."
    return f"*Profile `{profiles(name, about)}`{what} {provenance.date_range(made)} on {devices}, code {codes}.{asked}*"


def write() -> None:
    """Write the pages of `book/made` in the table of contents; leave unchanged files alone.

    Raises
    ------
    InputError
        A page of `book/made` is unknown.
    """
    makers = {"status": status, "citation": citation}
    for entry in sources.files():
        folder, _, name = entry.rpartition("/")
        if folder != MADE:
            continue
        if name not in makers:
            raise InputError(f"book/_toc.yml: {entry} is made by nothing; known: {', '.join(makers)}")
        path, text = settings.root() / "book" / MADE / f"{name}.md", makers[name]()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_atomically(path, text.encode())


def status() -> str:
    """Return the status page in MyST Markdown: date, duration, machine, record and parameters of every page."""
    pages = {name: about for name in sources.sections() if (about := sources.about(name))}
    recorded = {about["profile"]: sources.recorded(about["profile"]) for about in pages.values()}
    record = {name: then for name, about in pages.items() if (then := recorded[about["profile"]].get(name))}

    def of(name: str) -> str:
        return ", ".join(sorted({about[name] for about in pages.values()}))

    afresh = [f"{{doc}}`/notebooks/{name}`" for name, about in pages.items() if about["mode"] != "book"]
    source = "computed afresh" if len(afresh) == len(pages) else "read from the record, `results/`, and nothing trained"
    mixed = f", but for {', '.join(afresh)}, computed afresh" if 0 < len(afresh) < len(pages) else ""
    lines = [
        "(status)=",
        "# Status",
        "",
        f"Profile `{of('profile')}`: numbers were {source}{mixed}. Pages were run on {of('device')}, {of('system')}, "
        f"with Python {of('python')}, torch {of('torch')}, NumPy {of('numpy')} and scikit-learn {of('scikit-learn')}; "
        f"their times add up to {_seconds(sum(about['seconds'] for about in pages.values()))}. A `+` after a "
        "commit says that files differed from it.",
        "",
        "| page | run (UTC) | took | code | record made | took then | code then |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, about in pages.items():
        then = record.get(name) if about["mode"] == "book" else None
        cells = [f"{{doc}}`/notebooks/{name}`", _when(about), _seconds(about["seconds"]), f"`{about['code']}`"]
        cells += [_when(then), _seconds(then["work"]), f"`{then['code']}`"] if then else ["–"] * 3
        lines.append(f"| {' | '.join(cells)} |")
    machines = sorted({then["device"] for then in record.values()})
    if machines and any(about["mode"] == "book" for about in pages.values()):
        lines += [
            "",
            f"The record's pages were run on {', '.join(machines)}. *Took then* counts the training of their networks; "
            "where and when that was stands below each figure.",
        ]
    lines += ["", "## Parameters that differ from the default", ""]
    for name, about in pages.items():
        changed = [f"`{key}` = `{_short(value)}`" for key, value in about["parameters"].items()]
        lines.append(f"{{doc}}`/notebooks/{name}`\n: {', '.join(changed) or 'none'}\n")
    return "\n".join(lines)


def citation() -> str:
    """Return the citation page in MyST Markdown, from `CITATION.cff` and `book/references.bib`."""
    cff = sources.read_yaml("CITATION.cff")
    authors = " and ".join(f"{{{author['name']}}}" for author in cff["authors"])
    fields = {
        "title": f"{{{cff['title']}}}",
        "author": authors,
        "version": cff["version"],
        "year": str(cff["date-released"])[:4],
        "url": cff.get("repository-code", ""),
    }
    entry = "\n".join(f"  {name:<7} = {{{value}}}," for name, value in fields.items() if value)
    works = (settings.root() / "book" / "references.bib").read_text(encoding="utf-8")
    paper = re.search(r"^@\w+\{wang2023,.*?^\}", works, re.M | re.S)[0]
    return (
        "(citation)=\n# How to cite\n\n"
        f"{cff['message']} `CITATION.cff` in the repository says the same to machines.\n\n"
        f"```bibtex\n@software{{mli_utils,\n{entry}\n}}\n```\n\n"
        f"The paper itself, {{cite:t}}`wang2023`:\n\n```bibtex\n{paper}\n```\n\n"
        "A number is best cited with the line of provenance below its figure; {ref}`status` has the code's version.\n"
    )


def _when(about: dict) -> str:
    return about["date"][:16].replace("T", " ")


def _seconds(number: float) -> str:
    minutes, seconds = divmod(round(number), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def _short(value) -> str:
    """Format a parameter on one line."""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_short(item)}" for key, item in value.items())
    return str(value)
