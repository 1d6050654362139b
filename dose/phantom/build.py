"""From solids and organs to labelled voxels: outline, sizes, painting, densities. Used by `dose.phantom`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dose.errors import InputError, describe
from dose.phantom.organs import REMAINDER, SKIN, Organ
from dose.phantom.shapes import Part
from dose.phantom.voxels import FIT_CLOSE, FIT_ROUNDS, Canvas, assigned, offsets, paint, resized
from dose.regions import HOLLOW

BODY = "body"
"""The parts of the table that make the outline."""
HOLDS = {"skull": "brain", **{wall: f"{wall}_contents" for wall in HOLLOW}}
"""What a shell surrounds."""
DENSITY_TOLERANCE = 0.04
"""How far a voxel density may lie from the tissue's before the anatomy is refused as impossible."""


def voxels(organs: tuple[Organ, ...], solids: list[Part], where: Canvas, voxel_mL: float) -> np.ndarray:
    """Labels [z, y, x] with the volume of each organ."""
    wanted = {k: organ.mass_g / organ.density_g_cm3 / voxel_mL for k, organ in enumerate(organs) if k}
    index = {organ.name: k for k, organ in enumerate(organs)}
    shifts = [where.shifted(shift) for shift in offsets()]
    base = _outline([p for p in solids if p.organ == BODY], shifts, wanted, index)
    inner = [part for part in solids if part.organ != BODY]
    inner.sort(key=lambda part: -index[part.organ])
    goals = {index[part.organ]: wanted[index[part.organ]] * len(shifts) for part in inner}
    held = {index[shell]: index[core] for shell, core in HOLDS.items() if shell in index}
    sizes, samples = dict.fromkeys(goals, 1.0), base
    for _ in range(FIT_ROUNDS):
        samples = _painted(base, inner, shifts, index, sizes)
        sizes, miss = resized(sizes, np.bincount(samples.ravel(), minlength=len(organs)), goals, held)
        if miss < FIT_CLOSE:
            break
    return assigned(samples, wanted)


def _painted(base: np.ndarray, inner: list[Part], shifts: list[Canvas], index, sizes) -> np.ndarray:
    """Samples with the organs in them; what comes earlier in the table is painted later, over the others."""
    samples = base.copy()
    for volume, points in zip(samples, shifts):
        for part in inner:
            label = index[part.organ]
            paint(volume, points, part, label, sizes[label], on=index[SKIN] + 1)
    return samples


def _outline(body: list[Part], shifts: list[Canvas], wanted: Mapping[int, float], index) -> np.ndarray:
    """Samples of skin and remainder [sample, z, y, x]: width and thickness solved for the volumes."""
    volume, skin = sum(wanted.values()), wanted[index[SKIN]]

    def drawn(points: Canvas, label: int, size: float, grow_cm: float, on: np.ndarray | None = None) -> np.ndarray:
        made = np.zeros(points.shape, np.uint8) if on is None else on
        for part in body:
            paint(made, points, part, label, size, grow_cm)
        return made

    count = lambda size, grow: np.count_nonzero(drawn(shifts[0], 1, size, grow))
    size = solved(lambda s: count(s, 0.0) - volume, 0.9, 1.1)
    thickness = solved(lambda t: volume - skin - count(size, -t), 0.02, 0.6)
    whole = [drawn(points, index[SKIN], size, 0.0) for points in shifts]
    return np.stack([drawn(p, index[REMAINDER], size, -thickness, on) for p, on in zip(shifts, whole)])


def solved(rising, low: float, high: float, rounds: int = 8) -> float:
    """Where a rising function crosses 0, by regula falsi; the nearer end where it does not."""
    at_low, at_high = rising(low), rising(high)
    middle = low
    for _ in range(rounds):
        middle = float(np.clip(low - at_low * (high - low) / (at_high - at_low or 1), low, high))
        at_middle = rising(middle)
        low, at_low, high, at_high = (
            (middle, at_middle, high, at_high) if at_middle < 0 else (low, at_low, middle, at_middle)
        )
    return middle


def densities(organs: tuple[Organ, ...], labels: np.ndarray, voxel_mL: float) -> np.ndarray:
    """Density that gives each label its mass exactly.

    Raises:
        InputError: an organ that finds no place, or far too little.
    """
    counts = np.bincount(labels.ravel(), minlength=len(organs))
    density = np.array([organ.density_g_cm3 for organ in organs])
    for k, organ in enumerate(organs[1:], start=1):
        goal = organ.mass_g / organ.density_g_cm3 / voxel_mL
        if counts[k] == 0 or abs(counts[k] - goal) > max(1.0, DENSITY_TOLERANCE * goal):
            found = f"room for {counts[k] * voxel_mL:.1f} mL"
            expected = f"{organ.mass_g / organ.density_g_cm3:.1f} mL"
            do = "smaller voxels, or check the masses against height and weight"
            raise InputError(describe(f"place of {organ.name} in the phantom", found, expected, do))
        density[k] = organ.mass_g / (counts[k] * voxel_mL)
    return density
