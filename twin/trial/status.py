"""How a trial stands, from its folder alone: parts, events and the driver's lock. Reads only."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from twin.trial import journal, ledger, lock, manifest
from twin.trial.progress import pace
from twin.trial.turn import failed


@dataclass(frozen=True)
class Status:
    """State (running, finished, stopped, interrupted), chunks and patients done, rate of the last driver, times (UTC),
    rows by status, workers lost, why it stopped, and the driver at work."""

    state: str
    chunks: int
    chunks_done: int
    patients: int
    patients_done: int
    rate_per_s: float
    left_s: float
    started: datetime | None
    updated: datetime | None
    statuses: dict[str, int]
    workers_lost: int
    why: str
    driver: str | None

    @property
    def failed(self) -> int:
        """Rows that failed."""
        return failed(self.statuses)


def status(folder) -> Status:
    """How the trial in `folder` stands.

    Raises:
        InputError: no trial there, or a manifest that can't be read.
    """
    folder = Path(folder)
    words, events, driver = manifest.read(folder), journal.read(folder), lock.driver(folder)
    tasks = ledger.tasks_of(words["patients"], words["chunk"])
    found = ledger.survey(folder, words, tables=words["tables"][-1:])
    patients = sum(task.last - task.first for task in tasks if task.number in found.chunks)
    statuses: Counter[str] = Counter()
    for counts in found.chunks.values():
        statuses.update(counts)
    rate, left_s = _pace(events, words["patients"] - patients)
    state, why = _state(events, driver, len(found.chunks) == len(tasks))
    return Status(
        state=state,
        chunks=len(tasks),
        chunks_done=len(found.chunks),
        patients=words["patients"],
        patients_done=patients,
        rate_per_s=rate,
        left_s=left_s if state == "running" else float("nan"),
        started=_time(events[:1]),
        updated=_time(events[-1:]),
        statuses=dict(statuses),
        workers_lost=sum(e["event"] == "worker lost" for e in events),
        why=why,
        driver=driver,
    )


def last_turn(events: list[dict]) -> list[dict]:
    """Events of the last driver."""
    starts = [k for k, event in enumerate(events) if event["event"] == "started"]
    return events[starts[-1] :] if starts else []


def _pace(events: list[dict], left: int) -> tuple[float, float]:
    """Patients per second of the last driver, and the seconds that the others take at this rate."""
    turn = last_turn(events)
    done = [event for event in turn if event["event"] == "chunk done"]
    seconds = done[-1]["at"] - turn[0]["at"] if done else 0.0
    return pace(sum(event["patients"] for event in done), seconds, left)


def _state(events: list[dict], driver: str | None, complete: bool) -> tuple[str, str]:
    """(state, why it stopped); a driver that was killed leaves no event."""
    stops = [event for event in last_turn(events) if event["event"] == "stopped"]
    if driver or not stops:
        return "running" if driver else "finished" if complete else "interrupted", ""
    return "stopped", str(stops[-1].get("why", ""))


def _time(events: list[dict]) -> datetime | None:
    return datetime.fromtimestamp(events[0]["at"], UTC) if events else None
