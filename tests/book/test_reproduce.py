"""From sources to site, as the command line does it, under the smoke profile, in a copy of the project."""

import html.parser
import itertools
import json
import os
import re
import shutil
import subprocess
from unittest import mock

import nbformat
import pytest
import yaml
from conftest import PROJECT, caption, mli, notebook, small_book

from mli_utils.book import command, jobs, pages, record, runner, site
from mli_utils.claims import ledger, sources, statements
from mli_utils.core.config import InputError, MLIError
from mli_utils.runs import provenance
from mli_utils.runs import record as tables


@pytest.fixture
def project(reproduced, tmp_path, monkeypatch):
    """A copy of it to change, which commands of this process work on, too."""
    root = tmp_path / "copy"
    shutil.copytree(reproduced[0], root, ignore=shutil.ignore_patterns("_build"))
    monkeypatch.delenv("MLI_STORE")
    for name, value in (("ROOT", str(root)), ("MODE", "reproduce"), ("DEVICE", "cpu")):
        monkeypatch.setenv(f"MLI_{name}", value)
    return root


def files(root):
    return {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file() and path.suffix != ".lock"}


def page(root, name):
    return nbformat.read(root / "book" / "notebooks" / f"{name}.ipynb", as_version=4)


SECTIONS = [path.stem for path in sorted((PROJECT / "notebooks").glob("*.ipynb"))]
UNTRAINED = ("02_hardness", "04_bias_gap", sources.LEDGER, sources.SPEED, "14_your_own_network")  # no run is trained


def test_every_section_becomes_a_page(reproduced, monkeypatch):
    root, said = reproduced
    monkeypatch.setenv("MLI_ROOT", str(root))
    for name in sources.sections():
        assert re.search(rf"^{name}: \d+ s$", said, re.M)
        rendered = (root / "_build" / "html" / "notebooks" / f"{name}.html").read_text(encoding="utf-8")
        made = page(root, name)
        about = made.metadata["mli"]
        assert about["profile"] == "smoke" and about["figures"]
        networks = [entry for entry in about["used"] if entry.startswith("runs/")]
        assert bool(networks) == (name not in UNTRAINED)
        trained = f"computed afresh: {len(networks)} networks" if networks else "computed "
        assert re.search(rf'<div class="made docutils">\s*<p><em>Profile .*smoke.*{trained}', rendered)
        assert str(root) not in json.dumps(made), "a page names a folder of this machine"
        figures = re.findall(r"<figure.*?</figure>", rendered, re.S)
        assert len(figures) == len(about["figures"])
        for figure in figures:
            assert re.search(r'<span class="caption-number">Fig\. \d+\.\d+ ?</span>', figure)
            (alt,) = re.findall(r'<img alt="([^"]*)"', figure)
            assert len(alt) > 40 and "/" not in alt and "{" not in alt
            origin = "Measured by code" if name == sources.SPEED else "Profile smoke"
            assert origin in figure and figure.count('class="reference download') == 3
        assert "stderr" not in rendered and "Traceback" not in rendered
        assert "BSD-3-Clause" in rendered and "CC BY 4.0" in rendered


def test_unchanged_notebooks_and_site_are_not_made_again(project, reproduced):
    shutil.copytree(reproduced[0] / "_build", project / "_build")
    before = files(project)
    done = mli(project, "reproduce", "--profile", "smoke", PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": unchanged") == len(SECTIONS)
    loaded = set(re.findall(r"\| +([\w.]+)$", done.stderr, re.M))
    slow = {"torch", "seaborn", "papermill", "sphinx"}
    assert "mli_utils.book.jobs" in loaded and not loaded & slow, "slow to load, and not needed to say so"
    written = {path for path, when in files(project).items() if before.get(path) != when}
    assert written == {project / "build" / "smoke" / "claims.json"} and files(project).keys() == before.keys()


