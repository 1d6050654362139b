"""Standardised uptake value by body weight: concentration over injected activity per gram, at one time."""

from __future__ import annotations

import numpy as np

from dose.errors import ImageError, InputError, describe
from dose.nuclides import radionuclide
from imaging.decay import CORRECTIONS, hours_after, nuclide_name
from imaging.series import ImageSeries


def suv_body_weight(
    concentration_Bq_per_mL,
    *,
    weight_kg: float | None,
    administered_MBq: float | None,
    half_life_h: float,
    delay_h: float,
    decay_correction: str,
) -> np.ndarray:
    """SUV (g/mL) of voxels held as the header says; the injected activity decays to the same reference time.

    With ADMIN the voxels refer to the injection, so the injected activity is taken as it is; with START and NONE it is
    decayed by `delay_h`, from the injection to the time that the voxels refer to.

    Raises:
        ImageError: weight or administered activity missing.
        InputError: decay_correction is none of NONE, START, ADMIN.
    """
    weight_g = 1000 * _needed("PatientWeight", weight_kg)
    given_Bq = 1e6 * _needed("RadionuclideTotalDose", administered_MBq)
    if decay_correction not in CORRECTIONS:
        raise InputError(
            describe("decay_correction", f'"{decay_correction}"', f"one of {CORRECTIONS}", "see the header")
        )
    elapsed_h = 0.0 if decay_correction == "ADMIN" else delay_h
    return np.asarray(concentration_Bq_per_mL) * weight_g / (given_Bq * 2.0 ** (-elapsed_h / half_life_h))


def _needed(name: str, value: float | None) -> float:
    if value is None or not value > 0:
        do = "give it by hand; without it only Bq/mL can be used"
        raise ImageError(describe(f"SUV, {name}", "nothing above zero", "the value at injection", do))
    return value


def suv_image(series: ImageSeries):
    """The series as SUV by body weight, from its own header.

    Raises:
        ImageError: weight, administered activity or times missing, or decay correction other than START or ADMIN.
    """
    given = series.radiopharmaceutical
    if series.decay_correction not in ("START", "ADMIN"):
        found = f'decay correction "{series.decay_correction}"'
        where = f"series {series.series_uid_hash}"
        raise ImageError(describe(where, found, "START or ADMIN for SUV", "correct the image for decay first"))
    values = suv_body_weight(
        series.volume.array,
        weight_kg=series.weight_kg,
        administered_MBq=given.administered_MBq,
        half_life_h=given.half_life_h or radionuclide(nuclide_name(series)).half_life_h,
        delay_h=hours_after(series),
        decay_correction=series.decay_correction,
    )
    return series.volume.with_array(values)
