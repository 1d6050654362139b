"""Solving a course of administrations: adaptively, or on a frozen grid when derivatives are wanted.

A course is cut into segments at every administration, end of infusion and asked-for time; within a segment the infusion
is constant. The form of the model (`forms`) is chosen from the doses and named in the result.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dose.errors import InputError, describe
from pbpk.adaptive import MAX_STEPS, adaptive, by_patient
from pbpk.adjoint import states_after_steps, steps_by_scan
from pbpk.check import require_double
from pbpk.compiled import compiled
from pbpk.forms import FORMS, BothSpecies, OneProfile
from pbpk.kinetics import Kinetics, rates
from pbpk.segments import Profile, Segments, common_profile, segments
from pbpk.state import Integrals, Layout, Ligand, unpack

__all__ = [
    "AUDIT_RTOL",
    "PLANNING_RTOL",
    "Grid",
    "Segments",
    "Solution",
    "finished",
    "freeze",
    "segments",
    "solve",
    "solve_on",
]

AUDIT_RTOL = 1e-6
"""For single patients and tests: time-integrated activity to about 1e-8."""
PLANNING_RTOL = 1e-4
"""For batches of draws: time-integrated activity to about 2e-6, far below imaging noise."""
LARGEST_EXPONENT = 500.0
"""Decay exponent at which total over hot amount is held, long after the last hot atom has decayed."""


class Grid(eqx.Module):
    """A frozen sequence of steps, padded to a fixed length, [step, ...]; a last axis gives each patient its own.

    `segment_end[k]` is the index of segment k's last step; `ratio` is total over hot amount at time 0 of `since_min`.
    """

    h_min: Array
    active: Array
    bolus_nmol: Array
    infusion_nmol_per_min: Array
    since_min: Array
    ratio: Float[Array, " patient"]
    segment_end: np.ndarray
    form: str = eqx.field(static=True)


class Solution(eqx.Module):
    """Amounts and integrals at the end of each segment, [segment, pool, patient]; `form` says what was solved.

    `steps` taken; `failed` if the step limit was hit.
    """

    y: Float[Array, "segment row patient"]
    ratio: Float[Array, "segment patient"]
    integrals: Integrals
    steps: Array
    failed: Array
    form: str = eqx.field(static=True)
    layout: Layout = eqx.field(static=True)

    @property
    def hot(self) -> Ligand:
        return unpack(FORMS[self.form].total_and_hot(self.y, self.ratio)[1], self.layout)

    def left(self, segment: int = -1) -> Float[Array, "row patient"]:
        """Total and then hot ligand at a segment's end, whatever form was solved: a `start` for `solve`."""
        return jnp.concatenate(FORMS[self.form].total_and_hot(self.y[segment], self.ratio[segment]), axis=-2)

    @property
    def total(self) -> Ligand:
        return unpack(FORMS[self.form].total_and_hot(self.y, self.ratio)[0], self.layout)


def form_of(kin: Kinetics, seg: Segments) -> str:
    """Name of the smallest form that is exact for these doses."""
    return BothSpecies.name if common_profile(kin, seg) is None else OneProfile.name


def _profile(kin: Kinetics, seg: Segments, form: str) -> Profile:
    """The doses' common profile; ones where both species are solved."""
    if form == BothSpecies.name:
        return Profile(np.ones(kin.patients), 0.0)
    found = common_profile(kin, seg)
    if found is None:
        do = f'leave out form, or pass form="{BothSpecies.name}"'
        raise InputError(describe("form", f'"{form}"', "doses that share one ratio of total to hot amount", do))
    return found


def _ratio(form: str, ratio, decay, minutes):
    """Total over hot amount [time, patient] at `minutes` [time] or [time, patient] after the profile's start."""
    minutes = minutes[:, None] if jnp.ndim(minutes) == 1 else minutes
    exponent = jnp.minimum(decay * minutes, LARGEST_EXPONENT)
    return ratio * (jnp.exp(exponent) if form == OneProfile.name else jnp.ones_like(exponent))


def _run(kin: Kinetics, seg: Segments, rtol, form: str, record: bool, bed: bool, start=None):
    require_double()
    padded, dtype = seg.padded(), kin.plasma_flow.dtype
    cast = lambda x: jnp.asarray(x, dtype if np.asarray(x).dtype.kind == "f" else None)
    profile = _profile(kin, seg, form)
    ratio = _ratio(form, cast(profile.ratio), kin.decay, cast(padded.start_min - profile.since_min))
    empty = jnp.zeros((FORMS[form].species * kin.layout.rows, kin.patients), dtype)
    start = empty if start is None else cast(start)
    return compiled(adaptive)(kin, jax.tree.map(cast, padded), ratio, start, rtol, form, record, bed)


