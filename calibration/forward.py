"""From parameter offsets to the activities a scanner would see.

A course is a run of administrations of one tracer (the diagnostic PET, the therapy cycles). All courses of a patient
stand side by side in the patient axis with their own frozen step sequences, so one solve serves them all.
"""

from __future__ import annotations

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from calibration.observations import Observations
from calibration.parameters import Scaling
from dose.nuclides import Radionuclide
from dose.regions import is_tumour, members
from pbpk.administration import Administration
from pbpk.anatomy import parts
from pbpk.forms import BothSpecies, OneProfile
from pbpk.kinetics import Kinetics
from pbpk.physiology import rules
from pbpk.solve import Grid, Segments, form_of, freeze, segments, solve_on

GRID_RTOL = 1e-3
"""Tolerance at which step sequences for calibration are frozen: activities to about 1e-4, far below any noise."""
MINUTES_PER_HOUR = 60.0
GRID_MULTIPLE = 128
"""Frozen grids are padded to a multiple of this, so that few programs are compiled; spare steps cost nothing."""
ROWS_MULTIPLE = 64
"""Observations are padded to a multiple of this by copies of the last, to which the fit gives no weight."""
HALF_LIVES_TO_THE_END = 22
"""A course is followed this many half-lives past its last administration: 2e-7 of the activity is left."""
NOT_MODELLED = ("bladder",)
"""Regions that may be measured but have no counterpart in the fit: voiding."""
NO_REGION = ("whole_body", "remainder", "blood")
"""What holds or runs through the other regions, and is not taken off a body's remainder."""


@dataclass(frozen=True)
class Course:
    """One tracer's administrations and base kinetics; `start_h` is the first ligand given, on the therapy clock."""

    kinetics: Kinetics
    nuclide: Radionuclide
    administrations: tuple[Administration, ...]

    @property
    def start_h(self) -> float:
        return min(a.first_h for a in self.administrations)

    def minute(self, cycle: int, time_h: float) -> float:
        """Course time of an hour after the administration of a cycle."""
        return 60 * (self.administration(cycle).time_h - self.start_h + time_h)

    def administration(self, cycle: int) -> Administration:
        return next(a for a in self.administrations if a.cycle == cycle)

    def has(self, cycle: int) -> bool:
        return any(a.cycle == cycle for a in self.administrations)

    @property
    def end_min(self) -> float:
        last = max(a.time_h for a in self.administrations) - self.start_h
        return 60 * (last + HALF_LIVES_TO_THE_END * self.nuclide.half_life_h)

    def segments(self, ask_min, end_min: float | None = None) -> Segments:
        rows = sorted(row for a in self.administrations for row in _doses(a))
        time_h, infusion_h, total_nmol, labelled_nmol = np.array(rows).T
        start, duration = 60 * (time_h - self.start_h), 60 * infusion_h
        return segments(start, duration, total_nmol, labelled_nmol, ask_min, end_min or self.end_min)


def _doses(a: Administration) -> list[tuple[float, float, float, float]]:
    """(hour, infusion in h, total and labelled nmol) of what one administration gives."""
    cold = [(a.first_h, 0.0, a.cold_nmol, 0.0)] if a.cold_nmol > 0 else []
    return [*cold, (a.time_h, a.infusion_h, a.amount_nmol, a.labelled_nmol)]


class Readout(eqx.Module):
    """Where each observation is read: step and course index [observation], weights over organs and blood; padded."""

    step: np.ndarray
    course: np.ndarray
    weights: Float[np.ndarray, "observation pool"]
    MBq_per_nmol: np.ndarray


class Experiment(eqx.Module):
    """All courses of a patient, or of several like ones, with frozen grids, ready to be solved for any offsets.

    Columns of `kinetics` are courses, patient after patient; those of `grid` are courses, the same for every patient.
    """

    kinetics: Kinetics
    grid: Grid
    readout: Readout
    scaling: Scaling
    MBq_per_nmol: np.ndarray

    @property
    def courses(self) -> int:
        return self.grid.h_min.shape[1]


