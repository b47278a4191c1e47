"""The strict runner: notebooks through papermill into pages, pages through Jupyter Book into a site.

A notebook is run again when its source, its parameters, the profile, the package or the locked versions have changed.
A page is replaced only by one that ran to its end without an error.
"""

import ast
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path

import nbformat
import yaml

from mli_utils import provenance, settings
from mli_utils.config import FIELDS, InputError, MLIError, RunConfig, choose
from mli_utils.interactive import SCRIPT, plotly_script
from mli_utils.store import canonical, write_atomically


class NotebookFailed(MLIError):
    """A notebook did not run to its end; the message names the section, the cell and the error."""


class BookFailed(MLIError):
    """Jupyter Book did not render the book without warnings."""


@dataclass(frozen=True)
class Job:
    """A notebook to run: its name without suffix, the profile, and the parameters that differ from its defaults."""

    name: str
    profile: str
    parameters: dict

    @property
    def source(self) -> Path:
        return settings.root() / "notebooks" / f"{self.name}.ipynb"

    @property
    def page(self) -> Path:
        """Where the executed notebook goes, for the book to render."""
        return settings.root() / "book" / "notebooks" / f"{self.name}.ipynb"

    def fingerprint(self) -> str:
        """The hash of all that a page depends on."""
        root = settings.root()
        package = sorted(Path(__file__).parent.glob("*.py"))
        hashed = hashlib.sha256()
        for path in (self.source, *package, root / "requirements.lock"):
            hashed.update(path.read_bytes() if path.exists() else b"")
        asked = [self.profile, self.parameters, settings.mode(), settings.asked_device(), sys.version]
        hashed.update(canonical(asked).encode())
        return hashed.hexdigest()

    def is_done(self) -> bool:
        """Whether the page is there and nothing that it depends on has changed."""
        try:
            made = json.loads(self.page.read_text())["metadata"]["mli"]
        except (OSError, ValueError, KeyError):
            return False
        figures = self.page.parent / "figures"
        there = all((figures / f"{name}.{end}").exists() for name in made["figures"] for end in ("svg", "csv", "json"))
        return there and made["fingerprint"] == self.fingerprint()


def sections() -> list[str]:
    """The notebooks of the table of contents, in its order, without suffix."""
    return [Path(entry).name for entry in _book_files() if entry.startswith("notebooks/")]


def _book_files() -> list[str]:
    """Every page of the book without suffix, as its table of contents names it."""
    return _entries(yaml.safe_load((settings.root() / "book" / "_toc.yml").read_text()))


def _entries(contents) -> list[str]:
    """Every file of a table of contents, in order."""
    if isinstance(contents, list):
        return [entry for item in contents for entry in _entries(item)]
    own = [contents[key] for key in ("root", "file") if key in contents]
    return own + [e for key in ("parts", "chapters", "sections") for e in _entries(contents.get(key, []))]


def plan(profile: str, section: str = "", changes: Sequence[str] = ()) -> list[Job]:
    """The notebooks to run, checked: profile, section, parameter names and values.

    Parameters
    ----------
    profile : the name of a file in `profiles/`
    section : the number or name of one notebook; empty: all of them
    changes : `name=value` parameters put on top of the profile's, the value as in YAML

    Raises
    ------
    InputError
        Anything unknown or of the wrong kind, with what is known. Nothing has been written then.
    """
    root = settings.root()
    choose("profile", profile, sorted(path.stem for path in (root / "profiles").glob("*.yml")))
    file = f"profiles/{profile}.yml"
    try:
        given = yaml.safe_load((root / file).read_text()) or {}
    except yaml.YAMLError as error:
        raise InputError(f"{file} is no YAML: {' '.join(str(error).split())}") from error
    names = sections()
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
        chosen = [key]
    extra = dict(_change(change) for change in changes)
    jobs = []
    known_anywhere = set()
    for name in chosen:
        known = _known_parameters(root / "notebooks" / f"{name}.ipynb")
        known_anywhere |= known.keys()
        parameters = {}
        for parameter, value in (given.get(name) or {}).items():
            choose(f"parameter of {name} in {file}:", parameter, known)
            parameters[parameter] = _fitting(f"{file}: {name}:", parameter, value, known[parameter])
        for parameter in known.keys() & extra.keys():
            parameters[parameter] = _fitting(f"{name}:", parameter, extra[parameter], known[parameter])
        _check_fields(name, parameters)
        jobs.append(Job(name, profile, parameters))
    for parameter in extra:
        choose("parameter", parameter, sorted(known_anywhere))
    return jobs


