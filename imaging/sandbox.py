"""A folder of unknown origin, read in a process of its own with a clock and a memory limit.

The guards of `imaging.guard` refuse what is known to hurt; this bounds what is not: a decoder that hangs, eats memory
or takes its process down ends as an ImageError here. What was read comes back as .npy and JSON (`imaging.records`),
never as an object stream. The memory limit needs a POSIX system; elsewhere only the clock counts. The process has the
rights of its user: this is a limit on time and memory, not on what a hijacked decoder could do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from dose.errors import ImageError, describe
from imaging.series import StudyImages

LIMIT_S, MEMORY_MB = 600.0, 8192
"""Enough for a study of some thousand slices on a slow disk."""

_FAILED = "error.json"


def read_folder_guarded(path, *, limit_s: float = LIMIT_S, memory_MB: int = MEMORY_MB, **options) -> StudyImages:
    """`imaging.read_folder(path, **options)` in a worker process that may use so much time and address space.

    Starting it takes about half a second, and the voxels go through a temporary folder of this user's.

    Raises:
        ImageError: whatever `read_folder` raises; over the time; ended by the memory limit or a crash.
    """
    asked = {"folder": os.fsdecode(path), "memory_MB": int(memory_MB), "options": options}
    with tempfile.TemporaryDirectory(prefix="theratwin-") as folder:
        code = _run(json.dumps(asked | {"out": folder}), limit_s)
        if (Path(folder) / _FAILED).exists():
            raise ImageError(json.loads((Path(folder) / _FAILED).read_text(encoding="utf-8")))
        if code:
            found = f"an import that ended its process (code {code}: the memory limit of {memory_MB} MB, or a crash)"
            do = "read its series one by one to find the file, or raise memory_MB"
            raise ImageError(describe("folder", found, "a folder that can be read", do))
        from imaging.records import read_record

        return read_record(folder, StudyImages)


def _run(asked: str, limit_s: float) -> int:
    """Exit code of the worker; its words go nowhere, as libraries quote headers in them."""
    root = str(Path(__file__).resolve().parents[1])
    paths = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-m", "imaging.sandbox"]
    silent = subprocess.DEVNULL
    try:
        done = subprocess.run(
            command, input=asked.encode(), env=environment, timeout=limit_s, stdout=silent, stderr=silent, check=False
        )
    except subprocess.TimeoutExpired:
        done = None
    if done is None:
        found, do = f"an import that took over {limit_s:g} s", "read its series one by one, or raise limit_s"
        raise ImageError(describe("folder", found, "an import within its time", do))
    return done.returncode


def _work(asked: dict) -> None:
    """The worker's part: limits first, then the import, then files."""
    _limit(asked["memory_MB"])
    from imaging.dicom_read import read_folder
    from imaging.records import write_record

    try:
        write_record(read_folder(asked["folder"], **asked["options"]), asked["out"])
    except ImageError as error:
        (Path(asked["out"]) / _FAILED).write_text(json.dumps(str(error)), encoding="utf-8")


def _limit(memory_MB: int) -> None:
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (memory_MB * 2**20, memory_MB * 2**20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    _work(json.loads(sys.stdin.buffer.read()))
