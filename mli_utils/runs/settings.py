"""File locations and environment variables; no other module reads them. A value that is not allowed: InputError."""

import os
import re
import sys
from pathlib import Path

import platformdirs

from mli_utils.core.config import InputError, choose

BEGAN = os.getcwd()  # base of relative paths in the environment
PATHS = ("MLI_ROOT", "MLI_DATA_DIR", "MLI_STORE", "MLI_FIGURES", "MLI_USED")
PACKAGE = Path(__file__).resolve().parents[2]  # the folder that holds the package
DEVICES = ("auto", "cpu", "cuda")
DRIVERS = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kfd")  # device files of GPUs that torch calls cuda
MODES = ("lab", "reproduce", "book")
GLUED = "application/papermill.record/"  # prefix to the MIME type of an output shown elsewhere
DEFAULT_PROFILE = "small"
FIGURE_MARK = "mli"  # metadata key of outputs that are figures or verdicts, for the runner


def given_path(name: str) -> Path | None:
    """Return the absolute path in an environment variable, or None if unset; InputError for `~` without a home."""
    given = os.environ.get(name)
    if not given:
        return None
    try:
        return Path(BEGAN, Path(given).expanduser())
    except RuntimeError:
        raise InputError(f"{name}={given}: this user has no home; allowed: a path without ~") from None


def resolve_paths() -> None:
    """Make all paths in the environment absolute, for processes that start in other folders."""
    for name in PATHS:
        if path := given_path(name):
            os.environ[name] = str(path)


def python_path() -> str:
    """Return a `PYTHONPATH` with which a process uses this package, whatever else is installed."""
    return os.pathsep.join(filter(None, [str(PACKAGE), os.environ.get("PYTHONPATH")]))


def is_project(folder: Path) -> bool:
    """Tell whether a folder holds the sources of the book."""
    return (folder / "notebooks").is_dir() and (folder / "profiles").is_dir()


def root() -> Path:
    """Return the root folder: `MLI_ROOT`, or the project's folder, which holds the package.

    A package installed without its project uses the user's data folder (on Linux `~/.local/share/mli-utils`).
    """
    if given := given_path("MLI_ROOT"):
        return given.resolve()
    if is_project(PACKAGE):
        return PACKAGE
    own = Path(platformdirs.user_data_dir("mli-utils", appauthor=False))
    if not own.is_absolute():
        raise InputError("this user has no home to keep runs in; set MLI_ROOT to a folder")
    return own


def project() -> Path:
    """Return `root`; InputError if it does not hold the book's sources."""
    if not is_project(root()):
        raise InputError(
            f"{root()} does not hold the book's notebooks/ and profiles/; run this in a checkout of the project, "
            "or set MLI_ROOT to one"
        )
    return root()


def asked_profile() -> str:
    """Return `MLI_PROFILE` as given; empty if unset."""
    return os.environ.get("MLI_PROFILE") or ""


def profile() -> str:
    """Return the profile in use: `MLI_PROFILE`, default `DEFAULT_PROFILE`."""
    return asked_profile() or DEFAULT_PROFILE


def section() -> str:
    """Return the notebook that the runner executes: `MLI_SECTION`; empty in a lab."""
    return os.environ.get("MLI_SECTION") or ""


def mode() -> str:
    """Return `MLI_MODE`, which limits reading and computing.

    `lab` (default): read the store and the committed record, compute missing entries. `reproduce`: read the store only,
    compute missing entries. `book`: read the record only, compute nothing.
    """
    return choose("MLI_MODE", os.environ.get("MLI_MODE") or "lab", MODES)


def data_dir() -> Path:
    """Return the folder of image archives: `MLI_DATA_DIR`, default `data/`."""
    return given_path("MLI_DATA_DIR") or root() / "data"


def build_dir(of_profile: str | None = None) -> Path:
    """Return the folder of a profile's reproduction, except its pages: `build/<profile>`."""
    return root() / "build" / (of_profile or profile())


