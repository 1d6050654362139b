"""Where a registration may start: frames of reference may differ, and headers say nothing of where the patient lay.

Tried on coarse images: the headers' own coordinates, centres of the grids, centres of mass, shifts along the body and
small turns about them. The best few are optimised on the coarse images; the best of those goes on.
"""

from __future__ import annotations

import numpy as np

from imaging.geometry import Volume
from imaging.registration.optimise import Pair, linear_stage, similarity
from imaging.registration.resampling import coarser, covered
from imaging.registration.settings import Settings, setting
from imaging.registration.transform import SpatialTransform

COARSE = 3.0
"""Starts are compared at this multiple of the working spacing."""
LEAST_COVERED = 0.3
"""A start that leaves more of the fixed image without a partner is passed over: a sliver matches anything."""


def centre_of_grid_mm(volume: Volume) -> np.ndarray:
    return volume.to_lps_mm((np.asarray(volume.array.shape[::-1]) - 1) / 2)


def centre_of_mass_mm(volume: Volume) -> np.ndarray:
    """Centre of what lies above the lowest value, LPS mm; the grid's centre for an even image."""
    weight = volume.array.astype(float) - float(volume.array.min())
    total = weight.sum()
    if total <= 0:
        return centre_of_grid_mm(volume)
    sums = [weight.sum(axis=tuple(a for a in range(3) if a != axis)) for axis in (2, 1, 0)]
    return volume.to_lps_mm([float(s @ np.arange(len(s))) / total for s in sums])


def candidates(fixed: Volume, moving: Volume) -> list[SpatialTransform]:
    """Rigid starts, the headers' coordinates first."""
    shift, angle = setting("start_shift"), setting("start_angle")
    at_grid = centre_of_grid_mm(moving) - centre_of_grid_mm(fixed)
    centre = centre_of_mass_mm(fixed)
    at_mass = centre_of_mass_mm(moving) - centre
    out = [SpatialTransform.identity(), SpatialTransform.rigid(translation_mm=at_grid)]
    along = [np.array([0, 0, k * shift / 2]) for k in range(-4, 5)]
    out += [SpatialTransform.rigid(translation_mm=at_mass + step) for step in along]
    turns = [sign * angle * np.eye(3)[axis] for axis in range(3) for sign in (-1, 1)]
    return out + [SpatialTransform.rigid(turn, at_mass, centre) for turn in turns]


def best_start(pair: Pair, settings: Settings) -> SpatialTransform:
    """The start whose short coarse optimisation ends best."""
    spacing = COARSE * settings.working_mm
    mask = None if pair.mask is None else coarser(pair.mask, spacing)
    coarse = Pair(coarser(pair.fixed, spacing), coarser(pair.moving, spacing), mask)
    tried = [(similarity(coarse, start, settings), start) for start in candidates(coarse.fixed, coarse.moving)]
    usable = [t for t in tried if np.isfinite(t[0]) and _covers(coarse, t[1])] or [tried[1]]
    usable.sort(key=lambda t: -t[0])
    ends = [_short(coarse, start, settings) for _, start in usable[: int(setting("starts_refined"))]]
    ends += [usable[0]]
    return max((e for e in ends if _covers(coarse, e[1])), key=lambda e: e[0], default=usable[0])[1]


def _covers(pair: Pair, start: SpatialTransform) -> bool:
    return covered(pair.moving, start, pair.fixed).mean() >= LEAST_COVERED


def _short(coarse: Pair, start: SpatialTransform, settings: Settings) -> tuple[float, SpatialTransform]:
    whole = Settings(metric=settings.metric, sampling_share=1.0, seed=settings.seed, threads=settings.threads)
    done, judged = linear_stage("rigid", coarse, start, whole, shrink=[1])
    return judged.after, done
