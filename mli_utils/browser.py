"""The book as one file for paper, through a headless Chromium, and a folder served to a browser on this machine."""

import functools
import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mli_utils import publish, settings
from mli_utils.config import InputError

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SECONDS = 300  # for printing


def chromium() -> str:
    """Where a Chromium is.

    Raises
    ------
    InputError
        There is none on the path.
    """
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if not found:
        raise InputError(f"no Chromium here ({', '.join(NAMES)}); install one (Debian: apt-get install chromium)")
    return found


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Says nothing of what it is asked."""

    def log_message(self, *_):
        pass


def server(
    folder: Path, port: int = 0, handler: type = http.server.SimpleHTTPRequestHandler
) -> http.server.ThreadingHTTPServer:
    """A server of a folder on a port of this machine, a free one where it is 0; it does not run yet."""
    return http.server.ThreadingHTTPServer(("127.0.0.1", port), functools.partial(handler, directory=str(folder)))


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """A folder behind an address of this machine, which ends with a slash."""

    running = server(folder, handler=Quiet)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{running.server_port}/"
    finally:
        running.shutdown()
        running.server_close()


def pdf() -> Path:
    """Print the rendered pages into `_build/book.pdf`, and return where it is.

    Raises
    ------
    InputError
        No Chromium.
    BookFailed
        Pages that have not been made yet, or a Chromium that does not print.
    """
    program = chromium()
    publish.check_pages()
    folder = publish.build("singlehtml")
    made = settings.root() / "_build" / "book.pdf"
    made.parent.mkdir(exist_ok=True)
    with served(folder) as address:
        command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer"]
        command += ["--virtual-time-budget=30000", f"--print-to-pdf={made}", f"{address}index.html"]
        try:
            done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", timeout=SECONDS)
        except subprocess.TimeoutExpired:
            raise publish.BookFailed(f"Chromium did not print the book within {SECONDS} seconds") from None
    if done.returncode or not made.exists():
        raise publish.BookFailed(f"Chromium did not print the book: {done.stderr.strip()[-300:]}")
    return made
