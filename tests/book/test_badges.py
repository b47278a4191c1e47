"""The role `verdict`: a badge on any page, a link to the claim's card, and an end to builds that name no claim."""

import io

import pytest
from bs4 import BeautifulSoup
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

from mli_utils.claims import sources, statements
from mli_utils.claims.statements import Claim, Predicate

CLAIM = Claim("longer", "05_some", "ours", "It is longer.", "a difference", Predicate.parse("above 0"), "not", "mean",
              "seed", (0, 1), "a-figure")  # fmt: skip
FOUND = {"id": "longer", "verdict": "fails", "value": -0.5, "low": -0.75, "high": -0.25, "n": 8}


@pytest.fixture
def built(tmp_path, monkeypatch):
    """Builds a site of one page, and of a ledger if asked for; returns the page and what Sphinx warned of."""

    def build(text, pages=("05_some",), ledger=True, extensions=()):
        monkeypatch.setattr(statements, "load", lambda: [CLAIM])
        monkeypatch.setattr(sources, "about", lambda section: {"claims": [FOUND]} if section in pages else {})
        (tmp_path / "notebooks").mkdir()
        (tmp_path / "conf.py").write_text(
            f'extensions = ["myst_parser", "mli_utils.book.badges"]\nmyst_enable_extensions = {list(extensions)}',
            encoding="utf-8",
        )
        (tmp_path / "index.md").write_text(f"# A page\n\n{text}\n", encoding="utf-8")
        if ledger:
            (tmp_path / "notebooks" / "12_claims.md").write_text("---\norphan: true\n---\n# L\n", encoding="utf-8")
        said, out = io.StringIO(), tmp_path / "site"
        with docutils_namespace():
            Sphinx(tmp_path, tmp_path, out, tmp_path / "trees", "html", status=None, warning=said).build()
        return BeautifulSoup((out / "index.html").read_text(encoding="utf-8"), "html.parser"), said.getvalue()

    return build


def test_a_badge_says_what_was_found_and_leads_to_the_ledger(built):
    page, warned = built("A sentence. {verdict}`longer`")
    (badge,) = page.select("a.verdict.fails")
    assert badge.get_text() == "✗ fails" and badge["href"] == "notebooks/12_claims.html#claim-longer" and not warned
    assert badge["title"] == "Claim: It is longer. Found: −0.50 (−0.75 to −0.25), 8\u00a0seeds; asked: above 0."


def test_a_preview_says_what_was_not_run_and_has_no_dead_link(built):
    page, warned = built("A sentence. {verdict}`longer`", pages=(), ledger=False)
    (badge,) = page.select(".verdict")
    assert badge.name == "span" and badge.get_text() == "– not run" and "not-run" in badge["class"] and not warned


def test_a_claim_that_is_not_there_is_a_warning(built):
    _, warned = built("A sentence. {verdict}`shorter`")
    assert "index.md:3: WARNING: no claim 'shorter' in book/claims.yml" in warned  # and the strict build fails


def test_percent_stays_on_the_line_of_its_number(built):
    page, _ = built("Of **40** % and 95 % or 3% each; `40 % 3` stays.")
    (said,) = (paragraph.get_text() for paragraph in page.select("p") if "each" in paragraph.get_text())
    assert said == "Of 40\u00a0% and 95\u00a0% or 3\u00a0% each; 40 % 3 stays."


def test_equal_texts_beside_formulas_keep_their_places(built):
    page, _ = built("**x**, **y**, $a$, **w**.", extensions=["dollarmath"])
    assert page.select_one("section p").get_text() == r"x, y, \(a\), w."


def test_signs_stay_on_the_line_of_their_formula(built):
    page, _ = built("It moves ($x = 1$), and $y$ too; $z$.", extensions=["dollarmath"])
    assert [kept.get_text() for kept in page.select("span.kept")] == [r"(\(x = 1\)),", r"\(z\)."]
