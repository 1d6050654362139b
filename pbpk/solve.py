"""Solving a course of administrations: adaptively, or on a frozen grid when derivatives are wanted.

A course is cut into segments at every administration, end of infusion and asked-for time; within a segment the infusion
is constant. All patients of a batch share one step sequence, chosen so that the worst of them meets the tolerance.
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pbpk.kinetics import Kinetics, rates
from pbpk.rosenbrock import step
from pbpk.state import rows, species_rows

AUDIT_RTOL = 1e-6
"""For single patients and tests: time-integrated activity to about 1e-9 (PERFORMANCE.md section 2)."""
PLANNING_RTOL = 1e-4
"""For batches of draws: time-integrated activity to about 1e-6, far below imaging noise."""
ATOL_FRACTION = 1e-11
"""Absolute tolerance as a fraction of the amount given."""
FIRST_STEP_MIN = 0.02
MAX_STEPS = 20_000
SEGMENTS_MULTIPLE = 32
"""Segments are padded to this multiple by empty ones, so that few programs are compiled."""
ORDER = 5


class Segments(NamedTuple):
    """Constant-infusion stretches in order of time; arrays of shape [segment] or [segment, species] (total, hot)."""

    length_min: np.ndarray
    bolus_nmol: np.ndarray
    infusion_nmol_per_min: np.ndarray
    restart: np.ndarray

    @property
    def end_min(self) -> np.ndarray:
        return np.cumsum(self.length_min)


class Grid(NamedTuple):
    """A frozen sequence of steps, padded to a fixed length, [step, ...]; a last axis gives each patient its own.

    `segment_end[k]` is the index of segment k's last step.
    """

    h_min: np.ndarray
    active: np.ndarray
    bolus_nmol: np.ndarray
    infusion_nmol_per_min: np.ndarray
    segment_end: np.ndarray


class Solution(eqx.Module):
    """States at the end of each segment, [segment, row, patient]; `steps` taken; `failed` if the step limit was hit."""

    y: Float[Array, "segment row patient"]
    steps: Array
    failed: Array


def segments(start_min, duration_min, total_nmol, hot_nmol, ask_min, end_min) -> Segments:
    """Cut [0, end_min] at each administration (arrays of shape [dose]) and each time in `ask_min`."""
    start, duration = np.asarray(start_min, float), np.asarray(duration_min, float)
    edges = np.unique(np.concatenate([[0.0, end_min], start, start + duration, np.asarray(ask_min, float)]))
    edges = edges[(edges >= 0) & (edges <= end_min)]
    left, right = edges[:-1], edges[1:]
    amounts = np.stack([np.asarray(total_nmol, float), np.asarray(hot_nmol, float)], axis=-1)
    is_bolus = (duration == 0)[:, None]
    bolus = np.stack([np.sum(np.where((start == t)[:, None] & is_bolus, amounts, 0), axis=0) for t in left])
    per_min = amounts / np.where(duration > 0, duration, 1.0)[:, None]
    runs = [(start <= a) & (start + duration >= b) & (duration > 0) for a, b in zip(left, right, strict=True)]
    infusion = np.stack([np.sum(np.where(run[:, None], per_min, 0), axis=0) for run in runs])
    change = np.any(bolus > 0, axis=1) | np.any(np.diff(infusion, axis=0, prepend=0) != 0, axis=1)
    return Segments(right - left, bolus, infusion, change)


def _tolerances(seg_bolus, seg_infusion, length, organs, rtol):
    given = jnp.sum(seg_bolus + seg_infusion * length[:, None], axis=0)
    size = species_rows(organs)
    absolute = ATOL_FRACTION * jnp.maximum(jnp.repeat(given, size), 1e-300)
    return absolute[:, None], rtol


def _error(err, y0, y1, tolerances):
    absolute, relative = tolerances
    n = absolute.shape[0]
    scale = absolute + relative * jnp.maximum(jnp.abs(y0[:n]), jnp.abs(y1[:n]))
    worst = jnp.max(jnp.sqrt(jnp.mean((err[:n] / scale) ** 2, axis=0)))
    return jnp.where(jnp.isfinite(worst), jnp.maximum(worst, 1e-6), 1e6)


def _inject(y, bolus, organs):
    size = species_rows(organs)
    vein = 5 * organs
    return y.at[vein].add(bolus[0]).at[size + vein].add(bolus[1])


class _Walk(NamedTuple):
    y: Array
    t: Array
    h: Array
    previous: Array
    steps: Array
    grid: Array


def _advance(walk: _Walk, r, infusion, length, tolerances, record):
    remaining = length - walk.t
    last = walk.h * 1.01 >= remaining
    h = jnp.where(last, remaining, walk.h)
    y1, err = step(walk.y, r, infusion, h)
    e = _error(err, walk.y, y1, tolerances)
    ok = e <= 1
    grown = jnp.clip(0.9 * e ** (-0.7 / ORDER) * walk.previous ** (0.4 / ORDER), 0.2, 6.0)
    shrunk = jnp.clip(0.9 * e ** (-1 / ORDER), 0.1, 0.9)
    proposal = h * jnp.where(ok, grown, shrunk)
    proposal = jnp.where(ok & last, jnp.maximum(walk.h, proposal), proposal)
    grid = walk.grid.at[walk.steps].set(jnp.where(ok, h, 0.0)) if record else walk.grid
    return _Walk(
        y=jnp.where(ok, y1, walk.y),
        t=jnp.where(ok, jnp.where(last, length, walk.t + h), walk.t),
        h=proposal,
        previous=jnp.where(ok, e, walk.previous),
        steps=walk.steps + ok,
        grid=grid,
    )


@eqx.filter_jit
def _adaptive(kin: Kinetics, seg: Segments, rtol, record: bool):
    r = rates(kin)
    organs = kin.plasma_flow.shape[0]
    tolerances = _tolerances(seg.bolus_nmol, seg.infusion_nmol_per_min, seg.length_min, organs, rtol)
    y = jnp.zeros((rows(organs), kin.patients))
    one = jnp.ones(())
    walk = _Walk(y, 0 * one, FIRST_STEP_MIN * one, one, jnp.zeros((), int), jnp.zeros(MAX_STEPS if record else 1))

    def segment(carry, item):
        walk, tried = carry
        length, bolus, infusion, restart = item
        walk = walk._replace(
            y=_inject(walk.y, bolus, organs),
            t=0 * one,
            h=jnp.where(restart, FIRST_STEP_MIN, walk.h),
            previous=jnp.where(restart, 1.0, walk.previous),
        )
        unfinished = lambda s: (s[0].t < length) & (s[1] < MAX_STEPS)
        go = lambda s: (_advance(s[0], r, infusion, length, tolerances, record), s[1] + 1)
        walk, tried = jax.lax.while_loop(unfinished, go, (walk, tried))
        return (walk, tried), (walk.y, walk.steps)

    items = (seg.length_min, seg.bolus_nmol, seg.infusion_nmol_per_min, seg.restart)
    (walk, tried), (ys, ends) = jax.lax.scan(segment, (walk, jnp.zeros((), int)), items)
    return Solution(ys, walk.steps, tried >= MAX_STEPS), ends, walk.grid


def solve(kin: Kinetics, seg: Segments, *, rtol: float = AUDIT_RTOL) -> Solution:
    """Adaptive solve of all patients of `kin` with error control on each; not differentiable."""
    solution = _adaptive(kin, _padded(seg), rtol, False)[0]
    return Solution(solution.y[: len(seg.length_min)], solution.steps, solution.failed)


def freeze(kin: Kinetics, seg: Segments, *, rtol: float = AUDIT_RTOL, multiple: int = 256) -> Grid:
    """The step sequence that the adaptive solve takes, padded to a multiple so that few shapes are compiled."""
    solution, ends, recorded = _adaptive(kin, _padded(seg), rtol, True)
    count, ends = int(solution.steps), np.asarray(ends)[: len(seg.length_min)]
    size = multiple * int(np.ceil(count / multiple))
    h = np.ones(size)
    h[:count] = np.asarray(recorded)[:count]
    owner = np.minimum(np.searchsorted(ends, np.arange(size), side="right"), len(ends) - 1)
    first = np.concatenate([[0], ends[:-1]])
    bolus = np.zeros((size, 2))
    bolus[first] = np.asarray(seg.bolus_nmol)
    return Grid(h, np.arange(size) < count, bolus, np.asarray(seg.infusion_nmol_per_min)[owner], ends - 1)


def solve_on(kin: Kinetics, grid: Grid) -> Float[Array, "segment row patient"]:
    """Solve on a frozen grid: a fixed composition of steps, differentiable in every leaf of `kin` to any order."""
    r = rates(kin)
    organs = kin.plasma_flow.shape[0]

    @jax.checkpoint
    def body(y, item):
        h, active, bolus, infusion = item
        y = _inject(y, bolus, organs)
        go = lambda y: jnp.where(active, step(y, r, infusion, h)[0], y)
        y1 = jax.lax.cond(jnp.any(active), go, lambda y: y, y)
        return y1, y1

    y0 = jnp.zeros((rows(organs), kin.patients))
    items = (grid.h_min, grid.active, grid.bolus_nmol, grid.infusion_nmol_per_min)
    _, ys = jax.lax.scan(body, y0, jax.tree.map(jnp.asarray, items))
    return ys[jnp.asarray(grid.segment_end)]


def _padded(seg: Segments) -> Segments:
    """`seg` on the device, with empty segments at its end: they take no step and change nothing."""
    missing = -len(seg.length_min) % SEGMENTS_MULTIPLE
    pad = lambda x: np.concatenate([x, np.zeros((missing, *np.shape(x)[1:]), np.asarray(x).dtype)])
    return jax.tree.map(lambda x: jnp.asarray(pad(x)), seg)
