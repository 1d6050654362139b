"""Solving the pools of a model of the general door, integrals of its regions' label included.

A course is cut where an administration or an infusion begins or ends; within such a stretch what flows in is constant
and the solver starts afresh. Asked-for times are stepped to exactly, so nothing is interpolated.
"""

from __future__ import annotations

from typing import NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pbpk.abstract import AbstractClosedFormModel, AbstractKineticModel
from pbpk.adaptive import FIRST_STEP_MIN, MAX_STEPS
from pbpk.course import Course
from pbpk.general import ATOL_FRACTION
from pbpk.segments import Segments, segments

GENERAL_RTOL = 1e-8
"""Default of the general door: time-integrated activity to about 1e-8 (tests/reference/test_models_reference.py)."""
STATE_ATOL = 1e-9
"""Absolute tolerance of pools of kind "state", which are of order one in their own unit."""

SAME_MIN = 1e-6
"""Times closer than this are the same: sums of minutes over years round to about 1e-9."""


class Pools(NamedTuple):
    """Pools [time, pool], integrals of the regions' label at the times [time, region] and at the end [region]."""

    y: Float[Array, "time pool"]
    integral_nmol_min: Float[Array, "time region"]
    integral_to_end_nmol_min: Float[Array, " region"]


def solve_pools(
    model: AbstractKineticModel, course: Course, *, rtol: float | None = None, adjoint=None, stepped: bool = False
) -> tuple[Pools, str]:
    """Every pool at the course's times, and words on how they were found; `stepped` leaves a closed form unused."""
    seg = segments(*course.doses, (), course.end_min)
    closed = isinstance(model, AbstractClosedFormModel) and not stepped
    y, integral, to_end, how = _by_stretch(model, course, seg, rtol, adjoint, closed)
    left = seg.end_min - seg.length_min
    which = np.maximum(np.searchsorted(left - SAME_MIN, course.ask_min, side="right") - 1, 0)
    rows = np.arange(len(course.ask_min))
    begun = (course.ask_min >= 0)[:, None]
    return Pools(jnp.where(begun, y[which, rows], 0.0), jnp.where(begun, integral[which, rows], 0.0), to_end), how


def _by_stretch(model, course: Course, seg: Segments, rtol, adjoint, closed: bool):
    left = seg.end_min - seg.length_min
    ask = np.clip(course.ask_min - left[:, None], 0.0, seg.length_min[:, None])
    items = jax.tree.map(jnp.asarray, (left, seg.length_min, ask, seg.bolus_nmol, seg.infusion_nmol_per_min))
    if closed:
        return *_closed_form(model, items), "closed form of the model"
    rtol = GENERAL_RTOL if rtol is None else rtol
    adjoint = diffrax.RecursiveCheckpointAdjoint() if adjoint is None else adjoint
    given = np.sum(seg.bolus_nmol + seg.infusion_nmol_per_min * seg.length_min[:, None], axis=0)
    solved = _stepped(model, items, jnp.asarray(course.origin_min), jnp.asarray(given), rtol, adjoint)
    how = (
        f"general door, diffrax Kvaerno5 with dense Jacobian, integrals as states, rtol {rtol:g}, {len(left)} restarts"
    )
    return *solved, how


@eqx.filter_jit
def _closed_form(model: AbstractClosedFormModel, items):
    weights = jnp.asarray(model.weights())

    def stretch(carry, item):
        y, q = carry
        _, length, ask, bolus, infusion = item
        y, inflow = y + model.entry(bolus[1], bolus[0]), model.entry(infusion[1], infusion[0])
        ys, gained = jax.vmap(lambda minutes: model.advance(y, inflow, minutes))(jnp.append(ask, length))
        qs = q + gained @ weights.T
        return (ys[-1], qs[-1]), (ys[:-1], qs[:-1])

    start = (jnp.zeros(len(model.pools)), jnp.zeros(len(model.regions)))
    (_, to_end), (ys, qs) = jax.lax.scan(stretch, start, items)
    return ys, qs, to_end


def _absolute_tolerance(model, given, minutes) -> Float[Array, " row"]:
    """`ATOL_FRACTION` of what each row could hold: nmol given, times the course's length for integrals."""
    total, hot = given
    sizes = {"label": ATOL_FRACTION * hot, "sink": ATOL_FRACTION * hot, "amount": ATOL_FRACTION * total}
    pools = [sizes.get(pool.kind, STATE_ATOL) for pool in model.pools]
    return jnp.stack([jnp.asarray(size) for size in (*pools, *[ATOL_FRACTION * hot * minutes] * len(model.regions))])


@eqx.filter_jit
def _stepped(model: AbstractKineticModel, items, origin_min, given, rtol, adjoint):
    count, weights = len(model.pools), jnp.asarray(model.weights())
    control = diffrax.PIDController(
        rtol=rtol, atol=_absolute_tolerance(model, given, jnp.sum(items[1])), pcoeff=0.4, icoeff=0.3
    )

    def rate(t, z, args):
        start, inflow = args
        y = z[:count]
        return jnp.concatenate([model.derivative(start + t, y) + inflow, weights @ y])

    def stretch(z, item):
        left, length, ask, bolus, infusion = item
        z = z.at[:count].add(model.entry(bolus[1], bolus[0]))
        done = diffrax.diffeqsolve(
            diffrax.ODETerm(rate), diffrax.Kvaerno5(), 0.0, length, jnp.minimum(FIRST_STEP_MIN, length), z,
            args=(origin_min + left, model.entry(infusion[1], infusion[0])),
            saveat=diffrax.SaveAt(ts=ask, t1=True), adjoint=adjoint, max_steps=MAX_STEPS, throw=False,
            stepsize_controller=diffrax.ClipStepSizeController(control, step_ts=ask),
        )  # fmt: skip
        zs = jnp.where(done.result == diffrax.RESULTS.successful, done.ys, jnp.nan)
        return zs[-1], zs[:-1]

    end, zs = jax.lax.scan(stretch, jnp.zeros(count + len(model.regions)), items)
    return zs[..., :count], zs[..., count:], end[count:]
