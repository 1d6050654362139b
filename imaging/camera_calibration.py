"""What turns counts into activity: a camera's sensitivity in counts/s per MBq, its sd, and what it was measured with.

DICOM holds no calibration that one may trust, so this is a record of our own (files: `imaging.site_files`). One number
serves planar views and reconstructed images: a voxel's Bq/mL per count is 1e6 / (sensitivity x counting time x voxel
volume). It holds for one nuclide, window, collimator and reconstruction, which `check_applies` compares.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from dose.errors import ImageError, InputError, describe
from imaging.geometry import Volume

logger = logging.getLogger(__name__)

SAME_BOUND_keV = 0.5
"""Bounds of a window that differ by no more than this are one: headers round them."""

METHODS = ("planar_point", "planar_vial", "cylinder", "internal", "combined")
"""A point or a vial seen by the planar camera, a filled cylinder, a patient's own counts, or a mean of several."""


@dataclass(frozen=True)
class CameraCalibration:
    """Sensitivity in counts/s per MBq with its standard deviation.

    Attributes:
        sd_cps_per_MBq: all errors, the activity meter's too.
        meter_relative_sd: the part that all calibrations with this activity meter share.
        window_keV: bounds of the photopeak window.
        settings: of the reconstruction, by name; empty for planar work.
        measured_at: when the counts were taken, to which the source's activity was decayed.

    Raises:
        InputError: sensitivity not above zero, sd negative, below the meter's part, or an unknown method.
    """

    sensitivity_cps_per_MBq: float
    sd_cps_per_MBq: float
    method: str
    nuclide: str
    window_keV: tuple[float, float]
    collimator: str = ""
    settings: Mapping[str, str | float | int | bool] | None = None
    meter_relative_sd: float = 0.0
    measured_at: datetime | None = None

    def __post_init__(self):
        object.__setattr__(self, "settings", dict(self.settings or {}))
        good = 0 < self.sensitivity_cps_per_MBq < math.inf and 0 <= self.sd_cps_per_MBq < math.inf
        if not good or self.method not in METHODS:
            found = f"{self.sensitivity_cps_per_MBq:g} +- {self.sd_cps_per_MBq:g} by {self.method}"
            expected = f"a sensitivity above zero, a finite sd, a method of {METHODS}"
            raise InputError(describe("camera calibration", found, expected, "correct the calibration"))
        if not 0 <= self.meter_relative_sd <= self.relative_sd * (1 + 1e-9):
            found, expected = f"{self.meter_relative_sd:g}", "a part of the whole relative sd"
            raise InputError(describe("calibration meter_relative_sd", found, expected, "give the whole sd"))

    @property
    def relative_sd(self) -> float:
        return self.sd_cps_per_MBq / self.sensitivity_cps_per_MBq

    @property
    def fingerprint(self) -> str:
        """Twelve digits that change with any reconstruction setting."""
        return reconstruction_fingerprint(self.settings or {})

    def Bq_per_mL_per_count(self, duration_s: float, voxel_mL: float) -> float:
        """What multiplies a voxel's counts of a scan whose views lasted `duration_s` together."""
        return 1e6 / (self.sensitivity_cps_per_MBq * duration_s * voxel_mL)

    def apply(self, counts: Volume, duration_s: float) -> Volume:
        """A reconstruction in counts as Bq/mL, a mean over the scan: not corrected for decay."""
        return counts.with_array(counts.array * np.float32(self.Bq_per_mL_per_count(duration_s, counts.voxel_mL)))


def sensitivity_of_factor(Bq_per_mL_per_count: float, duration_s: float, voxel_mL: float) -> float:
    """counts/s per MBq of a site's factor that was made for this duration and voxel size."""
    return 1e6 / (Bq_per_mL_per_count * duration_s * voxel_mL)


