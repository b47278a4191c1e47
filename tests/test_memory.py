"""The peak of memory that a command took."""

import subprocess
import sys
import time

from mli_utils import memory

MEGABYTE = 2**20
HOLD = f"held = bytearray(b'x' * {200 * MEGABYTE}); print('there', flush=True); input()"


def test_memory_of_what_a_process_started_is_counted_and_the_peak_outlives_it():
    before = memory.held()
    with memory.PeakMemory() as watched:
        child = subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert child.stdout.readline() == "there\n"
        time.sleep(3 * memory.EVERY)
        child.communicate("\n")
        time.sleep(2 * memory.EVERY)
    assert 200 * MEGABYTE < watched.peak - before < 400 * MEGABYTE
    assert memory.held() - before < 100 * MEGABYTE
