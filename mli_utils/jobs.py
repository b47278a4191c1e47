"""Which notebooks are to run, with which parameters, and whether they must: everything is checked before any runs."""

import ast
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from mli_utils import claims, contents, settings
from mli_utils.config import FIELDS, InputError, choose, grid
from mli_utils.store import canonical

KINDS = {
    int: "a whole number",
    float: "a number",
    str: "a name",
    list: "a list",
    bool: "true or false",
    dict: "a mapping",
}


@dataclass(frozen=True)
class Job:
    """A notebook to run: its name without suffix, the profile, and the parameters that differ from its defaults."""

    name: str
    profile: str
    parameters: dict

    @property
    def source(self) -> Path:
        return contents.source(self.name)

    @property
    def page(self) -> Path:
        """Where the executed notebook goes, for the book to render."""
        return contents.page(self.name)

    def fingerprint(self) -> str:
        """The hash of all that a page depends on; the ledger depends on every claim, and on what pages measured."""
        package = sorted(Path(__file__).parent.glob("*.py"))
        hashed = hashlib.sha256()
        for path in (self.source, *package, settings.root() / "requirements.lock"):
            hashed.update(path.read_bytes() if path.exists() else b"")
        asked = [self.profile, self.parameters, settings.mode(), settings.asked_device(), sys.version]
        if self.name == contents.SPEED:
            for path in (settings.bench_file(), settings.bench_record()):
                hashed.update(path.read_bytes() if path.exists() else b"-")
        if self.name == contents.LEDGER:
            claimed = [repr(claims.load()), claims.measured(self.profile)]
        else:
            claimed = repr(claims.of_section(self.name))
        hashed.update(canonical([*asked, claimed]).encode())
        return hashed.hexdigest()

    def is_done(self) -> bool:
        """Whether the page is there and nothing that it depends on has changed."""
        made = contents.about(self.name)
        figures = self.page.parent / "figures"
        files = [figures / f"{name}.{end}" for name in made.get("figures", ()) for end in ("svg", "csv", "json")]
        return bool(made) and all(file.exists() for file in files) and made["fingerprint"] == self.fingerprint()


def plan(profile: str, section: str = "", changes: Sequence[str] = ()) -> list[Job]:
    """The notebooks to run, checked: profile, section, parameter names and values.

    Parameters
    ----------
    profile : the name of a file in `profiles/`
    section : the number or name of one notebook, which runs with the ledger of claims; empty: all of them
    changes : `name=value` parameters put on top of the profile's, the value as in YAML

    Raises
    ------
    InputError
        Anything unknown or of the wrong kind, claims too, with what is known. Nothing has been written then.
    """
    root = settings.root()
    claims.load()
    choose("profile", profile, sorted(path.stem for path in (root / "profiles").glob("*.yml")))
    file = f"profiles/{profile}.yml"
    given = contents.read_yaml(file) or {}
    names = contents.sections()
    if not isinstance(given, dict):
        raise InputError(f"{file} should map sections to parameters; known sections: {', '.join(names)}")
    for name in given:
        choose(f"section in {file}:", name, names)
        if not isinstance(given[name] or {}, dict):
            raise InputError(f"{file}: {name} should map parameters to values, not be {given[name]!r}")
    chosen = names
    if section:
        numbers = {name.split("_")[0]: name for name in names}
        key = numbers.get(section.zfill(2), section)
        choose("section", key, names)
        chosen = [name for name in names if name in (key, contents.LEDGER)]
    extra = dict(_change(change) for change in changes)
    jobs = []
    known_anywhere = set()
    for name in chosen:
        known = _known_parameters(contents.source(name))
        known_anywhere |= known.keys()
        parameters = {}
        for parameter, value in (given.get(name) or {}).items():
            choose(f"parameter of {name} in {file}:", parameter, known)
            parameters[parameter] = _fitting(f"{file}: {name}:", parameter, value, known[parameter])
        for parameter in known.keys() & extra.keys():
            parameters[parameter] = _fitting(f"{name}:", parameter, extra[parameter], known[parameter])
        _check_fields(name, {**known, **parameters})
        jobs.append(Job(name, profile, parameters))
    for parameter in extra:
        choose("parameter", parameter, sorted(known_anywhere))
    return jobs


def _change(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InputError(f"parameter {text!r} is not allowed; allowed: name=value, as in seeds=3")
    try:
        return name, yaml.safe_load(value)
    except (yaml.YAMLError, ValueError):
        raise InputError(f"parameter {text!r} is not allowed; allowed: name=value, the value as in YAML") from None


def _known_parameters(notebook: Path) -> dict[str, object]:
    """The defaults of a notebook's parameters, by name."""
    from papermill import inspect_notebook

    return {name: ast.literal_eval(said["default"]) for name, said in inspect_notebook(str(notebook)).items()}


def _fitting(where: str, name: str, value, default):
    """`value` as a parameter of the default's kind; one value is a list of one where a list is wanted."""
    if isinstance(default, list) and not isinstance(value, (list, dict)):
        value = [value]
    number = isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool)
    if default is not None and not number and type(value) is not type(default):
        said = KINDS.get(type(default), type(default).__name__)
        raise InputError(f"{where} {name}={value!r} is not allowed; allowed: {said}, such as {default!r}")
    return value


def _check_fields(name: str, parameters: dict) -> None:
    """Raise where a page's parameters make a `RunConfig` that is not allowed.

    A parameter named like a field is its value, a list of such its values one after the other; a dict is a set of
    fields that the page changes together.
    """
    single = {field: parameters[field] for field in FIELDS if field in parameters}
    lists = {field: single.pop(field) for field in list(single) if isinstance(single[field], list)}
    together = [value for value in parameters.values() if isinstance(value, dict)]
    for changes in ({}, *({field: values} for field, values in lists.items()), *together):
        try:
            grid(**{**single, **changes})
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
