"""Write the committed record of a profile: the data behind its pages."""

import io
import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from mli_utils.book.jobs import Job
from mli_utils.claims import ledger, sources, statements
from mli_utils.core.config import MLIError
from mli_utils.runs import record as tables
from mli_utils.runs import settings
from mli_utils.runs.files import on_disk, replace_folder
from mli_utils.runs.store import Store

MOST_BYTES, MOST_FILES = 8_000_000, 30  # of a record, which every clone of the repository holds
TABLE = "neighbours"  # the section whose table is data for others, too
LEFT_OUT = ("used", "fingerprint", "claims", "files", "seal")  # fields of `about` that the record omits
OF_THE_PAGE = ("parameters", "figures")  # the others say when, where and by which code it was computed


def best_records() -> dict[str, str]:
    """Return, by section, the profile whose record the book shows.

    It is the one that has enough clusters to decide most of the section's claims, of all claims for the ledger; of
    several, the first of `sources.RECORDS`.

    Raises
    ------
    MLIError
        No record has some section.
    """
    recorded = {profile: sources.recorded(profile) for profile in sources.RECORDS}
    found = {profile: ledger.recorded(profile) for profile in sources.RECORDS}
    claims = statements.load()

    def decidable(profile: str, section: str) -> int:
        shown = [claim.id for claim in claims if section in (claim.section, sources.LEDGER)]
        return sum((found[profile].get(claim, {}).get("n") or 0) >= statements.FEWEST for claim in shown)

    wanted = sources.sections()
    having = {name: [profile for profile in sources.RECORDS if name in recorded[profile]] for name in wanted}
    if lacking := [name for name, profiles in having.items() if not profiles]:
        raise MLIError(
            f"no record in results/ has {', '.join(lacking)}; 'make reproduce' and 'make record' make one, PROFILE= "
            "renders the book from one of your choice"
        )
    return {name: max(profiles, key=lambda profile: decidable(profile, name)) for name, profiles in having.items()}


def write(jobs: Sequence[Job]) -> Path:
    """Write the stored results and claims of a profile's pages into its record; return the record's folder.

    Other sections keep their recorded results. The README's figures are recorded too, and so are this machine's
    benchmarks if none of the recorded ones is missing.

    Parameters
    ----------
    jobs : sections to record, all under one profile

    Raises
    ------
    MLIError
        A page is missing, was made under another profile or with other parameters, or was changed afterwards; a run
        differs from the one that another section recorded; or the record would be too large (`MOST_BYTES`,
        `MOST_FILES`). The old record stays.
    """
    profile = jobs[0].profile
    pages = {job.name: _page(job) for job in jobs}
    others = set(sources.sections()) - pages.keys()
    store, target = Store.default(profile, "reproduce"), settings.record_dir(profile)
    before, rows = tables.Record(target, strict=True), {}
    recorded = cache(before.entries)  # read only if needed: a damaged record may be made anew
    kept = {name: before.read(name) for name in before.sums} if others else {}
    for name, row in recorded().items() if others else ():
        if sections := sorted(others.intersection(row["sections"])):
            rows[name] = {**row, "sections": sections}
    for section, about in pages.items():
        for name in about["used"]:
            if name in rows:
                entry = store.entry(name) if about["mode"] != "book" else None
                if entry and entry["body"].get("arrays") != rows[name].get("arrays"):
                    raise MLIError(
                        f"{name} was trained twice, for {section} and for {', '.join(rows[name]['sections'])}, with "
                        "different results; 'make reproduce' these sections with one store and record them together"
                    )
                rows[name]["sections"] = sorted({*rows[name]["sections"], section})
            elif entry := store.entry(name):
                rows[name] = tables.row(entry["key"], entry["body"], [section])
            elif name in recorded():  # the page was rendered from the record
                rows[name] = {**recorded()[name], "sections": [section]}
            else:
                raise MLIError(f"{name}, which {section} used, is not in the store; 'make reproduce' makes it again")
    from_record = any(page["mode"] == "book" for page in pages.values())
    then = before.json("about.json") or {} if others or from_record else {}
    about = {**then, **{name: _kept(page, then.get(name, {})) for name, page in pages.items()}}
    in_order = {name: about[name] for name in sources.sections() if name in about}
    files = {
        "about.json": (json.dumps(in_order, indent=1) + "\n").encode(),
        "claims.json": ledger.json_text(ledger.entries(profile, pages)).encode(),
    }
    files |= _shown(profile, pages, then, kept)
    target.parent.mkdir(exist_ok=True)
    with on_disk("write", target), tempfile.TemporaryDirectory(dir=target.parent, prefix=".new-") as folder:
        fresh = Path(folder) / profile
        tables.write(fresh, rows, files)
        _check_size(fresh)
        record_benchmarks()
        replace_folder(target, fresh)
    return target


