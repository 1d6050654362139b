"""What speaks against a registration, as named flags in words. A flag refuses only where the result clearly failed.

Measured: similarity against that by the headers' coordinates, similarity itself, field of view shared, affine change of
volume, folding (Jacobian at or under 0), and inverse consistency where the way back was registered too. Limits are in
`imaging/data/registration.csv`, working assumptions: a similarity says that images look alike, not that anatomy fits,
so look at the images as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imaging.geometry import Volume
from imaging.registration.field import grid_points_mm
from imaging.registration.optimise import Pair
from imaging.registration.resampling import covered
from imaging.registration.settings import setting
from imaging.registration.transform import SpatialTransform

LEVELS = ("fine", "note", "refused")


@dataclass(frozen=True)
class Flag:
    """One finding: `level` is "fine", "note" (look at it) or "refused" (do not use the result)."""

    name: str
    level: str
    value: float
    unit: str
    words: str


def judged(name: str, value: float, unit: str, words: str, note: float, refuse: float, *, high_is_bad=True) -> Flag:
    """A flag whose level follows from two limits."""
    sign = 1 if high_is_bad else -1
    past = [sign * value > sign * limit for limit in (note, refuse)]
    level = "refused" if past[1] else "note" if past[0] else "fine"
    return Flag(name, level, float(value), unit, words)


def registration_flags(
    pair: Pair, transform: SpatialTransform, end: float, headers: float, metric: str
) -> tuple[Flag, ...]:
    """The flags of a transform found on `pair`, of similarity `end`; `headers` is that by the headers' coordinates.

    Two scans that are in place already have nothing to gain, and interpolation loses a little: that is no failure.
    """
    jacobian = transform.jacobian(pair.fixed)
    scale = abs(float(np.linalg.det(transform.affine[:3, :3])) - 1)
    kind, unit = ("correlation", "1") if metric == "correlation" else ("information", "nat")
    alike = (setting(f"{kind}_note"), setting(f"{kind}_refuse"))
    share = float(covered(pair.moving, transform, pair.fixed).mean())
    shared = (setting("covered_note"), setting("covered_refuse"))
    loss = -setting(f"{kind}_loss")
    return (
        judged("similarity", end, unit, f"{metric} at the end", *alike, high_is_bad=False),
        judged("gain", end - headers, unit, f"gain of {metric} over the headers", loss, loss, high_is_bad=False),
        judged("field", share, "1", "share of the fixed image that the moving one covers", *shared, high_is_bad=False),
        judged("scale", scale, "1", "change of volume by the affine", setting("scale_note"), setting("scale_refuse")),
        folding_flag(jacobian),
    )


def folding_flag(jacobian: np.ndarray) -> Flag:
    """Share of voxels where space is folded over."""
    share = float((jacobian <= 0).mean())
    words = "share of voxels with a Jacobian at or under 0"
    return judged("folding", share, "1", words, setting("folding_note"), setting("folding_refuse"))


def inverse_inconsistency_mm(forward: SpatialTransform, back: SpatialTransform, fixed: Volume) -> float:
    """Root mean square distance in mm of back(forward(x)) from x, over the voxels that stay in the fixed field."""
    points = grid_points_mm(fixed.array.shape, fixed.affine).reshape(-1, 3)
    there = back.apply(forward.apply(points))
    index = fixed.to_index(there)
    inside = ((index >= 0) & (index <= np.asarray(fixed.array.shape[::-1]) - 1)).all(axis=-1)
    distance = np.linalg.norm(there - points, axis=-1)[inside]
    return float(np.sqrt((distance**2).mean())) if inside.any() else float("inf")


def inverse_flag(distance_mm: float) -> Flag:
    words = "root mean square distance after going there and back by two registrations"
    return judged("inverse", distance_mm, "mm", words, setting("inverse_note"), setting("inverse_refuse"))
