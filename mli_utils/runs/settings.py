"""Where files are, and what the environment says. No other module reads either."""

import os
import re
import sys
from pathlib import Path

import platformdirs

from mli_utils.core.config import InputError, choose

BEGAN = os.getcwd()  # where relative paths of the environment were typed
PATHS = ("MLI_ROOT", "MLI_DATA_DIR", "MLI_STORE", "MLI_FIGURES", "MLI_USED")
PACKAGE = Path(__file__).resolve().parents[2]  # the folder that holds the package
DEVICES = ("auto", "cpu", "cuda")
DRIVERS = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kfd")  # of GPUs that torch calls cuda
MODES = ("lab", "reproduce", "book")
GLUED = "application/papermill.record/"  # before the type of an output that is shown elsewhere
FIGURE_MARK = "mli"  # the key of an output's metadata under which the runner finds figures and verdicts


def given_path(name: str) -> Path | None:
    """The path that an environment variable holds, absolute; None where it holds none.

    Raises
    ------
    InputError
        It begins with `~`, and nobody knows this user's home.
    """
    given = os.environ.get(name)
    if not given:
        return None
    try:
        return Path(BEGAN, Path(given).expanduser())
    except RuntimeError:
        raise InputError(f"{name}={given}: this user has no home; allowed: a path without ~") from None


def resolve_paths() -> None:
    """Make every path of the environment absolute, for processes that start in other folders."""
    for name in PATHS:
        if path := given_path(name):
            os.environ[name] = str(path)


def python_path() -> str:
    """`PYTHONPATH` for a process that is to use this package, whatever else is installed."""
    return os.pathsep.join(filter(None, [str(PACKAGE), os.environ.get("PYTHONPATH")]))


def is_project(folder: Path) -> bool:
    """Whether a folder holds the sources of the book."""
    return (folder / "notebooks").is_dir() and (folder / "profiles").is_dir()


def root() -> Path:
    """Where everything is kept: `MLI_ROOT`, or the project's folder, which holds the package.

    Of a package that was installed without its project, the user's own data folder (on Linux
    `~/.local/share/mli-utils`).

    Raises
    ------
    InputError
        None of them is known.
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
    """`root`, where the book's sources are.

    Raises
    ------
    InputError
        They are not there.
    """
    if not is_project(root()):
        raise InputError(
            f"{root()} does not hold the book's notebooks/ and profiles/; run this in a checkout of the project, "
            "or set MLI_ROOT to one"
        )
    return root()


def asked_profile() -> str:
    """`MLI_PROFILE`, as the user put it; empty where nothing is asked for."""
    return os.environ.get("MLI_PROFILE") or ""


def profile() -> str:
    """The profile in force: `MLI_PROFILE`, default `small`."""
    return asked_profile() or "small"


def section() -> str:
    """The notebook that the runner is running: `MLI_SECTION`; empty in a lab."""
    return os.environ.get("MLI_SECTION") or ""


def mode() -> str:
    """`MLI_MODE`, what may be read and made.

    `lab` (default): the store and the committed record are read, what they lack is computed. `reproduce`: the store
    only. `book`: the record only, and nothing is computed.
    """
    return choose("MLI_MODE", os.environ.get("MLI_MODE") or "lab", MODES)


def data_dir() -> Path:
    """Folder of the image archives: `MLI_DATA_DIR`, default `data/`."""
    return given_path("MLI_DATA_DIR") or root() / "data"


def build_dir(of_profile: str | None = None) -> Path:
    """Everything that a profile's reproduction makes, apart from the pages: `build/<profile>`."""
    return root() / "build" / (of_profile or profile())


def store_dir(of_profile: str | None = None) -> Path:
    """Folder of finished runs: `MLI_STORE`, default `build/<profile>/store`."""
    return given_path("MLI_STORE") or build_dir(of_profile) / "store"


