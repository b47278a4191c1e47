"""The kernels that notebooks run in: ordinary ones of this interpreter and this package, without private configuration.

A notebook behaves in them as it does in JupyterLab. What a user has set up for other work, a matplotlibrc, IPython's
startup files or a kernel of the same name, does not get into the book.
"""

import os
from pathlib import Path

import psutil
from ipykernel.kernelspec import make_ipkernel_cmd
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from traitlets import default

from mli_utils import settings

# What would bring a user's own code or look into a kernel, or take the place of its figures. An empty value is none.
PRIVATE = ("MPLBACKEND", "PLOTLY_RENDERER", "PYTHONSTARTUP", "PYTHONWARNINGS", "JUPYTER_CONFIG_PATH", "JUPYTER_PATH")


def environment(folder: Path) -> dict[str, str]:
    """What kernels and other programs that make the book have in their environment, on top of this process's.

    Parameters
    ----------
    folder : of this run, for configuration that is empty
    """
    empty = folder / "matplotlibrc"
    empty.write_bytes(b"")
    return {
        **dict.fromkeys(PRIVATE, ""),
        "IPYTHONDIR": str(folder / "ipython"),
        "JUPYTER_CONFIG_DIR": str(folder / "jupyter"),
        "MATPLOTLIBRC": str(empty),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # a remark of the debugger, which nobody attaches
        "PYTHONPATH": os.pathsep.join(filter(None, [str(settings.PACKAGE), os.environ.get("PYTHONPATH")])),
        "PYTHONUTF8": "1",
    }


def manager(added: dict[str, str]) -> type[AsyncKernelManager]:
    """The class of managers whose kernels have `added` in their environment, whatever kernels are installed."""
    literal = {name: value.replace("$", "$$") for name, value in added.items()}  # Jupyter fills in ${NAME}
    kernel = KernelSpec(argv=make_ipkernel_cmd(), display_name="Python 3", language="python", env=literal)

    class OnlyThis(KernelSpecManager):
        def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
            return kernel

    class Manager(AsyncKernelManager):
        @default("kernel_spec_manager")
        def _only_this(self) -> KernelSpecManager:
            return OnlyThis()

    return Manager


def kill_all() -> None:
    """End every process that this one has started at once; what a kernel was running raises."""
    for process in psutil.Process().children(recursive=True):
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
