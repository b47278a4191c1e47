"""The record: bodies come back to the last bit, damage is found, and whoever has pandas reads the committed tables."""

import json
import shutil
import subprocess
import tempfile
import warnings
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import PROJECT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_store import damages

import mli_utils as mli
from mli_utils.runs import record
from mli_utils.runs.files import DamagedFile, address, canonical
from mli_utils.runs.record import SUMS, DamagedRecord, Record, row, unflatten, write
from mli_utils.runs.store import Store

FOLDERS = sorted(path.parent for path in (PROJECT / "results").glob(f"*/{SUMS}"))
TABLES = sorted((PROJECT / "results").glob("*/*.parquet"))


def written(folder, bodies, files=None, kind="runs"):
    """A record of bodies of one kind, whose keys are their numbers."""
    rows = {f"{kind}/{address({'n': n})}": row({"n": n}, body, ["05_some"]) for n, body in enumerate(bodies)}
    write(folder, rows, files or {})
    return [name for name in rows]


def same(found, body):
    """Equal in the one spelling that tells 1 from 1.0 and −0.0 from 0.0."""
    return canonical(found) == canonical(body)


names = st.text("abc: _δ", min_size=1, max_size=5)
scalars = st.sampled_from(
    [
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(),
        st.booleans(),
    ]
).map(lambda kind: kind | st.none())
values = scalars | scalars.map(st.lists) | scalars.map(lambda kind: st.lists(st.lists(kind)))
shapes = st.recursive(values, lambda inner: st.dictionaries(names, inner, min_size=1, max_size=3), max_leaves=5)
kinds = st.dictionaries(names, shapes, min_size=1, max_size=4)  # of bodies that have the same names


def of_kind(shape):
    return st.fixed_dictionaries({k: of_kind(v) for k, v in shape.items()}) if isinstance(shape, dict) else shape


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.data(), kinds)
def test_bodies_of_a_kind_come_back_bit_for_bit(data, shape):
    bodies = data.draw(st.lists(of_kind(shape), min_size=1, max_size=4))
    with tempfile.TemporaryDirectory() as folder:
        for name, body in zip(written(Path(folder), bodies), bodies, strict=True):
            assert same(Record(Path(folder)).get(name), body)


HARD = {
    "summary": {"status": "fitted", "steps": 2**62, "loss": 0.1 + 0.2, "nothing": None, "bias": [1e-300, None, -0.0]},
    "history": {"loss": [5e-324, 1.7976931348623157e308, 1 / 3], "class_error": [[0.1, None], [], [1.0, 0.0]]},
    "pixels": np.arange(2 * 3 * 4 * 3).reshape(2, 3, 4, 3).tolist(),
    "provenance": {"device": "a processor, 2 cores", "δ": "α"},
    "whole": 3,
    "exact": 3.0,
}


def test_what_is_hard_to_keep_is_kept(tmp_path):
    other = {**HARD, "summary": {**HARD["summary"], "bias": None, "loss": None}, "pixels": []}
    first, second = written(tmp_path, [HARD, other])
    kept = Record(tmp_path)
    assert same(kept.get(first), HARD) and same(kept.get(second), other)
    assert kept.get("runs/0123") is None and kept.get(first.replace("runs", "curves")) is None
    entries = kept.entries()
    assert entries.keys() == {first, second} and entries[first]["sections"] == ["05_some"]
    assert entries[first]["key.n"] == 0 and entries[first]["summary.steps"] == 2**62


def test_a_store_and_its_record_have_the_same_bodies(small, tmp_path):
    runs = mli.train(mli.grid(**small, bias=["none", "all"]))  # one has no output bias
    mli.interpolate(runs, ["linear", "homogeneous"], alphas=5)
    store = Store.default(mode="reproduce")
    paths = [path.relative_to(store.folder).with_suffix("") for path in store.folder.glob("*/*.json")]
    entries = {path.as_posix(): store.entry(path.as_posix()) for path in paths}
    rows = {name: row(entry["key"], entry["body"], ["05_some"]) for name, entry in entries.items()}
    write(tmp_path / "record", rows, {})
    kept = Record(tmp_path / "record")
    assert len(entries) == 2 + 4 and kept.entries() == rows
    for name, entry in entries.items():
        assert same(kept.get(name), entry["body"])


def test_one_record_is_the_same_bytes_whatever_the_order(tmp_path):
    rows = {f"{kind}/{address({'n': n})}": row({"n": n}, {"x": n / 7}, ["a"]) for kind in ("b", "a") for n in range(5)}
    for name, some in (("one", rows), ("other", dict(reversed(rows.items())))):
        (tmp_path / name).mkdir()
        write(tmp_path / name, some, {"about.json": b"{}", "figures/f.png": b"png"})
    one, other = (
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
        for name in ("one", "other")
    )
    assert one == other and len(one) == 4


