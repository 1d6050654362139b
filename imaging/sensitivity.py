"""Measuring a camera's sensitivity: a source of known activity, a filled phantom, or the patient's own total counts.

sensitivity = net counts / (counting time x activity at its start x share that survives on average while counting), with
the last (1 - exp(-lambda T)) / (lambda T). Errors are first order: u^2/s^2 = u(net)^2/net^2 + u(A)^2/A^2 + ... . The
internal calibration takes the patient as his own source: whole-field counts stand for what was given less what left.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from dose.errors import InputError, describe
from dose.nuclides import radionuclide
from imaging.camera_calibration import CameraCalibration


def surviving_share(half_life_h: float, duration_s: float) -> float:
    """Mean activity during a counting over that at its start: (1 - exp(-x)) / x, x = lambda T."""
    x = math.log(2) * duration_s / 3600 / half_life_h
    return -math.expm1(-x) / x if x > 0 else 1.0


def planar_sensitivity(
    *,
    counts: float,
    duration_s: float,
    activity_MBq: float,
    activity_sd_MBq: float,
    nuclide: str,
    window_keV: tuple[float, float],
    hours_since_assay: float = 0.0,
    background_counts: float = 0.0,
    background_duration_s: float | None = None,
    method: str = "planar_point",
    collimator: str = "",
    assayed_at: datetime | None = None,
) -> CameraCalibration:
    """Sensitivity from a point or vial of `activity_MBq` at its assay, counted `hours_since_assay` later.

    `background_counts` were taken over `background_duration_s` (the same time where not given).

    Raises:
        InputError: no net counts, or a time or an activity not above zero.
    """
    _check_positive(duration_s=duration_s, activity_MBq=activity_MBq, counts=counts)
    ratio = duration_s / (background_duration_s or duration_s)
    net = counts - ratio * background_counts
    net_sd = math.sqrt(counts + ratio**2 * background_counts)
    _check_positive(net_counts=net)
    activity = _mean_activity(activity_MBq, nuclide, hours_since_assay, duration_s)
    return _calibration(
        net / duration_s / activity,
        (net_sd / net,),
        activity_sd_MBq / activity_MBq,
        method=method,
        nuclide=nuclide,
        window_keV=window_keV,
        collimator=collimator,
        measured_at=_later(assayed_at, hours_since_assay),
    )


def phantom_sensitivity(
    *,
    counts: float,
    counts_sd: float,
    duration_s: float,
    activity_MBq: float,
    activity_sd_MBq: float,
    fill_volume_mL: float,
    fill_volume_sd_mL: float,
    region_volume_mL: float,
    nuclide: str,
    window_keV: tuple[float, float],
    hours_since_assay: float = 0.0,
    region_volume_sd_mL: float = 0.0,
    collimator: str = "",
    settings: dict | None = None,
    assayed_at: datetime | None = None,
) -> CameraCalibration:
    """Sensitivity from a region within an evenly filled cylinder, reconstructed in counts.

    The region holds activity x region volume / fill volume. `duration_s` is the time of all views together, and
    `counts_sd` comes from the image (`imaging.region_means`): voxels of a reconstruction are not Poisson. For a
    region that takes in the whole phantom and its blur, give it the volume of the fill, with no sd of either.

    Raises:
        InputError: a count, time, activity or volume not above zero, or a region larger than the fill.
    """
    _check_positive(
        counts=counts,
        duration_s=duration_s,
        activity_MBq=activity_MBq,
        fill_volume_mL=fill_volume_mL,
        region_volume_mL=region_volume_mL,
    )
    if region_volume_mL > fill_volume_mL * (1 + 1e-9):
        found, expected = "a region larger than the fill", "a region within it"
        raise InputError(describe("region_volume_mL", found, expected, "give the filled volume for a whole phantom"))
    activity = _mean_activity(activity_MBq, nuclide, hours_since_assay, duration_s) * region_volume_mL / fill_volume_mL
    own = (counts_sd / counts, fill_volume_sd_mL / fill_volume_mL, region_volume_sd_mL / region_volume_mL)
    return _calibration(
        counts / duration_s / activity,
        own,
        activity_sd_MBq / activity_MBq,
        method="cylinder",
        nuclide=nuclide,
        window_keV=window_keV,
        collimator=collimator,
        settings=settings,
        measured_at=_later(assayed_at, hours_since_assay),
    )


def reconstructed_sensitivity(
    *,
    total_cps: float,
    total_sd_cps: float,
    activity_MBq: float,
    activity_sd_MBq: float,
    nuclide: str,
    window_keV: tuple[float, float],
    hours_since_assay: float = 0.0,
    collimator: str = "",
    settings: dict | None = None,
    assayed_at: datetime | None = None,
) -> CameraCalibration:
    """Sensitivity from the whole of a phantom reconstructed by `imaging.reconstruct` with `cps_per_MBq=1`.

    That image's MBq are counts per second of one head at the start of the scan: `total_cps` is the sum of its Bq/mL
    times voxel volume / 1e6 (`reconstruct_regions` gives it with its sd). Decay while counting is in it already, so it
    is divided by the activity at the start of the scan, `hours_since_assay` after the assay.

    Raises:
        InputError: a total or an activity not above zero.
    """
    _check_positive(total_cps=total_cps, activity_MBq=activity_MBq)
    activity = _mean_activity(activity_MBq, nuclide, hours_since_assay, 0.0)
    return _calibration(
        total_cps / activity,
        (total_sd_cps / total_cps,),
        activity_sd_MBq / activity_MBq,
        method="cylinder",
        nuclide=nuclide,
        window_keV=window_keV,
        collimator=collimator,
        settings=settings,
        measured_at=_later(assayed_at, hours_since_assay),
    )


def internal_calibration(
    *,
    counts: float,
    counts_sd: float,
    duration_s: float,
    administered_MBq: float,
    administered_sd_MBq: float,
    hours_after: float,
    nuclide: str,
    window_keV: tuple[float, float],
    excreted_share: float = 0.0,
    excreted_share_sd: float = 0.0,
    field_share: float = 1.0,
    field_share_sd: float = 0.0,
    collimator: str = "",
    settings: dict | None = None,
    administered_at: datetime | None = None,
) -> CameraCalibration:
    """Sensitivity from the whole field's counts of a patient whose activity is known.

    Activity in the field is administered x exp(-lambda t) x (1 - excreted share) x share of the body in the field. A
    calibration of this kind makes the patient's own excretion invisible; it serves where no phantom was measured.

    Raises:
        InputError: a count, time or activity not above zero, or a share that leaves nothing or is none.
    """
    _check_positive(counts=counts, duration_s=duration_s, administered_MBq=administered_MBq)
    kept = 1 - excreted_share
    if not (0 < kept <= 1 and 0 < field_share <= 1 and hours_after >= 0):
        found = f"excreted share {excreted_share:g}, field share {field_share:g}, {hours_after:g} h"
        raise InputError(describe("internal calibration", found, "shares of 0 to 1, a time of 0 or more", "correct it"))
    activity = _mean_activity(administered_MBq, nuclide, hours_after, duration_s) * kept * field_share
    return _calibration(
        counts / duration_s / activity,
        (counts_sd / counts, excreted_share_sd / kept, field_share_sd / field_share),
        administered_sd_MBq / administered_MBq,
        method="internal",
        nuclide=nuclide,
        window_keV=window_keV,
        collimator=collimator,
        settings=settings,
        measured_at=_later(administered_at, hours_after),
    )


def _calibration(sensitivity: float, own: tuple[float, ...], meter: float, **words) -> CameraCalibration:
    sd = sensitivity * math.hypot(meter, *own)
    return CameraCalibration(sensitivity, sd, meter_relative_sd=meter, **words)


def _mean_activity(activity_MBq: float, nuclide: str, hours: float, duration_s: float) -> float:
    """Mean activity over a counting that starts `hours` after the assay; the assay may be the later one."""
    half_life_h = radionuclide(nuclide).half_life_h
    return activity_MBq * 2 ** (-hours / half_life_h) * surviving_share(half_life_h, duration_s)


def _later(moment: datetime | None, hours: float) -> datetime | None:
    return None if moment is None else moment + timedelta(hours=hours)


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise InputError(describe(name, f"{value:g}", "a finite value above zero", "correct the measurement"))
