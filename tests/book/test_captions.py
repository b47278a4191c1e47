"""What an executed notebook must have to become a page: figures with a caption, alt text and a place in the prose."""

import json

import nbformat
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from conftest import ALT, caption, notebook, small_book
from matplotlib import pyplot as plt

import mli_utils
from mli_utils.book import command, jobs, pages, runner, site
from mli_utils.claims import sources

ABOUT = {"profile": "smoke", "mode": "reproduce", "used": [], "device": "a machine", "code": "0", "date": "2026-01-01"}


@pytest.fixture
def cell(shown):
    """Makes a code cell that has shown figures of these names."""

    def make(*names):
        shown.clear()
        for name in names:
            mli_utils.show(plt.figure(), name, pd.DataFrame({"x": [1]}))
        outputs = [
            nbformat.v4.new_output(
                "display_data",
                data=data if isinstance(data, dict) else {"text/markdown": data.data},
                metadata=nbformat.from_dict(metadata),
            )
            for data, metadata in shown
        ]
        return nbformat.v4.new_code_cell("mli.show()", outputs=outputs)

    return make


def publish(*cells):
    made = nbformat.v4.new_notebook(cells=list(cells), metadata={"papermill": {}})
    pages.publish(made, "01_plain", ABOUT)
    return made


def test_a_figure_stands_where_the_prose_names_it(cell):
    first, other = caption("first", "It has {glue:text}`two:.2f`."), caption("other")
    other.source = other.source.replace(":::", "```")
    made = publish(cell("first", "other"), first, other)
    assert made.metadata["mli"]["figures"] == ["first", "other"]
    prose, line, fenced, code = made.cells
    assert line.source.startswith(":::{div} made") and code.source == "mli.show()"
    assert code.metadata.mystnb.code_prompt_show == "The code of this page: 1 line"
    assert [output.metadata["scrapbook"]["name"] for output in code.outputs] == ["first", "other"]
    assert all(kind.startswith("application/papermill.record/") for output in code.outputs for kind in output.data)
    assert ":::{glue:figure} first\n:name: first\n" in prose.source and ALT in prose.source
    assert "It has {glue:text}`two:.2f`.\n\n[data](figures/first.csv), " in prose.source
    assert (
        prose.source.endswith("\n:::\n\nAfter it.")
        and "what is drawn was computed for this page.\n```" in fenced.source
    )
    assert made.metadata["mli"]["seal"] == sources.seal(json.loads(nbformat.writes(made)))


@pytest.mark.parametrize(
    ("shown_", "prose", "said"),
    [
        (["first"], [caption("first", "")], "the figure first cannot be numbered; it lacks: a caption"),
        (["first"], [caption("first", "  \n ")], "the figure first cannot be numbered; it lacks: a caption"),
        (
            ["first"],
            [caption("first", alt="")],
            "it lacks: alt text of more than 40 characters",
        ),
        (["first"], [caption("first", alt="A" * 40)], "it lacks: alt text of more than 40 characters"),
        ([], [caption("first")], "the figure first cannot be numbered; it lacks: mli.show has not shown it"),
        (
            ["first"],
            [caption("first"), caption("other")],
            "the figure other cannot be numbered; it lacks: mli.show",
        ),
        (["first"], [], "no {glue:figure} with a caption for first"),
        (["first", "other"], [caption("first")], "no {glue:figure} with a caption for other"),
    ],
)
def test_a_figure_that_lacks_something_is_refused(cell, shown_, prose, said):
    with pytest.raises(pages.NotebookFailed) as raised:
        publish(cell(*shown_), *prose)
    assert str(raised.value).startswith("01_plain: ") and said in str(raised.value)


def test_a_figure_that_goes_by_another_name_in_references_is_refused(cell):
    prose = caption("first")
    prose.source = prose.source.replace(":name: first", ":name: another")
    with pytest.raises(pages.NotebookFailed, match="it lacks: the option :name: first"):
        publish(cell("first"), prose)


def test_a_cell_that_shows_an_error_is_refused():
    failed = nbformat.v4.new_code_cell("1 / 0", outputs=[nbformat.v4.new_output("error", ename="", evalue="")])
    with pytest.raises(pages.NotebookFailed, match="01_plain: a cell shows an error:\n\n1 / 0"):
        publish(failed)


FIGURE = """
import mli_utils as mli, pandas as pd
from matplotlib import pyplot as plt
figure, axes = plt.subplots()
axes.plot([1, 2])
mli.show(figure, "a-line", pd.DataFrame({"x": [1, 2]}))
mli.glue(two=2.0)
"""


def test_a_figure_is_numbered_captioned_and_described_on_the_site(tmp_path, forked, monkeypatch):
    named = caption("a-line", "Of {glue:text}`two:.2f` points, $\\alpha^r$.")
    root = small_book(tmp_path / "book", **{"01_plain": notebook(FIGURE, named)})
    with (root / "book" / "choices.md").open("a") as file:
        file.write("\nSee {numref}`a-line`.\n")
    monkeypatch.setenv("MLI_ROOT", str(root))
    runner.run(jobs.plan("smoke"))
    site.render()
    html = root / "_build" / "html"
    page = BeautifulSoup((html / "notebooks" / "01_plain.html").read_text(encoding="utf-8"), "html.parser")
    (figure,) = page.find_all("figure")
    assert figure["id"] == "a-line" and figure.img["alt"] == ALT
    assert (html / "notebooks" / figure.img["src"]).read_text(encoding="utf-8").count("<svg") == 1
    assert figure.figcaption.p.get_text().startswith("Fig. 1 Of 2.00 points, ")
    assert [link.get_text() for link in figure.select("a.download")] == ["data", "PNG", "provenance"]
    assert all((html / "notebooks" / link["href"]).exists() for link in figure.select("a.download"))
    assert "Profile smoke; what is drawn was computed for this page." in figure.get_text()
    assert len(page.find_all("img", alt=ALT)) == 1
    assert "See Fig. 1." in BeautifulSoup((html / "choices.html").read_text(encoding="utf-8"), "html.parser").get_text()


def test_a_page_without_a_caption_is_not_made(tmp_path, unrendered, monkeypatch, capsys):
    root = small_book(tmp_path / "book", **{"01_plain": notebook(FIGURE)})
    monkeypatch.setenv("MLI_ROOT", str(root))
    assert command.main(["reproduce", "--profile", "smoke"]) == 1
    assert "01_plain: no {glue:figure} with a caption for a-line" in capsys.readouterr().err
    assert not (root / "book" / "notebooks" / "01_plain.ipynb").exists() and not (root / "_build").exists()
