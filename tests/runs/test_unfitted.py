"""Pages stand where runs do not fit: tables keep their rows, figures say what is missing, claims are undecided."""

import warnings

import nbformat
import pytest
import yaml
from conftest import PROJECT, copy_project

from mli_utils.claims import sources
from mli_utils.core import training
from mli_utils.runs import settings

TRAINING = [
    path.stem
    for path in sorted((PROJECT / "notebooks").glob("*.ipynb"))
    if "mli.train" in path.read_text(encoding="utf-8")
]
QUICK = {"epochs": 1, "n_train": 30, "seeds": 3}


def run_cells(section):
    """A notebook's code, in this process, with smoke's parameters and hardly any training; its variables."""
    given = yaml.safe_load((PROJECT / "profiles" / "smoke.yml").read_text(encoding="utf-8"))[section]
    given |= {name: QUICK[name] for name in QUICK.keys() & given.keys()}
    trained = [name for name, value in given.items() if isinstance(value, dict) and "epochs" in value]
    given |= {name: given[name] | {"epochs": 1} for name in trained}
    variables = {}
    for cell in nbformat.read(sources.source(section), as_version=4).cells:
        if cell.cell_type == "code":
            exec(cell.source, variables)
            if "parameters" in cell.metadata.get("tags", []):
                networks = variables.get("networks", {})
                networks |= {name: given[name] for name in networks.keys() & given.keys()}
                variables |= {name: value for name, value in given.items() if name not in networks}
    return variables


@pytest.fixture
def judged(tmp_path, monkeypatch, shown):
    """Run a section's cells; what they judged of its claims."""
    monkeypatch.setenv("MLI_ROOT", str(copy_project(tmp_path / "root")))

    def run(section):
        monkeypatch.setenv("MLI_SECTION", section)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # means over nothing
            run_cells(section)
        marks = [metadata[settings.FIGURE_MARK] for _, metadata in shown if settings.FIGURE_MARK in metadata]
        return {claim["id"]: claim for mark in marks for claim in mark.get("claims", ())}

    return run


@pytest.mark.parametrize("section", TRAINING)
def test_where_nothing_fits(section, judged, monkeypatch):
    monkeypatch.setattr(training, "FITTED_ERROR", -1.0)
    found = judged(section)
    assert found and all(claim["verdict"] == "undecided" and claim["n"] == 0 for claim in found.values())
    assert all(claim["left_out"] for claim in found.values())


@pytest.mark.parametrize("section", TRAINING)
def test_where_few_fit(section, judged, monkeypatch):
    whole = training.summarize

    def only_some(*run):
        summary = whole(*run)
        return {**summary, "status": "unfitted" if summary["output_bias"] is None else "fitted"}

    monkeypatch.setattr(training, "summarize", only_some)
    found = judged(section)
    assert any(claim["n"] for claim in found.values())  # of the networks that did fit
    compared = {
        "biases-make-the-error-plateau",
        "loss-plateau-needs-no-bias",
        "depth-acts-through-the-bias",
        "practical-plateau-needs-the-bias",
    }  # with networks that did not
    assert all(found[name]["n"] == 0 and found[name]["verdict"] == "undecided" for name in compared & found.keys())
