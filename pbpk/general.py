"""The general door: the same equations through an implicit Runge-Kutta method that knows nothing of their structure.

Kvaerno's stiffly accurate DIRK of order 5 (Kvaerno, BIT Numer Math 2004;44:489) in diffrax, with a dense Jacobian and
error control on every row, integrals included. It shares only `pbpk.model` with `pbpk.solve`, so it is the oracle of
the structured solver, and the place to try a right-hand side for which no closed elimination has been written yet.
Cost grows with the cube of the rows: one patient, not a batch.
"""

from __future__ import annotations

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pbpk.kinetics import Kinetics, rates
from pbpk.model import right_hand_side
from pbpk.solve import ATOL_FRACTION, FIRST_STEP_MIN, MAX_STEPS, Segments, Solution, _inject
from pbpk.state import BLOOD, LEDGER, rows, species_rows


def absolute_tolerance(kin: Kinetics, seg: Segments) -> Float[Array, "row 1"]:
    """`ATOL_FRACTION` of what each row could hold: the amount given (nmol), times the course's length for integrals."""
    organs, minutes = kin.plasma_flow.shape[0], jnp.sum(jnp.asarray(seg.length_min))
    given = jnp.sum(seg.bolus_nmol + seg.infusion_nmol_per_min * jnp.asarray(seg.length_min)[:, None], axis=0)
    total, hot = jnp.maximum(given, 1e-300)
    size = species_rows(organs)
    sizes = (total, hot, hot * minutes, (hot * minutes) ** 2, hot)
    counts = (size, size, 2 * organs + len(BLOOD), organs, len(LEDGER))
    return ATOL_FRACTION * jnp.concatenate([jnp.full(n, s) for n, s in zip(counts, sizes, strict=True)])[:, None]


def solve_general(kin: Kinetics, seg: Segments, *, rtol: float = 1e-8) -> Solution:
    """States at the end of each segment of one patient, [segment, row, 1], each segment started afresh.

    Raises:
        ValueError: `kin` holds more than one patient.
    """
    if kin.patients != 1:
        raise ValueError(f"kin holds {kin.patients} patients, the general door takes 1: use pbpk.solve for a batch")
    return _solve(kin, jax.tree.map(jnp.asarray, seg), rtol)


@eqx.filter_jit
def _solve(kin: Kinetics, seg: Segments, rtol) -> Solution:
    r, organs = rates(kin), kin.plasma_flow.shape[0]
    control = diffrax.PIDController(rtol=rtol, atol=absolute_tolerance(kin, seg), pcoeff=0.4, icoeff=0.3)
    term = diffrax.ODETerm(lambda t, y, infusion: right_hand_side(y, r, infusion))

    def segment(y, item):
        length, bolus, infusion = item
        first = jnp.minimum(FIRST_STEP_MIN, length)
        done = diffrax.diffeqsolve(
            term, diffrax.Kvaerno5(), 0.0, length, first, _inject(y, bolus, organs), args=infusion,
            stepsize_controller=control, max_steps=MAX_STEPS, throw=False,
        )  # fmt: skip
        y = done.ys[-1]  # pyright: ignore[reportOptionalSubscript]
        return y, (y, done.stats["num_accepted_steps"], done.result != diffrax.RESULTS.successful)

    items = (seg.length_min, seg.bolus_nmol, seg.infusion_nmol_per_min)
    _, (ys, steps, failed) = jax.lax.scan(segment, jnp.zeros((rows(organs), 1)), items)
    return Solution(ys, jnp.sum(steps), jnp.any(failed))
