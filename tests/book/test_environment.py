"""pyproject.toml, requirements.lock, environment.yml and MANIFEST.in say the same."""

import subprocess
import tomllib

import pytest
import yaml
from conftest import PROJECT
from packaging.markers import default_environment
from packaging.requirements import Requirement

ASKED_FOR = {"torch", "torchvision", "jupyter-book", "papermill", "seaborn", "pandas"}


def lines(text):
    return [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]


@pytest.fixture(scope="module")
def locked():
    """Every requirement of the lock."""
    return [Requirement(line) for line in lines((PROJECT / "requirements.lock").read_text(encoding="utf-8"))]


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_lock_is_exact_and_names_no_index(locked):
    assert len(locked) > 100
    for requirement in locked:
        (pin,) = requirement.specifier
        assert pin.operator == "==" and "*" not in pin.version and requirement.url is None
    text = (PROJECT / "requirements.lock").read_text(encoding="utf-8")
    assert "://" not in text and "--index" not in text and "--find-links" not in text


def test_the_lock_has_what_the_project_asks_for(locked, project):
    asked = [Requirement(line) for line in project["dependencies"]]
    extras = project["optional-dependencies"]
    asked += [Requirement(line) for extra in extras.values() for line in extra]
    own = [requirement for requirement in asked if requirement.name == project["name"]]  # an extra with others in it
    assert all(requirement.extras <= extras.keys() for requirement in own)
    asked = [requirement for requirement in asked if requirement not in own]
    assert {requirement.name for requirement in asked} >= ASKED_FOR
    for version in ("3.11", "3.12", "3.13"):
        environment = {**default_environment(), "python_version": version, "python_full_version": f"{version}.0"}
        pins = {pin.name: pin for pin in locked if pin.marker is None or pin.marker.evaluate(environment)}
        for requirement in asked:
            (pin,) = pins[requirement.name.lower()].specifier
            assert pin.version in requirement.specifier, f"{requirement} is locked to {pin.version}"


def test_conda_gets_the_same_versions_through_pip(locked, project):
    environment = yaml.safe_load((PROJECT / "environment.yml").read_text(encoding="utf-8"))
    python = next(item for item in environment["dependencies"] if str(item).startswith("python="))
    assert python.removeprefix("python=") in Requirement(f"python{project['requires-python']}").specifier
    (through_pip,) = [item["pip"] for item in environment["dependencies"] if isinstance(item, dict)]
    assert "-r requirements.lock" in through_pip and "-e ." in through_pip
    named = [Requirement(line) for line in through_pip if not line.startswith("-")]
    assert {requirement.name for requirement in named} == ASKED_FOR
    pins = {pin.name: pin.specifier for pin in locked}
    assert all(requirement.specifier == pins[requirement.name] for requirement in named)


def test_the_source_distribution_holds_what_a_checkout_holds():
    manifest = lines((PROJECT / "MANIFEST.in").read_text(encoding="utf-8"))
    grafted = tuple(f"{line.split()[1]}/" for line in manifest if line.startswith("graft "))
    included = {name for line in manifest if line.startswith("include ") for name in line.split()[1:]}
    tracked = subprocess.run(["git", "-C", PROJECT, "ls-files"], capture_output=True, encoding="utf-8").stdout.split()
    if not tracked:
        pytest.skip("no checkout")
    own = ("mli_utils/", "pyproject.toml", "MANIFEST.in", ".git", ".pre-commit")  # in it anyway, or of a repository
    left_out = [name for name in tracked if not name.startswith((*grafted, *own)) and name not in included]
    assert not left_out
