"""What tests share: a store of their own, a small run, a copy of the project to reproduce in."""

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import nbformat
import numpy as np
import pytest
import yaml
from filelock import FileLock

# Processes that test side by side share the cores; otherwise their threads wait for each other as long as they work.
if count := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(count))))

import mli_utils  # noqa: E402
from mli_utils.book import ahead, runner  # noqa: E402
from mli_utils.core import config  # noqa: E402

PROJECT = Path(__file__).parent.parent


SLOWEST = ("test_cluster", "test_reproduce", "test_site")


def pytest_collection_modifyitems(items):
    """Begin with the files that take longest, so that no process tests alone at the end."""
    items.sort(key=lambda item: item.path.stem not in SLOWEST)


@pytest.fixture(autouse=True)
def own_places(tmp_path, monkeypatch):
    """No test reads or writes the project's own store, record, figures or data."""
    for name in ("CHECKPOINT", "DATA_DIR", "DEVICE", "MODE", "PROFILE", "SCHEDULER", "SECTION", "USED"):
        monkeypatch.delenv(f"MLI_{name}", raising=False)
    monkeypatch.setenv("MLI_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("MLI_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("MLI_FIGURES", str(tmp_path / "figures"))
    monkeypatch.setenv("MLI_PROGRESS", "0")


@pytest.fixture(autouse=True)
def no_open_figures():
    """No test leaves figures open; matplotlib warns of the twentieth."""
    yield
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")


@pytest.fixture
def shown(monkeypatch):
    """What is displayed, as (data, metadata)."""
    import IPython.display

    seen = []
    monkeypatch.setattr(
        IPython.display, "display", lambda data, raw=False, metadata=None: seen.append((data, metadata or {}))
    )
    return seen


@pytest.fixture
def small():
    """The fields of a run that fits 100 digits in a second."""
    return dict(depth=3, width=16, init_scale=1.0, lr=0.1, n_train=100, epochs=100)


@pytest.fixture
def small_config(small):
    return mli_utils.RunConfig(**small)


def copy_project(target: Path) -> Path:
    """The committed sources that a reproduction reads, in a folder of their own."""
    target.mkdir(parents=True)
    ignored = shutil.ignore_patterns("figures", ".ipynb_checkpoints")
    shutil.copytree(PROJECT / "notebooks", target / "notebooks", ignore=ignored)
    shutil.copytree(PROJECT / "book", target / "book", ignore=shutil.ignore_patterns("notebooks", "made"))
    shutil.copytree(PROJECT / "profiles", target / "profiles")
    (target / "results").mkdir()
    if (PROJECT / "results" / "bench.json").exists():
        shutil.copy(PROJECT / "results" / "bench.json", target / "results")
    for name in ("_config.yml", "requirements.lock", "README.md", "CITATION.cff"):
        shutil.copy(PROJECT / name, target / name)
    return target


@pytest.fixture
def tiny_mnist(monkeypatch):
    """The arrays of an archive with MNIST's shapes and a few random images; the package expects so many."""
    generator = np.random.default_rng(0)
    arrays = {"classes": np.array([str(digit) for digit in range(10)])}
    for split, count in (("train", 60), ("test", 20)):
        arrays[f"{split}_images"] = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(count) % 10
    monkeypatch.setitem(config.DATASETS, "mnist", dataclasses.replace(config.DATASETS["mnist"], train=60, test=20))
    return arrays


def environment(**changes: str | None) -> dict[str, str]:
    """The variables of a process that takes the package from here; None takes one away."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLI_")}
    changed = {**kept, "PYTHONPATH": str(PROJECT), "MLI_DEVICE": "cpu", **changes}
    return {name: value for name, value in changed.items() if value is not None}


def mli(root, *arguments, cwd=None, **changes):
    """Run a command on the project in `root`, or on none, in a process of its own."""
    command = [sys.executable, "-m", "mli_utils", *arguments]
    given = environment(**{"MLI_ROOT": root and str(root), **changes})
    return subprocess.run(command, env=given, cwd=cwd, capture_output=True, encoding="utf-8", errors="replace")


RUN = """
import sys
from mli_utils.book import jobs, runner
from mli_utils.claims import ledger
profile, *sections = sys.argv[1:]
runner.run([job for job in jobs.plan(profile) if not sections or job.name in sections], 2)
ledger.write(profile)
"""


def run_pages(root, profile, *sections, **changes):
    """Run notebooks, all or some, in a process of its own that renders no site."""
    command, given = [sys.executable, "-c", RUN, profile, *sections], environment(MLI_ROOT=str(root), **changes)
    return subprocess.run(command, env=given, cwd=root, capture_output=True, encoding="utf-8")


def notebook(*cells: str | nbformat.NotebookNode, **parameters) -> str:
    """The text of a notebook: a heading, a cell of parameters, and these cells; texts are code."""
    given = nbformat.v4.new_code_cell("".join(f"{name} = {value}\n" for name, value in parameters.items()))
    given.metadata["tags"] = ["parameters"]
    heading = nbformat.v4.new_markdown_cell("# A section\n\nIts text.")
    made = [nbformat.v4.new_code_cell(cell) if isinstance(cell, str) else cell for cell in cells]
    return nbformat.writes(nbformat.v4.new_notebook(cells=[heading, given, *made]))


NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))
SOLUTION = re.compile(r"^(:{3,})\{solution\} *(\S+)\n((?::\w+:[^\n]*\n)*)(.*?)^\1 *$", re.M | re.S)
PYTHON = re.compile(r"^```(?:\{code-block\} )?python\n(.*?)^```$", re.M | re.S)


def prose(path: Path) -> str:
    """The Markdown of a page or a notebook."""
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def solutions(path: Path) -> dict[str, str]:
    """The Python of each solution of a notebook, by the label of its exercise."""
    return {label: "\n".join(PYTHON.findall(body)) for _, label, _, body in SOLUTION.findall(prose(path))}


ALT = "What is seen in this figure, in plain words and more than forty letters."


def caption(name: str, text: str = "A caption.", alt: str = ALT) -> nbformat.NotebookNode:
    """A cell of prose with the figure of this name in it."""
    options = f":name: {name}\n" + (f":alt: {alt}\n" if alt else "")
    return nbformat.v4.new_markdown_cell(f"Before it.\n\n:::{{glue:figure}} {name}\n{options}{text}\n:::\n\nAfter it.")


def small_book(root: Path, **sections: str) -> Path:
    """A book of a few pages and no claims: the text of each notebook by its name."""
    for folder in ("book", "notebooks", "profiles", "results"):
        (root / folder).mkdir(parents=True)
    for name, text in sections.items():
        (root / "notebooks" / f"{name}.ipynb").write_text(text, encoding="utf-8")
    chapters = [{"file": f"notebooks/{name}"} for name in sections]
    toc = {"format": "jb-book", "root": "index", "chapters": [*chapters, {"file": "choices"}]}
    for name, value in (
        ("book/_toc.yml", toc),
        ("book/claims.yml", []),
        ("profiles/smoke.yml", {}),
    ):
        (root / name).write_text(yaml.safe_dump(value), encoding="utf-8")
    shutil.copy(PROJECT / "_config.yml", root)
    shutil.copytree(PROJECT / "book" / "_static", root / "book" / "_static")
    (root / "README.md").write_text("# A small book\n", encoding="utf-8")
    (root / "book" / "index.md").write_text("# A small book\n", encoding="utf-8")
    (root / "book" / "choices.md").write_text("# Choices\n\nWhat was chosen.\n", encoding="utf-8")
    (root / "book" / "references.bib").write_text("", encoding="utf-8")
    return root


@pytest.fixture(scope="session")
def loader():
    """The process from which all tests of this process fork kernels: it takes four seconds to load."""
    with runner._loader(1, ()) as loader:
        yield loader


@pytest.fixture
def forked(loader, monkeypatch):
    """Notebooks run by this process, in kernels forked from there."""
    monkeypatch.setattr(runner, "_loader", lambda *_: nullcontext(loader))


@pytest.fixture
def unrendered(forked, monkeypatch):
    """Commands of this process run notebooks, and would fail if they rendered a site."""
    monkeypatch.setattr(ahead.JupyterBook, "start", lambda book: None)


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory, worker_id):
    """A project that has been reproduced under smoke, and what that said; once for all processes that test."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "project"
    root, said = folder / "root", folder / "said"
    with FileLock(folder.with_suffix(".lock")):
        if not said.exists():
            shutil.rmtree(folder, ignore_errors=True)
            copy_project(root)
            done = mli(root, "reproduce", "--profile", "smoke", "--jobs", "2")
            assert done.returncode == 0, done.stdout + done.stderr
            said.write_text(done.stdout, encoding="utf-8")
    return root, said.read_text(encoding="utf-8")
