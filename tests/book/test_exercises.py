"""Exercises of every section have folded solutions. `runs/test_cluster.py` runs them."""

import re

import pytest
from conftest import NOTEBOOKS, SOLUTION, prose

EXERCISE = re.compile(r"^(:{3,})\{exercise\} *([^\n]*)\n((?::\w+:[^\n]*\n)*)(.*?)^\1 *$", re.M | re.S)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_section_has_two_or_three_exercises_with_folded_solutions(path):
    said = prose(path)
    labels = [re.search(r"^:label: (\S+)$", options, re.M)[1] for _, _, options, _ in EXERCISE.findall(said)]
    titles = [title for _, title, _, _ in EXERCISE.findall(said)]
    assert 2 <= len(labels) <= 3 and all(titles)
    assert all(re.fullmatch(f"ex-{path.stem[:2]}-[1-3]", label) for label in labels), labels
    assert [label for _, label, _, _ in SOLUTION.findall(said)] == labels
    assert all(":class: dropdown\n" in options for _, _, options, _ in SOLUTION.findall(said))
