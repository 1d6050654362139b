"""Partition model of 90Y microspheres: tumours, perfused normal liver and lungs share the activity.

Ho et al. (Eur J Nucl Med 1996;23:947) for one tumour, here for any number of them: with masses m, ratios r of each
tumour's concentration to the normal liver's, and lung shunt L,

    D_normal = K A (1 - L) / (m_normal + sum r_i m_i),   D_i = r_i D_normal,   D_lungs = K A L / m_lungs.

Every dose comes with an interval, from draws: the shunt's odds, ratios, masses and activity are log-normal about what
was measured. A tumour's contour that is larger holds the same counts, so that its ratio falls as its mass grows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dose.errors import InputError, describe
from dose.estimates import Estimate, estimate, generator
from dose.sirt.basics import checked_GBq, gray_kg_per_GBq
from dose.sirt.liver import Liver, SirtSpread, default_spread, liver_warnings

PERFUSED, WHOLE, LUNGS = "normal_liver_perfused", "normal_liver_whole", "lungs"
LUNG_SHARE = "lung_share"
"""Beside the doses, coefficients hold the share of the activity that goes to the lungs."""

DRAWS = 4000
"""Enough that the ends of a 95 % interval are good to about 3 % of its width."""


def _partition(tumour_g, ratio, normal_g, unperfused_g, lungs_g, shunt):
    """Gy per GBq: tumours [..., tumour], perfused normal liver, whole normal liver, lungs [...]."""
    K = gray_kg_per_GBq() * 1000
    normal = K * (1 - shunt) / (normal_g + np.sum(ratio * tumour_g, axis=-1))
    whole = normal * normal_g / (normal_g + unperfused_g)
    return ratio * normal[..., None], normal, whole, K * shunt / lungs_g


def _named(liver: Liver, shunt, tumours, normal, whole, lungs) -> dict:
    named = {tumour.name: tumours[..., k] for k, tumour in enumerate(liver.tumours)}
    return named | {PERFUSED: normal, WHOLE: whole, LUNGS: lungs, LUNG_SHARE: shunt}


def coefficients_Gy_per_GBq(liver: Liver, tn_factor: float = 1.0) -> dict[str, float]:
    """Mean dose per activity of each tumour, of perfused and whole normal liver, of the lungs; and the lung share."""
    tumour_g = np.array([tumour.mass_g for tumour in liver.tumours])
    ratio = tn_factor * np.array([tumour.tn_ratio for tumour in liver.tumours])
    normal_g, shunt = np.array(liver.normal_g), liver.lung_shunt
    doses = _partition(tumour_g, ratio, normal_g, liver.unperfused_g, liver.lungs_mass_g, shunt)
    return {name: float(dose) for name, dose in _named(liver, shunt, *doses).items()}


def coefficient_draws(
    liver: Liver, spread: SirtSpread | None = None, *, draws: int = DRAWS, seed: int = 0
) -> dict[str, Float[np.ndarray, " draw"]]:
    """The same with draws of everything that is uncertain; the activity's own error is a factor of all."""
    spread = spread or default_spread(liver.shunt_by)
    rng = generator(draws, seed, "partition")
    n = len(liver.tumours)
    size = np.exp(spread.tumour_mass * rng.standard_normal((draws, n)))
    tumour_g = size * [tumour.mass_g for tumour in liver.tumours]
    ratio = np.array([tumour.tn_ratio for tumour in liver.tumours]) * spread.tn_factor / size
    ratio = ratio * np.exp(spread.tn * rng.standard_normal((draws, n)))
    normal = np.exp(spread.normal_mass * rng.standard_normal(draws))
    lungs_g = liver.lungs_mass_g * np.exp(spread.lungs_mass * rng.standard_normal(draws))
    shunt = drawn_shares(liver.lung_shunt, spread.lung_odds, draws, rng)
    activity = np.exp(spread.activity * rng.standard_normal(draws))
    doses = _partition(tumour_g, ratio, liver.normal_g * normal, liver.unperfused_g * normal, lungs_g, shunt)
    named = {name: activity * dose for name, dose in _named(liver, shunt, *doses).items()}
    return named | {LUNG_SHARE: shunt}


def drawn_shares(share: float, odds_log_sd: float, draws: int, rng) -> Float[np.ndarray, " draw"]:
    """Draws of a share whose odds are log-normal: never outside 0 to 1, and 0 stays 0."""
    odds = share / (1 - share) * np.exp(odds_log_sd * rng.standard_normal(draws))
    return odds / (1 + odds)


@dataclass(frozen=True)
class RegionDose:
    """Mean dose of a region in Gy, with its interval."""

    region: str
    dose_Gy: Estimate


@dataclass(frozen=True)
class PartitionDoses:
    """Doses of one activity by the partition model; `.table()` for people."""

    activity_GBq: float
    doses: tuple[RegionDose, ...]
    warnings: tuple[str, ...]

    def of(self, name: str) -> Estimate:
        """The dose of a region.

        Raises:
            InputError: not among them.
        """
        found = {dose.region: dose.dose_Gy for dose in self.doses}
        if name not in found:
            raise InputError(describe("region", name, "one of " + ", ".join(found), "correct the name"))
        return found[name]

    def table(self):
        """pandas: region, dose and interval in Gy."""
        return dose_table(self.doses)


def dose_table(doses: tuple[RegionDose, ...]):
    """pandas: region, dose and interval in Gy."""
    import pandas as pd

    return pd.DataFrame([{"region": dose.region} | dose.dose_Gy.row("dose_Gy") for dose in doses])


def doses_of(coefficient: dict[str, float], draws: dict, activity_GBq: float) -> tuple[RegionDose, ...]:
    """Doses of an activity from coefficients and their draws."""
    found = {name: estimate(value, draws[name]) for name, value in coefficient.items() if name != LUNG_SHARE}
    return tuple(RegionDose(name, one.scaled(activity_GBq)) for name, one in found.items())


def partition_doses(
    liver: Liver, activity_GBq: float, spread: SirtSpread | None = None, *, draws: int = DRAWS, seed: int = 0
) -> PartitionDoses:
    """Predicted mean doses of an administered activity.

    Raises:
        InputError: an activity that is no GBq, or too few draws.
    """
    checked_GBq("activity_GBq", activity_GBq)
    spread = spread or default_spread(liver.shunt_by)
    drawn = coefficient_draws(liver, spread, draws=draws, seed=seed)
    doses = doses_of(coefficients_Gy_per_GBq(liver, spread.tn_factor), drawn, activity_GBq)
    return PartitionDoses(activity_GBq, doses, liver_warnings(liver))
