"""Pages made from data, the logo, the citation, launch buttons, and the book on paper."""

import ast
import re
import subprocess
import sys

import pytest
import yaml
from conftest import PROJECT, mli

import mli_utils
from mli_utils import api, browser, contents, logo, status
from mli_utils.config import InputError


@pytest.fixture
def in_root(reproduced, monkeypatch):
    monkeypatch.setenv("MLI_ROOT", str(reproduced[0]))
    return reproduced[0]


def test_the_page_of_status_has_every_section(in_root):
    text = status.status()
    for name in contents.sections():
        about = contents.about(name)
        (row,) = re.findall(rf"^\| {{doc}}`/notebooks/{name}` \|.*$", text, re.M)
        assert about["code"] in row and about["date"][:10] in row
        assert all(f"`{key}`" in text for key in about["parameters"])
    assert (
        "Profile `smoke`: numbers were computed afresh" in text and contents.about("01_introduction")["device"] in text
    )


def test_the_page_of_the_package_has_every_public_name(in_root):
    text = api.page()
    for name in mli_utils.__all__:
        assert re.search(rf"^### {name}$", text, re.M), name
    for home, names in api.BESIDE.items():
        assert all(f"mli_utils.{home}.{name}(" in text for name in names)
    of_plateau = text[text.index("### plateau\n") :]
    assert "{doc}`/notebooks/05_bias_ablation`" in of_plateau[: of_plateau.index("\n### ")]


def test_every_public_name_has_a_docstring():
    for home, names in mli_utils.HOMES.items():
        tree = ast.parse((PROJECT / "mli_utils" / f"{home}.py").read_text(encoding="utf-8"))
        found = {node.name: ast.get_docstring(node) for node in tree.body if hasattr(node, "name")}
        assert all(found.get(name) for name in names), home


def test_docstrings_become_definition_lists():
    text = api._documented(
        "Does it.\n\nParameters\n----------\na, b : two things,\n    at once\n\nRaises\n------\nInputError\n    Bad."
    )
    assert "`a, b`\n: two things, at once\n" in text and "`InputError`\n: Bad.\n" in text


def test_a_page_that_nothing_makes_is_named(in_root, monkeypatch):
    monkeypatch.setattr(contents, "files", lambda: ["made/nothing"])
    with pytest.raises(InputError, match="made/nothing is made by nothing; known: status, api, citation"):
        status.write()


def test_the_citation_says_what_the_references_say():
    cff = yaml.safe_load((PROJECT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cff["title"] == yaml.safe_load((PROJECT / "_config.yml").read_text(encoding="utf-8"))["title"]
    (paper,) = cff["references"]
    works = (PROJECT / "book" / "references.bib").read_text(encoding="utf-8")
    for author in paper["authors"]:
        assert f"{author['family-names']}, {author['given-names']}" in works
    assert cff["version"] == mli_utils.__version__


def test_the_logo_is_what_its_script_draws():
    folder = PROJECT / "book" / "_static"
    assert (folder / "logo.svg").read_text(encoding="utf-8") == logo.drawing()
    assert (folder / "favicon.svg").read_text(encoding="utf-8") == logo.drawing(width=7)


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


def test_the_book_on_paper_needs_a_chromium(reproduced, monkeypatch):
    done = mli(reproduced[0], "pdf", PATH="/nowhere")
    assert done.returncode == 2 and "no Chromium here" in done.stderr and len(done.stderr.splitlines()) == 1


def test_the_book_goes_on_paper(reproduced):
    try:
        browser.chromium()
    except InputError as error:
        pytest.skip(str(error))
    done = mli(reproduced[0], "pdf")
    assert done.returncode == 0, done.stderr
    made = (reproduced[0] / "_build" / "book.pdf").read_bytes()
    assert made.startswith(b"%PDF") and made.count(b"/Type /Page\n") > 20


@pytest.mark.parametrize("file", sorted((PROJECT / ".github" / "workflows").glob("*.yml")), ids=lambda path: path.stem)
def test_workflows_call_make_only(file):
    workflow = yaml.safe_load(file.read_text(encoding="utf-8"))
    said = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    assert said and all(re.match(r"make [a-z]+", line) for line in said)
