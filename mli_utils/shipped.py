"""What the site ships of others' work, what it leaves out, and that it asks no other host for anything.

Plotly and MathJax go in, what no page uses goes out.
"""

import html.parser
import re
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

from mli_utils import contents
from mli_utils.config import InputError
from mli_utils.interactive import SCRIPT, plotly_script
from mli_utils.store import write_atomically

# Attributes by which an element makes a browser fetch something; an `a` and a `form` wait for a reader.
FETCHING = ("src", "href", "xlink:href", "srcset", "imagesrcset", "data", "poster", "background", "manifest")
WAITING = ("a", "area", "form")
RELATIONS = {"canonical", "alternate", "author", "license", "next", "prev", "search", "index", "help"}  # not fetched
ADDRESS = re.compile(r"""(?:https?:|wss?:)?//[^\s"'`<>()\\,]+""", re.I)
IN_STYLE = re.compile(r"""(?:@import\s+|url\(\s*)["']?\s*((?:https?:)?//[^"')\s]+)""", re.I)
ICON = re.compile(  # name:[width, height, [other names], "code", path]
    r'(?:"([\w-]+)"|([A-Za-z]\w*)):\[\d+,\d+,\[([^\]]*)\],"[0-9a-f]+",(?:"[^"]*"|\[[^\]]*\])\],?'
)


def lay_out(folder: Path) -> None:
    """Put the scripts that pages load into `folder`, which Sphinx copies into the site: of MathJax 2 of 24 MB.

    Raises
    ------
    InputError
        MathJax is not installed in a way that tells its files.
    """
    try:
        files = metadata.files("sphinx-mathjax-offline")
    except metadata.PackageNotFoundError:
        files = None
    if not files:
        raise InputError("the package sphinx-mathjax-offline is not installed by pip; the book ships its files")
    for file in files:
        if file.name == "tex-chtml.js" or file.suffix == ".woff":
            _copy(file.locate(), folder / "_static/mathjax" / Path(*file.parts[file.parts.index("mathjax") + 1 :]))
    _copy(plotly_script(), folder / SCRIPT)


def trim(site: Path) -> None:
    """Take out of a built site what none of its pages uses: source maps, pictures of earlier builds, most of the
    theme's 2000 icons; and the outputs in the notebooks for download, which the pages show."""
    for path in site.rglob("*.map"):
        path.unlink()
    for path in (site / "_sources" / "notebooks").glob("*.ipynb"):
        if contents.source(path.stem).exists():
            path.write_bytes(contents.source(path.stem).read_bytes())
    pages = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.html"))
    for path in (site / "_images").glob("*"):
        if path.name not in pages:
            path.unlink()
    scripts = site / "_static" / "scripts"
    programs = [path for path in scripts.glob("*.js") if path.name != "fontawesome.js"]
    texts = [pages, *(path.read_text(encoding="utf-8") for path in programs)]
    used = {name for text in texts for name in re.findall(r"fa-([a-z0-9-]+)", text)}

    def kept(icon: re.Match) -> str:
        names = {icon[1] or icon[2], *re.findall(r'"([\w-]+)"', icon[3])}
        return icon[0] if names & used else ""

    icons = scripts / "fontawesome.js"
    if icons.exists():
        text = icons.read_text(encoding="utf-8")
        icons.write_text(ICON.sub(kept, text), encoding="utf-8")


def other_hosts(site: Path) -> list[str]:
    """Every page and style sheet that would make a browser ask another host, and that host, in words."""
    found = []
    for path in sorted(site.rglob("*")):
        name = path.relative_to(site).as_posix()
        if path.suffix == ".html" and not name.startswith("_static/"):
            page = _Page()
            page.feed(path.read_text(encoding="utf-8"))
            asked = page.asked
        elif path.suffix == ".css":
            asked = IN_STYLE.findall(path.read_text(encoding="utf-8"))
        else:
            continue
        hosts = sorted({urlsplit(address.strip()).netloc or address for address in asked})
        found += [f"{name} would load something from {host}" for host in hosts]
    return found


class _Page(html.parser.HTMLParser):
    """The addresses on other hosts that a page makes a browser fetch."""

    def __init__(self):
        super().__init__()
        self.asked, self.inside = [], None

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        if tag == "script":
            kind = values.get("type", "")
            self.inside = "script" if kind in ("", "module") or "javascript" in kind else None  # others hold data
        elif tag == "style":
            self.inside = "style"
        self._look("style", values.get("style", ""))
        if tag == "iframe" and values.get("srcdoc"):
            inner = _Page()
            inner.feed(values["srcdoc"])
            self.asked += inner.asked
        if tag == "meta" and values.get("http-equiv", "").lower() == "refresh":
            self.asked += ADDRESS.findall(values.get("content", ""))
        relations = set(values.get("rel", "").lower().split())
        if tag in WAITING or (tag == "link" and relations and relations <= RELATIONS):
            return
        for name in FETCHING:
            for part in self._parts(name, values.get(name, "")):
                if ADDRESS.match(part.strip()):
                    self.asked.append(part.strip())

    @staticmethod
    def _parts(name: str, value: str) -> Iterable[str]:
        return [part.split()[0] for part in value.split(",") if part.strip()] if name.endswith("srcset") else [value]

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self.inside = None

    def handle_data(self, data: str) -> None:
        self._look(self.inside, data)

    def _look(self, kind: str | None, text: str) -> None:
        if kind == "style":
            self.asked += IN_STYLE.findall(text)
        elif kind == "script":  # a page's own script names no other host, whatever for
            self.asked += re.findall(r"(?:https?|wss?)://[\w.-]+[^\s\"'`<>()\\]*", text)


def _copy(source: Path, target: Path) -> None:
    data = source.read_bytes()
    if not target.exists() or target.read_bytes() != data:  # that of another version, say
        write_atomically(target, data)
