"""From dose to outcome: equal-effect doses, tumour control, complications. In jax.numpy, differentiable.

References: Bentzen et al., Radiother Oncol 2012;105:266 (terms); O'Donoghue, J Nucl Med 1999;40:1337 (EUBED); Webb and
Nahum, Phys Med Biol 1993;38:653 (Poisson control of voxels); Lyman 1985 and Kutcher and Burman 1989 (complications);
all recalled. Parameters: `data/radiobiology.csv`, many of them from external beams; read the locators.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from jaxtyping import Array, Float

from dose.errors import InputError, describe
from dose.histograms import DVH
from dose.provenance import load_table
from dose.tissues import parameter


def eqd2_Gy(bed, alpha_beta_Gy):
    """Dose in 2 Gy fractions of equal effect: BED / (1 + 2/(alpha/beta))."""
    return bed / (1 + 2 / alpha_beta_Gy)


def eubed_Gy(
    bed: Float[Array, "... voxel"], volume_fractions: Float[Array, "... voxel"], alpha_per_Gy
) -> Float[Array, ...]:
    """The uniform BED of equal survival: -(1/alpha) ln sum v_i exp(-alpha BED_i), over the last axis.

    Weights are normalised here: shares of volume, or masses (density times volume) where cells go with mass.
    """
    v = jnp.asarray(volume_fractions) / jnp.sum(jnp.asarray(volume_fractions), axis=-1, keepdims=True)
    shift = jnp.min(bed, axis=-1, keepdims=True)  # keeps the exponentials from underflowing at high BED
    alpha = jnp.asarray(alpha_per_Gy)
    spread = jnp.sum(v * jnp.exp(-alpha[..., None] * (bed - shift)), axis=-1)
    return shift[..., 0] - jnp.log(spread) / alpha


def tcp(bed, alpha_per_Gy, clonogens):
    """Poisson tumour control probability of a uniform BED: exp(-N exp(-alpha BED))."""
    return jnp.exp(-clonogens * jnp.exp(-alpha_per_Gy * bed))


def voxel_tcp(bed: Float[Array, "... voxel"], alpha_per_Gy, clonogens: Float[Array, "... voxel"]) -> Float[Array, ...]:
    """Control of a tumour of voxels, the product of theirs: exp(-sum N_i exp(-alpha BED_i)), over the last axis."""
    alpha = jnp.asarray(alpha_per_Gy)[..., None]
    return jnp.exp(-jnp.sum(clonogens * jnp.exp(-alpha * bed), axis=-1))


def hypoxic_bed_Gy(dose_Gy, g, alpha_beta_Gy, oer):
    """BED of cells with alpha/OER and beta/OER^2, on the scale of the oxic alpha: that of the dose over OER.

    For low-LET dose; alphas hardly depend on oxygen (`dose.mixed.MixedDose` keeps them apart).
    """
    return dose_Gy / oer * (1 + g * dose_Gy / oer / alpha_beta_Gy)


def hypoxic_tcp(dose_Gy, g, alpha_beta_Gy, alpha_per_Gy, clonogens, *, hypoxic_fraction, oer):
    """Control where a part of the clonogens is hypoxic throughout (no reoxygenation): both kinds must be killed."""
    oxic = hypoxic_bed_Gy(dose_Gy, g, alpha_beta_Gy, 1.0)
    hypoxic = hypoxic_bed_Gy(dose_Gy, g, alpha_beta_Gy, oer)
    alive = (1 - hypoxic_fraction) * jnp.exp(-alpha_per_Gy * oxic) + hypoxic_fraction * jnp.exp(-alpha_per_Gy * hypoxic)
    return jnp.exp(-clonogens * alive)


def ntcp_lkb(effect_Gy, td50_Gy, m):
    """Lyman-Kutcher-Burman complication probability: Phi((x - TD50) / (m TD50))."""
    return norm.cdf((effect_Gy - td50_Gy) / (m * td50_Gy))


@dataclass(frozen=True)
class Endpoint:
    """A complication: TD50, slope m, volume exponent n (up to draws [draw]), and what the dose is that they count.

    `effect` is "eqd2" (dose in 2 Gy fractions) or "bed"; `locators` say how sure the numbers are.
    """

    name: str
    td50_Gy: float | np.ndarray
    m: float | np.ndarray
    n: float | np.ndarray
    effect: str
    source_id: str
    locators: tuple[str, ...]

    def ntcp(self, effect_Gy):
        """Of a uniform dose in the endpoint's own quantity."""
        return ntcp_lkb(effect_Gy, self.td50_Gy, self.m)

    def ntcp_of(self, histogram: DVH):
        """Of a histogram of EQD2 or BED (as `effect` says), by its generalised EUD with a = 1/n.

        Draws of the endpoint are taken at the same histogram, or one by one with its draws.

        Raises:
            InputError: as many draws in neither, or not as many in both.
        """
        n = np.atleast_1d(np.asarray(self.n, dtype=float))
        if histogram.draws and n.size not in (1, len(histogram.dose_Gy)):
            do = "draw as many parameters as there are draws of dose"
            raise InputError(describe("histogram", f"{len(histogram.dose_Gy)} draws", f"{n.size}", do))
        uniform = np.stack([np.atleast_1d(histogram.geud_Gy(1 / v)) for v in n])
        if histogram.draws:
            uniform = uniform[0] if n.size == 1 else np.diagonal(uniform)
        else:
            uniform = uniform[:, 0] if np.ndim(self.n) else uniform[0, 0]
        return self.ntcp(uniform)


def endpoint(name: str) -> Endpoint:
    """The complication of that name in `data/radiobiology.csv`: "parotid_flow", "kidney_nephropathy_bed", ...

    Raises:
        InputError: no such complication.
    """
    return _endpoint(name, [p.value for p in _rows(name)])


def endpoint_draws(name: str, n: int, seed: int) -> Endpoint:
    """The same with `n` draws of each parameter within its range, independently.

    Raises:
        InputError: as `endpoint`, or a row without a range.
    """
    return _endpoint(name, [p.draws(n, seed) for p in _rows(name)])


def _rows(name: str):
    return [parameter(name, quantity) for quantity in ("td50", "m", "n")]


def _endpoint(name: str, values) -> Endpoint:
    rows = _rows(name)
    effects = {r["effect"] for r in load_table("dose", "radiobiology.csv") if r["subject"] == name}
    named = "; ".join(dict.fromkeys(p.source_id for p in rows))
    td50, m, n = values
    return Endpoint(name, td50, m, n, effects.pop(), named, tuple(p.locator for p in rows))


def cycles_within(per_cycle: Float[np.ndarray, " cycle"], limit: float) -> int:
    """How many of the cycles, in order, keep the cumulative dose (or BED) at or below the limit."""
    return int(np.argmax(np.append(np.cumsum(np.asarray(per_cycle)), np.inf) > limit))
