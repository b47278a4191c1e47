"""What must survive: kills at chosen and random moments, other processes, damage, a full disk (`make test-faults`)."""

import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import faulty_work
import nbformat
import numpy as np
import psutil
import pytest
from conftest import PROJECT, copy_project, environment

import mli_utils as mli
from mli_utils.book import kernels
from mli_utils.runs import checkpoints
from mli_utils.runs.checkpoints import Checkpoints
from mli_utils.runs.files import DamagedFile
from mli_utils.runs.trained import run_key, train_here

pytestmark = pytest.mark.faults

KILLS = int(os.environ.get("MLI_TEST_KILLS") or 60)
MOMENTS = ("half", "before", "after")
TIMELESS = re.compile(rb'"seconds":[^,}]*|"date":"[^"]*"|"checksum":"[^"]*"|"arrays":"[^"]*"')


def faulty(**changes):
    path = os.pathsep.join([str(PROJECT / "tests" / "runs" / "faults"), str(PROJECT)])
    return environment(PYTHONPATH=path, **{"MLI_CHECKPOINT": "0", "MLI_PROGRESS": "0", **changes})


def start(store, notes="/dev/null", said=None, **changes):
    """`faulty_work.work` on a store, in a process forked from one that has loaded everything.

    What it writes on standard error goes into a file in the folder `said`, else beside the store.
    """
    errors = (said or store.parent) / f"{store.name}.errors-{time.monotonic_ns()}"
    of_process = faulty(MLI_STORE=str(store), MLI_ROOT=str(store), **changes)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(kernels.LOADED))
    process = context.Process(target=faulty_work.work, args=(of_process, str(notes), str(errors)))
    process.start()
    return process, errors


def finished(started) -> tuple[int, str]:
    """The exit status of such a process, and what it wrote on standard error."""
    process, errors = started
    process.join()
    return process.exitcode, errors.read_text(encoding="utf-8")


def contents_of(store: Path) -> dict[str, object]:
    """Every entry of a store by name, without times; arrays by value."""
    found = {}
    for path in sorted(store.rglob("*.json")):
        found[str(path.relative_to(store))] = TIMELESS.sub(b"", path.read_bytes())
    for path in sorted(store.rglob("*.npz")):
        with np.load(path, allow_pickle=False) as arrays:
            found[str(path.relative_to(store))] = {name: arrays[name].tobytes() for name in arrays}
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    store = tmp_path_factory.mktemp("undisturbed") / "store"
    assert finished(start(store)) == (0, "")
    found = contents_of(store)
    assert len([name for name in found if name.startswith("runs/")]) == 12 and len(found) == 12 + 12 + 2
    return found


@pytest.mark.parametrize(
    "pattern",
    [r"runs/.*\.json", r"runs/.*\.npz", r"checkpoints/", r"curves/"],
    ids=["run", "arrays", "checkpoint", "curve"],
)
def test_a_kill_inside_a_write_costs_what_was_being_made(tmp_path, undisturbed, pattern):
    for attempt in range(12):
        store, moment, number = tmp_path / str(attempt), MOMENTS[attempt % 3], 1 + attempt // 3
        assert finished(start(store, MLI_TEST_KILL=f"{moment}:{number}:{pattern}"))[0] == -signal.SIGKILL
        assert finished(start(store)) == (0, ""), (moment, number)
        assert contents_of(store) == undisturbed, (moment, number)
        assert not list((store / "checkpoints").iterdir())
        assert not list(store.rglob("*.damaged"))


@pytest.mark.parametrize("number", [2, 4])
def test_processes_on_one_store_train_every_run_once(tmp_path, undisturbed, number):
    store, notes = tmp_path / "store", tmp_path / "notes"
    processes = [start(store, notes) for _ in range(number)]
    assert [finished(process) for process in processes] == [(0, "")] * number
    trained = notes.read_text(encoding="utf-8").split("\n")[:-1]
    assert len(trained) == len(set(trained)) == 6
    assert contents_of(store) == undisturbed


def damages(whole: bytes, number: int):
    """Flips, cuts and emptiness in the head, the body and the tail, so many in all."""
    rng, size = np.random.default_rng(0), len(whole)
    places = {"head": (0, min(64, size)), "body": (64, size - 64), "tail": (max(0, size - 64), size)}
    yield b""
    for i in range(number - 1):
        low, high = places[list(places)[i % 3]]
        at = int(rng.integers(low, high))
        if i % 2:
            yield whole[:at]
        else:
            yield whole[:at] + bytes([whole[at] ^ (1 << int(rng.integers(8)))]) + whole[at + 1 :]


