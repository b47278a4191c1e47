"""Parameters that a notebook keeps together as `networks = dict(…)`, and what a page's fingerprint depends on."""

import dataclasses
import shutil

import nbformat
import pytest
import yaml
from conftest import PROJECT, notebook, small_book

from mli_utils.book import command, jobs
from mli_utils.claims import sources
from mli_utils.core.config import InputError

NETWORKS = 'dict(dataset="digits", n_train=None, depth=10, width=2**6, bias=["none", "all"], init_scale=(1.0, 0.5))'


@pytest.fixture
def root(tmp_path, monkeypatch):
    text = notebook("print(networks, seeds)", networks=NETWORKS, seeds=10, alphas="networks['depth'] + 1")
    root = small_book(tmp_path / "book", **{"01_plain": text})
    monkeypatch.setenv("MLI_ROOT", str(root))
    monkeypatch.setenv("MLI_DEVICE", "cpu")
    return root


def test_flat_names_reach_into_networks(root):
    known, networks = jobs._known_parameters(sources.read_notebook("01_plain"))
    own = {"dataset": "digits", "n_train": None, "depth": 10, "width": 64, "bias": ["none", "all"]}
    assert networks == own | {"init_scale": [1.0, 0.5]}
    assert known == {"seeds": 10, "alphas": 11, **networks}
    (job,) = jobs.plan("smoke", changes=["depth=3", "bias=all", "seeds=2"])
    assert job.parameters == {"depth": 3, "bias": ["all"], "seeds": 2}
    assert job.injected() == {"seeds": 2, "networks": {**networks, "depth": 3, "bias": ["all"]}}
    (job,) = jobs.plan("smoke", changes=["seeds=2"])
    assert job.injected() == {"seeds": 2}


def test_a_profile_reaches_into_networks_and_parameters_come_on_top(root):
    (root / "profiles" / "smoke.yml").write_text(yaml.safe_dump({"01_plain": {"depth": 4, "width": 8}}))
    (job,) = jobs.plan("smoke", changes=["depth=5"])
    assert job.parameters == {"depth": 5, "width": 8}
    assert job.injected()["networks"] == {**job.networks, "depth": 5, "width": 8}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("detph=3", "unknown parameter 'detph' (did you mean 'depth'?); known: "),
        ("networks={depth: 3}", "unknown parameter 'networks'"),
        ("depth=deep", "01_plain: depth='deep' is not allowed; allowed: a whole number, such as 10"),
        ("depth=0", "01_plain: depth=0 is not allowed; allowed: from 1 to 1000"),
        ("bias=[some]", "'some'"),
        ("n_train=2000", "n_train=2000 is not allowed; allowed: from 1 to 1400"),
    ],
)
def test_what_networks_may_not_be_is_refused_before_anything_runs(root, change, said):
    with pytest.raises(InputError) as raised:
        jobs.plan("smoke", changes=[change])
    assert said in str(raised.value)


def test_the_notebook_gets_its_networks_whole(root, unrendered, monkeypatch):
    monkeypatch.setattr(command.site, "render", lambda book: root)
    assert command.main(["reproduce", "--profile", "smoke", "-p", "depth=3", "seeds=2"]) == 0
    page = nbformat.read(root / "book" / "notebooks" / "01_plain.ipynb", as_version=4)
    (said,) = [output.text for cell in page.cells for output in cell.get("outputs", ())]
    changed = {"dataset": "digits", "n_train": None, "depth": 3, "width": 64, "bias": ["none", "all"]}
    assert said == f"{changed | {'init_scale': [1.0, 0.5]}} 2\n"
    assert page.metadata["mli"]["parameters"] == {"depth": 3, "seeds": 2}


def test_parameters_stand_beside_commands_and_types(root):
    path = root / "notebooks" / "01_plain.ipynb"
    made = nbformat.read(path, as_version=4)
    made.cells[1].source = "%matplotlib inline\nwidth: int = 64\nnetworks: dict = dict(depth=2)\nother: int"
    nbformat.write(made, path)
    (job,) = jobs.plan("smoke", changes=["width=32", "depth=3"])
    assert job.injected() == {"width": 32, "networks": {"depth": 3}}


def test_a_page_depends_on_what_computes_and_draws_it(tmp_path, monkeypatch):
    package = tmp_path / "mli_utils"
    shutil.copytree(PROJECT / "mli_utils", package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(jobs, "__file__", str(package / "book" / "jobs.py"))
    monkeypatch.setenv("MLI_ROOT", str(PROJECT))
    monkeypatch.setenv("MLI_DEVICE", "cpu")
    job = jobs.Job("05_bias_ablation", "small", {}, {})
    before, depends = job.fingerprint(), set()
    for path in sorted(package.rglob("*.py")):
        good = path.read_bytes()
        path.write_bytes(good + b"\n")
        if job.fingerprint() != before:
            depends.add(str(path.relative_to(package)))
        path.write_bytes(good)
    assert job.fingerprint() == before
    folders = ("core", "runs", "figures", "claims")
    expected = {str(path.relative_to(package)) for folder in folders for path in (package / folder).glob("*.py")}
    assert depends == expected | {"sections/bias_ablation.py", "book/pages.py"}
    for changes in ({"parameters": {"seeds": 3}}, {"profile": "medium"}, {"name": "06_depth_and_scale"}):
        assert dataclasses.replace(job, **changes).fingerprint() != before
    (package / "runs" / "more.py").write_text("more = 1\n")
    assert job.fingerprint() != before
