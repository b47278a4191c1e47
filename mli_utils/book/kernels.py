"""Kernels for notebooks: this interpreter and this package, without the user's configuration.

Notebooks behave as in JupyterLab, except that the user's matplotlibrc, IPython startup files and installed kernels are
ignored.

On Linux one process imports what the notebooks import, and kernels are forked from it. Separate imports would
take half a minute of the profile `small` on two cores. A fork continues as `python -m ipykernel_launcher`.
"""

import contextlib
import gc
import importlib
import json
import os
import runpy
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterable
from pathlib import Path

import psutil
from ipykernel.kernelspec import make_ipkernel_cmd
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner

from mli_utils.runs import settings

# Variables that would bring a user's code or settings into a kernel. Empty values disable them.
PRIVATE = ("PLOTLY_RENDERER", "PYTHONSTARTUP", "PYTHONWARNINGS", "JUPYTER_CONFIG_PATH", "JUPYTER_PATH")
LONGEST_SOCKET = 96  # characters that leave room for a number in the path of a Unix socket
# Registered first, this exit handler runs last. Otherwise a kernel takes two seconds to take its interpreter down.
LEAVE = "import atexit, os; atexit.register(os._exit, 0)"
LOADED = (
    "ipykernel.kernelapp",
    "ipykernel.debugger",
    "matplotlib.pyplot",
    "pandas.io.formats.style",
    "mli_utils.runs.measured",
)


def environment(folder: Path) -> dict[str, str]:
    """Return the environment variables that kernels and Jupyter Book get on top of this process's.

    Parameters
    ----------
    folder : temporary folder for configuration files
    """
    folder.mkdir(parents=True, exist_ok=True)
    return {
        **dict.fromkeys(PRIVATE, ""),
        "IPYTHONDIR": str(folder / "ipython"),
        "JUPYTER_CONFIG_DIR": str(folder / "jupyter"),
        "MATPLOTLIBRC": os.devnull,  # an empty file
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # ipykernel's default
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # silences a warning of the debugger
        "PYTHONPATH": settings.python_path(),
        "PYTHONUTF8": "1",
    }


def manager(added: dict[str, str], loader: "Loader | None" = None) -> type[AsyncKernelManager]:
    """Return a kernel manager class that ignores installed kernels and adds `added` to the environment.

    Parameters
    ----------
    loader : process to fork kernels from; None starts each kernel separately
    """
    literal = {name: value.replace("$", "$$") for name, value in added.items()}  # Jupyter expands ${NAME}
    kernel = KernelSpec(argv=make_ipkernel_cmd(), display_name="Python 3", language="python", env=literal)

    class Forks(LocalProvisioner):
        async def launch_kernel(self, cmd: list[str], **how) -> dict:
            self.process = loader.fork(cmd, how["env"], how["cwd"])
            self.pid = self.pgid = self.process.pid
            return self.connection_info

    class Manager(AsyncKernelManager):
        kernel_spec = kernel  # whatever is installed

        def __init__(self, **how):
            super().__init__(**how)
            sockets = os.path.join(tempfile.gettempdir(), f"mli-{uuid.uuid4().hex[:12]}")
            if os.name == "posix" and len(sockets) < LONGEST_SOCKET:
                self.transport, self.ip = "ipc", sockets  # two programs may choose one TCP port at once
            if loader:
                self.provisioner = Forks(parent=self, kernel_spec=kernel)

    return Manager


class Loader:
    """A process with the notebooks' imports loaded, from which kernels are forked. It ends with its context.

    Parameters
    ----------
    environment : variables added to this process's environment
    sections : names of notebooks, whose modules are loaded
    """

    def __init__(self, environment: dict[str, str], sections: Iterable[str] = ()):
        self.environment, self.turn = {**os.environ, **environment}, threading.Lock()
        used = [f"mli_utils.sections.{name}" for section in sections if (name := section.partition("_")[2])]
        used += ["distributed"] if settings.scheduler() else []
        self.modules = [*LOADED, *used]

    def __enter__(self) -> "Loader":
        self.socket, theirs = socket.socketpair()
        self.answers = self.socket.makefile("rb")
        with theirs:
            command = f"{LEAVE}; from mli_utils.book import kernels; kernels.serve({theirs.fileno()}, {self.modules})"
            self.process = subprocess.Popen(
                [sys.executable, "-c", command],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C in the terminal does not reach it
            )
        return self

    def __exit__(self, *raised: object) -> None:
        self.answers.close()
        self.socket.close()  # ends the process
        self.process.wait()

    def fork(self, command: list[str], environment: dict[str, str], folder: str) -> "Fork":
        """Fork a kernel; wait until the imports are loaded.

        Raises
        ------
        RuntimeError
            The process has died.
        """
        wanted = {"arguments": command[command.index("-m") + 2 :], "environment": environment, "folder": folder}
        with self.turn:
            try:
                self.socket.sendall(json.dumps(wanted).encode() + b"\n")
                return Fork(int(self.answers.readline()))
            except (OSError, ValueError):  # ValueError: no answer
                raise RuntimeError("the process that kernels are forked from has died") from None


class Fork(psutil.Process):
    """A forked kernel, with the attributes of `subprocess.Popen` that Jupyter's provisioner uses."""

    stdin = stdout = stderr = None

    def poll(self) -> int | None:
        """Return None while the kernel runs, then −1, since its exit status is unknown here."""
        try:
            return None if self.is_running() and self.status() != psutil.STATUS_ZOMBIE else -1
        except psutil.NoSuchProcess:
            return -1

    def wait(self, timeout: float | None = None) -> int | None:
        return self.poll()


def serve(number: int, modules: Iterable[str]) -> None:
    """Load modules; fork a kernel for each request on the socket and answer with its process id."""
    with socket.socket(fileno=number) as connection, connection.makefile("rb") as requests:
        for module in modules:
            with contextlib.suppress(Exception):  # the notebook that needs it imports it again, and shows what is wrong
                importlib.import_module(module)
        gc.collect()
        gc.freeze()  # keeps memory shared with the forks, whose collections pass over it
        for request in requests:
            if not (pid := os.fork()):
                for end in (requests, connection):
                    end.close()
                _be_kernel(**json.loads(request))
                return
            connection.sendall(b"%d\n" % pid)
            with contextlib.suppress(ChildProcessError):  # no children
                while os.waitpid(-1, os.WNOHANG)[0]:  # reap ended kernels
                    continue


def _be_kernel(arguments: list[str], environment: dict[str, str], folder: str) -> None:
    """Continue as `python -m ipykernel_launcher` with these arguments."""
    os.setsid()  # a signal to the kernel's group reaches its children
    os.environ.clear()
    os.environ.update({**environment, "JPY_PARENT_PID": str(os.getppid())})
    os.chdir(folder)
    settings.BEGAN = os.getcwd()
    sys.argv = ["", *arguments]
    sys.path = ["", *filter(None, sys.path)]
    try:
        runpy.run_module("ipykernel_launcher", run_name="__main__", alter_sys=True)
    except OSError as error:  # while it starts; what a cell raises does not arrive here
        sys.exit(f"a kernel could not start: {error}")


def kill_all() -> None:
    """Kill all child processes; calls that wait for a kernel raise."""
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
