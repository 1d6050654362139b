"""From a study to observations: the activity of each region at the start of each scan, with its uncertainty budget.

This is the crossing from images to numbers: units, decay, partial volume and finiteness are settled here. Activities
are those present at the start of the acquisition. Scanning takes minutes and kinetics go over hours: for a 25 min
177Lu frame, start and middle differ by 0.1% of decay.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np

from dose.errors import ImageError, InputError, describe
from imaging.activity_images import activity_image, check_sets
from imaging.camera_calibration import CameraCalibration, check_applies
from imaging.decay import factor_to_scan_start, hours_after, injection_time, nuclide_name
from imaging.geometry import Volume
from imaging.point_spread import GaussianSpread
from imaging.recovery import Measurement, corrected_means, measurement, transfer_matrix
from imaging.recovery_fit import RecoveryCurve
from imaging.region_masks import EMISSION, ScanMasks, masks_of
from imaging.scan_budget import ScanBudget, contour_parts, counts_cv, recovery_cv, registration_cv
from imaging.series import ImageSeries, StudyImages
from imaging.volume_correction import iterative_yang, weighted_means, with_rest

logger = logging.getLogger(__name__)

RECOVERIES = ("auto", "none", "geometric_transfer", "iterative_yang", "curve")


@dataclass(frozen=True)
class ImagingChain:
    """How a site turns images into activities; the defaults ask nothing of it.

    Attributes:
        recovery: "geometric_transfer" or "iterative_yang" correct partial volume with the FWHM of `measurements` or of
            the header, "curve" by the site's recovery curve, "none" leaves it; "auto" takes the transfer matrix where
            the header (SpatialResolution) or `measurements` state the resolution.
        measurements: by modality, in place of `data/measurement.csv`.
        calibrations: by modality; its sd takes the place of the table's.
        curves: recovery curves by modality.
        counts_cv: relative sd of each region's total from counting, as a function of the scan and its masks by region,
            such as a reconstruction's own (`imaging.reconstructed`); without it, where it says None, and for regions
            that it leaves out, that of 1 mL over the root of the volume.
        boundary: which voxels on a contour's line count (`contours.contour_mask`).
        carries: scans without drawings take those of another session by registration.
        check_totals: refuse a set of scans that is not on one scale.
    """

    recovery: str = "auto"
    measurements: Mapping[str, Measurement] = field(default_factory=dict)
    calibrations: Mapping[str, CameraCalibration] = field(default_factory=dict)
    curves: Mapping[str, RecoveryCurve] = field(default_factory=dict)
    counts_cv: Callable[[ImageSeries, Mapping[str, Volume]], Mapping[str, float] | None] | None = None
    boundary: str = "centre"
    carries: bool = True
    check_totals: bool = True

    def __post_init__(self):
        if self.recovery not in RECOVERIES:
            raise InputError(describe("recovery", f'"{self.recovery}"', f"one of {RECOVERIES}", "choose one"))
        if self.recovery == "curve" and not self.curves:
            raise InputError(describe("recovery", '"curve" without a curve', "curves by modality", "give the curve"))


DEFAULT_CHAIN = ImagingChain()


@dataclass(frozen=True)
class RegionActivity:
    """Activity of one region at the start of one scan, `time_h` after `administered_at`.

    `budget` holds the relative sd of each source. `decay_factor_undone` multiplied the stored voxels (mean over
    slices); `recovery` is "none", "geometric_transfer", "iterative_yang" or "curve"; `drawn` says where the region was
    drawn (a row of `data/mask_shift.csv`).
    """

    region: str
    time_h: float
    activity_MBq: float
    budget: ScanBudget
    volume_mL: float
    modality: str
    series_uid_hash: str
    decay_factor_undone: float
    nuclide: str
    administered_at: datetime
    recovery: str
    drawn: str
    notes: tuple[str, ...] = ()

    @property
    def sd_MBq(self) -> float:
        """All errors."""
        return self.budget.total * self.activity_MBq

    @property
    def own_sd_MBq(self) -> float:
        """Errors that other scans do not share."""
        return self.budget.own * self.activity_MBq


def region_activities(
    study_images: StudyImages,
    administration_start: datetime | None = None,
    chain: ImagingChain = DEFAULT_CHAIN,
    *,
    scans: tuple[ImageSeries, ...] | None = None,
) -> list[RegionActivity]:
    """Activities of all segmented regions in all PET and SPECT series, or in `scans` of them, in order of time.

    Segments whose label is no region, and regions without activity above zero in a scan, are passed over with a log
    line.

    Raises:
        ImageError: no PET or SPECT, no region on any image, an empty one, times missing or impossible, a set of scans
            that is not on one scale, or a registration that failed.
    """
    scans = static(study_images.of(*EMISSION) if scans is None else scans)
    if not scans:
        raise ImageError(
            describe("study", "no static PET or SPECT", "at least one calibrated scan", "check the folder")
        )
    images = [activity_image(scan) for scan in scans]
    if chain.check_totals:
        check_sets(scans, images, administration_start)
    found, matrices, notes = [], {}, []
    for scan, image in zip(scans, images, strict=True):
        drawn = masks_of(study_images, scan, chain.boundary, carries=chain.carries)
        notes += drawn.notes
        found += _of_scan(scan, image, drawn, chain, administration_start, matrices) if drawn.masks else []
    if not found:
        do = "add an RTSTRUCT or SEG in the frame of reference of the scans, with region names of dose.regions"
        said = "; ".join(("no region on any PET or SPECT", *notes))
        raise ImageError(describe("study", said, "one or more", do))
    return found


def static(scans: tuple[ImageSeries, ...]) -> tuple[ImageSeries, ...]:
    """The scans without the frames of dynamic ones, which are for `imaging.parametric`."""
    dynamic = {scan.series_uid_hash for scan in scans if scan.frame > 0}
    if dynamic:
        logger.warning("%d dynamic series give no observations: see imaging.parametric", len(dynamic))
    return tuple(scan for scan in scans if scan.series_uid_hash not in dynamic)


def measured_as(scan: ImageSeries, chain: ImagingChain) -> tuple[Measurement, str]:
    """The measurement model of a scan, and how its partial volume is corrected."""
    how = chain.measurements.get(scan.modality) or measurement(scan.modality)
    if scan.modality not in chain.measurements and scan.resolution_mm:
        how = replace(how, fwhm_mm=scan.resolution_mm)
    if scan.modality in chain.calibrations:
        known = chain.calibrations[scan.modality]
        check_applies(known, nuclide=nuclide_name(scan))
        how = replace(how, calibration_cv=known.relative_sd)
    if chain.recovery == "curve" and scan.modality not in chain.curves:
        return how, "none"
    if chain.recovery != "auto":
        return how, chain.recovery
    is_known = scan.modality in chain.measurements or scan.resolution_mm is not None
    return how, "geometric_transfer" if is_known else "none"


def _of_scan(scan, image, drawn: ScanMasks, chain: ImagingChain, start, matrices) -> list[RegionActivity]:
    how, recovery = measured_as(scan, chain)
    means = _means(scan, image, drawn.masks, how, recovery, chain, matrices)
    factor = float(factor_to_scan_start(scan).mean())
    hour, records = hours_after(scan, start), []
    counting = (chain.counts_cv(scan, drawn.masks) if chain.counts_cv else None) or {}
    for (name, mask), mean in zip(drawn.masks.items(), means, strict=False):
        volume_mL = float(mask.array.sum(dtype=float)) * mask.voxel_mL
        activity = float(mean) * volume_mL / 1e6
        if not (math.isfinite(activity) and activity > 0):
            logger.warning("the %s at %.1f h shows no activity above zero in %s: left out", scan.modality, hour, name)
            continue
        records.append(
            RegionActivity(
                region=name,
                time_h=hour,
                activity_MBq=activity,
                budget=_budget(scan, image, name, mask, volume_mL, drawn, how, recovery, chain, counting),
                volume_mL=volume_mL,
                modality=scan.modality,
                series_uid_hash=scan.series_uid_hash,
                decay_factor_undone=factor,
                nuclide=nuclide_name(scan),
                administered_at=injection_time(scan, start),
                recovery=recovery,
                drawn=drawn.drawn,
                notes=drawn.notes,
            )
        )
    return records


def _budget(scan, image, name, mask, volume_mL, drawn: ScanMasks, how, recovery: str, chain, counting) -> ScanBudget:
    counts = counting.get(name, counts_cv(volume_mL, how))
    contour, volume = contour_parts(volume_mL, image, how)
    lost = recovery_cv(volume_mL, how, is_recovered=recovery != "none")
    if recovery == "curve":
        curve = chain.curves[scan.modality]
        lost = float(curve.sd(volume_mL) / curve.at(volume_mL))
    moved = registration_cv(image, mask, drawn.shift_sd_mm)
    return ScanBudget(counts, how.calibration_cv, lost, contour, moved, volume)


def _means(scan, image: Volume, masks, how: Measurement, recovery: str, chain, matrices: dict) -> np.ndarray:
    """Mean of each region in Bq/mL after the correction of partial volume."""
    if recovery in ("none", "curve"):
        plain = weighted_means(image.array, [mask.array for mask in masks.values()])
        volumes = np.array([float(m.array.sum(dtype=float)) * m.voxel_mL for m in masks.values()])
        return plain if recovery == "none" else plain / chain.curves[scan.modality].at(volumes)
    _, weights = with_rest(image, masks)
    key = (scan.frame_hash, tuple(masks), image.array.shape, image.affine.tobytes(), how.fwhm_mm)
    if key not in matrices:
        matrices[key] = transfer_matrix(weights, image.spacing_mm, how.fwhm_mm)
    means = corrected_means(matrices[key], weighted_means(image.array, weights))
    if recovery == "geometric_transfer":
        return means
    blur = GaussianSpread(image.spacing_mm, how.fwhm_mm)
    return iterative_yang(image.array.astype(float), weights, blur, means)[1]
