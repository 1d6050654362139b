"""The scans of one administration on one grid: the reference chosen, the others registered to it where frames differ.

Registration is rigid, which moves no volumes and keeps concentrations; CT to CT where both sessions have one. What a
later scan did not see is NaN, not empty. Every moved scan is reported: how well it fits, and its activity before, after
and by region.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from dose.errors import InputError, describe
from dose.nuclides import radionuclide
from imaging.activity_images import activity_image, check_sets
from imaging.decay import hours_after
from imaging.geometry import Volume
from imaging.quantify import static
from imaging.region_masks import ScanMasks, masks_of, region_masks, shift_sd_mm
from imaging.series import ImageSeries, StudyImages
from twin.dicom_study import injections_of
from twin.dose_maps_grid import averaged
from twin.image_study import ImageStudy

BQ_PER_MBQ = 1e6
SEEN = 0.99
"""Share of a voxel that a moved scan must have seen: interpolation at the rim of its field mixes in nothing."""


@dataclass(frozen=True)
class Moved:
    """How one scan came to the grid of the reference. `regions` maps a name to MBq by the scan's own drawing, and under
    the reference's after the move."""

    series: str
    time_h: float
    by: str
    before_MBq: float
    after_MBq: float
    seen_share: float
    regions: dict[str, tuple[float, float]]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class AlignedScans:
    """`activity_MBq_mL` [scan, z, y, x] present at `time_h` after the start of the administration, on `grid`.

    `drawn` holds the regions on the reference scan's own voxels. `administered_MBq` is None where nobody tells.
    """

    reference: ImageSeries
    scans: tuple[ImageSeries, ...]
    time_h: np.ndarray
    activity_MBq_mL: np.ndarray
    grid: Volume
    drawn: ScanMasks
    shift_sd_mm: tuple[float, ...]
    moved: tuple[Moved, ...]
    nuclide: str
    started_at: datetime
    administered_MBq: float | None


def scans_of(study: ImageStudy, nuclide: str | None, injection: int | None):
    """(nuclide, start, scans) of the one injection to be mapped.

    Raises:
        InputError: several injections and no choice, or a choice that is none of them.
    """
    found = injections_of(study.images, study.file)
    wanted = [i for i in found if nuclide is None or i[0] == radionuclide(nuclide).name]
    if injection is not None and 1 <= injection <= len(wanted):
        return wanted[injection - 1]
    if injection is not None or len(wanted) != 1:
        listed = ", ".join(f"{k}: {name} with {len(scans)} scans" for k, (name, _, scans) in enumerate(wanted, 1))
        do = "choose one with --injection, in order of time, or its nuclide with --tracer"
        raise InputError(describe("injections in the images", listed or "none of this nuclide", "one", do))
    return wanted[0]


def aligned(study: ImageStudy, injection, voxel_mm: float) -> AlignedScans:
    """The scans of `injection` (of `scans_of`) on a grid of `voxel_mm`.

    Raises:
        ImageError: scans that are not on one scale, a registration that failed, an empty region.
    """
    nuclide, start, members = injection
    scans = tuple(sorted(static(tuple(members)), key=lambda s: hours_after(s, start)))
    images, boundary = [activity_image(scan) for scan in scans], study.file.imaging.boundary
    check_sets(scans, images, start)
    reference = _reference(study.images, scans)
    drawn = masks_of(study.images, reference, boundary, carries=study.file.imaging.carries)
    kept, moved, shifts = [], [], []
    for scan, image in zip(scans, images, strict=True):
        is_same = scan is reference or (scan.frame_hash and scan.frame_hash == reference.frame_hash)
        on_grid, told = _same(image, reference) if is_same else _moved(study, scan, image, reference, drawn, start)
        kept.append(_coarse(on_grid, reference.volume, voxel_mm))
        moved += [told] if told else []
        shifts.append(0.0 if is_same else shift_sd_mm("carried"))
    grid = averaged(reference.volume.with_array(np.zeros_like(reference.volume.array)), voxel_mm)
    return AlignedScans(
        reference=reference,
        scans=scans,
        time_h=np.array([hours_after(scan, start) for scan in scans]),
        activity_MBq_mL=np.stack(kept) / BQ_PER_MBQ,
        grid=grid,
        drawn=drawn,
        shift_sd_mm=tuple(shifts),
        moved=tuple(moved),
        nuclide=nuclide,
        started_at=start,
        administered_MBq=_administered(study, scans),
    )