def test_a_page_is_made_again_where_it_is_not_what_its_run_left(project):
    (job,) = [job for job in jobs.plan("smoke") if job.name == "05_bias_ablation"]
    figures = sources.figures_folder()
    changes = {
        figures / "bias-ablation-curves.svg": lambda data: data.replace(b"svg", b"SVG", 1),  # of the same length
        figures / "bias-ablation-plateaus.csv": lambda data: data + b"1\n",
        figures / "predicted-images.png": lambda data: b"",
        figures / "predicted-images.json": lambda data: None,
        job.page: lambda data: data.replace(b"plateau", b"PLATEAU", 1),
        job.source: lambda data: data + b"\n",
    }
    for path, change in changes.items():
        good, when = path.read_bytes(), path.stat()
        assert job.is_done()
        path.unlink()
        if (changed := change(good)) is not None:
            path.write_bytes(changed)
            os.utime(path, ns=(when.st_atime_ns, when.st_mtime_ns))
        assert not job.is_done(), path
        path.write_bytes(good)
    job.page.touch()
    assert job.is_done()
    (figures / "bias-ablation-curves.svg").write_bytes(b"wrong")
    with pytest.raises(MLIError, match="page of 05_bias_ablation or one of its figures was changed after it was made"):
        record.write(jobs.plan("smoke"))


def test_another_version_of_a_library_makes_pages_and_site_again(project, monkeypatch):
    assert all(job.is_done() for job in jobs.plan("smoke"))
    before = site._inputs()
    for name in ("matplotlib", "myst-nb"):
        with monkeypatch.context() as other:
            now = {**provenance.installed(), name: "99"}
            other.setattr(provenance, "installed", lambda now=now: now)
            assert not any(job.is_done() for job in jobs.plan("smoke")) and site._inputs() != before
    script = project / "build" / "site" / "plotly" / "plotly.min.js"
    script.write_text("of another version")
    site._copy_assets(project / "build" / "site")
    assert script.stat().st_size > 1e6


FOREIGN = {  # what a notebook may do to take another's output, and whose it is
    'mli.show(figure, "bias-ablation-curves", frame)': "05_bias_ablation",
    'mli.show(figure, data=frame, name="claims-" + "margins")': "12_claims",
    '(settings.figures_dir() / "neighbours-columns.csv").write_text("")': "11_neighbours",
}
NAMES = {"05_bias_ablation": "bias-ablation-curves", "12_claims": "claims-margins"}
MADE = """
from pathlib import Path
import matplotlib.pyplot as plt, pandas as pd
from mli_utils.runs import settings
figure, frame = plt.figure(), pd.DataFrame({"x": [1]})
settings.figures_dir().mkdir(exist_ok=True)
"""


@pytest.mark.parametrize(("call", "owner"), FOREIGN.items())
def test_what_another_section_owns_is_refused_before_any_file_moves(project, loader, call, owner):
    source = sources.source(sources.SPEED)
    changed = nbformat.read(source, as_version=4)
    changed.cells = [cell for cell in changed.cells if "parameters" in cell.metadata.get("tags", [])]
    changed.cells += [nbformat.v4.new_code_cell(text) for text in ("import mli_utils as mli", MADE, call)]
    changed.cells += [caption(NAMES[owner])] if owner in NAMES else []
    good = source.read_bytes()
    nbformat.write(changed, source)
    before = {path: path.read_bytes() for path in (project / "book").rglob("*") if path.is_file()}
    (job,) = [job for job in jobs.plan("smoke") if job.name == sources.SPEED]
    with pytest.raises(pages.NotebookFailed, match=f"13_speed: the name '.*' belongs to a figure of {owner}"):
        runner.execute(job, "a processor", loader=loader)
    assert {path: path.read_bytes() for path in (project / "book").rglob("*") if path.is_file()} == before
    source.write_bytes(good)
    assert all(job.is_done() for job in jobs.plan("smoke"))


def test_figures_that_a_page_no_longer_has_go_with_its_last_version(project, loader):
    before = {path.name for path in sources.figures_folder().iterdir()}
    source = sources.source(sources.SPEED)
    source.write_text(source.read_text(encoding="utf-8").replace("speed-growth", "speed-grown"), encoding="utf-8")
    (job,) = [job for job in jobs.plan("smoke") if job.name == sources.SPEED]
    runner.execute(job, "a processor", loader=loader)
    after = {path.name for path in sources.figures_folder().iterdir()}
    ends = ("svg", "png", "csv", "json")
    assert before - after == {f"speed-growth.{end}" for end in ends}
    assert after - before == {f"speed-grown.{end}" for end in ends}


class WouldBeBuilt(Exception):
    pass


