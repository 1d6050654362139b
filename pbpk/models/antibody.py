"""A labelled antibody: slow kinetics, linear clearance, and a tumour whose antigen can be filled up.

All antibody and its labelled part each have a central pool c and a peripheral one p, and in the tumour a free (f), a
bound (b) and an internalised pool (n); the two meet only in the free receptors R = R_0 - b of all antibody:

    c' = -(CL + Q)/V_1 c + Q/V_2 p - PS (c/V_1 - f/V_f)
    p' = Q/V_1 c - Q/V_2 p
    f' = PS (c/V_1 - f/V_f) - k_on R f/V_f + k_off b
    b' = k_on R f/V_f - (k_off + k_int) b
    n' = k_int b - k_rel n

The labelled part decays besides. Two compartments with linear clearance are what most population analyses of antibodies
found (Dirks and Meibohm 2010); the tumour is this project's, its values assumptions (pbpk/data/models.csv).
"""

from __future__ import annotations

import math

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from dose.nuclides import Radionuclide, radionuclide
from pbpk.abstract import AbstractKineticModel, Pool, placed
from pbpk.models.tables import MIN_PER_D, positive, typical

PLACES = ("central", "peripheral", "free", "bound", "internalised")
_typical = lambda name: typical("antibody", name)


class Antibody(AbstractKineticModel):
    """One patient with one antigen-positive tumour; volumes in L, flows in L/min, rates per min."""

    central_L: Float[Array, ""]
    peripheral_L: Float[Array, ""]
    clearance_L_per_min: Float[Array, ""]
    exchange_L_per_min: Float[Array, ""]
    tumour_free_L: Float[Array, ""]
    permeability_L_per_min: Float[Array, ""]
    receptors_nmol: Float[Array, ""]
    k_on_L_per_nmol_min: Float[Array, ""]
    k_off_per_min: Float[Array, ""]
    internalisation_per_min: Float[Array, ""]
    release_per_min: Float[Array, ""]
    nuclide: Radionuclide = eqx.field(static=True)

    pools = (
        *(Pool(f"all_{place}", "amount") for place in PLACES), *(Pool(place) for place in PLACES),
        Pool("cleared", "sink"), Pool("released", "sink"),
    )  # fmt: skip
    regions = ("blood", "remainder", "tumour_1")

    @classmethod
    def of(cls, *, tumour_mL: float, receptor_density_nM: float | None = None, nuclide: str = "177Lu") -> Antibody:
        """The typical antibody of pbpk/data/models.csv in a patient with a tumour of this volume.

        Raises:
            InputError: a volume or density not above 0 (a density of 0 is a tumour without antigen), unknown nuclide.
        """
        volume_L = positive("tumour_mL", tumour_mL) / 1000
        density = _typical("receptor_density") if receptor_density_nM is None else receptor_density_nM
        value = lambda name: jnp.asarray(_typical(name))
        return cls(
            central_L=value("central_volume"),
            peripheral_L=value("peripheral_volume"),
            clearance_L_per_min=value("clearance") / MIN_PER_D,
            exchange_L_per_min=value("exchange") / MIN_PER_D,
            tumour_free_L=value("tumour_interstitial_fraction") * volume_L,
            permeability_L_per_min=value("tumour_permeability") * volume_L,
            receptors_nmol=positive("receptor_density_nM", density, zero=True) * volume_L,
            k_on_L_per_nmol_min=value("k_on"),
            k_off_per_min=value("k_on") * value("KD"),
            internalisation_per_min=value("internalisation"),
            release_per_min=value("release"),
            nuclide=radionuclide(nuclide),
        )

    def weights(self):
        tumour = dict.fromkeys(("free", "bound", "internalised"), "tumour_1")
        return placed(self, central="blood", peripheral="remainder", **tumour)

    def entry(self, hot_nmol, total_nmol):
        return jnp.zeros(len(self.pools)).at[0].set(total_nmol).at[len(PLACES)].set(hot_nmol)

    def derivative(self, t_min, y):
        everything, label, sinks = y[: len(PLACES)], y[len(PLACES) : -2], y[-2:]
        free_receptors = self.receptors_nmol - everything[PLACES.index("bound")]
        d_all, _ = self._species(everything, free_receptors)
        d_label, left = self._species(label, free_receptors)
        decayed = self.nuclide.decay_constant_per_min * jnp.concatenate([label, sinks])
        return jnp.concatenate([d_all, jnp.concatenate([d_label, left]) - decayed])

    def _species(self, x, free_receptors):
        """Derivatives of the five pools without decay, and what leaves the body: cleared, released."""
        central, peripheral, free, bound, internalised = x
        cleared = self.clearance_L_per_min * central / self.central_L
        exchanged = self.exchange_L_per_min * (central / self.central_L - peripheral / self.peripheral_L)
        entering = self.permeability_L_per_min * (central / self.central_L - free / self.tumour_free_L)
        binding = self.k_on_L_per_nmol_min * free_receptors * free / self.tumour_free_L - self.k_off_per_min * bound
        taken_in, released = self.internalisation_per_min * bound, self.release_per_min * internalised
        flows = (
            -cleared - exchanged - entering,
            exchanged,
            entering - binding,
            binding - taken_in,
            taken_in - released,
        )
        return jnp.stack(flows), jnp.stack([cleared, released])

    @property
    def central_half_life_d(self) -> float:
        """Terminal biological half-life of the two plasma pools without the tumour (d)."""
        a, b = float(self.clearance_L_per_min / self.central_L), float(self.exchange_L_per_min / self.central_L)
        c = float(self.exchange_L_per_min / self.peripheral_L)
        slow = ((a + b + c) - math.sqrt((a + b + c) ** 2 - 4 * a * c)) / 2
        return math.log(2) / slow / MIN_PER_D
