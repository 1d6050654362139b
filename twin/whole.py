"""Files and folders that are written whole or not at all: hidden sibling, flush to the disk, rename."""

from __future__ import annotations

import glob
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dose.errors import InputError, describe


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is either the old one or the whole new one, even if the machine stops.

    Raises:
        InputError: the folder can't be written.
    """
    temporary = hidden_beside(path)
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise not_writable(path.parent, error) from error


@contextmanager
def new_folder_beside(out: Path) -> Iterator[Path]:
    """A hidden new folder beside `out`, to be filled and put in its place; what is left of it goes in any case.

    Raises:
        InputError: the place can't be written.
    """
    temporary = hidden_beside(out)
    try:
        temporary.mkdir(parents=True)
        yield temporary
    except OSError as error:
        raise not_writable(out, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def hidden_beside(path: Path) -> Path:
    """A hidden name beside a path that nothing else has."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}")


def not_writable(folder, error: OSError) -> InputError:
    """The error for a folder that can't be written."""
    found = f"{error.strerror or error} ({folder})"
    return InputError(describe("output folder", found, "a folder that can be written", "choose another --out"))


def standing(place: Path) -> Path:
    """`place`, or, where a `replace_folder` was cut off between its two renames, the hidden sibling that was there."""
    olds = [] if place.exists() else _olds(place)
    return max(olds, key=lambda old: old.stat().st_mtime, default=place)


def _olds(place: Path) -> list[Path]:
    return list(place.parent.glob(f".{glob.escape(place.name)}.old.*"))


def replace_folder(new: Path, place: Path) -> None:
    """Put `new` (a sibling) where `place` is; what was there goes only after the new one stands (see `standing`)."""
    old = place.with_name(f".{place.name}.old.{uuid.uuid4().hex}")
    if place.exists():
        place.replace(old)
    try:
        new.replace(place)
    except OSError:
        if old.exists():
            old.replace(place)
        raise
    for cut_off in _olds(place):
        shutil.rmtree(cut_off, ignore_errors=True)
