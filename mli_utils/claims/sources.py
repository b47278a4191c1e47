"""The book's sources: table of contents, notebooks, pages and references."""

import json
import re
from pathlib import Path

import yaml

from mli_utils.core.config import InputError
from mli_utils.runs import settings
from mli_utils.runs.files import digest
from mli_utils.runs.record import Record

LEDGER = "12_claims"  # reads the pages of all other sections
SPEED = "13_speed"  # reads the results of `make bench`
TOC = "book/_toc.yml"
RECORDS = ("paper", "large", "medium", "small")  # profiles that may have a record, best first


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """YAML loader with the plain scalars of version 1.2, and Python's `None`; repeated keys are errors.

    PyYAML follows version 1.1, where `1e-2` is text, `010` is 8, `1:30` is 90, `no` is false and dates are parsed.
    """

    yaml_implicit_resolvers = {}

    def construct_mapping(self, node, deep=False):
        names = [key.value for key, _ in node.value]
        if twice := sorted({str(name) for name in names if names.count(name) > 1}):
            raise yaml.constructor.ConstructorError(None, None, f"{', '.join(twice)} is there twice", node.start_mark)
        return super().construct_mapping(node, deep)


for _kind, _pattern, _first in (
    ("null", r"~|null|Null|NULL|None|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9][0-9_]*", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.")),
):
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"^(?:{_pattern})$"), _first)
Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(loader.construct_scalar(node)))


def parse_yaml(text: str):
    """Parse YAML with `Loader`.

    Raises
    ------
    ValueError
        The text is no YAML.
    """
    try:
        return yaml.load(text, Loader)  # a SafeLoader
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())) from error


def read_yaml(name: str):
    """Read a YAML file; `name` is its path from the project's root.

    Raises
    ------
    InputError
        The file is missing or no YAML.
    """
    try:
        return parse_yaml((settings.root() / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{name} is not there; the book needs it") from None
    except ValueError as error:  # UnicodeDecodeError too
        raise InputError(f"{name} is no YAML: {error}") from error


def read_notebook(section: str):
    """Read a section's notebook, converted to version 4 of nbformat.

    Raises
    ------
    InputError
        The file is missing or no notebook; the message names the file and, if known, the line.
    """
    import nbformat

    path = source(section)
    where = f"notebooks/{path.name}"
    try:
        text = path.read_text(encoding="utf-8-sig")
        found = nbformat.reads(text, as_version=4)
        nbformat.validate(found)
    except FileNotFoundError:
        raise InputError(f"{where} is not there; book/_toc.yml names it") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{where} is no notebook: {error}") from None
    except (ValueError, AttributeError, KeyError, TypeError, nbformat.ValidationError) as error:
        raise InputError(f"{where} is no notebook{_why_not(text, error)}") from None
    return found


def _why_not(text: str, error: Exception) -> str:
    """Describe why a text is no notebook: a merge marker, the JSON or the schema."""
    marks = [number for number, line in enumerate(text.splitlines(), 1) if re.match(r"(<{7}|>{7}|={7})( |$)", line)]
    if marks:
        return f": line {marks[0]} is the mark of a merge that was not resolved"
    try:
        json.loads(text)
    except ValueError as bad:
        return f": {bad}"
    return f": {str(error).splitlines()[0]}" if str(error) else ""


def files() -> list[str]:
    """List the pages in the table of contents, without suffix.

    Raises
    ------
    InputError
        The table of contents does not have Jupyter Book's format.
    """
    contents = read_yaml(TOC)
    if not isinstance(contents, dict) or not isinstance(contents.get("root"), str):
        raise InputError(f"{TOC} should be a table of contents of Jupyter Book, with root and parts or chapters")
    return _entries(contents)


def sections() -> list[str]:
    """List the notebooks in the table of contents, in order, without suffix."""
    return [Path(entry).name for entry in files() if entry.startswith("notebooks/")]


def lacking() -> list[str]:
    """List the sections without a page."""
    return [section for section in sections() if not page(section).exists()]


def source(section: str) -> Path:
    """Return the path of a section's notebook."""
    return settings.root() / "notebooks" / f"{section}.ipynb"


def page(section: str) -> Path:
    """Return the path of a section's page: the executed notebook, which the book renders."""
    return settings.root() / "book" / "notebooks" / f"{section}.ipynb"


def about(section: str) -> dict:
    """Return the metadata that the runner wrote into a section's page; empty without a page."""
    try:
        return json.loads(page(section).read_bytes())["metadata"]["mli"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def seal(notebook: dict) -> str:
    """Hash a page's content except the stored `seal`."""
    about = {name: value for name, value in notebook["metadata"]["mli"].items() if name != "seal"}
    return digest(json.dumps({**notebook, "metadata": {**notebook["metadata"], "mli": about}}, sort_keys=True))


def intact(section: str) -> dict:
    """Return `about` if a page and its files are byte for byte as the runner wrote them, else an empty dict."""
    try:
        notebook = json.loads(page(section).read_bytes())
        made = notebook["metadata"]["mli"]
        files = {name: digest((figures_folder() / name).read_bytes()) for name in made["files"]}
        return made if made["seal"] == seal(notebook) and files == made["files"] else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def figures_folder() -> Path:
    """Return the folder with the figures of all sections."""
    return settings.root() / "book" / "notebooks" / "figures"


def recorded(profile: str) -> dict[str, dict]:
    """Return the recorded metadata of each section's page: figures, seconds and provenance."""
    return Record(settings.record_dir(profile)).json("about.json") or {}


def title(section: str) -> str:
    """Return a section's number and title; its name if it has no title."""
    found = re.search(r"^# (.+)", _prose(section), re.M)
    return f"{section.partition('_')[0].lstrip('0')}  {found[1]}" if found else section


def figures(section: str) -> list[str]:
    """List the figures that a section's prose names."""
    return re.findall(r"^[:`]{3,}\{glue:figure\} *(\S+)", _prose(section), re.M)


def _prose(section: str) -> str:
    """Return a section's Markdown; empty if its notebook cannot be read, which `read_notebook` reports."""
    try:
        cells = json.loads(source(section).read_bytes())["cells"]
        return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def owners(but: str) -> dict[str, str]:
    """Map each figure and figure file to its section, except those of section `but`."""
    found = {}
    for section in sections():
        if section != but:
            made = about(section)
            found |= dict.fromkeys([*figures(section), *made.get("figures", ()), *made.get("files", ())], section)
    return found


def citations() -> list[str]:
    """List the keys in `book/references.bib`."""
    works = (settings.root() / "book" / "references.bib").read_text(encoding="utf-8")
    return re.findall(r"^@\w+\{\s*([^,\s]+)\s*,", works, re.M)


def _entries(contents) -> list[str]:
    """List the files in a table of contents, in order."""
    if isinstance(contents, list):
        return [entry for item in contents for entry in _entries(item)]
    own = [contents[key] for key in ("root", "file") if key in contents]
    return own + [e for key in ("parts", "chapters", "sections") for e in _entries(contents.get(key, []))]