def store_dir(of_profile: str | None = None) -> Path:
    """Return the folder of finished runs: `MLI_STORE`, default `build/<profile>/store`."""
    return given_path("MLI_STORE") or build_dir(of_profile) / "store"


def lock_file(name: str) -> Path:
    """Return the lock file for making this checkout's page or site of that name: `build/locks/<name>.lock`."""
    return root() / "build" / "locks" / f"{name}.lock"


def record_dir(of_profile: str | None = None) -> Path:
    """Return the folder of a profile's committed record: `results/<profile>`."""
    return root() / "results" / (of_profile or profile())


def bench_file() -> Path:
    """Return the output file of `make bench`: `build/bench.json`."""
    return root() / "build" / "bench.json"


def bench_record() -> Path:
    """Return the file of committed benchmarks: `results/bench.json`."""
    return root() / "results" / "bench.json"


def figures_dir() -> Path:
    """Return the folder for figures: `MLI_FIGURES`, default `figures/` in the working folder (a notebook's own)."""
    return given_path("MLI_FIGURES") or Path("figures")


def used_file() -> Path | None:
    """Return `MLI_USED`: a file that lists every store entry read or written, one address per line."""
    return given_path("MLI_USED")


def asked_device() -> str:
    """Return `MLI_DEVICE` as given: auto (default), cpu or cuda."""
    return choose("device", os.environ.get("MLI_DEVICE") or "auto", DEVICES)


def device() -> str:
    """Return the device: `cuda` if asked for, or if auto and torch sees a GPU; otherwise `cpu`."""
    asked = asked_device()
    if asked == "cpu":
        return "cpu"
    there = False
    # Unless asked for a GPU, don't load torch, which is slow and finds none without a driver.
    if asked == "cuda" or sys.platform != "linux" or any(map(os.path.exists, DRIVERS)):
        import torch

        there = torch.cuda.is_available()
    if asked == "cuda" and not there:
        raise InputError("DEVICE=cuda, but torch sees no CUDA GPU on this machine; allowed here: auto, cpu")
    return "cuda" if there else "cpu"


def checkpoint_seconds() -> float:
    """Return the least number of seconds between two checkpoints: `MLI_CHECKPOINT`, default 60."""
    asked = os.environ.get("MLI_CHECKPOINT") or "60"
    if not re.fullmatch(r"\d+\.?\d*", asked):
        raise InputError(f"MLI_CHECKPOINT={asked} is not allowed; allowed: seconds, such as 60")
    return float(asked)


def scheduler() -> str:
    """Return `MLI_SCHEDULER`, the address of a Dask scheduler; empty: train and measure in this process."""
    asked = os.environ.get("MLI_SCHEDULER") or ""
    if asked and not re.fullmatch(r"(tcp|tls)://(\[[0-9a-fA-F:.]+\]|[^\s/:\[\]]+):\d{1,5}", asked):
        raise InputError(f"SCHEDULER={asked} is not allowed; allowed: tcp://HOST:PORT, as 'dask scheduler' prints it")
    return asked


def threads() -> str:
    """Return `OMP_NUM_THREADS`, the number of threads a process computes with; empty if unset."""
    asked = os.environ.get("OMP_NUM_THREADS", "").strip()
    if asked and not re.fullmatch(r"[1-9]\d*(\s*,\s*[1-9]\d*)*", asked):
        raise InputError(f"OMP_NUM_THREADS={asked} is not allowed; allowed: a whole number from 1 up")
    return asked


def check() -> None:
    """Raise InputError early if the environment holds an invalid value."""
    for read in (mode, asked_device, checkpoint_seconds, scheduler, threads, root, data_dir, store_dir):
        read()


def show_progress() -> bool:
    """Tell whether to draw progress bars: `MLI_PROGRESS` (0 or 1), default: on a terminal or in a notebook."""
    if asked := os.environ.get("MLI_PROGRESS"):
        return choose("MLI_PROGRESS", asked, ("0", "1")) == "1"
    return sys.stderr.isatty() or "ipykernel" in sys.modules
