"""The structured solver beside general stiff solvers: one cycle of six weeks, 100 nmol of 177Lu-PSMA-617.

Every peer solves the same patient in the same run: scipy's Radau and diffrax's Kvaerno5 the same equations from
`pbpk.general`, libRoadRunner its SBML (`bench_roadrunner`).
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy.integrate import solve_ivp

from pbpk import integrals as over_time
from pbpk.amount_map import amount_map
from pbpk.batch import CHUNK, solve_many, together
from pbpk.general import Everything, absolute_tolerance, derivative, solve_any, solve_general
from pbpk.kinetics import rates
from pbpk.segments import segments
from pbpk.solve import AUDIT_RTOL, PLANNING_RTOL, freeze, solve, solve_on
from tests.bench import bench, best_of
from tests.bench.bench_roadrunner import roadrunner_ms, roadrunner_two_processes_per_s
from tests.reference.reference_pbpk import WEEKS_6_MIN, bolus, default_patient, varied
from tests.runner import REPOSITORY

RADAU = "scipy Radau, rtol 1e-6, Jacobian compiled by JAX, one patient, same run"
ROADRUNNER = "libRoadRunner CVODE, rtol 1e-6, one patient, same run"
PROCESSES = "libRoadRunner CVODE, rtol 1e-6, two processes, same run"
CYCLE = bolus(end_min=WEEKS_6_MIN)
CHUNKS = 32
SPREAD = 0.2
"""Log standard deviation of every field between patients."""
GRADIENT_ORGANS = slice(2, 13)
"""Eleven organs' receptors and release: 22 parameters."""


@cache
def radau_ms() -> float:
    """One solve by scipy, everything compiled before."""
    kin = default_patient()
    r, nothing = rates(kin), jnp.zeros((2, 1))
    empty = over_time.start(kin.layout, 1, True, jnp.float64)
    y0 = (
        jnp.zeros((2 * kin.layout.rows, 1))
        .at[kin.layout.vein + kin.layout.rows * np.arange(2), 0]
        .set(CYCLE.bolus_nmol[0])
    )
    flat, unravel = ravel_pytree(Everything(y0, empty))
    f = lambda y: ravel_pytree(derivative(unravel(y), r, nothing))[0]
    compiled, jacobian = jax.jit(f), jax.jit(jax.jacfwd(f))
    atol = np.asarray(ravel_pytree(absolute_tolerance(kin, CYCLE))[0])
    options = {"method": "Radau", "rtol": 1e-6, "atol": atol}

    def work():
        done = solve_ivp(lambda _, y: np.asarray(compiled(y)), (0, WEEKS_6_MIN), np.asarray(flat),
                         jac=lambda _, y: np.asarray(jacobian(y)), **options)  # fmt: skip
        assert done.success, done.message

    return best_of(work, repeats=2) * 1e3


def structured_ms(rtol, **options) -> float:
    kin = default_patient()
    return best_of(lambda: solve(kin, CYCLE, rtol=rtol, **options).y.block_until_ready(), repeats=20) * 1e3


@bench("pbpk/one patient-cycle, audit tolerance", unit="ms", peer=RADAU)
def audit():
    return structured_ms(AUDIT_RTOL), radau_ms()


@bench("pbpk/one patient-cycle, planning tolerance", unit="ms", peer=RADAU)
def planning():
    return structured_ms(PLANNING_RTOL), radau_ms()


@bench("pbpk/one patient-cycle, audit tolerance, without BED", unit="ms", peer=ROADRUNNER)
def audit_roadrunner():
    return structured_ms(AUDIT_RTOL, bed=False), roadrunner_ms()


@bench("pbpk/one patient-cycle, planning tolerance, without BED", unit="ms", peer=ROADRUNNER)
def planning_roadrunner():
    return structured_ms(PLANNING_RTOL, bed=False), roadrunner_ms()


@cache
def population(count: int):
    """Patients whose every field but decay and fractions varies."""
    return varied(default_patient(), np.random.default_rng(7), count, SPREAD)


def patients_per_s(seg=CYCLE, chunks: int = CHUNKS, **options) -> float:
    count = CHUNK * chunks
    work = lambda: together(solve_many(population(count), count, seg, **options))
    return count / best_of(work, repeats=3)


@bench("pbpk/population, one profile, two cores", unit="patient-cycles/s", peer=PROCESSES)
def population_one_profile():
    return patients_per_s(), roadrunner_two_processes_per_s()


@bench("pbpk/population, total and hot, two cores", unit="patient-cycles/s", peer=PROCESSES)
def population_both_species():
    infused = segments([0.0], [1e-3], [100.0], [10.0], (), WEEKS_6_MIN)
    return patients_per_s(infused), roadrunner_two_processes_per_s()


@bench("pbpk/population, one profile, single precision, two cores", unit="patient-cycles/s", peer=PROCESSES)
def population_single():
    return patients_per_s(single_precision=True), roadrunner_two_processes_per_s()


def cohort(first: int, last: int):
    """Patients first to last of a population of any size, made when they are wanted."""
    return varied(default_patient(), np.random.default_rng([7, first]), last - first, SPREAD)


def streamed(count: int) -> tuple[float, float]:
    """Patients per second of a population that is never held, and the process's peak memory after it in MB."""
    begin = time.perf_counter()
    unsolved = sum(np.count_nonzero(part.status) for part in solve_many(cohort, count, CYCLE))
    seconds = time.perf_counter() - begin
    assert not unsolved
    return count / seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


