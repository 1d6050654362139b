"""What PET and NM objects say of the injection, the time of the scan and the decay correction."""

from __future__ import annotations

import math
from datetime import datetime

from dose.nuclides import radionuclide
from imaging.dicom_write.values import code_item, date_and_time, decimal
from imaging.series import ImageSeries, Radiopharmaceutical


def injection(told: Radiopharmaceutical, *, is_nm: bool):
    """One item of RadiopharmaceuticalInformationSequence; fields that are not known stay out.

    RadionuclideTotalDose is in MBq in an NM object (PS3.3 C.8.4.10) and in Bq in a PET object (C.8.9.2).
    """
    from pydicom.dataset import Dataset

    item = Dataset()
    item.RadionuclideCodeSequence = []
    if told.nuclide is not None:
        name = radionuclide(told.nuclide).name
        item.RadionuclideCodeSequence = [code_item(name, "99THERATWIN", name)]
        item.Radiopharmaceutical = name
    if told.half_life_h is not None:
        item.RadionuclideHalfLife = decimal(told.half_life_h * 3600)
    if told.administered_MBq is not None:
        item.RadionuclideTotalDose = decimal(told.administered_MBq * (1 if is_nm else 1e6))
    if told.started_at is not None:
        item.RadiopharmaceuticalStartTime = told.started_at.strftime("%H%M%S.%f")
        if not told.started_time_only:
            item.RadiopharmaceuticalStartDateTime = told.started_at.strftime("%Y%m%d%H%M%S.%f")
    return item


def moment_tags(prefix: str, moment: datetime | None) -> dict:
    """Date and time attributes of a prefix ("Series", "Acquisition"), none where the moment is not known."""
    if moment is None:
        return {}
    day, clock = date_and_time(moment)
    return {f"{prefix}Date": day, f"{prefix}Time": clock}


def later_s(series: ImageSeries) -> float:
    """Seconds from the time that START refers to, to the start of this frame; 0 for one that refers to itself."""
    if series.decay_reference_at is None or series.reference_at is None or series.decay_correction != "START":
        return 0.0
    return (series.reference_at - series.decay_reference_at).total_seconds()


def decay_factor(series: ImageSeries) -> float:
    """What the slices were multiplied by from the middle of the frame to START's time, 1 where not corrected so."""
    name, mid_s = series.radiopharmaceutical.nuclide, series.slice_mid_s
    if series.decay_correction != "START" or name is None or mid_s is None:
        return 1.0
    return math.exp(radionuclide(name).decay_constant_per_h * (float(mid_s.max()) + later_s(series)) / 3600)


def emission_tags(series: ImageSeries, *, is_nm: bool) -> dict:
    """Unit, times, decay correction and injection of a PET or SPECT series in Bq/mL."""
    tags = {
        "Units": "BQML",
        "DecayCorrection": series.decay_correction or "NONE",
        "CountsSource": "EMISSION",
        "CorrectedImage": ["ATTN", "SCAT"] + (["DECY"] if series.decay_correction in ("START", "ADMIN") else []),
        "RadiopharmaceuticalInformationSequence": [injection(series.radiopharmaceutical, is_nm=is_nm)],
        **moment_tags("Series", (later_s(series) and series.decay_reference_at) or series.reference_at),
        **moment_tags("Acquisition", series.reference_at),
    }
    if series.slice_mid_s is not None:
        tags["ActualFrameDuration"] = round(float(series.slice_mid_s.max()) * 2000)
    if series.resolution_mm is not None:
        tags["SpatialResolution"] = decimal(series.resolution_mm)
    return tags