def test_other_files_are_kept_beside_the_tables(tmp_path):
    written(tmp_path, [HARD], {"about.json": b'{"a": [1, 2]}', "figures/f.png": b"png"})
    kept = Record(tmp_path)
    assert kept.json("about.json") == {"a": [1, 2]} and kept.read("figures/f.png") == b"png"
    assert kept.json("claims.json") is None and kept.read("figures/g.png") is None
    assert subprocess.run(["sha256sum", "--quiet", "--strict", "-c", SUMS], cwd=tmp_path).returncode == 0
    nothing = Record(tmp_path / "nowhere")
    assert nothing.json("about.json") is None and nothing.get("runs/0") is None and nothing.entries() == {}


@pytest.mark.parametrize("file", ["runs.parquet", "about.json", SUMS])
def test_every_damage_is_found_and_named(tmp_path, monkeypatch, file):
    (name,) = written(tmp_path, [HARD], {"about.json": b'{"a": 1}'})
    path, whole = tmp_path / file, (tmp_path / file).read_bytes()

    def read(**how):
        kept = Record(tmp_path, **how)
        return kept.get(name), kept.json("about.json"), kept.entries()

    for said, damaged in (*damages(whole), ("gone", None)):
        path.unlink() if damaged is None else path.write_bytes(damaged)
        with pytest.warns(DamagedFile, match="is damaged; what it held is made again") as warned:
            body, about, entries = read()
        wrong = {Path(str(warning.message).split(" is damaged")[0]).name for warning in warned}
        assert wrong == {file} if file != SUMS else wrong <= {"runs.parquet", "about.json", SUMS}, said
        assert body is None or about is None, said
        assert (body is None) == (not entries), said
        with monkeypatch.context() as book:
            book.setenv("MLI_MODE", "book")
            with pytest.raises(DamagedRecord, match="is damaged; 'git checkout .*' restores the record, 'make record'"):
                read()
        with pytest.raises(DamagedRecord):
            read(strict=True)
        path.write_bytes(whole)
    body, about, entries = read()
    assert same(body, HARD) and about == {"a": 1} and len(entries) == 1


def test_a_damaged_table_is_said_once_and_others_are_still_read(tmp_path):
    rows = {f"{kind}/{address({'n': 1})}": row({"n": 1}, {"x": 1}, ["a"]) for kind in ("runs", "curves")}
    write(tmp_path, rows, {})
    (tmp_path / "runs.parquet").write_bytes(b"damaged")
    kept = Record(tmp_path)
    with pytest.warns(DamagedFile, match="runs.parquet is damaged"):
        assert kept.get(f"runs/{address({'n': 1})}") is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kept.get(f"runs/{address({'n': 1})}") is None
        assert kept.get(f"curves/{address({'n': 1})}") == {"x": 1}


def test_there_are_records():
    assert {folder.name for folder in FOLDERS} >= {"small"} and TABLES


@pytest.mark.parametrize("path", TABLES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_pandas_opens_every_committed_table(path):
    frame = pd.read_parquet(path)
    assert len(frame) and frame.address.is_unique and frame.address.str.fullmatch("[0-9a-f]{20}").all()
    assert all(len(sections) for sections in frame.sections)
    own = [name for name in frame if name.startswith("key.")]
    assert own and len(own) + 2 < len(frame.columns)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_sums_of_every_committed_file_are_right(folder):
    lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    assert sums.keys() == files.keys() - {SUMS}
    for name, digest in sums.items():
        assert sha256(files[name].read_bytes()).hexdigest() == digest, name


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_committed_entry_has_the_address_of_its_key(folder):
    for name, one in Record(folder).entries().items():
        there = {column.removeprefix("key."): value for column, value in one.items() if column.startswith("key.")}
        key = unflatten({column: value for column, value in there.items() if value is not None})
        assert name.endswith(f"/{address(key)}"), name


def test_a_committed_run_is_read_as_a_run(tmp_path, monkeypatch):
    (tmp_path / "root" / "results").mkdir(parents=True)
    shutil.copytree(PROJECT / "results" / "small", tmp_path / "root" / "results" / "small")
    monkeypatch.setenv("MLI_MODE", "book")
    frame = pd.read_parquet(PROJECT / "results" / "small" / "runs.parquet")
    fields = [name for name in frame if name.startswith("key.config.")]
    config = mli.RunConfig(**{name.removeprefix("key.config."): frame[name].iloc[0] for name in fields})
    (run,) = mli.train(config)
    assert run.summary["status"] == frame["summary.status"].iloc[0]
    assert run.history.loss.tolist() == list(frame["history.loss"].iloc[0])
    assert run.history.filter(like="class_error_").shape == (len(run.history), 10)
    assert json.loads(json.dumps(run.body)) == run.body


def test_names_come_apart_and_together():
    nested = {"a": {"b": {"c": 1}, "d": [2]}, "e": None}
    assert record.flatten(nested) == {"a.b.c": 1, "a.d": [2], "e": None}
    assert unflatten(record.flatten(nested)) == nested