def _change(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InputError(f"parameter {text!r} is not allowed; allowed: name=value, as in seeds=3")
    return name, yaml.safe_load(value)


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
        kind = {int: "a whole number", float: "a number", str: "a name", list: "a list", bool: "true or false"}
        said = kind.get(type(default), type(default).__name__)
        raise InputError(f"{where} {name}={value!r} is not allowed; allowed: {said}, such as {default!r}")
    return value


def _check_fields(name: str, parameters: dict) -> None:
    """Raise where a parameter named like a field of `RunConfig`, or a list of such, has a value that is not allowed."""
    for field in FIELDS:
        values = parameters.get(field, [])
        for value in values if isinstance(values, list) else [values]:
            try:
                RunConfig(**{field: value})
            except InputError as error:
                if field == "n_train" and "dataset" in parameters:
                    RunConfig(dataset=parameters["dataset"], n_train=value)
                    continue
                raise InputError(f"{name}: {error}") from error


def run(jobs: Sequence[Job], workers: int = 1) -> None:
    """Run what has changed, at most `workers` notebooks at a time; the others still run when one fails.

    Raises
    ------
    MLIError
        After all have run, for those that failed, with the exit status of the first.
    """
    if not 1 <= workers <= 64:
        raise InputError(f"JOBS={workers} is not allowed; allowed: from 1 to 64")
    todo = [job for job in jobs if not job.is_done()]
    for job in jobs:
        if job not in todo:
            _say(f"{job.name}: unchanged")
    if not todo:
        return
    device = provenance.device_name(settings.device())
    failed = []
    workers = min(workers, len(todo))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(execute, job, job.fingerprint(), device, workers): job for job in todo}
        for future in as_completed(futures):
            job = futures[future]
            try:
                _say(f"{job.name}: {future.result():.0f} s")
            except MLIError as error:
                _say(f"{job.name}: failed")
                failed.append(error)
    if failed:
        worst = type(failed[0])
        raise worst("\n".join(str(error) for error in failed))


def execute(job: Job, fingerprint: str, device: str, workers: int = 1) -> float:
    """Run one notebook and put its page and figures into the book; return how many seconds it took.

    Runs in a process of its own, whose environment tells the notebook's kernel where things are. `fingerprint` and
    `device` (its name) are told by the page.
    """
    import papermill

    warnings.filterwarnings("ignore")  # of the notebook's own, papermill's come as errors below
    began = time.perf_counter()
    work = settings.build_dir(job.profile)
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work, prefix=".running-") as folder:
        folder = Path(folder)
        (folder / "figures").mkdir()
        os.environ |= {
            "MLI_ROOT": str(settings.root()),
            "MLI_PROFILE": job.profile,
            "MLI_FIGURES": str(folder / "figures"),
            "MLI_USED": str(folder / "used"),
            "MLI_PROGRESS": "1",
        }
        if workers > 1:
            os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // workers))
        try:
            papermill.execute_notebook(
                str(job.source),
                str(folder / "page.ipynb"),
                parameters=job.parameters,
                cwd=str(job.source.parent),
                progress_bar=False,
                stderr_file=_Progress(job.name, alone=workers == 1),
                request_save_on_cell_execute=False,
                kernel_name="python3",
                language="python",
                extra_arguments=["--log-level=CRITICAL"],
            )
        except papermill.PapermillExecutionError as error:
            raise _failure(job, error) from None
        seconds = time.perf_counter() - began
        notebook = nbformat.read(folder / "page.ipynb", as_version=4)
        used = folder / "used"
        about = {
            "fingerprint": fingerprint,
            "profile": job.profile,
            "mode": settings.mode(),
            "parameters": job.parameters,
            "seconds": round(seconds, 1),
            "used": sorted(set(used.read_text().split())) if used.exists() else [],
            **provenance.stamp(device),
        }
        publish(notebook, job, about)
        target = job.page.parent / "figures"
        target.mkdir(parents=True, exist_ok=True)
        for file in sorted((folder / "figures").iterdir()):
            os.replace(file, target / file.name)
        write_atomically(job.page, nbformat.writes(notebook).encode())
    return seconds


def _failure(job: Job, error) -> MLIError:
    """What a notebook's exception means to the user: a sentence if it is one, otherwise the cell and the traceback."""
    if error.ename in ("InputError", "DataError"):
        return InputError(f"{job.name}: {error.evalue}")
    if error.ename == "NotInRecord":
        return NotebookFailed(f"{job.name}: {error.evalue}")
    return NotebookFailed(f"{job.name} failed.{error}\nThe cell:\n\n{error.source}\n\n{error.ename}: {error.evalue}")


class _Progress:
    """What a notebook's progress bars write, passed on to this terminal; elsewhere a line now and then."""

    def __init__(self, name: str, alone: bool):
        self.name, self.live, self.last = name, alone and sys.stderr.isatty(), time.monotonic()

    def write(self, text: str) -> None:
        if self.live:
            sys.stderr.write(text)
        elif time.monotonic() - self.last > 10 and (state := text.replace("\r", "\n").strip().split("\n")[-1]):
            self.last = time.monotonic()
            sys.stderr.write(f"{self.name}: {state}\n")

    def flush(self) -> None:
        sys.stderr.flush()


