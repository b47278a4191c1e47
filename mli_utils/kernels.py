"""Kernels that start at once: each is forked from one process that has loaded what every notebook imports.

Loading torch, pandas and seaborn takes longer than most pages do. Where forking is not safe (macOS) or not there
(Windows), kernels start as Jupyter starts them.
"""

import multiprocessing
import os
import signal
import sys
from multiprocessing import forkserver
from multiprocessing.connection import wait
from pathlib import Path

from jupyter_client.manager import AsyncKernelManager

import mli_utils

LOADED = ["ipykernel.kernelapp", "matplotlib_inline.backend_inline", *(f"mli_utils.{home}" for home in mli_utils.HOMES)]


def start_loading() -> None:
    """Start the process that kernels are forked from, if it is not there; it loads while this process goes on."""
    if sys.platform == "linux":
        multiprocessing.get_context("forkserver").set_forkserver_preload(LOADED)
        forkserver.ensure_running()


def manager(environment: dict[str, str], folder: Path) -> type[AsyncKernelManager]:
    """The class of managers whose kernels have `environment` on top of this process's, and work in `folder`."""

    class Manager(AsyncKernelManager):
        async def _async_pre_start_kernel(self, **how):
            there = {"env": {**os.environ, **environment}, "cwd": str(folder)}
            return await super()._async_pre_start_kernel(**{**how, **there})

        async def _async_launch_kernel(self, kernel_cmd, **how):
            if sys.platform != "linux":
                await super()._async_launch_kernel(kernel_cmd, **how)
                return
            self.provisioner.process = Fork(self.connection_file, how["env"], how["cwd"])
            self.provisioner.pid = self.provisioner.pgid = self.provisioner.process.pid
            self._reconcile_connection_info(self.provisioner.connection_info)

    return Manager


def kill_all() -> None:
    """End every forked kernel at once; what it was running raises."""
    for process in multiprocessing.active_children():
        process.kill()


class Fork:
    """A forked kernel, with what Jupyter's provisioner wants of a `subprocess.Popen`."""

    stdin = stdout = stderr = None

    def __init__(self, connection_file: str, environment: dict[str, str], folder: str):
        start_loading()
        context = multiprocessing.get_context("forkserver")
        self.process = context.Process(target=_serve, args=(connection_file, environment, folder))
        self.process.start()
        self.pid = self.process.pid

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self) -> int:
        wait([self.process.sentinel])
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


def _serve(connection_file: str, environment: dict[str, str], folder: str) -> None:
    """Be a kernel, as `python -m ipykernel_launcher -f connection_file` is one."""
    os.setsid()  # a signal to the kernel's group reaches what it started, and Ctrl-C in the terminal does not reach it
    os.environ.clear()
    os.environ.update({**environment, "JPY_PARENT_PID": str(os.getppid())})
    os.chdir(folder)
    import matplotlib
    import threadpoolctl
    import torch
    from ipykernel.kernelapp import IPKernelApp

    if number := environment.get("OMP_NUM_THREADS"):  # was read when the libraries were loaded
        threadpoolctl.threadpool_limits(int(number))
        torch.set_num_threads(int(number))
    matplotlib.use("module://matplotlib_inline.backend_inline")
    IPKernelApp.launch_instance(["-f", connection_file, "--log-level=CRITICAL"])
