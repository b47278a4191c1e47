"""`make record SECTION=`: one section's part of a record is replaced, and everything else stays."""

import json
import re
import shutil

import numpy as np
import pytest
import yaml
from conftest import caption, notebook, small_book
from PIL import Image

from mli_utils.book import command, jobs, record, runner
from mli_utils.claims import statements
from mli_utils.core.config import MLIError
from mli_utils.runs import record as tables
from mli_utils.runs.record import DamagedRecord
from mli_utils.runs.store import Store

PAGE = """
import mli_utils as mli, pandas as pd
from matplotlib import pyplot as plt
runs = mli.train(mli.grid(depth=2, width=4, n_train=20, epochs=1, seed=range(seeds)))
figure, axes = plt.subplots()
axes.plot([0, seeds])
mli.show(figure, "NAME-figure", pd.DataFrame({"x": [0, seeds]}), runs)
mli.judge({"NAME-claim": seeds})
"""


def claim(name, section):
    words = dict(source="ours", statement="Something.", quantity="a count", predicate="above 1", over="exact")
    words |= {"can fail": "It is one.", "cluster": "none", "range": "any"}
    return {"id": f"{name}-claim", "section": section, "figure": f"{name}-figure", **words}


@pytest.fixture
def book(tmp_path, monkeypatch, forked):
    """A book of two sections that share their first run, with a figure of each in the README."""
    names = {"first": "01_first", "second": "02_second"}
    texts = {
        section: notebook(PAGE.replace("NAME", name), caption(f"{name}-figure"), seeds=1 + i)
        for i, (name, section) in enumerate(names.items())
    }
    root = small_book(tmp_path / "book", **texts)
    (root / statements.FILE).write_text(yaml.safe_dump([claim(*item) for item in names.items()]))
    (root / "README.md").write_text("".join(f"![](results/smoke/figures/{name}-figure.png)\n" for name in names))
    monkeypatch.setenv("MLI_ROOT", str(root))
    monkeypatch.setenv("MLI_MODE", "reproduce")
    monkeypatch.setenv("MLI_DEVICE", "cpu")
    return root


def reproduce(root, section="", **seeds):
    """Run the pages of a section with these parameters."""
    given = {name: {"seeds": number} for name, number in seeds.items()}
    (root / "profiles" / "smoke.yml").write_text(
        yaml.safe_dump({f"0{1 + (n == 'second')}_{n}": given[n] for n in given})
    )
    runner.run(jobs.plan("smoke", section))


def kept(root):
    """Of the record: whose runs it has by seed, claims by id, seconds by page, and the bytes of its figures."""
    folder = root / "results" / "smoke"
    found = tables.Record(folder, strict=True)
    runs = {
        row["key.config.seed"]: row["sections"] for name, row in found.entries().items() if name.startswith("runs/")
    }
    claims = {entry["id"]: entry["value"] for entry in found.json("claims.json")}
    pages = {name: about["parameters"] for name, about in found.json("about.json").items()}
    return runs, claims, pages, {path.stem: path.read_bytes() for path in (folder / "figures").glob("*.png")}


FIRST, SECOND, BOTH = ["01_first"], ["02_second"], ["01_first", "02_second"]


def test_other_sections_keep_their_rows_claims_and_figures(book):
    reproduce(book)
    record.write(jobs.plan("smoke"))
    runs, claims, pages, figures = kept(book)
    assert runs == {0: BOTH, 1: SECOND} and pages == {"01_first": {}, "02_second": {}}
    assert claims == {"first-claim": 1, "second-claim": 2} and figures.keys() == {"first-figure", "second-figure"}
    bodies = {
        name: tables.Record(book / "results" / "smoke").get(name)
        for name in tables.Record(book / "results" / "smoke").entries()
    }

    reproduce(book, first=3, second=4)  # both pages are others now; one goes into the record
    assert command.main(["record", "--profile", "smoke", "--section", "1"]) == 0
    runs, claims, pages, others = kept(book)
    assert runs == {0: BOTH, 1: BOTH, 2: FIRST}
    assert claims == {"first-claim": 3, "second-claim": 2}
    assert pages == {"01_first": {"seeds": 3}, "02_second": {}}
    assert others["second-figure"] == figures["second-figure"] and others["first-figure"] != figures["first-figure"]
    again = tables.Record(book / "results" / "smoke")
    assert all(again.get(name) == body for name, body in bodies.items())

    reproduce(book, "1", first=1, second=4)  # what no page uses any more goes
    record.write(jobs.plan("smoke", "1"))
    assert kept(book)[0] == {0: BOTH, 1: SECOND}

    file = book / "results" / "smoke" / "runs.parquet"  # a damaged record is not continued, but made anew
    good = file.read_bytes()
    file.write_bytes(good[:-1])
    with pytest.raises(DamagedRecord, match="runs.parquet is damaged; 'git checkout"):
        record.write(jobs.plan("smoke", "1"))
    assert file.read_bytes() == good[:-1]
    reproduce(book, first=1, second=4)
    record.write(jobs.plan("smoke"))
    assert kept(book)[:2] == ({0: BOTH, 1: SECOND, 2: SECOND, 3: SECOND}, {"first-claim": 1, "second-claim": 4})


