"""The structured solver begun with ligand already in the body: what was left, in kinetics that have changed.

`pbpk.solve` begins with an empty body. Where organs change between two stretches, the second is solved from the
amounts that the first left; its steps are those of `pbpk.solve`, in the form that keeps total and hot ligand both.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dose.errors import InputError, describe
from pbpk import integrals as over_time
from pbpk.check import require_double
from pbpk.compiled import compiled
from pbpk.forms import BothSpecies, Drive
from pbpk.kinetics import Kinetics, rates
from pbpk.segments import Segments
from pbpk.solve import (
    AUDIT_RTOL,
    FIRST_STEP_MIN,
    MAX_STEPS,
    Solution,
    _advance,
    _by_patient,
    _inject,
    _tolerances,
    _Walk,
)
from pbpk.state import pack, spread, unpack


def solve_from(
    kin: Kinetics, seg: Segments, start: Float[Array, "row patient"] | None = None, *, rtol: float = AUDIT_RTOL
) -> Solution:
    """As `pbpk.solve.solve` (form "total and hot", no BED), from the rows `start` in nmol (none: an empty body).

    The rows are those of `Solution.y`: total ligand, then hot. Integrals count from this start.

    Raises:
        InputError: the solver needed more steps than it may take.
    """
    require_double()
    empty = jnp.zeros((2 * kin.layout.rows, kin.patients))
    padded = jax.tree.map(jnp.asarray, seg.padded())
    walked, failed = compiled(_adaptive)(kin, padded, empty if start is None else start, rtol)
    if bool(failed):
        do = "raise rtol, and check rates and volumes (pbpk.check.checked)"
        raise InputError(describe("solve of the kinetics", f"over {MAX_STEPS} steps", "fewer", do))
    ys, integrals, steps = jax.tree.map(lambda x: x[: len(seg.length_min)], walked)
    ratio = jnp.ones((len(ys), kin.patients))
    return Solution(ys, ratio, integrals, steps[-1], failed, BothSpecies.name, kin.layout)


def _adaptive(kin: Kinetics, seg: Segments, start, rtol):
    r, layout, one = rates(kin), kin.layout, jnp.ones(())
    tolerances = _scales(seg, start, layout, rtol)
    empty = over_time.start(layout, kin.patients, False, start.dtype)
    walk = _Walk(start, empty, 0 * one, FIRST_STEP_MIN * one, one, jnp.zeros((), int), jnp.zeros(1))

    def segment(carry, item):
        walk, tried = carry
        length, bolus, infusion, restart = item
        walk = walk._replace(
            y=_inject(BothSpecies, walk.y, bolus, layout),
            t=0 * one,
            h=jnp.where(restart, FIRST_STEP_MIN, walk.h),
            previous=jnp.where(restart, one, walk.previous),
        )
        drive = Drive(infusion, jnp.ones(kin.patients))
        unfinished = lambda s: (s[0].t < length) & (s[1] < MAX_STEPS)
        go = lambda s: (_advance(BothSpecies, s[0], r, drive, length, tolerances, False), s[1] + 1)
        walk, tried = jax.lax.while_loop(unfinished, go, (walk, tried))
        return (walk, tried), (walk.y, walk.integrals, walk.steps)

    items = (seg.length_min, _by_patient(seg.bolus_nmol), _by_patient(seg.infusion_nmol_per_min), seg.restart)
    (_, tried), walked = jax.lax.scan(segment, (walk, jnp.zeros((), int)), items)
    return walked, tried >= MAX_STEPS


def _scales(seg: Segments, start, layout, rtol):
    """Tolerances in which what is in the body already counts as given at the start."""
    in_body = jnp.stack([part.sum(axis=0) for part in jnp.split(start, 2)])[None]
    bolus, infusion = _by_patient(seg.bolus_nmol), _by_patient(seg.infusion_nmol_per_min)
    given = jnp.concatenate([bolus + 0 * in_body, in_body])
    infused = jnp.concatenate([infusion + 0 * in_body, 0 * in_body])
    return _tolerances(BothSpecies, given, infused, jnp.append(seg.length_min, 0.0), layout, rtol)


def fitted(y: Float[Array, "row patient"], kin: Kinetics) -> Float[Array, "row patient"]:
    """Rows with no more ligand bound than there are receptors: what has lost its receptor is in the interstitium."""
    layout = kin.layout
    total, hot = (unpack(part, layout) for part in jnp.split(jnp.asarray(y), 2, axis=-2))
    receptors = kin.receptors[layout.binding]
    kept = jnp.minimum(1.0, receptors / jnp.where(total.bound > 0, total.bound, np.inf))
    kept = jnp.where(total.bound > 0, kept, 1.0)
    moved = lambda x: x._replace(
        bound=kept * x.bound,
        interstitial=x.interstitial + spread((1 - kept) * x.bound, layout.binding, layout.organs),
    )
    return jnp.concatenate([pack(moved(total)), pack(moved(hot))], axis=-2)
