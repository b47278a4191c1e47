import errno
import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mli_utils.runs import files
from mli_utils.runs.files import DamagedFile, DiskError, address, canonical, write_atomically
from mli_utils.runs.record import Record, row, write
from mli_utils.runs.store import Store

KEY = {"config": {"depth": 3, "lr": 0.1}, "versions": {"data": 1}}
BODY = {"loss": [0.1, 1 / 3, 5e-324, 1.7976931348623157e308], "note": "α"}


@given(st.dictionaries(st.text(), st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False))))
def test_equal_keys_have_one_address_whatever_their_order(key):
    assert address(key) == address(dict(reversed(key.items()))) == address(json.loads(canonical(key)))


def test_what_is_put_is_got_to_the_last_bit(tmp_path):
    kept = Store(tmp_path)
    assert kept.get("runs", KEY) is None and kept.arrays("runs", KEY) is None
    arrays = {"end/w": np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)}
    kept.put("runs", KEY, BODY, arrays)
    got = Store(tmp_path).get("runs", KEY)
    assert {name: got[name] for name in BODY} == BODY
    assert np.array_equal(kept.arrays("runs", KEY)["end/w"], arrays["end/w"])
    assert kept.get("curves", KEY) is None and kept.get("runs", {**KEY, "more": 1}) is None


def damages(whole: bytes):
    middle = len(whole) // 2
    yield "empty", b""
    yield "truncated", whole[:-9]
    yield "half", whole[:middle]
    for place in (0, middle, len(whole) - 2):
        yield f"flipped at {place}", whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
    yield "no text", b"\xff\xfe" + whole


@pytest.mark.parametrize("suffix", ["json", "npz"])
def test_every_damage_is_found_named_and_set_aside(tmp_path, suffix):
    kept = Store(tmp_path)
    kept.put("runs", KEY, BODY, {"end/w": np.arange(50.0)})
    path = tmp_path / "runs" / f"{address(KEY)}.{suffix}"
    whole = path.read_bytes()
    read = {"json": kept.get, "npz": kept.arrays}[suffix]
    for said, damaged in damages(whole):
        path.write_bytes(damaged)
        with pytest.warns(DamagedFile, match=f"{path.name} is damaged; set aside as {path.name}.damaged"):
            assert read("runs", KEY) is None, said
        assert not path.exists() and path.with_name(f"{path.name}.damaged").read_bytes() == damaged
        path.write_bytes(whole)
    assert read("runs", KEY) is not None


def test_another_entry_under_this_name_is_damage(tmp_path):
    kept = Store(tmp_path)
    kept.put("runs", KEY, BODY)
    other = {**KEY, "more": 1}
    (tmp_path / "runs" / f"{address(KEY)}.json").rename(tmp_path / "runs" / f"{address(other)}.json")
    with pytest.warns(DamagedFile):
        assert kept.get("runs", other) is None


def test_the_record_answers_behind_the_store_and_is_never_touched(tmp_path):
    write(tmp_path / "record", {f"runs/{address(KEY)}": row(KEY, BODY, ["01_introduction"])}, {})
    before = {path: path.read_bytes() for path in (tmp_path / "record").iterdir()}
    own = Store(tmp_path / "own", Record(tmp_path / "record"))
    assert own.get("runs", KEY) == BODY and own.arrays("runs", KEY) is None
    own.put("runs", KEY, {"note": "own"})
    assert own.get("runs", KEY) == {"note": "own"}
    assert Store(tmp_path / "own", Record(tmp_path / "record"), own=False).get("runs", KEY) == BODY
    assert {path: path.read_bytes() for path in (tmp_path / "record").iterdir()} == before
    (tmp_path / "record" / "runs.parquet").write_text("damaged")
    with pytest.warns(DamagedFile, match="is damaged; what it held is made again"):
        assert Store(tmp_path / "empty", Record(tmp_path / "record")).get("runs", KEY) is None
    assert (tmp_path / "record" / "runs.parquet").read_text(encoding="utf-8") == "damaged"


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"before")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    said = f"could not write {path}: No space left on device; what was there is kept, the same command goes on"
    with pytest.raises(DiskError, match=re.escape(said)):
        write_atomically(path, b"after")
    assert path.read_bytes() == b"before" and list(tmp_path.iterdir()) == [path]
