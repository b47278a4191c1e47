"""Finished work, one file per entry, addressed by the hash of its key.

An entry is a JSON file `KIND/ADDRESS.json` with its key, its body and a checksum of both. It is written atomically and
never changed. Arrays too large for JSON (a run's endpoints) are in `KIND/ADDRESS.npz` beside it; the committed record
(`record`) omits them.
"""

import io
import json
import os
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np

from mli_utils.runs import settings
from mli_utils.runs.files import (
    DamagedFile,
    address,
    canonical,
    digest,
    locked,
    on_disk,
    write_atomically,
)
from mli_utils.runs.record import Record


class Store:
    """Entries in `folder`; missing ones are read from the committed `record`, if one is given.

    With `own` false only the record is read. `kind` is the kind of an entry (`runs`, `curves`); `key` is a JSON-able
    dict of everything that determines it.
    """

    def __init__(self, folder: Path, record: Record | None = None, own: bool = True):
        self.folder, self.record, self.own = folder, record, own

    @classmethod
    def default(cls, profile: str | None = None, mode: str | None = None) -> "Store":
        """Open a profile's store for `settings.mode`: `book` reads only the record, `reproduce` never reads it."""
        mode = mode or settings.mode()
        record = None if mode == "reproduce" else Record(settings.record_dir(profile))
        return cls(settings.store_dir(profile), record, own=mode != "book")

    def get(self, kind: str, key: dict) -> dict | None:
        """Return the body stored for `key`, or None. A damaged file is set aside with a warning."""
        name = f"{kind}/{address(key)}"
        if body := self.read(name):
            _note_use(name)
        return body

    def read(self, name: str, part: str = "") -> dict | None:
        """Return the body of an entry, `KIND/ADDRESS`, as `get`, without noting its use; or one part of it."""
        if self.own and (entry := self.entry(name)):
            return entry["body"][part] if part else entry["body"]
        return self.record.get(name, part) if self.record else None

    def entry(self, name: str) -> dict | None:
        """Return key and body of an entry in this store's own folder, or None."""
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
        """Store `body` for `key`. `arrays` are written first, so an entry that names arrays has them whole."""
        name = f"{kind}/{address(key)}"
        if arrays is not None:
            packed = io.BytesIO()
            np.savez(packed, **arrays)  # type: ignore[arg-type]
            write_atomically(self.folder / f"{name}.npz", packed.getvalue())
            body = {**body, "arrays": digest(packed.getvalue())}
        content = {"key": key, "body": body}
        text = json.dumps({**content, "checksum": digest(canonical(content))}, separators=(",", ":"), allow_nan=False)
        write_atomically(self.folder / f"{name}.json", text.encode())
        _note_use(name)

    def arrays(self, kind: str, key: dict) -> dict[str, np.ndarray] | None:
        """Return the arrays of an entry, or None if they are missing, damaged or from another computation of it."""
        name = f"{kind}/{address(key)}"
        entry = self.entry(name) if self.own else None
        if entry is None or not (path := self.folder / f"{name}.npz").exists():
            return None
        with on_disk("read", path):
            data = path.read_bytes()
        if digest(data) != entry["body"].get("arrays"):
            self.set_aside(path)
            return None
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return dict(archive)

    def lock(self, name: str):
        """Return a lock between processes for a name in this store (`locked`)."""
        return locked(self.folder / "locks" / f"{name}.lock")

    def set_aside(self, path: Path) -> None:
        """Rename a damaged file of this store, and warn."""
        aside = path.with_name(path.name + ".damaged")
        with on_disk("set aside the damaged", path), suppress(FileNotFoundError):  # another process may have been first
            os.replace(path, aside)
        warnings.warn(
            f"{path} is damaged; set aside as {aside.name}; what it held is made again", DamagedFile, stacklevel=4
        )


def _verified(text: str, name: str) -> dict | None:
    """Return key and body from an entry's text, or None if checksum or address does not match."""
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
