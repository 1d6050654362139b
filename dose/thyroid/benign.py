"""Activity of 131I for benign thyroid disease (Marinelli-Quimby, as in the EANM procedure), with its interval.

A = D / (integral of the uptake x dose coefficient of the mass). The coefficient is that of two spheres for a gland's
lobes, of one for a nodule (`dose.organ`: electrons with escape, photons with scatter), where the EANM procedure uses
one energy for all masses (24.7 MBq d %/(Gy g), 2.808 Gy g/(MBq d), recalled). Xenon leaves the gland: no progeny.
Uptake: see `dose.thyroid.uptake`; volume from ultrasound: ellipsoids. Numbers: `data/thyroid.csv`; docs/thyroid.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from dose.errors import InputError, describe
from dose.estimates import Estimate, estimate, generator
from dose.organ import DoseCoefficient, dose_coefficient_Gy_per_MBq_h
from dose.regions import density_g_per_mL
from dose.thyroid.uptake import NUCLIDE, ThyroidUptake, thyroid_value

LIGHTEST_G, HEAVIEST_G = 0.01, 2000.0
"""Masses outside are taken for a wrong unit."""

SPHERE = "tumour_1"
"""A region of one part, whose self-dose is that of one sphere with the spread of compact organs."""

LOBES = 2
"""A gland is two spheres of half its mass: within 1 % of OLINDA's 131I self-dose, where one sphere is 3 % too high."""

NODULES = ("toxic_adenoma",)
"""Diseases in which dose and mass are those of a nodule, whose volume is less certain."""


def ellipsoid_mL(length_cm: float, width_cm: float, depth_cm: float, factor: str = "pi_over_6") -> float:
    """Volume of a lobe or nodule from three axes; `factor` "brunn" is 0.479, that of lobes in ultrasound.

    Raises:
        InputError: axes outside 0 to 20 cm.
    """
    axes = (length_cm, width_cm, depth_cm)
    if not all(0 < axis <= 20 for axis in axes):
        raise InputError(describe("axes", f"{axes} cm", "above 0 and up to 20 cm", "give centimetres, not millimetres"))
    return thyroid_value("ellipsoid", factor) * length_cm * width_cm * depth_cm


def thyroid_mass_g(volume_mL: float) -> float:
    """Mass of a gland by the convention of unit density."""
    return checked_mass_g(volume_mL * density_g_per_mL("remainder"))


def checked_mass_g(mass_g: float) -> float:
    """The mass, where a gland or lesion can have it.

    Raises:
        InputError: not between 0.01 g and 2 kg.
    """
    if not LIGHTEST_G <= mass_g <= HEAVIEST_G:
        raise InputError(describe("mass_g", f"{mass_g}", "0.01 g to 2 kg", "give grams (1 mL weighs about 1 g)"))
    return float(mass_g)


def coefficient_Gy_per_MBq_h(mass_g: float, parts: int = 1) -> DoseCoefficient:
    """Self-dose of 131I without its xenon in so many equal spheres that weigh `mass_g` together; `total` is of all."""
    one = dose_coefficient_Gy_per_MBq_h(SPHERE, NUCLIDE, checked_mass_g(mass_g) / parts, chain=False)
    shared = {name: getattr(one, name) / parts for name in ("electron", "photon", "alpha", "total")}
    return replace(one, **shared)


def coefficient_draws(
    mass_g: float, mass_log_sd: float, *, parts: int = 1, draws: int, rng: np.random.Generator
) -> tuple[float, Float[np.ndarray, " draw"]]:
    """Gy per MBq h in the mass, and draws of it: log-normal mass, and the coefficient's own sd."""
    if not 0 <= mass_log_sd <= 1:
        raise InputError(describe("mass_log_sd", f"{mass_log_sd}", "0 to 1", "give the sd of the logarithm"))
    at = coefficient_Gy_per_MBq_h(mass_g, parts)
    masses = mass_g * np.exp(mass_log_sd * rng.standard_normal(draws))
    masses = np.clip(masses, LIGHTEST_G, HEAVIEST_G)  # the tails of a mass at the bounds; no such patient is planned
    nodes = np.geomspace(masses.min(), masses.max(), 9)
    totals = [coefficient_Gy_per_MBq_h(float(m), parts).total for m in nodes]
    values = np.exp(np.interp(np.log(masses), np.log(nodes), np.log(totals)))
    return at.total, values * np.exp(at.relative_sd * rng.standard_normal(draws))


