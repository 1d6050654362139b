"""The adaptive walk through a course: step size control on every patient, segment by segment.

All patients of a batch share one step sequence, chosen so that the worst of them meets the tolerance.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from pbpk import integrals as over_time
from pbpk.forms import FORMS, Drive
from pbpk.kinetics import Kinetics, Rates, rates
from pbpk.rosenbrock import after, stages
from pbpk.segments import Segments
from pbpk.state import Integrals, Layout

ATOL_OVER_RTOL = 1e-4
"""Absolute over relative tolerance, as a fraction of the amount given: below that a pool need not keep its digits."""
FIRST_STEP_MIN = 0.02
MAX_STEPS = 20_000
ORDER = 5
SAFETY = 0.9
NOW, BEFORE = 0.6, 0.2
"""Exponents, over the order, of this step's error and the one before: PI.4.2 of Soderlind, ACM TOMS 2003;29:1."""


class Walk(NamedTuple):
    y: Array
    integrals: Integrals
    t: Array
    h: Array
    previous: Array
    steps: Array
    grid: Array


def _tolerances(form, seg: Segments, start, layout: Layout, rtol):
    """Absolute [row, patient] and relative; what is in the body at the start counts as given."""
    infused = by_patient(seg.infusion_nmol_per_min) * seg.length_min[:, None, None]
    given = jnp.sum(by_patient(seg.bolus_nmol) + infused, axis=0)[-form.species :]
    given = given + jnp.stack([part.sum(axis=0) for part in jnp.split(start, form.species)])
    smallest = jnp.finfo(given.dtype).tiny
    return jnp.maximum(ATOL_OVER_RTOL * rtol * jnp.repeat(given, layout.rows, axis=0), smallest), rtol


def by_patient(amounts):
    """Amounts [..., species] or [..., species, patient] with a last axis for patients."""
    return amounts if amounts.ndim == 3 else amounts[..., None]


def _error(err, y0, y1, tolerances):
    absolute, relative = tolerances
    scale = absolute + relative * jnp.maximum(jnp.abs(y0), jnp.abs(y1))
    worst = jnp.max(jnp.sqrt(jnp.mean((err / scale) ** 2, axis=0)))
    return jnp.where(jnp.isfinite(worst), jnp.maximum(worst, 1e-6), 1e6)


def _inject(form, y, bolus, layout: Layout):
    """`bolus` (total, hot) into the vein, shapes [species] or [species, patient]."""
    for k in range(form.species):
        y = y.at[k * layout.rows + layout.vein].add(bolus[2 - form.species + k])
    return y


def _advance(form, walk: Walk, r: Rates, drive: Drive, length, tolerances, record):
    remaining = length - walk.t
    last = walk.h * 1.01 >= remaining
    h = jnp.where(last, remaining, walk.h)
    k = stages(form, walk.y, r, drive.later(walk.t, r.decay), h)
    y1, err = after(walk.y, k)
    e = _error(err, walk.y, y1, tolerances)
    ok = e <= 1
    hot = slice((form.species - 1) * r.layout.rows, None)
    grown_integrals = over_time.advance(walk.integrals, walk.y[hot], k[:, hot], r, h)
    grown = jnp.clip(SAFETY * e ** (-NOW / ORDER) * walk.previous ** (BEFORE / ORDER), 0.2, 6.0)
    shrunk = jnp.clip(SAFETY * e ** (-1 / ORDER), 0.1, 0.9)
    proposal = h * jnp.where(ok, grown, shrunk)
    proposal = jnp.where(ok & last, jnp.maximum(walk.h, proposal), proposal)
    grid = walk.grid.at[walk.steps].set(jnp.where(ok, h, 0.0)) if record else walk.grid
    return Walk(
        y=jnp.where(ok, y1, walk.y),
        integrals=jax.tree.map(lambda new, old: jnp.where(ok, new, old), grown_integrals, walk.integrals),
        t=jnp.where(ok, jnp.where(last, length, walk.t + h), walk.t),
        h=proposal,
        previous=jnp.where(ok, e, walk.previous),
        steps=walk.steps + ok,
        grid=grid,
    )


def adaptive(kin: Kinetics, seg: Segments, ratio, start, rtol, form_name: str, record: bool, bed: bool):
    """Rows and integrals at each segment's end from the rows `start` [row, patient], and what it took.

    Gives (y, integrals, steps at each end, steps, whether the step limit was hit, lengths of the steps if `record`).
    """
    form, r = FORMS[form_name], rates(kin)
    layout, dtype = kin.layout, kin.plasma_flow.dtype
    tolerances = _tolerances(form, seg, start, layout, rtol)
    one = jnp.ones((), dtype)
    grid = jnp.zeros(MAX_STEPS if record else 1, dtype)
    empty = over_time.start(layout, kin.patients, bed, dtype)
    walk = Walk(start, empty, 0 * one, FIRST_STEP_MIN * one, one, jnp.zeros((), int), grid)

    def segment(carry, item):
        walk, tried = carry
        length, bolus, infusion, restart, ratio = item
        walk = walk._replace(
            y=_inject(form, walk.y, bolus, layout),
            t=0 * one,
            h=jnp.where(restart, FIRST_STEP_MIN, walk.h),
            previous=jnp.where(restart, one, walk.previous),
        )
        drive = Drive(infusion, ratio)
        unfinished = lambda s: (s[0].t < length) & (s[1] < MAX_STEPS)
        go = lambda s: (_advance(form, s[0], r, drive, length, tolerances, record), s[1] + 1)
        walk, tried = jax.lax.while_loop(unfinished, go, (walk, tried))
        return (walk, tried), (walk.y, walk.integrals, walk.steps)

    doses = (by_patient(seg.bolus_nmol), by_patient(seg.infusion_nmol_per_min))
    items = (seg.length_min, *doses, seg.restart, ratio)
    (walk, tried), (ys, integrals, ends) = jax.lax.scan(segment, (walk, jnp.zeros((), int)), items)
    return ys, integrals, ends, walk.steps, tried >= MAX_STEPS, walk.grid
