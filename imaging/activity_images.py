"""From stored voxels to activity: Bq/mL at the start of the scan, totals, and whether scans are on one scale."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from dose.errors import ImageError, describe
from dose.nuclides import radionuclide
from imaging.decay import factor_to_scan_start, hours_after, injection_time, nuclide_name
from imaging.geometry import Volume
from imaging.series import ImageSeries

RISE_TOLERANCE = 0.10
"""Whole-field activity corrected for decay may rise by this much between scans (calibration, field of view); in a
calibrated set it can only fall, by excretion."""


@dataclass(frozen=True)
class AdministeredActivity:
    """What was given, as the header tells it: activity at `started_at`."""

    nuclide: str
    activity_MBq: float
    started_at: datetime
    weight_kg: float | None = None
    height_m: float | None = None
    sex: str | None = None


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


def check_sets(scans, images, administration_start: datetime | None = None) -> None:
    """`check_calibrated_series` on the scans of each administration and modality."""
    sets: dict[tuple, list] = {}
    for scan, image in zip(scans, images, strict=True):
        key = (scan.modality, nuclide_name(scan), injection_time(scan, administration_start))
        sets.setdefault(key, []).append((image, hours_after(scan, administration_start)))
    for (_, nuclide, _), members in sets.items():
        check_calibrated_series([m[0] for m in members], [m[1] for m in members], nuclide)