def test_what_is_rendered_follows_content_whatever_the_times_say(tmp_path, monkeypatch):
    root = small_book(tmp_path / "book")
    monkeypatch.setenv("MLI_ROOT", str(root))
    sheet, text, html = root / "book" / "_static" / "own.css", root / "book" / "choices.md", root / "_build" / "html"
    sheet.write_text("p { color: red }")
    site.render()

    def said():
        page = (html / "choices.html").read_text(encoding="utf-8")
        return [word for word in ("was chosen", "WRONG") if word in page], (html / "_static" / "own.css").read_text()

    assert said() == (["was chosen"], "p { color: red }")
    good = text.read_text()
    for path, changed in ((text, good + "\nWRONG\n"), (sheet, "p { color: tan }")):  # the latter of the same length
        when = path.stat()
        path.write_text(changed)
        os.utime(path, ns=(when.st_atime_ns, when.st_mtime_ns))  # as `mv` of a copy that `cp -p` made
    site.render()
    assert said() == (["was chosen", "WRONG"], "p { color: tan }")
    monkeypatch.setattr(site, "build", mock.Mock(side_effect=WouldBeBuilt))
    os.utime(text, (2**32, 2**32))  # a clock that was ahead
    site.render()  # nothing has changed
    text.write_text(good)
    os.utime(text, ns=(when.st_atime_ns, when.st_mtime_ns))
    with pytest.raises(WouldBeBuilt):
        site.render()
    text.write_text(good + "\nWRONG\n")
    site.render()
    (html / "choices.html").write_text("tampered with")
    with pytest.raises(WouldBeBuilt):
        site.render()


ELSEWHERE = """
<iframe src="https://www.youtube.com/embed/x"></iframe>
"""


def test_a_site_that_would_ask_another_host_is_not_shown(tmp_path, forked, monkeypatch, capsys):
    root = small_book(tmp_path / "book", **{"01_plain": notebook("1"), "02_other": notebook("1")})
    monkeypatch.setenv("MLI_ROOT", str(root))
    with (root / "book" / "choices.md").open("a") as file:
        file.write(ELSEWHERE)
    saved = json.loads((root / "notebooks" / "01_plain.ipynb").read_text())
    widget = {"model_module": "@jupyter-widgets/base", "model_name": "LayoutModel", "state": {}}
    state = {"state": {"a": widget}, "version_major": 2, "version_minor": 0}
    saved["metadata"]["widgets"] = {"application/vnd.jupyter.widget-state+json": state}
    (root / "notebooks" / "01_plain.ipynb").write_text(json.dumps(saved))
    assert command.main(["reproduce", "--profile", "smoke"]) == 1 and not (root / "_build" / "html").exists()
    said = capsys.readouterr().err
    assert "the book is not shown: choices.html would load something from www.youtube.com" in said
    hosts = re.findall(r"notebooks/01_plain.html would load something from ([\w.]+)", said)
    assert len(hosts) >= 2 and "02_other" not in said


PAGES = [
    ('<script src="//cdn.net/x.js"></script>', "cdn.net"),
    ('<script>import("https://cdn.net/x.js")</script>', "cdn.net"),
    ('<img srcset="a.png 1x, https://i.net/b.png 2x">', "i.net"),
    ('<link rel="preload stylesheet" href="HTTPS://c.net/s.css">', "c.net"),
    ('<style>@import "//f.net/s.css";</style>', "f.net"),
    ('<p style="background: url(http://b.net/x)">', "b.net"),
    ('<iframe srcdoc="&lt;img src=https://s.net/x&gt;"></iframe>', "s.net"),
    ('<meta http-equiv="refresh" content="0; url=https://r.net/">', "r.net"),
    ('<video poster="https://v.net/p"></video>', "v.net"),
    ('<object data="https://o.net/x"></object>', "o.net"),
    ('<a href="https://doi.org/1">read</a> <link rel="canonical" href="https://own.net/">', None),
    ('<script type="application/json">{"see": "https://doi.org/1"}</script>', None),
    ('<img src="data:image/png;base64,//8="> <img src="figures/a.png"><script src="../x.js"></script>', None),
]


