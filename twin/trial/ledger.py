"""The parts on disk are the ledger: a chunk is done when each table has a sound part, the last one written last.

A part is written to a hidden sibling, flushed, renamed, and its folder flushed, so that it is there whole or not at
all. Its metadata name the trial (the manifest's digest) and the chunk, so that a part of another trial is found out.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dose.errors import InputError, describe
from twin.trial.work import CHUNK, MANIFEST, RANGE, STATUSES, Task

PART = re.compile(r"part-(\d{5,})\.parquet")
HIDDEN = re.compile(r"\.part-\d{5,}\.parquet\.new")
EDGES_BYTES = 4 + 4 + 4
"""Of a Parquet file around pages and footer: PAR1 at the head, and the footer's length and PAR1 at the end."""


@dataclass(frozen=True)
class Survey:
    """What a folder holds: rows by status of each sound chunk, and each file that must go, with the reason."""

    chunks: dict[int, dict[str, int]]
    faults: dict[Path, str]


def tasks_of(patients: int, chunk: int) -> list[Task]:
    """All chunks, the last one perhaps shorter."""
    return [Task(k, first, min(first + chunk, patients)) for k, first in enumerate(range(0, patients, chunk))]


def part(folder: Path, table: str, number: int) -> Path:
    """Where the part of a table and chunk lies."""
    return folder / table / f"part-{number:05d}.parquet"


def put(folder: Path, task: Task, parts: Mapping[str, bytes]) -> None:
    """Write the parts of a chunk in the order given; the last one makes it complete.

    Raises:
        InputError: the disk is full or can't be written; what was half written is gone.
    """
    places = {part(folder, table, task.number): content for table, content in parts.items()}
    try:
        for place, content in places.items():
            _write_hidden(place, content)
        for place in places:
            hidden(place).replace(place)
            _flush_folder(place.parent)
    except OSError as error:
        raise no_room(folder, error) from error
    finally:
        for place in places:
            with suppress(OSError):
                hidden(place).unlink(missing_ok=True)


def hidden(place: Path) -> Path:
    """Where a part is written before it is whole."""
    return place.with_name(f".{place.name}.new")


def _write_hidden(place: Path, content: bytes) -> None:
    place.parent.mkdir(exist_ok=True)
    with hidden(place).open("wb", buffering=0) as file:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(file.fileno(), rest) :]
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Make a rename outlast a power cut, where the system can (Windows can't open a folder)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def no_room(folder: Path, error: OSError) -> InputError:
    """The error for a disk that takes no more."""
    found = f"{error.strerror or error} ({folder})"
    do = "make room, then go on with theratwin trial resume; chunks already written are kept"
    return InputError(describe("trial folder", found, "room for the parts", do))


def survey(folder: Path, manifest: Mapping, *, tables: Iterable[str] | None = None, deep: bool = False) -> Survey:
    """Look at every part; `deep` reads each page and its checksum, else the footer and the length are enough.

    `tables` (default: all of the manifest) are those that are looked at.
    """
    tasks = {task.number: task for task in tasks_of(manifest["patients"], manifest["chunk"])}
    faults: dict[Path, str] = {}
    sound: list[dict[int, dict[str, int]]] = []
    for table in tables or manifest["tables"]:
        looks = {place: _look(place, manifest["sha256"], tasks, deep) for place in _listed(folder / table)}
        faults |= {place: why for place, (_, why, _) in looks.items() if why}
        sound.append({number: statuses for number, why, statuses in looks.values() if not why})
    complete = sorted(set.intersection(*(set(found) for found in sound))) if sound else []
    return Survey({number: sound[-1][number] for number in complete}, faults)


def _listed(folder: Path) -> list[Path]:
    """Parts and unfinished parts of a table; anything else there is not ours."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if PART.fullmatch(p.name) or HIDDEN.fullmatch(p.name))


def _look(place: Path, digest: str, tasks: Mapping[int, Task], deep: bool) -> tuple[int, str, dict[str, int]]:
    """Chunk of a part, why it can't be used (or ""), and its rows by status."""
    match = PART.fullmatch(place.name)
    number = int(match[1]) if match else -1
    if number not in tasks:
        return number, "no such chunk" if match else "not finished", {}
    try:
        footer = pq.read_metadata(place)
        words = {key.decode(): text.decode() for key, text in (footer.metadata or {}).items()}
        why = _marks_amiss(words, digest, tasks[number])
        if not why and place.stat().st_size != _length(footer):
            why = "another length than its footer says"
        if not why and deep:
            pq.ParquetFile(place, page_checksum_verification=True).read()
        return number, why, json.loads(words.get(STATUSES, "{}"))
    except (pa.ArrowException, OSError, ValueError) as error:
        return number, f"damaged ({type(error).__name__})", {}


def _marks_amiss(words: Mapping[str, str], digest: str, task: Task) -> str:
    if words.get(MANIFEST) != digest:
        return "a part of another trial"
    here = (str(task.number), f"{task.first}-{task.last}")
    return "" if (words.get(CHUNK), words.get(RANGE)) == here else "a part of another chunk"


def _length(footer: pq.FileMetaData) -> int:
    groups = [footer.row_group(k) for k in range(footer.num_row_groups)]
    pages = sum(g.column(j).total_compressed_size for g in groups for j in range(g.num_columns))
    return pages + footer.serialized_size + EDGES_BYTES


def clean(found: Survey) -> None:
    """Take away what the survey found unfit, so that it is computed again."""
    for place in found.faults:
        place.unlink(missing_ok=True)
