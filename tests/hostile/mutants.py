"""Damage done to files, each kind a function of (bytes, other bytes, generator), and what an import makes of it."""

from __future__ import annotations

import logging
import re
import resource
import signal
import time
import warnings
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path

import numpy as np

from imaging.dicom_read import read_folder
from imaging.series import Contour, Segment
from tests.hostile.seeds import CANARY, seeds

VRS = (
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OW PN SH SL SQ SS ST TM UC UI UL UN UR US UT SV UV OV ZZ".split()
)
VR = re.compile(b"(?:" + b"|".join(VRS) + b")")
EXTREMES = (0, 1, 2, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF)
NUMBERS = (b"1e308", b"-1", b"nan", b"inf", b"0", b"9" * 15, b"1e-320", b"\\\\\\", b"99991231", b"")
MARKS = (b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0", b"\xff\xff\xff\xff", b"\xe0\x7f\x10\x00")

LIMIT_S, STUCK_S, LIMIT_MB = 5.0, 20, 1024
"""Limits of one import: seconds of the processor, so that a busy machine fails no test; seconds of the clock, which
catch what waits instead of working; and growth of the largest memory held."""


def flips(content, _, random) -> bytes:
    out = bytearray(content)
    reach = len(out) if random.random() < 0.3 else min(len(out), 2500)
    for at in random.integers(0, reach, size=random.integers(1, 17)):
        out[at] ^= 1 << int(random.integers(8))
    return bytes(out)


def cut(content, _, random) -> bytes:
    return content[: int(random.integers(len(content)))]


def vr_swap(content, _, random) -> bytes:
    at = place(content, random)
    return content[:at] + VRS[random.integers(len(VRS))] + content[at + 2 :]


def length_lie(content, _, random) -> bytes:
    at, width = place(content, random) + 2, int(random.choice([2, 6]))
    lie = int(random.choice(EXTREMES)) if random.random() < 0.6 else int(random.integers(1, 400))
    told = (
        lie.to_bytes(2, "little")
        if width == 2
        else b"\0\0" + (lie * int(random.choice([1, 65537]))).to_bytes(4, "little")
    )
    return content[:at] + told + content[at + width :]


def duplicate(content, _, random) -> bytes:
    a, b = sorted((place(content, random) - 4, place(content, random) - 4))
    return content[:b] + content[a:b] + content[b:]


def splice(content, other, random) -> bytes:
    return content[: place(content, random) - 4] + other[place(other, random) - 4 :]


def insert(content, _, random) -> bytes:
    at = int(random.integers(min(len(content), 4000)))
    added = MARKS[random.integers(len(MARKS))] if random.random() < 0.5 else random.bytes(int(random.integers(1, 40)))
    return content[:at] + added + content[at:]


def number(content, _, random) -> bytes:
    """Another value in an element of numbers, at its length."""
    found = [m.start() for m in re.finditer(b"DS|IS|US|UL|FD|FL|SS|DA|TM|DT|CS", content[:6000])]
    at = found[random.integers(len(found))] if found else 140
    size = int.from_bytes(content[at + 2 : at + 4], "little") % 64
    if content[at : at + 2] in (b"US", b"UL", b"SS"):
        value = int(random.choice(EXTREMES)).to_bytes(2, "little") * (size // 2)
    else:
        value = (NUMBERS[random.integers(len(NUMBERS))] + b" " * 64)[:size]
    return content[: at + 4] + value + content[at + 4 + size :]


MUTATIONS = (flips, cut, vr_swap, length_lie, duplicate, splice, insert, number)


def place(content: bytes, random) -> int:
    """Where a VR seems to stand."""
    found = [m.start() for m in VR.finditer(content, 136, min(len(content), 6000))]
    return found[random.integers(len(found))] if found else min(len(content), 140)


def mutant(number_of_it: int) -> tuple[str, list[bytes]]:
    """The kind of damage and the files of mutant k, the same on every machine."""
    random, groups = np.random.default_rng([20261122, number_of_it]), seeds()
    ours = random.random() < 0.6
    group = list(groups[random.integers(6)] if ours else groups[random.integers(6, len(groups))])
    other = groups[random.integers(len(groups))][0]
    names, bad = [], int(random.integers(len(group)))
    for _ in range(int(random.choice([1, 1, 1, 2, 3]))):
        change = MUTATIONS[random.integers(len(MUTATIONS))]
        names.append(change.__name__)
        group[bad] = change(group[bad], other, random) or b"\0"
    alone = len(group) > 1 and random.random() < 0.3
    return "+".join(names), [group[bad]] if alone else group


class Stuck(BaseException):
    """An import that had to be ended from outside; no handler of Exception may catch it."""


@contextmanager
def clock(seconds: int):
    def ring(*_):
        raise Stuck

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


class Kept(logging.Handler):
    """A log handler that keeps what it is told."""

    def __init__(self):
        super().__init__(level=1)
        self.lines: list[str] = []

    def emit(self, record):
        self.lines.append(f"{record.getMessage()} {record.exc_info}")


@dataclass
class Tally:
    """What became of the mutants; `faults` should stay empty."""

    outcomes: Counter = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    growth_MB: float = 0.0


def words_of(value) -> list[str]:
    """All words of a result but the labels of regions, which are the user's own names for them."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, tuple | list):
        return [word for item in value for word in words_of(item)]
    if isinstance(value, dict):
        return [word for pair in value.items() for word in words_of(pair)]
    if is_dataclass(value):
        left_out = "label" if isinstance(value, Contour | Segment) else ""
        return [word for f in fields(value) if f.name != left_out for word in words_of(getattr(value, f.name))]
    return []


def chain_of(error: BaseException | None) -> list[str]:
    """The words of an error and of all that it holds on to."""
    if error is None:
        return []
    return [repr(error), *map(str, error.args), *chain_of(error.__cause__), *chain_of(error.__context__)]


def outcome(folder: Path) -> tuple[str, list[str]]:
    """What an import of the folder ends in, and all the words that left it."""
    return words_during(lambda: read_folder(folder))


def words_during(action) -> tuple[str, list[str]]:
    """What an action ends in, with the words of its result or error, its warnings and its logs."""
    kept, root = Kept(), logging.getLogger()
    before = root.level
    root.addHandler(kept)
    root.setLevel(1)
    try:
        with warnings.catch_warnings(record=True) as warned, clock(STUCK_S):
            warnings.simplefilter("always")
            name, words = _ended(action)
    finally:
        root.removeHandler(kept)
        root.setLevel(before)
    return name, [*words, *kept.lines, *(str(w.message) for w in warned)]


def _ended(action) -> tuple[str, list[str]]:
    try:
        found = action()
    except Stuck:
        return "Stuck", []
    except BaseException as error:
        return type(error).__name__, chain_of(error)
    return "result", [*words_of(found), repr(getattr(found, "report", None))]


def leaks(words: list[str]) -> list[str]:
    """Those that hold a part of the canary."""
    parts = [part.lower() for part in CANARY.split("^")]
    return [word[:200] for word in words if any(part in word.lower() for part in parts)]


def run(first: int, count: int, folder: Path) -> Tally:
    """Import mutants first to first + count - 1, one after another, in this folder."""
    tally, before = Tally(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for k in range(first, first + count):
        kind, files = mutant(k)
        for old in folder.iterdir():
            old.unlink()
        for j, content in enumerate(files):
            (folder / f"{CANARY}-{j}.dcm").write_bytes(content)
        begun = time.process_time()
        name, words = outcome(folder)
        took = time.process_time() - begun
        tally.outcomes[name] += 1
        tally.slowest_s = max(tally.slowest_s, took)
        leaked = leaks(words)
        if name not in ("result", "ImageError") or leaked or took > LIMIT_S:
            tally.faults.append(f"mutant {k} ({kind}): {name}, {took:.1f} s, {leaked[:1]}")
    tally.growth_MB = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return tally
