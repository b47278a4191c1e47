"""Runs on the workers of a Dask cluster, each a process of its own on this machine."""

import ast
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from conftest import NOTEBOOKS, copy_project, environment, run_pages, solutions
from distributed import Client

import mli_utils as mli
from mli_utils import __main__ as command_line
from mli_utils.core import training
from mli_utils.core.config import MLIError
from mli_utils.core.paths import STARTS
from mli_utils.core.versions import VERSIONS
from mli_utils.runs import measured, parallel, trained
from mli_utils.runs.files import address
from mli_utils.runs.store import Store
from mli_utils.sections.weights_and_biases import predict, square

SECONDS = 300  # at most, for a notebook and its solutions under smoke
WATCHED = Path(__file__).with_name("watched_worker.py")


class Workers:
    """A scheduler and workers, and the notes in which every worker says which runs it began to train."""

    def __init__(self, folder: Path, count: int):
        self.folder, self.processes = folder, {}
        folder.mkdir()
        (folder / "notes").touch()
        self.start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", self.file)
        self.address = json.loads(self.wait_for(self.file))["address"]
        for number in range(count):
            self.start_worker(f"worker{number}")
        if count:
            with Client(self.address, set_as_default=False) as client:
                client.wait_for_workers(count, timeout=60)

    @property
    def file(self):
        return self.folder / "scheduler.json"

    def start(self, name, *arguments):
        """`dask ARGUMENTS` as a process; what it says goes into a file."""
        command = [sys.executable, "-m", "dask", name.rstrip("0123456789"), *map(str, arguments)]
        given = environment(OMP_NUM_THREADS="1", NOTES=str(self.folder / "notes"))
        with (self.folder / f"{name}.log").open("w") as log:
            self.processes[name] = subprocess.Popen(command, env=given, stdout=log, stderr=log, cwd=self.folder)

    def start_worker(self, name):
        """A worker without a nanny, which would start it again."""
        options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--name", name, "--preload", WATCHED]
        self.start(name, self.address, "--host", "127.0.0.1", *options, "--local-directory", self.folder)

    def wait_for(self, file: Path) -> str:
        """The text of a file, once it is there."""
        for _ in range(600):
            if file.exists() and (text := file.read_text(encoding="utf-8")):
                return text
            time.sleep(0.1)
        raise AssertionError("\n".join(log.read_text(encoding="utf-8") for log in self.folder.glob("*.log")))

    def notes(self) -> list[tuple[str, str, list[int]]]:
        """(worker, what, seeds) in the order in which tasks began and ended."""
        lines = (self.folder / "notes").read_text(encoding="utf-8").splitlines()
        return [(who, what, json.loads(seeds)) for who, what, seeds in (line.split(" ", 2) for line in lines)]

    def stop(self):
        for process in reversed(self.processes.values()):
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two workers for all tests."""
    workers = Workers(tmp_path_factory.mktemp("cluster") / "workers", 2)
    yield workers
    workers.stop()


def kept_seeds(store: Path) -> set[int]:
    return {json.loads(path.read_text(encoding="utf-8"))["key"]["config"]["seed"] for path in store.glob("runs/*.json")}


def on(workers, monkeypatch, store):
    monkeypatch.setenv("MLI_SCHEDULER", workers.address)
    monkeypatch.setenv("MLI_STORE", str(store))


def test_two_workers_give_the_runs_and_curves_of_one_process(two, small, tmp_path, monkeypatch):
    conv = dict(dataset="digits32", model="vgg16", width=2, init_scale=1.0, lr=0.1, n_train=20, batch_size=10, epochs=3)
    steps = {**small, "epochs": trained.FEWEST_STEPS, "stop_loss": 0.0}
    configs = [*mli.grid(**steps, bias=["output", "all"], seed=range(3)), *mli.grid(**conv, seed=range(2))]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as a worker's: on some processors rounding differs with it, and 500 epochs enlarge that
    here = mli.train(configs)
    torch.set_num_threads(threads)
    curves = mli.interpolate(here, ["linear", "homogeneous"], 5)
    of_square, predicted = square(here[:2], 3), predict(here[:2], 5)
    on(two, monkeypatch, tmp_path / "other")
    there = mli.train(configs)
    assert {who for who, _, _ in two.notes()} == {"worker0", "worker1"}
    for mine, theirs in zip(here, there, strict=True):
        assert mine.config == theirs.config and set(mine.provenance) == set(theirs.provenance)
        for side in ("start", "end"):
            for name, value in getattr(mine, side).items():
                assert torch.allclose(getattr(theirs, side)[name], value, rtol=1e-4, atol=1e-5)
                assert mine.config.model == "fcn" or torch.equal(getattr(theirs, side)[name], value)  # a thread each
        assert np.allclose(mine.history, theirs.history, rtol=1e-3, atol=1e-5)
    found = mli.interpolate(there, ["linear", "homogeneous"], 5)
    for expected, given in (
        (curves, found),
        (of_square, square(there[:2], 3)),
        (predicted, predict(there[:2], 5)),
    ):
        assert list(expected) == list(given) and np.allclose(expected.loss, given.loss, rtol=1e-4, atol=1e-6)
        assert np.allclose(expected.error, given.error, atol=1e-6)
    before = two.notes()
    mli.train(configs)
    assert two.notes() == before  # all from the store


def test_runs_that_another_process_keeps_meanwhile_are_not_trained_again(two, small_config, tmp_path, monkeypatch):
    on(two, monkeypatch, tmp_path / "store")
    store = Store.default()
    before = len(two.notes())
    with store.lock(address({"shape": training.shape(small_config)})):
        waiting = threading.Thread(target=mli.train, args=([small_config],))
        waiting.start()
        time.sleep(1)
        ((config, body, arrays),) = trained.train_here([small_config])
        store.put("runs", trained.run_key(config), body, arrays)
    waiting.join(30)
    assert not waiting.is_alive() and len(two.notes()) == before


def test_groups_are_small_enough_for_all_and_large_enough_to_be_sent(small):
    config = mli.RunConfig(**{**small, "epochs": 1000})
    several = {slots: parallel.Workers(None, slots, client=True) for slots in (1, 2, 8, 100)}
    sizes = {slots: trained.group_size(config, 30, workers) for slots, workers in several.items()}
    assert sizes == {1: 15, 2: 8, 8: 4, 100: 1}
    assert trained.group_size(config.replace(epochs=10), 30, several[8]) == trained.GROUP_SIZE
    assert trained.group_size(config, 30, parallel.Workers(None, 8)) == trained.GROUP_SIZE
    ten = [config.replace(seed=seed) for seed in range(10)]
    parts = trained.split_groups(ten, ten, several[2])
    assert parts == [ten[:3], ten[3:6], ten[6:]] and trained.split_groups([], [], several[2]) == []
    assert trained.split_groups(ten, ten[4:5] + ten[7:], several[8]) == [[ten[4]], [ten[7]], [ten[8]], [ten[9]]]


def test_workers_say_how_far_they_are(two, small, tmp_path, monkeypatch):
    on(two, monkeypatch, tmp_path / "store")
    (config,) = mli.grid(**{**small, "epochs": 6000, "stop_loss": 0.0})
    said = []
    with parallel.workers() as workers:
        list(workers.each(trained.train_here, [(config, ([config], None))], said.append))
    assert len(said) > 1 and sum(said) == 6000


def test_an_error_on_a_worker_is_the_same_sentence(two, small_config, tmp_path, monkeypatch):
    on(two, monkeypatch, tmp_path / "store")
    with pytest.raises(MLIError, match="worker tcp://.*mnist.npz is not there; 'make data' fetches it"):
        mli.train(small_config.replace(dataset="mnist"))
    ((_, _, arrays),) = trained.train_here([small_config.replace(epochs=1)])
    train, config = (small_config, ([small_config], None)), small_config
    with parallel.workers([config.dataset]) as workers:
        with pytest.raises(mli.InputError, match="^unknown path 'curved'; known: linear, homogeneous$"):
            own = partial(STARTS["own"], config=config)
            compute = partial(measured._compute_curve, path="curved", points=2, first=own, statistics="recomputed")
            list(workers.each(measured.measure_here, [(config, (0, config, arrays, compute, None))], print))
        for name in VERSIONS:  # whatever makes a number, however late it came
            with monkeypatch.context() as other:
                other.setattr(parallel, "VERSIONS", {**VERSIONS, name: -1})
                with pytest.raises(mli.InputError, match=f"mli_utils: {name} has version .* there and -1 here"):
                    list(workers.each(trained.train_here, [train], print))
    for table, said in (
        ({**VERSIONS, "bias_gap": 9}, "bias_gap has version 1 there and 9 here"),
        ({**VERSIONS, "newer": 1}, "newer has version none there and 1 here"),
        ({name: VERSIONS[name] for name in VERSIONS if name != "starts"}, "starts has version 1 there and none here"),
    ):
        monkeypatch.setattr(parallel, "VERSIONS", table)
        with pytest.raises(mli.InputError, match=f"worker tcp://.*mli_utils: {said}"):
            mli.train(small_config)
    assert not list((tmp_path / "store").glob("runs/*"))


@pytest.fixture
def silent():
    """A port at which somebody listens who does not speak Dask's language."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def idle(tmp_path):
    """The address of a scheduler without workers."""
    workers = Workers(tmp_path / "idle", 0)
    yield workers.address
    workers.stop()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("localhost", "SCHEDULER=localhost is not allowed; allowed: tcp://HOST:PORT"),
        ("http://localhost:8786", "is not allowed; allowed: tcp://HOST:PORT"),
        ("tcp://127.0.0.1:9", "SCHEDULER=tcp://127.0.0.1:9: no Dask scheduler answers there within 1 seconds"),
        ("silent", "no Dask scheduler answers there within 1 seconds; 'dask scheduler' starts one"),
        ("idle", "has no workers; 'dask worker tcp://127.0.0.1:"),
        ("missing", "needs dask.distributed, which is not installed"),
    ],
)
def test_a_bad_address_is_one_sentence_and_leaves_nothing(address, said, tmp_path, monkeypatch, capfd, request):
    root = copy_project(tmp_path / "root")
    monkeypatch.setattr(parallel, "PATIENCE", 1)
    if address == "missing":
        monkeypatch.setitem(sys.modules, "distributed", None)
        address = "tcp://127.0.0.1:9"
    elif address in ("silent", "idle"):
        address = request.getfixturevalue(address)
    monkeypatch.setenv("MLI_SCHEDULER", address)
    monkeypatch.delenv("MLI_STORE")
    before = sorted(root.rglob("*"))
    assert command_line.main(["reproduce", "--profile", "smoke", "--section", "5"]) == 2
    errors = capfd.readouterr().err.strip().splitlines()
    assert len(errors) == 1 and errors[0].startswith("mli: ") and said in errors[0]
    assert sorted(root.rglob("*")) == before