def pool_weights(region: str, organs: tuple[str, ...], observed: frozenset[str]) -> np.ndarray | None:
    """Weights over (organs, vein, artery, protein) whose sum is the region's activity; None if not modelled.

    One side of a lumped gland is half of it. `remainder` is the whole body less the regions observed in its cycle.
    `blood`, a sample times the blood volume, is the large vessels' plasma at one concentration with that of all organs,
    and what is bound to protein: right once the first minutes are over.
    """
    weights = np.zeros(len(organs) + 3)
    if region in NOT_MODELLED:
        return None
    if region in ("whole_body", "remainder"):
        weights[:] = 1.0
        for other in observed - set(NO_REGION) if region == "remainder" else ():
            part = pool_weights(other, organs, frozenset())
            weights -= 0 if part is None else part
        return np.maximum(weights, 0.0)
    if region == "blood":
        weights[-3:] = (*[1 / sum(rules()["blood", q][1] for q in ("arterial", "venous"))] * 2, 1.0)
        return weights
    for organ, share in _parts(region, organs):
        weights[organs.index(organ)] += share
    return weights if weights.any() else None


def _parts(region: str, organs: tuple[str, ...]):
    if inside := parts(region, organs):
        return [(organ, 1.0) for organ in inside]
    for side in ("_left", "_right"):
        if region.endswith(side) and region.removesuffix(side) in organs:
            return [(region.removesuffix(side), 0.5)]
    inside = [m for m in members(region) if m != region] if not is_tumour(region) else []
    return [part for member in inside for part in _parts(member, organs)]


def modelled(observations: Observations, organs: tuple[str, ...]) -> np.ndarray:
    """Mask [observation] of those with a counterpart in the model."""
    return np.array([pool_weights(r, organs, frozenset()) is not None for r in observations.region], dtype=bool)


def experiment(
    courses: tuple[Course, ...],
    obs: Observations,
    names: tuple[str, ...],
    offsets,
    like: Experiment | None = None,
    *,
    to_the_end: bool = False,
) -> Experiment:
    """An `Experiment` with step sequences frozen at the given offsets, no shorter than those of `like`.

    Offsets of shape [parameter], or [parameter, lane]: then the steps suit all of these lanes. `to_the_end` follows
    every course until its activity has decayed, for time integrals, and not just to its last observation.
    """
    organs = courses[0].kinetics.organs
    scaling = Scaling.of(names, organs)
    offsets = jnp.asarray(offsets).reshape(len(names), -1)
    owner = [next(k for k, course in enumerate(courses) if course.has(c)) for c in obs.cycle]
    minutes = np.array([courses[k].minute(c, t) for k, c, t in zip(owner, obs.cycle, obs.time_h, strict=True)])
    asked = [np.unique(minutes[np.array(owner) == k]) for k in range(len(courses))]
    ends = [c.end_min if to_the_end or not ask.size else ask.max() for c, ask in zip(courses, asked, strict=True)]
    parts = [c.segments(ask, end) for c, ask, end in zip(courses, asked, ends, strict=True)]
    form = _common_form(courses, parts)
    grids, steps = [], np.zeros(len(obs), int)
    for k, (course, seg) in enumerate(zip(courses, parts, strict=True)):
        mine = np.array(owner) == k
        kin = scaling.apply(tiled(course.kinetics, offsets.shape[1]), offsets)
        grid = freeze(kin, seg, rtol=GRID_RTOL, multiple=GRID_MULTIPLE, form=form)
        at = np.array([int(np.argmin(np.abs(seg.end_min - m))) for m in minutes[mine]], int)
        steps[mine] = grid.segment_end[at]
        grids.append(grid)
    return Experiment(
        kinetics=_side_by_side([c.kinetics for c in courses]),
        grid=_stack(grids, like.grid.h_min.shape[0] if like else 0),
        readout=_readout(obs, organs, steps, np.array(owner), [c.nuclide for c in courses]),
        scaling=scaling,
        MBq_per_nmol=np.array([c.nuclide.activity_MBq_per_nmol for c in courses]),
    )


def tiled(kin: Kinetics, lanes: int) -> Kinetics:
    """Kinetics of as many lanes: one patient for all of them, several in turn."""
    take = np.arange(lanes) % kin.patients
    return kin if kin.patients == lanes else jax.tree.map(lambda x: jnp.asarray(x)[..., take], kin)


def _common_form(courses, parts) -> str:
    """The form of the model that is exact for every course."""
    forms = {form_of(course.kinetics, seg) for course, seg in zip(courses, parts, strict=True)}
    return BothSpecies.name if BothSpecies.name in forms else OneProfile.name


def _readout(obs, organs, steps, owner, nuclides) -> Readout:
    seen = {c: frozenset(r for r, k in zip(obs.region, obs.cycle, strict=True) if k == c) for c in set(obs.cycle)}
    weights = np.stack([pool_weights(r, organs, seen[c]) for r, c in zip(obs.region, obs.cycle, strict=True)])
    scale = np.array([nuclides[k].activity_MBq_per_nmol for k in owner])
    return Readout(*(pad_rows(x) for x in (steps, owner, weights, scale)))