@pytest.mark.parametrize(("page", "host"), PAGES)
def test_what_a_page_would_ask_of_other_hosts(tmp_path, page, host):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "page.html").write_text(f"<html><body>{page}</body></html>")
    (tmp_path / "own.css").write_text("a { background: url('figures/a.png') }")
    expected = [f"notebooks/page.html would load something from {host}"] if host else []
    assert site.other_hosts(tmp_path) == expected
    (tmp_path / "own.css").write_text("@import url(https://c.net/s.css);")
    assert site.other_hosts(tmp_path)[-1] == "own.css would load something from c.net"


def test_one_changed_parameter_trains_only_the_new_runs(project, forked):
    store = project / "build" / "smoke" / "store"
    before = set(store.glob("runs/*.json"))
    old = files(store)
    runner.run(jobs.plan("smoke", "5", ["seeds=4"]))
    new = [
        json.loads(path.read_text(encoding="utf-8"))["key"]["config"]
        for path in set(store.glob("runs/*.json")) - before
    ]
    trained = sorted((config["bias"], config["seed"]) for config in new)
    assert trained == [("all", 203), ("none", 203)]  # the one with an output bias is section 07's, too
    assert all(files(store)[path] == when for path, when in old.items())
    assert page(project, "05_bias_ablation").metadata["mli"]["parameters"]["seeds"] == 4


BAD = [
    (["--profile", "smal"], "unknown profile 'smal' (did you mean 'small'?); known: "),
    (["--section", "99"], "unknown section '99'; known: 01_introduction, 02_hardness"),
    (["--jobs", "0"], "JOBS=0 is not allowed; allowed: from 1 to 64"),
    (["--jobs", "many"], "invalid int value: 'many'"),
    (["-p", "sedes=3"], "unknown parameter 'sedes' (did you mean 'seeds'?); known: "),
    (["-p", "seeds"], "parameter 'seeds' is not allowed; allowed: name=value"),
    (["-p", "seeds=three"], "seeds='three' is not allowed; allowed: a whole number"),
    (
        ["-p", "dataset=digit"],
        "unknown dataset 'digit' (did you mean 'digits'?); known: digits, digits32, mnist, cifar10, cifar100",
    ),
    (["-p", "depth=-1"], "depth=-1 is not allowed; allowed: from 1 to 1000"),
    (["--section", "5", "-p", "bias=[some]"], "bias: 'some'; known: none, output, all"),
    (
        ["--section", "5", "-p", "paths=[curved]"],
        "paths: 'curved'; known: linear, homogeneous",
    ),
    (["--section", "1", "-p", "deep={depth: 0}"], "depth=0 is not allowed; allowed: from 1 to 1000"),
    (["--section", "3", "-p", "ways=[{detph: 3}]"], "unknown RunConfig field 'detph' (did you mean 'depth'?)"),
    (["--section", "1 99"], "unknown section '99'; known: 01_introduction, 02_hardness"),
]


@pytest.mark.parametrize(("arguments", "said"), BAD, ids=[" ".join(bad[0]) for bad in BAD])
def test_bad_input_is_one_sentence_and_leaves_nothing(project, capsys, arguments, said):
    before = files(project)
    given = ["reproduce", *([] if "--profile" in arguments else ["--profile", "smoke"]), *arguments]
    assert command.main(given) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert errors[-1].startswith("mli: ") and said in errors[-1] and len(errors) == 1
    assert files(project) == before


