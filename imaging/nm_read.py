"""Geometry of a reconstructed NM object (RECON TOMO): all frames in one file, placed by its detector item.

PS3.3 C.8.4.11: the detector item holds orientation and position of the first frame. Frames may run feet to head or
the other way: the sign of SpacingBetweenSlices says which, and SliceThickness stands in where it is absent.
"""

from __future__ import annotations

import numpy as np

from dose.errors import ImageError, describe
from imaging.slices import affine_of


def nm_affine(nm, where: str) -> np.ndarray:
    """[4, 4] from (x, y, frame) indices to LPS mm.

    Raises:
        ImageError: no spacing, no place, or several energy windows or time slots in one object.
    """
    for name in ("EnergyWindowVector", "TimeSlotVector", "RRIntervalVector"):
        if len(set(numbers_of(nm.get(name)))) > 1:
            found, do = f"several values in {name}", "export each window or time slot as a series of its own"
            raise ImageError(describe(where, found, "one image an object", do))
    detector = (nm.get("DetectorInformationSequence") or [nm])[0]
    orientation = np.array(detector.ImageOrientationPatient, dtype=float)
    row, column = orientation[:3], orientation[3:]
    spacing = float(nm.get("SpacingBetweenSlices") or nm.get("SliceThickness") or 0)
    if spacing == 0:
        raise ImageError(describe(f"{where}, SpacingBetweenSlices", "nothing", "mm", "repair the header"))
    dy, dx = (float(v) for v in nm.PixelSpacing)
    return affine_of(row * dx, column * dy, np.cross(row, column) * spacing, detector.ImagePositionPatient)


def frame_order(nm, frames: int) -> np.ndarray:
    """Indices that put the stored frames in order of SliceVector, [frame]."""
    numbers = numbers_of(nm.get("SliceVector"))
    return np.argsort(numbers, kind="stable") if len(numbers) == frames else np.arange(frames)


def numbers_of(value) -> list[int]:
    """A vector element, which pydicom gives as a single number where it holds one."""
    if value in (None, ""):
        return []
    return [int(v) for v in value] if np.iterable(value) else [int(value)]
