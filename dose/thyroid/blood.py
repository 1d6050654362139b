"""Dose of the blood from 131I, which stands for the marrow's: from samples, or from one measurement of the body.

EANM procedure (Lassmann et al. 2008, factors recalled): Gy/GBq = 108 tau_mL + 0.0188 tau_body / weight^(2/3), with the
residence times of a mL of blood and of the body in h. From one measurement (Haenscheid et al. 2009, abstract): the
body clears exponentially and 14 % of its residence time is in the blood. Numbers: `data/thyroid.csv`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dose.activity import checked_points, fit_curves
from dose.errors import InputError, describe
from dose.estimates import Estimate, estimate, generator
from dose.nuclides import radionuclide
from dose.thyroid.uptake import DRAWS, NUCLIDE, thyroid_value


@dataclass(frozen=True, eq=False)
class BloodDose:
    """Dose of the blood per administered 131I in Gy/GBq, its draws [draw], and residence times of body and a mL."""

    dose_Gy_per_GBq: Estimate
    dose_draws: Float[np.ndarray, " draw"]
    body_h: float
    blood_h_per_mL: float
    warnings: tuple[str, ...]


def blood_volume_mL(height_cm: float, weight_kg: float, sex: str) -> float:
    """Blood volume of an adult (Retzlaff).

    Raises:
        InputError: another sex than "male" or "female", or a body that the formula does not fit.
    """
    if sex not in ("male", "female"):
        raise InputError(describe("sex", f'"{sex}"', '"male" or "female"', "correct the covariates"))
    height, weight, offset = (thyroid_value(f"blood_{part}", sex) for part in ("height", "weight", "offset"))
    volume = height * height_cm + weight * weight_kg + offset
    if not (100 <= height_cm <= 230 and 30 <= weight_kg <= 250 and 1500 <= volume <= 12000):
        found = f"{height_cm} cm, {weight_kg} kg: {volume:.0f} mL"
        raise InputError(describe("height_cm, weight_kg", found, "an adult", "give cm and kg, or the volume itself"))
    return volume


def blood_dose(
    time_h, body_share, blood_share_per_mL, *, weight_kg: float, relative_sd: float = 0.05, draws: int = DRAWS,
    seed: int = 0,
) -> BloodDose:  # fmt: skip
    """Blood dose per activity from measurements of the body and of blood samples.

    Args:
        time_h: times after the intake, shape [time].
        body_share: 131I present in the body over the administered activity, shape [time]; not decay-corrected.
        blood_share_per_mL: the same in a mL of blood, shape [time].

    Raises:
        InputError: fewer than two measurements, or values that cannot be.
    """
    times, body, _ = checked_points(time_h, body_share)
    _, blood, _ = checked_points(time_h, blood_share_per_mL)
    if np.any(body > 1) or np.any(blood * 1000 > body):
        do = "divide percent by 100, and blood by the volume of its sample"
        raise InputError(describe("shares", "more than was given, or a litre of blood above the body", "less", do))
    fits = [fit_curves(times, one, relative_sd * one, NUCLIDE) for one in (body, blood)]
    rng = generator(draws, seed, "blood")
    sds = [math.sqrt(math.log1p((fit.tia_sd_MBq_h / fit.tia_MBq_h) ** 2)) for fit in fits]
    body_h, blood_h = (f.tia_MBq_h * np.exp(sd * rng.standard_normal(draws)) for f, sd in zip(fits, sds, strict=True))
    model = np.exp(thyroid_value("blood_model_log_sd") * rng.standard_normal(draws))
    point = _Gy_per_GBq(fits[0].tia_MBq_h, fits[1].tia_MBq_h, weight_kg)
    drawn = model * _Gy_per_GBq(body_h, blood_h, weight_kg)
    notes = tuple(note for fit in fits for note in fit.notes)
    return BloodDose(estimate(point, drawn), drawn, fits[0].tia_MBq_h, fits[1].tia_MBq_h, notes)


def blood_dose_single(
    time_h: float, body_share: float, *, weight_kg: float, blood_mL: float, draws: int = DRAWS, seed: int = 0
) -> BloodDose:
    """Blood dose per activity from one measurement of the body, best on day 1 or 2.

    Raises:
        InputError: a share that does not fall, or falls more slowly than physical decay.
    """
    lp = radionuclide(NUCLIDE).decay_constant_per_h
    if not (time_h > 0 and 0 < body_share <= math.exp(-lp * time_h)):
        expected = "above 0, and no more than decay leaves at a time above 0"
        do = "divide percent by 100; the share is of the activity present, not decay-corrected"
        raise InputError(describe("time_h, body_share", f"{time_h}, {body_share}", expected, do))
    body_h = time_h / math.log(1 / body_share)
    per_mL = thyroid_value("blood_share") * body_h / _checked_blood(blood_mL)
    point = _Gy_per_GBq(body_h, per_mL, weight_kg)
    rng = generator(draws, seed, "blood")
    sd = math.hypot(thyroid_value("blood_single_log_sd"), thyroid_value("blood_model_log_sd"))
    drawn = point * np.exp(sd * rng.standard_normal(draws))
    notes = () if 12 <= time_h <= 60 else ("measured outside day 1 or 2, where the rule was tried",)
    return BloodDose(estimate(point, drawn), drawn, body_h, per_mL, notes)


def _checked_blood(blood_mL: float) -> float:
    if not 1500 <= blood_mL <= 12000:
        raise InputError(describe("blood_mL", f"{blood_mL}", "1500 to 12000 mL", "use blood_volume_mL"))
    return blood_mL


def _Gy_per_GBq(body_h, blood_h_per_mL, weight_kg: float):
    if not 30 <= weight_kg <= 250:
        raise InputError(describe("weight_kg", f"{weight_kg}", "30 to 250 kg", "give kilograms"))
    return thyroid_value("blood_self") * blood_h_per_mL + thyroid_value("blood_body") * body_h / weight_kg ** (2 / 3)
