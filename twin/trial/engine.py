"""Run a virtual trial so that it cannot be lost: chunks in any order on any workers, each written whole or not at all.

The folder is the state. Running again on the same folder goes on where it stopped, with the same result, bit for bit
on the same kind of machine: a chunk's numbers depend on the manifest alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from dose.errors import InputError, describe
from twin.trial import executors, journal, lock, manifest
from twin.trial.job_protocol import Job
from twin.trial.progress import Progress
from twin.trial.turn import MOST_FAILED, Summary, Turn
from twin.trial.work import Done, Failed
from twin.whole import not_writable

MOST_PATIENTS = 960
CHUNKS_A_WORKER = 16
"""A chunk is at most the first, and small enough that each worker gets the second: losing one, or waiting for the last
one, then costs little, and writing its parts costs little beside computing them."""

BEFORE_A_TRIAL = (lock.NAME, journal.NAME)
"""Files that a trial which was killed at its birth may have left without a manifest."""


def run(
    job: Job,
    folder,
    *,
    executor: str = "auto",
    workers: int | None = None,
    chunk: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    client=None,
    gpus: Sequence[str] = (),
    most_failed: float = MOST_FAILED,
    verify: bool = False,
) -> Summary:
    """Compute what is missing of the trial in `folder`, which is made if it isn't there.

    `workers` are processes (default: the cores), `chunk` patients (a multiple of the job's block; an existing trial
    keeps its own), `client` a `distributed.Client` or a scheduler's address, `gpus` numbers of GPUs of this machine, a
    process for each. `verify` reads every page of the parts that are there, not their footers only.

    Raises:
        InputError: another trial's folder, another driver at work, a full disk, too many failed patients, a chunk that
            takes its worker down again and again.
        ChunkError: a chunk raised; the other chunks are kept.
    """
    folder, workers = Path(folder), workers or len(gpus) or executors.cores()
    kind = executors.chosen(executor, job.patients, workers, gpus, client)
    _require_trial_or_nothing(folder)
    _make(folder)
    with lock.held(folder):
        words = _begin(job, folder, chunk, workers, "gpu" if gpus else "cpu")
        compute = _executor(kind, workers, client, gpus)
        return Turn(job, folder, words, kind, most_failed, progress).go(compute, workers, verify)


resume = run
"""The same call: what is done is found in the folder."""


def chunk_of(patients: int, block: int, workers: int, asked: int | None = None) -> int:
    """Patients a chunk: as asked, or few enough to share out well.

    Raises:
        InputError: not a multiple of the block.
    """
    if asked is None:
        wanted = min(MOST_PATIENTS, math.ceil(patients / (CHUNKS_A_WORKER * workers)))
        return max(1, math.ceil(wanted / block)) * block
    if asked < 1 or asked % block:
        do = "patients are computed in blocks, the same in each chunk size"
        raise InputError(describe("chunk", str(asked), f"a multiple of {block}", do))
    return asked


def _require_trial_or_nothing(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError(describe("trial folder", f"a file, {folder}", "a folder", "choose another --out"))
    if not folder.is_dir() or (folder / manifest.NAME).is_file():
        return
    others = sorted(p.name for p in folder.iterdir() if p.name not in BEFORE_A_TRIAL and not p.name.startswith("."))
    if others:
        found = f"{', '.join(others[:3])} and no {manifest.NAME} in {folder}"
        do = "choose another --out; if this is a trial, put its manifest back"
        raise InputError(describe("trial folder", found, "a trial or an empty folder", do))


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_writable(folder, error) from error


def _begin(job: Job, folder: Path, chunk: int | None, workers: int, device: str) -> dict:
    """The manifest of the folder, which must be this job's; a new one where there is none."""
    if not (folder / manifest.NAME).is_file():
        words = manifest.manifest_of(job, chunk_of(job.patients, job.block, workers, chunk), device)
        manifest.write(folder, words)
        return words
    found = manifest.read(folder)
    size = chunk_of(job.patients, job.block, workers, chunk) if chunk else found["chunk"]
    manifest.require_same(found, manifest.manifest_of(job, size, device))
    return found


def _executor(kind: str, workers: int, client, gpus: Sequence[str]) -> Callable[..., Iterator[Done | Failed]]:
    if kind == "serial":
        return executors.serial
    if kind == "process":
        from twin.trial.seats import process

        return partial(process, workers=workers, gpus=gpus)
    from twin.trial.cluster import dask

    return partial(dask, workers=workers, client=client)
