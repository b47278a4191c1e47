"""Render the pages as a site that loads nothing from other hosts, and as a PDF."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

from mli_utils.book import pages
from mli_utils.book.ahead import JupyterBook
from mli_utils.claims import sources
from mli_utils.core.config import InputError, MLIError
from mli_utils.figures.moving import SCRIPT, plotly_script
from mli_utils.runs import provenance, settings
from mli_utils.runs.files import canonical, digest, locked, on_disk, replace_folder, write_atomically

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PRINTING = 300  # seconds, at most

# Attributes that make a browser fetch; elements in `WAITING` fetch only when a reader acts.
FETCHING = ("src", "href", "xlink:href", "srcset", "imagesrcset", "data", "poster", "background", "manifest")
WAITING = ("a", "area", "form")
RELATIONS = {"canonical", "alternate", "author", "license", "next", "prev", "search", "index", "help"}  # not fetched
ADDRESS = re.compile(r"""(?:https?:|wss?:)?//[^\s"'`<>()\\,]+""", re.I)
IN_STYLE = re.compile(r"""(?:@import\s+|url\(\s*)["']?\s*((?:https?:)?//[^"')\s]+)""", re.I)
IN_SCRIPT = re.compile(r"(?:https?|wss?)://[\w.-]+[^\s\"'`<>()\\]*")  # a page's own scripts should name no host


class BookFailed(MLIError):
    """The book was not rendered, or only with warnings."""


def render(book: JupyterBook | None = None) -> Path:
    """Render the book unless the site is up to date; return its first page. `book` may have been started before.

    Warnings are errors. If sections have no page yet, the others are rendered as a preview with warnings allowed, since
    links to missing pages break.

    Raises
    ------
    BookFailed
        No page exists, Sphinx warns (a broken reference, equation or link), or a page loads from another host.
    """
    with locked(settings.lock_file("site")):
        site = settings.root() / "_build" / "html"
        pages.write()
        key, note = _inputs(), settings.root() / "build" / "site.json"
        if note.exists() and note.read_text(encoding="utf-8") == _note(key, site):
            return site / "index.html"
        with build("html", book) as fresh:
            _trim(fresh)
            if asked := other_hosts(fresh):
                raise BookFailed("the book is not shown: " + "; ".join(asked))
            replace_folder(site, fresh)
        write_atomically(note, _note(key, site).encode())
        return site / "index.html"


def _inputs() -> str:
    """Hash the content of the site's sources; file times do not count."""
    root, here = settings.root(), Path(__file__).parent
    found = sorted(path for path in (root / "book").rglob("*") if path.is_file())
    parts = [canonical(provenance.installed()), *sources.lacking()]
    for path in (*found, root / "_config.yml", root / "requirements.lock", *sorted(here.parent.rglob("*.py"))):
        parts += [path.name, digest(path.read_bytes()) if path.exists() else ""]
    return digest("\n".join(parts))


def _note(key: str, site: Path) -> str:
    """Return the hashes of a site's sources and files as JSON."""
    files = {str(path.relative_to(site)): digest(path.read_bytes()) for path in site.rglob("*") if path.is_file()}
    return json.dumps({"sources": key, "site": digest(canonical(files))})


@contextmanager
def build(builder: str, book: JupyterBook | None = None) -> Iterator[Path]:
    """Build the site from scratch in a temporary folder; yield the folder.

    Sphinx detects changed pages by file times, which copies and archives do not preserve.

    Parameters
    ----------
    builder : `html`: one page per section, warnings are errors unless a section is missing; `singlehtml`: one page
    book : process to build with; None starts one
    """
    root = settings.root()
    lacking = sources.lacking()
    (root / "build").mkdir(exist_ok=True)
    for left in (root / "build").glob(".book*"):  # leftovers of killed builds
        shutil.rmtree(left, ignore_errors=True)
    with on_disk("write into", root / "build"), tempfile.TemporaryDirectory(dir=root / "build", prefix=".book") as name:
        stage = Path(name)
        _copy_assets(root / "build" / "site")
        how = ["--builder", "custom", "--custom-builder", builder]
        if builder == "html":
            how = ["--toc", _preview(stage / "toc.yml")] if lacking else ["-W", "-n", "--keep-going"]
        with nullcontext(book) if book else JupyterBook() as process:
            status, output = process.run("build", "book", "--path-output", str(stage), *how)
        if status:
            if full := re.search(r"No space left on device|Read-only file system|Disk quota exceeded", output):
                raise BookFailed(f"the book is not rendered: {full[0]}; the last one is kept, the same command goes on")
            lines = [line for line in output.splitlines() if "WARNING" in line or "ERROR" in line]
            raise BookFailed("Jupyter Book is strict here and found:\n" + "\n".join(lines or output.splitlines()[-40:]))
        yield stage / "_build" / builder


def check_pages() -> None:
    """Raise BookFailed if a section has no page yet."""
    if lacking := sources.lacking():
        raise BookFailed(f"the book is not rendered: no page yet for {', '.join(lacking)}; 'make reproduce' makes them")


def _preview(toc: Path) -> str:
    """Write a table of contents of the existing pages; return its path."""
    lacking = {f"notebooks/{name}" for name in sources.lacking()}
    there = [entry for entry in sources.files()[1:] if entry not in lacking]
    first = next((entry for entry in there if entry.startswith("notebooks/")), None)
    if not first:
        check_pages()
    chapters = [{"file": entry} for entry in there if entry != first]
    toc.write_text(json.dumps({"format": "jb-book", "root": first, "chapters": chapters}), encoding="utf-8")
    return str(toc)