def test_every_damage_is_found(tmp_path, monkeypatch, small_config):
    monkeypatch.setenv("MLI_CHECKPOINT", "0")
    monkeypatch.setattr(checkpoints, "SHARE", 1e9)
    (run,) = mli.train(small_config)
    store, key = run.store, run_key(small_config)
    kept = Checkpoints(store, run_key)
    for _ in train_here([small_config], kept):
        pass
    files = {
        next(store.folder.glob("runs/*.json")): lambda: store.get("runs", key),
        next(store.folder.glob("runs/*.npz")): lambda: store.arrays("runs", key),
        next(path for path in store.folder.glob("checkpoints/*")): lambda: kept.read(small_config),
    }
    trials = 0
    for path, read in files.items():
        whole = path.read_bytes()
        for damaged in damages(whole, 120):
            path.write_bytes(damaged)
            with pytest.warns(DamagedFile, match=re.escape(path.name)):
                assert read() is None
            assert path.with_name(f"{path.name}.damaged").read_bytes() == damaged
            trials += 1
        path.write_bytes(whole)
        assert read() is not None
    assert trials >= 300


def smoke(root, *arguments, command="reproduce", **changes):
    """A command on a project, in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "mli_utils", command, "--profile", "smoke", *arguments],
        env=faulty(MLI_ROOT=str(root), **changes),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process):
    said, errors = process.communicate()
    assert process.returncode == 0, said + errors
    return said


def site_of(root):
    """The pages of a site, without what tells of times."""
    pages = (root / "_build" / "html").rglob("*.html")
    return {
        str(path.relative_to(root)): re.sub(r"\d+ (to \d+)?", "", path.read_text(encoding="utf-8")) for path in pages
    }


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """A project reproduced under smoke, and the contents of its store."""
    root = copy_project(tmp_path_factory.mktemp("complete") / "root")
    ended(smoke(root))
    return root, contents_of(root / "build" / "smoke" / "store")


@pytest.fixture
def project(complete, tmp_path):
    root = tmp_path / "project"
    shutil.copytree(complete[0], root)
    return root


def kill(process, everything: bool):
    """Kill a command; or it and all that it has started, at once, as when the power goes."""
    family = psutil.Process(process.pid).children(recursive=True) if everything else []
    for one in [psutil.Process(process.pid), *family]:
        try:
            one.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    process.wait()
    process.stdout.close()
    process.stderr.close()


def test_kills_at_random_moments_of_a_reproduction(tmp_path, complete, capfd):
    """Every kill is of a reproduction from nothing; as many go on side by side as there are cores."""
    cores = len(os.sched_getaffinity(0))

    def killed(number: int, after: float) -> str:
        root = copy_project(tmp_path / str(number))
        process = smoke(root)
        time.sleep(after)
        if process.poll() is not None:  # on a machine that has become faster
            ended(process)
            shutil.rmtree(root)
            return killed(number, 0.7 * after)
        kill(process, everything=number % 2 == 0)
        said = ended(smoke(root))
        assert contents_of(root / "build" / "smoke" / "store") == complete[1], number
        assert (root / "_build" / "html" / "index.html").exists() and "the book: " in said
        assert not list((root / "build" / "smoke").glob(".running-*"))
        shutil.rmtree(root)
        return f"kill {number + 1} of {KILLS}, after {after:.0f} s: all as if undisturbed"

    def whole(number: int) -> float:
        root, began = copy_project(tmp_path / f"whole-{number}"), time.monotonic()
        ended(smoke(root))
        shutil.rmtree(root)
        return time.monotonic() - began

    with ThreadPoolExecutor(cores) as side_by_side:
        takes = min(side_by_side.map(whole, range(cores)))
        rng = random.Random(0)
        moments = [rng.uniform(0.1, 0.95) * takes for _ in range(KILLS)]
        for said in side_by_side.map(killed, range(KILLS), moments):
            with capfd.disabled():
                print(said, flush=True)


def touch(root, name):
    """Change a notebook's source without changing what it does."""
    source = root / "notebooks" / f"{name}.ipynb"
    notebook = nbformat.read(source, as_version=4)
    notebook.metadata["touched"] = time.time()
    nbformat.write(notebook, source)


