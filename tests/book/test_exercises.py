"""Exercises of every section have solutions that run: under smoke, after all cells of their notebook."""

import ast
import re
import shutil

import nbformat
import pytest
from conftest import PROJECT, run_pages

NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))
EXERCISE = re.compile(r"^(:{3,})\{exercise\} *([^\n]*)\n((?::\w+:[^\n]*\n)*)(.*?)^\1 *$", re.M | re.S)
SOLUTION = re.compile(r"^(:{3,})\{solution\} *(\S+)\n((?::\w+:[^\n]*\n)*)(.*?)^\1 *$", re.M | re.S)
PYTHON = re.compile(r"^```(?:\{code-block\} )?python\n(.*?)^```$", re.M | re.S)
SECONDS = 300  # at most, for a notebook and its solutions under smoke


def prose(path):
    """The Markdown of a notebook."""
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def solutions(said):
    """The Python of each solution, by the label of its exercise."""
    return {label: "\n".join(PYTHON.findall(body)) for _, label, _, body in SOLUTION.findall(said)}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_section_has_two_or_three_exercises_with_folded_solutions(path):
    said = prose(path)
    labels = [re.search(r"^:label: (\S+)$", options, re.M)[1] for _, _, options, _ in EXERCISE.findall(said)]
    titles = [title for _, title, _, _ in EXERCISE.findall(said)]
    assert 2 <= len(labels) <= 3 and all(titles)
    assert all(re.fullmatch(f"ex-{path.stem[:2]}-[1-3]", label) for label in labels), labels
    assert [label for _, label, _, _ in SOLUTION.findall(said)] == labels
    assert all(":class: dropdown\n" in options for _, _, options, _ in SOLUTION.findall(said))


@pytest.fixture(scope="module")
def solved(reproduced, tmp_path_factory):
    """A copy of the project that ran every notebook with its solutions as last cells, and what that said."""
    root = tmp_path_factory.mktemp("solved") / "root"
    shutil.copytree(reproduced[0], root, ignore=shutil.ignore_patterns("_build"))
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        notebook.cells += map(nbformat.v4.new_code_cell, solutions(prose(path)).values())
        nbformat.write(notebook, root / "notebooks" / path.name)
    done = run_pages(root, "smoke", MLI_MODE="reproduce")
    return root, done.stdout + done.stderr


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_solution_runs(path, solved):
    answers = solutions(prose(path))
    for label, code in answers.items():
        last = ast.parse(code).body[-1]
        printed = isinstance(last, ast.Expr) and ast.unparse(last).startswith("print(")
        assert isinstance(last, ast.Assert) or printed, f"{label}: ends neither in an assert nor in a print"
    root, said = solved
    assert re.search(rf"^{path.stem}: \d+ s$", said, re.M), said
    page = nbformat.read(root / "book" / "notebooks" / path.name, as_version=4)
    ran = page.cells[-1].source  # the code of the page
    assert all(code.strip() in ran for code in answers.values())
    assert page.metadata["mli"]["seconds"] < SECONDS
