"""One event of every photon lane: a flight by Woodcock's delta tracking, then what happens there.

Photo-electric absorption, Compton scattering of bound electrons, Rayleigh scattering, pair production. Electrons set
free leave their energy where they arise, or, above `free_MeV`, are handed on to be followed: one along the photon
(photo-electric), by momentum (Compton), or one of half the energy that counts twice (pair). What annihilates is one
photon of 511 keV that counts twice, in a random direction. Weights of two keep every mean.
"""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dose.montecarlo.attenuation import (
    ANGLE_ENERGIES,
    ENERGIES,
    HIGHEST_MEV,
    LOWEST_MEV,
    QUANTILES,
    PhotonTables,
)
from dose.montecarlo.geometry import Geometry
from dose.montecarlo.lanes import Stream, between, placed, turned

REST_MEV = np.float32(0.51099895)
LOG_LOWEST = float(np.log(LOWEST_MEV))
NEVER_MEV = 1e9
"""Of `free_MeV`: no electron is ever followed."""
SPAN = float(np.log(HIGHEST_MEV / LOWEST_MEV))


class Particles(eqx.Module):
    """Lanes of particles: energy in MeV (0: none), position in cm, direction, statistical weight."""

    energy_MeV: Float[Array, " lane"]
    position_cm: tuple[Float[Array, " lane"], ...]
    direction: tuple[Float[Array, " lane"], ...]
    weight: Float[Array, " lane"]


class PhotonPhysics(eqx.Module):
    """What a photon's event needs: cross sections, the geometry and its majorant."""

    tables: PhotonTables
    geometry: Geometry
    majorant_per_cm: Float[Array, " energy"]
    free_MeV: Float[Array, ""]
    cut_MeV: float = eqx.field(static=True)

    def event(self, stream: Stream, lanes: Particles):
        """The next event of every lane: (stream, lanes, cell, deposit in MeV, electrons set free). An energy of 0
        afterwards: the lane is free, or no electron is."""
        stream, draw = stream.draw(5)
        energy = lanes.energy_MeV
        alive = energy > 0
        log_energy = jnp.log(jnp.maximum(energy, np.float32(LOWEST_MEV)))
        lower, fraction = placed(log_energy, LOG_LOWEST, (ENERGIES - 1) / SPAN, ENERGIES)
        majorant = between(self.majorant_per_cm, lower, fraction)
        flight = -jnp.log(1 - draw[0]) / majorant
        position = tuple(p + d * flight for p, d in zip(lanes.position_cm, lanes.direction))
        cell, inside = self.geometry.locate(position)
        material, density = self.geometry.matter(cell)
        cumulative = between(self.tables.cumulative_cm2_g, material * ENERGIES + lower, fraction[:, None])
        reached = (draw[1] * majorant / density)[:, None] < cumulative
        photo, compton = reached[:, 0], reached[:, 1] & ~reached[:, 0]
        rayleigh, pair = reached[:, 2] & ~reached[:, 1], reached[:, 3] & ~reached[:, 2]
        cosine = self._cosine(log_energy, draw[2], draw[3], material, rayleigh)
        cosine = jnp.where(pair, 2 * draw[3] - 1, cosine)
        scattered = energy / (1 + energy / REST_MEV * (1 - cosine))
        after = jnp.where(compton, scattered, jnp.where(pair, REST_MEV, energy))
        stopped = photo | (after < np.float32(self.cut_MeV))
        after = jnp.where(stopped, 0, after)
        changed = compton | rayleigh | pair
        direction = turned(lanes.direction, jnp.where(changed, cosine, 1), draw[4])
        weight = jnp.where(pair, 2 * lanes.weight, lanes.weight)
        released = jnp.where(pair, energy - 2 * REST_MEV, energy - after)
        counted = inside & alive
        freed = self._freed(counted, energy, after, pair, released, position, lanes, direction, weight)
        deposit = jnp.where(counted, released * lanes.weight - freed.energy_MeV * freed.weight, 0)
        return stream, Particles(jnp.where(inside, after, 0), position, direction, weight), cell, deposit, freed

    def _freed(self, counted, energy, after, pair, released, position, lanes, direction, weight) -> Particles:
        """Electrons above `free_MeV`; the energy of the others is 0."""
        one = jnp.where(pair, released / 2, released)
        followed = counted & (one > self.free_MeV)
        scatter = jnp.where(pair, 0, after)
        momentum = [energy * d - scatter * e for d, e in zip(lanes.direction, direction)]
        length = jnp.sqrt(momentum[0] ** 2 + momentum[1] ** 2 + momentum[2] ** 2)
        along = tuple(m / jnp.maximum(length, np.float32(1e-20)) for m in momentum)
        return Particles(jnp.where(followed, one, 0), position, along, weight)

    def _cosine(self, log_energy, first, second, material, rayleigh):
        """Cosine drawn from the neighbouring row of the angle table, chosen at random in proportion."""
        lower, fraction = placed(log_energy, LOG_LOWEST, (ANGLE_ENERGIES - 1) / SPAN, ANGLE_ENERGIES)
        row = lower + (first < fraction)
        at = second * np.float32(QUANTILES - 1)
        quantile = at.astype(jnp.int32)
        table = (rayleigh * self.tables.materials + material) * ANGLE_ENERGIES + row
        return between(self.tables.cosine, table * QUANTILES + quantile, at - quantile.astype(jnp.float32))
