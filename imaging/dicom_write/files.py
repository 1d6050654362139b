"""Written files are whole or not there, and carry nothing in their preamble.

A file goes to a temporary sibling first and is renamed once it is on disk. The preamble is zeros: an ELF header in 128
bytes before a DICOM object is a known way to smuggle a program (CVE-2019-11687).
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from dose.errors import InputError, describe
from imaging.guard import quiet

PREAMBLE = b"\0" * 128


def checked_target(path, *, overwrite: bool) -> Path:
    """The path to write to.

    Raises:
        InputError: a file is there and `overwrite` is off.
    """
    path = Path(path)
    if path.exists() and not (overwrite and path.is_file()):
        do = "choose another name, or say overwrite=True for a file"
        raise InputError(describe("path", "something already there", "a new file", do))
    return path


def save(dataset, path, *, overwrite: bool = False) -> Path:
    """Write the data set whole or not at all; parents are made.

    Raises:
        InputError: a file is there and `overwrite` is off.
    """
    path = checked_target(path, overwrite=overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.part")
    dataset.preamble = PREAMBLE
    try:
        with quiet(), beside.open("wb") as stream:
            dataset.save_as(stream, enforce_file_format=True)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return path
