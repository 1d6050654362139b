"""What a user hands to `tia_map`, checked and brought into one form."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from calibration.voxel_models import MODELS
from calibration.voxel_noise import VoxelNoise
from dose.errors import InputError, describe
from dose.trapezoids import STARTS, TAILS, check_choice

CHOICES = ("average", "best", "trapezoid")
"""Akaike-weighted mean of the curves, the best curve alone, or no curve."""


@dataclass(frozen=True)
class Series:
    """Scans of one patient: `activity` [scan, voxel] as given, `order` that sorts them, `time_h` sorted [scan]."""

    time_h: np.ndarray
    activity: np.ndarray
    noise: VoxelNoise | np.ndarray
    order: np.ndarray
    shape: tuple[int, ...]

    def read(self, where: slice):
        """Activities and sds of a chunk in double precision and order of time, [scan, voxel].

        Raises:
            InputError: an sd that is not above zero.
        """
        activity = self.activity[:, where][self.order].astype(float)
        if isinstance(self.noise, VoxelNoise):
            return activity, self.noise.sd(activity)
        sd = self.noise[:, where][self.order].astype(float)
        if not np.all((sd > 0) | ~np.isfinite(activity)):
            do = "give every voxel of every scan the noise it has; an empty voxel has that of the background"
            raise InputError(describe("noise", "an sd that is not above 0", "sds above 0", do))
        return activity, sd

    def replaced(self, activity, sd) -> Series:
        """The same scans with other activities and sds [scan, voxel], which are in order of time."""
        return Series(self.time_h, activity, sd, np.arange(len(self.time_h)), self.shape)


def series(activity, time_h, noise) -> Series:
    """The scans, with shapes and times checked.

    Raises:
        InputError: shapes that do not fit, times that are negative, equal or not finite.
    """
    values, t = np.asarray(activity), np.asarray(time_h, dtype=float)
    if values.ndim < 1 or t.shape != values.shape[:1] or len(t) < 1 or values[0].size < 1:
        found = f"activities of shape {values.shape}, times of shape {t.shape}"
        do = "stack the registered scans along the first axis, one time each"
        raise InputError(describe("activity_MBq_mL, time_h", found, "[scan, ...] and [scan]", do))
    if not np.all(np.isfinite(t)) or np.any(t < 0) or len(np.unique(t)) != len(t):
        do = "count from the end of administration; add up scans of one time first"
        raise InputError(describe("time_h", str(t.tolist()), "distinct finite hours, not below 0", do))
    order = np.argsort(t)
    known = noise.ordered(order) if isinstance(noise, VoxelNoise) else _broadcast(noise, values.shape)
    return Series(t[order], values.reshape(len(t), -1), known, order, values.shape[1:])


def _broadcast(noise, shape) -> np.ndarray:
    try:
        return np.broadcast_to(np.asarray(noise, dtype=float), shape).reshape(shape[0], -1)
    except (TypeError, ValueError):
        found = f"{type(noise).__name__} of shape {np.shape(noise)}"
        do = "give calibration.voxel_noise.VoxelNoise, or sds of the activities' shape"
        raise InputError(describe("noise", found, f"a VoxelNoise or numbers that fit {shape}", do)) from None


def check_words(choice, models, start, tail):
    """Refuses unknown names."""
    for field, value, choices in (("choice", choice, CHOICES), ("start", start, STARTS), ("tail", tail, TAILS)):
        check_choice(field, value, choices)
    for name in models:
        check_choice("models", name, tuple(MODELS))
    if not models:
        raise InputError(describe("models", "none", "one or more of mono, uptake, bi", "leave the default"))


def decay_per_h(half_life_h: float) -> float:
    """Physical decay constant."""
    if not (np.isfinite(half_life_h) and half_life_h > 0):
        do = "use dose.radionuclide(name).half_life_h"
        raise InputError(describe("half_life_h", f"{half_life_h}", "hours above 0", do))
    return math.log(2) / half_life_h


def given_rates(teff_h, scans: int, shape, half_life_h: float):
    """Rates [voxel] of one scan's voxels; None with more scans."""
    if (teff_h is None) != (scans > 1):
        found = f"{scans} scans and {'no ' if teff_h is None else 'an '}effective half-life"
        do = "give teff_h (population or an earlier cycle) with one scan; with more, clearance is fitted"
        raise InputError(describe("teff_h", found, "a half-life with one scan, none with more", do))
    if teff_h is None:
        return None
    half = np.broadcast_to(np.asarray(teff_h, dtype=float), shape).reshape(-1)
    if not np.all((half > 0) & (half <= half_life_h * (1 + 1e-9))):
        do = "an effective half-life cannot be longer than the physical one"
        raise InputError(describe("teff_h", "hours outside", f"above 0 and up to {half_life_h:g} h", do))
    return math.log(2) / half
