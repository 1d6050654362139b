"""How far a trial is, how fast it goes, and how long it will take."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

REMEMBERED = 32
"""Chunks over which the rate is taken, so that compiling at the start is soon forgotten."""


@dataclass(frozen=True)
class Progress:
    """Patients done of `total`, patients per second, and seconds left (NaN before the first chunk)."""

    done: int
    total: int
    rate_per_s: float
    left_s: float


class Clock:
    """Takes down when how many patients were done, and says how it goes."""

    def __init__(self, total: int, done: int):
        self.total = total
        self.marks: deque[tuple[float, int]] = deque([(time.monotonic(), done)], REMEMBERED + 1)

    def after(self, done: int) -> Progress:
        """Progress now that `done` patients are."""
        self.marks.append((time.monotonic(), done))
        (begin, before), (now, _) = self.marks[0], self.marks[-1]
        return Progress(done, self.total, *pace(done - before, now - begin, self.total - done))


def pace(patients: int, seconds: float, left: int) -> tuple[float, float]:
    """(patients per second, seconds left), NaN where nothing was done yet."""
    rate = patients / seconds if seconds > 0 and patients > 0 else float("nan")
    return rate, left / rate
