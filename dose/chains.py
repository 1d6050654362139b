"""Absorbed dose of a chain whose members decay in different places: by nuclide, region and kind of radiation.

The self-dose coefficient of each nuclide alone (`dose.organ`, chain=False) times its own time-integrated activity; the
equilibrium of parent and progeny that `dose.organ` sums by default is not assumed. Alphas and recoils stay apart from
electrons and photons, so that the relative biological effectiveness is the caller's choice (MIRD 22).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from dose.errors import InputError, describe
from dose.nuclides import radionuclide
from dose.organ import DoseCoefficient, dose_coefficient_Gy_per_MBq_h
from dose.regions import region


class ChainDose(eqx.Module):
    """Absorbed dose in Gy by nuclide (first axis) and region (second); draw axes trail.

    `alpha_Gy` holds alphas and recoils, physical; `relative_sd` is the coefficient's own model uncertainty, common to
    all draws.
    """

    alpha_Gy: Float[Array, "nuclide region ..."]
    electron_Gy: Float[Array, "nuclide region ..."]
    photon_Gy: Float[Array, "nuclide region ..."]
    relative_sd: Float[np.ndarray, "nuclide region"]
    nuclides: tuple[str, ...] = eqx.field(static=True)
    regions: tuple[str, ...] = eqx.field(static=True)

    @property
    def by_nuclide_Gy(self) -> Float[Array, "nuclide region ..."]:
        """Physical dose of each nuclide."""
        return self.alpha_Gy + self.electron_Gy + self.photon_Gy

    @property
    def total_Gy(self) -> Float[Array, "region ..."]:
        """Physical dose of all nuclides."""
        return jnp.sum(self.by_nuclide_Gy, axis=0)

    def weighted_by_nuclide_Gy(self, alpha_rbe: float) -> Float[Array, "nuclide region ..."]:
        """RBE-weighted dose of each nuclide in Gy(RBE); the caller names the alpha RBE, none is assumed."""
        return alpha_rbe * self.alpha_Gy + self.electron_Gy + self.photon_Gy

    def weighted_Gy(self, alpha_rbe: float) -> Float[Array, "region ..."]:
        """RBE-weighted dose of all nuclides in Gy(RBE)."""
        return jnp.sum(self.weighted_by_nuclide_Gy(alpha_rbe), axis=0)


def chain_dose(
    tia_MBq_h: Mapping[str, Float[Array, "region ..."]], regions: Sequence[str], masses_g: Mapping[str, float]
) -> ChainDose:
    """Self-dose from the time-integrated activity of each nuclide in each region; linear in it, differentiable.

    Raises:
        InputError: unknown nuclide or region, no nuclide, a TIA of another number of regions, below zero or not finite
            (under jit: NaN or equinox's runtime error), or a mass missing or outside the table.
    """
    names, nuclides = tuple(map(region, regions)), tuple(radionuclide(name).name for name in tia_MBq_h)
    if not nuclides:
        raise InputError(describe("tia_MBq_h", "no nuclide", "at least one", "give the parent's TIA"))
    tia = jnp.stack([_checked(name, value, len(names)) for name, value in tia_MBq_h.items()])
    masses = {region(name): float(mass) for name, mass in masses_g.items()}
    made = [[_coefficient(place, nuclide, masses) for place in names] for nuclide in nuclides]
    part = lambda word: np.array([[getattr(s, word) for s in row] for row in made])
    along = (Ellipsis, *(None,) * (tia.ndim - 2))
    alpha, electron, photon = (part(word)[along] * tia for word in ("alpha", "electron", "photon"))
    return ChainDose(alpha, electron, photon, part("relative_sd"), nuclides, names)


def _coefficient(place: str, nuclide: str, masses_g: Mapping[str, float]) -> DoseCoefficient:
    if place not in masses_g:
        raise InputError(describe("masses_g", f"none for {place}", "a mass in grams for every region", "add it"))
    return dose_coefficient_Gy_per_MBq_h(place, nuclide, masses_g[place], chain=False)


def _checked(nuclide: str, tia_MBq_h, regions: int):
    value, field = jnp.asarray(tia_MBq_h, float), f"tia_MBq_h of {nuclide}"
    if value.ndim == 0 or value.shape[0] != regions:
        raise InputError(describe(field, f"shape {value.shape}", f"{regions} regions first", "order as regions"))
    wrong = jnp.any(~(jnp.isfinite(value) & (value >= 0)))
    text = describe(field, "a value below 0 or not finite", "0 or more", "check how the TIA was made")
    if isinstance(wrong, Tracer):
        return eqx.error_if(value, wrong, text)
    if wrong:
        raise InputError(text)
    return value
