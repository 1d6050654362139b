"""Which voxels of a scan belong to which region: drawn in its frame of reference, or carried there by registration.

A drawing joins images of its own frame only. A scan without any takes those of the nearest session that has some:
CT is registered to CT where both frames have one, else emission to emission, rigidly, which moves no volumes.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from dose.errors import ImageError, InputError, describe
from dose.provenance import load_table
from dose.regions import region as canonical_region
from imaging.contours import contour_mask, polygon_area_mm2, segment_mask
from imaging.geometry import Volume
from imaging.series import Contour, ContourSet, ImageSeries, Segment, StudyImages

logger = logging.getLogger(__name__)

EMISSION = ("PET", "SPECT")
NOTED_OUTSIDE, MOST_OUTSIDE = 0.02, 0.10
"""Share of a region beyond the field that is told, and that makes its total no measure of the region."""


@dataclass(frozen=True)
class ScanMasks:
    """`masks`: weights 0 to 1 on the scan's grid by region; `shift_sd_mm`: how far they may lie beside their place.

    `drawn` is a row of `data/mask_shift.csv` or "" where there is none; `notes` say what a registration found.
    """

    masks: dict[str, Volume]
    shift_sd_mm: float = 0.0
    drawn: str = ""
    notes: tuple[str, ...] = ()


def masks_of(study: StudyImages, scan: ImageSeries, boundary: str = "centre", *, carries: bool = True) -> ScanMasks:
    """The regions of a scan, drawn in its own frame or (`carries`) brought from another session of the study.

    A region that is empty on the scan, or of which more than `MOST_OUTSIDE` lies beyond its field, is left out with a
    note.

    Raises:
        ImageError: a region drawn twice, or a registration that failed.
    """
    own, notes = _in_field(study, scan, boundary)
    if own:
        has_ct = any(ct.frame_hash == scan.frame_hash for ct in study.of("CT"))
        drawn = "same_frame" if has_ct else "on_image"
        return ScanMasks(own, shift_sd_mm(drawn), drawn, notes)
    donor = _donor(study, scan, boundary) if carries else None
    return ScanMasks({}, notes=notes) if donor is None else _carried(study, scan, *donor)


def shift_sd_mm(drawn: str) -> float:
    """One sd of the place of a region along each axis, by where it was drawn."""
    return next(float(row["value"]) for row in load_table("imaging", "mask_shift.csv") if row["drawn"] == drawn)


def region_masks(study_images: StudyImages, scan: ImageSeries, boundary: str = "centre") -> dict[str, Volume]:
    """Weights (0 to 1) on the scan's grid of every region drawn in its frame of reference and within its field.

    Raises:
        ImageError: a region drawn twice.
    """
    return _in_field(study_images, scan, boundary)[0]


def _in_field(study: StudyImages, scan: ImageSeries, boundary: str) -> tuple[dict[str, Volume], tuple[str, ...]]:
    """Masks by region, and what is to be said of those that the field cuts."""
    masks, notes = {}, []
    for name, shape in _drawn(study, scan):
        if name in masks:
            raise ImageError(describe("segmentation", f"{name} twice", "each region once", "leave one of them out"))
        try:
            mask = (
                contour_mask(shape, scan.volume, boundary=boundary)
                if isinstance(shape, Contour)
                else segment_mask(shape, scan.volume)
            )
        except ImageError as error:
            notes.append(f"{name} is not measured on scan {scan.series_uid_hash}: {error}")
            logger.warning(notes[-1])
            continue
        outside = outside_share(shape, scan.volume)
        if outside > NOTED_OUTSIDE:
            said = "left out" if outside > MOST_OUTSIDE else "measured without it"
            notes.append(f"{outside:.0%} of {name} lies beyond the field of scan {scan.series_uid_hash}: {said}")
        if outside <= MOST_OUTSIDE:
            masks[name] = mask
    return masks, tuple(notes)


def _drawn(study: StudyImages, scan: ImageSeries) -> list[tuple[str, Contour | Segment]]:
    """The drawn shapes of the scan's frame that name a region."""
    drawings = (*study.contour_sets, *study.segmentations)
    here = [s for s in drawings if s.frame_hash and s.frame_hash == scan.frame_hash]
    shapes = [shape for s in here for shape in (s.contours if isinstance(s, ContourSet) else s.segments)]
    named = [(name, shape) for shape in shapes if (name := region_or_none(shape.label)) is not None]
    if len(named) < len(shapes):
        unnamed = len(shapes) - len(named)
        logger.warning("%d of %d structures have no region name and are passed over", unnamed, len(shapes))
    return named


