"""Absorbed dose of a voxel map of activity by Monte Carlo, batch by batch, with its statistical uncertainty.

Each batch follows equal numbers of electrons and photons of the nuclide (scaled to one decay afterwards), drains them
all, and is an independent sample: means and variances come from the batches. A run is told by its seed alone, however
many threads share the batches. Electrons that photons set free are followed where their range reaches a tenth of a
voxel and deposit where they arise otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt8

from dose.errors import InputError, describe
from dose.montecarlo.attenuation import GRID_MEV, photon_tables
from dose.montecarlo.electrons import ElectronPhysics
from dose.montecarlo.geometry import VoxelGrid, majorant_per_cm
from dose.montecarlo.materials import material
from dose.montecarlo.photons import NEVER_MEV, PhotonPhysics
from dose.montecarlo.sources import of_nuclide, queue, voxel_source
from dose.montecarlo.stopping import LOSS_PER_STEP, electron_tables, slowing
from dose.montecarlo.wavefront import transport

ELECTRON_CUT_MEV, PHOTON_CUT_MEV = 0.005, 0.005
LEAST_BATCHES = 8
FOLLOWED = 0.1
"""Electrons that photons set free are followed if their range is above this share of a voxel's shortest side."""
HISTORIES = 2**22
"""Most particles of each kind, unless the caller names another number."""


@dataclass(frozen=True)
class Scale:
    """How many lanes step together and how many particles make a batch, on this machine."""

    lanes: int
    batch: int
    workers: int

    @staticmethod
    def here() -> Scale:
        if jax.default_backend() == "cpu":
            return Scale(8192, 2**18, max(1, min(os.cpu_count() or 1, 8)))
        return Scale(2**20, 2**23, 1)


@dataclass(frozen=True, eq=False)
class Simulated:
    """Energy left per decay of the whole map, in MeV, as [z, y, x] or [bin]: the mean over batches and the sd of it.

    `local_MeV` per decay stays in the decay's own voxel and isn't in the maps; `histories` counts particles of each
    kind. `relative_sd` [region] is that of the named regions' energy, if there were any.
    """

    electron_MeV: np.ndarray
    photon_MeV: np.ndarray
    sd_MeV: np.ndarray
    local_MeV: float
    histories: int
    relative_sd: np.ndarray


@dataclass(frozen=True, eq=False)
class Scene:
    """What stays the same in all batches."""

    kinds: tuple[tuple[object, object, float], ...]
    source: object
    bins: int
    freed: ElectronPhysics | None = None


def voxel_grid(density_g_cm3, spacing_mm, material_index=None, bin_of=None, bins: int | None = None) -> VoxelGrid:
    """The grid of an image [z, y, x], with spacing (z, y, x) in mm."""
    density = np.asarray(density_g_cm3, np.float32)
    index = np.zeros(density.shape, np.uint8) if material_index is None else np.asarray(material_index, np.uint8)
    spacing_cm = jnp.asarray(np.asarray(spacing_mm, np.float32)[::-1] / 10)
    own = None if bin_of is None else jnp.asarray(np.asarray(bin_of).ravel())
    shape = tuple(int(n) for n in density.shape)
    return VoxelGrid(
        jnp.asarray(density.ravel()), jnp.asarray(index.ravel()), own, spacing_cm, shape, bins or density.size
    )


def simulate(
    nuclide: str,
    tia: Float[np.ndarray, "z y x"],
    density_g_cm3: Float[np.ndarray, "z y x"],
    spacing_mm: tuple[float, float, float],
    material_index: UInt8[np.ndarray, "z y x"] | None = None,
    materials: tuple = ("soft_tissue",),
    *,
    histories: int = HISTORIES,
    target_relative_sd: float | None = None,
    regions: Int[np.ndarray, "z y x"] | None = None,
    seed: int = 0,
    progress: Callable[[int, int, float], None] | None = None,
    electrons: bool = True,
    scale: Scale | None = None,
) -> Simulated:
    """Energy per decay in every voxel.

    Args:
        nuclide: on its own; add its progeny's runs (`dose.voxel` does).
        tia: decays by voxel, of any scale.
        density_g_cm3, spacing_mm: of the voxels, (z, y, x).
        material_index, materials: which of the materials each voxel is made of; None: all of the first.
        histories: particles of each kind at most.
        target_relative_sd: stop as soon as every region of `regions` (labels 1 and up) is known this well.
        progress: called after each batch with particles done, most particles, worst relative sd so far (inf at first).
        electrons: False leaves all electron energy to `local_MeV`.

    Raises:
        InputError: shapes that differ, an empty source, a target without regions, fewer histories than 8 batches of 1.
    """
    where = np.asarray(tia, float)
    _check(where, np.asarray(density_g_cm3), material_index, regions, target_relative_sd, histories)
    chosen = tuple(material(m) for m in materials)
    grid = voxel_grid(density_g_cm3, spacing_mm, material_index)
    with jax.enable_x64(True):  # positions along the summed activity need double precision
        scene, local = _scene(nuclide, chosen, grid, where, electrons)
    return _run(scene, local, where.shape, histories, target_relative_sd, regions, seed, progress, scale)


