"""The rules of the house for notebooks and for the package's public face."""

import ast
import re
import subprocess
import sys

import nbformat
import pytest
from conftest import NOTEBOOKS, PROJECT

import mli_utils
from mli_utils.book.pages import FIGURE
from mli_utils.claims import sources

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
SHOWING = ("show", "judge", "glue")
LARGEST_SHARE = 0.25  # of lines of code that only show what others have computed
MOST_CELLS = 5  # of code that a reader sees
MOST_NAMES = 28  # of the public face


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(path):
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def count(lines):
    return sum(bool(line.strip()) for line in lines)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_nothing_is_defined_in_a_notebook(path):
    found = [node for cell in code_cells(path) for node in ast.walk(ast.parse(cell.source))]
    assert not [ast.unparse(node) for node in found if isinstance(node, DEFINITIONS)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_reader_sees_few_cells_of_code(path):
    shown = [
        cell
        for cell in code_cells(path)
        if not {"hide-input", "hide-cell", "parameters"} & set(cell.metadata.get("tags", []))
    ]
    assert len(shown) <= MOST_CELLS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_takes_what_it_alone_needs_from_its_own_module(path):
    """Pages are made again when their own section's module has changed, and no other's."""
    imports = [node for cell in code_cells(path) for node in ast.walk(ast.parse(cell.source))]
    taken = {
        name.name
        for node in imports
        if isinstance(node, ast.ImportFrom) and node.module == "mli_utils.sections"
        for name in node.names
    }
    assert taken <= {path.stem.partition("_")[2]}
    assert not [node for node in imports if isinstance(node, ast.ImportFrom) and "mli_utils.book" in node.module]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_figure_s_words_stand_right_after_the_cell_that_shows_it(path, monkeypatch):
    monkeypatch.setenv("MLI_ROOT", str(PROJECT))
    cells, named = read(path).cells, []
    for before, cell in zip(cells, cells[1:], strict=False):
        figures = FIGURE.findall(cell.source) if cell.cell_type == "markdown" else []
        for _, name, options, caption in figures:
            assert before.cell_type == "code" and f'"{name}"' in before.source, name
            (alt,) = re.findall(r"^:alt: (.*)$", options, re.M)
            assert len(alt) > 40 and "{" not in alt and "TODO" not in alt + caption, name
        named += [name for _, name, _, _ in figures]
    assert named and named == sources.figures(path.stem) and len(set(named)) == len(named)


def test_few_lines_of_code_only_show():
    lines = calls = 0
    for cell in [cell for path in NOTEBOOKS for cell in code_cells(path)]:
        of_cell = cell.source.splitlines()
        lines += count(of_cell)
        for node in ast.parse(cell.source).body:
            called = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
            if called and ast.unparse(node.value.func).split(".")[-1].startswith(SHOWING):
                calls += count(of_cell[node.lineno - 1 : node.end_lineno])
    assert lines and calls / lines <= LARGEST_SHARE


def test_the_public_face_is_small_and_the_stub_says_the_same():
    stub = ast.parse((PROJECT / "mli_utils" / "__init__.pyi").read_text(encoding="utf-8"))
    named = [name for line in stub.body if isinstance(line, ast.ImportFrom) for name in line.names]
    assert all(name.asname == name.name for name in named), "a stub exports only names that it imports as themselves"
    assert sorted(name.name for name in named) == sorted(mli_utils.__all__)
    assert len(mli_utils.__all__) <= MOST_NAMES
    assert set(mli_utils.__all__) <= set(dir(mli_utils))
    for name in mli_utils.__all__:
        assert getattr(mli_utils, name).__name__ == name


def test_what_trains_and_interpolates_loads_no_statistics_and_no_plots():
    """They take longer to load than the networks of a first try to train."""
    names = ["train", "interpolate", "plateau", "interpolate_model", "diagnose", "table", "intervals"]
    code = f"import sys, mli_utils as mli\nfor name in {names}: getattr(mli, name)\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True).stdout
    assert not {"scipy.stats", "scipy.integrate", "scipy.optimize", "seaborn", "matplotlib.pyplot"} & {*loaded.split()}
