"""Monte Carlo: photons of 208 keV in water beside numba doing the same; a 177Lu patient to 2 % in the kidneys.

The peer is the history-based kernel that shared/DOSE.md 3.3 used: Woodcock flight, photo-electric absorption and
Compton scattering of free electrons from a table, one thread a share of the photons. Ours adds Rayleigh scattering,
binding and pair production. Compile times are in neither.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from dose.montecarlo import material, simulate
from dose.montecarlo.attenuation import attenuation_cm2_g, cosines, photon_tables
from dose.montecarlo.geometry import majorant_per_cm
from dose.montecarlo.photons import NEVER_MEV, PhotonPhysics
from dose.montecarlo.point import _from_origin
from dose.montecarlo.run import voxel_grid
from dose.montecarlo.sources import of_nuclide
from dose.montecarlo.wavefront import transport
from tests.bench import Skipped, bench

ENERGY_MEV, CUBE, SPACING_MM = 0.2084, 64, 4.0
PHOTONS, LANES, THREADS, ROUNDS = 2**20, 16384, 2, 3
PATIENT, VOXEL_MM, TARGET = 128, 3.0, 0.02


@cache
def _physics() -> PhotonPhysics:
    grid = voxel_grid(np.ones((CUBE,) * 3), (SPACING_MM,) * 3)
    tables = photon_tables((material("water"),))
    return PhotonPhysics(tables, grid, majorant_per_cm(tables, grid), jnp.float32(NEVER_MEV), 0.01)


def _ours(seed: int) -> float:
    """Absorbed share of the energy of one batch from the centre of the cube."""
    key, flight = jax.random.split(jax.random.key(seed))
    centre = CUBE * SPACING_MM / 20
    queue = _from_origin(key, jnp.float32(ENERGY_MEV), PHOTONS).at[:, 1:4].set(centre)
    tally = transport(_physics(), queue, PHOTONS, flight, LANES).tally_MeV
    return float(tally.sum()) / PHOTONS / ENERGY_MEV


@cache
def _numba_kernel():
    try:
        import numba
    except ImportError:
        raise Skipped("numba is not installed: pip install numba") from None

    @numba.njit(fastmath=True, nogil=True)
    def histories(photons, seed, n, spacing, photo, compton, cosine):
        np.random.seed(seed)  # noqa: NPY002
        tally = np.zeros((n, n, n))
        for _ in range(photons):
            x = y = z = n * spacing / 2
            w = 2 * np.random.random() - 1  # noqa: NPY002
            phi, s = 2 * np.pi * np.random.random(), np.sqrt(1 - w * w)  # noqa: NPY002
            u, v, energy = s * np.cos(phi), s * np.sin(phi), 0.2084
            while True:
                k = int(energy * 1000)
                total = photo[k] + compton[k]
                step = -np.log(1 - np.random.random()) / total  # noqa: NPY002
                x, y, z = x + u * step, y + v * step, z + w * step
                i, j, m = int(np.floor(x / spacing)), int(np.floor(y / spacing)), int(np.floor(z / spacing))
                if i < 0 or j < 0 or m < 0 or i >= n or j >= n or m >= n:
                    break
                if np.random.random() * total < photo[k]:  # noqa: NPY002
                    tally[i, j, m] += energy
                    break
                at = np.random.random() * 127  # noqa: NPY002
                q = int(at)
                mu = cosine[k, q] + (at - q) * (cosine[k, q + 1] - cosine[k, q])
                after = energy / (1 + energy / 0.51099895 * (1 - mu))
                if after < 0.01:
                    tally[i, j, m] += energy
                    break
                tally[i, j, m] += energy - after
                energy, st, phi = after, np.sqrt(max(0.0, 1 - mu * mu)), 2 * np.pi * np.random.random()  # noqa: NPY002
                cp, sp = np.cos(phi), np.sin(phi)
                if abs(w) > 0.9999:
                    u, v, w = st * cp, st * sp, mu * w
                else:
                    g = np.sqrt(1 - w * w)
                    u, v, w = (
                        u * mu + st * (u * w * cp - v * sp) / g,
                        v * mu + st * (v * w * cp + u * sp) / g,
                        w * mu - g * st * cp,
                    )
        return tally

    return histories


@cache
def _numba_tables():
    energy = np.maximum(np.arange(300) / 1000 + 0.0005, 0.001)
    own = attenuation_cm2_g(material("water"), energy)
    grid = np.geomspace(1e-3, 10.0, 192)
    rows = np.clip(np.searchsorted(grid, energy), 0, 191)
    return own[0].copy(), own[1].copy(), cosines(material("water"))[0][rows]


def _numba(seed: int) -> float:
    tally = _numba_kernel()(PHOTONS, seed, CUBE, SPACING_MM / 10, *_numba_tables())
    return float(tally.sum()) / PHOTONS / ENERGY_MEV


@cache
def _rate(work) -> float:
    """Million photons per second of two threads: the best of a few rounds, compiled before."""
    work(0)
    best = 0.0
    with ThreadPoolExecutor(THREADS) as pool:
        for k in range(ROUNDS):
            begin = time.perf_counter()
            list(pool.map(work, range(1 + 4 * k, 5 + 4 * k)))
            best = max(best, 4 * PHOTONS / (time.perf_counter() - begin) / 1e6)
    return best


@bench("dose/montecarlo: photons of 208 keV, 25.6 cm of water, 64^3", unit="million/s", peer="numba 0.68, two threads")
def photons():
    return _rate(_ours), _rate(_numba)


@bench("dose/montecarlo: absorbed share, ours and numba's", unit="1", peer="numba (no Rayleigh, free electrons)")
def shares():
    return float(np.mean([_ours(k) for k in range(4)])), _numba(0)


def patient() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Activity, density, material index (soft tissue, lung, bone, air) and labels of an ellipse with two kidneys, a
    liver, lungs and a spine: the counts of a 177Lu patient, without a patient."""
    z, y, x = (np.indices((PATIENT,) * 3) - PATIENT / 2) * VOXEL_MM
    body = (x / 170) ** 2 + (y / 110) ** 2 < 1
    tia = np.where(body, 1.0, 0.0)
    density = np.where(body, 1.04, 0.0012)
    index = np.where(body, 0, 3).astype(np.uint8)
    for side in (-1, 1):
        lung = ((x - side * 80) / 55) ** 2 + (y / 75) ** 2 + ((z - 130) / 90) ** 2 < 1
        density[lung], index[lung] = 0.26, 1
    spine = (x / 18) ** 2 + ((y - 70) / 18) ** 2 < 1
    density[spine], index[spine] = 1.4, 2
    labels = np.zeros(tia.shape, np.int32)
    for k, (side, a) in enumerate(((-1, 26), (1, 26))):
        kidney = ((x - side * 65) / a) ** 2 + ((y - 45) / 26) ** 2 + ((z + 40) / 55) ** 2 < 1
        tia[kidney], labels[kidney] = 40.0, 1 + k
    liver = ((x - 70) / 80) ** 2 + ((y + 20) / 60) ** 2 + ((z - 30) / 60) ** 2 < 1
    tia[liver & (labels == 0)] = 8.0
    return tia, density, index, labels


@bench(
    "dose/montecarlo: 177Lu patient, 128^3 of 3 mm, kidneys to 2 %",
    unit="s",
    peer="the issue's limit",
    peer_value=600.0,
)
def lutetium():
    tia, density, index, labels = patient()
    materials = ("soft_tissue", "lung", "cortical_bone", "air")
    begin = time.perf_counter()
    made = simulate("177Lu", tia, density, (VOXEL_MM,) * 3, index, materials, target_relative_sd=TARGET, regions=labels)
    assert made.relative_sd.max() <= TARGET
    return time.perf_counter() - begin


@bench("dose/montecarlo: decays of 177Lu in that patient", unit="million/s")
def decays():
    """Decays whose electrons and photons were all followed, per second, compiled before."""
    tia, density, index, labels = patient()
    materials = ("soft_tissue", "lung", "cortical_bone", "air")
    asked = (tia, density, (VOXEL_MM,) * 3, index, materials)
    simulate("177Lu", *asked, histories=2**20)
    begin = time.perf_counter()
    made = simulate("177Lu", *asked, histories=2**23)
    seconds = time.perf_counter() - begin
    electrons, _, _ = of_nuclide("177Lu", material("soft_tissue"))
    return made.histories / electrons.per_decay / seconds / 1e6
