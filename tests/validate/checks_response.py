"""Tumour response against closed forms, the project's verification case V24, and its own limit of fine splitting."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from pbpk.cycles import Cycle, simulate_cycles
from pbpk.response import Cells, Exposure, Response, published, respond, typical
from tests.reference.reference_pbpk import WEEKS_6_MIN, default_patient
from tests.validate import check, close

DAY_MIN = 1440.0
EXACT, SURVIVAL, V24, V24_BETA, SPLIT = 1e-6, 1e-5, 1e-5, 3e-3, 0.05


def _viable(response: Response, mass_g: float, exposure: Exposure) -> float:
    """Cells that can divide after an exposure, over those before."""
    mass = jnp.full((1, 1), mass_g)
    cells = respond(response, Cells(mass, 0 * mass, 0 * mass), exposure, mass).cells
    return float((cells.proliferating_g + cells.sublethal_g)[0, 0]) / mass_g


def _constant(rate_Gy_per_min: float, minutes: float) -> Exposure:
    rate = jnp.full((2, 1, 1), rate_Gy_per_min)
    return Exposure(jnp.asarray([0.0, minutes]), rate, rate[:1])


@check("pbpk/response gompertz", "relative", f"{EXACT:g}", "closed form: ln(M/K) falls at the growth rate")
def gompertz():
    days = np.array([30.0, 200.0, 1000.0])
    ours = np.array([2 * _viable(typical(), 2.0, _constant(0.0, d * DAY_MIN)) for d in days])
    capacity_g, rate = published("capacity"), published("gompertz_growth")
    exact = capacity_g * (2 / capacity_g) ** np.exp(-rate * days * DAY_MIN)
    worst = float(np.max(np.abs(ours / exact - 1)))
    return worst, worst <= EXACT


@check("pbpk/response acute survival", "relative", f"{SURVIVAL:g}", "closed form of two targets, 0.1 to 20 Gy")
def acute():
    alpha, hit, minutes = published("alpha"), published("hit"), 1e-5
    doses_Gy = np.array([0.1, 1.0, 5.0, 20.0])
    ours = np.array([_viable(typical("none"), 2.0, _constant(d / minutes, minutes)) for d in doses_Gy])
    exact = np.exp(-alpha * doses_Gy) * (1 - (1 - np.exp(-hit * doses_Gy)) ** 2)
    worst = float(np.max(np.abs(ours / exact - 1)))
    return worst, worst <= SURVIVAL


def _v24(alpha_beta_Gy: float, repair_half_time_h: float) -> float:
    """Volume after 42 days: doubling time 200 d, alpha 0.0172 per Gy, 30 Gy with half-life 60 h that ignore the mass.

    A smallest mass far above that of the tumour keeps dose per amount from following it.
    """
    alpha, mass_g, held_g = 0.0172, 20.0, 1000.0
    decay_per_min, edge = np.log(2) / 3600, np.linspace(0.0, 42 * DAY_MIN, 2000)
    at = 30 * decay_per_min * held_g / mass_g * np.exp(-decay_per_min * edge)
    mean = -np.diff(at) / (decay_per_min * np.diff(edge))
    exposure = Exposure(*(jnp.asarray(x) for x in (edge, at[:, None, None], mean[:, None, None])))
    response = typical(
        "exponential",
        alpha_per_Gy=alpha,
        hit_per_Gy=np.sqrt(alpha / alpha_beta_Gy),
        repair_per_min=np.log(2) / (60 * repair_half_time_h),
        smallest_mass_g=held_g,
    )
    return _viable(response, mass_g, exposure)


@check("pbpk/response V24 without beta", "V/V0", f"rel {V24:g}", "project notes V24; alpha of Kletting 2019")
def v24():
    value = _v24(np.inf, 1.5)
    return value, close(value, 0.690434, V24)


@check("pbpk/response V24 with beta", "V/V0", f"rel {V24_BETA:g}", "project notes V24, linear-quadratic with full G")
def v24_with_beta():
    """Two targets are not linear-quadratic beyond p R / mu, here 0.03 of a quadratic term of 0.04: 1.2e-3 expected."""
    value = _v24(10.0, 1.5)
    return value, close(value, 0.664849, V24_BETA)


@check("pbpk/response splitting", "relative error of tumour dose", f"{SPLIT:g}", "limit of pieces halved, extrapolated")
def splitting():
    """One piece of six weeks against 128 and 256 pieces in its first eight days."""
    kin = default_patient()

    def dose_Gy(pieces: int) -> float:
        split = tuple(np.linspace(0, 8 * DAY_MIN, pieces + 1)[1:]) if pieces > 1 else ()
        cycle = Cycle(100.0, 10.26, WEEKS_6_MIN, split_min=split)
        found = simulate_cycles(kin, [cycle], typical("exponential"), {"tumour_1": 20.0}, {"tumour_1": 0.0513})
        return float(found.dose_Gy[0, 0, 0])

    limit = 2 * dose_Gy(256) - dose_Gy(128)
    error = abs(dose_Gy(1) / limit - 1)
    return error, error <= SPLIT
