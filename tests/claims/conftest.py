"""A small book of two sections and four claims."""

import json

import pytest
import yaml

from mli_utils.claims import statements

LONGER = {
    "id": "longer",
    "section": "05_some",
    "source": "abstract",
    "cite": "wang2023",
    "statement": "It is longer.",
    "quantity": "difference (α)",
    "predicate": "above 0",
    "can fail": "it is shorter",
    "over": "mean",
    "cluster": "seed",
    "range": "any",
    "figure": "some-figure",
}
MOSTLY = LONGER | {
    "id": "mostly",
    "over": "share",
    "range": "0 to 1",
    "predicate": "above 0.5",
    "remark": "Few runs say little.",
}
ORDERED = LONGER | {"id": "ordered", "over": "estimate", "range": "-1 to 1", "section": "06_other"}
SOLVED = {key: value for key, value in LONGER.items() if key != "cite"} | {
    "id": "solved",
    "source": "ours",
    "over": "exact",
    "cluster": "none",
    "predicate": "between 1 and 2",
    "section": "06_other",
}


@pytest.fixture
def book(tmp_path):
    """Write a small book's claims; called with others, it writes those."""
    root = tmp_path / "root"
    for folder in ("book/notebooks", "notebooks"):
        (root / folder).mkdir(parents=True)
    files = [{"file": f"notebooks/{name}"} for name in ("05_some", "06_other")]
    (root / "book" / "_toc.yml").write_text(yaml.safe_dump({"root": "index", "chapters": files}))
    (root / "book" / "references.bib").write_text("@misc{wang2023,\n  title = {T},\n}\n")
    for name in ("05_some", "06_other"):
        cell = {"cell_type": "markdown", "source": [":::{glue:figure} some-figure\n", "A caption.\n", ":::"]}
        (root / "notebooks" / f"{name}.ipynb").write_text(json.dumps({"cells": [cell]}))

    def write(*entries):
        text = entries[0] if isinstance(entries[0], str) else yaml.safe_dump(list(entries))
        (root / statements.FILE).write_text(text)
        return root

    write(LONGER, MOSTLY, ORDERED, SOLVED)
    return write


@pytest.fixture
def measured(book, monkeypatch):
    """A book of which section 05 has a page, made under `small`."""
    judged = {"value": 1.0, "low": 0.8, "high": 1.2, "n": 9, "p": 0.001, "left_out": 1, "tolerances": {"0.05": "holds"}}
    about = {
        "profile": "small",
        "first_run": "2026-02-01T00:00:00+00:00",
        "claims": [
            {"id": "longer", "verdict": "holds", **judged},
            {"id": "mostly", "verdict": "undecided", **judged, "n": 2, "p": None, "tolerances": {}},
        ],
    }
    page = book(LONGER, MOSTLY, ORDERED, SOLVED) / "book" / "notebooks" / "05_some.ipynb"
    page.write_text(json.dumps({"metadata": {"mli": about}}))
    monkeypatch.setenv("MLI_MODE", "reproduce")
    return book
