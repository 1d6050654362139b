"""Timings beside named peers: `python -m tests.bench [--only prefix]`.

A file `bench_<topic>.py` here holds functions like

    @bench("pbpk/one patient, one cycle", unit="ms", peer="libRoadRunner 2.10, one core", peer_value=25.0)
    def one_patient():
        return best_of(lambda: solve(...)) * 1e3

A function may also return (value, peer_value), where the peer was run beside it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.runner import Entry, Skipped, register, shared

__all__ = ["BENCHES", "Skipped", "bench", "best_of", "shared"]

BENCHES: dict[str, Entry] = {}


def bench(key: str, unit: str, peer: str = "", peer_value: float | None = None):
    """Register a benchmark: the function returns a value, or (value, peer_value)."""
    return register(BENCHES, key, unit=unit, peer=peer, peer_value=peer_value)


def best_of(work: Callable[[], object], repeats: int = 5, warm_up: int = 1) -> float:
    """Shortest wall time of `work` in seconds; what it returns must be ready (block on JAX values inside)."""
    for _ in range(warm_up):
        work()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times)
