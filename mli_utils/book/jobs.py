"""Plan the notebooks to run: check parameters and find unchanged pages before anything runs."""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mli_utils.claims import ledger, sources, statements
from mli_utils.core.config import FIELDS, InputError, choose, finite, grid
from mli_utils.runs import provenance, settings
from mli_utils.runs.files import canonical, digest
from mli_utils.runs.record import SUMS

KINDS = {
    int: "a whole number",
    float: "a number",
    str: "a name",
    list: "a list",
    bool: "true or false",
    dict: "a mapping",
}
NETWORKS = "networks"  # parameter with the `RunConfig` fields of a page's networks
UNKNOWN = object()  # default that only the notebook can compute
OPTIONAL = ("n_train",)  # None: all images
PLAIN = (abs, dict, float, int, len, list, max, min, range, round, sorted, sum, tuple)  # allowed in defaults


@dataclass(frozen=True)
class Job:
    """A notebook to run: its name without suffix, the profile, and the parameters that differ from its defaults.

    `networks` has the defaults in the notebook's `networks = dict(…)`, `claims` what its page depends on of the claims.
    """

    name: str
    profile: str
    parameters: dict
    networks: dict
    claims: tuple[statements.Claim, ...] = ()

    @property
    def source(self) -> Path:
        return sources.source(self.name)

    @property
    def page(self) -> Path:
        """Path of the executed notebook, which the book renders."""
        return sources.page(self.name)

    def injected(self) -> dict:
        """Return the changed parameters for papermill, those of `networks` inside their dict."""
        apart = {name: value for name, value in self.parameters.items() if name not in self.networks}
        changed = {name: value for name, value in self.parameters.items() if name in self.networks}
        return {**apart, **({NETWORKS: {**self.networks, **changed}} if changed else {})}

    def fingerprint(self) -> str:
        """Hash the page's dependencies: notebook, code, parameters, claims, environment and, in a book, the record.

        The code is `core`, `runs`, `figures`, `claims`, the section's module and `book.pages`. The ledger depends on
        all claims and measurements.
        """
        package = Path(__file__).parent.parent
        code = [path for folder in ("core", "runs", "figures", "claims") for path in (package / folder).glob("*.py")]
        code += [package / "sections" / f"{self.name.partition('_')[2]}.py", package / "book" / "pages.py"]
        measured = [settings.bench_file(), settings.bench_record()] if self.name == sources.SPEED else []
        if settings.mode() == "book":
            measured.append(settings.record_dir(self.profile) / SUMS)
        files = (self.source, *sorted(code), settings.root() / "requirements.lock", *measured)
        asked = [self.profile, self.parameters, settings.mode(), settings.asked_device(), provenance.installed()]
        asked += [repr(self.claims), [digest(path.read_bytes()) if path.exists() else "" for path in files]]
        if self.name == sources.LEDGER:
            asked.append(ledger.measured(self.profile))
        return digest(canonical(asked))

    def is_done(self) -> bool:
        """Return whether page and figures are intact and their dependencies unchanged."""
        made = sources.intact(self.name)
        return bool(made) and made["fingerprint"] == self.fingerprint()


def plan(profile: str, section: str = "", changes: Sequence[str] = ()) -> list[Job]:
    """Plan the notebooks to run; check profile, section, claims, parameter names and values.

    Parameters
    ----------
    profile : name of a file in `profiles/`
    section : numbers or names of notebooks, which run with the ledger of claims; empty: all notebooks
    changes : parameters `name=value` that override the profile's, values in YAML

    Raises
    ------
    InputError
        A name is unknown or a value has the wrong type; the message lists the known ones. Nothing is written.
    """
    root = settings.project()
    settings.check()
    claims = statements.load()
    choose("profile", profile, sorted(path.stem for path in (root / "profiles").glob("*.yml")))
    file = f"profiles/{profile}.yml"
    given = sources.read_yaml(file) or {}
    names = sources.sections()
    if not isinstance(given, dict):
        raise InputError(f"{file} should map sections to parameters; known sections: {', '.join(names)}")
    for name in given:
        choose(f"section in {file}:", name, names)
        if not isinstance(given[name] or {}, dict):
            raise InputError(f"{file}: {name} should map parameters to values, not be {given[name]!r}")
    asked = [section_name(one) for one in section.split()]
    chosen = [name for name in names if name in (*asked, sources.LEDGER)] if asked else names
    extra = dict(_parsed_change(change) for change in changes)
    jobs = []
    known_anywhere = set()
    for name in chosen:
        notebook = sources.read_notebook(name)
        _check_syntax(name, notebook)
        known, networks = _known_parameters(notebook)
        limits = notebook.metadata.get("limits", {})
        known_anywhere |= known.keys()
        parameters = {}
        typed = {parameter: value for parameter, value in extra.items() if parameter in known}
        for where, changed in ((f"{file}: {name}", given.get(name) or {}), (name, typed)):
            for parameter, value in changed.items():
                choose(f"parameter of {name} in {file}:", parameter, known)
                default, limit = known[parameter], limits.get(parameter, {})
                parameters[parameter] = _checked(f"{where}: {parameter}", parameter, value, default, limit)
        _check_fields(name, {**known, **parameters})
        of_page = tuple(claim for claim in claims if name in (claim.section, sources.LEDGER))
        jobs.append(Job(name, profile, parameters, networks, of_page))
    for parameter in extra:
        choose("parameter", parameter, sorted(known_anywhere))
    return jobs