def test_a_recorded_picture_looks_like_its_page_s_and_takes_fewer_bytes(book):
    reproduce(book, "1")
    record.write(jobs.plan("smoke", "1"))
    ours = book / "results" / "smoke" / "figures" / "first-figure.png"
    page = book / "book" / "notebooks" / "figures" / "first-figure.png"
    recorded, shown = (np.asarray(Image.open(path).convert("RGB"), dtype=float) for path in (ours, page))
    assert recorded.shape == shown.shape and np.abs(recorded - shown).max() <= 16, "levels of 255"
    assert ours.stat().st_size < page.stat().st_size / 2


def test_a_record_may_begin_with_one_section(book):
    reproduce(book)
    record.write(jobs.plan("smoke", "2"))
    runs, claims, pages, figures = kept(book)
    assert runs == {0: SECOND, 1: SECOND} and list(pages) == SECOND and list(figures) == ["second-figure"]
    assert claims == {"first-claim": None, "second-claim": 2}
    with pytest.raises(MLIError, match="no page of 01_first under profile smoke; 'make reproduce PROFILE=smoke' makes"):
        (book / "book" / "notebooks" / "01_first.ipynb").unlink()
        record.write(jobs.plan("smoke"))
    assert json.loads((book / "results" / "smoke" / "about.json").read_text()).keys() == set(SECOND)


def test_a_picture_that_its_section_no_longer_makes_is_not_kept(book):
    reproduce(book)
    record.write(jobs.plan("smoke"))
    (book / "notebooks" / "01_first.ipynb").write_text(
        (book / "notebooks" / "01_first.ipynb").read_text().replace("first-figure", "renamed-figure")
    )
    rows = yaml.safe_load((book / statements.FILE).read_text())
    rows[0]["figure"] = "renamed-figure"
    (book / statements.FILE).write_text(yaml.safe_dump(rows))
    reproduce(book, "1")
    with pytest.raises(MLIError, match="README.md shows first-figure.png, which no page of profile smoke has"):
        record.write(jobs.plan("smoke", "1"))


def test_a_record_too_large_to_commit_is_refused(book, monkeypatch, capsys):
    reproduce(book)
    record.write(jobs.plan("smoke"))
    before = kept(book)
    reproduce(book, first=3)
    for limit, most in (("MOST_BYTES", 5000), ("MOST_FILES", 3)):
        with monkeypatch.context() as small:
            small.setattr(record, limit, most)
            assert command.main(["record", "--profile", "smoke"]) == 1
        said = capsys.readouterr().err.splitlines()[-1]
        assert re.fullmatch(r"mli: the record would take 0\.\d MB in 6 files, .*; the old record is kept", said)
        assert kept(book) == before and not list((book / "results").glob(".new-*"))


def test_a_page_rendered_from_the_record_is_recorded_again_without_the_store(book, monkeypatch):
    reproduce(book)
    record.write(jobs.plan("smoke"))
    before, about = kept(book), json.loads((book / "results" / "smoke" / "about.json").read_text())
    about["01_first"] |= {"work": 3600.0, "device": "another machine"}
    data = (json.dumps(about) + "\n").encode()
    old = tables.Record(book / "results" / "smoke", strict=True)
    files = {name: old.read(name) for name in old.sums if not name.endswith(".parquet")}
    tables.write(book / "again", old.entries(), {**files, "about.json": data})
    shutil.rmtree(book / "results" / "smoke")
    (book / "again").rename(book / "results" / "smoke")
    monkeypatch.setenv("MLI_STORE", str(book / "empty"))
    monkeypatch.setenv("MLI_MODE", "book")
    reproduce(book, "1")
    record.write(jobs.plan("smoke", "1"))
    again = json.loads((book / "results" / "smoke" / "about.json").read_text())["01_first"]
    assert (again["work"], again["device"], again["mode"]) == (3600.0, "another machine", "reproduce")
    assert kept(book)[:3] == before[:3]
    reproduce(book, "2")
    record.write(jobs.plan("smoke"))  # whole
    again = json.loads((book / "results" / "smoke" / "about.json").read_text())["01_first"]
    assert (again["work"], again["device"], again["mode"]) == (3600.0, "another machine", "reproduce")
    (first, *_) = jobs.plan("smoke")
    made = first.fingerprint()
    sums = book / "results" / "smoke" / tables.SUMS
    sums.write_text(sums.read_text() + "0  something\n")
    assert first.fingerprint() != made, "its record is another one"


def test_sections_that_share_a_run_do_not_record_two_trainings_of_it(book, monkeypatch):
    reproduce(book)
    record.write(jobs.plan("smoke"))
    before = kept(book)
    monkeypatch.setenv("MLI_STORE", str(book / "other"))
    monkeypatch.setattr(runner, "_training_times", lambda *_: [])
    reproduce(book, first=3)
    for path in (book / "other" / "runs").glob("*.npz"):  # as if rounding had been another one there
        entry = Store(book / "other").entry(f"runs/{path.stem}")
        with np.load(path) as archive:
            Store(book / "other").put("runs", entry["key"], entry["body"], {k: v * 2 for k, v in archive.items()})
    with pytest.raises(MLIError, match="was trained twice, for 01_first and for 02_second, with different results"):
        record.write(jobs.plan("smoke", "1"))
    assert kept(book) == before
    record.write(jobs.plan("smoke", "1 2"))