@pytest.fixture(scope="module")
def solved(two, tmp_path_factory):
    """A project that ran every notebook on them, with its solutions as last cells; and what that said."""
    root, before = copy_project(tmp_path_factory.mktemp("solved") / "root"), len(two.notes())
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        notebook.cells += map(nbformat.v4.new_code_cell, solutions(path).values())
        nbformat.write(notebook, root / "notebooks" / path.name)
    done = run_pages(root, "smoke", MLI_MODE="reproduce", MLI_SCHEDULER=two.address)
    assert len(two.notes()) > before
    return root, done.stdout + done.stderr


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_solution_runs_after_all_cells_of_its_notebook(path, solved):
    answers = solutions(path)
    for label, code in answers.items():
        last = ast.parse(code).body[-1]
        printed = isinstance(last, ast.Expr) and ast.unparse(last).startswith("print(")
        assert isinstance(last, ast.Assert) or printed, f"{label}: ends neither in an assert nor in a print"
    root, said = solved
    assert re.search(rf"^{path.stem}: \d+ s$", said, re.M), said
    page = nbformat.read(root / "book" / "notebooks" / path.name, as_version=4)
    ran = page.cells[-1].source  # the code of the page
    assert all(code.strip() in ran for code in answers.values())
    assert page.metadata["mli"]["seconds"] < SECONDS


