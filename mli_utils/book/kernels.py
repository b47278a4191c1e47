"""The kernels that notebooks run in: this interpreter and this package, without private configuration.

A notebook behaves in them as it does in JupyterLab. What a user has set up for other work, a matplotlibrc, IPython's
startup files or a kernel of the same name, does not get into the book.

Thirteen kernels would load torch, pandas and seaborn thirteen times, half a minute of the profile `small` on two cores.
On Linux one process loads them, and kernels are plain forks of it: from the fork on they do what `python -m
ipykernel_launcher` does.
"""

import contextlib
import gc
import json
import os
import runpy
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psutil
from ipykernel.kernelspec import make_ipkernel_cmd
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner
from traitlets import default

from mli_utils.runs import settings

# What would bring a user's own code or look into a kernel, or take the place of its figures. An empty value is none.
PRIVATE = ("PLOTLY_RENDERER", "PYTHONSTARTUP", "PYTHONWARNINGS", "JUPYTER_CONFIG_PATH", "JUPYTER_PATH")
SECTIONS = (settings.PACKAGE / "mli_utils" / "sections").glob("[a-z]*.py")
LOADED = ("ipykernel.kernelapp", "matplotlib.pyplot", *(f"mli_utils.sections.{path.stem}" for path in SECTIONS))


def environment(folder: Path) -> dict[str, str]:
    """What kernels and other programs that make the book have in their environment, on top of this process's.

    Parameters
    ----------
    folder : of this run, for configuration that is empty
    """
    folder.mkdir(parents=True, exist_ok=True)
    empty = folder / "matplotlibrc"
    empty.write_bytes(b"")
    return {
        **dict.fromkeys(PRIVATE, ""),
        "IPYTHONDIR": str(folder / "ipython"),
        "JUPYTER_CONFIG_DIR": str(folder / "jupyter"),
        "MATPLOTLIBRC": str(empty),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # as ipykernel has it where nothing is set
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # a remark of the debugger, which nobody attaches
        "PYTHONPATH": settings.python_path(),
        "PYTHONUTF8": "1",
    }


def manager(added: dict[str, str], loader: "Loader | None" = None) -> type[AsyncKernelManager]:
    """The class of managers whose kernels have `added` in their environment, whatever kernels are installed.

    Parameters
    ----------
    loader : what kernels are forked from; None: each is started by itself
    """
    literal = {name: value.replace("$", "$$") for name, value in added.items()}  # Jupyter fills in ${NAME}
    kernel = KernelSpec(argv=make_ipkernel_cmd(), display_name="Python 3", language="python", env=literal)

    class OnlyThis(KernelSpecManager):
        def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
            return kernel

    class Forks(LocalProvisioner):
        async def launch_kernel(self, cmd: list[str], **how) -> dict:
            self.process = loader.fork(cmd, how["env"], how["cwd"])
            self.pid = self.pgid = self.process.pid
            return self.connection_info

    class Manager(AsyncKernelManager):
        def __init__(self, **how):
            super().__init__(**how)
            if loader:
                self.provisioner = Forks(parent=self, kernel_spec=kernel)

        @default("kernel_spec_manager")
        def _only_this(self) -> KernelSpecManager:
            return OnlyThis()

    return Manager


class Loader:
    """A process that has loaded what notebooks import, for kernels to be forked from. It ends with its context.

    Parameters
    ----------
    environment : of the process and its forks while they load, on top of this process's
    """

    def __init__(self, environment: dict[str, str]):
        self.environment, self.turn = {**os.environ, **environment}, threading.Lock()

    def __enter__(self) -> "Loader":
        self.socket, theirs = socket.socketpair()
        self.answers = self.socket.makefile("rb")
        with theirs:
            command = f"from mli_utils.book import kernels; kernels.serve({theirs.fileno()})"
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
        self.socket.close()  # it ends then
        self.process.wait()

    def fork(self, command: list[str], environment: dict[str, str], folder: str) -> "Fork":
        """Fork a kernel, once everything is loaded.

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
            except (OSError, ValueError):  # the latter: no answer
                raise RuntimeError("the process that kernels are forked from has died") from None


class Fork(psutil.Process):
    """A forked kernel, with what Jupyter's provisioner wants of a `subprocess.Popen`."""

    stdin = stdout = stderr = None

    def poll(self) -> int | None:
        """None while it runs; what it ended with is not known to this process."""
        try:
            return None if self.is_running() and self.status() != psutil.STATUS_ZOMBIE else -1
        except psutil.NoSuchProcess:
            return -1

    def wait(self, timeout: float | None = None) -> int | None:
        return self.poll()


def serve(number: int) -> None:
    """Load what notebooks import; fork a kernel for each request that comes through a socket, and answer its number."""
    with socket.socket(fileno=number) as connection, connection.makefile("rb") as requests:
        for module in LOADED:
            __import__(module)
        gc.collect()
        gc.freeze()  # so that what is shared stays shared
        for request in requests:
            if not (pid := os.fork()):
                for end in (requests, connection):
                    end.close()
                _be_kernel(**json.loads(request))
                return
            connection.sendall(b"%d\n" % pid)
            with contextlib.suppress(ChildProcessError):  # there are none
                while os.waitpid(-1, os.WNOHANG)[0]:  # those that have ended
                    continue


def _be_kernel(arguments: list[str], environment: dict[str, str], folder: str) -> None:
    """Go on as `python -m ipykernel_launcher` with these arguments does."""
    os.setsid()  # a signal to the kernel's group reaches what it started
    gc.unfreeze()
    os.environ.clear()
    os.environ.update({**environment, "JPY_PARENT_PID": str(os.getppid())})
    os.chdir(folder)
    settings.BEGAN = os.getcwd()
    sys.argv = ["", *arguments]
    sys.path = ["", *filter(None, sys.path)]
    runpy.run_module("ipykernel_launcher", run_name="__main__", alter_sys=True)


def kill_all() -> None:
    """End every process that this one has started at once; what a kernel was running raises."""
    for process in psutil.Process().children(recursive=True):
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
