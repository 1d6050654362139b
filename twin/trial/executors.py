"""Where the chunks of a trial are computed: here, in processes of this machine, or on a Dask cluster.

An executor takes the order and the chunks and gives outcomes as they come, in any order; it holds no more than two
chunks a worker, waits while the driver writes, and tells through `say` which workers it lost. Results do not depend on
it: `twin.trial.work.work` is all that each of them runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from dose.errors import InputError, describe, nearest
from twin.trial.work import Done, Failed, Order, Task, work

NAMES = ("auto", "serial", "process", "dask")

SERIAL_BELOW = 5000
"""Patients below which starting and compiling in workers takes longer than they save (ENGINEERING.md 2.1)."""

Say = Callable[..., None]
"""`say(event, **words)`: into the trial's events."""

ONE_THREAD = dict.fromkeys(("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""One thread a worker. NPROC is what sizes XLA's pool of threads: measured with jaxlib 0.10.2, where the flag below
alone leaves two cores busy (processor time over wall time 1.92 without NPROC, 1.00 with it)."""

XLA_ONE_THREAD = "--xla_cpu_multi_thread_eigen=false"
THREADS = "THERATWIN_THREADS"
"""Set to 1 in workers: a job that starts threads of its own keeps to it (`threads`)."""


def cores() -> int:
    """Processor cores that this process may use (`pbpk.batch.cores`, without the JAX that comes with it)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads() -> int:
    """Threads that a job may use here: one in a worker, all cores of a process that works alone."""
    return int(os.environ.get(THREADS) or cores())


def chosen(name: str, patients: int, workers: int, gpus: Sequence[str] = (), client=None) -> str:
    """The executor that `auto` stands for, or the one named.

    Raises:
        InputError: no such executor, or one that can't use what is given with it.
    """
    if name not in NAMES:
        meant = nearest(name, NAMES) or "one of " + ", ".join(NAMES)
        raise InputError(describe("executor", name, meant, "choose one of them"))
    if client is not None and name not in ("auto", "dask"):
        raise InputError(describe("executor", f"{name} with a Dask scheduler", "dask", "leave one of the two out"))
    if gpus and (client is not None or name in ("serial", "dask")):
        do = "choose process, or give the cluster's workers their GPUs (CUDA_VISIBLE_DEVICES)"
        raise InputError(describe("executor", f"{name} with GPUs of this machine", "process", do))
    if name != "auto":
        return name
    if client is not None:
        return "dask"
    return "process" if gpus or (patients >= SERIAL_BELOW and workers > 1) else "serial"


def worker_environments(workers: int, gpus: Sequence[str] = ()) -> list[dict[str, str]]:
    """Environment of each worker: one thread and no GPU, or, with `gpus` (numbers or UUIDs), one worker for each.

    Set before the worker starts, as JAX and Equinox read it when they are imported.
    """
    flags = " ".join(x for x in (os.environ.get("XLA_FLAGS", ""), XLA_ONE_THREAD) if x)
    each = {**ONE_THREAD, THREADS: "1", "XLA_FLAGS": flags, "EQX_ON_ERROR": "nan"}
    if gpus:
        return [{**each, "CUDA_VISIBLE_DEVICES": str(gpu), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"} for gpu in gpus]
    return [{**each, "JAX_PLATFORMS": "cpu"} for _ in range(workers)]


@contextmanager
def environment(words: dict[str, str]) -> Iterator[None]:
    """This process's environment with `words` for as long as children are started."""
    before = {name: os.environ.get(name) for name in words}
    os.environ.update(words)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def serial(order: Order, tasks: Sequence[Task], say: Say) -> Iterator[Done | Failed]:
    """One chunk after the other in this process, with the JAX that is configured here."""
    for task in tasks:
        yield work(order, task)