def test_a_reproduction_on_two_workers_has_the_claims_of_one_process(solved, reproduced):
    root, _ = solved
    mine, theirs = (
        json.loads((at / "build" / "smoke" / "claims.json").read_text(encoding="utf-8")) for at in (reproduced[0], root)
    )
    assert sum(entry["verdict"] != "not run" for entry in mine) == len(mine) > 14
    for one, other in zip(mine, theirs, strict=True):
        for key, value in one.items():
            if key == "first_run":
                continue
            close = pytest.approx(value, abs=1e-5, nan_ok=True) if isinstance(value, float) else value
            assert other[key] == close, one


def test_a_killed_worker_costs_what_it_held(two, small, tmp_path, monkeypatch):  # the last: one worker is left
    on(two, monkeypatch, tmp_path / "store")
    configs = mli.grid(**{**small, "epochs": 3000, "stop_loss": 0.0}, seed=range(16))
    first, killed = len(two.notes()), {}

    def kill():
        while len(kept := kept_seeds(tmp_path / "store")) < 8:
            time.sleep(0.05)
        victim = [who for who, what, _ in two.notes() if what == "began"][-1]
        os.kill(two.processes[victim].pid, signal.SIGKILL)
        killed[victim] = {seed for who, _, seeds in two.notes()[first:] if who == victim for seed in seeds} - kept

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    runs = mli.train(configs)
    killer.join()
    assert [run.config for run in runs] == configs and all(len(run.end) for run in runs)
    ((_, held),) = killed.items()
    begun = [seed for _, what, seeds in two.notes()[first:] if what == "began" for seed in seeds]
    twice = {seed for seed in begun if begun.count(seed) > 1}
    assert set(begun) == set(range(16)) and twice and twice <= held and len(held) <= 8, (twice, killed)
    assert max(map(begun.count, begun)) == 2
