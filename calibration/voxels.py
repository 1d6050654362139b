"""Time-integrated activity of every voxel of a series of registered scans, with its standard uncertainty.

In each voxel sums of exponentials that cannot fall more slowly than physical decay are fitted and compared by AICc with
known errors, as dose.activity does for a region (Burnham and Anderson 2002; Sarrut et al., Med Phys 2017;44:4665 for
voxels, recalled). Nothing below knows an image: arrays in, arrays out, any quantity that adds up in time will do, so a
series of dose-rate maps gives dose. Equations and limits: docs/voxel-tia.md.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from calibration.voxel_choice import Chosen, choose
from calibration.voxel_filter import Denoised, ParticleFilter, denoised
from calibration.voxel_input import check_words, decay_per_h, given_rates, series
from calibration.voxel_models import MODELS
from calibration.voxel_noise import VoxelNoise
from calibration.voxel_result import BIT, NAMES, VoxelTIA, map_warnings, total_warnings
from calibration.voxel_rules import Ruled, given_rate, late_rise, limit, pooled_rate, significance, stand_in, trapezoid
from dose.activity import REJECTED_CHI2_PER_DOF

CHUNK_VOXELS = 32768
"""Voxels fitted together: bounds the memory; far fewer would cost time in small arrays."""


@dataclass(frozen=True)
class _Plan:
    """What is the same in every chunk."""

    time_h: np.ndarray
    noise: VoxelNoise | None
    physical_per_h: float
    background_per_h: float
    choice: str
    models: tuple[str, ...]
    start: str
    tail: str
    rejected: float
    rate_sd: float
    detection_sd: float


def tia_map(
    activity_MBq_mL,
    time_h,
    noise,
    half_life_h: float,
    *,
    choice: str = "average",
    models: tuple[str, ...] = ("mono", "uptake", "bi"),
    start: str = "triangle",
    tail: str = "physical",
    teff_h=None,
    teff_relative_sd: float = 0.0,
    correlated_relative_sd: float = 0.0,
    rejected_chi2_per_dof: float = REJECTED_CHI2_PER_DOF,
    detection_sd: float | None = None,
    denoise: ParticleFilter | None = None,
    chunk: int = CHUNK_VOXELS,
    workers: int = 2,
) -> VoxelTIA:
    """Integral from the end of administration to the end of time in every voxel, its sd, model and flags.

    Args:
        activity_MBq_mL: activity present at each scan (not decay-corrected), [scan, ...], registered; NaN: unknown.
        time_h: hours after the end of administration, [scan].
        noise: a `VoxelNoise`, or the sd of each scan's voxels, of a shape that broadcasts to the activities'.
        choice: "average", "best" or "trapezoid" (with `start` and `tail` as in dose.trapezoids).
        models: which curves may be used. "mono" needs two scans, "uptake" four (three where mono misses), "bi" six.
        teff_h: effective half-life of one scan's voxels, one number or a map; needed for one scan and only then.
        teff_relative_sd: relative sd of `teff_h`.
        correlated_relative_sd: relative sd common to all voxels and scans (calibration, recovery), handed on.
        rejected_chi2_per_dof: chi2 per degree of freedom from which on a curve is not accepted.
        detection_sd: how far a voxel must stand out of the noise to be fitted on its own; None: that of voxels.csv, 6.
            Higher trades the clearance of faint voxels for a sum with less bias (docs/voxel-tia.md).
        denoise: a `ParticleFilter` takes noise out of the scans first and gives the sd map; None (default): no filter.
            The scans must then be images, [scan, z, y, x] or [scan, y, x].
        chunk: voxels at a time in each of `workers` threads.

    Raises:
        InputError: shapes that don't fit, negative or equal times, an sd that is not above zero, unknown names.

    References:
        CLINICAL.md 0.1 to 0.3, 1.1, 1.2; Burnham and Anderson 2002, sections 2.9 and 4.3.
    """
    check_words(choice, models, start, tail)
    scans, physical = series(activity_MBq_mL, time_h, noise), decay_per_h(half_life_h)
    cleaned = None if denoise is None else denoised(scans, denoise, physical, workers)
    scans = scans if cleaned is None else scans.replaced(cleaned.activity, cleaned.sd)
    rate = given_rates(teff_h, len(scans.time_h), scans.shape, half_life_h)
    noise = scans.noise if isinstance(scans.noise, VoxelNoise) else None
    detected = limit("detection_sd") if detection_sd is None else detection_sd
    rules = (choice, tuple(models), start, tail, rejected_chi2_per_dof, teff_relative_sd, detected)
    plan = _Plan(scans.time_h, noise, physical, physical, *rules)
    slices = [slice(k, k + chunk) for k in range(0, scans.activity.shape[1], chunk)]
    with ThreadPoolExecutor(workers) as pool:
        sums = list(pool.map(lambda s: _sums(*scans.read(s), detected), slices))
        total, faint = np.sum([s[0] for s in sums], axis=0), np.sum([s[1] for s in sums], axis=0)
        plan = replace(plan, background_per_h=pooled_rate(plan.time_h, faint, physical))
        parts = list(pool.map(lambda s: _chunk(plan, *scans.read(s), None if rate is None else rate[s]), slices))
    found = _assembled(plan, parts, total, scans.shape, correlated_relative_sd)
    return found if cleaned is None else _with_filter(found, cleaned)


def _with_filter(found: VoxelTIA, cleaned: Denoised) -> VoxelTIA:
    """Filtered voxels with the particles' sd, or the curve's where that is wider; the curve's alone is too small, as
    the errors of filtered scans go together.
    """
    where = cleaned.filtered.reshape(found.sd_MBq_h_mL.shape)
    sd = np.where(where, np.fmax(cleaned.integral_sd.reshape(where.shape), found.sd_MBq_h_mL), found.sd_MBq_h_mL)
    method = f"{found.method}; {where.mean():.0%} of the voxels denoised by a particle filter"
    warnings = tuple(words for words in found.warnings if not words.startswith("residuals are"))
    return replace(found, sd_MBq_h_mL=sd, noise_factor=None, method=method, warnings=warnings)


def _sums(activity, sd, detection_sd: float):
    """Summed activity of all voxels, and of those that are background, [scan]."""
    known = np.isfinite(activity).all(0)
    activity, sd = np.where(known, activity, 0.0), np.where(known, sd, 1.0)
    faint = known & (significance(activity, sd) < detection_sd)
    return activity.sum(1), activity[:, faint].sum(1)


def _chunk(plan: _Plan, activity, sd, rate) -> Chosen:
    """All voxels of a chunk by their rules."""
    out = Chosen.blank(activity.shape[1])
    with np.errstate(all="ignore"):
        known = np.isfinite(activity).all(0)
        out.flags[~known] |= BIT["invalid"]
        out.flags[known & (activity < 0).any(0)] |= BIT["negative"]
        if len(plan.time_h) == 1:
            found = given_rate(plan.time_h, activity[:, known], sd[:, known], rate[known], plan.rate_sd)
            _put(out, known, found, "given")
            out.flags[known] |= BIT["given_rate"]
            out.model[known & (activity == 0).all(0)] = NAMES.index("empty")
            return out
        strong = known & (significance(activity, sd) >= plan.detection_sd)
        _background(plan, out, known & ~strong, activity, sd)
        if strong.any():
            _fitted(plan, out, strong, activity[:, strong], sd[:, strong])
        out.flags[strong & late_rise(activity, sd)] |= BIT["late_rise"]
    return out


def _background(plan: _Plan, out: Chosen, where, activity, sd):
    """The background's common rate; the amplitude is linear in the scans, so that sums over voxels have no bias."""
    a, s, rate, of_empty = activity[:, where], sd[:, where], plan.background_per_h, None
    if plan.noise is not None:
        of_empty = plan.noise.sd(np.zeros_like(a))
        first = given_rate(plan.time_h, a, of_empty, rate)
        s = plan.noise.sd(first.tia * rate * np.exp(-rate * plan.time_h[:, None]))
    found = given_rate(plan.time_h, a, s, rate, weigh_by=of_empty)
    _put(out, where, found, "background")
    out.model[where & (activity == 0).all(0)] = NAMES.index("empty")
    out.flags[where] |= BIT["background"]


