"""From courses to the rows of the tables: doses, limits, lesions, and what became of each patient.

Tumour volume, PSA, platelets and survival are illustrative models (docs/outcomes.md). Survival ends when the tumours,
regrowing with their doubling time, reach the lethal volume.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import ndtr

from pbpk import platelets, psa
from pbpk.volume import LN2, published
from twin.constraints import limit
from twin.trial.course import Course, lethal_mL
from twin.trial.people import RESPONSE
from twin.trial.reading import MOST_CYCLES

STEP_D, STEP_H = 14.0, 4.0
"""Days between the times at which volume and PSA are followed, and hours between the steps of the platelets."""
LATE_SCANS_H = (24.0, 96.0)
"""Hours between which the effective half-life of a region is read."""
RESPONSE_MORE = 10 * RESPONSE + 1
"""Stream of the random numbers of PSA and platelets."""


class Followed(NamedTuple):
    """Of each patient: smallest volume and PSA shares, nadir of platelets, days to death or the end, whether died."""

    best_volume: np.ndarray
    best_psa: np.ndarray
    platelets: np.ndarray
    survival_d: np.ndarray
    died: np.ndarray


def half_life_h(course: Course, place: int | np.ndarray) -> np.ndarray:
    """Effective half-life between `LATE_SCANS_H` of a region, or of each patient's, at most the physical, [patient]."""
    truth = course.scene.truth
    at = [truth.times_h.index(t) for t in LATE_SCANS_H]
    row = np.arange(len(truth.activity))
    early, late = (np.maximum(truth.activity[row, place, k], 1e-12) for k in at)
    slope = np.log(early / late) / (LATE_SCANS_H[1] - LATE_SCANS_H[0])
    return LN2 / np.maximum(slope, LN2 / truth.physical_half_life_h)


def volume_shares(course: Course, time_h: np.ndarray) -> np.ndarray:
    """Volume of all lesions over that before therapy, [patient, time]; BED accrues with the tumours' half-life."""
    group, gap_h = course.scene.group, 24 * course.arm.interval_days
    since = np.maximum(time_h[:, None] - gap_h * np.arange(course.activity_MBq.shape[1]), 0.0)
    largest = course.scene.truth.tumours[np.argmax(group.class_mL, axis=1)]
    half = half_life_h(course, largest)
    accrued = -np.expm1(-LN2 * since[None] / half[:, None, None])
    bed = np.einsum("plc,ptc->plt", course.lesion_bed_Gy, accrued)
    biology = course.scene.biology
    log = LN2 * time_h / biology.doubling_time_h[:, None]
    kept = np.exp(log[:, None] - biology.alpha_per_Gy[:, None, None] * bed)
    mL = group.lesions.volume_mL
    return np.einsum("pl,plt->pt", mL, kept) / mL.sum(axis=1, keepdims=True)


def followed(course: Course) -> Followed:
    """The outcomes of one arm on one block."""
    design, group = course.scene.group.design, course.scene.group
    time_h = 24 * np.append(np.arange(0.0, design.follow_up_days, STEP_D), design.follow_up_days)
    share = volume_shares(course, time_h)
    survival_d, died = _survival(share, group.lesions.volume_mL.sum(axis=1), lethal_mL(group), time_h / 24)
    alive = time_h / 24 <= survival_d[:, None]
    z = group.normals(RESPONSE_MORE, 2)
    best_psa = np.full(group.count, np.nan)
    if design.target == "psma":
        low, high = published("psa_half_life", "low"), published("psa_half_life", "high")
        kout = LN2 / (24 * (low + ndtr(z[:, 0]) * (high - low)))
        curve = psa.psa_curve(
            psa.PsaRates(jnp.asarray(kout)), jnp.ones(group.count), jnp.asarray(share), jnp.asarray(time_h)
        )
        best_psa = np.min(np.where(alive, np.asarray(curve), np.inf), axis=1)
    best = np.min(np.where(alive, share, np.inf), axis=1)
    return Followed(best, best_psa, _platelets(course, z[:, 1]), survival_d, died)


def _survival(share: np.ndarray, first_mL: np.ndarray, lethal: np.ndarray, day: np.ndarray):
    """Day on which the volume first reaches the lethal one (log-linear between times), or the end; whether it did."""
    log = np.log(np.maximum(share * first_mL[:, None], 1e-300)) - np.log(lethal)[:, None]
    over = log >= 0
    at = np.where(over.any(axis=1), np.argmax(over, axis=1), len(day) - 1)
    before = np.maximum(at - 1, 0)
    row = np.arange(len(share))
    rise = log[row, at] - log[row, before]
    part = np.where(rise > 0, -log[row, before] / np.where(rise > 0, rise, 1.0), 1.0)
    reached = day[before] + np.clip(part, 0.0, 1.0) * (day[at] - day[before])
    died = over.any(axis=1)
    return np.where(died, reached, day[-1]), died


@partial(jax.jit, static_argnames="steps")
def _curve(chain, starts_h, dose_Gy, half_life_h_, time_h, steps):
    return platelets.platelet_curve(chain, starts_h, dose_Gy, half_life_h_, time_h, steps=steps)


def _platelets(course: Course, normal: np.ndarray) -> np.ndarray:
    """Nadir over the therapy and ten weeks after it, [patient]; the slope drawn over its demonstration range."""
    truth, count, given = course.scene.truth, len(normal), course.activity_MBq.shape[1]
    marrow = truth.regions.index("red_marrow")
    dose = np.zeros((count, MOST_CYCLES))
    dose[:, :given] = course.dose_Gy[..., marrow]
    starts = 24 * course.arm.interval_days * np.arange(MOST_CYCLES)
    low, high = published("platelet_slope", "low"), published("platelet_slope", "high")
    chain = platelets.typical()
    chain = type(chain)(*(jnp.full(count, float(x)) for x in chain))
    chain = chain._replace(slope_h_per_Gy=jnp.asarray(low + ndtr(normal) * (high - low)))
    half = np.repeat(half_life_h(course, marrow)[:, None], MOST_CYCLES, axis=1)
    time_h = np.linspace(0.0, starts[given - 1] + 70 * 24, 128)
    steps = 1024 * int(np.ceil(time_h[-1] / (1024 * STEP_H)))
    lowest = np.min(np.asarray(_curve(chain, starts, dose, half, time_h, steps)), axis=1)
    return np.where(np.isfinite(lowest), lowest, 0.0)  # a count that falls faster than the steps is next to none


def limit_totals(course: Course, names: Sequence[str]) -> dict[str, np.ndarray]:
    """True totals of each limit over the course, [patient]."""
    at = lambda lim: course.scene.truth.regions.index(lim.region)
    of = lambda lim: (course.dose_Gy if lim.quantity == "dose_Gy" else course.bed_Gy)[..., at(lim)]
    limits = {name: limit(name) for name in names}
    return {name: of(lim).max(axis=1) if lim.per == "cycle" else of(lim).sum(axis=1) for name, lim in limits.items()}


def tumours_of(course: Course, values: np.ndarray) -> np.ndarray:
    """Mean over the classes of tumours by mass, [patient, cycle] of [patient, cycle, region]."""
    mL = course.scene.group.class_mL
    return np.einsum("pck,pk->pc", values[..., course.scene.truth.tumours], mL / mL.sum(axis=1, keepdims=True))
