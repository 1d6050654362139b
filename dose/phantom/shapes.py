"""Solids that equations define, from which `dose.phantom` builds the body: ellipsoids, tubes, lofts and rings.

A row of `data/phantom_shapes.csv` is an ellipsoid (centre, half-axes, turns about x, y and z), one point of a tube
(centre line and radius; rounded ends), one section of a loft (centre and half-axes of the ellipse at that height;
truncated elliptical cones between them), a ring (an elliptical hoop of round cross section that falls towards the
front by `tx` cm per cm) or a plane that cuts the part (a point and the normal that leads away from what is kept).
Axes: x to the patient's left, y to the back, z up; cm.

The tradition of such bodies: Snyder et al., MIRD pamphlet 5 revised, J Nucl Med 1969; Cristy and Eckerman,
ORNL/TM-8381, 1987. Parameters here are our own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from dose.provenance import load_table

Points = tuple[np.ndarray, np.ndarray, np.ndarray]
"""x, y and z in cm, of shapes that broadcast against one another."""

CENTRE, AXES, TURNS = ("x", "y", "z"), ("a", "b", "c"), ("tx", "ty", "tz")


@dataclass(frozen=True, eq=False)
class Part:
    """One solid of an organ: `rows` holds x y z a b c tx ty tz of each of its rows, `cuts` those of its planes."""

    organ: str
    kind: str
    rows: np.ndarray
    cuts: np.ndarray
    is_mirrored: bool


@cache
def parts(sex: str) -> tuple[Part, ...]:
    """The solids of an adult, in the frame of the reference man, in the order of the table."""
    gathered: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in load_table("dose", "phantom_shapes.csv"):
        if row["sex"] in (sex, "both"):
            gathered.setdefault((row["organ"], row["part"]), []).append(row)
    return tuple(_part(organ, rows) for (organ, _), rows in gathered.items())


def _part(organ: str, rows: list[dict[str, str]]) -> Part:
    numbers = lambda chosen: np.array([[float(r[c] or 0) for c in (*CENTRE, *AXES, *TURNS)] for r in chosen])
    solid = [row for row in rows if row["shape"] != "cut"]
    cuts = [row for row in rows if row["shape"] == "cut"]
    mirrored = any(row["mirror"] == "1" for row in rows)
    return Part(organ, solid[0]["shape"], numbers(solid), numbers(cuts).reshape(len(cuts), 9), mirrored)


def inside(part: Part, points: Points, size: float = 1.0, grow_cm: float = 0.0) -> np.ndarray:
    """Where the points lie in the part, its radii and half-axes times `size` and then `grow_cm` more (less: below 0).

    A mirrored part lies on both sides of the plane x = 0.
    """
    x, y, z = points
    found = _INSIDE[part.kind](part.rows, points, size, grow_cm) & _kept(part.cuts, points)
    if part.is_mirrored:
        other = (-x, y, z)
        found |= _INSIDE[part.kind](part.rows, other, size, grow_cm) & _kept(part.cuts, other)
    return found


def bounds_cm(part: Part, size: float = 1.0, grow_cm: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest corner of a box round the part."""
    reach = _REACH[part.kind](part.rows, size) + grow_cm
    low, high = (part.rows[:, :3] - reach).min(axis=0), (part.rows[:, :3] + reach).max(axis=0)
    if part.kind == "loft":
        low[2], high[2] = part.rows[:, 2].min(), part.rows[:, 2].max()
    if part.is_mirrored:
        high[0] = max(high[0], -low[0])
        low[0] = -high[0]
    return low, high


def _kept(cuts: np.ndarray, points: Points) -> np.ndarray | bool:
    """The side of every plane that its normal leads away from."""
    kept = True
    for at_x, at_y, at_z, n_x, n_y, n_z, *_ in cuts:
        x, y, z = points
        kept = kept & ((x - at_x) * n_x + (y - at_y) * n_y + (z - at_z) * n_z <= 0)
    return kept


def _ellipsoid(rows: np.ndarray, points: Points, size: float, grow_cm: float) -> np.ndarray:
    centre, axes, turns = rows[0, :3], rows[0, 3:6] * size + grow_cm, rows[0, 6:9]
    if np.any(axes <= 0):
        return np.zeros(np.broadcast_shapes(*(p.shape for p in points)), dtype=bool)
    away = [p - c for p, c in zip(points, centre)]
    local = [sum(t * p for t, p in zip(column, away)) for column in turned(turns).T]
    return np.asarray(sum((p / axis) ** 2 for p, axis in zip(local, axes)) <= 1)


def turned(degrees: np.ndarray) -> np.ndarray:
    """Rotation matrix of turns about x, then y, then z."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        one = np.eye(3)
        i, j = (axis + 1) % 3, (axis + 2) % 3
        one[i, i] = one[j, j] = np.cos(angle)
        one[i, j], one[j, i] = -np.sin(angle), np.sin(angle)
        matrix = one @ matrix
    return matrix


def _tube(rows: np.ndarray, points: Points, size: float, grow_cm: float) -> np.ndarray:
    found = np.zeros(np.broadcast_shapes(*(p.shape for p in points)), dtype=bool)
    radii = rows[:, 3] * size + grow_cm
    for start, end, r0, r1 in zip(rows[:-1, :3], rows[1:, :3], radii[:-1], radii[1:]):
        along = end - start
        t = np.clip(sum((p - s) * d for p, s, d in zip(points, start, along)) / (along @ along), 0, 1)
        square = sum((p - s - t * d) ** 2 for p, s, d in zip(points, start, along))
        found |= (square <= (r0 + t * (r1 - r0)) ** 2) & (r0 + t * (r1 - r0) > 0)
    return found


def _loft(rows: np.ndarray, points: Points, size: float, grow_cm: float) -> np.ndarray:
    x, y, z = points
    order = rows[np.argsort(rows[:, 2])]
    at = [np.interp(z, order[:, 2], order[:, k]) for k in (0, 1, 3, 4)]
    a, b = (np.maximum(axis * size + grow_cm, 1e-6) for axis in at[2:])
    within = (z >= order[0, 2]) & (z <= order[-1, 2])
    return (((x - at[0]) / a) ** 2 + ((y - at[1]) / b) ** 2 <= 1) & within


def _ring(rows: np.ndarray, points: Points, size: float, grow_cm: float) -> np.ndarray:
    x0, y0, z0, a, b, radius, slope = rows[0, :7]
    x, y, z = points[0] - x0, points[1] - y0, points[2] - z0
    share = np.sqrt((x / a) ** 2 + (y / b) ** 2) + 1e-9
    outwards = np.hypot(x, y) * (1 - 1 / share)
    return outwards**2 + (z - slope * y) ** 2 <= (radius * size + grow_cm) ** 2


_INSIDE: dict[str, Callable] = {"ellipsoid": _ellipsoid, "tube": _tube, "loft": _loft, "ring": _ring}
_REACH: dict[str, Callable] = {
    "ellipsoid": lambda rows, size: np.full((1, 3), rows[0, 3:6].max() * size),
    "tube": lambda rows, size: rows[:, 3:4] * size,
    "loft": lambda rows, size: np.stack([rows[:, 3], rows[:, 4], 0 * rows[:, 3]], axis=1) * size,
    "ring": lambda rows, size: np.array([[rows[0, 3], rows[0, 4], abs(rows[0, 6]) * rows[0, 4]]]) + rows[0, 5] * size,
}
"""How far a part reaches from its rows' centres along x, y and z before it is grown; shape [row or 1, axis]."""
