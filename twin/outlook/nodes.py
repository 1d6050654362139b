"""One cycle of a patient solved for every draw at every node: amounts of ligand and sizes of the tumours.

With the total ligand known the hot one is linear, so a cycle's integrals per activity depend on the total amount alone
(`pbpk.amount_map`); nodes are lanes of batched solves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from calibration.forward import Course
from calibration.parameters import Scaling
from dose.nuclides import Radionuclide
from dose.regions import is_tumour
from pbpk.batch import in_threads
from pbpk.kinetics import Kinetics
from pbpk.levers import SIZE, Lever, changed
from pbpk.segments import Segments, segments
from pbpk.solve import PLANNING_RTOL, require_end, solve
from twin.forecast import CHUNK

HOT_FRACTION = 1e-3
"""Labelled part of the ligand in the solves; the result per hot amount does not depend on it."""
HALF_LIVES = 22


@dataclass(frozen=True)
class Ask:
    """What is solved: amounts (nmol) and tumour sizes (relative to now) of the nodes, [node]; how ligand is given.

    `cold_nmol` of unlabelled ligand `cold_lead_h` before the labelled; curves are read at `time_h`, and what is left of
    the ligand at `left_h`, both from the labelled administration.
    """

    amount_nmol: np.ndarray
    size: np.ndarray
    infusion_h: float
    cold_nmol: float
    cold_lead_h: float
    time_h: np.ndarray
    left_h: np.ndarray


class Solved(NamedTuple):
    """Per MBq of hot ligand, [.., node, draw]: TIA of organs then blood (MBq h) [pool], kill [organ], activity [pool,
    time]; `left` [time] is the part of the ligand still in the body."""

    tia: np.ndarray
    kill: np.ndarray
    activity: np.ndarray
    left: np.ndarray


def solved(course: Course, names: tuple[str, ...], offsets, ask: Ask) -> Solved:
    """All nodes for offsets of shape [draw, parameter]."""
    draws = len(offsets)
    padded = np.concatenate([offsets, np.zeros((-draws % CHUNK, offsets.shape[1]))])
    chunks = padded.reshape(-1, CHUNK, offsets.shape[1])
    scaling, tumours = Scaling.of(names, course.kinetics.organs), [o for o in course.kinetics.organs if is_tumour(o)]
    base = jax.tree.map(lambda x: jnp.broadcast_to(x, (*x.shape[:-1], CHUNK)), course.kinetics)
    jobs = [(n, chunk) for n in range(len(ask.amount_nmol)) for chunk in chunks]

    def one(job) -> Solved:
        node, chunk = job
        kin = resized(scaling.apply(base, jnp.asarray(chunk.T)), tumours, float(ask.size[node]))
        found, failed = per_MBq(kin, course.nuclide, ask, float(ask.amount_nmol[node]))
        require_end(failed)
        return found

    parts, per_node = in_threads(one, jobs), len(chunks)
    nodes = [
        [np.concatenate(x, axis=-1)[..., :draws] for x in zip(*parts[k : k + per_node], strict=True)]
        for k in range(0, len(parts), per_node)
    ]
    return Solved(*(np.stack(x, axis=-2) for x in zip(*nodes, strict=True)))


def resized(kin: Kinetics, tumours, size: float) -> Kinetics:
    """`kin` with all tumours `size` times as large, at their densities and perfusion."""
    if size == 1.0 or not tumours:
        return kin
    levers = [Lever(f"volume of {name}", SIZE, (name,)) for name in tumours]
    return changed(kin, levers, jnp.full((len(levers), 1), np.log(size)))


def per_MBq(kin: Kinetics, nuclide: Radionuclide, ask: Ask, amount_nmol: float) -> tuple[Solved, bool]:
    """One node for every lane of `kin`, and whether the solve hit the step limit."""
    seg, hot_nmol, read_min = _segments(nuclide, ask, amount_nmol)
    found = solve(kin, seg, rtol=PLANNING_RTOL)
    at = [int(np.argmin(np.abs(seg.end_min - minute))) for minute in read_min]
    at_time, at_left = at[: len(ask.time_h)], at[len(ask.time_h) :]
    MBq, end = hot_nmol * nuclide.activity_MBq_per_nmol, found.integrals
    per_hot = lambda x: np.asarray(x) / hot_nmol
    hot = found.hot
    pools = jnp.concatenate([hot.organ_total(found.layout), hot.blood], axis=1)[np.array(at_time, int)]
    total = sum(jnp.sum(pool[np.array(at_left, int)], axis=1) for pool in found.total)
    solved_lanes = Solved(
        per_hot(jnp.concatenate([end.organ[-1], end.blood[-1]])) / 60,
        np.asarray(end.kill[-1]) * (nuclide.activity_MBq_per_nmol / 60 / MBq) ** 2,
        np.moveaxis(per_hot(pools), 0, 1),
        np.asarray(total) / (amount_nmol + ask.cold_nmol),
    )
    return solved_lanes, bool(found.failed)


def _segments(nuclide: Radionuclide, ask: Ask, amount_nmol: float) -> tuple[Segments, float, np.ndarray]:
    """The doses of one cycle, its hot amount (nmol), and the minutes read."""
    lead_min, hot = 60 * ask.cold_lead_h * (ask.cold_nmol > 0), HOT_FRACTION * amount_nmol
    read_min = lead_min + 60 * np.concatenate([ask.time_h, ask.left_h])
    end_min = lead_min + 60 * max(HALF_LIVES * nuclide.half_life_h, float(np.max(ask.left_h, initial=0.0)))
    start, duration = [lead_min], [60 * ask.infusion_h]
    total, labelled = [amount_nmol], [hot]
    if ask.cold_nmol > 0:
        start, duration, total, labelled = [0.0, *start], [0.0, *duration], [ask.cold_nmol, *total], [0.0, *labelled]
    return segments(start, duration, total, labelled, read_min, end_min), hot, read_min
