"""Worker processes of this machine: each has a seat, at most two chunks, and is replaced when it dies.

Python's own process pool breaks as a whole when one worker is killed, and doesn't say which chunk it had; seats lose
one worker only, know the chunk, and can be stopped at once. Workers are spawned, as a process that has imported JAX
must not be forked, and leave when their driver is gone.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import wait

from twin.trial.executors import Say, environment, worker_environments
from twin.trial.work import Done, Failed, Order, Task, work

LIVES = 3
"""Workers that one chunk may take down, or one seat may fail to start, before the trial stops."""

FAREWELL_S = 5.0
"""How long a worker that was told to leave may take."""

READY, START = "ready", "start"


def process(
    order: Order, tasks: Sequence[Task], say: Say, *, workers: int, gpus: Sequence[str] = ()
) -> Iterator[Done | Failed]:
    """Chunks on `workers` processes of one thread each, or one process for each of `gpus`."""
    environments = worker_environments(min(workers, len(tasks)), gpus[: len(tasks)])
    waiting, losses = deque(tasks), Counter()
    seats = [Seat(order, words) for words in environments]
    try:
        while waiting or any(seat.tasks for seat in seats):
            hand_out(waiting, seats)
            by_pipe = {seat.pipe: seat for seat in seats}
            for pipe in wait(list(by_pipe)):
                yield from _hear(by_pipe[pipe], waiting, losses, say)
    finally:
        for seat in seats:
            seat.dismiss()
        for seat in seats:
            seat.leave()


def hand_out(waiting: deque[Task], seats: Sequence[Seat]) -> None:
    """One chunk to each idle worker, then a second one to each while there are enough left to keep all busy."""
    for most in (1, 2):
        for seat in seats:
            if waiting and len(seat.tasks) < most and (most == 1 or len(waiting) > len(seats)):
                seat.give(waiting.popleft())


def _hear(seat: Seat, waiting: deque[Task], losses: Counter, say: Say) -> Iterator[Done | Failed]:
    """What a worker sent: that it is ready, an outcome, or, by its silence, that it is dead."""
    try:
        heard = seat.pipe.recv()
    except (EOFError, OSError):
        yield from _replace(seat, waiting, losses, say)
        return
    if heard == READY:
        seat.ready = True
        losses.pop(START, None)
    else:
        seat.tasks.popleft()
        yield heard


def _replace(seat: Seat, waiting: deque[Task], losses: Counter, say: Say) -> Iterator[Failed]:
    """Start another worker; its chunks go first in the queue, unless the one it worked at has taken enough lives."""
    worker, ended, began = seat.name, seat.ended(), seat.ready
    lost = list(seat.tasks)
    say("worker lost", worker=worker, ended=ended, chunks=[task.number for task in lost])
    key = lost[0].number if began and lost else START
    losses[key] += 1
    if losses[key] >= LIVES and lost:
        yield Failed(lost[0], _why(ended, began, losses[key]), worker, known=True)
        return
    waiting.extendleft(reversed(lost))
    for task in lost:
        say("chunk resubmitted", chunk=task.number, worker=worker)
    seat.start()


def _why(ended: str, began: bool, times: int) -> str:
    if not began:
        guard = 'a script that calls run needs `if __name__ == "__main__":` around it'
        return (
            f"workers ended before they began, {times} times ({ended}); {guard}, and the job's class must be importable"
        )
    return f"its worker ended {times} times ({ended}); out of memory? Fewer workers or chunks of one block need less"


class Seat:
    """A worker process, the pipe to it, and the chunks it was given, the one it works at first."""

    def __init__(self, order: Order, words: dict[str, str]):
        self.order, self.words = order, words
        self.start()

    def start(self) -> None:
        """Spawn a worker in its own environment."""
        spawn = multiprocessing.get_context("spawn")
        self.tasks: deque[Task] = deque()
        self.ready = False
        self.pipe, theirs = spawn.Pipe()
        self.process = spawn.Process(target=serve, args=(theirs, self.order), daemon=True)
        with environment(self.words):
            self.process.start()
        theirs.close()

    @property
    def name(self) -> str:
        return f"{self.process.pid}@{socket.gethostname()}"

    def give(self, task: Task) -> None:
        """Hand over a chunk; that the worker is dead is heard at the pipe."""
        self.tasks.append(task)
        with suppress(OSError):
            self.pipe.send(task)

    def ended(self) -> str:
        """How the process ended, in words."""
        self.pipe.close()
        self.process.join(FAREWELL_S)
        code = self.process.exitcode
        return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"

    def dismiss(self) -> None:
        """Tell the worker to leave; one that is still at work is killed."""
        if self.tasks:
            self.process.kill()
        with suppress(OSError):
            self.pipe.send(None)

    def leave(self) -> None:
        """Wait for the worker's end."""
        self.process.join(FAREWELL_S)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
        self.pipe.close()


def serve(pipe, order: Order) -> None:
    """A worker's life: chunks in, outcomes out, until told to leave or until its driver is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_the_driver, daemon=True).start()
    with suppress(EOFError, OSError):
        pipe.send(READY)
        while (task := pipe.recv()) is not None:
            pipe.send(work(order, task))
    os._exit(0)  # nothing is open here, and taking JAX down takes seconds


def _leave_with_the_driver() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
