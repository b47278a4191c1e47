"""The prose of the book: pages in one order, verdicts as badges, words for identifiers, short sentences."""

import re

import nbformat
import pytest
import yaml
from conftest import NOTEBOOKS, PROJECT, prose

PAGES = sorted((PROJECT / "book").glob("*.md"))
LONGEST = 40  # words in a sentence
MOST_TABLES = 25  # in the book, outside of folds
CLAIMS = {claim["id"]: claim for claim in yaml.safe_load((PROJECT / "book" / "claims.yml").read_text(encoding="utf-8"))}

# The parts of a page, in the order in which a reader meets them.
PARTS = {
    "the question": r"^\*\*Question\.\*\* ",
    "the answer": r"^\*\*Answer\.\*\* ",
    "a figure": r"^:{3,}\{glue:figure\} ",
    "what would change it": r"^## What would change it$",
    "the box": r"^:{3,}\{admonition\} Try it yourself$",
    "an exercise": r"^:{3,}\{exercise\} ",
    "the takeaway": r"^\*\*Takeaway\.\*\* ",
    "the folds": r"^## Claims, ",
}
IDENTIFIERS = re.compile(
    r"\b(?:fcn|mnist|cifar10|cifar100|digits32|vgg16|resnet18|vit|sgd|adam|[a-z]+_[a-z_]+)\b"  # as code has them
)
GLUED = re.compile(r"\{glue:(?:text|md)\}`([^`]*?)(?::[^`:]*)?`")
BADGE = re.compile(r"\{verdict\}`([^`]*)`")
FENCED = re.compile(r"^(`{3,}|~{3,})(?!\{admonition|\{exercise|\{solution).*?^\1 *$", re.M | re.S)
DIRECTIVE = re.compile(r"^:{3,}.*$|^:[\w-]+:.*$|^```.*$|^\([\w-]+\)=$", re.M)
STOP = re.compile(r"(?<=[.!?:])[\"')*]*\s+(?=[\"'(*`$]*[A-Z0-9{$`])")


def cells(path):
    return nbformat.read(path, as_version=4).cells


def paragraphs(text):
    """The running text of a page: no code, no directives, options, labels, headings and tables."""
    text = DIRECTIVE.sub("\n", FENCED.sub("\n", re.sub(r"\$\$.*?\$\$", "\n", text, flags=re.S)))
    text = re.sub(r"^(#.*|\|.*|---.*)$", "\n", text, flags=re.M)
    text = re.sub(r"^(?:[-*+]|\d+\.|:)\s+", "\n\n", text, flags=re.M)
    return [" ".join(block.split()) for block in re.split(r"\n\s*\n", text) if block.strip()]


def words(sentence):
    """The number of words; a role, a formula or a link's text counts by what a reader sees."""
    plain = re.sub(r"\{cite:[a-z]\}`[^`]*`", "", BADGE.sub("", sentence))
    plain = re.sub(r"\{[\w:]+\}`([^`<]*)(?:<[^>]*>)?`", lambda role: "x" if ":" in role[0] else role[1], plain)
    plain = re.sub(r"\$[^$]*\$", "x", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", plain))
    return len(re.findall(r"[^\s–—]*\w[^\s–—]*", plain))


def sentences(text):
    return [sentence for block in paragraphs(text) for sentence in STOP.split(block)]


pages = pytest.mark.parametrize("path", [*NOTEBOOKS, *PAGES], ids=lambda path: path.stem)
notebooks = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@notebooks
def test_a_page_has_its_parts_in_order(path):
    said = prose(path)
    places = {part: found.start() for part, form in PARTS.items() if (found := re.search(form, said, re.M))}
    assert list(places) == list(PARTS), f"lacking: {PARTS.keys() - places.keys()}"
    assert sorted(places.values()) == list(places.values()), sorted(places, key=places.get)
    first = next(cell.source for cell in cells(path) if cell.cell_type == "markdown")
    assert "**Answer.** " in first, "the answer stands in the first cell, with the question"


@notebooks
def test_figures_come_before_tables_and_claims_are_folded(path):
    figures = [n for n, cell in enumerate(cells(path)) if "{glue:figure}" in cell.source]
    for n, cell in enumerate(cells(path)):
        if cell.cell_type == "code" and re.search(r"show_(table|intervals|ledger)\(|\bjudge\(", cell.source):
            assert n > figures[0], cell.source
            if re.search(r"\bjudge\(|mli\.table\(", cell.source):
                assert "hide-cell" in cell.metadata.get("tags", []), f"not folded (tag hide-cell):\n{cell.source}"


def tables(path):
    shown = [
        cell for cell in cells(path) if cell.cell_type == "code" and "hide-cell" not in cell.metadata.get("tags", [])
    ]
    return sum(len(re.findall(r"show_(?:table|intervals)\(", cell.source)) for cell in shown)


@notebooks
def test_a_section_has_at_most_one_table_outside_of_folds(path):
    assert tables(path) <= 1


def test_the_book_has_few_tables():
    written = sum(len(re.findall(r"^\|[-:| ]+\|$", path.read_text(encoding="utf-8"), re.M)) for path in PAGES)
    assert sum(map(tables, NOTEBOOKS)) + written <= MOST_TABLES


@pages
def test_verdicts_are_badges_beside_sentences(path):
    said = prose(path)
    assert not [name for name in GLUED.findall(said) if name in CLAIMS], "verdicts as words"
    assert not re.findall(r"[Tt]hat [^.!?\n]{3,100}: (?:\*\*|\{glue|\{verdict).*", said), "a riddle: 'that it …: '"
    assert not re.findall(r": \**(?:holds|fails|undecided)\b.*", said)
    assert not [name for name in BADGE.findall(said) if name not in CLAIMS], "no such claims"
    inside = []
    for block in paragraphs(said):
        for found in BADGE.finditer(block):
            before, after = BADGE.sub("", block[: found.start()]).rstrip(" "), block[found.end() :].lstrip(" ")
            if before and not re.search(r"[.!?:;,)|][\"'*)]*$|:s`$", before) and not re.match(r"[.;,)]|$", after):
                inside.append(block[max(0, found.start() - 60) : found.end()])
    assert not inside, "a badge stands where a sentence or a part of it ends"


@notebooks
def test_every_claim_of_a_section_has_its_badge(path):
    badges = set(BADGE.findall(prose(path)))
    assert not [name for name, claim in CLAIMS.items() if claim["section"] == path.stem and name not in badges]


@pages
def test_sentences_are_short(path):
    long = {sentence: number for sentence in sentences(prose(path)) if (number := words(sentence)) > LONGEST}
    assert not long


@notebooks
def test_captions_and_alt_texts_have_words_instead_of_identifiers(path):
    figures = re.findall(r"^(:{3,})\{glue:figure\} \S+\n(.*?)^\1 *$", prose(path), re.M | re.S)
    assert figures
    for _, body in figures:
        said = re.sub(r"^:name:.*$", "", GLUED.sub("", re.sub(r"\{\w+\}`[^`]*`", "", body)), flags=re.M)
        assert not IDENTIFIERS.findall(said), body


def test_no_caption_on_the_site_has_an_identifier(reproduced):
    """What is glued into captions is in words, too."""
    from bs4 import BeautifulSoup

    found = {}
    for path in (reproduced[0] / "_build" / "html" / "notebooks").glob("*.html"):
        page = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        for caption in page.select("figure figcaption > p, figure > img"):
            said = caption.get("alt") or caption.get_text()
            if names := IDENTIFIERS.findall(said):
                found[path.stem, said[:60]] = names
    assert not found