def outside_share(shape: Contour | Segment, grid: Volume) -> float:
    """Share of a drawn region beyond the grid: corners of its polygons by their area, or its voxels by weight."""
    if isinstance(shape, Contour):
        points = np.concatenate(shape.polygons)
        weights = np.concatenate([np.full(len(p), polygon_area_mm2(p) / len(p)) for p in shape.polygons])
    else:
        inside = np.argwhere(shape.mask.array > 0)
        points, weights = shape.mask.to_lps_mm(inside[:, ::-1]), shape.mask.array[tuple(inside.T)]
    index, size = grid.to_index(points), np.array(grid.array.shape[::-1])
    beyond = ((index < -0.5) | (index > size - 0.5)).any(axis=1)
    total = float(weights.sum(dtype=float))
    return float(weights[beyond].sum(dtype=float)) / total if total > 0 else 0.0


def region_or_none(label: str) -> str | None:
    """The region that a structure's label names, None where it names none."""
    try:
        return canonical_region(label)
    except InputError:
        return None


def _donor(study: StudyImages, scan: ImageSeries, boundary: str) -> tuple[ImageSeries, dict[str, Volume]] | None:
    """The image of the nearest session with drawings, emission before CT, and its masks."""
    others = [s for s in (*study.of(*EMISSION), *study.of("CT")) if s.frame_hash and s.frame_hash != scan.frame_hash]
    for donor in sorted(others, key=lambda s: (s.modality == "CT", _apart_s(s, scan))):
        masks = region_masks(study, donor, boundary)
        if masks:
            return donor, masks
    return None


def _apart_s(one: ImageSeries, other: ImageSeries) -> float:
    moments: list[datetime] = [s.reference_at for s in (one, other) if s.reference_at]
    return abs((moments[0] - moments[1]).total_seconds()) if len(moments) == 2 else float("inf")


def _carried(study: StudyImages, scan: ImageSeries, donor: ImageSeries, masks: dict[str, Volume]) -> ScanMasks:
    from imaging.registration import propagate, register_studies

    ends = [replace(study, images=(s, *_cts(study, s))) for s in (scan, donor)]
    if donor.modality == "CT":
        found = _to_ct(ends[0], scan, donor)
    else:
        has_cts = all(_cts(study, s) for s in (scan, donor))
        found = register_studies(*ends) if has_cts else register_studies(*ends, stages=("rigid",))
    carried = propagate(masks, found, scan.volume)
    lost = [name for name, region in carried.items() if region.refused or not region.mask.array.any()]
    kept = {name: region.mask for name, region in carried.items() if name not in lost}
    notes = [f"regions of scan {scan.series_uid_hash} were carried from another session: {found.by}", *found.notes]
    notes += [f"{name} left the field of scan {scan.series_uid_hash} and is not measured there" for name in lost]
    return ScanMasks(kept, shift_sd_mm("carried"), "carried", tuple(notes))


def _to_ct(study: StudyImages, scan: ImageSeries, donor: ImageSeries):
    """Registration of a scan's session to a CT with drawings."""
    from imaging.registration import register

    cts = _cts(study, scan)
    return register(cts[0], donor) if cts else register(scan, donor, stages=("rigid",))


def _cts(study: StudyImages, scan: ImageSeries) -> list[ImageSeries]:
    return [ct for ct in study.of("CT") if ct is not scan and ct.frame_hash and ct.frame_hash == scan.frame_hash]