STREAMED = """
from twin._jax import configure
configure()
from tests.bench.bench_pbpk import streamed
streamed(100)
print(*streamed(1000), *streamed(100_000))
"""


@cache
def streamed_in_a_fresh_process() -> list[float]:
    """Rate and peak memory of 1 000 patients, then of 100 000."""
    done = subprocess.run([sys.executable, "-c", STREAMED], check=True, capture_output=True, text=True, cwd=REPOSITORY)
    return [float(x) for x in done.stdout.split()]


@bench("pbpk/population of 100 000, two cores", unit="patient-cycles/s", peer="population of 1 000, same run")
def flat_cost():
    small, _, large, _ = streamed_in_a_fresh_process()
    return large, small


@bench("pbpk/peak memory of 100 000 patients", unit="MB", peer="of 1 000 patients, same process before")
def flat_memory():
    _, small, _, large = streamed_in_a_fresh_process()
    return large, small


VMAPPED = 10


@cache
def vmapped_per_s() -> float:
    """Patients per second of diffrax over ten patients at once, compiled before on a course of a minute."""
    kin = jax.tree.map(lambda x: jnp.moveaxis(jnp.asarray(x)[..., :VMAPPED, None], -2, 0), population(CHUNK))
    work = jax.jit(lambda kin, seg: jax.vmap(lambda k: solve_any(k, seg, 1e-6)[0].integrals.organ[-1])(kin))
    run = lambda seg: work(kin, jax.tree.map(jnp.asarray, seg)).block_until_ready()
    run(bolus(end_min=1.0))
    return VMAPPED / best_of(lambda: run(CYCLE), repeats=1, warm_up=0)


@bench("pbpk/population, one profile, against diffrax", unit="patient-cycles/s", peer="diffrax Kvaerno5, vmap of 10")
def against_diffrax():
    return patients_per_s(), vmapped_per_s()


@cache
def gradient_ms(count: int) -> tuple[float, float]:
    """Value with reverse gradient of the sum of all log TIAs by 22 parameters, and the solve alone; planning grid."""
    kin = jax.tree.map(jnp.asarray, population(CHUNK))
    kin = jax.tree.map(lambda x: x[..., :count], kin)
    grid = freeze(kin, CYCLE, rtol=PLANNING_RTOL)
    fields = lambda k: (k.receptors, k.release)

    def log_tia(theta, adjoint):
        changed = tuple(
            x.at[GRADIENT_ORGANS].multiply(jnp.exp(t), unique_indices=True)
            for x, t in zip(fields(kin), theta, strict=True)
        )
        found = solve_on(eqx.tree_at(fields, kin, changed), grid, bed=False, adjoint=adjoint)
        return jnp.sum(jnp.log(found.integrals.organ[-1]))

    theta = jnp.zeros((2, 11, count))
    both = jax.jit(jax.value_and_grad(lambda t: log_tia(t, True)))
    alone = jax.jit(lambda t: log_tia(t, False))
    return tuple(best_of(lambda f=f: jax.block_until_ready(f(theta)), repeats=20) * 1e3 for f in (both, alone))


@bench("pbpk/gradient by 22 parameters, one patient", unit="ms", peer="the solve alone on the same grid")
def gradient():
    return gradient_ms(1)


@bench(f"pbpk/gradient by 22 parameters, batch of {CHUNK}", unit="ms", peer="the solve alone on the same grid")
def gradient_batch():
    return gradient_ms(CHUNK)


@bench("pbpk/compile of the gradient", unit="s", peer="limit, no cache", peer_value=12.0)
def gradient_compile():
    kin, grid = default_patient(), freeze(default_patient(), CYCLE, rtol=PLANNING_RTOL)
    tia = lambda k: jnp.sum(jnp.log(solve_on(k, grid, bed=False, adjoint=True).integrals.organ[-1]))
    with jax.enable_compilation_cache(False) if hasattr(jax, "enable_compilation_cache") else _no_cache():
        begin = time.perf_counter()
        jax.jit(jax.value_and_grad(tia)).lower(kin).compile()
        return time.perf_counter() - begin


class _no_cache:
    """The persistent compile cache off for a while."""

    def __enter__(self):
        jax.config.update("jax_enable_compilation_cache", False)

    def __exit__(self, *_):
        jax.config.update("jax_enable_compilation_cache", True)


@bench("pbpk/three cycles from the amount map", unit="ms", peer="limit", peer_value=1.0)
def what_if():
    made = amount_map(default_patient(), 25.0, 200.0)
    ask = jax.jit(lambda a, n: made(a, n))
    given = jnp.array([7400.0, 5000.0, 3000.0]), jnp.array([90.0, 140.0, 30.0])
    return best_of(lambda: jax.block_until_ready(ask(*given)), repeats=50) * 1e3


@cache
def general_ms() -> float:
    kin = default_patient()

    def work(seg):
        assert not solve_general(kin, seg, rtol=1e-6).failed

    work(bolus(end_min=1.0))  # compiles; a whole cycle takes too long to be solved twice
    return best_of(lambda: work(CYCLE), repeats=1, warm_up=0) * 1e3


@bench("pbpk/one patient-cycle, diffrax Kvaerno5 (general door), rtol 1e-6", unit="ms", peer=RADAU)
def general():
    return general_ms(), radau_ms()
