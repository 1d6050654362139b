"""The general door: the same equations through an implicit Runge-Kutta method that knows nothing of their structure.

Kvaerno's stiffly accurate DIRK of order 5 (Kvaerno, BIT Numer Math 2004;44:489) in diffrax, with a dense Jacobian and
error control on every row, integrals included. Both species are always solved. It shares only `pbpk.model` with
`pbpk.solve`, so it is the oracle of the structured solver. Cost grows with the cube of the rows: one patient, not a
batch.
"""

from __future__ import annotations

from typing import NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from pbpk import integrals as over_time
from pbpk.adaptive import FIRST_STEP_MIN, MAX_STEPS
from pbpk.forms import BothSpecies, Drive
from pbpk.kinetics import Kinetics, Rates, rates
from pbpk.model import leaving
from pbpk.segments import Segments
from pbpk.solve import Solution
from pbpk.state import BLOOD, LEDGER, Integrals, unpack

ATOL_FRACTION = 1e-11
"""Absolute tolerance of the general door as a fraction of the amount given."""


class Everything(NamedTuple):
    """Rows of both species and all integrals."""

    y: jax.Array
    integrals: Integrals


def derivative(now: Everything, r: Rates, infusion) -> Everything:
    """Right-hand side with the integrals as rows of their own."""
    drive = Drive(infusion, jnp.ones_like(r.decay))
    hot = unpack(now.y[r.layout.rows :], r.layout)
    amount, unrepaired = hot.organ_total(r.layout), now.integrals.unrepaired
    grown = Integrals(
        organ=amount,
        blood=hot.blood,
        ledger=leaving(hot, r),
        unrepaired=amount - r.repair * unrepaired,
        kill=amount * unrepaired,
    )
    return Everything(BothSpecies.derivative(now.y, r, drive), grown)


def absolute_tolerance(kin: Kinetics, seg: Segments) -> Everything:
    """`ATOL_FRACTION` of what each row could hold: the amount given (nmol), times the course's length for integrals."""
    n, minutes = kin.layout.organs, jnp.sum(jnp.asarray(seg.length_min))
    given = jnp.sum(seg.bolus_nmol + seg.infusion_nmol_per_min * jnp.asarray(seg.length_min)[:, None], axis=0)
    total, hot = ATOL_FRACTION * jnp.maximum(given, 1e-300)
    full = lambda count, size: jnp.full((count, 1), size)
    y = jnp.concatenate([full(kin.layout.rows, total), full(kin.layout.rows, hot)])
    sizes = (hot * minutes, hot * minutes, hot, hot * minutes, hot**2 * minutes**2 / ATOL_FRACTION)
    counts = (n, len(BLOOD), len(LEDGER), n, n)
    return Everything(y, Integrals(*(full(c, s) for c, s in zip(counts, sizes, strict=True))))


def solve_general(kin: Kinetics, seg: Segments, *, rtol: float = 1e-8) -> Solution:
    """States at the end of each segment of one patient, [segment, row, 1], each segment started afresh.

    Raises:
        ValueError: `kin` holds more than one patient.
    """
    if kin.patients != 1:
        raise ValueError(f"kin holds {kin.patients} patients, the general door takes 1: use pbpk.solve for a batch")
    ends, steps, failed = eqx.filter_jit(solve_any)(kin, jax.tree.map(jnp.asarray, seg), rtol)
    ratio = jnp.ones((len(seg.length_min), 1))
    return Solution(ends.y, ratio, ends.integrals, steps, failed, BothSpecies.name, kin.layout)


def solve_any(kin: Kinetics, seg: Segments, rtol):
    """`Everything` at the end of each segment, accepted steps, and whether one failed; one patient, can be vmapped."""
    r, layout = rates(kin), kin.layout
    empty = Everything(jnp.zeros((2 * layout.rows, 1)), over_time.start(layout, 1, True, jnp.float64))
    begin, unflatten = ravel_pytree(empty)  # diffrax takes tolerances by row for one array only
    flat = lambda now: ravel_pytree(now)[0]
    control = diffrax.PIDController(rtol=rtol, atol=flat(absolute_tolerance(kin, seg)), pcoeff=0.4, icoeff=0.3)
    term = diffrax.ODETerm(lambda t, y, infusion: flat(derivative(unflatten(y), r, infusion[:, None])))

    def segment(y, item):
        length, bolus, infusion = item
        first = jnp.minimum(FIRST_STEP_MIN, length)
        y = y.at[layout.vein].add(bolus[0]).at[layout.rows + layout.vein].add(bolus[1])
        done = diffrax.diffeqsolve(
            term, diffrax.Kvaerno5(), 0.0, length, first, y, args=infusion,
            stepsize_controller=control, max_steps=MAX_STEPS, throw=False,
        )  # fmt: skip
        y = done.ys[-1]  # pyright: ignore[reportOptionalSubscript]
        return y, (y, done.stats["num_accepted_steps"], done.result != diffrax.RESULTS.successful)

    items = (seg.length_min, seg.bolus_nmol, seg.infusion_nmol_per_min)
    _, (ys, steps, failed) = jax.lax.scan(segment, begin, items)
    return jax.vmap(unflatten)(ys), jnp.sum(steps), jnp.any(failed)