def publish(notebook: nbformat.NotebookNode, job: Job, about: dict) -> None:
    """Make an executed notebook a page: figures numbered, captioned and described; parameters folded; no noise.

    `about` goes into the page's metadata, with the names of its figures.

    Raises
    ------
    NotebookFailed
        A cell that shows an error, or more figures than one.
    """
    names = []
    for cell in notebook.cells:
        tags = cell.metadata.setdefault("tags", [])
        if {"parameters", "injected-parameters"} & set(tags):
            tags.append("hide-input")
        if cell.cell_type != "code":
            continue
        if any(output.output_type == "error" for output in cell.outputs):
            raise NotebookFailed(f"{job.name}: a cell shows an error:\n\n{cell.source}")
        marks = [output.get("metadata", {}).get(settings.FIGURE_MARK, {}) for output in cell.outputs]
        figures = [mark for mark in marks if "caption" in mark]
        if len(figures) > 1:
            raise NotebookFailed(f"{job.name}: a cell shows {len(figures)} figures; one a cell can be numbered")
        for figure in figures:
            names.append(figure["name"])
            cell.metadata["mystnb"] = {
                "figure": {"name": figure["name"], "caption": figure["caption"]},
                "image": {"alt": figure["alt"]},
            }
        cell.outputs = [
            output
            for output, mark in zip(cell.outputs, marks, strict=True)
            if "below" not in mark and not (output.output_type == "stream" and output.name == "stderr")
        ]
    notebook.metadata["papermill"] = {
        **notebook.metadata.papermill,
        "input_path": f"notebooks/{job.name}.ipynb",
        "output_path": f"book/notebooks/{job.name}.ipynb",
    }
    notebook.metadata["mli"] = {**about, "figures": names}


def render() -> Path:
    """Render the book, strictly; return its first page.

    Raises
    ------
    BookFailed
        A page that has not been made yet, or a warning of Sphinx: a broken reference, equation or link.
    """
    root = settings.root()
    lacking = [name for name in sections() if not Job(name, "", {}).page.exists()]
    if lacking:
        raise BookFailed(f"the book is not rendered: no page yet for {', '.join(lacking)}; 'make reproduce' makes them")
    extra = root / "build" / "site"
    _lay_out_mathjax(extra / "_static" / "mathjax")
    _copy_once(plotly_script(), extra / SCRIPT)
    jupyter_book = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()"]
    command = [*jupyter_book, "build", "book", "-W", "-n", "--keep-going"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    site = root / "_build" / "html"
    output = done.stdout + done.stderr
    if done.returncode:
        lines = [line for line in output.splitlines() if "WARNING" in line or "ERROR" in line]
        raise BookFailed("Jupyter Book is strict here and found:\n" + "\n".join(lines or output.splitlines()[-40:]))
    kept = {f"{entry}.html" for entry in _book_files()} | {"genindex.html", "search.html", "index.html"}
    for page in site.rglob("*.html"):  # Sphinx leaves the pages of notebooks that left the table of contents
        if str(page.relative_to(site)) not in kept and "_static" not in page.parts:
            page.unlink()
    return site / "index.html"


def _lay_out_mathjax(target: Path) -> None:
    """Copy what pages use of MathJax, 2 of the installed package's 24 MB, for the site to ship."""
    for file in metadata.files("sphinx-mathjax-offline"):
        if file.name == "tex-chtml.js" or file.suffix == ".woff":
            _copy_once(file.locate(), target / Path(*file.parts[file.parts.index("mathjax") + 1 :]))


def _copy_once(source: Path, target: Path) -> None:
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def record(profile: str) -> Path:
    """Write what a profile's pages were made from into the record, in place of what was there; return its folder.

    The figures that the README shows go with it.

    Raises
    ------
    MLIError
        A page is missing or was made under another profile.
    """
    pages = {}
    for job in plan(profile):
        name, page, parameters = job.name, job.page, job.parameters
        made = json.loads(page.read_text())["metadata"]["mli"] if page.exists() else {}
        if made.get("profile") != profile or made["parameters"] != parameters:
            raise MLIError(f"no page of {name} under profile {profile}; 'make reproduce PROFILE={profile}' makes it")
        pages[name] = made
    store = settings.store_dir(profile)
    target, readme = settings.record_dir(profile), settings.root() / "README.md"
    target.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".new-") as folder:
        fresh = Path(folder) / profile
        for entry in sorted({entry for made in pages.values() for entry in made["used"]}):
            copy = fresh / f"{entry}.json"
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(store / f"{entry}.json", copy)
        pictures = settings.root() / "book" / "notebooks" / "figures"
        for name in re.findall(rf"results/{profile}/figures/([\w-]+\.png)", readme.read_text()):
            (fresh / "figures").mkdir(exist_ok=True)
            shutil.copyfile(pictures / name, fresh / "figures" / name)
        about = {
            name: {key: made[key] for key in made if key not in ("used", "fingerprint")} for name, made in pages.items()
        }
        (fresh / "about.json").write_text(json.dumps(about, indent=1) + "\n")
        shutil.rmtree(target, ignore_errors=True)
        os.replace(fresh, target)
    return target


def _say(text: str) -> None:
    print(text, flush=True)
