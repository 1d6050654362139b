"""One driver's turn at a trial: compute the chunks that are missing, keep what comes, stop where it makes no sense."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from dose.errors import InputError, describe
from twin.trial import journal, ledger
from twin.trial.job_protocol import Job
from twin.trial.progress import Clock
from twin.trial.work import Done, Failed, Order, Task, name_of_worker

MOST_FAILED = 0.2
"""Share of failed rows above which a trial stops."""

FEWEST_JUDGED = 100
"""Rows before the share of failures is looked at, unless the trial is done."""

NOT_FAILED = ("ok", "not_eligible")
"""Values of the status column that are results (twin.trial.schema)."""


class ChunkError(RuntimeError):
    """The computation of a chunk raised: a fault of the program, not of the input."""


@dataclass(frozen=True)
class Summary:
    """What a run did: chunks of the trial, those found and those computed now, rows by status, wall seconds and the
    workers' seconds in `compute` and encoding, workers lost."""

    folder: Path
    patients: int
    chunks: int
    found: int
    computed: int
    statuses: dict[str, int]
    seconds: float
    work_s: float
    workers_lost: int
    executor: str

    @property
    def failed(self) -> int:
        """Rows that failed."""
        return failed(self.statuses)


def failed(statuses: Mapping[str, int]) -> int:
    """Rows whose status is no result."""
    return sum(count for status, count in statuses.items() if status not in NOT_FAILED)


class Turn:
    """One driver's turn at a trial, with the folder's lock held."""

    def __init__(self, job: Job, folder: Path, words: dict, kind: str, most_failed: float, progress):
        self.order, self.folder, self.words, self.kind = Order(job, words["sha256"]), folder, words, kind
        self.most_failed, self.progress = most_failed, progress or (lambda _: None)
        self.tasks = ledger.tasks_of(words["patients"], words["chunk"])
        self.statuses: Counter[str] = Counter()
        self.work_s, self.computed, self.lost = 0.0, 0, 0

    def go(self, compute, workers: int, verify: bool) -> Summary:
        begin = time.monotonic()
        found = ledger.survey(self.folder, self.words, deep=verify)
        ledger.clean(found)
        for statuses in found.chunks.values():
            self.statuses.update(statuses)
        todo = [task for task in self.tasks if task.number not in found.chunks]
        self._started(workers, found)
        try:
            self._compute(compute, todo)
        except BaseException as error:
            with suppress(InputError):
                self.say("stopped", why=f"{type(error).__name__}: {error}")
            raise
        self.say("finished", statuses=dict(self.statuses))
        return self._summary(len(found.chunks), time.monotonic() - begin)

    def say(self, event: str, **words) -> None:
        """Into the folder's events."""
        self.lost += event == "worker lost"
        try:
            journal.write(self.folder, event, **words)
        except OSError as error:
            raise ledger.no_room(self.folder, error) from error

    def _started(self, workers: int, found: ledger.Survey) -> None:
        removed = {str(place.relative_to(self.folder)): why for place, why in found.faults.items()}
        with_whom = {"executor": self.kind, "workers": 1 if self.kind == "serial" else workers}
        counts = {"chunks": len(self.tasks), "found": len(found.chunks)}
        self.say("started", driver=name_of_worker(), **with_whom, **counts, removed=removed)

    def _compute(self, compute, todo: list[Task]) -> None:
        done = self.words["patients"] - sum(task.last - task.first for task in todo)
        clock = Clock(self.words["patients"], done)
        self._judge(finished=not todo)
        if not todo:
            return
        with closing(compute(self.order, todo, self.say)) as outcomes:
            for outcome in outcomes:
                self._keep(outcome)
                done += outcome.task.last - outcome.task.first
                self.progress(clock.after(done))
                self._judge(finished=done == self.words["patients"])

    def _keep(self, outcome: Done | Failed) -> None:
        """Write a chunk's parts; raise for one that failed."""
        if isinstance(outcome, Failed):
            raise self._error(outcome)
        ledger.put(self.folder, outcome.task, outcome.parts)
        self.statuses.update(outcome.statuses)
        self.work_s += outcome.seconds
        self.computed += 1
        task, seconds = outcome.task, round(outcome.seconds, 3)
        told = {"chunk": task.number, "patients": task.last - task.first, "worker": outcome.worker, "seconds": seconds}
        self.say("chunk done", **told, statuses=outcome.statuses)

    def _error(self, outcome: Failed) -> Exception:
        task = outcome.task
        where = f"chunk {task.number} (patients {task.first} to {task.last - 1})"
        self.say("chunk failed", chunk=task.number, worker=outcome.worker, why=outcome.words, trace=outcome.trace)
        if outcome.known:
            do = "correct it, then theratwin trial resume; the chunks already written are kept"
            return InputError(describe(where, outcome.words, "its tables", do))
        return ChunkError(f"{where} raised {outcome.words}; the traceback is in {journal.NAME}, other chunks are kept")

    def _judge(self, finished: bool) -> None:
        """Stop where too many rows have failed."""
        rows, bad = sum(self.statuses.values()), failed(self.statuses)
        if bad > self.most_failed * rows and (finished or rows >= FEWEST_JUDGED):
            reasons = ", ".join(f"{n} {status}" for status, n in sorted(self.statuses.items()))
            do = "mend the design, or allow more by --most-failed and resume"
            expected = f"at most {self.most_failed:.0%} failed"
            raise InputError(describe("patients", f"{bad} of {rows} rows failed ({reasons})", expected, do))

    def _summary(self, found: int, seconds: float) -> Summary:
        counts = (self.words["patients"], len(self.tasks), found, self.computed, dict(self.statuses))
        return Summary(self.folder, *counts, seconds, self.work_s, self.lost, self.kind)
