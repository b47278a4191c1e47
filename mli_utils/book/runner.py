"""Run notebooks with papermill and put their pages into the book.

A notebook runs again if its source, parameters, profile or claims, the package or the locked versions have changed.
Only a run without errors replaces a page.
"""

import importlib
import math
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from pathlib import Path

import nbformat

from mli_utils.book import kernels
from mli_utils.book.jobs import Job
from mli_utils.book.pages import NotebookFailed, publish
from mli_utils.claims import sources
from mli_utils.core.config import InputError, MLIError
from mli_utils.runs import provenance, settings
from mli_utils.runs.files import digest, locked, on_disk, remove_leftovers, write_atomically
from mli_utils.runs.store import Store

START_TIMEOUT = 300  # seconds; kernels start slowly on a busy machine
ROOM = 100_000  # bytes that a kernel needs on the disk at most while it starts


def run(jobs: Sequence[Job], workers: int | None = None, begun: Callable[[], object] = lambda: None) -> None:
    """Run changed notebooks, at most `workers` at a time; a failure does not stop the others.

    Calls `begun` when there is one to run.

    Default `workers`: 2 on a CPU with two cores or more, since a notebook mostly uses one; 1 on a GPU.

    The ledger of claims reads the other pages, so it runs last, and only if none has failed.

    Raises
    ------
    MLIError
        Some notebooks failed; raised after all have run, with the exit status of the first failure.
    """
    if workers is not None and not 1 <= workers <= 64:
        raise InputError(f"JOBS={workers} is not allowed; allowed: from 1 to 64")
    ledger = [job for job in jobs if job.name == sources.LEDGER]
    with warnings.catch_warnings(), ExitStack() as stack:
        warnings.simplefilter("ignore")  # from papermill and Jupyter, whose real problems are errors
        loader = None
        for some in ([job for job in jobs if job not in ledger], ledger):
            if not (todo := _changed(some)):
                continue
            place = settings.device()
            count = min(workers or (min(2, provenance.cores()) if place == "cpu" else 1), len(todo))
            if not loader:  # the ledger's kernel is forked from the sections' process, if there is one
                begun()
                loader = stack.enter_context(_loader(count, [job.name for job in todo]))
            _run_all(todo, provenance.device_name(place), count, loader)


def _changed(jobs: Sequence[Job]) -> list[Job]:
    """Return the jobs whose pages are to be made, longest first; say of the others that they are unchanged."""
    todo = [job for job in jobs if not job.is_done()]
    for job in jobs:
        if job not in todo:
            print(f"{job.name}: unchanged", flush=True)
            _remove_leftovers(job)
    known = sources.recorded(todo[0].profile) if todo else {}
    return sorted(todo, key=lambda job: -known.get(job.name, {}).get("work", 0))


def _run_all(jobs: Sequence[Job], device: str, workers: int, loader: kernels.Loader | None) -> None:
    failed = []
    with ThreadPoolExecutor(workers) as pool:
        futures = {pool.submit(execute, job, device, workers, loader): job for job in jobs}
        try:
            for future in as_completed(futures):
                name = futures[future].name
                try:
                    seconds = future.result()
                    print(f"{name}: unchanged" if seconds is None else f"{name}: {seconds:.0f} s", flush=True)
                except MLIError as error:
                    print(f"{name}: failed", flush=True)
                    failed.append(error)
        except BaseException:  # interrupted
            pool.shutdown(wait=False, cancel_futures=True)
            kernels.kill_all()
            raise
    if failed:
        raise type(failed[0])("\n".join(str(error) for error in failed))


@contextmanager
def _loader(workers: int, sections: Sequence[str]) -> Iterator[kernels.Loader | None]:
    """Yield the process to fork kernels of these sections from; None if forking is unsafe."""
    if sys.platform != "linux":
        yield None
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        kernels.Loader(kernels.environment(Path(folder)) | _threads(workers), sections) as loader,
    ):
        yield loader


