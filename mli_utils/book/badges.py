"""Sphinx extension: the role `verdict`, a badge that links to a claim's card in the ledger; fixes for lines and PDF."""

import re

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

from mli_utils.claims import sources, statements
from mli_utils.core.words import span

LEDGER = f"notebooks/{sources.LEDGER}"
LONGEST_KEPT = 40  # characters of a formula that may stand on a line with a bracket before and a sign after it


class Verdict(SphinxRole):
    """``{verdict}`claim-id```: the verdict that the claim's page has found; `not run` if there is no such page."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        self.config.mli_claims = self.config.mli_claims or _found()
        if self.text not in self.config.mli_claims:
            where = self.get_location()
            logging.getLogger(__name__).warning(f"no claim {self.text!r} in {statements.FILE}", location=where)
            return [nodes.literal("", self.text)], []
        claim, found = self.config.mli_claims[self.text]
        words, looks = statements.BADGES[found["verdict"]], ["verdict", found["verdict"].replace(" ", "-")]
        if LEDGER not in self.env.found_docs:
            return [nodes.inline("", words, classes=looks)], []
        said = f"Claim: {claim.statement}"
        if found["verdict"] != "not run":
            over = f", {statements.counted(found['n'], claim.cluster)}" if claim.cluster != "none" else ""
            said += f" Found: {span(found, '.3g')}{over}; asked: {claim.predicate}."
        builder = self.env.app.builder  # of one page: its ledger may not be read yet, so it knows no address of it
        page = "" if builder.name == "singlehtml" else builder.get_relative_uri(self.env.docname, LEDGER)
        link = f"{page}#{statements.card(claim.id)}"
        return [nodes.reference("", words, refuri=link, reftitle=said, internal=True, classes=looks)], []


def _found() -> dict[str, tuple[statements.Claim, dict]]:
    """Return each claim with what its page has measured, by id."""
    claims = {claim.id: claim for claim in statements.load()}
    pages = [sources.about(section) for section in dict.fromkeys(claim.section for claim in claims.values())]
    measured = {entry["id"]: entry for page in pages for entry in page.get("claims", [])}
    return {name: (claim, measured.get(name, {"verdict": "not run"})) for name, claim in claims.items()}


def _keep_together(app: Sphinx, page: nodes.document) -> None:
    """Keep `%` on the line of its number, and brackets and punctuation on that of the formula that they touch."""
    for text in list(page.findall(nodes.Text)):
        kept = re.sub(r"^ %|(?<=\d) ?%", "\u00a0%", text)  # a number from the data is a node of its own, before ` %`
        if kept != text and not isinstance(text.parent, (nodes.literal, nodes.literal_block, nodes.math, nodes.raw)):
            text.parent.replace(text, nodes.Text(kept))
    for math in list(page.findall(nodes.math)):
        parent, place = math.parent, math.parent.index(math)
        before = parent[place - 1] if place else None
        after = parent[place + 1] if place + 1 < len(parent) else None
        opens = isinstance(before, nodes.Text) and re.search(r"[(\[]$", before)
        closes = isinstance(after, nodes.Text) and re.match(r"[^\s\w(]+", after)
        if not (opens or closes) or len(math.astext()) > LONGEST_KEPT:
            continue
        parent[place] = kept = nodes.inline(classes=["kept"])
        if opens:
            kept += nodes.Text(opens[0])
            parent[place - 1] = nodes.Text(before[: opens.start()])
        kept += math
        if closes:
            kept += nodes.Text(closes[0])
            parent[place + 1] = nodes.Text(after[closes.end() :])


def _same_on_one_page(app: Sphinx, config) -> None:
    """Let the builder of one page, for the PDF, write all nodes; extensions that name it hide the others' nodes."""
    known = app.registry.translation_handlers
    known["singlehtml"] = {**known.get("html", {}), **known.get("singlehtml", {})}


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the role with Sphinx."""
    app.connect("config-inited", _same_on_one_page)
    app.connect("doctree-read", _keep_together)
    app.add_config_value("mli_claims", {}, "")
    app.add_role("verdict", Verdict())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
