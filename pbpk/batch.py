"""Thousands to millions of patients: chunks of lanes in lockstep, one chunk a thread, memory bounded by the chunk.

A chunk's working set stays in the processor's cache, and JAX releases Python's lock while it computes, so threads of
one process use all cores without forking. A patient that cannot be solved is marked and never stops the others.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from enum import IntEnum
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from pbpk.check import impossible
from pbpk.kinetics import Kinetics
from pbpk.solve import PLANNING_RTOL, Segments, form_of, solve

CHUNK = 48
"""Lanes solved together: eight stages of 71 rows of 48 lanes are 218 kB, inside a core's second-level cache."""


class Status(IntEnum):
    OK = 0
    STEP_LIMIT = 1
    NOT_FINITE = 2
    IMPOSSIBLE = 3


class Part(NamedTuple):
    """Results of patients first, first + 1, ...: integrals over the whole course in nmol min, ledger in nmol.

    `organ` [organ, patient], `blood` [3, patient], `kill` [organ, patient] (no rows without `bed`), `ledger`
    [4, patient] (`pbpk.state.LEDGER`), `status` [patient]; where status is not OK the numbers are NaN.
    """

    first: int
    organ: np.ndarray
    blood: np.ndarray
    kill: np.ndarray
    ledger: np.ndarray
    status: np.ndarray


def solve_many(
    patients: Kinetics | Callable[[int, int], Kinetics],
    count: int,
    seg: Segments,
    *,
    rtol: float = PLANNING_RTOL,
    bed: bool = False,
    single_precision: bool = False,
    chunk: int = CHUNK,
    workers: int | None = None,
) -> Iterator[Part]:
    """Solve `count` patients and give the results of each chunk, in order.

    `patients` is a batch, or a function of (first, last) that makes one chunk's kinetics, so that no more than a few
    chunks are ever held. All patients take the same doses. Results do not depend on `workers`, and on `chunk` only
    through the shared step sequence (below `rtol`). `workers` (default: the cores this process may use) are threads.
    """
    workers = workers or cores()
    ranges = [(first, min(first + chunk, count)) for first in range(0, count, chunk)]
    run = lambda ends: _chunk(_taken(patients, *ends), ends[0], seg, chunk, rtol, bed, single_precision)
    if not ranges:
        return
    yield run(ranges[0])  # compiles once, before the threads start
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque = deque()
        for ends in ranges[1:]:
            waiting.append(pool.submit(run, ends))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def together(parts: Iterator[Part]) -> Part:
    """All parts as one."""
    columns = zip(*parts, strict=True)
    first, *arrays = columns
    return Part(first[0], *(np.concatenate(x, axis=-1) for x in arrays))


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(function: Callable, items, workers: int | None = None) -> list:
    """Results of `function` in order; the first alone, so that it is compiled once. JAX lets go of Python's lock.

    `workers` are threads (default: the cores this process may use).
    """
    first, *others = items
    done = [function(first)]
    with ThreadPoolExecutor(workers or cores()) as pool:
        return done + list(pool.map(function, others))


def _taken(patients, first: int, last: int) -> Kinetics:
    return _lanes(patients, slice(first, last)) if isinstance(patients, Kinetics) else patients(first, last)


def _lanes(kin: Kinetics, which) -> Kinetics:
    return jax.tree.map(lambda x: np.asarray(x)[..., which], kin)


def _chunk(kin: Kinetics, first: int, seg, size: int, rtol, bed, single) -> Part:
    """One chunk, filled up to `size` with copies of its last patient; lane by lane if the lockstep fails."""
    count = kin.patients
    form = form_of(kin, seg)
    filled = _lanes(kin, np.minimum(np.arange(size), count - 1))
    found = _solved(filled, seg, rtol, bed, single, form)
    if np.any(found.status[:count] != Status.OK) and size > 1:
        alone = [_solved(_lanes(kin, [k]), seg, rtol, bed, single, form) for k in range(count)]
        found = together(iter(alone))
    return _without_impossible(Part(first, *(x[..., :count] for x in found[1:])), kin)


def _without_impossible(part: Part, kin: Kinetics) -> Part:
    """Patients whose fractions lie outside 0 to 1, or whose rates are negative, are marked and lose their numbers."""
    bad = impossible(kin)
    hidden = [np.where(bad, np.nan, x) for x in part[1:-1]]
    return Part(part.first, *hidden, np.where(bad, Status.IMPOSSIBLE, part.status))


@eqx.filter_jit
def _ends(solution):
    integrals = solution.integrals
    return tuple(x[-1] for x in (integrals.organ, integrals.blood, integrals.kill, integrals.ledger))


def _solved(kin: Kinetics, seg, rtol, bed, single, form) -> Part:
    dtype = jnp.float32 if single else jnp.float64
    on_device = jax.tree.map(lambda x: jnp.asarray(x, dtype), kin)
    solution = solve(on_device, seg, rtol=rtol, bed=bed, form=form)
    organ, blood, kill, ledger = (np.array(x) for x in _ends(solution))
    finite = np.isfinite(organ).all(axis=0) & np.isfinite(ledger).all(axis=0)
    status = np.where(finite, Status.OK, Status.NOT_FINITE)
    status = np.where(bool(solution.failed), Status.STEP_LIMIT, status)
    for x in (organ, blood, kill, ledger):
        x[..., status != Status.OK] = np.nan
    return Part(0, organ, blood, kill, ledger, status)
