"""How much memory a command takes, its kernels and all else that it starts included."""

import threading
from types import TracebackType

import psutil

EVERY = 2.0  # seconds between two readings, which take 10 ms a process


class PeakMemory:
    """The largest sum of memory, in bytes, that this process and its descendants had while the context was open.

    What processes share counts once where the system tells it (Linux: proportional set size); elsewhere only what is
    each process's own.
    """

    def __init__(self):
        self.peak = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.peak = max(self.peak, held())
            if self._over.wait(EVERY):
                return


def held() -> int:
    """Bytes that this process and its descendants hold now."""
    me = psutil.Process()
    return sum(_of(process) for process in [me, *me.children(recursive=True)])


def _of(process: psutil.Process) -> int:
    try:
        info = process.memory_full_info()
    except psutil.Error:  # it has ended
        return 0
    return getattr(info, "pss", info.uss)
