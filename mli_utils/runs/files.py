"""Files that are written whole or not at all, locks between processes, and addresses by content."""

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from mli_utils.core.config import MLIError


class DamagedFile(UserWarning):
    """A store file did not hold what was written; it has been set aside and its work is done again."""


class DiskError(MLIError):
    """A file could not be read or written; what was there before is still there."""


@contextmanager
def on_disk(doing: str, path: Path) -> Iterator[None]:
    """Raise what the disk refuses as one sentence: `doing` is what was to be done to `path`."""
    try:
        yield
    except OSError as error:
        again = "; what was there is kept, the same command goes on from it"
        raise DiskError(f"could not {doing} {path}: {error.strerror or error}{again}") from error


def canonical(value) -> str:
    """JSON with one spelling for one value, exact for every finite float."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def without_nan(value):
    """The same with None for every number that JSON cannot hold."""
    if isinstance(value, dict):
        return {name: without_nan(item) for name, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def digest(data: bytes | str) -> str:
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def address(key: dict) -> str:
    """The name under which what `key` determines is kept: 80 bits of its SHA-256 in hexadecimal."""
    return digest(canonical(key))[:20]


def write_atomically(path: Path, data: bytes) -> None:
    """Write so that `path` holds either what it held before or all of `data`, also after a crash.

    Raises
    ------
    DiskError
        The disk is full, read-only or gone; the message says which.
    """
    with on_disk("write", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock between processes, a file that may stay; the system lets it go when its holder dies.

    Raises
    ------
    DiskError
        The file cannot be made.
    """
    lock = FileLock(path)
    with on_disk("lock", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def remove_leftovers(path: Path) -> None:
    """Remove what killed processes left of their writes to `path`; for those that alone may write it."""
    for left in path.parent.glob(f".{path.name}.*"):
        left.unlink(missing_ok=True)