def _administered(study: ImageStudy, scans) -> float | None:
    stated = [s.radiopharmaceutical.administered_MBq for s in scans if s.radiopharmaceutical.administered_MBq]
    entries = [entry.activity_MBq for entry in study.file.administrations if entry.activity_MBq]
    return entries[0] if len(study.file.administrations) == 1 and entries else next(iter(stated), None)


def _reference(images: StudyImages, scans) -> ImageSeries:
    """The scan with regions of its own, of these one with a CT in its frame, of these the first."""

    def lacks(scan) -> tuple[bool, bool, float]:
        frames = {s.frame_hash for s in (*images.contour_sets, *images.segmentations)}
        has_ct = any(ct.frame_hash == scan.frame_hash for ct in images.of("CT") if ct.frame_hash)
        return scan.frame_hash not in frames, not has_ct, hours_after(scan, scans_start(scan))

    return min(scans, key=lacks)


def scans_start(scan: ImageSeries) -> datetime | None:
    """The header's own start: scans of one injection compare by it alike."""
    return scan.radiopharmaceutical.started_at


def _same(image: Volume, reference: ImageSeries):
    """A scan in the reference's frame; NaN beyond its field."""
    if image.is_on_grid_of(reference.volume):
        return image.array, None
    seen = image.with_array(np.ones_like(image.array)).resampled_onto(reference.volume).array
    return np.where(seen > SEEN, image.resampled_onto(reference.volume).array, np.nan), None


def _moved(study: ImageStudy, scan, image: Volume, reference, drawn: ScanMasks, start):
    from imaging.registration import register_studies, resample

    ends = [replace(study.images, images=(s, *_cts(study.images, s))) for s in (reference, scan)]
    found = register_studies(*ends, stages=("rigid",))
    transform, target = found.required(), reference.volume
    values = resample(image, transform, target).array
    seen = resample(image.with_array(np.ones_like(image.array)), transform, target).array > SEEN
    own = region_masks(study.images, scan, study.file.imaging.boundary)
    both = {
        name: (_MBq(image, own[name]), _MBq(target.with_array(values), mask))
        for name, mask in drawn.masks.items()
        if name in own
    }
    told = Moved(
        series=scan.series_uid_hash,
        time_h=hours_after(scan, start),
        by=found.by,
        before_MBq=_MBq(image),
        after_MBq=_MBq(target.with_array(values)),
        seen_share=float(seen.mean()),
        regions=both,
        notes=found.notes,
    )
    return np.where(seen, values, np.nan), told


def _cts(images: StudyImages, scan: ImageSeries) -> list[ImageSeries]:
    return [ct for ct in images.of("CT") if ct.frame_hash and ct.frame_hash == scan.frame_hash]


def _MBq(image: Volume, mask: Volume | None = None) -> float:
    values = image.array if mask is None else image.array * mask.array
    return float(values.sum(dtype=float)) * image.voxel_mL / BQ_PER_MBQ


def _coarse(values: np.ndarray, reference: Volume, voxel_mm: float) -> np.ndarray:
    """Means of new voxels; NaN where the scan did not see one whole."""
    seen = np.isfinite(values)
    mean = averaged(reference.with_array(np.where(seen, values, 0.0)), voxel_mm).array
    if seen.all():
        return mean
    whole = averaged(reference.with_array(np.ones_like(values)), voxel_mm).array
    share = averaged(reference.with_array(seen), voxel_mm).array / np.maximum(whole, 1e-9)
    return np.where(share > SEEN, mean, np.nan)