def _check(tia, density, index, regions, target, histories) -> None:
    for name, other in (("density_g_cm3", density), ("material_index", index), ("regions", regions)):
        if other is not None and np.shape(other) != tia.shape:
            do = "resample to one grid"
            raise InputError(describe(name, f"shape {np.shape(other)}", f"that of tia, {tia.shape}", do))
    if tia.ndim != 3 or not np.all(np.isfinite(tia) & (tia >= 0)) or not tia.any():
        found = f"{tia.ndim} axes, {int(np.sum(~(tia >= 0)))} values below 0 or not a number, sum {np.sum(tia):.3g}"
        raise InputError(describe("tia", found, "three axes of numbers of 0 or more, some above 0", "see the map"))
    if target is not None and (regions is None or not np.any(np.asarray(regions) > 0) or not target > 0):
        do = "give regions=, labels of the regions to be known that well"
        raise InputError(describe("target_relative_sd", f"{target} without regions", "labels of 1 and up", do))
    if histories < LEAST_BATCHES:
        raise InputError(describe("histories", f"{histories}", f"{LEAST_BATCHES} or more", "ask for a million"))


def _scene(nuclide, chosen, grid, where, electrons) -> tuple[Scene, float]:
    main = _main(chosen, grid)
    emitted, photons, local = of_nuclide(nuclide, main)
    shortest = jnp.min(grid.spacing_cm)
    tables = electron_tables(chosen, LOSS_PER_STEP)
    follow = ElectronPhysics(tables, grid, shortest, ELECTRON_CUT_MEV)
    own = (follow, emitted.energies_MeV, emitted.per_decay) if emitted is not None and electrons else None
    if emitted is not None and not electrons:
        local += float(np.mean(np.asarray(emitted.energies_MeV, float))) * emitted.per_decay
    if photons is None:
        return Scene((own, None), voxel_source(where, grid.spacing_cm), grid.bins), local
    free = _free_MeV(main, float(shortest)) if electrons else NEVER_MEV
    freed = float(photons.energies_MeV.max()) > free and free < NEVER_MEV
    physics = _photon_physics(chosen, grid, free if freed else NEVER_MEV)
    secondary = ElectronPhysics(tables, grid, shortest, ELECTRON_CUT_MEV, radiates=False) if freed else None
    kinds = (own, (physics, photons.energies_MeV, photons.per_decay))
    return Scene(kinds, voxel_source(where, grid.spacing_cm), grid.bins, secondary), local


def _main(chosen, grid: VoxelGrid):
    """The material that makes up most of the mass: what radiates and how far freed electrons reach is taken from it."""
    mass = np.bincount(np.asarray(grid.material), np.asarray(grid.density_g_cm3, float), len(chosen))
    return chosen[int(np.argmax(mass))]


def _photon_physics(chosen, grid, free_MeV: float = NEVER_MEV) -> PhotonPhysics:
    tables = photon_tables(chosen)
    return PhotonPhysics(tables, grid, majorant_per_cm(tables, grid), jnp.float32(free_MeV), PHOTON_CUT_MEV)


def _free_MeV(matter, spacing_cm: float) -> float:
    """Energy whose range, in this matter at its own density, is `FOLLOWED` of a voxel."""
    reach = slowing(matter).range_g_cm2 / matter.density_g_cm3
    return float(np.interp(FOLLOWED * spacing_cm, reach, GRID_MEV))


def _batch(scene: Scene, seed: int, number: int, scale: Scale, size: int) -> list[np.ndarray]:
    """Energy per decay by bin of each kind, from one batch; the switch to double precision is this thread's own."""
    with jax.enable_x64(True):
        return _followed(scene, seed, number, scale, size)


