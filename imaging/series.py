"""What a study folder holds once read: images in known units, contours, segmentations. Plain immutable records."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from imaging.geometry import Volume

if TYPE_CHECKING:
    from imaging.import_report import ImportReport
    from imaging.projections import Projections


def uid_hash(uid: str, salt: str = "") -> str:
    """Twelve hex digits that stand for a UID in messages and files, "" for no UID; give a salt per project."""
    if not uid:
        return ""
    return hashlib.sha256(f"{salt}{uid}".encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Radiopharmaceutical:
    """What the header says of the injection; None where it is silent.

    `half_life_h` is the header's own and serves to undo the header's own correction only.
    """

    nuclide: str | None = None
    half_life_h: float | None = None
    administered_MBq: float | None = None
    started_at: datetime | None = None
    started_time_only: bool = False


@dataclass(frozen=True)
class ImageSeries:
    """One 3D image: CT in HU, or PET or SPECT in Bq/mL (or in g/mL, an SUV that cannot be taken back to Bq/mL).

    `decay_correction` is the header's NONE, START or ADMIN; `reference_at` is the start of the acquisition, of this
    time frame for a dynamic series; `decay_reference_at` is the time that START refers to where that is another (the
    start of the first frame). `slice_mid_s` [z] are seconds from `reference_at` to the middle of each slice's frame.
    `frame` counts the time frames of a series from 0, `frame_s` is the duration of one. `resolution_mm` is the FWHM
    that the header states (0018,1050) or None. `kind_reason` says why the series is taken for its modality.
    """

    volume: Volume
    modality: str
    unit: str
    series_uid_hash: str
    frame_hash: str
    kind_reason: str = ""
    decay_correction: str = ""
    reference_at: datetime | None = None
    slice_mid_s: np.ndarray | None = None
    radiopharmaceutical: Radiopharmaceutical = Radiopharmaceutical()
    weight_kg: float | None = None
    height_m: float | None = None
    sex: str | None = None
    resolution_mm: float | None = None
    decay_reference_at: datetime | None = None
    frame: int = 0
    frame_s: float | None = None


@dataclass(frozen=True)
class Contour:
    """One structure of an RTSTRUCT: closed planar polygons, each [point, 3] in LPS mm."""

    label: str
    polygons: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class ContourSet:
    contours: tuple[Contour, ...]
    frame_hash: str
    series_uid_hash: str


@dataclass(frozen=True)
class Segment:
    """One segment of a SEG: values 0 to 1 on the segmentation's own grid."""

    label: str
    mask: Volume


@dataclass(frozen=True)
class Segmentation:
    segments: tuple[Segment, ...]
    frame_hash: str
    series_uid_hash: str


def _empty_report() -> ImportReport:
    from imaging.import_report import ImportReport

    return ImportReport()


@dataclass(frozen=True)
class StudyImages:
    """Everything of a folder that was understood; `skipped` counts objects of other classes by name.

    `projections` are unreconstructed acquisitions (SPECT or planar), `report` lists what was used and decided.
    """

    images: tuple[ImageSeries, ...]
    contour_sets: tuple[ContourSet, ...] = ()
    segmentations: tuple[Segmentation, ...] = ()
    skipped: dict[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    projections: tuple[Projections, ...] = ()
    report: ImportReport = field(default_factory=_empty_report)

    def of(self, *modalities: str) -> tuple[ImageSeries, ...]:
        """The series of these modalities ("CT", "PET", "SPECT") in order of time."""
        chosen = [s for s in self.images if s.modality in modalities]
        return tuple(sorted(chosen, key=lambda s: (s.reference_at is None, s.reference_at or datetime.min)))
