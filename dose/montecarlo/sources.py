"""Where decays happen and what they emit, as queues of particles for the wavefront.

Decays are spread over the voxels systematically (one random start, equal strides along the summed activity), which
gives every voxel its share to within one particle and less variance than independent draws. Energies run through the
quantiles of the emission by steps of the golden ratio, so that each voxel's particles have all of them in proportion.
"""

from __future__ import annotations

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dose.emissions import emissions
from dose.montecarlo.decays import ELECTRON_LEAST_MEV, PHOTON_LEAST_MEV, bremsstrahlung, electron_energies
from dose.montecarlo.lanes import isotropic
from dose.montecarlo.materials import Material

STRATA = 2**16
GOLDEN = (5**0.5 - 1) / 2


class VoxelSource(eqx.Module):
    """Voxels that hold activity: the cumulative share of decays, [voxel], and their corners (x, y, z) in cm."""

    cumulative: Float[Array, " voxel"]
    corner_cm: Float[Array, "voxel 3"]
    spacing_cm: Float[Array, 3]


def voxel_source(tia: Float[np.ndarray, "z y x"], spacing_cm: Float[Array, 3]) -> VoxelSource:
    """The source of a map of activity of any scale; spacing as (x, y, z)."""
    weight = np.asarray(tia, float)
    where = np.argwhere(weight > 0)
    cumulative = np.cumsum(weight[tuple(where.T)])
    corner = (where[:, ::-1] * np.asarray(spacing_cm)).astype(np.float32)
    room = 2 ** int(np.ceil(np.log2(len(where)))) - len(where)  # few sizes mean few compiled programs
    padded = np.append(cumulative / cumulative[-1], np.full(room, 2.0))
    return VoxelSource(jnp.asarray(padded), jnp.asarray(np.pad(corner, ((0, room), (0, 0)), "edge")), spacing_cm)


@partial(jax.jit, static_argnums=3)
def queue(source: VoxelSource, energies_MeV: Float[Array, " stratum"], key, particles: int):
    """Particles [particle, 8] as `wavefront.transport` reads them, of weight 1."""
    place, rest = jax.random.split(key)
    at = (jnp.arange(particles) + jax.random.uniform(place, dtype=float)) / particles
    voxel = jnp.minimum(jnp.searchsorted(source.cumulative, at), source.cumulative.shape[0] - 1)
    uniform = jax.random.uniform(rest, (5, particles), jnp.float32)
    start = jax.random.uniform(jax.random.fold_in(rest, 1), dtype=float)
    spread = (jnp.arange(particles, dtype=float) * GOLDEN + start) % 1.0
    energy = energies_MeV[jnp.minimum((spread * energies_MeV.shape[0]).astype(jnp.int32), energies_MeV.shape[0] - 1)]
    corner = source.corner_cm[voxel]
    position = [corner[:, k] + source.spacing_cm[k] * uniform[k] for k in range(3)]
    direction = isotropic(uniform[3], uniform[4])
    return jnp.stack([energy, *position, *direction, jnp.ones(particles, jnp.float32)], axis=1)


class Emission(eqx.Module):
    """One kind of particle of a decay: energies of equal number [stratum] in MeV, particles per decay."""

    energies_MeV: Float[Array, " stratum"]
    per_decay: float = eqx.field(static=True)


def emission(energy_MeV: np.ndarray, per_decay: np.ndarray) -> Emission:
    """Strata of equal number of a list of energies; their mean is put right to the list's own."""
    total = float(per_decay.sum())
    middle = (np.arange(STRATA) + 0.5) / STRATA * total
    strata = energy_MeV[np.minimum(np.searchsorted(np.cumsum(per_decay), middle), len(energy_MeV) - 1)]
    scale = (energy_MeV @ per_decay) / total / strata.mean()
    return Emission(jnp.asarray((strata * scale).astype(np.float32)), total)


def of_nuclide(nuclide: str, matter: Material) -> tuple[Emission | None, Emission | None, float]:
    """Electrons, photons (with the bremsstrahlung of these electrons in `matter`) and the energy in MeV per decay that
    stays where the decay is: electrons below 5 keV, photons below 1 keV. Alphas and recoils aren't among it."""
    energy, number = electron_energies(nuclide)
    hard = (energy >= ELECTRON_LEAST_MEV) & (number > 0)
    lines = emissions(nuclide).photons
    soft_MeV, soft_number, left = bremsstrahlung(matter, energy[hard], number[hard])
    photon = np.concatenate([lines.energy_MeV, soft_MeV])
    count = np.concatenate([lines.per_decay, soft_number])
    far = (photon >= PHOTON_LEAST_MEV) & (count > 0)
    local = float(energy[~hard] @ number[~hard] + photon[~far] @ count[~far] + left)
    electrons = emission(energy[hard], number[hard]) if hard.any() else None
    return electrons, emission(photon[far], count[far]) if far.any() else None, local
