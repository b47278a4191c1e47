"""The strict runner: notebooks through papermill into pages.

A notebook is run again when its source, its parameters, the profile, its claims, the package or the locked versions
have changed. A page is replaced only by one that ran to its end without an error.
"""

import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import nbformat

from mli_utils import contents, kernels, provenance, publish, settings
from mli_utils.config import InputError, MLIError
from mli_utils.jobs import Job
from mli_utils.publish import NotebookFailed
from mli_utils.store import write_atomically


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
        _run_changed([job for job in jobs if job.name != contents.LEDGER], workers)
        _run_changed([job for job in jobs if job.name == contents.LEDGER], workers)


def _run_changed(jobs: Sequence[Job], workers: int | None) -> None:
    todo = [job for job in jobs if not job.is_done()]
    for job in jobs:
        if job not in todo:
            _say(f"{job.name}: unchanged")
    if not todo:
        return
    known = publish.recorded(todo[0].profile)
    todo.sort(key=lambda job: -known.get(job.name, {}).get("work", 0))  # the longest first
    kernels.start_loading()
    place = settings.device()
    device = provenance.device_name(place)
    failed = []
    workers = min(workers or (min(2, os.cpu_count() or 1) if place == "cpu" else 1), len(todo))
    with ThreadPoolExecutor(workers) as pool:
        futures = {pool.submit(execute, job, job.fingerprint(), device, workers): job for job in todo}
        for future in as_completed(futures):
            job = futures[future]
            try:
                _say(f"{job.name}: {future.result():.0f} s")
            except MLIError as error:
                _say(f"{job.name}: failed")
                failed.append(error)
    if failed:
        worst = type(failed[0])
        raise worst("\n".join(str(error) for error in failed))


def execute(job: Job, fingerprint: str, device: str, workers: int = 1) -> float:
    """Run one notebook and put its page and figures into the book; return how many seconds it took.

    The kernel's environment tells it where things are. `fingerprint` and `device` (its name) are told by the page.
    """
    import papermill

    began = time.perf_counter()
    work = settings.build_dir(job.profile)
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work, prefix=".running-") as folder:
        folder = Path(folder)
        (folder / "figures").mkdir()
        environment = {
            "MLI_ROOT": str(settings.root()),
            "MLI_PROFILE": job.profile,
            "MLI_SECTION": job.name,
            "MLI_FIGURES": str(folder / "figures"),
            "MLI_USED": str(folder / "used"),
            "MLI_PROGRESS": "1",
        }
        if workers > 1:
            environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // workers))
        try:
            papermill.execute_notebook(
                str(job.source),
                str(folder / "page.ipynb"),
                parameters=job.parameters,
                progress_bar=False,
                stderr_file=_Progress(job.name, alone=workers == 1),
                request_save_on_cell_execute=False,
                kernel_name="python3",
                language="python",
                kernel_manager_class=kernels.manager(environment, job.source.parent),
                extra_arguments=["--log-level=CRITICAL"],
            )
        except papermill.PapermillExecutionError as error:
            raise _failure(job, error) from None
        seconds = time.perf_counter() - began
        notebook = nbformat.read(folder / "page.ipynb", as_version=4)
        used = folder / "used"
        entries = sorted(set(used.read_text().split())) if used.exists() else []
        about = {
            "fingerprint": fingerprint,
            "profile": job.profile,
            "mode": settings.mode(),
            "parameters": job.parameters,
            "seconds": round(seconds, 1),
            "work": round(seconds + sum(_training_times(job.profile, entries)), 1),
            "used": entries,
            **provenance.stamp(device),
        }
        publish.publish(notebook, job.name, about)
        target = job.page.parent / "figures"
        target.mkdir(parents=True, exist_ok=True)
        for file in sorted((folder / "figures").iterdir()):
            os.replace(file, target / file.name)
        write_atomically(job.page, nbformat.writes(notebook).encode())
    return seconds


def _training_times(profile: str, entries: Sequence[str]) -> Iterator[float]:
    """The seconds that training each of these runs took, whenever that was."""
    for entry in entries:
        path = settings.store_dir(profile) / f"{entry}.json"
        if entry.startswith("runs/") and path.exists():
            yield json.loads(path.read_text())["body"]["summary"]["seconds"]


def _failure(job: Job, error) -> MLIError:
    """What a notebook's exception means to the user: a sentence if it is one, otherwise the cell and the traceback."""
    if error.ename in ("InputError", "DataError"):
        return InputError(f"{job.name}: {error.evalue}")
    if error.ename == "NotInRecord":
        return NotebookFailed(f"{job.name}: {error.evalue}")
    return NotebookFailed(f"{job.name} failed.{error}\nThe cell:\n\n{error.source}\n\n{error.ename}: {error.evalue}")


class _Progress:
    """What a notebook's progress bars write, passed on to this terminal; elsewhere a line now and then."""

    def __init__(self, name: str, alone: bool):
        self.name, self.live, self.last = name, alone and sys.stderr.isatty(), time.monotonic()

    def write(self, text: str) -> None:
        if self.live:
            sys.stderr.write(text)
        elif time.monotonic() - self.last > 10 and (state := text.replace("\r", "\n").strip().split("\n")[-1]):
            self.last = time.monotonic()
            sys.stderr.write(f"{self.name}: {state}\n")

    def flush(self) -> None:
        sys.stderr.flush()


def _say(text: str) -> None:
    print(text, flush=True)