def _fitted(plan: _Plan, out: Chosen, where, activity, sd):
    """Curves, weighted a second time by the noise of the first curves; trapezoids where asked for or left."""
    if plan.choice == "trapezoid":
        rule = trapezoid(plan.time_h, activity, sd, plan.physical_per_h, plan.start, plan.tail)
        _put(out, where, rule, "trapezoid")
        out.flags[where] |= np.where(rule.limited, BIT["at_physical"], 0).astype(np.uint16)
        return
    settings = (plan.time_h, plan.physical_per_h, plan.models, plan.choice, plan.rejected)
    found, curve = choose(activity, sd, *settings)
    if plan.noise is not None:
        sd = plan.noise.sd(np.where(np.isfinite(curve), curve, activity))
        found, _ = choose(activity, sd, *settings)
    failed = (found.flags & BIT["failed"]) != 0
    left = failed | ~(found.sd <= found.tia)
    found.flags[left & ~failed] |= BIT["unidentified"]
    _put(found, left, stand_in(plan.time_h, activity[:, left], sd[:, left], plan.physical_per_h), "trapezoid")
    out.take(where, found)


def _put(out: Chosen, where, rule: Ruled, name: str):
    out.tia[where], out.sd[where] = rule.tia, rule.sd
    out.slow_per_h[where], out.after_last[where] = rule.slow_per_h, rule.after_last
    out.model[where] = NAMES.index(name)


def _assembled(plan: _Plan, parts: list[Chosen], total, shape, correlated: float) -> VoxelTIA:
    whole = Chosen.joined(parts)
    ratio = whole.chi2_ratio[np.isfinite(whole.chi2_ratio)]
    factor = float(np.sqrt(np.median(ratio))) if len(ratio) else None
    warnings = total_warnings(plan.time_h, total, plan.physical_per_h)
    warnings += map_warnings(whole.tia, whole.flags, factor)
    half = math.log(2) / whole.slow_per_h
    maps = (m.reshape(shape) for m in (whole.tia, whole.sd, whole.model, whole.flags, half, whole.after_last))
    return VoxelTIA(*maps, correlated, factor, _method(plan), tuple(warnings))


def _method(plan: _Plan) -> str:
    n = len(plan.time_h)
    if n == 1:
        return "one scan: the effective half-life was given, clearance is not measured"
    if plan.choice == "trapezoid":
        return f"{n} scans: trapezoids, start {plan.start}, tail {plan.tail}; background: common rate"
    can = [name for name in plan.models if n - MODELS[name].parameters > 1]
    ranked = f"{', '.join(can)} ranked by AICc" if can else "the simplest accepted curve (no AICc)"
    return f"{n} scans: {plan.choice}, {ranked}; background: common rate of {plan.background_per_h:.4g} /h"
