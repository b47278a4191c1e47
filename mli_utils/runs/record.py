"""The committed record of a profile: one table per kind of entry, `results/PROFILE/KIND.parquet`, one row per entry.

Columns are `address`, `sections` (whose pages used the entry), and the values of its key and body by dotted path, such
as `key.config.depth` or `history.loss`. `SHA256SUMS` has the checksum of every file, for `sha256sum -c`.
"""

import io
import json
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mli_utils.core.config import MLIError
from mli_utils.core.words import recorded
from mli_utils.runs import settings
from mli_utils.runs.files import DamagedFile, address, digest, on_disk

SUMS = "SHA256SUMS"
# Columns of numbers that are `recorded` with six digits: single precision holds them, and in double they fill a record.
SINGLE = {"mean_logits": pa.list_(pa.list_(pa.float32()))}
NOTHING = pa.table({"address": pa.array([], pa.string())})


class DamagedRecord(MLIError):
    """A file of the committed record is damaged, and its content may not be computed again."""


class Record:
    """A record opened for reading; empty if its folder does not exist.

    Damage raises DamagedRecord if `strict` or while a book is rendered, else it warns.
    """

    def __init__(self, folder: Path, strict: bool = False):
        self.folder, self.strict = folder, strict
        self._tables: dict[str, tuple[pa.Table, dict[str, int]]] = {}

    @cached_property
    def sums(self) -> dict[str, str]:
        """The expected SHA-256 of each file, by its path within the folder."""
        path = self.folder / SUMS
        with on_disk("read", path):
            text = path.read_bytes().decode(errors="replace") if path.exists() else ""
        lines = [line.partition("  ") for line in text.splitlines()]
        if not all(name for _, _, name in lines):
            self._damaged(path)
        return {name: checksum for checksum, _, name in lines if name}

    def read(self, name: str) -> bytes | None:
        """Return a file's content, or None if it is missing, or damaged and may be made again; else DamagedRecord."""
        path = self.folder / name
        if name not in self.sums and not path.exists():
            return None
        with on_disk("read", path):
            data = path.read_bytes() if path.exists() else b""
        if digest(data) == self.sums.get(name):
            return data
        self._damaged(path)
        return None

    def _damaged(self, path: Path) -> None:
        """Warn of a damaged file; raise if it may not be made again."""
        if self.strict or settings.mode() == "book":
            raise DamagedRecord(
                f"{path} is damaged; 'git checkout {self.folder}' restores the record, 'make record' makes it anew"
            )
        warnings.warn(f"{path} is damaged; what it held is made again", DamagedFile, stacklevel=5)

    def json(self, name: str):
        """Return the content of a JSON file, or None."""
        data = self.read(name)
        return None if data is None else json.loads(data)

    def get(self, name: str, part: str = "") -> dict | None:
        """Return the body of an entry, `KIND/ADDRESS`, or one part of it; None if there is no such entry."""
        kind, _, at = name.partition("/")
        table, rows = self._table(kind)
        if at not in rows:
            return None
        beginning = f"{part}." if part else ""
        columns = [column for column in table.column_names if _of_body(column) and column.startswith(beginning)]
        (row,) = table.select(columns).slice(rows[at], 1).to_pylist()
        body = unflatten(_restored(row))
        return body[part] if part else body

    def entries(self) -> dict[str, dict]:
        """Return every row of every table, by `KIND/ADDRESS`."""
        there = {*self.sums, *(path.name for path in self.folder.glob("*.parquet"))}
        kinds = sorted(name.removesuffix(".parquet") for name in there if name.endswith(".parquet"))
        rows = ((kind, _restored(row)) for kind in kinds for row in self._table(kind)[0].to_pylist())
        return {f"{kind}/{row['address']}": row for kind, row in rows}

    def _table(self, kind: str) -> tuple[pa.Table, dict[str, int]]:
        if kind not in self._tables:
            data = self.read(f"{kind}.parquet")
            table = NOTHING if data is None else pq.read_table(io.BytesIO(data))
            self._tables[kind] = table, {at: i for i, at in enumerate(table["address"].to_pylist())}
        return self._tables[kind]


