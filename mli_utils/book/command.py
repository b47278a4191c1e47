"""The command line that the Makefile calls: `python -m mli_utils COMMAND`."""

import argparse
import functools
import http.server
import os
import signal
import sys
import time
from pathlib import Path

from mli_utils.book import jobs, record, runner, site
from mli_utils.book.ahead import JupyterBook
from mli_utils.claims import design, ledger, sources
from mli_utils.core.config import InputError, MLIError
from mli_utils.runs import settings


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence."""

    def error(self, message):
        raise InputError(f"{message}; 'python -m mli_utils --help' shows what is allowed")


def parser() -> Parser:
    top = Parser(prog="python -m mli_utils", description="Reproduce the paper and render the book.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    made = {}
    for name, run, said in (
        ("reproduce", make_book, "run every notebook afresh into its own store, then render the book"),
        ("book", make_book, "run every notebook from the record, training nothing, then render the book"),
        ("record", make_record, "write what the pages of a profile were made from into results/"),
        ("pilot", make_pilot, "keep what the pages of profile pilot found of the claims, to say what decides them"),
        ("data", make_data, "download and check every image set"),
        ("lab", show_lab, "edit the notebooks in JupyterLab"),
        ("serve", serve, "show the rendered book at an address of this machine"),
        ("pdf", make_pdf, "the rendered book as one file, through Chromium"),
    ):
        made[name] = commands.add_parser(name, help=said, description=said)
        made[name].set_defaults(run=run)
    for name in ("reproduce", "book", "record"):
        default = "the best record" if name == "book" else settings.DEFAULT_PROFILE
        made[name].add_argument("--profile", default="", help=f"a file of profiles/ (default: {default})")
        made[name].add_argument("--section", default="", help="numbers or names of notebooks")
    for name in ("reproduce", "book"):
        made[name].add_argument("--jobs", type=int, help="notebooks side by side (default: 2 on a CPU, 1 on a GPU)")
        made[name].add_argument("-p", dest="changes", nargs="*", default=[], metavar="NAME=VALUE", help="parameters")
    made["serve"].add_argument("--port", type=int, default=8000)
    return top


def make_book(asked: argparse.Namespace) -> None:
    settings.project()
    os.environ["MLI_MODE"] = asked.command
    if settings.asked_device() == "cuda":
        settings.device()  # reports a missing GPU before anything runs
    profile = asked.profile or settings.asked_profile()
    if profile or asked.command == "reproduce":
        planned = jobs.plan(profile or settings.profile(), asked.section, asked.changes)
    else:
        best = record.best_records()
        plans = {each: jobs.plan(each, asked.section, asked.changes) for each in set(best.values())}
        planned = [job for name in best for job in plans[best[name]] if job.name == name]
    profile = {job.name: job.profile for job in planned}.get(sources.LEDGER, planned[-1].profile)
    if asked.command == "reproduce" and settings.scheduler():
        from mli_utils.runs import parallel

        with parallel.workers():  # an error of the cluster comes before anything runs
            pass
    began = time.monotonic()
    try:
        with JupyterBook() as book:
            runner.run(planned, asked.jobs, book.start)
            found = ledger.write(profile)
            print(_rendered(asked.section, book))
    except KeyboardInterrupt as error:
        raise type(error)(f"kept under {settings.root()}: {runner.count_kept(profile)}") from None
    minutes, seconds = divmod(round(time.monotonic() - began), 60)
    print(f"{minutes} min {seconds} s")
    if asked.command == "reproduce":
        print(f"\n{ledger.report(profile, found)}")


def _rendered(section: str, book: JupyterBook) -> str:
    """Render the book; return a line with its path."""
    first = site.render(book)
    lacking = sources.lacking()
    if not lacking:
        return f"the book: {first}"
    page = first if not section else first.parent / "notebooks" / f"{jobs.section_name(section.split()[0])}.html"
    return f"the page: {page}; no page yet for {', '.join(lacking)}: 'make reproduce' makes the whole book"


def make_record(asked: argparse.Namespace) -> None:
    print(f"the record: {record.write(jobs.plan(asked.profile or settings.profile(), asked.section))}")


def make_pilot(asked: argparse.Namespace) -> None:
    for job in jobs.plan(design.PROFILE):
        if sources.about(job.name).get("profile") != design.PROFILE:
            raise MLIError(f"no page of {job.name} under profile {design.PROFILE}; 'make pilot' makes it")
    design.write_pilot(ledger.entries(design.PROFILE))
    print(f"the pilot: {settings.root() / design.PILOT}")


def make_pdf(asked: argparse.Namespace) -> None:
    settings.project()
    print(f"the book on paper: {site.pdf()}")


def make_data(asked: argparse.Namespace) -> None:
    from mli_utils.runs import images

    for name in images.DOWNLOADED:
        print(f"{name}: {images.fetch(name)}")


def show_lab(asked: argparse.Namespace) -> None:
    """Replace this process by JupyterLab with this checkout's notebooks and package."""
    notebooks = settings.project() / "notebooks"
    os.environ |= {"PYTHONPATH": settings.python_path(), "MLI_ROOT": str(settings.root())}
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "jupyterlab", str(notebooks)])


def serve(asked: argparse.Namespace) -> None:
    folder = settings.root() / "_build" / "html"
    if not (folder / "index.html").exists():
        raise InputError(f"{folder} is not there; 'make book' renders it")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", asked.port), handler)
    except (OSError, OverflowError) as error:
        said = getattr(error, "strerror", None) or error
        raise InputError(f"PORT={asked.port} cannot be had ({said}); allowed: a free port, such as PORT=8001") from None
    with server:
        print(f"the book: http://127.0.0.1:{server.server_port}/ (Ctrl-C ends it)", flush=True)
        server.serve_forever()


class Terminated(KeyboardInterrupt):
    """SIGTERM, handled like Ctrl-C, but with exit status 143."""


def _have_home() -> None:
    """Set HOME to `build/home` if the user has no writable home, since libraries cache there."""
    home = Path(os.path.expanduser("~"))
    if not (home.is_absolute() and os.access(home, os.W_OK)):
        home = settings.root() / "build" / "home"
        home.mkdir(parents=True, exist_ok=True)
        os.environ["HOME"] = str(home)
    if not any(os.environ.get(name) for name in ("LOGNAME", "USER")):
        os.environ["LOGNAME"] = str(os.getuid())  # libraries need a user name


def _terminate(number, frame):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # further ones would interrupt the exit
    raise Terminated


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit status.

    0: success, 1: failure, 2: invalid input, 130: Ctrl-C, 143: SIGTERM.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # prints `?` for characters that the terminal lacks
            stream.reconfigure(errors="replace")
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        asked = parser().parse_args(arguments)
        settings.resolve_paths()
        _have_home()
        asked.run(asked)
    except MLIError as error:
        print(f"mli: {error}", file=sys.stderr)
        return error.exit_status
    except OSError as error:
        if error.filename is None:
            raise
        print(f"mli: {error.filename}: {error.strerror}; what was there is kept", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        what = "terminated" if isinstance(error, Terminated) else "interrupted"
        said = f"; {error}" if str(error) else ""
        print(f"mli: {what}{said}; the same command goes on from there", file=sys.stderr)
        return 128 + (signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT)
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0
