"""Jupyter Book in a process of its own, which loads its imports while notebooks run: four seconds of a book.

`python -m mli_utils.book.ahead` is that process. It takes its arguments from standard input.
"""

import gc
import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import mli_utils
from mli_utils.book import kernels
from mli_utils.runs import settings


class JupyterBook:
    """A process of Jupyter Book that waits for what to build. It ends with its context."""

    process: subprocess.Popen | None = None

    def __enter__(self) -> "JupyterBook":
        self.folder = tempfile.TemporaryDirectory()
        return self

    def start(self) -> subprocess.Popen:
        """Start the process unless it runs already; return it."""
        self.process = self.process or subprocess.Popen(
            [sys.executable, "-m", "mli_utils.book.ahead"],
            cwd=settings.root(),
            env={**os.environ, **kernels.environment(Path(self.folder.name))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        return self.process

    def __exit__(self, *raised: object) -> None:
        if self.process:
            self.process.kill()
            self.process.communicate()
        self.folder.cleanup()

    def run(self, *arguments: str) -> tuple[int, str]:
        """Run `jupyter-book` with these arguments, once; return its exit status and what it said."""
        process = self.start()
        said, _ = process.communicate(json.dumps(arguments))
        return process.returncode, said


# What Jupyter Book imports only when it builds.
LOADED = (
    "jupyter_book.sphinx",
    "myst_nb.sphinx_ext",
    "sphinx.builders.html",
    "sphinx_book_theme",
    "sphinxcontrib.bibtex",
)
# New objects between two collections of garbage: pages are trees of many, and collections took an eighth of a build.
SELDOM = 100_000


def main() -> None:
    """Load Jupyter Book and the package, whose names a page describes; then run what is asked for."""
    for module in LOADED:
        importlib.import_module(module)
    jupyter_book = importlib.import_module("jupyter_book.cli.main")
    for name in mli_utils.__all__:
        getattr(mli_utils, name)
    gc.freeze()
    gc.set_threshold(SELDOM)
    jupyter_book.main(json.load(sys.stdin))


if __name__ == "__main__":
    main()
