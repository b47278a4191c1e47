"""What the site ships of others' work, and what it leaves out: Plotly and MathJax in, what no page uses out."""

import re
from importlib import metadata
from pathlib import Path

from mli_utils import contents
from mli_utils.interactive import SCRIPT, plotly_script
from mli_utils.store import write_atomically

ICON = re.compile(  # name:[width, height, [other names], "code", path]
    r'(?:"([\w-]+)"|([A-Za-z]\w*)):\[\d+,\d+,\[([^\]]*)\],"[0-9a-f]+",(?:"[^"]*"|\[[^\]]*\])\],?'
)


def lay_out(folder: Path) -> None:
    """Put the scripts that pages load into `folder`, which Sphinx copies into the site: of MathJax 2 of 24 MB."""
    for file in metadata.files("sphinx-mathjax-offline"):
        if file.name == "tex-chtml.js" or file.suffix == ".woff":
            _copy_once(file.locate(), folder / "_static/mathjax" / Path(*file.parts[file.parts.index("mathjax") + 1 :]))
    _copy_once(plotly_script(), folder / SCRIPT)


def trim(site: Path) -> None:
    """Take out of a built site what none of its pages uses: source maps, pictures of earlier builds, most of the
    theme's 2000 icons; and the outputs in the notebooks for download, which the pages show."""
    for path in site.rglob("*.map"):
        path.unlink()
    for path in (site / "_sources" / "notebooks").glob("*.ipynb"):
        if contents.source(path.stem).exists():
            path.write_bytes(contents.source(path.stem).read_bytes())
    pages = "".join(path.read_text() for path in site.rglob("*.html"))
    for path in (site / "_images").glob("*"):
        if path.name not in pages:
            path.unlink()
    scripts = site / "_static" / "scripts"
    texts = [pages, *(path.read_text() for path in scripts.glob("*.js") if path.name != "fontawesome.js")]
    used = {name for text in texts for name in re.findall(r"fa-([a-z0-9-]+)", text)}

    def kept(icon: re.Match) -> str:
        names = {icon[1] or icon[2], *re.findall(r'"([\w-]+)"', icon[3])}
        return icon[0] if names & used else ""

    icons = scripts / "fontawesome.js"
    if icons.exists():
        icons.write_text(ICON.sub(kept, icons.read_text()))


def _copy_once(source: Path, target: Path) -> None:
    if not target.exists():
        write_atomically(target, source.read_bytes())
