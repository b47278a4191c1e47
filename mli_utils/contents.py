"""What the book consists of: its table of contents, the source and page of each section, the works it cites."""

import json
import re
from pathlib import Path

import yaml

from mli_utils import settings
from mli_utils.config import InputError

LEDGER = "12_claims"  # the section that reads all others' pages
SPEED = "13_speed"  # the section that reads what `make bench` left


TOC = "book/_toc.yml"


def read_yaml(name: str):
    """What a YAML file holds, named from the project's top folder.

    Raises
    ------
    InputError
        It is not there, or no YAML.
    """
    try:
        return yaml.safe_load((settings.root() / name).read_text())
    except FileNotFoundError:
        raise InputError(f"{name} is not there; the book needs it") from None
    except (yaml.YAMLError, ValueError) as error:  # the latter: bytes that are no text, dates that there are not
        raise InputError(f"{name} is no YAML: {' '.join(str(error).split())}") from error


def files() -> list[str]:
    """Every page of the book without suffix, as its table of contents names it.

    Raises
    ------
    InputError
        The table of contents is no mapping of Jupyter Book's kind.
    """
    contents = read_yaml(TOC)
    if not isinstance(contents, dict) or not isinstance(contents.get("root"), str):
        raise InputError(f"{TOC} should be a table of contents of Jupyter Book, with root and parts or chapters")
    return _entries(contents)


def sections() -> list[str]:
    """The notebooks of the table of contents, in its order, without suffix."""
    return [Path(entry).name for entry in files() if entry.startswith("notebooks/")]


def source(section: str) -> Path:
    """The notebook of a section."""
    return settings.root() / "notebooks" / f"{section}.ipynb"


def page(section: str) -> Path:
    """Where a section's executed notebook goes, for the book to render."""
    return settings.root() / "book" / "notebooks" / f"{section}.ipynb"


def about(section: str) -> dict:
    """What the runner wrote into a section's page; empty where there is no page."""
    try:
        return json.loads(page(section).read_text())["metadata"]["mli"]
    except (OSError, ValueError, KeyError):
        return {}


def recorded(profile: str) -> dict[str, dict]:
    """What the record of a profile says of each section's page: its figures, seconds and what made it."""
    path = settings.record_dir(profile) / "about.json"
    return json.loads(path.read_text()) if path.exists() else {}


def figures(section: str) -> list[str]:
    """The names of the figures that a section's notebook shows."""
    path = source(section)
    return re.findall(r'name=\\"([\w-]+)\\"', path.read_text()) if path.exists() else []


def citations() -> list[str]:
    """The keys of the works in `book/references.bib`."""
    return re.findall(r"^@\w+\{\s*([^,\s]+)\s*,", (settings.root() / "book" / "references.bib").read_text(), re.M)


def _entries(contents) -> list[str]:
    """Every file of a table of contents, in order."""
    if isinstance(contents, list):
        return [entry for item in contents for entry in _entries(item)]
    own = [contents[key] for key in ("root", "file") if key in contents]
    return own + [e for key in ("parts", "chapters", "sections") for e in _entries(contents.get(key, []))]
