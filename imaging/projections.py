"""Projections of a gamma camera: one record for reading, writing, simulating and reconstructing.

Conventions, fixed here once. A view's angle is DICOM's (PS3.3 C.8.4.11, StartAngle): 0 degrees is a detector at the
patient's back, growing counter-clockwise as seen from the feet, so 90 is at the left and 180 in front. In LPS the
detector's centre lies from the axis along n = (sin a, cos a, 0); an image is as seen from the detector, so u (columns)
grows along (-cos a, sin a, 0). v (rows here) grows towards the head; DICOM's rows run the other way, which the reader
and the writer turn.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from dose.errors import ImageError, describe
from imaging.geometry import Volume
from imaging.series import Radiopharmaceutical

ROLES = ("peak", "lower", "upper", "other")
"""What an energy window is for: the photopeak, the scatter windows below and above it, or something else."""


UNTOLD = Radiopharmaceutical()
"""A header that says nothing of the injection."""


@dataclass(frozen=True)
class EnergyWindow:
    """Bounds in keV; `role` of `ROLES`, and the line in keV that a peak or its scatter windows belong to."""

    lower_keV: float
    upper_keV: float
    role: str = "other"
    line_keV: float | None = None

    @property
    def width_keV(self) -> float:
        return self.upper_keV - self.lower_keV


@dataclass(frozen=True)
class Projections:
    """Counts of a rotating camera, or of a planar one (two views, 0 and 180 degrees).

    Attributes:
        counts: float32 [window, view, v, u].
        windows: one `EnergyWindow` for each first index.
        angles_deg: DICOM angle of each view, [view].
        radii_mm: distance from the axis to the collimator's face, [view].
        frame_s: time that each view was counted, [view].
        pixel_mm: side of a detector pixel; square.
        centre_lps_mm: point of the rotation axis (along z) seen by the middle of the detector, [3].
        started_at: start of the acquisition.
        radiopharmaceutical: what the header says of the injection.
        collimator: the maker's name of it, or "".
        gap_s: time lost between the starts of successive views beyond counting (all heads move together).
        heads: detectors that count at once; views of one rotation are listed head by head.
        scan_velocity_mm_per_s: of the table in a whole-body scan, whose `frame_s` is the time that a row of pixels was
            under the head; None where nothing moved along z.

    Raises:
        ImageError: shapes that do not agree, counts that are negative or not finite, times or radii not above zero.
    """

    counts: np.ndarray
    windows: tuple[EnergyWindow, ...]
    angles_deg: np.ndarray
    radii_mm: np.ndarray
    frame_s: np.ndarray
    pixel_mm: float
    centre_lps_mm: np.ndarray
    started_at: datetime | None = None
    radiopharmaceutical: Radiopharmaceutical = UNTOLD
    collimator: str = ""
    gap_s: float = 0.0
    heads: int = 1
    series_uid_hash: str = ""
    frame_hash: str = ""
    scan_velocity_mm_per_s: float | None = None

    def __post_init__(self):
        object.__setattr__(self, "counts", np.asarray(self.counts, dtype=np.float32))
        for name in ("angles_deg", "radii_mm", "frame_s", "centre_lps_mm"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=float))
        views = (len(self.windows), len(self.angles_deg))
        per_view = all(getattr(self, name).shape == self.angles_deg.shape for name in ("radii_mm", "frame_s"))
        if self.counts.ndim != 4 or self.counts.shape[:2] != views or not per_view or 0 in self.counts.shape:
            found = f"counts of shape {self.counts.shape} for {views[0]} windows and {views[1]} angles"
            raise ImageError(describe("projections.counts", found, "[window, view, v, u]", "repair the projections"))
        if not np.isfinite(self.counts).all() or self.counts.min() < 0:
            found, do = "counts that are negative or not finite", "give the counts as acquired"
            raise ImageError(describe("projections.counts", found, "counts of zero or more", do))
        if not (self.frame_s.min() > 0 and self.radii_mm.min() > 0 and self.pixel_mm > 0):
            found, do = "a value not above zero", "repair the header or give it by hand"
            raise ImageError(describe("projections frame_s, radii_mm, pixel_mm", found, "values above zero", do))
        if self.scan_velocity_mm_per_s is not None and not 0 < self.scan_velocity_mm_per_s < np.inf:
            found, do = "a value not above zero", "give None where the table stood still"
            raise ImageError(describe("projections.scan_velocity_mm_per_s", found, "mm/s", do))
        if self.heads < 1 or len(self.angles_deg) % self.heads:
            found = f"{len(self.angles_deg)} views for {self.heads} heads"
            raise ImageError(describe("projections.heads", found, "as many views for each head", "repair the header"))

    def window(self, role: str = "peak", line_keV: float | None = None) -> int:
        """Index of the window with this role, of this line where several have it.

        Raises:
            ImageError: none, or several and no line to choose by.
        """
        found = [
            k
            for k, w in enumerate(self.windows)
            if w.role == role and (line_keV is None or w.line_keV is None or abs(w.line_keV - line_keV) < 1)
        ]
        if len(found) != 1:
            say = f"{len(found)} {role} windows" + ("" if line_keV is None else f" of {line_keV:g} keV")
            raise ImageError(describe("projections.windows", say, "exactly one", "name the line in keV"))
        return found[0]

    def view_start_s(self) -> np.ndarray:
        """Seconds from the start of the acquisition to the start of each view, [view]; heads count at once."""
        steps = len(self.angles_deg) // self.heads
        step_s = self.frame_s.reshape(self.heads, steps).max(axis=0) + self.gap_s
        return np.tile(np.concatenate([[0.0], np.cumsum(step_s)[:-1]]), self.heads)

    def grid(self) -> Volume:
        """The empty image that these projections see: cubic voxels of a pixel, centred on the axis, [z, y, x]."""
        rows, columns = self.counts.shape[2:]
        affine = np.diag([self.pixel_mm, self.pixel_mm, self.pixel_mm, 1.0])
        half = np.array([columns - 1, columns - 1, rows - 1]) / 2 * self.pixel_mm
        affine[:3, 3] = self.centre_lps_mm - half
        return Volume(np.zeros((rows, columns, columns), dtype=np.float32), affine)

    def with_counts(self, counts) -> Projections:
        """The same acquisition with other counts."""
        return replace(self, counts=counts)
