"""Microspheres that stay where they lodge: the partition model of 90Y and 166Ho radioembolisation, in closed form.

Of the activity given, the part S (lung shunt) lies in the lungs. The rest is shared by tumour and normal liver as their
masses times the uptake ratio r of the two, a ratio of concentrations (Ho 1996; Kao 2013 tells it from other ratios):

    tumour = (1 - S) r m_T / (r m_T + m_N),   normal liver = (1 - S) m_N / (r m_T + m_N),   lungs = S

Nothing moves afterwards, so A(t) = A(0) exp(-lambda t) everywhere, and with all electron energy absorbed in the region
the dose is D = f A(0) / m with f = E / lambda: 49.8 Gy kg/GBq for 90Y (clinics use 49.67 or 50), 15.5 for 166Ho
(15.87 in use).
"""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from dose.errors import InputError, describe
from dose.nuclides import Radionuclide, radionuclide
from pbpk.abstract import AbstractClosedFormModel, Pool
from pbpk.models.tables import local_dose_Gy_g_per_MBq_min, positive, typical


class Microspheres(AbstractClosedFormModel):
    """One treated liver; region "liver" is the perfused liver without the tumour."""

    uptake_ratio: Float[Array, ""]
    lung_shunt: Float[Array, ""]
    tumour_g: Float[Array, ""]
    normal_liver_g: Float[Array, ""]
    lungs_g: Float[Array, ""]
    nuclide: Radionuclide = eqx.field(static=True)

    pools = (Pool("tumour"), Pool("normal_liver"), Pool("lungs"))
    regions = ("tumour_1", "liver", "lungs")

    @classmethod
    def of(
        cls,
        *,
        uptake_ratio: float,
        lung_shunt: float,
        tumour_g: float,
        normal_liver_g: float,
        lungs_g: float | None = None,
        nuclide: str = "90Y",
    ) -> Microspheres:
        """From measured masses and ratios; the lungs take 1 kg if not given (pbpk/data/models.csv).

        Raises:
            InputError: a shunt outside 0 to 1, a mass or ratio not above 0, an unknown nuclide.
        """
        if not 0 <= lung_shunt < 1:
            raise InputError(describe("lung_shunt", f"{lung_shunt:g}", "0 to below 1", "give a fraction, not percent"))
        return cls(
            uptake_ratio=positive("uptake_ratio", uptake_ratio),
            lung_shunt=jnp.asarray(float(lung_shunt)),
            tumour_g=positive("tumour_g", tumour_g),
            normal_liver_g=positive("normal_liver_g", normal_liver_g),
            lungs_g=positive("lungs_g", typical("microspheres", "lung_mass") if lungs_g is None else lungs_g),
            nuclide=radionuclide(nuclide),
        )

    def weights(self):
        return jnp.eye(len(self.pools))

    def shares(self) -> Float[Array, " region"]:
        """The part of the activity that lodges in each region."""
        tumour = self.uptake_ratio * self.tumour_g
        in_liver = jnp.stack([tumour, self.normal_liver_g]) / (tumour + self.normal_liver_g)
        return jnp.append((1 - self.lung_shunt) * in_liver, self.lung_shunt)

    def dose_Gy_per_MBq(self) -> Float[Array, " region"]:
        """Dose of each region for a MBq given, to infinity, electrons absorbed where they are born."""
        factor = local_dose_Gy_g_per_MBq_min(self.nuclide) / self.nuclide.decay_constant_per_min
        return factor * self.shares() / jnp.stack([self.tumour_g, self.normal_liver_g, self.lungs_g])

    def entry(self, hot_nmol, total_nmol):
        return hot_nmol * self.shares()

    def derivative(self, t_min, y):
        return -self.nuclide.decay_constant_per_min * y

    def advance(self, y, inflow_per_min, minutes):
        decay = self.nuclide.decay_constant_per_min
        mean_min = -jnp.expm1(-decay * minutes) / decay
        end = y * jnp.exp(-decay * minutes) + inflow_per_min * mean_min
        return end, y * mean_min + inflow_per_min * (minutes - mean_min) / decay
