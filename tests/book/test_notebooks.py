"""The committed notebooks are sources: no outputs, no traces of a machine, parameters in one place."""

import nbformat
import pytest
import yaml
from conftest import NOTEBOOKS, PROJECT

from mli_utils.claims.sources import sections


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def test_it_holds_no_outputs_and_no_path_of_a_machine(notebook):
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs") and cell.get("execution_count") is None
        for trace in ("/home/", "/work/", "/tmp/", "/root/", "/Users/", "C:\\"):
            assert trace not in cell.source


def test_it_has_one_cell_of_parameters(notebook):
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in notebook.cells) == 1


def test_a_cell_shows_at_most_one_figure(notebook):
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert any("mli.show(" in cell for cell in code) and all(cell.count("mli.show(") <= 1 for cell in code)


def test_every_notebook_is_in_the_book_and_in_every_profile(monkeypatch):
    monkeypatch.setenv("MLI_ROOT", str(PROJECT))
    assert sections() == [path.stem for path in NOTEBOOKS]
    for profile in (PROJECT / "profiles").glob("*.yml"):
        assert list(yaml.safe_load(profile.read_text(encoding="utf-8"))) == sections(), profile.name


def test_the_defaults_are_the_small_profile_s():
    small = yaml.safe_load((PROJECT / "profiles" / "small.yml").read_text(encoding="utf-8"))
    assert not any(small.values())
