"""Tumour volume and platelets against the project's verification cases V24 and V25."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from pbpk.platelets import PlateletChain, nadir, platelet_curve
from pbpk.volume import VolumeLaw, log_volume_change
from tests.validate import check, close

V24, V25, STAYS = 1e-5, 5e-3, 1e-9
NADIRS = {50.0: (173.23, 273.6), 100.0: (130.71, 277.8)}
"""Slope in h/Gy: count per nL and time in h."""
HOURS_H = jnp.arange(0.0, 1001.0, 0.1)


def _volume_ratio(g: float) -> float:
    """After 42 days: doubling time 200 d, alpha 0.0172 per Gy, alpha/beta 10 Gy, 30 Gy with this G."""
    law = VolumeLaw(jnp.asarray(0.0172), jnp.asarray(4800.0))
    return float(jnp.exp(log_volume_change(law, 30 + g * 30**2 / 10, 42 * 24.0)))


@check("planning/V24 tumour volume without beta", "V/V0", f"rel {V24:g}", "project notes V24; alpha of Kletting 2019")
def volume():
    value = _volume_ratio(0.0)
    return value, close(value, 0.690434, V24)


@check("planning/V24 tumour volume with beta", "V/V0", f"rel {V24:g}", "project notes V24, repair half-time 1.5 h")
def volume_with_beta():
    value = _volume_ratio(1.5 / (1.5 + 60))
    return value, close(value, 0.664849, V24)


def _platelets(slope_h_per_Gy: float, dose_Gy: float = 0.26):
    """Per nL on `HOURS_H`: baseline 230, MTT 137 h, feedback 0.2, half-life 30 h."""
    chain = PlateletChain(*(jnp.asarray(x) for x in (230.0, 137.0, 0.2, slope_h_per_Gy)))
    return platelet_curve(chain, jnp.zeros(1), jnp.asarray([dose_Gy]), jnp.asarray([30.0]), HOURS_H)


@check("planning/V25 platelets without dose", "largest relative change", f"{STAYS:g}", "project notes V25: stays 230")
def no_dose():
    worst = float(np.max(np.abs(np.asarray(_platelets(100.0, 0.0)) / 230 - 1)))
    return worst, worst <= STAYS


@check(
    "planning/V25 platelet nadirs", "1/nL", f"rel {V25:g}", "project notes V25, slopes 50 and 100 h/Gy: 173.23, 130.71"
)
def nadirs():
    values = [float(nadir(_platelets(slope), HOURS_H).platelets_per_nL) for slope in NADIRS]
    return values, all(close(value, count, V25) for value, (count, _) in zip(values, NADIRS.values(), strict=True))


@check(
    "planning/V25 times of the nadirs", "h", f"rel {V25:g}", "project notes V25, slopes 50 and 100 h/Gy: 273.6, 277.8"
)
def times():
    values = [float(nadir(_platelets(slope), HOURS_H).time_h) for slope in NADIRS]
    return values, all(close(value, time, V25) for value, (_, time) in zip(values, NADIRS.values(), strict=True))
