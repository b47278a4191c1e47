"""Exercises of every section have solutions that run: under smoke, after all cells of their notebook."""

import ast
import os
import re
import shutil
import subprocess
import sys

import nbformat
import pytest
from conftest import PROJECT

from mli_utils.book import jobs
from mli_utils.runs import settings

NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))
EXERCISE = re.compile(r"^(:{3,})\{exercise\} *([^\n]*)\n((?::\w+:[^\n]*\n)*)(.*?)^\1 *$", re.M | re.S)
SOLUTION = re.compile(r"^(:{3,})\{solution\} *(\S+)\n((?::\w+:[^\n]*\n)*)(.*?)^\1 *$", re.M | re.S)
PYTHON = re.compile(r"^```(?:\{code-block\} )?python\n(.*?)^```$", re.M | re.S)
SECONDS = 300  # at most, for a notebook and its solutions under smoke
BEGIN = """
import matplotlib
matplotlib.use("agg")
"""


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


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_solution_runs(path, reproduced, tmp_path, monkeypatch):
    answers = solutions(prose(path))
    for label, code in answers.items():
        last = ast.parse(code).body[-1]
        printed = isinstance(last, ast.Expr) and ast.unparse(last).startswith("print(")
        assert isinstance(last, ast.Assert) or printed, f"{label}: ends neither in an assert nor in a print"
    root = reproduced[0]
    monkeypatch.setenv("MLI_ROOT", str(root))
    shutil.copytree(root / "build" / "smoke" / "store", settings.store_dir("smoke"))  # solutions compute more
    (job,) = [job for job in jobs.plan("smoke") if job.name == path.stem]
    parts = [BEGIN]
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            parts.append(cell.source)
            if "parameters" in cell.metadata.get("tags", []):
                parts += [f"{name} = {value!r}" for name, value in job.injected().items()]
    script = tmp_path / f"{path.stem}.py"
    script.write_text("\n".join([*parts, *answers.values()]), encoding="utf-8")
    environment = {
        **os.environ,
        "PYTHONPATH": settings.python_path(),
        "MLI_PROFILE": "smoke",
        "MLI_MODE": "reproduce",
        "MLI_SECTION": path.stem,
        "MLI_DEVICE": "cpu",
    }
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=root / "notebooks",
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr[-3000:]
