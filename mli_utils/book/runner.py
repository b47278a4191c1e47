"""The strict runner: notebooks through papermill into pages.

A notebook is run again when its source, its parameters, the profile, its claims, the package or the locked versions
have changed. A page is replaced only by one that ran to its end without an error.
"""

import importlib
import math
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
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

START_TIMEOUT = 300  # seconds that a kernel has to answer, on a busy machine


def run(jobs: Sequence[Job], workers: int | None = None) -> None:
    """Run what has changed, at most `workers` notebooks at a time; the others still run when one fails.

    None: two on a CPU with as many cores, since a notebook uses one for much of its time; one on a GPU.

    The ledger of claims reads the other pages, so it runs after them, and not where one has failed.

    Raises
    ------
    MLIError
        After all have run, for those that failed, with the exit status of the first.
    """
    if workers is not None and not 1 <= workers <= 64:
        raise InputError(f"JOBS={workers} is not allowed; allowed: from 1 to 64")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # papermill's and Jupyter's own; what matters of them comes as an error
        _run_changed([job for job in jobs if job.name != sources.LEDGER], workers)
        _run_changed([job for job in jobs if job.name == sources.LEDGER], workers)


def _run_changed(jobs: Sequence[Job], workers: int | None) -> None:
    todo = [job for job in jobs if not job.is_done()]
    for job in jobs:
        if job not in todo:
            _say(f"{job.name}: unchanged")
            _remove_leftovers(job)
    if not todo:
        return
    known = sources.recorded(todo[0].profile)
    todo.sort(key=lambda job: -known.get(job.name, {}).get("work", 0))  # the longest first
    place = settings.device()
    device = provenance.device_name(place)
    failed = []
    workers = min(workers or (min(2, os.cpu_count() or 1) if place == "cpu" else 1), len(todo))
    with _loader(workers) as loader, ThreadPoolExecutor(workers) as pool:
        futures = {pool.submit(execute, job, device, workers, loader): job for job in todo}
        try:
            for future in as_completed(futures):
                name = futures[future].name
                try:
                    seconds = future.result()
                    _say(f"{name}: unchanged" if seconds is None else f"{name}: {seconds:.0f} s")
                except MLIError as error:
                    _say(f"{name}: failed")
                    failed.append(error)
        except BaseException:  # interrupted
            pool.shutdown(wait=False, cancel_futures=True)
            kernels.kill_all()
            raise
    if failed:
        raise type(failed[0])("\n".join(str(error) for error in failed))


@contextmanager
def _loader(workers: int) -> Iterator[kernels.Loader | None]:
    """Yield what kernels are forked from, where that is safe."""
    if sys.platform != "linux":
        yield None
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        kernels.Loader(kernels.environment(Path(folder)) | _threads(workers)) as loader,
    ):
        yield loader


def _threads(workers: int) -> dict[str, str]:
    """The environment by which as many notebooks share the processor's cores."""
    return {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // workers))} if workers > 1 else {}


def execute(job: Job, device: str, workers: int = 1, loader: kernels.Loader | None = None) -> float | None:
    """Run one notebook and put its page and figures into the book; return how many seconds it took.

    None: another process made the page meanwhile. `device` (its name) is told by the page. The page appears after its
    figures, whole, and only where the notebook ran to its end. Its kernel is forked from `loader`, if there is one.

    Raises
    ------
    NotebookFailed
        The notebook raised, or its kernel died.
    InputError, DataError, DiskError and others of `MLIError`
        What the notebook raised, where its message is for the user.
    """
    page_lock, work = settings.lock_file(job.name), settings.build_dir(job.profile)
    with locked(page_lock), on_disk("write into", work):
        if job.is_done():
            return None
        fingerprint, began = job.fingerprint(), time.perf_counter()
        stamp = provenance.stamp(device, f"notebooks/{job.source.name}", f"profiles/{job.profile}.yml")
        with _emptied(_folder(job)) as folder:
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
                "work": round(seconds + sum(_training_times(job.profile, entries)), 1),
                "used": entries,
                "files": files,
                **stamp,
            }
            publish(notebook, job.name, about)
            with locked(settings.lock_file("pages")):  # so that two sections never take one name at once
                _put_in_book(job, notebook, folder / "figures")
    return seconds