def pad_rows(x: np.ndarray, fill: float | None = None) -> np.ndarray:
    """`x` [observation, ...] with rows added up to ROWS_MULTIPLE: `fill`, or copies of its last row."""
    spare = [(0, -len(x) % ROWS_MULTIPLE)] + [(0, 0)] * (x.ndim - 1)
    return np.pad(x, spare, mode="edge") if fill is None else np.pad(x, spare, constant_values=fill)


def _side_by_side(kinetics: list[Kinetics]) -> Kinetics:
    """Columns patient after patient, the courses of each beside each other."""
    leaves = [eqx.partition(k, eqx.is_array) for k in kinetics]
    beside = lambda *xs: jnp.stack(xs, axis=-1).reshape(*xs[0].shape[:-1], -1)
    return eqx.combine(jax.tree.map(beside, *[arrays for arrays, _ in leaves]), leaves[0][1])


def _stack(grids: list[Grid], at_least: int) -> Grid:
    size = max(at_least, *(len(g.h_min) for g in grids))
    pad = lambda x, fill: np.concatenate([x, np.full((size - len(x), *x.shape[1:]), fill)])
    side = lambda name, fill: np.stack([pad(getattr(g, name), fill) for g in grids], axis=-1)
    return Grid(
        h_min=side("h_min", 1.0),
        active=side("active", False),
        bolus_nmol=side("bolus_nmol", 0.0),
        infusion_nmol_per_min=side("infusion_nmol_per_min", 0.0),
        since_min=side("since_min", 0.0),
        ratio=np.array([np.ravel(g.ratio)[0] for g in grids]),
        segment_end=np.arange(size),
        form=grids[0].form,
    )


def of_lanes(exp: Experiment, lanes: int) -> Experiment:
    """The experiment with every column of its grid (and, of one patient, its kinetics) once a lane."""
    wide = lambda x: jnp.tile(jnp.asarray(x), lanes)
    grid = eqx.tree_at(
        lambda g: (g.h_min, g.active, g.bolus_nmol, g.infusion_nmol_per_min, g.since_min, g.ratio), exp.grid,
        replace_fn=wide)  # fmt: skip
    kinetics = exp.kinetics if exp.kinetics.patients == exp.courses * lanes else jax.tree.map(wide, exp.kinetics)
    return eqx.tree_at(lambda e: (e.grid, e.kinetics), exp, (grid, kinetics))


class Seen(eqx.Module):
    """What lanes show: log activities (MBq) of the padded observations, [observation, lane], and integrals (MBq h) over
    the whole grid of organs and then blood, [pool, course, lane]."""

    log_activity: Float[Array, "observation lane"]
    tia_MBq_h: Float[Array, "pool course lane"]


def observe(exp: Experiment, offsets: Float[Array, "parameter lane"], adjoint: bool = False) -> Seen:
    """Solve all lanes at once; differentiable in `offsets` (`adjoint` as in `pbpk.solve.solve_on`)."""
    lanes, courses, at = offsets.shape[1], exp.courses, exp.readout
    wide = of_lanes(exp, lanes)
    kin = exp.scaling.apply(wide.kinetics, jnp.repeat(offsets, courses, axis=1))
    solution = solve_on(kin, wide.grid, bed=False, adjoint=adjoint)
    hot, integrals = solution.hot, solution.integrals
    pools = jnp.concatenate([hot.organ_total(kin.layout), hot.blood], axis=1)
    pools = pools.reshape(*pools.shape[:2], lanes, courses)
    read = pools[jnp.asarray(at.step), :, :, jnp.asarray(at.course)]
    activity = jnp.einsum("o,op,opl->ol", jnp.asarray(at.MBq_per_nmol), jnp.asarray(at.weights), read)
    whole = jnp.concatenate([integrals.organ[-1], integrals.blood[-1]]).reshape(-1, lanes, courses)
    tia = jnp.moveaxis(whole * jnp.asarray(exp.MBq_per_nmol) / MINUTES_PER_HOUR, 1, 2)
    return Seen(jnp.log(activity), tia)


def log_activity(
    exp: Experiment, offsets: Float[Array, " parameter"], adjoint: bool = False
) -> Float[Array, " observation"]:
    """Log of the activity (MBq) that each (padded) observation of one patient should show; differentiable."""
    return observe(exp, offsets[:, None], adjoint).log_activity[:, 0]
