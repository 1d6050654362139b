"""Hostile input: what mutants and tricks end in. 2 000 mutants take 15 s of one core, 100 000 about ten minutes."""

from __future__ import annotations

import sys
import tempfile
from functools import cache
from pathlib import Path

from tests.validate import Skipped, check

LONG = "imaging/hostile 100 000 mutants"
SOURCE = "tests/hostile, goals of ENGINEERING.md 5.2"


@cache
def _tally(first: int, count: int):
    from tests.hostile.mutants import run

    with tempfile.TemporaryDirectory() as folder:
        return run(first, count, Path(folder))


@check(
    "imaging/hostile 2 000 mutants: outcomes other than a result or ImageError, leaks, over 5 s",
    unit="mutants",
    tolerance="0",
    source=SOURCE,
)
def mutants():
    found = _tally(0, 2000)
    return len(found.faults), not found.faults


@check("imaging/hostile 2 000 mutants: growth of memory", unit="MB", tolerance="at most 1024", source=SOURCE)
def growth():
    found = _tally(0, 2000).growth_MB
    return found, found <= 1024


@check("imaging/hostile bombs, nesting, path tricks refused", unit="of all", tolerance="all", source=SOURCE)
def tricks():
    from tests.hostile.mutants import leaks, outcome
    from tests.hostile.tricks import TRICKS

    refused = 0
    for make in TRICKS.values():
        with tempfile.TemporaryDirectory() as outer:
            folder = Path(outer) / "study"
            folder.mkdir()
            make(folder)
            ended, words = outcome(folder)
            refused += ended == "ImageError" and not leaks(words)
    return f"{refused} of {len(TRICKS)}", refused == len(TRICKS)


@check("imaging/hostile polyglots read with a note", unit="of all", tolerance="all", source=SOURCE)
def polyglots():
    from imaging.dicom_read import read_folder
    from imaging.guard import PREAMBLES
    from tests.hostile.seeds import seeds

    noted = 0
    for start in PREAMBLES:
        with tempfile.TemporaryDirectory() as folder:
            for k, content in enumerate(seeds()[0]):
                (Path(folder) / f"{k}.dcm").write_bytes(start + content[len(start) :])
            noted += any("preamble" in warning for warning in read_folder(folder).warnings)
    return f"{noted} of {len(PREAMBLES)}", noted == len(PREAMBLES)


@check(
    f"{LONG}: outcomes other than a result or ImageError, leaks, over 5 s", unit="mutants", tolerance="0", source=SOURCE
)
def many_mutants():
    if not any(LONG in word for word in sys.argv):
        raise Skipped(f'it takes ten minutes or more: ask for it by name, ONLY="{LONG}"')
    faults = [fault for first in range(2000, 102_000, 5000) for fault in _tally(first, 5000).faults]
    return len(faults), not faults
