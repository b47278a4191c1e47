"""What made a number: code, machine, libraries, time."""

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

# Other versions of these make other pages.
MAKERS = (
    *("torch", "torchvision", "numpy", "scipy", "scikit-learn", "pandas", "matplotlib", "seaborn", "plotly"),
    *("jupyter-book", "sphinx", "myst-nb", "sphinx-book-theme", "sphinxcontrib-bibtex", "sphinx-mathjax-offline"),
)


@functools.cache
def code(*also: str) -> str:
    """The commit of the project, with `+` where the package or the files in `also` differ from it.

    Only a repository whose top level is the project's own folder counts. Without one: the version, and that there is
    no commit.

    Parameters
    ----------
    also : files that made the number besides the package, named from the project's folder
    """
    home = settings.PACKAGE
    # Git may refuse a folder of another user: its configuration could run programs. This package runs already.
    trusted = ["-c", f"safe.directory={home}", "-c", "core.fsmonitor=false"]
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    def git(*arguments: str) -> str:
        command = ["git", *trusted, "-C", str(home), *arguments]
        return subprocess.run(command, env=own, capture_output=True, check=True).stdout.decode().strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != home:
            raise FileNotFoundError(f"{home} is no repository of its own")
        commit = git("rev-parse", "--short=10", "HEAD")
        files = ["mli_utils", *(name for name in also if settings.root() == home)]
        changed = git("status", "--porcelain", "--untracked-files=normal", "--", *files)
    except (OSError, ValueError, subprocess.CalledProcessError):
        return f"{mli_utils.__version__} (no commit)"
    return commit + ("+" if changed else "")


@functools.cache
def processor() -> str:
    """The processor's name and how many of its cores this process may use."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores"


@functools.cache
def device_name(device: str) -> str:
    """What computes on `cpu` or `cuda`: the processor's name, or the GPU's."""
    if device == "cuda":
        import torch

        return torch.cuda.get_device_name()
    return processor()


def days(stamps: Iterable[dict]) -> str:
    """The day on which things were made, or the first and the last."""
    dates = sorted(stamp["date"][:10] for stamp in stamps)
    return dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"


def stamp(device: str, *also: str) -> dict[str, str]:
    """The provenance of something made now on a device of this name by the package, and `also` by these files.

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
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@functools.cache
def _libraries() -> dict[str, str]:
    return {name: version(name) for name in ("torch", "numpy", "scikit-learn")}


@functools.cache
def installed() -> dict[str, str]:
    """The version of every library that pages and the site are made with, by name, and of Python."""
    return {name: version(name) for name in MAKERS} | {"python": sys.version}


def version(distribution: str) -> str:
    """The version of a library, or `unknown` where it came without a note of it."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "unknown"