def test_data_that_is_not_there_is_one_sentence_and_leaves_the_page(project):
    before = files(project)
    done = mli(project, "reproduce", "--profile", "smoke", "--section", "1", "-p", "dataset=mnist")
    errors = done.stderr.strip().splitlines()
    assert done.returncode == 2 and len(errors) == 1
    assert errors[0].startswith("mli: 01_introduction: ")
    assert "mnist.npz is not there; 'make data' fetches it" in errors[0]
    assert files(project) == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("05_bias_ablation: {sedes: 3}", "unknown parameter of 05_bias_ablation in profiles/smoke.yml: 'sedes'"),
        ("05_bias_ablation: {depth: [1]}", "profiles/smoke.yml: 05_bias_ablation: depth=[1] is not allowed"),
        ("06_nothing: {}", "unknown section in profiles/smoke.yml: '06_nothing'"),
        ("- a list", "profiles/smoke.yml should map sections to parameters"),
        ("05_bias_ablation: 3", "profiles/smoke.yml: 05_bias_ablation should map parameters to values"),
        ("{", "profiles/smoke.yml is no YAML"),
    ],
)
def test_a_bad_profile_is_named(project, capsys, text, said):
    (project / "profiles" / "smoke.yml").write_text(text)
    assert command.main(["reproduce", "--profile", "smoke"]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert said in errors[0] and len(errors) == 1


def test_one_value_is_a_list_of_one_where_a_list_is_wanted(project):
    depths = {job.name: job.parameters.get("depth") for job in jobs.plan("smoke", changes=["depth=4"])}
    assert depths["03_weights_and_biases"] == [4] and depths["05_bias_ablation"] == 4


def test_one_section_runs_with_the_ledger(project):
    for typed in itertools.permutations(("depth=8", "seeds=3", "width=32")):
        assert list(jobs.plan("small", "5", typed)[0].parameters) == [name.partition("=")[0] for name in typed]
    assert [job.name for job in jobs.plan("smoke", "5")] == ["05_bias_ablation", sources.LEDGER]
    assert [job.name for job in jobs.plan("smoke", "12")] == [sources.LEDGER]


def test_a_claim_makes_its_section_and_the_ledger_run_again(project):
    assert all(job.is_done() for job in jobs.plan("smoke"))
    file = project / statements.FILE
    entries = yaml.safe_load(file.read_text(encoding="utf-8"))
    section = entries[0]["section"]
    file.write_text(yaml.safe_dump([{**entries[0], "predicate": "below -7"}, *entries[1:]]))
    assert [job.name for job in jobs.plan("smoke") if not job.is_done()] == [section, sources.LEDGER]


def test_a_bad_claim_stops_everything(project, capsys):
    (project / statements.FILE).write_text("- id: some\n  section: 99_none\n")
    assert command.main(["reproduce", "--profile", "smoke"]) == 2
    assert "book/claims.yml, claim some" in capsys.readouterr().err


def test_the_end_tells_every_claim(reproduced, monkeypatch):
    root, said = reproduced
    monkeypatch.setenv("MLI_ROOT", str(root))
    listed = [claim.id for claim in statements.load()]
    left = json.loads((root / "build" / "smoke" / "claims.json").read_text(encoding="utf-8"))
    assert [entry["id"] for entry in left] == listed
    assert all(list(entry) == ["id", "statement", "cluster", "range", *ledger.FOUND] for entry in left)
    assert all(entry["verdict"] in statements.VERDICTS for entry in left)
    lines = said.strip().splitlines()
    assert [line.split()[0] for line in lines[-1 - len(listed) : -1]] == listed
    assert lines[-1] == ledger.score(entry["verdict"] for entry in left) + (
        "; results/smoke has no claims.json to compare with"
    )
    site = root / "_build" / "html"
    ours = [entry["verdict"] for entry, claim in zip(left, statements.load(), strict=True) if claim.source == "ours"]
    assert ledger.score(ours) in (site / "notebooks" / "12_claims.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"dataset": "mnist", "n_train": 60_000, "depth": None}, None),
        ({"dataset": "digits", "n_train": 60_000}, "n_train=60000 is not allowed; allowed: from 1 to 1400"),
        ({"depth": [2, 0]}, "depth=0 is not allowed"),
        ({"deep": {"depth": 10, "init_scale": 0.6}, "shallow": {"depth": 0}}, "depth=0 is not allowed"),
        ({"deep": {"detph": 10}}, "unknown RunConfig field 'detph' (did you mean 'depth'?)"),
        ({"dataset": "digits", "big": {"dataset": "mnist", "n_train": 10_000}}, None),
        ({"dataset": "mnist", "few": {"dataset": "digits", "n_train": [100, 10_000]}}, "n_train=10000 is not allowed"),
        ({"width": 64, "seeds": 3, "names": {}}, None),
    ],
)
def test_parameters_are_checked_as_the_fields_that_they_are(parameters, said):
    if said is None:
        jobs._check_fields("05_some", parameters)
    else:
        with pytest.raises(InputError) as raised:
            jobs._check_fields("05_some", parameters)
        assert str(raised.value).startswith("05_some: ") and said in str(raised.value)


