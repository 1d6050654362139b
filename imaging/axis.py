"""Where the rotation axis lies in the patient: vendors use ImagePositionPatient of a detector in three ways.

1. y is 0 (Siemens, and our own writer): x is the axis, z the centre of the top row; the axis lies at y = -TableHeight.
2. All heads state the same point (GE): it is the corner of the cube of voxels that the camera sees.
3. The heads differ: the standard's own meaning (C.8.4.11), the first transmitted pixel of each head's first view.

1 and 2 are how PyTomography 3.4.0 reads the two makers; 3 is tested on objects of our own only. Whoever knows better
gives another `centre_lps_mm` to the projections.
"""

from __future__ import annotations

import numpy as np

from dose.errors import ImageError, describe

SAME_POINT_MM = 1.0
"""Heads whose points differ by less than this state the same point."""

SAME_AXIS_PIXELS = 2.0
"""Axes from two heads may differ by this much, in pixels, before the header counts as contradictory."""


def axis_lps_mm(nm, rotation, first_angles_deg, first_radii_mm, where: str) -> np.ndarray:
    """Point of the axis seen by the middle of the detector, [3] LPS mm; the origin where the header states no place.

    Raises:
        ImageError: heads that tell of different axes.
    """
    points = _points(nm, len(first_angles_deg))
    if points is None:
        return np.zeros(3)
    rows, columns = int(nm.Rows), int(nm.Columns)
    dy, dx = (float(v) for v in nm.PixelSpacing)
    z = points[0, 2] + _towards_feet(nm) * (rows - 1) / 2 * dy
    if abs(points[0, 1]) < 1e-6:
        height = 0.0 if rotation is None else float(rotation.get("TableHeight") or 0)
        return np.array([points[0, 0], -height, z])
    half = (columns - 1) / 2 * dx
    if np.ptp(points[:, :2], axis=0).max() < SAME_POINT_MM:
        return np.array([points[0, 0] + half, points[0, 1] + half, z])
    axes = _from_corners(points, np.radians(first_angles_deg), np.asarray(first_radii_mm), half)
    if np.ptp(axes, axis=0).max() > SAME_AXIS_PIXELS * dx:
        found, do = "heads that turn about different axes", "give centre_lps_mm by hand"
        raise ImageError(describe(f"{where}, ImagePositionPatient", found, "one axis", do))
    return np.array([*axes.mean(axis=0), z])


def _points(nm, heads: int) -> np.ndarray | None:
    """ImagePositionPatient of each head [head, 3], of the first alone where the others state none."""
    items = (nm.get("DetectorInformationSequence") or [nm])[:heads]
    stated = [item.get("ImagePositionPatient") for item in items]
    found = [np.asarray(p, dtype=float) for p in stated if p is not None and len(p) == 3]
    return np.stack(found) if found and stated[0] is not None else None


def _towards_feet(nm) -> float:
    """-1 where rows run to the feet (the usual), +1 where they run to the head."""
    detector = (nm.get("DetectorInformationSequence") or [nm])[0]
    orientation = detector.get("ImageOrientationPatient") or [1, 0, 0, 0, 0, -1]
    return 1.0 if float(orientation[5]) > 0 else -1.0


def _from_corners(points: np.ndarray, angles: np.ndarray, radii: np.ndarray, half_mm: float) -> np.ndarray:
    """Axis in x, y [head, 2] from the first pixel of each head: back along the detector's row and its normal."""
    count = len(points)
    sine, cosine = np.sin(angles[:count]), np.cos(angles[:count])
    normal, along = np.stack([sine, cosine], axis=1), np.stack([-cosine, sine], axis=1)
    return points[:, :2] + half_mm * along - radii[:count, None] * normal
