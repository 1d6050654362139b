"""What a worker does with a chunk: compute it, encode its tables as Parquet, and give the bytes to the driver.

Workers write nothing. One writer, who holds the folder's lock, means that the worker of a dead driver can't reach the
folder, that a full disk is met in one place, and that a cluster needs no folder in common. Compressing, the costly
part, is still spread over the workers, and what travels is what will lie on the disk.
"""

from __future__ import annotations

import json
import os
import socket
import time
import traceback
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from dose.errors import InputError, TheratwinError, describe
from twin.trial.job_protocol import Job
from twin.trial.manifest import packages

STATUS = "status"
"""Column of the last table whose values are counted."""

MANIFEST, CHUNK, RANGE, STATUSES = "theratwin_manifest", "theratwin_chunk", "theratwin_patients", "theratwin_status"
"""Keys of a part's metadata: the trial's digest, the chunk, `first-last`, and rows by status (JSON)."""


@dataclass(frozen=True)
class Task:
    """Chunk `number`: patients `first` to `last` - 1."""

    number: int
    first: int
    last: int


@dataclass(frozen=True)
class Order:
    """What each worker needs to know: the job, the digest of its manifest, and the package versions it began with."""

    job: Job
    digest: str
    packages: dict[str, str] = field(default_factory=packages)


@dataclass(frozen=True)
class Done:
    """A computed chunk: Parquet files by table in the order of writing, rows by status, who did it in which time."""

    task: Task
    parts: dict[str, bytes]
    statuses: dict[str, int]
    worker: str
    seconds: float


@dataclass(frozen=True)
class Failed:
    """A chunk that can't be computed. `known`: something to correct in the input, not a fault of the program."""

    task: Task
    words: str
    worker: str
    known: bool = False
    trace: str = ""


def name_of_worker() -> str:
    return f"{os.getpid()}@{socket.gethostname()}"


def work(order: Order, task: Task) -> Done | Failed:
    """Compute one chunk; an error of the job comes back as words, as not every exception can travel."""
    begin = time.perf_counter()
    try:
        _require_same_packages(order.packages)
        job = order.job
        tables = job.compute(task.first, task.last)
        _require_tables(job, tables)
        statuses = count(tables[job.tables[-1]])
        parts = {name: encode(tables[name], order, task, statuses) for name in job.tables}
    except Exception as error:
        known, words = isinstance(error, TheratwinError), f"{type(error).__name__}: {error}"
        return Failed(task, words, name_of_worker(), known, traceback.format_exc())
    return Done(task, parts, statuses, name_of_worker(), time.perf_counter() - begin)


def count(table: pa.Table) -> dict[str, int]:
    """Rows of each value of the status column, or none without such a column."""
    if STATUS not in table.column_names:
        return {}
    counts = table[STATUS].cast(pa.string()).value_counts().to_pylist()
    return dict(sorted((str(row["values"]), int(row["counts"])) for row in counts))


def encode(table: pa.Table, order: Order, task: Task, statuses: dict[str, int]) -> bytes:
    """A table as Parquet bytes, the same for the same table, with the trial's marks and a checksum for each page."""
    marks = {
        MANIFEST: order.digest,
        CHUNK: str(task.number),
        RANGE: f"{task.first}-{task.last}",
        STATUSES: json.dumps(statuses),
    }
    words = {**(table.schema.metadata or {}), **{key.encode(): text.encode() for key, text in marks.items()}}
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(words), sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue().to_pybytes()


def _require_same_packages(expected: dict[str, str]) -> None:
    found = {name: here for name, here in packages().items() if expected.get(name) != here}
    if found:
        wanted = {name: expected.get(name) for name in found}
        do = "give all workers the driver's environment"
        raise InputError(describe(f"packages of {name_of_worker()}", str(found), str(wanted), do))


def _require_tables(job: Job, tables: dict[str, pa.Table]) -> None:
    if set(tables) != set(job.tables):
        do = "let compute return each table that the job names"
        raise InputError(describe("tables of the job", str(sorted(tables)), str(sorted(job.tables)), do))