def test_the_book_shows_the_best_record_of_each_section(project):
    with pytest.raises(MLIError, match=r"no record in results/ has 01_introduction, .*; 'make reproduce' and"):
        record.best_records()

    def keep(profile, names, clusters=5):
        folder = project / "results" / profile
        folder.mkdir(exist_ok=True)
        found = [{"id": claim.id, "n": clusters} for claim in statements.load() if claim.section in names]
        files = {"about.json": dict.fromkeys(names), "claims.json": found}
        tables.write(folder, {}, {name: json.dumps(value).encode() for name, value in files.items()})

    for profile, names in (("small", SECTIONS), ("medium", SECTIONS), ("paper", SECTIONS[:1]), ("smoke", SECTIONS)):
        keep(profile, names)
    first, *others = SECTIONS
    assert record.best_records() == {first: "paper"} | dict.fromkeys(others, "medium")
    keep("medium", [])
    assert record.best_records() == {first: "paper"} | dict.fromkeys(others, "small")
    keep("paper", [first, sources.LEDGER])  # the ledger has all claims, of which this record has few
    assert record.best_records() == {first: "paper"} | dict.fromkeys(others, "small")
    keep("paper", SECTIONS[:1], clusters=4)  # too few to decide anything
    assert record.best_records() == dict.fromkeys(SECTIONS, "small")


def test_cuda_without_a_gpu_says_so(project, monkeypatch, capsys):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    monkeypatch.setenv("MLI_DEVICE", "cuda")
    assert command.main(["reproduce", "--profile", "smoke"]) == 2
    assert "DEVICE=cuda, but torch sees no CUDA GPU" in capsys.readouterr().err
    monkeypatch.setenv("MLI_DEVICE", "tpu")
    assert command.main(["reproduce", "--profile", "smoke"]) == 2
    assert "unknown device 'tpu' (did you mean 'cpu'?); known: auto, cpu, cuda" in capsys.readouterr().err


def test_a_failing_notebook_shows_its_cell_and_leaves_the_good_page(project, unrendered, capsys):
    source = project / "notebooks" / "01_introduction.ipynb"
    notebook = nbformat.read(source, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell("nobody = 1 / 0  # the last cell"))
    nbformat.write(notebook, source)
    other = project / "notebooks" / "05_bias_ablation.ipynb"
    other.write_text(other.read_text(encoding="utf-8") + "\n")
    good = (project / "book" / "notebooks" / "01_introduction.ipynb").read_bytes()
    figures = files(project / "book" / "notebooks" / "figures")
    assert command.main(["reproduce", "--profile", "smoke", "--jobs", "2"]) == 1
    said, errors = capsys.readouterr()
    assert "01_introduction: failed" in said and re.search(r"05_bias_ablation: \d+ s", said)
    assert "nobody = 1 / 0  # the last cell" in errors
    assert errors.strip().endswith("ZeroDivisionError: division by zero")
    assert (project / "book" / "notebooks" / "01_introduction.ipynb").read_bytes() == good
    after = files(project / "book" / "notebooks" / "figures")
    assert {path: after[path] for path in figures if "introduction" in path.name} == {
        path: when for path, when in figures.items() if "introduction" in path.name
    }
    assert not list((project / "build" / "smoke").glob(".running-*"))


def test_without_a_record_no_book_is_rendered_from_it(project, unrendered, capsys):
    assert command.main(["book", "--profile", "smoke", "--section", "1"]) == 1
    assert "'make reproduce' makes it, 'make record' keeps it" in capsys.readouterr().err


def test_the_book_is_rendered_from_the_record_without_training(project):
    recorded = mli(project, "record", "--profile", "smoke")
    assert recorded.returncode == 0, recorded.stderr
    folder, store = project / "results" / "smoke", project / "build" / "smoke" / "store"
    entries = tables.Record(folder).entries()
    assert entries.keys() == {str(path.relative_to(store).with_suffix("")) for path in store.rglob("*.json")}
    for name in entries:
        kept = json.loads((store / f"{name}.json").read_text(encoding="utf-8"))["body"]
        assert tables.Record(folder).get(name) == kept, name
    assert {path.suffix for path in folder.rglob("*") if path.is_file()} <= {"", ".parquet", ".json", ".csv", ".png"}
    assert subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=folder).returncode == 0
    assert (folder / "claims.json").read_bytes() == (project / "build" / "smoke" / "claims.json").read_bytes()
    assert list(json.loads((folder / "about.json").read_text(encoding="utf-8"))) == SECTIONS
    for made in ("build", "book/notebooks"):  # as in a fresh clone
        shutil.rmtree(project / made)
    done = mli(project, "book", "--profile", "smoke", "--section", "1")
    assert done.returncode == 0 and "no page yet for 02_hardness" in done.stdout, done.stderr
    assert "training" not in done.stderr and not (project / "build" / "smoke" / "store").exists()
    assert "from the record: " in (project / "_build" / "html" / "notebooks" / "01_introduction.html").read_text(
        encoding="utf-8"
    )