def _copy_assets(folder: Path) -> None:
    """Copy Plotly and the 2 of MathJax's 24 MB that pages load into `folder`, which Sphinx copies into the site.

    Raises
    ------
    InputError
        MathJax's package is not installed.
    """
    try:
        package = metadata.distribution("sphinx-mathjax-offline")
    except metadata.PackageNotFoundError:
        raise InputError(
            "the package sphinx-mathjax-offline is not installed by pip; the book ships its files"
        ) from None
    mathjax = Path(str(package.locate_file("sphinx-mathjax-offline/static/mathjax")))
    wanted = {folder / SCRIPT: plotly_script()}
    for file in (mathjax / "tex-chtml.js", *mathjax.rglob("*.woff")):
        wanted[folder / "_static/mathjax" / file.relative_to(mathjax)] = file
    for target, source in wanted.items():
        if not target.exists() or target.read_bytes() != source.read_bytes():  # absent or outdated
            write_atomically(target, source.read_bytes())


def _trim(site: Path) -> None:
    """Delete extensions' own indices, source maps, and TrueType fonts, which browsers take as WOFF2.

    Notebooks for download lose their outputs.
    """
    kept = {f"{entry}.html" for entry in sources.files()} | {"genindex.html", "search.html", "index.html"}
    for path in site.rglob("*.html"):
        if str(path.relative_to(site)) not in kept and "_static" not in path.parts:
            path.unlink()
    for path in (*site.rglob("*.map"), *site.rglob("*.ttf")):
        path.unlink()
    for path in (site / "_sources" / "notebooks").glob("*.ipynb"):
        if sources.source(path.stem).exists():
            path.write_bytes(sources.source(path.stem).read_bytes())


def other_hosts(site: Path) -> list[str]:
    """List the pages and style sheets that load from another host, one sentence per page and host."""
    found = []
    for path in sorted(site.rglob("*")):
        name = path.relative_to(site).as_posix()
        if path.suffix == ".html" and not name.startswith("_static/"):
            asked = _asked(path.read_text(encoding="utf-8"))
        elif path.suffix == ".css":
            asked = IN_STYLE.findall(path.read_text(encoding="utf-8"))
        else:
            continue
        hosts = sorted({urlsplit(address.strip()).netloc or address for address in asked})
        found += [f"{name} would load something from {host}" for host in hosts]
    return found


def _asked(page: str) -> list[str]:
    """List the addresses on other hosts that a page makes a browser fetch."""
    from bs4 import BeautifulSoup

    asked = []
    for element in BeautifulSoup(page, "html.parser", on_duplicate_attribute="ignore").find_all(True):
        given = {name: " ".join([value] if isinstance(value, str) else value) for name, value in element.attrs.items()}
        asked += IN_STYLE.findall(given.get("style", "")) + _fetched(element.name, given)
        text, kind = element.string or "", given.get("type", "")
        if element.name == "style":
            asked += IN_STYLE.findall(text)
        elif element.name == "script" and (kind in ("", "module") or "javascript" in kind):  # others hold data
            asked += IN_SCRIPT.findall(text)
        elif element.name == "iframe":
            asked += _asked(given.get("srcdoc", ""))
        elif element.name == "meta" and given.get("http-equiv", "").lower() == "refresh":
            asked += ADDRESS.findall(given.get("content", ""))
    return asked


def _fetched(tag: str, given: dict[str, str]) -> list[str]:
    """List the addresses on other hosts that an element's attributes load with the page."""
    relations = set(given.get("rel", "").lower().split())
    if tag in WAITING or (tag == "link" and relations and relations <= RELATIONS):
        return []
    parts = []
    for name in FETCHING:
        value = given.get(name, "")
        parts += [part.split()[0] for part in value.split(",") if part.strip()] if "srcset" in name else [value]
    return [part.strip() for part in parts if ADDRESS.match(part.strip())]


def pdf() -> Path:
    """Print the pages to `_build/book.pdf` with Chromium; return its path.

    Raises
    ------
    InputError
        Chromium is not installed.
    BookFailed
        A page is missing, or Chromium fails.
    """
    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if not program:
        raise InputError(f"no Chromium here ({', '.join(CHROMIUM)}); install one (Debian: apt-get install chromium)")
    check_pages()
    made = settings.root() / "_build" / "book.pdf"
    made.parent.mkdir(exist_ok=True)
    with locked(settings.lock_file("site")), build("singlehtml") as folder:
        command = [program, "--headless", "--no-sandbox", "--disable-gpu"]
        command += ["--no-pdf-header-footer", "--generate-pdf-document-outline"]
        printed = folder / "book.pdf"
        command += ["--allow-file-access-from-files", "--virtual-time-budget=30000", f"--print-to-pdf={printed}"]
        try:
            done = subprocess.run(
                [*command, (folder / "index.html").as_uri()], capture_output=True, encoding="utf-8", timeout=PRINTING
            )
        except subprocess.TimeoutExpired:
            raise BookFailed(f"Chromium did not print the book within {PRINTING} seconds") from None
        if done.returncode or not printed.exists():
            raise BookFailed(f"Chromium did not print the book: {done.stderr.strip()[-300:]}")
        os.replace(printed, made)
    return made