def section_name(section: str) -> str:
    """Return the name of a section given by number or name.

    Raises
    ------
    InputError
        The section is unknown.
    """
    names = sources.sections()
    numbers = {name.split("_")[0]: name for name in names}
    return choose("section", numbers.get(section.zfill(2), section), names)


def _parsed_change(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InputError(f"parameter {text!r} is not allowed; allowed: name=value, as in seeds=3")
    try:
        return name, sources.parse_yaml(value)
    except ValueError:
        raise InputError(f"parameter {text!r} is not allowed; allowed: name=value, the value as in YAML") from None


def _parsed(cell: str) -> ast.Module:
    """Parse a cell as Python, with IPython's commands if it has any."""
    flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    try:
        return compile(cell, "cell", "exec", flags)
    except SyntaxError:
        from IPython.core.inputtransformer2 import TransformerManager  # takes a second to load

        plain = TransformerManager().transform_cell(cell)
        if plain.strip() == cell.strip():
            raise
        return compile(plain, "cell", "exec", flags)


def _check_syntax(section: str, notebook) -> None:
    """Raise InputError if a cell is neither Python nor IPython."""
    for number, cell in enumerate(notebook.cells, 1):
        try:
            _parsed(cell.source if cell.cell_type == "code" else "")
        except SyntaxError as error:
            line = (cell.source.splitlines() or [""])[(error.lineno or 1) - 1].strip()
            raise InputError(
                f"notebooks/{section}.ipynb, cell {number}, line {error.lineno}: {error.msg}: {line}"
            ) from None


def _known_parameters(notebook) -> tuple[dict[str, object], dict[str, object]]:
    """Return the defaults of a notebook's parameters by name, and those that `networks = dict(…)` holds.

    A default that is no plain expression is `UNKNOWN`.
    """
    cell = next((cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])), None)
    known: dict[str, object] = {}
    for line in _parsed(cell.source).body if cell else []:
        if isinstance(line, (ast.Assign, ast.AnnAssign)) and line.value:
            target = line.target if isinstance(line, ast.AnnAssign) else line.targets[0]
            if isinstance(target, ast.Name):
                known[target.id] = _default(ast.unparse(line.value), known)
    networks = known.pop(NETWORKS, {})
    networks = {name: _as_list(value) for name, value in networks.items()} if isinstance(networks, dict) else {}
    return {**known, **networks}, networks


def _as_list(value):
    """Convert a range or a tuple to a list."""
    return list(value) if isinstance(value, (range, tuple)) else value


def _default(text: str, known: Mapping) -> object:
    """Evaluate a default, an expression of literals, earlier parameters and `PLAIN`; otherwise return `UNKNOWN`."""
    names = {function.__name__: function for function in PLAIN}
    try:
        value = eval(text, {"__builtins__": names}, dict(known))  # safe: the kernel runs this code anyway
    except Exception:
        return UNKNOWN
    value = _as_list(value)
    return value if value is None or type(value) in KINDS else UNKNOWN


def _checked(said: str, name: str, value, default, limits: Mapping):
    """Convert `value` to the default's type; check it against the notebook's limits.

    A scalar becomes a list if the default is one. Integers pass as floats, and whole floats, such as 1e3, as integers.

    Parameters
    ----------
    said : place and name of the parameter, for messages
    limits : `limits` in the notebook's metadata: `least`, the smallest number (default: 1 for integers, above 0 for
        floats); `among`, the allowed items of a list; `needs`, its required items
    """
    if default is UNKNOWN or default is None or (value is None and name in OPTIONAL):
        return value
    if isinstance(default, list):
        given = value if isinstance(value, list) else [value]
        kinds = {type(item) for item in default}
        one = default[0] if len(kinds) == 1 else UNKNOWN
        if default and not given:
            raise InputError(f"{said}={value!r} is not allowed; allowed: a list of at least one, such as {default!r}")
        given = [_checked(said, name, item, one, {**limits, "needs": []}) for item in given]
        for item in given:
            choose(f"value in {said}:", item, limits.get("among", [item]))
        if lacking := [item for item in limits.get("needs", []) if item not in given]:
            needed = ", ".join(map(str, lacking))
            raise InputError(f"{said}={value!r} is not allowed; allowed: with {needed}, which the page compares")
        return given
    if type(default) is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not type(default) and (type(value), type(default)) != (int, float):
        kind = KINDS[type(default)]
        raise InputError(f"{said}={value!r} is not allowed; allowed: {kind}, such as {default!r}")
    if isinstance(value, (int, float)) and not isinstance(value, bool) and name not in FIELDS:
        least = limits.get("least", 1 if isinstance(default, int) else None)
        if not finite(value) or (value <= 0 if least is None else value < least):
            allowed = "above 0" if least is None else f"{least} or more"
            raise InputError(f"{said}={value!r} is not allowed; allowed: {allowed}")
    return value


def _check_fields(name: str, parameters: dict) -> None:
    """Raise InputError if a page's parameters make an invalid `RunConfig`.

    A parameter named like a field sets that field; a list sets its values in turn. A dict, also one of a list, sets
    several fields together.
    """
    parameters = {name: value for name, value in parameters.items() if value is not UNKNOWN}
    single = {field: parameters[field] for field in FIELDS if field in parameters}
    lists = {field: single.pop(field) for field in list(single) if isinstance(single[field], list)}
    values = [item for value in parameters.values() for item in (value if isinstance(value, list) else [value])]
    together = [value for value in values if isinstance(value, dict)]
    for changes in ({}, *({field: values} for field, values in lists.items()), *together):
        try:
            grid(**{**single, **changes})
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
