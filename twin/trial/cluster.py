"""Chunks on Dask: a client or a scheduler that is there already (SLURM, Kubernetes, cloud), or workers of this machine.

Dask's scheduler gives the chunks of a lost worker to another one by itself, and gives up a chunk whose workers died too
often (`distributed.scheduler.allowed-failures`, 3). Its messages can run code on whoever reads them: a scheduler must
never be reachable by others (docs/trials-engine.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from queue import Empty, SimpleQueue

from dose.errors import InputError, describe
from twin.trial.executors import Say, environment, worker_environments
from twin.trial.work import Done, Failed, Order, Task, name_of_worker, work

LOOPBACK = "127.0.0.1"
TOPIC = "all"
"""Where the scheduler tells of workers that come and go."""

MOST_QUIET_S = 10.0
"""How long the scheduler has to answer at the start."""


_KEPT: dict[str, Order] = {}
"""On a worker: the order of the driver's turn. One object for all chunks keeps what it has compiled."""


def work_there(turn: str, order: Order, task: Task) -> Done | Failed:
    """`work` with the first copy of the order that came to this process in this turn of a driver."""
    if turn not in _KEPT:
        _KEPT.clear()
    return work(_KEPT.setdefault(turn, order), task)


def dask(order: Order, tasks: Sequence[Task], say: Say, *, client=None, workers: int = 1) -> Iterator[Done | Failed]:
    """Chunks on a cluster; `client` is a `distributed.Client`, a scheduler's address, or None for a local cluster.

    Raises:
        InputError: no such scheduler, or it is gone.
    """
    distributed = _distributed()
    with ExitStack() as stack:
        there = stack.enter_context(_client(distributed, client, min(workers, len(tasks))))
        lost: SimpleQueue = SimpleQueue()
        there.subscribe_topic(TOPIC, lambda event: lost.put(event[1]))
        stack.callback(_quietly, there.unsubscribe_topic, TOPIC)
        try:
            yield from _outcomes(distributed, there, order, tasks, lambda: _tell(lost, order, say))
        except (OSError, TimeoutError, distributed.CancelledError) as error:
            found, do = type(error).__name__, "look after the cluster, then go on with theratwin trial resume"
            raise InputError(describe("Dask scheduler", f"no answer ({found})", "a scheduler", do)) from error


def _outcomes(distributed, client, order: Order, tasks: Sequence[Task], tell) -> Iterator[Done | Failed]:
    """Two chunks a thread in flight, more when the cluster grows; on the way out what is in flight is cancelled."""
    waiting, flying = list(reversed(tasks)), {}
    mark = _mark(order)
    arrived = distributed.as_completed()
    try:
        while waiting or flying:
            while waiting and len(flying) < 2 * _threads(client):
                task = waiting.pop()
                future = client.submit(work_there, mark, order, task, key=f"{mark}{task.number}", pure=False)
                flying[future] = task
                arrived.add(future)
            future = next(arrived)
            tell()
            yield _outcome(distributed, future, flying.pop(future))
    finally:
        _quietly(client.cancel, list(flying))
        tell()


def _outcome(distributed, future, task: Task) -> Done | Failed:
    """The result of a future, or the words for a chunk whose workers died again and again."""
    try:
        return future.result()
    except distributed.KilledWorker as error:
        words = (
            f"its workers ended too often ({error}); the machines may be out of memory: chunks of one block need least"
        )
        return Failed(task, words, str(getattr(error, "last_worker", "")), known=True)


def _mark(order: Order) -> str:
    """What the keys of one turn begin with."""
    return f"theratwin-{order.digest[:12]}-{name_of_worker()}-{id(order)}-"


def _tell(lost: SimpleQueue, order: Order, say: Say) -> None:
    """Pass on which workers went, and which chunks were given to others."""
    while True:
        try:
            event = lost.get_nowait()
        except Empty:
            return
        if event.get("action") == "remove-worker" and not event.get("expected"):
            keys = [str(k) for name in ("processing-tasks", "lost-computed-tasks") for k in event.get(name) or ()]
            mine = _mark(order)
            chunks = sorted(int(key.removeprefix(mine)) for key in keys if key.startswith(mine))
            say("worker lost", worker=str(event.get("worker")), ended="left the cluster", chunks=chunks)
            for chunk in chunks:
                say("chunk resubmitted", chunk=chunk, worker=str(event.get("worker")))


def _threads(client) -> int:
    """Threads of the cluster now; at least one, so that a chunk waits for the first worker to come."""
    return max(1, sum(client.nthreads().values()))


@contextmanager
def _client(distributed, client, workers: int) -> Iterator:
    """The client given, one for the scheduler's address, or one of a local cluster that nobody else can reach."""
    if client is not None and not isinstance(client, str):
        yield client
        return
    if client is None:
        with _local(distributed, workers) as cluster, distributed.Client(cluster) as made:
            yield made
        return
    try:
        made = distributed.Client(client, timeout=MOST_QUIET_S)
    except (OSError, ValueError, TimeoutError) as error:
        found, do = f"{client}: {type(error).__name__}", "start it, and give its address, such as tcp://10.0.0.1:8786"
        raise InputError(describe("Dask scheduler", found, "a scheduler that answers", do)) from error
    with made:
        yield made


@contextmanager
def _local(distributed, workers: int) -> Iterator:
    """Worker processes of one thread on loopback, without pages; Dask restarts one that dies."""
    import logging

    from dask import config  # pyright: ignore[reportPrivateImportUsage]

    words = worker_environments(1)[0]
    setting = {"distributed.nanny.pre-spawn-environ": words}
    with (
        config.set(setting),
        environment(words),
        distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            host=LOOPBACK,
            dashboard_address=None,
            worker_dashboard_address=None,
            memory_limit=0,
            silence_logs=logging.ERROR,
        ) as cluster,
    ):
        yield cluster


def _distributed():
    try:
        import distributed
    except ImportError as error:
        do = "install theratwin[cluster], or choose --executor process"
        raise InputError(describe("executor dask", "no package distributed", "Dask", do)) from error
    return distributed


def _quietly(function, *arguments) -> None:
    """Tidying up towards a cluster that may be gone."""
    try:
        function(*arguments)
    except Exception as error:
        import logging

        logging.getLogger(__name__).debug("leaving the cluster: %s", type(error).__name__)