def solve(
    kin: Kinetics,
    seg: Segments,
    *,
    rtol: float = AUDIT_RTOL,
    bed: bool = True,
    form: str | None = None,
    start: Float[Array, "row patient"] | None = None,
) -> Solution:
    """Adaptive solve of all patients of `kin` with error control on each; not differentiable.

    `bed` adds the integrals of the BED. `form` (default: the smallest that is exact) is a name in `forms.FORMS`.
    `start` is what is in the body at the beginning, nmol, as `Solution.left` gives it (none: an empty body);
    integrals count from there. Single precision if the arrays of `kin` are.

    Raises:
        InputError: a form that these doses do not allow, or that cannot begin with ligand in the body.
    """
    form = form or (form_of(kin, seg) if start is None else BothSpecies.name)
    if start is not None and form != BothSpecies.name:
        do = f'leave out form, or pass form="{BothSpecies.name}"'
        raise InputError(describe("form", f'"{form}" with start', "both species, to begin from what was left", do))
    begin = None if start is None else _checked_start(start, kin)
    ys, integrals, _, steps, failed, _ = _run(kin, seg, rtol, form, record=False, bed=bed, start=begin)
    count = len(seg.length_min)
    profile = _profile(kin, seg, form)
    ratio = _ratio(form, jnp.asarray(profile.ratio, ys.dtype), kin.decay, jnp.asarray(seg.end_min - profile.since_min))
    kept = jax.tree.map(lambda x: x[:count], (ys, integrals))
    return Solution(kept[0], ratio, kept[1], steps, failed, form, kin.layout)


def finished(solution: Solution) -> Solution:
    """The solution, if it reached the end of the course.

    Raises:
        InputError: it hit the step limit.
    """
    require_end(solution.failed)
    return solution


def require_end(failed) -> None:
    """Raises InputError where a solve hit the step limit."""
    if bool(failed):
        do = "raise rtol, and check rates and volumes (pbpk.check.checked)"
        raise InputError(describe("solve of the kinetics", f"over {MAX_STEPS} steps", "fewer", do))


def _checked_start(start, kin: Kinetics) -> np.ndarray:
    rows, shape = np.asarray(start, float), (BothSpecies.species * kin.layout.rows, kin.patients)
    if rows.shape != shape:
        expected = f"{shape}, total ligand and then hot, for each patient"
        raise InputError(describe("start: shape", f"{rows.shape}", expected, "take Solution.left()"))
    total, hot = np.split(rows, 2)
    slack = 1e-6 * np.max(total, axis=0, initial=0.0)
    if not np.all(np.isfinite(rows) & (rows >= -np.tile(slack, (len(rows), 1)))) or np.any(hot > total + slack):
        found, do = "amounts that are negative, not finite, or hot above total", "take Solution.left()"
        raise InputError(describe("start", found, "0 <= hot <= total in every pool", do))
    return rows


def freeze(
    kin: Kinetics, seg: Segments, *, rtol: float = AUDIT_RTOL, multiple: int = 256, form: str | None = None
) -> Grid:
    """The step sequence that the adaptive solve takes, padded to a multiple so that few shapes are compiled.

    Raises:
        InputError: a form that these doses do not allow, or a solve that needs more steps than it may take.
    """
    form = form or form_of(kin, seg)
    _, _, ends, steps, failed, recorded = _run(kin, seg, rtol, form, record=True, bed=False)
    require_end(failed)
    count, ends = int(steps), np.asarray(ends)[: len(seg.length_min)]
    size = multiple * int(np.ceil(count / multiple))
    h = np.ones(size)
    h[:count] = np.asarray(recorded)[:count]
    owner = np.minimum(np.searchsorted(ends, np.arange(size), side="right"), len(ends) - 1)
    first = np.concatenate([[0], ends[:-1]])
    bolus = np.zeros((size, *np.shape(seg.bolus_nmol)[1:]))
    bolus[first] = np.asarray(seg.bolus_nmol)
    profile = _profile(kin, seg, form)
    since = np.cumsum(h) - h - profile.since_min
    infusion = np.asarray(seg.infusion_nmol_per_min)[owner]
    return Grid(h, np.arange(size) < count, bolus, infusion, since, profile.ratio, ends - 1, form)


def solve_on(kin: Kinetics, grid: Grid, *, bed: bool = True, adjoint: bool = False) -> Solution:
    """Solve on a frozen grid: a fixed composition of steps, differentiable in every leaf of `kin`.

    Forward mode, to any order, as it stands; with `adjoint` reverse mode by the hand-written adjoint (`adjoint`), and
    forward mode over that, but not forward mode alone.
    """
    form, r, layout = FORMS[grid.form], rates(kin), kin.layout
    dtype = kin.plasma_flow.dtype
    ratio = _ratio(grid.form, jnp.asarray(grid.ratio, dtype), kin.decay, jnp.asarray(grid.since_min, dtype))
    vein = np.zeros((form.species * layout.rows, 2))
    vein[layout.vein + layout.rows * np.arange(form.species), np.arange(2)[-form.species :]] = 1.0
    injected = jnp.einsum("rs,tsp->trp", vein, by_patient(jnp.asarray(grid.bolus_nmol, dtype)))
    infusion = by_patient(jnp.asarray(grid.infusion_nmol_per_min, dtype))
    steps = (jnp.asarray(grid.h_min, dtype), jnp.asarray(grid.active), injected, infusion, ratio)
    run = states_after_steps if adjoint else steps_by_scan
    at = jnp.asarray(grid.segment_end)
    ys, integrals = jax.tree.map(lambda x: x[at], run(grid.form, bed, r, steps))
    until = (jnp.asarray(grid.since_min) + jnp.asarray(grid.h_min))[at]
    ratio = _ratio(grid.form, jnp.asarray(grid.ratio), kin.decay, until)
    taken, failed = jnp.sum(steps[1]), jnp.zeros((), bool)
    return Solution(ys, ratio, integrals, taken, failed, grid.form, layout)
