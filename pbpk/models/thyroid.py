"""Radioiodine in two compartments, with stunning as an option.

Iodide in blood and the fluids it exchanges with, I, is taken up by the gland, T, or excreted in urine; the gland
releases hormone, which is not followed further (two compartments, as in the EANM procedure for benign disease):

    I' = -(k_t u + k_e + lambda) I
    T' = k_t u I - (k_r + lambda) T

Stunning: `u` = exp(-s E), with the dose D' = c T (electrons absorbed in the gland) and the part of it whose effect has
set in, E' = k_s (D - E). That half the transport is lost at 3 Gy was seen in cell culture (Postgård 2002). The
exponential, its delay and that both hold in patients are assumptions of this project; whether stunning or killed cells
lower the uptake is disputed (EJNMMI Research 2015, doi 10.1186/s13550-015-0144-9).
"""

from __future__ import annotations

import math

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from dose.errors import InputError, describe
from dose.nuclides import Radionuclide, radionuclide
from pbpk.abstract import AbstractKineticModel, Pool, placed
from pbpk.models.tables import MIN_PER_D, local_dose_Gy_g_per_MBq_min, positive, typical

_typical = lambda name: typical("thyroid", name)


class Thyroid(AbstractKineticModel):
    """Iodide of one patient; `stunning_per_Gy` 0 switches stunning off. Region "thyroid" is the whole gland."""

    uptake_per_min: Float[Array, ""]
    excretion_per_min: Float[Array, ""]
    release_per_min: Float[Array, ""]
    mass_g: Float[Array, ""]
    stunning_per_Gy: Float[Array, ""]
    onset_per_min: Float[Array, ""]
    nuclide: Radionuclide = eqx.field(static=True)

    pools = (
        Pool("iodide"), Pool("thyroid"), Pool("urine", "sink"), Pool("hormone", "sink"), Pool("dose_Gy", "state"),
        Pool("effective_dose_Gy", "state"),
    )  # fmt: skip
    regions = ("remainder", "thyroid")

    @classmethod
    def of(
        cls,
        *,
        uptake_fraction: float | None = None,
        thyroid_half_time_d: float | None = None,
        mass_g: float | None = None,
        stunning: bool = False,
        nuclide: str = "131I",
    ) -> Thyroid:
        """The typical patient of pbpk/data/models.csv, but for what is given.

        `uptake_fraction` is the part of the iodide that the gland would hold if nothing decayed or was released.

        Raises:
            InputError: a value out of its range, an unknown nuclide.
        """
        fraction = _typical("uptake_fraction") if uptake_fraction is None else uptake_fraction
        if not 0 < fraction < 1:
            found, do = f"{fraction:g}", "give a fraction, not percent"
            raise InputError(describe("uptake_fraction", found, "between 0 and 1", do))
        kept_d = _typical("thyroid_half_time") if thyroid_half_time_d is None else thyroid_half_time_d
        leaving = math.log(2) / (_typical("blood_half_time") * MIN_PER_D)
        return cls(
            uptake_per_min=jnp.asarray(fraction * leaving),
            excretion_per_min=jnp.asarray((1 - fraction) * leaving),
            release_per_min=math.log(2) / (positive("thyroid_half_time_d", kept_d) * MIN_PER_D),
            mass_g=positive("mass_g", _typical("mass") if mass_g is None else mass_g),
            stunning_per_Gy=jnp.asarray(math.log(2) / _typical("stunning_half_dose") if stunning else 0.0),
            onset_per_min=jnp.asarray(math.log(2) / (_typical("stunning_onset_half_time") * MIN_PER_D)),
            nuclide=radionuclide(nuclide),
        )

    def weights(self):
        return placed(self, iodide="remainder", thyroid="thyroid")

    def entry(self, hot_nmol, total_nmol):
        return jnp.zeros(len(self.pools)).at[0].set(hot_nmol)

    def derivative(self, t_min, y):
        iodide, gland, urine, hormone, dose_Gy, effective_Gy = y
        decay = self.nuclide.decay_constant_per_min
        taken_up = self.uptake_per_min * jnp.exp(-self.stunning_per_Gy * effective_Gy) * iodide
        excreted, released = self.excretion_per_min * iodide, self.release_per_min * gland
        return jnp.stack(
            [
                -taken_up - excreted - decay * iodide,
                taken_up - released - decay * gland,
                excreted - decay * urine,
                released - decay * hormone,
                self.dose_Gy_per_min(gland),
                self.onset_per_min * (dose_Gy - effective_Gy),
            ]
        )

    def dose_Gy_per_min(self, gland_nmol: Float[Array, ""]) -> Float[Array, ""]:
        """Dose rate of the gland from what it holds, photons left out (131I: they would add a tenth or so)."""
        per_nmol = local_dose_Gy_g_per_MBq_min(self.nuclide) * self.nuclide.activity_MBq_per_nmol
        return per_nmol * gland_nmol / self.mass_g
