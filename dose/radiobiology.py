"""Linear-quadratic effect of protracted irradiation: G, BED, EQD2, EUBED, TCP, NTCP.

Written in jax.numpy, so it can be differentiated and vmapped; float64 is switched on by `twin` (or by the caller).
References: Dale, Br J Radiol 1985;58:515 (G of decaying dose rates); Bentzen et al., Radiother Oncol 2012;105:266
(terms); Lyman 1985 and Kutcher-Burman 1989 (NTCP); O'Donoghue 1999 (EUBED). Tissue values: `data/tissues.csv`, many
of them conventions or memory, as their rows say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from jaxtyping import Array, Float

from dose.provenance import load_table
from dose.regions import is_tumour, region

TISSUE_OF = {
    "kidneys": "kidney", "kidney_left": "kidney", "kidney_right": "kidney", "red_marrow": "red_marrow",
    "kidney_cortex_left": "kidney", "kidney_cortex_right": "kidney", "kidney_medulla_left": "kidney",
    "kidney_medulla_right": "kidney", "sublingual": "salivary",
    "liver": "liver",
    "salivary": "salivary", "parotid": "salivary", "parotid_left": "salivary", "parotid_right": "salivary",
    "submandibular": "salivary", "submandibular_left": "salivary", "submandibular_right": "salivary",
    "lacrimal": "salivary",
}  # fmt: skip
"""Rows of the tissue table that regions share; a region not named here uses the default row."""


@dataclass(frozen=True)
class Tissue:
    """Response of one tissue; `source_id` names the sources of alpha/beta and of the repair half-time."""

    alpha_beta_Gy: float
    repair_half_time_h: float
    source_id: str

    @property
    def repair_rate_per_h(self) -> float:
        """mu = ln 2 / T_rep."""
        return math.log(2) / self.repair_half_time_h


def tissue(region_name: str) -> Tissue:
    """The tissue values used for a region (tumours: the generic tumour row).

    Raises:
        InputError: unknown region.
    """
    name = "tumour" if is_tumour(region_name) else TISSUE_OF.get(region(region_name), "default")
    rows = {row["quantity"]: row for row in load_table("dose", "tissues.csv") if row["tissue"] == name}
    ratio, repair = rows["alpha_beta"], rows["repair_half_time"]
    named = "; ".join(dict.fromkeys((ratio["source_id"], repair["source_id"])))
    return Tissue(float(ratio["value"]), float(repair["value"]), named)


def g_factor(
    amplitudes_Gy_per_h: Float[Array, " component"], rates_per_h: Float[Array, " component"], mu_per_h: float
) -> Float[Array, ""]:
    """Lea-Catcheside factor of the dose rate sum a_i exp(-l_i t), from 0 to the end of time.

    G = (2/D^2) sum_ij a_i a_j / ((l_i + l_j)(l_i + mu)); amplitudes may be negative (uptake).
    """
    a, rate = jnp.asarray(amplitudes_Gy_per_h), jnp.asarray(rates_per_h)
    pairs = a[:, None] * a[None, :] / ((rate[:, None] + rate[None, :]) * (rate[:, None] + mu_per_h))
    return 2 * pairs.sum() / jnp.sum(a / rate) ** 2


def bed_Gy(dose_Gy, g, alpha_beta_Gy):
    """Biologically effective dose of one exposure: D (1 + G D / (alpha/beta)). Cycles add after, not before."""
    return dose_Gy * (1 + g * dose_Gy / alpha_beta_Gy)


def bed_rates(dose_rate_Gy_per_h, unrepaired_Gy, alpha_beta_Gy, mu_per_h):
    """Right-hand side of the ODE form for any dose rate: (d unrepaired/dt, d BED/dt) in Gy/h.

    r' = R - mu r and BED' = R + 2 R r / (alpha/beta), both from 0; equals `bed_Gy` with `g_factor` at late times.
    """
    return dose_rate_Gy_per_h - mu_per_h * unrepaired_Gy, dose_rate_Gy_per_h * (1 + 2 * unrepaired_Gy / alpha_beta_Gy)


def eqd2_Gy(bed, alpha_beta_Gy):
    """Dose in 2 Gy fractions of equal effect: BED / (1 + 2/(alpha/beta))."""
    return bed / (1 + 2 / alpha_beta_Gy)


def eubed_Gy(
    bed: Float[Array, " voxel"], volume_fractions: Float[Array, " voxel"], alpha_per_Gy: float
) -> Float[Array, ""]:
    """The uniform BED of equal survival: -(1/alpha) ln sum v_i exp(-alpha BED_i), volumes normalised here."""
    v = jnp.asarray(volume_fractions) / jnp.sum(jnp.asarray(volume_fractions))
    shift = jnp.min(bed)  # keeps the exponentials from underflowing at high BED
    return shift - jnp.log(jnp.sum(v * jnp.exp(-alpha_per_Gy * (bed - shift)))) / alpha_per_Gy


def tcp(bed, alpha_per_Gy, clonogens):
    """Poisson tumour control probability: exp(-N exp(-alpha BED))."""
    return jnp.exp(-clonogens * jnp.exp(-alpha_per_Gy * bed))


def ntcp_lkb(effect_Gy, td50_Gy, m):
    """Lyman-Kutcher-Burman complication probability: Phi((x - TD50) / (m TD50))."""
    return norm.cdf((effect_Gy - td50_Gy) / (m * td50_Gy))


def cycles_within(per_cycle: Float[np.ndarray, " cycle"], limit: float) -> int:
    """How many of the cycles, in order, keep the cumulative dose (or BED) at or below the limit."""
    return int(np.argmax(np.append(np.cumsum(np.asarray(per_cycle)), np.inf) > limit))
