"""Standardised uptake values: concentration over injected activity per body weight, surface or lean mass.

All refer voxels and injected activity to one time. Units are DICOM's: g/mL by weight and by lean mass (SUL), cm2/mL by
surface (PS3.3 C.8.9.1, Units CM2ML), so that a value is the share of the injected activity in a mL times what it is
normalised by.
"""

from __future__ import annotations

import numpy as np

from dose.errors import ImageError, InputError, describe
from dose.nuclides import radionuclide
from imaging.body_size import body_surface_m2, lean_mass_kg
from imaging.decay import CORRECTIONS, factor_to_scan_start, hours_after, hours_to_decay_reference, nuclide_name
from imaging.geometry import Volume
from imaging.series import ImageSeries

KINDS = ("bw", "bsa", "lbm", "lbm_james")
"""By body weight, by surface (Du Bois), by lean mass (Janmahasatian), by lean mass (James)."""


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


def normaliser(kind: str, weight_kg: float | None, height_m: float | None, sex: str | None) -> float:
    """What an SUV of this kind multiplies by: g for bw, lbm and lbm_james, cm2 for bsa.

    Raises:
        InputError: a kind that is none of `KINDS`.
        ImageError: weight, height or sex missing where the kind needs it.
    """
    if kind not in KINDS:
        raise InputError(describe("SUV kind", f'"{kind}"', f"one of {KINDS}", "choose one"))
    weight = _needed("PatientWeight", weight_kg)
    if kind == "bw":
        return 1000 * weight
    height = _needed("PatientSize", height_m)
    if kind == "bsa":
        return 1e4 * body_surface_m2(weight, height)
    formula = "janmahasatian" if kind == "lbm" else "james"
    return 1000 * lean_mass_kg(weight, height, sex or "unknown", formula)


def suv_image(series: ImageSeries, kind: str = "bw") -> Volume:
    """The series as SUV from its own header: g/mL, or cm2/mL for "bsa".

    A series in g/mL is taken as SUV by weight as it stands. Voxels without decay correction are first taken, slice by
    slice, from the middle of their frame to the start of the scan.

    Raises:
        ImageError: weight, height, sex, administered activity or times missing, or a unit that is no activity.
        InputError: a kind that is none of `KINDS`.
    """
    if kind not in KINDS:
        raise InputError(describe("SUV kind", f'"{kind}"', f"one of {KINDS}", "choose one"))
    values = series.volume.array if series.unit == "g/mL" else _by_weight(series)
    if kind != "bw":
        one_g = normaliser("bw", series.weight_kg, None, None)
        values = values * np.float32(normaliser(kind, series.weight_kg, series.height_m, series.sex) / one_g)
    return series.volume.with_array(values)


def _by_weight(series: ImageSeries) -> np.ndarray:
    """SUV by weight of a series in Bq/mL, [z, y, x]."""
    where = f"series {series.series_uid_hash}"
    if series.unit != "Bq/mL":
        found = f'unit "{series.unit}"'
        raise ImageError(describe(where, found, "Bq/mL, or g/mL for an SUV image", "calibrate it to Bq/mL"))
    given, values = series.radiopharmaceutical, series.volume.array
    if series.decay_correction not in CORRECTIONS:
        found = f'decay correction "{series.decay_correction}"'
        raise ImageError(describe(where, found, f"one of {', '.join(CORRECTIONS)}", "repair the header"))
    if series.decay_correction == "NONE":
        values = values * factor_to_scan_start(series)[:, None, None]
    return suv_body_weight(
        values,
        weight_kg=series.weight_kg,
        administered_MBq=given.administered_MBq,
        half_life_h=given.half_life_h or radionuclide(nuclide_name(series)).half_life_h,
        delay_h=hours_to_decay_reference(series) if series.decay_correction == "START" else hours_after(series),
        decay_correction=series.decay_correction,
    )
