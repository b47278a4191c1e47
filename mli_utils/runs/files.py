"""Atomic writes, locks between processes, and content addresses."""

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from mli_utils.core.config import MLIError


class DamagedFile(UserWarning):
    """A damaged file of the store or record, whose content is computed again."""


class DiskError(MLIError):
    """A file could not be read or written; its previous content is kept."""


@contextmanager
def on_disk(doing: str, path: Path) -> Iterator[None]:
    """Turn an OSError into a DiskError: could not `doing` (a verb) `path`."""
    try:
        yield
    except OSError as error:
        again = "; what was there is kept, the same command goes on from it"
        raise DiskError(f"could not {doing} {path}: {error.strerror or error}{again}") from error


def canonical(value) -> str:
    """Serialise to JSON, equal values to equal text and every finite float exactly."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def without_nan(value):
    """Replace every non-finite float in nested dicts and lists by None, because JSON has none."""
    if isinstance(value, dict):
        return {name: without_nan(item) for name, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def digest(data: bytes | str) -> str:
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def address(key: dict) -> str:
    """Return the address of the entry with this key: 80 bits of its SHA-256, in hexadecimal."""
    return digest(canonical(key))[:20]


def write_atomically(path: Path, data: bytes) -> None:
    """Write atomically: even after a crash the old or the new content is complete. DiskError if it cannot be done."""
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
    """Hold a lock between processes; its file may remain, and the system releases it if the holder dies."""
    lock = FileLock(path)
    with on_disk("lock", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def replace_folder(folder: Path, fresh: Path) -> None:
    """Replace a folder by a complete new one, in two renames."""
    going = folder.with_name(f"{folder.name}.going")
    shutil.rmtree(going, ignore_errors=True)
    folder.parent.mkdir(exist_ok=True)
    if folder.exists():
        os.replace(folder, going)
    os.replace(fresh, folder)
    shutil.rmtree(going, ignore_errors=True)


def remove_leftovers(path: Path) -> None:
    """Delete temporary files of killed processes that wrote `path`; only its sole writer may call this."""
    for left in path.parent.glob(f".{path.name}.*"):
        left.unlink(missing_ok=True)
