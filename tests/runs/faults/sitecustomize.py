"""Kills the process at one point of one write: on the path of every process that a test of faults starts.

`MLI_TEST_KILL` is `MOMENT:NUMBER:PATTERN`: the NUMBERth time (from 1) that a file whose path matches PATTERN is
written, at `half` (half of it is in the temporary file), `before` or `after` it takes its place, the process is killed.
"""

import os
import re
import signal

if "MLI_TEST_KILL" in os.environ:
    moment, number, pattern = os.environ["MLI_TEST_KILL"].split(":", 2)
    seen, fsync, replace = 0, os.fsync, os.replace

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    def counted(path):
        global seen
        seen += bool(re.search(pattern, os.fspath(path)))
        return bool(re.search(pattern, os.fspath(path))) and seen == int(number)

    def dying_fsync(file):
        path = os.readlink(f"/proc/self/fd/{file}")
        if moment == "half" and counted(path):
            os.ftruncate(file, os.fstat(file).st_size // 2)
            die()
        return fsync(file)

    def dying_replace(source, target, **how):
        if moment == "half" or not counted(target):
            return replace(source, target, **how)
        if moment == "after":
            replace(source, target, **how)
        return die()

    os.fsync, os.replace = dying_fsync, dying_replace
