"""The files of a folder, listed without following anything out of it, and names for files that we write.

Nothing here believes a name: links that leave the folder, pipes and devices are passed over, DICOMDIR references are
never followed (CVE-2026-32711), and a name made from a header value is spelt from an allow-list.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from dose.errors import ImageError, describe

MAX_FILES = 50_000
MAX_FOLDER_DEPTH = 32
"""A study archive is some folders deep; a listing is bounded, whatever the disk holds."""

NAME_LENGTH = 64
RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{k}" for port in ("com", "lpt") for k in range(10))}
"""Names that Windows takes for devices."""


def folder_files(root) -> list[Path]:
    """Regular files below a folder, sorted; links count only where they end at a file inside.

    Raises:
        ImageError: no such folder, too many files, or folders nested too deeply.
    """
    root = Path(root)
    if not root.is_dir():
        raise ImageError(describe("folder", "no such folder", "a folder with DICOM files", "check the path"))
    inside, found, waiting, seen = root.resolve(), [], [(root, 0)], 0
    while waiting:
        folder, depth = waiting.pop()
        for entry in _entries(folder):
            seen += 1
            if seen > MAX_FILES:
                _refuse(f"over {MAX_FILES} entries", f"at most {MAX_FILES}", "read one study at a time")
            if entry.is_dir(follow_symlinks=False):
                waiting.append((Path(entry.path), depth + 1))
            elif _is_file_inside(entry, inside):
                found.append(Path(entry.path))
        if waiting and waiting[-1][1] > MAX_FOLDER_DEPTH:
            _refuse("folders nested too deeply", f"at most {MAX_FOLDER_DEPTH} levels", "read one study at a time")
    return sorted(found)


def _entries(folder: Path) -> list:
    try:
        with os.scandir(folder) as listing:
            return sorted(listing, key=lambda entry: entry.name)
    except OSError:
        return []


def _is_file_inside(entry, inside: Path) -> bool:
    """A regular file, or a link to one that does not leave the folder."""
    try:
        path = Path(entry.path)
        regular = stat.S_ISREG(path.stat().st_mode)
        return regular and (not entry.is_symlink() or path.resolve().is_relative_to(inside))
    except (OSError, RuntimeError, ValueError):
        return False


def safe_name(text: str, fallback: str = "unnamed") -> str:
    """A file name spelt from letters, digits, dot, dash and underscore; never hidden, empty, or a device.

    For labels such as region names. UIDs, patient and series texts of a header are not to be in file names at all.
    """
    spelt = re.sub(r"[^A-Za-z0-9._-]+", "_", str(text)).strip("._")[:NAME_LENGTH].rstrip(".")
    return fallback if not spelt or spelt.split(".")[0].lower() in RESERVED else spelt


def path_inside(root, name: str) -> Path:
    """`root / safe_name(name)`, checked to lie in the root even where a link stands in the way.

    Raises:
        ImageError: the path leaves the root.
    """
    root = Path(root)
    path = root / safe_name(name)
    if not path.resolve().is_relative_to(root.resolve()):
        _refuse("a file name that leads out of it", "a name inside", "remove the link of that name")
    return path


def _refuse(found: str, expected: str, do: str) -> None:
    raise ImageError(describe("folder", found, expected, do))