def _followed(scene: Scene, seed: int, number: int, scale: Scale, size: int) -> list[np.ndarray]:
    made = []
    for k, kind in enumerate(scene.kinds):
        if kind is None:
            made.append(np.zeros(scene.bins))
            continue
        physics, energies, per_decay = kind
        start, flight = jax.random.split(jax.random.fold_in(jax.random.key(seed), 2 * number + k))
        room = size if k and scene.freed is not None else 0
        found = transport(physics, queue(scene.source, energies, start, size), size, flight, scale.lanes, room)
        tally = np.asarray(found.tally_MeV, float)
        if room:
            onward = jax.random.fold_in(flight, 1)
            tally = tally + np.asarray(transport(scene.freed, found.freed, found.number, onward, scale.lanes).tally_MeV)
        made.append(tally * (per_decay / size))
    return made


def _run(scene, local, shape, histories, target, regions, seed, progress, scale) -> Simulated:
    scale = scale or Scale.here()
    size = max(1, min(scale.batch, histories // LEAST_BATCHES))
    most = max(LEAST_BATCHES, histories // size)
    sums = [np.zeros(scene.bins) for _ in range(3)]
    labels = None if regions is None else np.asarray(regions).ravel()
    by_region: list[np.ndarray] = []
    done, worst = 0, np.inf
    with ThreadPoolExecutor(scale.workers) as pool:
        while done < most and not (target and done >= LEAST_BATCHES and worst <= target):
            numbers = range(done, min(done + scale.workers, most))
            for electron, photon in pool.map(lambda n: _batch(scene, seed, n, scale, size), numbers):
                both = electron + photon
                for total, part in zip(sums, (electron, photon, both**2), strict=True):
                    total += part
                if labels is not None:
                    by_region.append(np.bincount(labels, both)[1:])
                done += 1
            worst = float(np.max(_relative_sd(by_region), initial=0.0)) if labels is not None and done > 1 else np.inf
            if progress:
                progress(done * size, most * size, worst)
    mean = [total / done for total in sums]
    variance = np.maximum(mean[2] - (mean[0] + mean[1]) ** 2, 0) / max(done - 1, 1)
    maps = (part.reshape(shape) for part in (mean[0], mean[1], np.sqrt(variance)))
    return Simulated(*maps, local, done * size, _relative_sd(by_region))


def _relative_sd(by_region: list[np.ndarray]) -> np.ndarray:
    """Relative sd of the mean over batches, [region]; 0 for a label that no voxel has."""
    if len(by_region) < 2:
        return np.zeros(0)
    values = np.array(by_region)
    mean = values.mean(axis=0)
    sd = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return np.divide(sd, mean, out=np.zeros_like(mean), where=mean > 0)


@dataclass(frozen=True, eq=False)
class LabelScene:
    """A label map made ready for many runs of photons (`label_scene`)."""

    physics: PhotonPhysics
    grid: VoxelGrid
    shape: tuple[int, ...]

    def fractions(
        self, source, energy_MeV: float, *, histories: int = 2**20, seed: int = 0, scale: Scale | None = None
    ):
        """Share of a photon's energy that each label absorbs, [label], and the sd of it.

        Args:
            source: weights of the voxels [z, y, x].
            energy_MeV: of every photon.

        Raises:
            InputError: a source of another shape or without voxels, too few histories.
        """
        where = np.asarray(source, float)
        _check(where, np.empty(self.shape), None, None, None, histories)
        with jax.enable_x64(True):
            kinds = (None, (self.physics, jnp.full(1, energy_MeV, jnp.float32), 1.0))
            scene = Scene(kinds, voxel_source(where, self.grid.spacing_cm), self.grid.bins)
        made = _run(scene, 0.0, (self.grid.bins,), histories, None, None, seed, None, scale)
        return made.photon_MeV / energy_MeV, made.sd_MeV / energy_MeV


def label_scene(
    labels: UInt8[np.ndarray, "z y x"],
    spacing_mm: tuple[float, float, float],
    density_g_cm3: Float[np.ndarray, " label"],
    materials: tuple,
) -> LabelScene:
    """Regions for photons: `density_g_cm3` and `materials` are by label; label 0 is matter as well (air outside)."""
    index = np.asarray(labels)
    unique = list(dict.fromkeys(materials))
    of_label = np.array([unique.index(m) for m in materials], np.uint8)
    densities = np.asarray(density_g_cm3, np.float32)[index]
    grid = voxel_grid(densities, spacing_mm, of_label[index], index, len(materials))
    return LabelScene(_photon_physics(tuple(material(m) for m in unique), grid), grid, index.shape)


def photon_fractions(labels, spacing_mm, density_g_cm3, materials, source, energy_MeV: float, **options):
    """`label_scene(...).fractions(...)` for one run.

    Raises:
        InputError: as `LabelScene.fractions`.
    """
    return label_scene(labels, spacing_mm, density_g_cm3, materials).fractions(source, energy_MeV, **options)
