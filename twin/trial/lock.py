"""One driver a folder: a lock of the operating system, which goes with the process that held it, however that ended."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from dose.errors import InputError, describe
from twin.whole import not_writable

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

NAME = "driver.lock"
PATIENCE_S, PAUSE_S = 1.0, 0.05
"""How long a driver tries: `driver` below takes the lock for a moment to see whether it is free."""

BEYOND = 1 << 30
"""Byte that Windows locks, past the words, which stay readable."""


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; process number and host stand in the file.

    Raises:
        InputError: another driver holds it, or the file system knows no locks.
    """
    try:
        file = (folder / NAME).open("a+", encoding="utf-8")
    except OSError as error:
        raise not_writable(folder, error) from error
    with file:
        _wait(file, folder)
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        with suppress(OSError):  # a full disk: the lock holds without its words
            file.flush()
        yield


def driver(folder: Path) -> str | None:
    """`pid at host` of the driver at work in the folder, or None."""
    try:
        with (folder / NAME).open(encoding="utf-8") as file:
            return None if _taken(file, shared=True) else _words(folder)
    except OSError:
        return None


def _wait(file: IO, folder: Path) -> None:
    end = time.monotonic() + PATIENCE_S
    while not _taken(file):
        if time.monotonic() > end:
            do = "wait for it or stop it; theratwin trial status shows how far it is"
            raise InputError(describe("trial folder", f"a driver at work, {_words(folder)}", "no other driver", do))
        time.sleep(PAUSE_S)


def _words(folder: Path) -> str:
    with suppress(OSError, ValueError, KeyError):
        said = json.loads((folder / NAME).read_text(encoding="utf-8"))
        return f"process {said['pid']} at {said['host']}"
    return "process unknown"


def _taken(file: IO, shared: bool = False) -> bool:
    """Whether the lock could be had. A file system without locks is an error, as two drivers could meet on it."""
    try:
        if fcntl is not None:
            fcntl.flock(file.fileno(), (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        else:
            _windows(file)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        found, do = f"no file locks ({error.strerror})", "put the trial on a file system with locks (NFS: version 4)"
        raise InputError(describe("trial folder", found, "a file system with locks", do)) from error
    return True


def _windows(file: IO) -> None:
    import msvcrt

    file.seek(BEYOND)
    msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # pyright: ignore[reportAttributeAccessIssue]
