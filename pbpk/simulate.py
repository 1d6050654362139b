"""One call for every kinetic model: administrations in, activities and time-integrated activities out.

Time-integrated activity is a state of the same solve, under the same error control, never a sum over an output grid.
Models of the general door go through Kvaerno's stiffly accurate DIRK of order 5 (BIT Numer Math 2004;44:489) in
diffrax, restarted at each administration; those with a known solution through it; the whole-body model through
`pbpk.solve`. Times count from the start of cycle 1, and an activity asked for at the moment of a bolus includes it.
"""

from __future__ import annotations

from collections.abc import Sequence

import diffrax
import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from dose.errors import InputError, describe, nearest
from pbpk.abstract import AbstractKineticModel
from pbpk.administration import Administration
from pbpk.course import Course, course_of
from pbpk.pools import Pools, solve_pools
from pbpk.solve import AUDIT_RTOL, segments, solve
from pbpk.whole_body import WholeBody


class Trajectory(eqx.Module):
    """Activity of each region at the asked-for times, and its time integral.

    `tia_MBq_h` runs from the first administration to the last asked-for time; `tia_to_end_MBq_h` goes on for
    `pbpk.course.HALF_LIVES_TO_THE_END`, after which less than 1e-12 of the last activity is left: it is the integral to
    infinity. `how` says which solver and form ran.
    """

    time_h: Float[Array, " time"]
    activity_MBq: Float[Array, "region time"]
    tia_MBq_h: Float[Array, " region"]
    tia_to_end_MBq_h: Float[Array, " region"]
    regions: tuple[str, ...] = eqx.field(static=True)
    how: str = eqx.field(static=True)

    def index(self, region: str) -> int:
        """The row of a region.

        Raises:
            InputError: not a region of this model; the nearest is named.
        """
        if region not in self.regions:
            expected = nearest(region, self.regions) or "one of " + ", ".join(self.regions)
            raise InputError(describe("region", repr(region), expected, "ask for a region that this model reports"))
        return self.regions.index(region)


def simulate(
    model: AbstractKineticModel | WholeBody,
    administrations: Sequence[Administration],
    times_h,
    *,
    rtol: float | None = None,
    adjoint: diffrax.AbstractAdjoint | None = None,
) -> Trajectory:
    """Activities [region, time] of one patient after `administrations`, at increasing `times_h`.

    Differentiable in the model's leaves, but for the whole-body model (see `pbpk.solve.solve_on` there); `adjoint` is
    diffrax's: left out, reverse mode. `rtol` left out is 1e-8 for the general door, 1e-6 for the whole-body model.

    Raises:
        InputError: times not increasing, no administration, one of another nuclide, or a solve that did not finish.
    """
    course = course_of(administrations, model.nuclide, times_h)
    if isinstance(model, WholeBody):
        rtol = AUDIT_RTOL if rtol is None else rtol
        amounts, pools, form = _structured(model, course, rtol)
        how = f"whole-body model, pbpk.solve (Rodas5P with structured elimination), {form}, rtol {rtol:g}"
    else:
        pools, how = solve_pools(model, course, rtol=rtol, adjoint=adjoint)
        amounts = pools.y @ model.weights().T
    return _trajectory(model, course, amounts, pools, how)


def _trajectory(model, course: Course, amounts, pools: Pools, how: str) -> Trajectory:
    per_nmol = model.nuclide.activity_MBq_per_nmol
    last = pools.integral_nmol_min[-1]
    return Trajectory(
        time_h=jnp.asarray(course.time_h),
        activity_MBq=per_nmol * _finished(amounts).T,
        tia_MBq_h=per_nmol / 60 * last,
        tia_to_end_MBq_h=per_nmol / 60 * _finished(pools.integral_to_end_nmol_min),
        regions=model.regions,
        how=how,
    )


def _finished(values):
    """`values`, unless they are known and not finite, as they are after a solve that stopped early."""
    if not isinstance(values, Tracer) and not np.all(np.isfinite(values)):
        found = "amounts that are not finite: the solver stopped early"
        do = "run pbpk.contract.check_kinetic_model on the model, and check rates and units; or raise rtol"
        raise InputError(describe("solve of the kinetic model", found, "finite amounts at every time", do))
    return values


def _structured(model: WholeBody, course: Course, rtol):
    """Amounts [time, region] and their integrals by the whole-body solver, and the form that it ran."""
    seg = segments(*course.doses, course.ask_min[course.ask_min > 0], course.end_min)
    solution = solve(model.kinetics, seg, rtol=rtol, bed=False)
    hot, over_time = solution.hot, solution.integrals
    with_blood = lambda organ, blood: jnp.concatenate([organ, jnp.sum(blood, axis=1, keepdims=True)], axis=1)[..., 0]
    amounts = jnp.where(solution.failed, jnp.nan, with_blood(hot.organ_total(solution.layout), hot.blood))
    integrals = with_blood(over_time.organ, over_time.blood)
    at = np.argmin(np.abs(np.append(0.0, seg.end_min) - course.ask_min[:, None]), axis=1)
    arriving = np.append(seg.bolus_nmol[:, 1], 0.0)[at] * (course.ask_min >= 0)
    before = lambda values: jnp.concatenate([jnp.zeros_like(values[:1]), values])[at]
    held = before(amounts).at[:, -1].add(arriving)
    return held, Pools(held, before(integrals), integrals[-1]), solution.form