def test_a_kill_inside_the_write_of_a_page_leaves_a_whole_page(project):
    name = "02_hardness"
    path = project / "book" / "notebooks" / f"{name}.ipynb"
    for attempt in range(10):
        touch(project, name)
        before, pattern = path.read_bytes(), rf"book/notebooks/(.*{name}\.ipynb|figures/four-problems)"
        moment, number = MOMENTS[attempt % 3], (1, 3, 5, 5)[attempt // 3]  # of its four figures, moved, and the page
        number = number if moment != "half" else 1  # only the page is written there
        killed = smoke(project, "--section", "2", MLI_TEST_KILL=f"{moment}:{number}:{pattern}")
        killed.communicate()
        assert killed.returncode == -signal.SIGKILL
        page = nbformat.read(path, as_version=4)
        assert page.metadata["mli"]["profile"] == "smoke"
        assert (path.read_bytes() == before) == (moment != "after" or number < 5)
        said = ended(smoke(project, "--section", "2"))
        assert re.search(rf"{name}: (\d+ s|unchanged)", said)
        assert not list((project / "build" / "smoke").glob(".running-*")) and not list(path.parent.glob(".*.ipynb.*"))


def test_a_kill_during_the_build_leaves_the_site_before_or_after(project):
    index, before = project / "_build" / "html" / "index.html", site_of(project)
    rng = random.Random(1)
    for attempt in range(10):
        (project / "build" / "site.json").unlink()  # so that it is built again
        if attempt < 2:
            process = smoke(project, MLI_TEST_KILL=f"{MOMENTS[1 + attempt]}:1:_build/html.going")
            process.communicate()
            assert process.returncode == -signal.SIGKILL
        else:
            process = smoke(project)
            enough = rng.randrange(12)
            built = ".book*/_build/html/**/*.html"
            while len(list((project / "build").glob(built))) < enough and process.poll() is None:
                time.sleep(0.02)
            assert process.poll() is None
            kill(process, everything=attempt % 2 == 0)
            assert index.exists() and site_of(project) == before
        ended(smoke(project))
        assert site_of(project) == before and not list((project / "_build").glob("html.*"))
        orphaned = attempt > 1 and attempt % 2  # Sphinx was left alone and wrote on; the next build cleans up
        assert len(list((project / "build").glob(".book*"))) <= orphaned


class Disk:
    """A small tmpfs."""

    def __init__(self, path: Path):
        self.path = path
        path.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300m", "tmpfs", path], capture_output=True).returncode:
            pytest.skip("no tmpfs can be mounted here: it needs root")

    def leave(self, free: int):
        """Fill it up to so many bytes."""
        room = shutil.disk_usage(self.path).free
        with (self.path / "filler").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, room - free)

    def clear(self):
        (self.path / "filler").unlink()

    def close(self):
        subprocess.run(["umount", "-l", self.path], check=True)


@pytest.fixture
def disk(tmp_path):
    disk = Disk(tmp_path / "disk")
    yield disk
    disk.close()


def test_a_full_disk_at_each_write_of_the_store(disk, tmp_path, undisturbed):
    """With checkpoints these are what finds no room; without, runs and curves, as finished ones are kept."""
    store, sentences, status = disk.path / "store", set(), None
    (store / "locks").mkdir(parents=True)
    with_checkpoints = [("0", free) for free in (0, 4096, 20_480, 40_960)]
    without = [("600", 4096 * (attempt % 8)) for attempt in range(60)]
    for every, free in with_checkpoints + without:
        disk.leave(free)
        status, errors = finished(start(store, said=tmp_path, MLI_CHECKPOINT=every))
        if status:
            last = errors.strip().splitlines()[-1]
            assert "No space left on device; what was there is kept, the same command goes on" in last
            sentences |= set(re.findall(r"could not \w+ \S*/(\w+)/", last))
        disk.clear()
        assert not [path for path in store.rglob(".*") if path.is_file()]
        for path in store.rglob("*.json"):
            json.loads(path.read_text(encoding="utf-8"))
        if status == 0:
            break
    assert sentences == {"checkpoints", "runs", "curves"}
    assert status == 0
    assert finished(start(store)) == (0, "")
    assert contents_of(store) == undisturbed


def test_a_full_disk_at_each_write_of_a_reproduction(disk, complete):
    root = disk.path / "project"
    shutil.copytree(complete[0], root)
    index, page = root / "_build" / "html" / "index.html", root / "book" / "notebooks" / "02_hardness.ipynb"
    ended(smoke(root, command="record"))
    failures = 0
    for free, command in (
        (0, "reproduce"),
        (8192, "reproduce"),
        (65_536, "reproduce"),
        (2_000_000, "reproduce"),
        (0, "record"),
    ):
        touch(root, "02_hardness")
        if command == "record":
            ended(smoke(root, "--section", "2"))
        before = page.read_bytes(), index.read_bytes(), (root / "results" / "smoke" / "claims.json").read_bytes()
        disk.leave(free)
        process = smoke(root, *(["--section", "2"] if command == "reproduce" else []), command=command)
        said, errors = process.communicate()
        failures += process.returncode != 0
        assert process.returncode in (0, 1) and "Traceback" not in errors, errors
        if process.returncode:
            assert errors.strip().splitlines()[-1].startswith("mli: ") and "No space left on device" in errors, errors
            nbformat.read(page, as_version=4)
            assert index.read_bytes() == before[1]
            assert (root / "results" / "smoke" / "claims.json").read_bytes() == before[2]
        disk.clear()
        ended(smoke(root, "--section", "2"))
    assert failures >= 4
    assert contents_of(root / "build" / "smoke" / "store") == complete[1]
