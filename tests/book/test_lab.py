"""`make lab`: notebooks as they are written run from the record in seconds, and an edit trains only what is new."""

import json
import shutil

import nbformat
import pytest
import yaml
from conftest import PROJECT, copy_project

from mli_utils.book import jobs, runner
from mli_utils.claims import sources

SECONDS = 120  # a notebook, on a busy machine; alone it takes a tenth of that


@pytest.fixture
def in_lab(forked, monkeypatch):
    """Runs notebooks in kernels whose environment is that of `make lab`, with the parameters that they have."""

    def run(root, sections, store):
        for name, value in (("ROOT", root), ("STORE", store), ("DEVICE", "cpu")):
            monkeypatch.setenv(f"MLI_{name}", str(value))
        runner.run([job for job in jobs.plan("small") if job.name in sections], 2)
        return {name: sources.about(name) for name in sections}

    return run


def test_every_recorded_notebook_runs_from_the_record(tmp_path, in_lab):
    record = PROJECT / "results" / "small"
    if not (record / "about.json").exists():
        pytest.skip("there is no record of the profile small")
    root = copy_project(tmp_path / "root")
    shutil.copytree(record, root / "results" / "small")
    in_record = {path.stem for path in (PROJECT / "notebooks").glob("*.ipynb")} & set(
        json.loads((record / "about.json").read_text(encoding="utf-8"))
    )
    made = in_lab(root, in_record, tmp_path / "store")
    assert len(made) > 5
    assert not list((tmp_path / "store").rglob("runs/*.json")), "something was trained that the record has"
    for name, about in made.items():
        assert about["mode"] == "lab" and not about["parameters"] and about["seconds"] < SECONDS, name


def test_after_an_edit_only_new_runs_train(reproduced, tmp_path, in_lab):
    root = tmp_path / "edited"
    shutil.copytree(reproduced[0], root, ignore=shutil.ignore_patterns("_build"))
    store = root / "build" / "smoke" / "store"
    before = {path: path.stat().st_mtime_ns for path in store.glob("runs/*.json")}
    given = yaml.safe_load((root / "profiles" / "smoke.yml").read_text(encoding="utf-8"))["01_introduction"]
    source = root / "notebooks" / "01_introduction.ipynb"
    notebook = nbformat.read(source, as_version=4)
    cell = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    edited = {**given, "seeds": given["seeds"] + 1}
    _, networks = jobs._known_parameters(notebook)
    apart = {name: value for name, value in edited.items() if name not in networks}
    fields = {name: value for name, value in edited.items() if name in networks}
    cell.source += "".join(f"\n{name} = {value!r}" for name, value in apart.items()) + f"\nnetworks |= {fields!r}"
    nbformat.write(notebook, source)
    in_lab(root, ["01_introduction"], store)
    after = {path: path.stat().st_mtime_ns for path in store.glob("runs/*.json")}
    new = [json.loads(path.read_text(encoding="utf-8"))["key"]["config"] for path in after.keys() - before.keys()]
    assert [config["seed"] for config in new] == [200 + given["seeds"]] * 2  # the shallow network and the deep one
    assert all(after[path] == when for path, when in before.items())