def _threads(workers: int) -> dict[str, str]:
    """Return environment variables that split the CPU cores among `workers` notebooks, unless the user has done so."""
    return {"OMP_NUM_THREADS": settings.threads() or str(max(1, provenance.cores() // workers))} if workers > 1 else {}


def execute(job: Job, device: str, workers: int = 1, loader: kernels.Loader | None = None) -> float | None:
    """Run one notebook and put its page and figures into the book; return the duration in seconds.

    Return None if another process made the page meanwhile. The page is written after its figures, atomically, and only
    if the notebook succeeded. It names `device`. The kernel is forked from `loader` if given.

    Raises
    ------
    NotebookFailed
        The notebook raised, or its kernel died.
    InputError
        The notebook raised an error with exit status 2; the message is its own.
    DiskError
        A file could not be written.
    """
    page_lock, work = settings.lock_file(job.name), settings.build_dir(job.profile)
    with locked(page_lock), on_disk("write into", work):
        if job.is_done():
            return None
        fingerprint, began = job.fingerprint(), time.perf_counter()
        stamp = provenance.stamp(device, f"notebooks/{job.source.name}", f"profiles/{job.profile}.yml")
        with _empty_folder(_folder(job)) as folder:
            notebook = _run_notebook(job, folder, workers, loader)
            seconds = time.perf_counter() - began
            used = folder / "used"
            entries = sorted(set(used.read_text(encoding="utf-8").split())) if used.exists() else []
            files = {file.name: digest(file.read_bytes()) for file in sorted((folder / "figures").iterdir())}
            about = {
                "fingerprint": fingerprint,
                "profile": job.profile,
                "mode": settings.mode(),
                "parameters": job.parameters,
                "seconds": round(seconds, 1),
                "work": round(seconds + sum(_training_times(job.profile, entries, stamp["date"])), 1),
                "used": entries,
                "first_run": _first_run(job.profile, entries) or stamp["date"],
                "files": files,
                **stamp,
            }
            publish(notebook, job.name, about)
            with locked(settings.lock_file("pages")):  # two sections must not take one name at once
                _put_in_book(job, notebook, folder / "figures")
    return seconds


def _put_in_book(job: Job, notebook: nbformat.NotebookNode, figures: Path) -> None:
    """Move a page and its figures into the book; delete figures that only its previous version had.

    Raises
    ------
    NotebookFailed
        Another section has a figure or file of this name. Nothing is moved.
    """
    made, owners, target = notebook.metadata["mli"], sources.owners(job.name), sources.figures_folder()
    for name in (*made["figures"], *made["files"]):
        if owner := owners.get(name, owners.get(Path(name).stem)):
            raise NotebookFailed(
                f"{job.name}: the name {Path(name).stem!r} belongs to a figure of {owner}; give this one another"
            )
    before = sources.about(job.name).get("files", {})
    target.mkdir(parents=True, exist_ok=True)
    for file in sorted(figures.iterdir()):
        os.replace(file, target / file.name)
    remove_leftovers(job.page)
    write_atomically(job.page, nbformat.writes(notebook).encode())
    for name in before.keys() - made["files"].keys() - owners.keys():
        (target / name).unlink(missing_ok=True)


def _folder(job: Job) -> Path:
    """Return the temporary folder in which a notebook runs."""
    return settings.build_dir(job.profile) / f".running-{job.name}"


def _remove_leftovers(job: Job) -> None:
    """Delete leftovers of a process that was killed after it wrote the page."""
    if _folder(job).exists():
        with locked(settings.lock_file(job.name)):
            shutil.rmtree(_folder(job), ignore_errors=True)
            remove_leftovers(job.page)


@contextmanager
def _empty_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder; delete it on exit."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run_notebook(job: Job, folder: Path, workers: int, loader: kernels.Loader | None) -> nbformat.NotebookNode:
    """Execute a notebook; write its figures and the list of used store entries into `folder`."""
    import papermill
    from jupyter_core.utils import ensure_event_loop

    (folder / "figures").mkdir()
    environment = {
        **kernels.environment(folder),
        **_threads(workers),
        "MLI_ROOT": str(settings.root()),
        "MLI_PROFILE": job.profile,
        "MLI_SECTION": job.name,
        "MLI_FIGURES": str(folder / "figures"),
        "MLI_USED": str(folder / "used"),
        "MLI_PROGRESS": "1",
    }
    try:
        return papermill.execute_notebook(
            sources.read_notebook(job.name),  # given a path, papermill would fill in its braces
            None,
            parameters=job.injected(),
            progress_bar=False,
            stderr_file=_Progress(job.name, alone=workers == 1),
            kernel_name="python3",
            language="python",
            kernel_manager_class=kernels.manager(environment, loader),
            resources={"metadata": {"path": str(job.source.parent)}},
            start_timeout=START_TIMEOUT,
            extra_arguments=["--log-level=CRITICAL"],
        )
    except papermill.PapermillExecutionError as error:
        raise _failure(job, error) from None
    except RuntimeError as error:  # nbclient's DeadKernelError, or the kernel died before it answered
        if "ernel" not in str(error):
            raise
        (folder / "room").write_bytes(bytes(ROOM))  # raises where the kernel died because the disk is full
        raise NotebookFailed(
            f"{job.name} failed: its kernel died; unless it said why, perhaps for want of memory; finished runs are "
            "kept, the same command goes on"
        ) from None
    finally:
        ensure_event_loop().close()  # this thread's, which nbclient leaves open


def _training_times(profile: str, entries: Sequence[str], before: str) -> Iterator[float]:
    """Yield the training time, in seconds, of each run among the store entries that ended before a time in UTC."""
    store = Store.default(profile, "reproduce")
    for entry in entries:
        if entry.startswith("runs/") and (run := store.read(entry)) and run["provenance"]["date"] < before:
            yield run["summary"]["seconds"]


def _first_run(profile: str, entries: Sequence[str]) -> str | None:
    """Return when the first of these store entries was made, in UTC."""
    store = Store.default(profile)
    return min((made["date"] for entry in entries if (made := store.read(entry, "provenance"))), default=None)


def _failure(job: Job, error) -> MLIError:
    """Convert a notebook's exception: keep the message of an `MLIError`, else show the cell and the traceback."""
    importlib.import_module("mli_utils.runs.trained")  # defines every `MLIError` that a notebook may raise
    known = {kind.__name__: kind for kind in (MLIError, *MLIError.__subclasses__())}
    if kind := known.get(error.ename):
        raised = InputError if kind.exit_status == InputError.exit_status else NotebookFailed
        return raised(f"{job.name}: {error.evalue}")
    return NotebookFailed(f"{job.name} failed.{error}\nThe cell:\n\n{error.source}\n\n{error.ename}: {error.evalue}")


def count_kept(profile: str) -> str:
    """Count the finished runs, half-trained runs and pages of a profile, in words."""
    store, pages = settings.store_dir(profile), [sources.about(name) for name in sources.sections()]
    counts = {
        "finished runs": len(list(store.glob("runs/*.json"))),
        "half-trained runs": len(list(store.glob("checkpoints/*"))),
        "pages": sum(about.get("profile") == profile for about in pages),
    }
    return ", ".join(f"{count} {what}" for what, count in counts.items())


class _Progress:
    """Pass a notebook's progress bars on to the terminal; elsewhere print a line every 10 s."""

    def __init__(self, name: str, alone: bool):
        self.name, self.live, self.last = name, alone and sys.stderr.isatty(), math.inf

    def write(self, text: str) -> None:
        self.last = min(self.last, time.monotonic())  # the 10 s begin at the first write
        if self.live:
            sys.stderr.write(text)
        elif time.monotonic() - self.last > 10 and (state := text.replace("\r", "\n").strip().split("\n")[-1]):
            self.last = time.monotonic()
            sys.stderr.write(f"{self.name}: {state}\n")

    def flush(self) -> None:
        sys.stderr.flush()