def _put_in_book(job: Job, notebook: nbformat.NotebookNode, figures: Path) -> None:
    """Put a page and its figures into the book, and remove those figures that only its last version had.

    Raises
    ------
    NotebookFailed
        A figure or a file has a name that belongs to another section. Nothing has been moved then.
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
    """Where a notebook runs, until its page is whole."""
    return settings.build_dir(job.profile) / f".running-{job.name}"


def _remove_leftovers(job: Job) -> None:
    """Remove what a process left that was killed between its page and its end."""
    if _folder(job).exists():
        with locked(settings.lock_file(job.name)):
            shutil.rmtree(_folder(job), ignore_errors=True)
            remove_leftovers(job.page)


@contextmanager
def _emptied(folder: Path) -> Iterator[Path]:
    """Yield an empty folder; delete it on exit."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run_notebook(job: Job, folder: Path, workers: int, loader: kernels.Loader | None) -> nbformat.NotebookNode:
    """A notebook's executed copy; its figures and the list of what it used are in `folder` then."""
    import papermill
    from jupyter_core.utils import ensure_event_loop
    from nbclient.exceptions import DeadKernelError

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
            sources.read_notebook(job.name),  # by its path papermill would fill in braces
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
    except (DeadKernelError, RuntimeError) as error:  # the latter where it dies before it answers
        if isinstance(error, RuntimeError) and "ernel" not in str(error):
            raise
        raise NotebookFailed(
            f"{job.name} failed: its kernel died; unless it said why, perhaps for want of memory; finished runs are "
            "kept, the same command goes on"
        ) from None
    finally:
        ensure_event_loop().close()  # this thread's, which nbclient leaves open


def _training_times(profile: str, entries: Sequence[str]) -> Iterator[float]:
    """The seconds that training each of these runs took, whenever that was."""
    store = Store.default(profile, "reproduce")
    for entry in entries:
        if entry.startswith("runs/") and (body := store.read(entry)):
            yield body["summary"]["seconds"]


def _failure(job: Job, error) -> MLIError:
    """What a notebook's exception means to the user: a sentence if it is one, otherwise the cell and the traceback."""
    importlib.import_module("mli_utils.runs.trained")  # all that a notebook may raise is known then
    kind = next((kind for kind in _kinds(MLIError) if kind.__name__ == error.ename), None)
    if kind:
        return (InputError if kind.exit_status == InputError.exit_status else NotebookFailed)(
            f"{job.name}: {error.evalue}"
        )
    return NotebookFailed(f"{job.name} failed.{error}\nThe cell:\n\n{error.source}\n\n{error.ename}: {error.evalue}")


def _kinds(of: type) -> Iterator[type]:
    """A class and all that are derived from it."""
    yield of
    for kind in of.__subclasses__():
        yield from _kinds(kind)


def kept(profile: str) -> str:
    """What an interrupted reproduction has left, in words."""
    store, pages = settings.store_dir(profile), [sources.about(name) for name in sources.sections()]
    counts = {
        "finished runs": len(list(store.glob("runs/*.json"))),
        "half-trained runs": len(list(store.glob("checkpoints/*"))),
        "pages": sum(about.get("profile") == profile for about in pages),
    }
    return ", ".join(f"{count} {what}" for what, count in counts.items())


class _Progress:
    """What a notebook's progress bars write, passed on to this terminal; elsewhere a line now and then."""

    def __init__(self, name: str, alone: bool):
        self.name, self.live, self.last = name, alone and sys.stderr.isatty(), math.inf

    def write(self, text: str) -> None:
        self.last = min(self.last, time.monotonic())  # a line's time begins with the first
        if self.live:
            sys.stderr.write(text)
        elif time.monotonic() - self.last > 10 and (state := text.replace("\r", "\n").strip().split("\n")[-1]):
            self.last = time.monotonic()
            sys.stderr.write(f"{self.name}: {state}\n")

    def flush(self) -> None:
        sys.stderr.flush()


def _say(text: str) -> None:
    print(text, flush=True)