def reconstruction_fingerprint(settings: Mapping[str, str | float | int | bool]) -> str:
    """Twelve hex digits of the settings, in any order, "" for none."""
    if not settings:
        return ""
    text = json.dumps({k: settings[k] for k in sorted(settings)}, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def check_applies(
    calibration: CameraCalibration,
    *,
    nuclide: str,
    settings: Mapping | None = None,
    collimator: str = "",
    window_keV: tuple[float, float] | None = None,
    is_difference_refused: bool = True,
) -> list[str]:
    """Names of what differs between the calibration and a scan: nuclide, collimator, window_keV, settings by name.

    What is not given (collimator "", window or settings None) is not compared; bounds of a window may differ by 0.5
    keV. Another nuclide is always refused;
    other differences only warn where `is_difference_refused` is False.

    Raises:
        ImageError: something differs.
    """
    differing = [] if nuclide == calibration.nuclide else ["nuclide"]
    if collimator and collimator != calibration.collimator:
        differing.append("collimator")
    if window_keV is not None and not np.allclose(window_keV, calibration.window_keV, rtol=0, atol=SAME_BOUND_keV):
        differing.append("window_keV")
    if settings is not None:
        own = calibration.settings or {}
        names = sorted({*own, *settings})
        differing += [name for name in names if own.get(name) != settings.get(name)]
    if differing and (is_difference_refused or "nuclide" in differing):
        found, expected = f"another {', '.join(differing)}", "what the camera was calibrated with"
        do = "calibrate for these settings, or pass is_difference_refused=False to go on with a warning"
        raise ImageError(describe("camera calibration", found, expected, do))
    if differing:
        logger.warning("the camera was calibrated with another %s", ", ".join(differing))
    return differing


@dataclass(frozen=True)
class CombinedCalibration:
    """The weighted mean, how well the single ones agree (chi2 of n - 1), and the Birge ratio sqrt(chi2 / (n - 1))."""

    calibration: CameraCalibration
    chi2: float
    dof: int
    birge_ratio: float


def combined_calibration(calibrations: Sequence[CameraCalibration]) -> CombinedCalibration:
    """Mean of several calibrations of one camera, weighted by the inverse variance of each one's own error.

    The activity meter's error is common to all: it takes no part in weights or chi2, and no mean makes it smaller. Own
    errors are widened by the Birge ratio where that is above 1 (Birge 1932).

    Raises:
        InputError: none given, none with an own sd, or nuclide, window, collimator or settings that differ.
    """
    if not calibrations:
        raise InputError(describe("calibrations", "none", "one or more", "give a calibration"))
    first = calibrations[0]
    for other in calibrations[1:]:
        try:
            check_applies(
                first,
                nuclide=other.nuclide,
                settings=other.settings,
                collimator=other.collimator,
                window_keV=other.window_keV,
            )
        except ImageError as error:
            raise InputError(str(error)) from error
    value = np.array([c.sensitivity_cps_per_MBq for c in calibrations])
    meter = np.array([c.meter_relative_sd for c in calibrations])
    own = np.sqrt(np.clip(np.array([c.sd_cps_per_MBq for c in calibrations]) ** 2 - (meter * value) ** 2, 0, None))
    if not own.min() > 0:
        do = "give the sd of counting and volume beside the meter's"
        raise InputError(describe("calibrations", "one without an own sd", "an sd beyond the activity meter's", do))
    weight = 1 / own**2
    mean, dof = float(weight @ value / weight.sum()), len(calibrations) - 1
    chi2 = float((((value - mean) / own) ** 2).sum())
    birge = math.sqrt(chi2 / dof) if dof else 0.0
    sd = math.hypot(max(1.0, birge) / math.sqrt(weight.sum()), float(meter.max()) * mean)
    joined = replace(
        first,
        sensitivity_cps_per_MBq=mean,
        sd_cps_per_MBq=sd,
        method="combined" if dof else first.method,
        meter_relative_sd=float(meter.max()),
    )
    return CombinedCalibration(joined, chi2, dof, birge)
