"""Image to observations: the activity of each region at the start of each scan, with its standard deviation.

This is the crossing from images to numbers: units, decay, partial volume and finiteness are settled here. Activities
are those present at the start of the acquisition. Scanning takes minutes and kinetics go over hours: for a 25 min
177Lu frame, start and middle differ by 0.1% of decay.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

import numpy as np

from dose.errors import ImageError, InputError, describe
from dose.nuclides import radionuclide
from dose.regions import region as canonical_region
from imaging.contours import contour_mask, segment_mask
from imaging.decay import factor_to_scan_start, hours_after, injection_time, nuclide_name
from imaging.geometry import Volume
from imaging.recovery import Measurement, corrected_means, measurement, relative_sd, transfer_matrix
from imaging.series import ContourSet, ImageSeries, Segmentation, StudyImages

logger = logging.getLogger(__name__)

RISE_TOLERANCE = 0.10
"""Whole-field activity corrected for decay may rise by this much between scans (calibration, field of view); in a
calibrated set it can only fall, by excretion."""

DISJOINT_SHARE = 0.02
"""Segments that share more than this part of the smaller one are not solved for together."""


@dataclass(frozen=True)
class AdministeredActivity:
    """What was given, as the header tells it: activity at `started_at`."""

    nuclide: str
    activity_MBq: float
    started_at: datetime
    weight_kg: float | None = None
    height_m: float | None = None
    sex: str | None = None


@dataclass(frozen=True)
class RegionActivity:
    """Activity of one region at the start of one scan, `time_h` after `administered_at`.

    `sd_MBq` holds all errors, `own_sd_MBq` those that other scans do not share (no calibration, no contour).
    `decay_factor_undone` multiplied the stored voxels (mean over slices); `recovery` is "none" or
    "geometric_transfer".
    """

    region: str
    time_h: float
    activity_MBq: float
    sd_MBq: float
    own_sd_MBq: float
    volume_mL: float
    modality: str
    series_uid_hash: str
    decay_factor_undone: float
    nuclide: str
    administered_at: datetime
    recovery: str


def administered_activity(series: ImageSeries, administration_start: datetime | None = None) -> AdministeredActivity:
    """The administration that a PET or SPECT header describes.

    Raises:
        ImageError: activity, nuclide or time missing.
    """
    amount = series.radiopharmaceutical.administered_MBq
    if amount is None:
        where = f"series {series.series_uid_hash}, RadionuclideTotalDose"
        raise ImageError(describe(where, "nothing", "the administered activity in Bq", "give it by hand"))
    start = injection_time(series, administration_start)
    return AdministeredActivity(nuclide_name(series), amount, start, series.weight_kg, series.height_m, series.sex)


def activity_image(series: ImageSeries) -> Volume:
    """Bq/mL present at the start of the acquisition.

    Raises:
        ImageError: not in Bq/mL, or its decay correction cannot be undone.
    """
    if series.unit != "Bq/mL":
        where = f"series {series.series_uid_hash}"
        raise ImageError(describe(where, f'unit "{series.unit}"', "Bq/mL", "give a calibrated PET or SPECT"))
    factor = factor_to_scan_start(series).astype(np.float32)
    return series.volume.with_array(series.volume.array * factor[:, None, None])


def total_MBq(volume: Volume) -> float:
    """Activity of the whole field from an image in Bq/mL."""
    return float(volume.array.sum(dtype=float)) * volume.voxel_mL / 1e6


def check_calibrated_series(volumes, times_h, nuclide: str) -> None:
    """Refuse images of one administration as a dose source where they cannot be on one activity scale.

    `volumes` hold activity as measured (not corrected for decay) at `times_h` after the administration.

    Raises:
        ImageError: whole-field activity corrected for decay rises by more than `RISE_TOLERANCE` after any scan.
    """
    order = np.argsort(times_h)
    times = np.asarray(times_h, dtype=float)[order]
    totals = np.array([float(volumes[k].array.sum(dtype=float)) * volumes[k].voxel_mL for k in order])
    corrected = totals * np.exp(radionuclide(nuclide).decay_constant_per_h * times)
    rises = corrected / np.minimum.accumulate(corrected)
    worst = int(np.argmax(rises))
    if not np.all(corrected > 0) or rises[worst] > 1 + RISE_TOLERANCE:
        rise = f"{rises[worst]:.2f}-fold up to {times[worst]:g} h"
        found = f"whole-field activity that rises after correction for decay ({rise})"
        expected = "activity that only falls after an administration, if all scans are on one scale in Bq/mL"
        do = "calibrate each scan (Bq/mL per count), or check units, times and field of view; no dose comes from these"
        raise ImageError(describe("image set", found, expected, do))


def region_activities(
    study_images: StudyImages,
    administration_start: datetime | None = None,
    *,
    recovery: str = "auto",
    measurements: dict[str, Measurement] | None = None,
    check_totals: bool = True,
    boundary: str = "centre",
) -> list[RegionActivity]:
    """Activities of all segmented regions in all PET and SPECT series, in order of time.

    Masks go with images of the same frame of reference. `recovery`: "geometric_transfer" corrects partial volume with
    the FWHM of `measurements` (by modality) or of the header; "none" leaves it; "auto" corrects where the header
    (SpatialResolution) or `measurements` state the resolution. Segments whose label is no region, and regions without
    activity above zero in a scan, are passed over with a log line. `boundary` says which voxels on a contour's line
    count (`contours.contour_mask`).

    Raises:
        ImageError: no PET or SPECT, no region on any image, an empty one, times missing or impossible, or a set of
            scans that is not on one scale (`check_totals=False` lets that pass).
    """
    scans = study_images.of("PET", "SPECT")
    if not scans:
        raise ImageError(describe("study", "no PET or SPECT", "at least one calibrated scan", "check the folder"))
    images = [activity_image(scan) for scan in scans]
    if check_totals:
        _check_sets(scans, images, administration_start)
    found, matrices = [], {}
    for scan, image in zip(scans, images, strict=True):
        masks = region_masks(study_images, scan, boundary)
        how, corrects = _how(scan, recovery, measurements or {})
        found += _activities(scan, image, masks, how, corrects, administration_start, matrices)
    if not found:
        do = "add an RTSTRUCT or SEG in the frame of reference of the scans, with region names of dose.regions"
        raise ImageError(describe("study", "no region on any PET or SPECT", "one or more", do))
    return found


def _check_sets(scans, images, administration_start) -> None:
    """`check_calibrated_series` on the scans of each administration and modality."""
    sets: dict[tuple, list] = {}
    for scan, image in zip(scans, images, strict=True):
        key = (scan.modality, nuclide_name(scan), injection_time(scan, administration_start))
        sets.setdefault(key, []).append((image, hours_after(scan, administration_start)))
    for (_, nuclide, _), members in sets.items():
        check_calibrated_series([m[0] for m in members], [m[1] for m in members], nuclide)


def region_masks(study_images: StudyImages, scan: ImageSeries, boundary: str = "centre") -> dict[str, Volume]:
    """Weights (0 to 1) on the scan's grid of every region drawn in its frame of reference.

    Raises:
        ImageError: an empty region, or one drawn twice.
    """
    drawings = (*study_images.contour_sets, *study_images.segmentations)
    here = [s for s in drawings if s.frame_hash and s.frame_hash == scan.frame_hash]
    on_grid = partial(contour_mask, boundary=boundary)
    drawn = [(c.label, on_grid, c) for s in here if isinstance(s, ContourSet) for c in s.contours]
    drawn += [(c.label, segment_mask, c) for s in here if isinstance(s, Segmentation) for c in s.segments]
    masks: dict[str, Volume] = {}
    for label, reader, shape in drawn:
        name = _region_or_none(label)
        if name in masks:
            raise ImageError(describe("segmentation", f"{name} twice", "each region once", "leave one of them out"))
        if name is not None:
            masks[name] = reader(shape, scan.volume)
    if len(masks) < len(drawn):
        unnamed = len(drawn) - len(masks)
        logger.warning("%d of %d structures have no region name and are passed over", unnamed, len(drawn))
    return masks


def _region_or_none(label: str) -> str | None:
    try:
        return canonical_region(label)
    except InputError:
        return None


def _how(scan: ImageSeries, recovery: str, given: dict[str, Measurement]) -> tuple[Measurement, bool]:
    """The measurement model of a scan and whether its partial volume is to be corrected."""
    if recovery not in ("auto", "none", "geometric_transfer"):
        raise InputError(describe("recovery", f'"{recovery}"', "auto, none or geometric_transfer", "choose one"))
    how = given.get(scan.modality) or measurement(scan.modality)
    if scan.modality not in given and scan.resolution_mm:
        how = replace(how, fwhm_mm=scan.resolution_mm)
    is_known = scan.modality in given or scan.resolution_mm is not None
    return how, recovery == "geometric_transfer" or (recovery == "auto" and is_known)


def _activities(scan, image, masks, how, corrects, administration_start, matrices) -> list[RegionActivity]:
    if not masks:
        return []
    means = _means(scan, image, masks, how, matrices) if corrects else _plain_means(image, list(masks.values()))
    factor = float(factor_to_scan_start(scan).mean())
    records = []
    for (name, mask), mean in zip(masks.items(), means, strict=False):
        volume_mL = float(mask.array.sum(dtype=float)) * mask.voxel_mL
        activity = float(mean) * volume_mL / 1e6
        if not (math.isfinite(activity) and activity > 0):
            hour = hours_after(scan, administration_start)
            logger.warning("the %s at %.1f h shows no activity above zero in %s: left out", scan.modality, hour, name)
            continue
        total, own = (
            relative_sd(volume_mL, image, how, is_recovered=corrects, is_scan_alone=alone) for alone in (False, True)
        )
        records.append(
            RegionActivity(
                region=name,
                time_h=hours_after(scan, administration_start),
                activity_MBq=activity,
                sd_MBq=total * activity,
                own_sd_MBq=own * activity,
                volume_mL=volume_mL,
                modality=scan.modality,
                series_uid_hash=scan.series_uid_hash,
                decay_factor_undone=factor,
                nuclide=nuclide_name(scan),
                administered_at=injection_time(scan, administration_start),
                recovery="geometric_transfer" if corrects else "none",
            )
        )
    return records


def _plain_means(image: Volume, masks: list[Volume]) -> np.ndarray:
    values = image.array
    return np.array([float(np.vdot(m.array, values)) / float(m.array.sum(dtype=float)) for m in masks])


def _means(scan: ImageSeries, image: Volume, masks: dict[str, Volume], how: Measurement, matrices: dict) -> np.ndarray:
    """Means after the transfer matrix; whatever is in no region takes part as one more, `rest`."""
    _check_disjoint(masks)
    rest = image.with_array(np.clip(1 - sum(m.array for m in masks.values()), 0, 1))
    volumes = [*masks.values(), rest] if rest.array.any() else list(masks.values())
    key = (scan.frame_hash, tuple(masks), image.array.shape, image.affine.tobytes(), how.fwhm_mm)
    if key not in matrices:
        matrices[key] = transfer_matrix([v.array for v in volumes], image.spacing_mm, how.fwhm_mm)
    return corrected_means(matrices[key], _plain_means(image, volumes))


def _check_disjoint(masks: dict[str, Volume]) -> None:
    total = sum(m.array for m in masks.values())
    for name, mask in masks.items():
        weight = mask.array
        shared = float((weight * (total - weight)).sum(dtype=float)) / float(weight.sum(dtype=float))
        if shared > DISJOINT_SHARE:
            found = f"{shared:.0%} of {name} in other regions too"
            do = "give regions that do not overlap, or pass recovery='none'"
            raise ImageError(describe("segmentation", found, "separate regions for partial volume correction", do))
