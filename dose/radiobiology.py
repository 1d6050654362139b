"""Linear-quadratic effect of protracted irradiation: the names of one page, of which each part has its own module.

BED = D (1 + G D / (alpha/beta)). Written in jax.numpy, so it can be differentiated and vmapped; float64 is switched on
by `twin` (or by the caller). G: `dose.repair`; any dose rate: `dose.dose_rate`; checked records of a region's exposure:
`dose.exposure`; outcome: `dose.control`; alphas: `dose.mixed`; voxels: `dose.bed_maps`. Values and their ranges:
`dose.tissues`, many of them conventions or memory, as their rows say.
"""

from __future__ import annotations

from dose.control import cycles_within, eqd2_Gy, eubed_Gy, ntcp_lkb, tcp
from dose.dose_rate import bed_rates
from dose.repair import g_factor
from dose.tissues import TISSUE_OF, Repair, Tissue, tissue, tissue_draws

__all__ = [
    "TISSUE_OF", "Repair", "Tissue", "bed_Gy", "bed_rates", "cycles_within", "eqd2_Gy", "eubed_Gy", "g_factor",
    "ntcp_lkb", "tcp", "tissue", "tissue_draws",
]  # fmt: skip


def bed_Gy(dose_Gy, g, alpha_beta_Gy):
    """Biologically effective dose of one exposure: D (1 + G D / (alpha/beta)). Cycles add after, not before."""
    return dose_Gy * (1 + g * dose_Gy / alpha_beta_Gy)
