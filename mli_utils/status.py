"""Pages that are made from data whenever the book is rendered: the status of every page, and how to cite."""

import re

import yaml

from mli_utils import api, contents, settings
from mli_utils.config import InputError
from mli_utils.store import write_atomically

FOLDER = "made"  # of `book/`, ignored by git


def write() -> None:
    """Write the pages of `book/made` that the table of contents names; those that would be the same are left alone.

    Raises
    ------
    InputError
        A page of that folder that nothing makes.
    """
    makers = {"status": status, "api": api.page, "citation": citation}
    for entry in contents.files():
        folder, _, name = entry.rpartition("/")
        if folder != FOLDER:
            continue
        if name not in makers:
            raise InputError(f"book/_toc.yml: {entry} is made by nothing; known: {', '.join(makers)}")
        path, text = settings.root() / "book" / FOLDER / f"{name}.md", makers[name]()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_atomically(path, text.encode())


def status() -> str:
    """When, how long, where and from which record every page was made, and with which parameters, in MyST Markdown."""
    pages = {name: about for name in contents.sections() if (about := contents.about(name))}
    profile = ", ".join(sorted({about["profile"] for about in pages.values()}))
    record = contents.recorded(profile)

    def of(name: str) -> str:
        return ", ".join(sorted({about[name] for about in pages.values()}))

    afresh = [f"{{doc}}`/notebooks/{name}`" for name, about in pages.items() if about["mode"] != "book"]
    source = "computed afresh" if len(afresh) == len(pages) else "read from the record, `results/`, and nothing trained"
    mixed = f", but for {', '.join(afresh)}, computed afresh" if 0 < len(afresh) < len(pages) else ""
    lines = [
        "(status)=",
        "# Status",
        "",
        f"Profile `{profile}`: numbers were {source}{mixed}. Pages were run on {of('device')}, {of('system')}, with "
        f"Python {of('python')}, torch {of('torch')}, NumPy {of('numpy')} and scikit-learn {of('scikit-learn')}; one "
        f"after the other they took {_seconds(sum(about['seconds'] for about in pages.values()))}. A `+` after a "
        "commit says that files differed from it.",
        "",
        "| page | run (UTC) | took | code | record made | took then | code then |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, about in pages.items():
        then = record.get(name) if about["mode"] == "book" else None
        cells = [f"{{doc}}`/notebooks/{name}`", _when(about), _seconds(about["seconds"]), f"`{about['code']}`"]
        cells += [_when(then), _seconds(then["work"]), f"`{then['code']}`"] if then else ["–"] * 3
        lines.append(f"| {' | '.join(cells)} |")
    machines = sorted({then["device"] for then in record.values()}) if record else []
    if machines and any(about["mode"] == "book" for about in pages.values()):
        lines += [
            "",
            f"The record's pages were run on {', '.join(machines)}. *Took then* counts the training of their networks; "
            "where and when that was stands below each figure.",
        ]
    lines += ["", "## Parameters that differ from the default", ""]
    for name, about in pages.items():
        changed = [f"`{key}` = `{_short(value)}`" for key, value in about["parameters"].items()]
        lines.append(f"{{doc}}`/notebooks/{name}`\n: {', '.join(changed) or 'none'}\n")
    return "\n".join(lines)


def citation() -> str:
    """How to cite the book and the paper, from `CITATION.cff` and `book/references.bib`, in MyST Markdown."""
    cff = yaml.safe_load((settings.root() / "CITATION.cff").read_text(encoding="utf-8"))
    authors = " and ".join(f"{{{author['name']}}}" for author in cff["authors"])
    fields = {
        "title": f"{{{cff['title']}}}",
        "author": authors,
        "version": cff["version"],
        "year": str(cff["date-released"])[:4],
        "url": cff.get("repository-code", ""),
    }
    entry = "\n".join(f"  {name:<7} = {{{value}}}," for name, value in fields.items() if value)
    works = (settings.root() / "book" / "references.bib").read_text(encoding="utf-8")
    paper = re.search(r"^@\w+\{wang2023,.*?^\}", works, re.M | re.S)[0]
    return (
        "(citation)=\n# How to cite\n\n"
        f"{cff['message']} `CITATION.cff` in the repository says the same to machines.\n\n"
        f"```bibtex\n@software{{mli_utils,\n{entry}\n}}\n```\n\n"
        f"The paper itself, {{cite:t}}`wang2023`:\n\n```bibtex\n{paper}\n```\n\n"
        "A number is best cited with the line of provenance below its figure; {ref}`status` has the code's version.\n"
    )


def _when(about: dict) -> str:
    return about["date"][:16].replace("T", " ")


def _seconds(number: float) -> str:
    minutes, seconds = divmod(round(number), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def _short(value) -> str:
    """A parameter in one line."""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_short(item)}" for key, item in value.items())
    return str(value)
