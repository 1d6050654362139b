"""How an acquisition is made: nuclide, windows, views, orbit, times and the detector's matrix."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from dose.errors import InputError, describe
from dose.nuclides import radionuclide
from imaging.geometry import Volume
from imaging.projections import EnergyWindow, Projections
from imaging.scanner.camera import windows
from imaging.series import Radiopharmaceutical

BODY_HU = -500.0
"""CT number that is body rather than air or couch padding."""

ORIGIN_mm = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Protocol:
    """A SPECT acquisition; views go head by head, evenly over `arc_deg` shared by the heads.

    Attributes:
        nuclide: as `dose.nuclides` names it.
        energy_windows: () for the customary ones of the nuclide.
        views: of all heads together.
        heads: that count at once, spread evenly over the full circle.
        arc_deg: covered by all heads together.
        start_deg: DICOM angle of the first head's first view.
        radius_mm: axis to collimator face, one number or one for each view.
        frame_s: counting time of a view.
        gap_s: time between views.
        matrix: rows (along z) and columns.
        pixel_mm: side of a detector pixel.
        centre_lps_mm: point of the axis seen by the middle of the detector.

    Raises:
        InputError: views that the heads cannot share, a wrong number of radii, a value not above zero.
    """

    nuclide: str
    frame_s: float
    energy_windows: tuple[EnergyWindow, ...] = ()
    views: int = 120
    heads: int = 2
    arc_deg: float = 360.0
    start_deg: float = 0.0
    radius_mm: float | tuple[float, ...] = 250.0
    gap_s: float = 0.0
    matrix: tuple[int, int] = (128, 128)
    pixel_mm: float = 4.8
    centre_lps_mm: tuple[float, float, float] = field(default=ORIGIN_mm)

    def __post_init__(self):
        object.__setattr__(self, "nuclide", radionuclide(self.nuclide).name)
        object.__setattr__(self, "energy_windows", tuple(self.energy_windows) or windows(self.nuclide))
        if self.views < 1 or self.heads < 1 or self.views % self.heads:
            found = f"{self.views} views for {self.heads} heads"
            raise InputError(describe("protocol.views", found, "as many views for each head", "change one of the two"))
        if np.size(self.radius_mm) not in (1, self.views):
            found = f"{np.size(self.radius_mm)} radii for {self.views} views"
            raise InputError(describe("protocol.radius_mm", found, "one, or one for each view", "give a radius a view"))
        least = min(np.min(self.radius_mm), self.frame_s, self.pixel_mm, self.arc_deg, *self.matrix)
        if not (least > 0 and self.gap_s >= 0):
            expected = "radii, times, arc, matrix and pixel above zero, no negative gap"
            raise InputError(describe("protocol", f"a smallest value of {least:g}", expected, "correct the protocol"))

    def angles_deg(self) -> np.ndarray:
        """DICOM angle of each view, head by head, [view]."""
        steps = self.views // self.heads
        first = self.start_deg + 360.0 / self.heads * np.arange(self.heads)
        return ((first[:, None] + self.arc_deg / self.views * np.arange(steps)) % 360.0).ravel()

    def acquisition(self, divided: int = 1) -> Projections:
        """The acquisition without counts, with pixels divided in `divided` along each side."""
        rows, columns = (n * divided for n in self.matrix)
        return Projections(
            counts=np.zeros((len(self.energy_windows), self.views, rows, columns), dtype=np.float32),
            windows=self.energy_windows,
            angles_deg=self.angles_deg(),
            radii_mm=np.broadcast_to(np.asarray(self.radius_mm, float), (self.views,)),
            frame_s=np.full(self.views, float(self.frame_s)),
            pixel_mm=self.pixel_mm / divided,
            centre_lps_mm=np.asarray(self.centre_lps_mm, float),
            radiopharmaceutical=Radiopharmaceutical(
                nuclide=self.nuclide, half_life_h=radionuclide(self.nuclide).half_life_h
            ),
            gap_s=self.gap_s,
            heads=self.heads,
        )


def contour_radii_mm(ct: Volume, protocol: Protocol, margin_mm: float = 15.0) -> np.ndarray:
    """Radius of each view of an orbit that keeps this margin from the body: its farthest point along the view, [view].

    Raises:
        InputError: no body in the image.
    """
    z, y, x = np.nonzero(ct.array > BODY_HU)
    if not z.size:
        raise InputError(describe("ct", "no voxel above -500 HU", "a body", "give the CT in HU"))
    columns = np.unique(np.stack([x, y], axis=1), axis=0)
    points = ct.to_lps_mm(np.column_stack([columns, np.full(len(columns), z[0])]))[:, :2]
    offset = points - np.asarray(protocol.centre_lps_mm)[:2]
    angle = np.deg2rad(protocol.angles_deg())
    along = offset @ np.stack([np.sin(angle), np.cos(angle)])
    return along.max(axis=0) + float(ct.spacing_mm[:2].max()) / 2 + margin_mm
