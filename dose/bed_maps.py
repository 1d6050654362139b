"""Biologically effective dose of every voxel: the local dose with the region's clearance, or with the voxel's own.

Three doors, by what is known of the time course:
`bed_of_kinetics`: a dose map and one curve a region, whose shape all its voxels share;
`bed_of_curves`: exponentials fitted in each voxel (maps of amplitudes and rates);
`bed_of_scans`: dose-rate maps of the scans, integrated by trapezoids with a named start and tail (`dose.trapezoids`).
Alpha dose stays a map of its own and enters BED with the RBE_max that the caller names. Outside the regions all maps
are NaN, as no tissue is known there; add a region "remainder" to have BED everywhere. Equations: docs/radiobiology.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import numpy as np

from dose.activity import SLOPE_TOLERANCE
from dose.curves import Exponentials
from dose.dose_rate import sampled_dose_Gy, sampled_quadratic_Gy2, with_start
from dose.errors import InputError, describe
from dose.exposure import Exposure
from dose.nuclides import radionuclide
from dose.repair import quadratic_Gy2
from dose.tissues import Tissue, TissueDraws
from dose.trapezoids import TAILS, check_choice
from dose.voxel_bed import BEDMap, assembled, in_regions, per_voxel, separate

__all__ = ["BEDMap", "bed_of_curves", "bed_of_kinetics", "bed_of_scans"]

CHUNKS = (512, 4096, 32_768)
"""Voxels solved together: the largest bounds the memory, and few sizes mean few compiled programs."""

CHUNK_DRAWS = 2**20
"""Voxels times draws solved together, at most (or the smallest chunk)."""


def bed_of_kinetics(
    dose_Gy,
    regions: Mapping[str, np.ndarray],
    kinetics: Mapping[str, Exponentials | Exposure],
    *,
    tissues: Mapping[str, Tissue | TissueDraws] | None = None,
    alpha_Gy=None,
    rbe_max: float | None = None,
) -> BEDMap:
    """BED of a dose map, each voxel's dose given with the time course of its region.

    Args:
        dose_Gy: low-LET dose (electrons and photons), [z, y, x], or draws [draw, z, y, x].
        regions: name and mask [z, y, x] of each region; masks may not overlap.
        kinetics: the curve of each region; only its shape counts.
        tissues: values to use instead of `dose.tissue(region)`; draws give draws of BED.
        alpha_Gy: dose of alphas and recoils, of the shape of `dose_Gy`; then `rbe_max` must be named.

    Raises:
        InputError: a region without a curve, shapes that do not fit, masks that overlap or are empty, doses below 0 or
            not finite within a region, alphas without RBE_max.
    """
    shapes = {}
    for name in regions:
        check_choice("kinetics", name, tuple(kinetics))
        curve = kinetics[name]
        shapes[name] = curve if isinstance(curve, Exposure) else Exposure.of_curve(curve, 1.0)

    def quadratic(name: str, low, inside, values):
        return per_voxel(shapes[name].g(values)) * low**2

    return assembled(
        dose_Gy, regions, quadratic, method="the region's curve", tissues=tissues, alpha_Gy=alpha_Gy, rbe_max=rbe_max
    )


def bed_of_curves(
    amplitudes_Gy_per_h,
    rates_per_h,
    regions: Mapping[str, np.ndarray],
    *,
    tissues: Mapping[str, Tissue | TissueDraws] | None = None,
    alpha_Gy=None,
    rbe_max: float | None = None,
) -> BEDMap:
    """BED of voxels with curves of their own, dose rate sum a_i exp(-l_i t).

    Of a map of dose and one of effective half-lives: amplitudes dose ln 2 / T_eff, rates ln 2 / T_eff, as [1, ...].

    Args:
        amplitudes_Gy_per_h, rates_per_h: [component, z, y, x]; negative amplitudes for uptake, components that a voxel
            does not have 0 (their rate does not matter).
        regions, tissues, alpha_Gy, rbe_max: as `bed_of_kinetics`.

    Raises:
        InputError: as `bed_of_kinetics`, or a rate that is not above 0 where its amplitude is not 0.
    """
    a, rate = np.asarray(amplitudes_Gy_per_h, dtype=float), np.asarray(rates_per_h, dtype=float)
    known = np.any(list(separate(regions).values()), axis=0)
    if a.shape != rate.shape or a.shape[1:] != known.shape:
        found, do = f"{rate.shape}, amplitudes {a.shape}", "give each component an amplitude and a rate in every voxel"
        raise InputError(describe("rates_per_h", found, f"[component, ...] over {known.shape}, both alike", do))
    if not np.all((rate > 0) | (a == 0) | ~known):
        do = "hold the fit at physical decay, as dose.fit_curves does"
        raise InputError(describe("rates_per_h", "a rate not above 0 /h in a region", "rates above 0 /h", do))
    rate = np.where((a != 0) & (rate > 0), rate, 1.0)

    def quadratic(name: str, low, inside, values):
        return _in_chunks(inside, values, lambda at, repair: _curves(a[:, *at], rate[:, *at], repair))

    low = np.sum(a / rate, axis=0)
    return assembled(
        low, regions, quadratic, method="the voxel's curve", tissues=tissues, alpha_Gy=alpha_Gy, rbe_max=rbe_max
    )


def bed_of_scans(
    dose_rate_Gy_per_h,
    time_h,
    nuclide: str,
    regions: Mapping[str, np.ndarray],
    *,
    start: str = "triangle",
    tail: str = "physical",
    rule: str = "linear",
    tissues: Mapping[str, Tissue | TissueDraws] | None = None,
    alpha_rate_Gy_per_h=None,
    rbe_max: float | None = None,
) -> BEDMap:
    """BED of voxels from dose-rate maps of the scans, exact for the curve drawn through them.

    Args:
        dose_rate_Gy_per_h: low-LET dose rate at each scan, [scan, z, y, x].
        time_h: hours after the administration, increasing, [scan].
        start, tail, rule: as `dose.trapezoid_tia`; a tail of the "last_two" scans that would be slower than physical
            decay is held there, and `warnings` says in how many voxels.
        alpha_rate_Gy_per_h: dose rate of alphas and recoils, of the same shape; then `rbe_max` must be named.
        regions, tissues: as `bed_of_kinetics`.

    Raises:
        InputError: as `bed_of_kinetics`, another name of a rule, times that do not increase, one scan with "last_two".
    """
    check_choice("tail", tail, TAILS)
    masks = separate(regions)
    physical = radionuclide(nuclide).decay_constant_per_h

    def series(rates):
        samples = in_regions("dose_rate_Gy_per_h", rates, masks)
        time, padded = with_start(time_h, np.nan_to_num(samples), start=start, rule=rule)
        slope, held = _tails(np.asarray(time_h, dtype=float), samples, physical, tail)
        return time, padded, slope, held, np.asarray(sampled_dose_Gy(time, padded, rule=rule, tail_per_h=slope))

    time, padded, slope, held, low = series(dose_rate_Gy_per_h)
    alpha = None if alpha_rate_Gy_per_h is None else series(alpha_rate_Gy_per_h)[-1]

    def quadratic(name: str, low, inside, values):
        solve = lambda at, repair: _samples(time, padded[:, *at], repair, rule=rule, tail_per_h=slope[at])
        return _in_chunks(inside, values, solve)

    method = f"trapezoids over {np.size(time_h)} scans, start {start}, tail {tail}, rule {rule}"
    note = (f"{held} voxels: the last two scans fall more slowly than physical decay, which was used",) if held else ()
    return assembled(low, masks, quadratic, method=method, tissues=tissues, alpha_Gy=alpha, rbe_max=rbe_max, notes=note)


def _tails(time_h, rates, physical_per_h: float, tail: str) -> tuple[np.ndarray, int]:
    """Rate after the last scan in every voxel, never below physical decay, and in how many that had to be held."""
    slope = np.full(rates.shape[1:], physical_per_h)
    if tail == "physical":
        return slope, 0
    if len(time_h) < 2:
        raise InputError(describe("tail", "one scan", "two or more for a tail of the last two", 'use "physical"'))
    with np.errstate(invalid="ignore"):
        falling = (rates[-2] > 0) & (rates[-1] > 0)
    ratio = np.where(falling, rates[-2], 1.0) / np.where(falling, rates[-1], 1.0)
    found = np.log(ratio) / (time_h[-1] - time_h[-2])
    slow = falling & (found < physical_per_h * (1 - SLOPE_TOLERANCE))
    return np.where(falling, np.maximum(found, physical_per_h), slope), int(slow.sum())


def _in_chunks(inside, values: Tissue | TissueDraws, solve: Callable) -> np.ndarray:
    """`solve(indices, repair)` over the voxels of a mask, [voxel] or [draw, voxel], the last chunk filled up."""
    repair = tuple((per_voxel(f), per_voxel(mu)) for f, mu in values.repair.components)
    where, draws = np.stack(np.nonzero(inside)), max(1, np.size(values.alpha_beta_Gy))
    allowed = [size for size in CHUNKS if size * draws <= CHUNK_DRAWS] or [CHUNKS[0]]
    size = next((n for n in allowed if n >= where.shape[1]), allowed[-1])
    found = []
    for k in range(0, where.shape[1], size):
        part = where[:, k : k + size]
        filled = np.pad(part, ((0, 0), (0, size - part.shape[1])), mode="edge")
        found.append(np.asarray(solve(tuple(filled), repair))[..., : part.shape[1]])
    return np.concatenate(found, axis=-1)


_curves = jax.jit(quadratic_Gy2)
_samples = jax.jit(sampled_quadratic_Gy2, static_argnames="rule")
