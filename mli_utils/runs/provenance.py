"""Provenance of numbers: code, machine, libraries, time."""

import functools
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import mli_utils
from mli_utils.runs import settings

# Libraries that pages depend on.
MAKERS = (
    *("torch", "torchvision", "numpy", "scipy", "scikit-learn", "pandas", "matplotlib", "seaborn", "plotly"),
    *("jupyter-book", "sphinx", "myst-nb", "sphinx-book-theme", "sphinxcontrib-bibtex", "sphinx-mathjax-offline"),
)


@functools.cache
def code(*also: str) -> str:
    """Return the project's commit, with `+` if the package or the files in `also` differ from it.

    Only a repository whose top level is the project's own folder counts. Without one, return the version and a note
    that no commit is known.

    Parameters
    ----------
    also : further files that the number depends on, relative to the project's folder
    """
    try:
        commit = _git(settings.PACKAGE, "rev-parse", "--short=10", "HEAD")
        files = ["mli_utils", *(name for name in also if settings.root() == settings.PACKAGE)]
        changed = _git(settings.PACKAGE, "status", "--porcelain", "--untracked-files=normal", "--", *files)
    except (OSError, ValueError, subprocess.CalledProcessError):
        return f"{mli_utils.__version__} (no commit)"
    return commit + ("+" if changed else "")


def _git(home: Path, *arguments: str) -> str:
    """Run git in a folder that is the top level of its repository, and return what it prints.

    OSError or CalledProcessError if git is missing or fails, or the folder is no repository of its own.
    """
    # Git may refuse another user's folder, whose configuration could run programs; this package runs already.
    trusted = ["-c", f"safe.directory={home}", "-c", "core.fsmonitor=false"]
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    def run(*given: str) -> str:
        command = ["git", *trusted, "-C", str(home), *given]
        return subprocess.run(command, env=own, capture_output=True, check=True).stdout.decode().strip()

    if Path(run("rev-parse", "--show-toplevel")).resolve() != home:
        raise FileNotFoundError(f"{home} is no repository of its own")
    return run(*arguments)


def history(file: str) -> list[tuple[str, str]]:
    """Return commit and time (UTC) of every change of a file of the book, newest first; empty without a full history.

    In a shallow clone its oldest commit seems to have made every file.
    """
    try:
        if _git(settings.root(), "rev-parse", "--is-shallow-repository") == "true":
            return []
        lines = _git(settings.root(), "log", "--format=%H %ct", "--", file).splitlines()
    except (OSError, ValueError, subprocess.CalledProcessError):
        return []
    pairs = (line.split() for line in lines)
    return [(commit, datetime.fromtimestamp(int(time), UTC).isoformat(timespec="seconds")) for commit, time in pairs]


def file_at(commit: str, file: str) -> str:
    """Return the text of a file of the book at a commit; OSError or CalledProcessError where there is none."""
    return _git(settings.root(), "show", f"{commit}:{file}")


@functools.cache
def processor() -> str:
    """Return the processor's name and the number of cores that this process may use."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{name}, {cores()} cores"


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def device_name(device: str) -> str:
    """Return the name of a device: the processor for `cpu`, the GPU for `cuda`."""
    if device == "cuda":
        import torch

        return torch.cuda.get_device_name()
    return processor()


def date_range(stamps: Iterable[dict]) -> str:
    """Return the date of these stamps, or the first and the last."""
    dates = sorted(stamp["date"][:10] for stamp in stamps)
    return dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"


def stamp(device: str, *also: str) -> dict[str, str]:
    """Return the provenance of a result made now on `device`, by the package and the files in `also`.

    Host and user are left out on purpose.
    """
    return {
        "code": code(*also),
        "date": now(),
        "device": device,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **_libraries(),
    }


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@functools.cache
def _libraries() -> dict[str, str]:
    return {name: version(name) for name in ("torch", "numpy", "scikit-learn")}


@functools.cache
def installed() -> dict[str, str]:
    """Return the versions, by name, of Python and of every library that pages and site depend on."""
    return {name: version(name) for name in MAKERS} | {"python": sys.version}


def version(distribution: str) -> str:
    """Return the version of a library, or `unknown` if its metadata is missing."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "unknown"
