"""What tests share: a store of their own, a small run, a copy of the project to reproduce in."""

import shutil
from pathlib import Path

import pytest

import mli_utils as mli

PROJECT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def own_places(tmp_path, monkeypatch):
    """No test reads or writes the project's own store, record, figures or data."""
    for name in ("DATA_DIR", "DEVICE", "MODE", "PROFILE", "SCHEDULER", "SECTION", "USED"):
        monkeypatch.delenv(f"MLI_{name}", raising=False)
    monkeypatch.setenv("MLI_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("MLI_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("MLI_FIGURES", str(tmp_path / "figures"))
    monkeypatch.setenv("MLI_PROGRESS", "0")


@pytest.fixture
def small():
    """The fields of a run that fits 100 digits in a second."""
    return dict(depth=3, width=16, init_scale=1.0, lr=0.1, n_train=100, epochs=100)


@pytest.fixture
def small_config(small):
    return mli.RunConfig(**small)


def copy_project(target: Path) -> Path:
    """The committed sources that a reproduction reads, in a folder of their own."""
    target.mkdir(parents=True)
    ignored = shutil.ignore_patterns("figures", ".ipynb_checkpoints")
    shutil.copytree(PROJECT / "notebooks", target / "notebooks", ignore=ignored)
    shutil.copytree(PROJECT / "book", target / "book", ignore=shutil.ignore_patterns("notebooks"))
    shutil.copytree(PROJECT / "profiles", target / "profiles")
    (target / "results").mkdir()
    if (PROJECT / "results" / "bench.json").exists():
        shutil.copy(PROJECT / "results" / "bench.json", target / "results")
    for name in ("_config.yml", "requirements.lock", "README.md"):
        shutil.copy(PROJECT / name, target / name)
    return target
