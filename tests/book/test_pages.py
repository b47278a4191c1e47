"""Pages made from data, the page on the package, the citation, launch buttons, and the book on paper."""

import re
import shutil
import subprocess
import sys
from contextlib import contextmanager

import filelock
import pytest
import yaml
from bs4 import BeautifulSoup
from conftest import PROJECT, mli, notebook, small_book

import mli_utils
from mli_utils.book import command, pages, site
from mli_utils.claims import sources
from mli_utils.core.config import InputError
from mli_utils.runs import settings


@pytest.fixture
def in_root(reproduced, monkeypatch):
    monkeypatch.setenv("MLI_ROOT", str(reproduced[0]))
    return reproduced[0]


def test_the_page_of_status_has_every_section(in_root):
    text = pages.status()
    for name in sources.sections():
        about = sources.about(name)
        (row,) = re.findall(rf"^\| {{doc}}`/notebooks/{name}` \|.*$", text, re.M)
        assert about["code"] in row and about["date"][:10] in row
        assert all(f"`{key}`" in text for key in about["parameters"])
    assert "Profile `smoke`: numbers were computed afresh" in text
    assert sources.about("01_introduction")["device"] in text


def test_the_page_of_the_package_has_every_public_name(reproduced):
    rendered = (reproduced[0] / "_build" / "html" / "api.html").read_text(encoding="utf-8")
    entries = {entry["id"]: entry for entry in BeautifulSoup(rendered, "html.parser").select("dt[id^='mli_utils.']")}
    for name in mli_utils.__all__:
        assert len(entries[f"mli_utils.{name}"].find_next_sibling("dd").get_text(strip=True)) > 40, name


def test_a_page_that_nothing_makes_is_named(in_root, monkeypatch):
    monkeypatch.setattr(sources, "files", lambda: ["made/nothing"])
    with pytest.raises(InputError, match="made/nothing is made by nothing; known: status, citation"):
        pages.write()


def test_the_citation_says_what_the_references_say():
    cff = yaml.safe_load((PROJECT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cff["title"] == yaml.safe_load((PROJECT / "_config.yml").read_text(encoding="utf-8"))["title"]
    (paper,) = cff["references"]
    works = (PROJECT / "book" / "references.bib").read_text(encoding="utf-8")
    for author in paper["authors"]:
        assert f"{author['family-names']}, {author['given-names']}" in works
    assert cff["version"] == mli_utils.__version__


def test_launch_buttons_come_with_an_address(reproduced, tmp_path):
    for path in (reproduced[0] / "_build" / "html").rglob("*.html"):
        assert "mybinder.org" not in path.read_text(encoding="utf-8") and "colab.research" not in path.read_text(
            encoding="utf-8"
        )
    book = tmp_path / "book"
    (book / "notebooks").mkdir(parents=True)
    page = reproduced[0] / "book" / "notebooks" / "13_speed.ipynb"
    (book / "notebooks" / page.name).write_text(page.read_text(encoding="utf-8"))
    (book / "index.md").write_text("# A book\n")
    (book / "_toc.yml").write_text("format: jb-book\nroot: index\nchapters: [{file: notebooks/13_speed}]\n")
    (book / "references.bib").write_text("")
    (book / "_static").symlink_to(PROJECT / "book" / "_static")
    text = (PROJECT / "_config.yml").read_text(encoding="utf-8")
    uncommented = re.sub("# (repository_|launch_)", r"\1", text)
    (tmp_path / "_config.yml").write_text(uncommented.replace("OWNER/NAME", "some/where"))
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", "book"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    made = (tmp_path / "_build" / "html" / "notebooks" / "13_speed.html").read_text(encoding="utf-8")
    assert "https://mybinder.org/v2/gh/some/where/main?urlpath=lab/tree/notebooks/13_speed.ipynb" in made
    assert "https://colab.research.google.com/github/some/where/blob/main/notebooks/13_speed.ipynb" in made


def test_the_book_on_paper_needs_a_chromium(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MLI_ROOT", str(small_book(tmp_path / "book", **{"01_plain": notebook("1")})))
    monkeypatch.setenv("PATH", "/nowhere")
    assert command.main(["pdf"]) == 2
    said = capsys.readouterr().err
    assert "no Chromium here" in said and len(said.splitlines()) == 1


@pytest.fixture
def chromium():
    if not any(map(site.shutil.which, site.CHROMIUM)):
        pytest.skip("no Chromium here")


def test_the_book_on_paper_needs_its_pages(tmp_path, chromium, monkeypatch, capsys):
    monkeypatch.setenv("MLI_ROOT", str(small_book(tmp_path / "book", **{"01_plain": notebook("1")})))
    assert command.main(["pdf"]) == 1
    assert "no page yet for 01_plain; 'make reproduce' makes them" in capsys.readouterr().err


def test_site_and_paper_are_not_built_at_once(tmp_path, monkeypatch, chromium):
    root = small_book(tmp_path / "book", **{"01_plain": notebook("1")})
    monkeypatch.setenv("MLI_ROOT", str(root))
    monkeypatch.setattr(site, "check_pages", lambda: None)

    @contextmanager
    def build(builder, book=None):
        with pytest.raises(filelock.Timeout):
            filelock.FileLock(settings.lock_file("site"), timeout=0).acquire()
        yield pytest.skip("would be built")

    monkeypatch.setattr(site, "build", build)
    for make in (site.render, site.pdf):
        with pytest.raises(pytest.skip.Exception, match="would be built"):
            make()


def test_the_book_goes_on_paper(reproduced, chromium, tmp_path):
    root = tmp_path / "copy"  # while this builds in its folder, other processes may copy theirs
    shutil.copytree(reproduced[0], root, ignore=shutil.ignore_patterns("_build"))
    done = mli(root, "pdf")
    assert done.returncode == 0 and f"the book on paper: {root}/_build/book.pdf" in done.stdout, done.stderr
    made = (root / "_build" / "book.pdf").read_bytes()
    assert made.startswith(b"%PDF") and made.count(b"/Type /Page\n") > 20
    assert b"+MathJax_Math-Italic" in made and b"+MathJax_Main-Regular" in made
    assert not list((root / "build").glob(".book*"))


@pytest.mark.parametrize("file", sorted((PROJECT / ".github" / "workflows").glob("*.yml")), ids=lambda path: path.stem)
def test_workflows_call_make_only(file):
    workflow = yaml.safe_load(file.read_text(encoding="utf-8"))
    said = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    assert said and all(re.match(r"make [a-z]+", line) for line in said)


def test_the_ledger_of_a_book_names_the_profiles_of_all_its_pages(monkeypatch):
    monkeypatch.setattr(sources, "sections", lambda: ["01_some", sources.LEDGER])
    monkeypatch.setattr(sources, "about", lambda name: {"profile": "large" if name == "01_some" else "small"})
    about = {"profile": "paper", "mode": "book"}  # the ledger's own page, still of `small`, is about to be replaced
    assert pages.profiles(sources.LEDGER, about) == "large, paper"
    assert pages.profiles("01_some", about) == pages.profiles(sources.LEDGER, {**about, "mode": "lab"}) == "paper"
