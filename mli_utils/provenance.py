"""What made a number: code, machine, libraries, time."""

import functools
import os
import platform
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path


@functools.cache
def code() -> str:
    """The commit of the package, with `+` where files differ from it; the package's version outside a checkout."""

    def git(*args):
        return subprocess.run(
            ["git", "-C", Path(__file__).parent, *args], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "--short=10", "HEAD") + ("+" if git("status", "--porcelain", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return metadata.version("mli-utils")


@functools.cache
def processor() -> str:
    """The processor's name and how many of its cores this process may use."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
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


def stamp(device: str) -> dict[str, str]:
    """The provenance of something made now on a device of this name. Host and user are left out on purpose."""
    return {
        "code": code(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": device,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **_libraries(),
    }


@functools.cache
def _libraries() -> dict[str, str]:
    return {name: metadata.version(name) for name in ("torch", "numpy", "scikit-learn")}