def _restored(row: dict) -> dict:
    """Return a row with the decimal digits of what was kept in single precision."""

    def exact(value):
        if isinstance(value, list):
            return [exact(one) for one in value]
        return value if value is None else recorded(value)

    return {name: exact(value) if name in SINGLE else value for name, value in row.items()}


def row(key: dict, body: dict, sections: Iterable[str]) -> dict:
    """Return an entry as a row of its table."""
    return {"address": address(key), "sections": sorted(sections), **flatten(key, "key."), **flatten(body)}


def write(folder: Path, rows: Mapping[str, Mapping], files: Mapping[str, bytes]) -> None:
    """Write a record into an empty folder.

    Parameters
    ----------
    rows : rows from `row`, by `KIND/ADDRESS`
    files : contents of further files, by path
    """
    kinds: dict[str, list] = {}
    for name, one in sorted(rows.items()):
        kinds.setdefault(name.partition("/")[0], []).append(one)
    written = dict(files)
    for kind, of_kind in kinds.items():
        columns = dict.fromkeys(name for one in of_kind for name in one)
        table = pa.table({name: pa.array([one.get(name) for one in of_kind], SINGLE.get(name)) for name in columns})
        written[f"{kind}.parquet"] = _packed(table)
    sums = "".join(f"{digest(data)}  {name}\n" for name, data in sorted(written.items()))
    for name, data in {**written, SUMS: sums.encode()}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _packed(table: pa.Table) -> bytes:
    """Return a table as Parquet, the bytes of floating numbers apart by place in the columns that this makes shorter.

    It does where numbers have all their digits, and not where they are rounded.
    """
    numbers = [path for field in table.schema for path in _leaves(field.name, field.type)]
    together, apart = (_sizes(_parquet(table, split)) for split in ([], numbers))
    return _parquet(table, [path for path in numbers if apart[path] < together[path]])


def _parquet(table: pa.Table, split: list[str]) -> bytes:
    """Return a table as Parquet, with the bytes of these columns apart by place."""
    packed, texts = io.BytesIO(), [field.name for field in table.schema if pa.types.is_string(field.type)]
    # A dictionary shortens repeated texts; numbers, nearly all different, it makes longer.
    pq.write_table(
        table,
        packed,
        compression="zstd",
        compression_level=19,
        use_dictionary=texts,
        use_byte_stream_split=split or False,
    )
    return packed.getvalue()


def _sizes(packed: bytes) -> dict[str, int]:
    """Return the packed size of each column of a Parquet file, by its path."""
    about, sizes = pq.ParquetFile(io.BytesIO(packed)).metadata, Counter[str]()
    for group in range(about.num_row_groups):
        for number in range(about.num_columns):
            column = about.row_group(group).column(number)
            sizes[column.path_in_schema] += column.total_compressed_size
    return sizes


def _leaves(path: str, kind: pa.DataType) -> list[str]:
    """Return the path within a Parquet file of a column of floating numbers, in a list; of others, none."""
    while pa.types.is_list(kind):
        path, kind = f"{path}.list.element", kind.value_type
    return [path] if pa.types.is_floating(kind) else []


def flatten(value: Mapping, above: str = "") -> dict:
    """Return the values of nested mappings by dotted path."""
    found: dict = {}
    for name, item in value.items():
        found |= flatten(item, f"{above}{name}.") if isinstance(item, Mapping) else {f"{above}{name}": item}
    return found


def unflatten(values: Mapping) -> dict:
    """Nest values given by dotted path; the inverse of `flatten`."""
    found: dict = {}
    for path, value in values.items():
        *folders, name = path.split(".")
        place = found
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = value
    return found


def _of_body(column: str) -> bool:
    return column not in ("address", "sections") and not column.startswith("key.")
