"""Finished work, one file each, addressed by the hash of what determines it.

An entry is a JSON file `KIND/ADDRESS.json` that holds its key, its body and a checksum of both. It is written
whole or not at all and never changed. Arrays too large for JSON (a run's endpoints) lie beside it in
`KIND/ADDRESS.npz`; the committed record (`record`) goes without them.
"""

import hashlib
import io
import json
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from filelock import FileLock

from mli_utils.core.config import MLIError
from mli_utils.runs import settings

if TYPE_CHECKING:
    from mli_utils.runs.record import Record


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


class Store:
    """Entries kept in `folder`; what is not there is looked for in the committed `record`, if one is given.

    `kind` names the sort of entry (`runs`, `curves`); `key` is a JSON-able dict of all that determines it.
    """

    def __init__(self, folder: Path | None, record: "Record | None" = None):
        self.folder, self.record = folder, record

    @classmethod
    def default(cls, profile: str | None = None, mode: str | None = None) -> "Store":
        """A profile's store, reading what `settings.mode` says: in `book` only the record, in `reproduce` never it."""
        from mli_utils.runs.record import Record

        mode = mode or settings.mode()
        record = None if mode == "reproduce" else Record(settings.record_dir(profile))
        return cls(None if mode == "book" else settings.store_dir(profile), record)

    def get(self, kind: str, key: dict) -> dict | None:
        """The body kept for `key`, or None. A damaged file is named in a warning and set aside.

        Raises
        ------
        DamagedRecord
            The record is damaged, and a book is rendered from it.
        DiskError
            It cannot be read.
        """
        name = f"{kind}/{address(key)}"
        if body := self.read(name):
            _note_use(name)
        return body

    def read(self, name: str) -> dict | None:
        """The body of an entry, `KIND/ADDRESS`, as `get` gives it."""
        entry = self.entry(name)
        if entry:
            return entry["body"]
        return self.record.get(name) if self.record else None

    def entry(self, name: str) -> dict | None:
        """Key and body of an entry of this store itself, or None."""
        if not self.folder:
            return None
        path = self.folder / f"{name}.json"
        with on_disk("read", path):
            try:
                text = path.read_text(encoding="utf-8")
            except FileNotFoundError:
                return None
            except UnicodeDecodeError:
                text = ""
        entry = _verified(text, name)
        if entry is None:
            self.set_aside(path)
        return entry

    def put(self, kind: str, key: dict, body: dict, arrays: dict[str, np.ndarray] | None = None) -> None:
        """Keep `body` for `key`. `arrays` are written first, so an entry that names arrays has them whole."""
        assert self.folder, "nothing is kept while a book is rendered from the record"
        name = f"{kind}/{address(key)}"
        if arrays is not None:
            packed = io.BytesIO()
            np.savez(packed, **arrays)
            write_atomically(self.folder / f"{name}.npz", packed.getvalue())
            body = {**body, "arrays": digest(packed.getvalue())}
        content = {"key": key, "body": body}
        text = json.dumps({**content, "checksum": digest(canonical(content))}, separators=(",", ":"), allow_nan=False)
        write_atomically(self.folder / f"{name}.json", text.encode())
        _note_use(name)

    def arrays(self, kind: str, key: dict) -> dict[str, np.ndarray] | None:
        """The arrays of an entry, or None where they are gone, damaged or belong to another making of it."""
        name = f"{kind}/{address(key)}"
        entry = self.entry(name)
        path = self.folder / f"{name}.npz" if self.folder else None
        if entry is None or not path.exists():
            return None
        with on_disk("read", path):
            data = path.read_bytes()
        if digest(data) != entry["body"].get("arrays"):
            self.set_aside(path)
            return None
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return dict(archive)

    def lock(self, name: str):
        """A lock between processes on something of this store (`locked`)."""
        return locked(self.folder / "locks" / f"{name}.lock")

    def set_aside(self, path: Path) -> None:
        """Give a damaged file of this store another name, and warn."""
        aside = path.with_name(path.name + ".damaged")
        with on_disk("set aside the damaged", path):
            os.replace(path, aside)
        warnings.warn(
            f"{path} is damaged; set aside as {aside.name}; what it held is made again", DamagedFile, stacklevel=4
        )


def _verified(text: str, name: str) -> dict | None:
    """Key and body of an entry's text, or None where the text is not what was written under this name."""
    try:
        entry = json.loads(text)
        content = {"key": entry["key"], "body": entry["body"]}
        sound = entry["checksum"] == digest(canonical(content)) and name.endswith(f"/{address(entry['key'])}")
    except (ValueError, KeyError, TypeError):
        return None
    return content if sound else None


def _note_use(name: str) -> None:
    if path := settings.used_file():
        with on_disk("write", path), path.open("a", encoding="utf-8") as file:
            file.write(name + "\n")
