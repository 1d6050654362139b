"""Mono-energetic point kernels: what share of a particle's energy stays within a radius of a point source.

One endless homogeneous material at unit density, so radii are in g/cm2 and serve any density. Electrons that photons
set free are followed from 50 keV on. What electrons of the source radiate is missing from their sum.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dose.montecarlo.attenuation import photon_tables
from dose.montecarlo.electrons import ElectronPhysics
from dose.montecarlo.geometry import Shells, majorant_per_cm
from dose.montecarlo.lanes import isotropic
from dose.montecarlo.materials import Material
from dose.montecarlo.photons import NEVER_MEV, PhotonPhysics
from dose.montecarlo.stopping import electron_tables
from dose.montecarlo.wavefront import transport

SHELLS = Shells(density=1.0, first_cm=1e-6, per_log=32.0, bins=640)
"""Radii from 1e-6 to 460 g/cm2, each 3 % beyond the one before."""
ELECTRON_CUT_MEV, PHOTON_CUT_MEV = 0.001, 0.001
LANES, BATCH = 16384, 2**18
UNBOUNDED_CM = np.float32(1e9)
FREE_MEV, FREED_CUT_MEV = 0.05, 0.01
SECONDARY_LOSS = 0.1
"""Coarser steps for electrons that photons set free."""
FREED_PER_PHOTON = 4
"""Room for electrons set free; what finds none deposits where it arises."""


@partial(jax.jit, static_argnums=2)
def _from_origin(key, energy_MeV, particles: int) -> Float[Array, "particle 8"]:
    uniform = jax.random.uniform(key, (2, particles), jnp.float32)
    direction = isotropic(uniform[0], uniform[1])
    zero, one = jnp.zeros(particles, jnp.float32), jnp.ones(particles, jnp.float32)
    return jnp.stack([one * energy_MeV, zero, zero, zero, *direction, one], axis=1)


def _shared(physics, energy_MeV: float, histories: int, seed: int, freed=None) -> Float[np.ndarray, "batch shell"]:
    """Share of the energy left within the outer radius of each shell, batch by batch."""
    made, room = [], FREED_PER_PHOTON * BATCH if freed else 0
    for batch in range(-(-histories // BATCH)):
        source, flight = jax.random.split(jax.random.fold_in(jax.random.key(seed), batch))
        queue = _from_origin(source, jnp.float32(energy_MeV), BATCH)
        with jax.enable_x64(True):
            found = transport(physics, queue, BATCH, flight, LANES, room)
            tally = np.asarray(found.tally_MeV, float)
            if freed:
                onward = transport(freed, found.freed, found.number, jax.random.fold_in(flight, 1), LANES)
                tally = tally + np.asarray(onward.tally_MeV)
        made.append(np.cumsum(tally) / (BATCH * energy_MeV))
    return np.array(made)


def electron_share(matter: Material, energy_MeV: float, histories: int = BATCH, seed: int = 0, **options):
    """Cumulative share by batch and shell of `SHELLS.radius_cm` (in g/cm2), [batch, shell]; the last shell is all.

    `options`: `loss`, the share of its energy an electron loses in a step.
    """
    physics = ElectronPhysics(
        electron_tables((matter,), **options), SHELLS, jnp.asarray(UNBOUNDED_CM), ELECTRON_CUT_MEV
    )
    return _shared(physics, energy_MeV, histories, seed)


def photon_share(matter: Material, energy_MeV: float, histories: int = BATCH, seed: int = 0):
    """Cumulative share by batch and shell of `SHELLS.radius_cm` (in g/cm2), [batch, shell]; the last shell is all."""
    tables = photon_tables((matter,))
    follow = energy_MeV > 2 * FREE_MEV
    free = FREE_MEV if follow else NEVER_MEV
    physics = PhotonPhysics(tables, SHELLS, majorant_per_cm(tables, SHELLS), jnp.float32(free), PHOTON_CUT_MEV)
    slow = electron_tables((matter,), SECONDARY_LOSS)
    freed = ElectronPhysics(slow, SHELLS, jnp.asarray(UNBOUNDED_CM), FREED_CUT_MEV, radiates=False) if follow else None
    return _shared(physics, energy_MeV, histories, seed, freed)