def test_the_strict_build_refuses_a_broken_reference(tmp_path, monkeypatch):
    root = small_book(tmp_path / "book")
    monkeypatch.setenv("MLI_ROOT", str(root))
    with (root / "book" / "choices.md").open("a") as file:
        file.write("\n{ref}`nowhere`\n")
    with pytest.raises(site.BookFailed, match="strict here and found:\n.*choices.md:5: WARNING: .*nowhere"):
        site.render()
    assert not (root / "_build").exists()


class Fetches(html.parser.HTMLParser):
    """What a page makes a browser fetch: anything but links that a reader follows."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag != "a" and values.get("rel") != "canonical":
            self.found += [values[name] for name in ("src", "href", "srcset", "data", "poster") if values.get(name)]
        self.found += re.findall(r"url\(([^)]*)\)", values.get("style") or "")


def test_nothing_is_fetched_from_another_host(reproduced):
    folder = reproduced[0] / "_build" / "html"
    rendered = [path for path in folder.rglob("*.html") if "_static" not in path.parts]
    sheets = list(folder.rglob("*.css"))
    assert len(rendered) > len(SECTIONS) and sheets
    for path in rendered:
        parser = Fetches()
        parser.feed(path.read_text(encoding="utf-8"))
        for address in parser.found:
            assert not re.match(r"\s*(https?:)?//", address), f"{path.name} fetches {address}"
            local = (path.parent / re.split(r"[?#]", address)[0]) if not address.startswith(("data:", "#")) else path
            assert local.exists(), f"{path.name} names {address}, which is not there"
        for script in re.findall(r"<script[^>]*>(.*?)</script>", path.read_text(encoding="utf-8"), re.S):
            assert not re.search(r"https?://", script), f"{path.name}: a script names another host"
    for path in sheets:
        loads = re.findall(r"(?:@import|url\()\s*['\"]?((?:https?:)?//[^'\")]*)", path.read_text(encoding="utf-8"))
        assert not loads, f"{path.name} fetches {loads}"
    assert (folder / "_static" / "mathjax" / "tex-chtml.js").stat().st_size > 1e6
    assert list(folder.rglob("MathJax_Main-Regular.woff"))
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 25e6


def test_search_has_the_words_of_the_book(reproduced):
    index = (reproduced[0] / "_build" / "html" / "searchindex.js").read_text(encoding="utf-8")
    assert "plateau" in index and "homogen" in index


def test_the_makefile_passes_everything_on():
    asked = ["PROFILE=medium", "SECTION=05", "JOBS=2", "PARAMS=seeds=3 depth=8", "DEVICE=cpu", "PYTHON=python3"]
    command = ["make", "-s", "--eval=said: ; @echo $$MLI_DEVICE $$MLI_SCHEDULER", "said", "DEVICE=cpu"]
    for given in (["SCHEDULER=tcp://host:1"], []):
        said = subprocess.run([*command, *given], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
        assert said.split() == ["cpu", *(["tcp://host:1"] if given else [])]
    done = subprocess.run(["make", "-n", "reproduce", *asked], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert '--profile "medium" --section "05" --jobs "2" -p seeds=3 depth=8' in done.stdout
    done = subprocess.run(["make", "-n", "record", *asked], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert 'record --profile "medium" --section "05"' in done.stdout
    targets = ["help", "env", "data", "reproduce", "book", "serve", "lab", "test", "lint", "bench", "record", "clean"]
    for target in targets:
        assert subprocess.run(["make", "-n", target], cwd=PROJECT, capture_output=True).returncode == 0, target
    backend = subprocess.run(
        ["make", "-n", "-B", "env", "TORCH_BACKEND=cpu"], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert "--torch-backend cpu" in backend.stdout and "-c requirements.lock" in backend.stdout