def lock_file(name: str) -> Path:
    """What is locked while this checkout's page or site of that name is made: `build/locks/<name>.lock`."""
    return root() / "build" / "locks" / f"{name}.lock"


def record_dir(of_profile: str | None = None) -> Path:
    """The committed part of a profile's store: `results/<profile>`."""
    return root() / "results" / (of_profile or profile())


def bench_file() -> Path:
    """What `make bench` leaves: `build/bench.json`."""
    return root() / "build" / "bench.json"


def bench_record() -> Path:
    """The committed benchmarks: `results/bench.json`."""
    return root() / "results" / "bench.json"


def figures_dir() -> Path:
    """Where figures are saved: `MLI_FIGURES`, default `figures/` in the working folder (a notebook's own)."""
    return given_path("MLI_FIGURES") or Path("figures")


def used_file() -> Path | None:
    """`MLI_USED`: a file that gets the address of every store entry read or written, a line each."""
    return given_path("MLI_USED")


def asked_device() -> str:
    """`MLI_DEVICE`, as the user put it: auto (default), cpu or cuda."""
    return choose("device", os.environ.get("MLI_DEVICE") or "auto", DEVICES)


def device() -> str:
    """Where to compute: `cuda` where it is asked for, or auto and torch sees a GPU; otherwise `cpu`.

    Raises
    ------
    InputError
        Another name, or cuda where torch sees no GPU.
    """
    asked = asked_device()
    if asked == "cpu":
        return "cpu"
    there = False
    if sys.platform != "linux" or any(map(os.path.exists, DRIVERS)):  # without one torch, slow to load, finds no GPU
        import torch

        there = torch.cuda.is_available()
    if asked == "cuda" and not there:
        raise InputError("DEVICE=cuda, but torch sees no CUDA GPU on this machine; allowed here: auto, cpu")
    return "cuda" if there else "cpu"


def checkpoint_seconds() -> float:
    """How long a training goes on between two checkpoints, at least: `MLI_CHECKPOINT`, default 60 seconds.

    Raises
    ------
    InputError
        It is no number from 0 up.
    """
    asked = os.environ.get("MLI_CHECKPOINT") or "60"
    if not re.fullmatch(r"\d+\.?\d*", asked):
        raise InputError(f"MLI_CHECKPOINT={asked} is not allowed; allowed: seconds, such as 60")
    return float(asked)


def scheduler() -> str:
    """`MLI_SCHEDULER`, the address of a Dask scheduler whose workers train and measure; empty: this process does.

    Raises
    ------
    InputError
        It is not an address.
    """
    asked = os.environ.get("MLI_SCHEDULER") or ""
    if asked and not re.fullmatch(r"(tcp|tls)://(\[[0-9a-fA-F:.]+\]|[^\s/:\[\]]+):\d{1,5}", asked):
        raise InputError(f"SCHEDULER={asked} is not allowed; allowed: tcp://HOST:PORT, as 'dask scheduler' prints it")
    return asked


def threads() -> str:
    """`OMP_NUM_THREADS`, how many threads a process computes with; empty where nothing is asked for.

    Raises
    ------
    InputError
        It is no number from 1 up.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "").strip()
    if asked and not re.fullmatch(r"[1-9]\d*(\s*,\s*[1-9]\d*)*", asked):
        raise InputError(f"OMP_NUM_THREADS={asked} is not allowed; allowed: a whole number from 1 up")
    return asked


def check() -> None:
    """Raise InputError where the environment holds something that would be refused later."""
    for read in (mode, asked_device, checkpoint_seconds, scheduler, threads, root, data_dir, store_dir):
        read()


def show_progress() -> bool:
    """Whether progress bars are drawn: `MLI_PROGRESS` (0 or 1), default: on a terminal or in a notebook."""
    asked = os.environ.get("MLI_PROGRESS")
    if asked is not None:
        return asked not in ("", "0")
    return sys.stderr.isatty() or "ipykernel" in sys.modules