def _shown(profile: str, pages: dict, then: dict, kept: dict) -> dict[str, bytes]:
    """Return the README's figures and section 11's table: of these pages as they are now, of others as recorded."""
    made = {name for page in pages.values() for name in page["files"]}
    gone = {f"{name}.png" for page in pages for name in then.get(page, {}).get("figures", ())} - made
    readme = (settings.root() / "README.md").read_text(encoding="utf-8")
    wanted = {f"figures/{name}" for name in re.findall(rf"results/{profile}/figures/([\w-]+\.png)", readme)}
    tables_of = made if any(TABLE in page for page in pages) else kept
    wanted |= {name for name in tables_of if re.fullmatch(rf"{TABLE}.*\.csv", name)}
    files = {}
    for path in sorted(wanted):
        name = Path(path).name
        if name in made:
            found = (sources.figures_folder() / name).read_bytes()
            files[path] = _few_colours(found) if name.endswith(".png") else found
        elif path in kept and name not in gone:
            files[path] = kept[path]
        elif name in gone or set(pages) == set(sources.sections()):
            raise MLIError(f"README.md shows {name}, which no page of profile {profile} has")
    return files


def _few_colours(png: bytes) -> bytes:
    """Return a picture in at most 256 colours: a figure of lines looks the same and takes a third of the bytes."""
    from PIL import Image

    made = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(256).save(made, "PNG", optimize=True)
    return made.getvalue()


def _check_size(folder: Path) -> None:
    """Raise MLIError if a record is too large to commit; the message names its largest file."""
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    whole, largest = sum(sizes.values()), max(sizes, key=lambda name: sizes[name])
    if whole > MOST_BYTES or len(sizes) > MOST_FILES:
        raise MLIError(
            f"the record would take {whole / 1e6:.1f} MB in {len(sizes)} files, the largest {largest}; allowed: "
            f"{MOST_BYTES / 1e6:g} MB in {MOST_FILES} files; the old record is kept"
        )


def _page(job: Job) -> dict:
    """Return `about` of a job's page; raise MLIError if the page is missing, has other parameters or was changed."""
    made = sources.about(job.name)
    how = f"'make reproduce PROFILE={job.profile}' makes it"
    if made.get("profile") != job.profile or made["parameters"] != job.parameters:
        raise MLIError(f"no page of {job.name} under profile {job.profile}; {how}")
    if not sources.intact(job.name):
        raise MLIError(f"the page of {job.name} or one of its figures was changed after it was made; {how} again")
    return made


def _kept(about: dict, then: dict) -> dict:
    """Return what the record says of a page; what computed its results stays if the page was rendered from it."""
    kept = {key: value for key, value in about.items() if key not in LEFT_OUT}
    if about["mode"] == "book":
        kept |= {key: value for key, value in then.items() if key not in OF_THE_PAGE}
    return kept


def record_benchmarks() -> None:
    """Replace the recorded benchmarks by those of `make bench`, unless some are missing."""
    own, recorded = settings.bench_file(), settings.bench_record()
    measured, there = ({row["name"] for row in _rows(path)} for path in (own, recorded))
    if measured and measured >= there:
        shutil.copyfile(own, recorded)


def _rows(path: Path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
