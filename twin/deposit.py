"""From time-integrated activity to dose and BED of each region, draw by draw, and the errors that come on top.

Absorbed dose D = TIA S; BED = D + 2 S^2 kill / (alpha/beta), with kill the integral of activity times its unrepaired
part (DOSE.md section 6: G D^2 = 2 S^2 kill). For an alpha chain S is that of `twin.chain_forecast`, which follows the
daughters; its low-LET part keeps the parent's kill.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from calibration import noise
from calibration.forward import pool_weights
from dose.nuclides import radionuclide
from dose.provenance import load_table
from dose.regions import density_g_per_mL
from pbpk.anatomy import CORTEX, MEDULLA, kind_of, parts
from pbpk.parameters import ligand
from twin.body import Body
from twin.chain_forecast import coefficients
from twin.patient import PatientTwin

KIDNEY_PARTS = (*CORTEX, *MEDULLA)
ERROR_SEED = 20_002
"""Errors of mass and S value are drawn apart from all else: one a region, for the whole therapy."""


def constants() -> dict[str, float]:
    return {row["quantity"]: float(row["value"]) for row in load_table("twin", "forecast.csv")}


class Deposited(NamedTuple):
    """Dose, weighted dose, what the BED adds to it (Gy) and TIA (MBq h), each [draw, cycle, region], the MAP last.

    `coefficient_sd` [region] is the relative sd of the self-dose coefficient.
    """

    dose_Gy: np.ndarray
    weighted_Gy: np.ndarray
    quadratic_Gy: np.ndarray
    tia_MBq_h: np.ndarray
    coefficient_sd: np.ndarray

    @property
    def bed_Gy(self) -> np.ndarray:
        return self.weighted_Gy + self.quadratic_Gy

    def off_by(self, log_error: np.ndarray) -> Deposited:
        """With doses wrong by exp(`log_error`) [draw, region]."""
        factor = np.exp(log_error)[:, None]
        return self._replace(
            dose_Gy=self.dose_Gy * factor,
            weighted_Gy=self.weighted_Gy * factor,
            quadratic_Gy=self.quadratic_Gy * factor**2,
        )


def deposited(twin: PatientTwin, body: Body, regions, mass_g, organ_tia, organ_kill, drift) -> Deposited:
    """Doses of regions with masses `mass_g` [region] from TIA (MBq h) and kill [pool, cycle, draw].

    `drift` [draw, cycle, region] multiplies the activity.
    """
    nuclide = twin.study.nuclide
    dose, weighted, quadratic, tia = (np.empty(drift.shape) for _ in range(4))
    made = coefficients(body, twin.study.covariates.sex, nuclide, regions, mass_g, organ_tia, drift)
    for k, region in enumerate(regions):
        weights = pool_weights(region, body.organs, frozenset())
        s, total, moved = made[k], made[k].total_Gy_per_MBq_h, drift[..., k]
        tia[..., k] = np.einsum("p,pcd->dc", weights, organ_tia) * moved
        dose[..., k] = total * tia[..., k]
        if region == "red_marrow":
            dose[..., k] += marrow_photons(nuclide) * np.sum(organ_tia, axis=0).T * moved
        weighted[..., k] = dose[..., k] * (s.low_let + (1 - s.low_let) * constants()["alpha_rbe"])
        square = _quadratic(region, body, organ_kill) * (total * s.low_let * moved) ** 2
        quadratic[..., k] = 2 * square / body.tissues(region).alpha_beta_Gy
    return Deposited(dose, weighted, quadratic, tia, np.array([s.relative_sd for s in made]))


class Errors(NamedTuple):
    """Log errors of a region's dose: `contour` [draw, region] belongs to the draws' activities; `sd` [region] is that
    of what is independent of them, and `normal` [draw, region] its standard normals, shared by the kidneys."""

    contour: np.ndarray
    sd: np.ndarray
    normal: np.ndarray

    @property
    def log(self) -> np.ndarray:
        return self.contour + self.sd * self.normal


def dose_errors(twin: PatientTwin, body: Body, regions, coefficient_sd) -> Errors:
    """Errors of mass, S value and division, once a region for the whole therapy; the last draw has none."""
    draws, rng = len(twin.posterior.draws), np.random.default_rng(ERROR_SEED)
    contour = np.stack([_contour_error(twin, r, body) for r in regions], axis=1)
    kidney = rng.standard_normal(draws + 1)
    normal = np.stack([kidney if is_renal(r) else rng.standard_normal(draws + 1) for r in regions], axis=1)
    normal[-1] = 0.0
    mass = [0.0 if contour[:, k].any() else _mass_log_sd(r, body) for k, r in enumerate(regions)]
    part = [_part_log_sd(r, twin.study.ligand) for r in regions]
    return Errors(contour, np.sqrt(np.square(mass) + np.square(part) + np.square(coefficient_sd)), normal)


def _quadratic(region: str, body: Body, organ_kill) -> np.ndarray:
    """Kill integral [draw, cycle] of a region; of several organs together that of the sum, taken as in proportion."""
    inside = [np.sqrt(np.maximum(organ_kill[body.organs.index(o)], 0.0)) for o in parts(region, body.organs)]
    return (np.sum(inside, axis=0) ** 2).T


def marrow_photons(nuclide: str) -> float:
    return constants()["marrow_photon"] * radionuclide(nuclide).photon_MeV


def masses(regions, body: Body) -> np.ndarray:
    """Mass of each region in g, [region]."""
    return np.array([mass_g(r, body) for r in regions])


def mass_g(region: str, body: Body) -> float:
    volume_mL = sum(1000 * body.physiology.volume_L[body.organs.index(o)] for o in parts(region, body.organs))
    return volume_mL * density_g_per_mL(region)


def is_renal(region: str) -> bool:
    return region == "kidneys" or kind_of(region) == "kidneys"


def _is_segmented(region: str, body: Body) -> bool:
    return all(o in body.physiology.segmented for o in parts(region, body.organs))


def _mass_log_sd(region: str, body: Body) -> float:
    return noise.volume_log_sd(region, _is_segmented(region, body))


def _contour_error(twin: PatientTwin, region: str, body: Body) -> np.ndarray:
    """Log error [draw + 1] of the dose by a segmented region's contour: too large a contour, too small a dose.

    Drawn with the error of the activity measured in it (`noise.shared_errors`); an organ of several measured parts
    has the mean of theirs; zeros where no volume was measured.
    """
    sides = [twin.posterior.error(f"volume/{name}") for name in _contours(region, body)]
    known = [draws for draws in sides if draws is not None]
    drawn = np.mean(known, axis=0) if known and _is_segmented(region, body) else np.zeros(len(twin.posterior.draws))
    return np.append(drawn, 0.0)


def _contours(region: str, body: Body) -> tuple[str, ...]:
    return tuple(dict.fromkeys((region, *parts(region, body.organs), f"{region}_left", f"{region}_right")))


def _part_log_sd(region: str, drug: str) -> float:
    """Doubt about the medulla's share of a kidney's sites, as log sd of a part's dose; of other regions 0."""
    if region not in KIDNEY_PARTS:
        return 0.0
    share = ligand(drug).rows["medulla_share", "kidneys"]
    return share.log_sd * (1.0 if region in MEDULLA else share.value / (1 - share.value))
