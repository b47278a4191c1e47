"""Executed notebooks become pages, pages a site, and what they were made from the record."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import nbformat

from mli_utils import claims, contents, kernels, provenance, settings, shipped, status
from mli_utils.config import MLIError
from mli_utils.jobs import Job
from mli_utils.store import canonical, digest, locked, on_disk, write_atomically

# Jupyter Book, which ends with the process that waits for it, however that ends: its standard input does. It goes
# without the check of IRIs that `__main__` goes without.
JUPYTER_BOOK = """
import os, sys, threading
sys.modules["rfc3987_syntax"] = None
threading.Thread(target=lambda: os.read(0, 1) or os._exit(1), daemon=True).start()
from jupyter_book.cli.main import main
main()
"""
RECORDS = ("paper", "medium", "small")  # the best first
HERE = Path(__file__).parent


class NotebookFailed(MLIError):
    """A notebook did not run to its end; the message names the section, the cell and the error."""


class BookFailed(MLIError):
    """Jupyter Book did not render the book without warnings."""


def publish(notebook: nbformat.NotebookNode, name: str, about: dict) -> None:
    """Make an executed notebook a page: figures numbered, captioned and described; parameters folded; no noise.

    A line under the page's beginning says what made it. `about` goes into the page's metadata, with the names of its
    figures and what it measured of its claims.

    Raises
    ------
    NotebookFailed
        A cell that shows an error, or more figures than one.
    """
    figures, claimed = [], []
    for cell in notebook.cells:
        tags = cell.metadata.setdefault("tags", [])
        if {"parameters", "injected-parameters"} & set(tags):
            tags.append("hide-input")
        if cell.cell_type != "code":
            continue
        cell.metadata["mystnb"] = {"code_prompt_show": _prompt(cell), "code_prompt_hide": "Hide it"}
        if any(output.output_type == "error" for output in cell.outputs):
            raise NotebookFailed(f"{name}: a cell shows an error:\n\n{cell.source}")
        marks = [output.get("metadata", {}).get(settings.FIGURE_MARK, {}) for output in cell.outputs]
        shown = [mark for mark in marks if "caption" in mark]
        if len(shown) > 1:
            raise NotebookFailed(f"{name}: a cell shows {len(shown)} figures; one a cell can be numbered")
        for figure in shown:
            figures.append(figure["name"])
            cell.metadata["mystnb"] |= {
                "figure": {"name": figure["name"], "caption": figure["caption"]},
                "image": {"alt": figure["alt"]},
            }
        claimed += [measurement for mark in marks for measurement in mark.get("claims", ())]
        cell.outputs = [
            output
            for output, mark in zip(cell.outputs, marks, strict=True)
            if "below" not in mark and not (output.output_type == "stream" and output.name == "stderr")
        ]
    notebook.metadata["papermill"] = {
        **notebook.metadata.papermill,
        "input_path": f"notebooks/{name}.ipynb",
        "output_path": f"book/notebooks/{name}.ipynb",
    }
    notebook.metadata["mli"] = {**about, "figures": figures, "claims": claimed}
    line = nbformat.v4.new_markdown_cell(f":::{{div}} made\n{origin(about)}\n:::", id="made", metadata={"tags": []})
    first = next((place for place, cell in enumerate(notebook.cells) if cell.cell_type == "markdown"), -1)
    notebook.cells.insert(first + 1, line)
    notebook.metadata["mli"]["seal"] = contents.seal(json.loads(nbformat.writes(notebook)))


def _prompt(cell: nbformat.NotebookNode) -> str:
    """What a folded cell holds."""
    if "parameters" in cell.metadata.tags:
        return "Parameters, as the notebook has them"
    if "injected-parameters" in cell.metadata.tags:
        return "Parameters that this profile changes"
    marked = any(settings.FIGURE_MARK in output.get("metadata", {}) for output in cell.outputs)
    if any("scrapbook" in output.get("metadata", {}) for output in cell.outputs):
        return "Code of the numbers in the text"
    return "Code of the figure" if marked else "Code"


def origin(about: dict) -> str:
    """One line of Markdown: the profile of a page, and when, where and by which code its numbers were computed."""
    recorded = about["mode"] == "book"
    store, record = (place(about["profile"]) for place in (settings.store_dir, settings.record_dir))
    folders = {"book": [record], "reproduce": [store], "lab": [store, record]}[about["mode"]]
    entries = [f"{entry}.json" for entry in about["used"] if entry.startswith("runs/")]
    runs = [next(path for folder in folders if (path := folder / entry).exists()) for entry in entries]
    made = [json.loads(path.read_text(encoding="utf-8"))["body"]["provenance"] for path in runs] or [about]
    devices, codes = (", ".join(sorted({each[name] for each in made})) for name in ("device", "code"))
    if runs:
        where = f"from the record: {len(runs)}" if recorded else f"computed afresh: {len(runs)}"
        what = f", {where} {'network' if len(runs) == 1 else 'networks'}, trained"
    else:
        what = "; no network is trained here; computed"
    return f"*Profile `{about['profile']}`{what} {provenance.days(made)} on {devices}, code {codes}.*"


def render() -> Path:
    """Render the book, strictly; return its first page. Nothing is done where the site is what its sources give.

    Where sections have no page yet, the others are rendered by themselves, as a preview that begins with the first of
    them: not strictly, since they refer to what is not there.

    Raises
    ------
    BookFailed
        No page at all, a warning of Sphinx (a broken reference, equation or link), or a page that would make a browser
        ask another host.
    """
    with locked(settings.lock_file("site")):
        site = settings.root() / "_build" / "html"
        status.write()
        key, note = _inputs(), settings.root() / "build" / "site.json"
        if note.exists() and note.read_text(encoding="utf-8") == _note(key, site):
            return site / "index.html"
        fresh = build()
        kept = {f"{entry}.html" for entry in contents.files()} | {"genindex.html", "search.html", "index.html"}
        for page in fresh.rglob("*.html"):
            if str(page.relative_to(fresh)) not in kept and "_static" not in page.parts:
                page.unlink()
        shipped.trim(fresh)
        if asked := shipped.other_hosts(fresh):
            raise BookFailed("the book is not shown: " + "; ".join(asked))
        _put_in_place(fresh, site)
        write_atomically(note, _note(key, site).encode())
        return site / "index.html"


def _inputs() -> str:
    """The hash of all that a site is made from: content decides what is rendered again, and no clock."""
    root = settings.root()
    sources = [path for path in (root / "book").rglob("*") if path.is_file()]
    parts = [canonical(provenance.installed()), *contents.lacking()]
    for path in (*sorted(sources), root / "_config.yml", root / "requirements.lock", *sorted(HERE.glob("*.py"))):
        name = path.relative_to(root) if path.is_relative_to(root) else path.name
        parts += [str(name), digest(path.read_bytes()) if path.exists() else ""]
    return digest("\n".join(parts))


def _note(key: str, site: Path) -> str:
    """What is kept of a site that was made: the hashes of its sources and of its files."""
    files = {str(path.relative_to(site)): digest(path.read_bytes()) for path in site.rglob("*") if path.is_file()}
    return json.dumps({"sources": key, "site": digest(canonical(files))})


def check_pages() -> None:
    """Raise BookFailed where a section of the table of contents has no page yet."""
    if lacking := contents.lacking():
        raise BookFailed(f"the book is not rendered: no page yet for {', '.join(lacking)}; 'make reproduce' makes them")


def build(builder: str = "html") -> Path:
    """Build the site afresh beside the one that is shown; return its folder.

    Sphinx would go by the times of files to see which pages have changed, and those of copies and archives lie.

    `html`: a page a section, warnings are errors where no section is missing. `singlehtml`: all in one, for paper.
    """
    root = settings.root()
    stage = root / "build" / ("book" if builder == "html" else "paper")
    lacking = contents.lacking()
    with on_disk("write into", stage):
        shutil.rmtree(stage, ignore_errors=True)
        stage.mkdir(parents=True)
        shipped.lay_out(root / "build" / "site")
        environment = {**os.environ, **kernels.environment(stage)}
    how = ["--builder", "custom", "--custom-builder", builder]
    if builder == "html":
        how = ["--toc", _preview(stage / "toc.yml")] if lacking else ["-W", "-n", "--keep-going"]
    command = [sys.executable, "-c", JUPYTER_BOOK, "build", "book", "--path-output", str(stage), *how]
    theirs, ours = os.pipe()
    try:
        done = subprocess.run(
            command, cwd=root, env=environment, capture_output=True, encoding="utf-8", errors="replace", stdin=theirs
        )
    finally:
        os.close(theirs)
        os.close(ours)
    output = done.stdout + done.stderr
    if done.returncode:
        if full := re.search(r"No space left on device|Read-only file system|Disk quota exceeded", output):
            raise BookFailed(f"the book is not rendered: {full[0]}; the last one is kept, the same command goes on")
        lines = [line for line in output.splitlines() if "WARNING" in line or "ERROR" in line]
        raise BookFailed("Jupyter Book is strict here and found:\n" + "\n".join(lines or output.splitlines()[-40:]))
    return stage / "_build" / builder


def _preview(toc: Path) -> str:
    """Write a table of contents of the pages that are there; return its path."""
    lacking = {f"notebooks/{name}" for name in contents.lacking()}
    there = [entry for entry in contents.files()[1:] if entry not in lacking]
    first = next((entry for entry in there if entry.startswith("notebooks/")), None)
    if not first:
        check_pages()
    chapters = [{"file": entry} for entry in there if entry != first]
    toc.write_text(json.dumps({"format": "jb-book", "root": first, "chapters": chapters}), encoding="utf-8")
    return str(toc)


def _put_in_place(fresh: Path, site: Path) -> Path:
    """Copy a whole site to where readers look for it; the one before is there until then."""
    coming, going = site.with_name("html.coming"), site.with_name("html.going")
    for left in (coming, going):
        shutil.rmtree(left, ignore_errors=True)
    try:
        with on_disk("write into", coming):
            shutil.copytree(fresh, coming, copy_function=_copy)
    except BaseException:
        shutil.rmtree(coming, ignore_errors=True)
        raise
    if site.exists():
        os.replace(site, going)
    os.replace(coming, site)
    shutil.rmtree(going, ignore_errors=True)
    return site


def _copy(source: str, target: str) -> None:
    """Copy a file, so that the first one that does not fit ends it all: `copytree` would try the others too."""
    with on_disk("write", Path(target)):
        shutil.copy2(source, target)


def best_record() -> str:
    """The profile of the fullest record that has every section: paper, medium or small.

    Raises
    ------
    MLIError
        None of them has.
    """
    wanted = contents.sections()
    lacking = {}
    for profile in RECORDS:
        there = contents.recorded(profile)
        lacking[profile] = [name for name in wanted if name not in there]
        if not lacking[profile]:
            return profile
    said = "; ".join(f"{profile} lacks {', '.join(names)}" for profile, names in lacking.items() if names != wanted)
    raise MLIError(
        f"no record in results/ has every section ({said or 'there is none'}); 'make reproduce' and 'make record' make "
        "one, PROFILE= renders the book from one of your choice"
    )


def record(jobs: Sequence[Job]) -> Path:
    """Write what a profile's pages were made from, and what they claim, into the record; return its folder.

    What was there before goes. The figures that the README shows go with it, and the benchmarks beside it where this
    machine has run all that are there.

    Parameters
    ----------
    jobs : those of every section under one profile

    Raises
    ------
    MLIError
        A page is missing or was made under another profile or with other parameters.
    """
    profile = jobs[0].profile
    pages = {}
    for job in jobs:
        made = contents.about(job.name)
        how = f"'make reproduce PROFILE={profile}' makes it"
        if made.get("profile") != profile or made["parameters"] != job.parameters:
            raise MLIError(f"no page of {job.name} under profile {profile}; {how}")
        if not contents.intact(job.name):
            raise MLIError(f"the page of {job.name} or one of its figures was changed after it was made; {how} again")
        pages[job.name] = made
    store = settings.store_dir(profile)
    target, readme = settings.record_dir(profile), settings.root() / "README.md"
    target.parent.mkdir(exist_ok=True)
    with on_disk("write", target), tempfile.TemporaryDirectory(dir=target.parent, prefix=".new-") as folder:
        fresh = Path(folder) / profile
        for entry in sorted({entry for made in pages.values() for entry in made["used"]}):
            copy = fresh / f"{entry}.json"
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(store / f"{entry}.json", copy)
        pictures = contents.figures_folder()
        for name in re.findall(rf"results/{profile}/figures/([\w-]+\.png)", readme.read_text(encoding="utf-8")):
            (fresh / "figures").mkdir(exist_ok=True)
            shutil.copyfile(pictures / name, fresh / "figures" / name)
        for table in pictures.glob("neighbours*.csv"):  # section 11's table, and what its columns hold
            shutil.copyfile(table, fresh / table.name)
        left_out = ("used", "fingerprint", "claims", "files", "seal")
        about = {name: {key: made[key] for key in made if key not in left_out} for name, made in pages.items()}
        (fresh / "about.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        (fresh / "claims.json").write_text(claims.json_text(claims.entries(profile)), encoding="utf-8")
        record_benchmarks()
        shutil.rmtree(target, ignore_errors=True)
        os.replace(fresh, target)
    return target


def record_benchmarks() -> None:
    """Put what `make bench` measured in place of the benchmarks on record, unless it lacks some that are there."""
    own, recorded = settings.bench_file(), settings.bench_record()
    measured, there = ({row["name"] for row in _rows(path)} for path in (own, recorded))
    if measured and measured >= there:
        shutil.copyfile(own, recorded)


def _rows(path: Path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
