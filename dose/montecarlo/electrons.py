"""One condensed step of every electron lane: steady and sudden loss, a turn at a random hinge, energy left there.

A step loses a fixed share of the energy on average: steadily, and by single hard collisions, whose partner stays; it
turns softly, and by single hard deflections. Where all that is left could not reach a face of its voxel, or where the
energy is below the cut, the rest stays in place. What an electron of a decay radiates on the way is not left: it is
given to photons that start with the electron (`dose.montecarlo.sources`). Positrons are followed as electrons.
"""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dose.montecarlo.attenuation import ENERGIES, LOWEST_MEV
from dose.montecarlo.geometry import Geometry
from dose.montecarlo.lanes import Stream, between, placed, turned
from dose.montecarlo.photons import LOG_LOWEST, SPAN, Particles
from dose.montecarlo.stopping import HARD_DEFLECTIONS, HARDEST, SOFTEST, ElectronTables

INVERSE = np.float32(1 / SOFTEST), np.float32(1 / HARDEST)
"""Ends of energy over loss of a hard collision, which is uniform between them (1/W^2)."""


class ElectronPhysics(eqx.Module):
    """What an electron's step needs; `longest_cm` bounds a step (in gas a step may else jump over what lies beyond);
    with `radiates` False (electrons set free by photons) the little they radiate stays as well."""

    tables: ElectronTables
    geometry: Geometry
    longest_cm: Float[Array, ""]
    cut_MeV: float = eqx.field(static=True)
    radiates: bool = eqx.field(static=True, default=True)

    def event(self, stream: Stream, lanes: Particles):
        """The next step of every lane: (stream, lanes, cell, deposit in MeV, None). Energy 0 after: it is free."""
        stream, draw = stream.draw(8)
        energy = lanes.energy_MeV
        alive = energy > 0
        here, _ = self.geometry.locate(lanes.position_cm)
        material, density = self.geometry.matter(here)
        log_energy = jnp.log(jnp.maximum(energy, np.float32(LOWEST_MEV)))
        lower, fraction = placed(log_energy, LOG_LOWEST, (ENERGIES - 1) / SPAN, ENERGIES)
        row = between(self.tables.rows, material * ENERGIES + lower, fraction[:, None])
        step_cm, reach_cm = row[:, 0] / density, row[:, 3] / density
        part = jnp.minimum(self.longest_cm / step_cm, 1)
        ends = (energy < np.float32(self.cut_MeV)) | (reach_cm < self.geometry.clearance_cm(lanes.position_cm))
        length = jnp.where(ends, 0, part * step_cm)
        before = draw[0] * length
        hinge = tuple(p + d * before for p, d in zip(lanes.position_cm, lanes.direction))
        steady = np.float32(self.tables.loss) * part * energy * (1 - row[:, 6])
        sudden = jnp.where(draw[3] < row[:, 5] * part, energy / (INVERSE[0] - (INVERSE[0] - INVERSE[1]) * draw[4]), 0)
        kept = (row[:, 4], row[:, 2]) if self.radiates else (1, 1)
        lost = jnp.where(ends, energy, steady + sudden)
        left = jnp.where(ends, energy * kept[0], steady * kept[1] + sudden)
        direction = turned(lanes.direction, self._cosine(draw[1], row[:, 1] * part), draw[2])
        direction = turned(direction, self._single(row, part, draw[5], draw[6]), draw[7])
        position = tuple(h + d * (length - before) for h, d in zip(hinge, direction))
        cell, inside = self.geometry.locate(hinge)
        _, still = self.geometry.locate(position)
        deposit = jnp.where(alive & inside, left * lanes.weight, 0)
        after = jnp.where(still & ~ends, energy - lost, 0)
        return stream, Particles(after, position, direction, lanes.weight), cell, deposit, None

    @staticmethod
    def _single(row, part, chance, uniform):
        """Cosine of a single hard deflection, 1 where there is none."""
        mu = 1 / (row[:, 7] - (row[:, 7] - row[:, 8]) * uniform) - row[:, 9]
        return jnp.where(chance < np.float32(HARD_DEFLECTIONS) * part, jnp.clip(1 - 2 * mu, -1, 1), 1)

    @staticmethod
    def _cosine(uniform, width):
        """From the law exp(-(1 - cos)/width) on -1 to 1."""
        cosine = 1 + width * jnp.log(1 - uniform * (1 - jnp.exp(-2 / width)))
        return jnp.clip(cosine, -1, 1)