def classic_activity_MBq(dose_Gy: float, mass_g: float, maximum_uptake: float, effective_half_life_d: float) -> float:
    """The EANM procedure's one-line formula: 24.7 D m / (100 U Teff), U as a share.

    Raises:
        InputError: numbers outside their range.
    """
    good = dose_Gy > 0 and 0 < maximum_uptake <= 1 and 0 < effective_half_life_d <= 8.03
    if not good:
        found = f"{dose_Gy}, {maximum_uptake}, {effective_half_life_d}"
        expected = "a dose above 0 Gy, a share of 0 to 1, at most 8.02 d"
        raise InputError(describe("dose, uptake, half-life", found, expected, "divide percent by 100, give days"))
    top = thyroid_value("classic_constant") * dose_Gy * checked_mass_g(mass_g)
    return top / (100 * maximum_uptake * effective_half_life_d)


def target_Gy(disease: str) -> float:
    """Dose aimed at in a disease, the middle of the row's range."""
    return thyroid_value("target_dose", disease)


@dataclass(frozen=True)
class ThyroidPlan:
    """131I for a target dose: activity with its interval, and the dose that the recommended activity gives.

    The interval of the activity is what it would be had uptake, half-life and mass been otherwise; `dose_Gy` belongs
    to `activity_MBq.value`.
    """

    disease: str
    target_Gy: float
    mass_g: float
    activity_MBq: Estimate
    dose_Gy: Estimate
    tia_h: Estimate
    coefficient_Gy_per_MBq_h: float
    warnings: tuple[str, ...]

    def table(self):
        """pandas: quantity, value and interval."""
        import pandas as pd

        rows = [
            {"quantity": "activity_MBq"} | self.activity_MBq.row("value"),
            {"quantity": "dose_Gy"} | self.dose_Gy.row("value"),
            {"quantity": "uptake_integral_h"} | self.tia_h.row("value"),
            {"quantity": "mass_g", "value": self.mass_g},
            {"quantity": "target_Gy", "value": self.target_Gy},
        ]
        return pd.DataFrame(rows)


def plan_thyroid(
    uptake: ThyroidUptake, mass_g: float, dose_Gy: float | None = None, *, mass_log_sd: float | None = None,
    seed: int = 0,
) -> ThyroidPlan:  # fmt: skip
    """The activity for a dose of the gland (toxic adenoma: of the nodule, whose uptake and mass are to be given).

    `dose_Gy` left out is the disease's target; `mass_log_sd` left out that of ultrasound between observers.

    Raises:
        InputError: a mass, dose or sd outside its range.
    """
    wanted = target_Gy(uptake.disease) if dose_Gy is None else dose_Gy
    if not 0 < wanted <= 1000:
        raise InputError(describe("dose_Gy", f"{wanted}", "above 0 and up to 1000 Gy", "give Gy"))
    point, draws = _per_MBq(uptake, mass_g, mass_log_sd, seed)
    activity = estimate(wanted / point, wanted / draws)
    dose = estimate(wanted, draws * activity.value)
    notes = list(uptake.warnings)
    if activity.value > thyroid_value("most_activity", "benign"):
        notes.append(f"{activity.value:.0f} MBq is unusual in benign disease: check uptake and mass")
    return ThyroidPlan(
        uptake.disease, wanted, mass_g, activity, dose, uptake.tia_h, point / uptake.tia_h.value, tuple(notes)
    )


def thyroid_dose_Gy(
    uptake: ThyroidUptake, mass_g: float, activity_MBq: float, *, mass_log_sd: float | None = None, seed: int = 0
) -> Estimate:
    """The dose that an activity gives, with its interval: planned otherwise, or given already.

    Raises:
        InputError: an activity not above 0 or above 50 GBq, or a mass outside its range.
    """
    if not 0 < activity_MBq <= 50_000:
        raise InputError(describe("activity_MBq", f"{activity_MBq}", "above 0 and up to 50 000 MBq", "give MBq"))
    point, draws = _per_MBq(uptake, mass_g, mass_log_sd, seed)
    return estimate(point * activity_MBq, draws * activity_MBq)


def _per_MBq(uptake: ThyroidUptake, mass_g: float, mass_log_sd: float | None, seed: int):
    """Gy per administered MBq, and its draws."""
    kind, parts = ("nodule", 1) if uptake.disease in NODULES else ("gland", LOBES)
    sd = thyroid_value("mass_log_sd", kind) if mass_log_sd is None else mass_log_sd
    n = len(uptake.tia_draws_h)
    coefficient, draws = coefficient_draws(mass_g, sd, parts=parts, draws=n, rng=generator(n, seed, "gland"))
    return uptake.tia_h.value * coefficient, uptake.tia_draws_h * draws
