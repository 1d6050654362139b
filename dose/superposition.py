"""Dose maps from voxel kernels, with three ways to treat a body that is not of one density.

"none": the kernels of one material, everywhere. "density": the energy of that kernel, over the voxel's own mass; energy
is conserved (Dieudonne et al., J Nucl Med 2013;54:236, recalled). "tissue": electrons go from tissue to tissue by the
kernel of the mean density of their way, the energy that stays in its own voxel follows the voxel's own density, and
photons, whose fluence hardly knows the local density, give dose without it, by the composition of the target. Which is
how good where: docs/voxel-dose.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from dose.body_tissues import Body, Tissue, body_of, layers, shares_at, tissues, way_density
from dose.convolution import convolve, convolve_sum
from dose.errors import InputError, describe
from dose.kernel_cache import cached_kernel
from dose.kernels import self_energy_MeV, voxel_kernel
from dose.organ import gray_per_MeV
from dose.point_energies import PointEnergies, point_energies
from dose.voxel_input import VoxelProblem

HETEROGENEITY = ("none", "density", "tissue")

DEFAULT_MATERIAL = "soft_tissue"

DENSITY_STEP = 0.01
"""Densities of the medium between which photon kernels are not told apart, in g/cm3."""

SELF_DENSITIES = np.geomspace(0.05, 22.0, 48)
"""Densities at which the energy that stays in its own voxel is computed; interpolated in the logarithm."""

LAYERED = 1.5
"""Ratio of densities from which on two tissues' depths are told apart."""

MOST_LAYERS = 3
"""Depths told apart: more change no dose above 1 % of the greatest by more than 1 % of that."""


@dataclass(frozen=True, eq=False)
class Deposits:
    """Dose maps in Gy [z, y, x], by kind of radiation, and what to say of them."""

    alpha_Gy: np.ndarray
    electron_Gy: np.ndarray
    photon_Gy: np.ndarray
    relative_sd: np.ndarray | None
    provenance: tuple[str, ...]
    warnings: tuple[str, ...]


def kernel_engine(problem: VoxelProblem) -> Deposits:
    """Dose by convolution.

    Options: `heterogeneity` ("tissue", "density" or "none"; default "tissue", or "density" where a material is given)
    and `precision` ("single" or "double").

    Raises:
        InputError: another option or word, or a material with "tissue", which goes by density.
    """
    default = "density" if problem.materials else "tissue"
    options = {"heterogeneity": default, "precision": "single"} | problem.options
    way, precision = options.pop("heterogeneity"), options.pop("precision")
    if options or way not in HETEROGENEITY:
        found, expected = f"{options or way}", "heterogeneity of none, density or tissue; precision"
        raise InputError(describe("options of the kernel engine", found, expected, "correct the name"))
    if problem.tissue is not None or len(problem.materials) > (way != "tissue"):
        do = 'leave material and tissue out for heterogeneity="tissue", else give one material'
        raise InputError(describe("material", f"{len(problem.materials)} with {way!r}", "one kernel material", do))
    return _tissue_wise(problem, precision) if way == "tissue" else _uniform(problem, way, precision)


def _alpha_Gy(problem: VoxelProblem, per_MeV) -> np.ndarray:
    return (problem.tia_MBq_h * problem.alpha_MeV * per_MeV).astype(np.float32)


def _most(problem: VoxelProblem) -> tuple[int, ...]:
    """Greatest offsets within the map."""
    return tuple(n - 1 for n in problem.tia_MBq_h.shape)


def _uniform(problem: VoxelProblem, way: str, precision: str) -> Deposits:
    """One kernel; dose over the kernel's own mass, or over the voxel's."""
    material = problem.materials[0] if problem.materials else DEFAULT_MATERIAL
    point = point_energies(problem.parent.name, material, problem.chain)
    kernel = cached_kernel(point, problem.spacing_mm, most_voxels=_most(problem))
    per_MeV = problem.Gy_per_MeV() if way == "density" else np.float32(gray_per_MeV(kernel.voxel_g))
    octants = (kernel.electron_MeV, kernel.photon_MeV)
    electron, photon = (convolve(problem.tia_MBq_h, octant, precision) * per_MeV for octant in octants)
    medium = f"{point.material} at {kernel.density_g_cm3:g} g/cm3"
    said = f"voxel kernel of {point.nuclide} in {medium}; density correction: {way}"
    return Deposits(_alpha_Gy(problem, per_MeV), electron, photon, None, (said,), ())


def _tissue_wise(problem: VoxelProblem, precision: str) -> Deposits:
    body, per_MeV = body_of(problem), problem.Gy_per_MeV()
    names = dict.fromkeys(tissue.material for tissue in body.tissues)
    points = {name: point_energies(problem.parent.name, name, problem.chain) for name in names}
    stays = problem.tia_MBq_h * _self_MeV(problem, points) * per_MeV
    electron = (stays + _crossing_Gy(problem, body, points, precision)).astype(np.float32)
    photon, medium = _photon_Gy(problem, body, points, precision)
    listed = ", ".join(f"{tissue.material} {tissue.density_g_cm3:g}" for tissue in body.tissues)
    said = (
        f"voxel kernels of {next(iter(points.values())).nuclide}; electrons by tissue of source and target ({listed} "
        f"g/cm3), photons in a medium of {medium:g} g/cm3 by tissue of the target"
    )
    return Deposits(_alpha_Gy(problem, per_MeV), electron, photon.astype(np.float32), None, (said,), ())


def _self_MeV(problem: VoxelProblem, points: dict[str, PointEnergies]) -> np.ndarray:
    """Electron energy that stays in the voxel of the decay, by its own density, [z, y, x]."""
    energy = {name: self_energy_MeV(point, problem.spacing_mm, SELF_DENSITIES) for name, point in points.items()}
    table = np.zeros(len(SELF_DENSITIES))
    known = np.zeros(len(SELF_DENSITIES))
    for tissue, share in zip(tissues(), shares_at(SELF_DENSITIES), strict=True):
        if tissue.material in energy:
            table, known = table + share * energy[tissue.material], known + share
    use = known > 0
    at = np.log(np.maximum(problem.density_g_cm3, 1e-4))
    return np.interp(at, np.log(SELF_DENSITIES[use]), table[use] / known[use])


@dataclass(frozen=True, eq=False)
class _Class:
    """Voxels of one tissue, all of them (`layer` None) or those of one depth, as weights [z, y, x]."""

    tissue: Tissue
    layer: int | None
    weight: np.ndarray


def _crossing_Gy(problem: VoxelProblem, body: Body, points: dict[str, PointEnergies], precision: str) -> np.ndarray:
    """Electron dose from other voxels: each pair of classes by the kernel of the way between them."""
    kernel = _kernels(problem, points)
    number = min(MOST_LAYERS, max(max(kernel(t.material, t.density_g_cm3).shape) for t in body.tissues) - 1)
    classes = _classes(body, max(number, 1))
    octants = [[_pair(source, target, kernel, number) for source in classes] for target in classes]
    crossed = convolve_sum([problem.tia_MBq_h * source.weight for source in classes], octants, precision)
    return np.sum([dose * target.weight for dose, target in zip(crossed, classes)], axis=0)


def _classes(body: Body, number: int) -> list[_Class]:
    """Each tissue whole, and by depth where another one is much denser or thinner."""
    found = [_Class(tissue, None, share) for tissue, share in zip(body.tissues, body.shares)]
    for whole in list(found):
        if any(_layered(whole.tissue, other) for other in body.tissues):
            parts = enumerate(layers(body, number))
            found += [_Class(whole.tissue, k, w) for k, mask in parts if (w := whole.weight * mask).any()]
    return found


def _layered(one: Tissue, other: Tissue) -> bool:
    """Whether depth is told apart between two tissues: soft and another one of quite another density."""
    ratio = one.density_g_cm3 / other.density_g_cm3
    return one.group != other.group and "soft" in (one.group, other.group) and max(ratio, 1 / ratio) > LAYERED


def _kernels(problem: VoxelProblem, points: dict[str, PointEnergies]) -> Callable[[str, float], np.ndarray]:
    """Electron dose kernel of a material at a density, Gy/(MBq h), without the source voxel; each made once."""

    @cache
    def made(material: str, density_g_cm3: float) -> np.ndarray:
        kernel = voxel_kernel(
            points[material], problem.spacing_mm, density_g_cm3=density_g_cm3, most_voxels=_most(problem),
            parts=("electron",),
        )  # fmt: skip
        octant = kernel.electron_MeV * gray_per_MeV(kernel.voxel_g)
        octant[0, 0, 0] = 0.0
        return octant

    @cache
    def mixed(one: str, density_g_cm3: float, other: str | None = None) -> np.ndarray:
        if other in (None, one):
            return made(one, density_g_cm3)
        return _mean(made(one, density_g_cm3), made(str(other), density_g_cm3))

    return mixed


def _mean(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    total = np.zeros(np.maximum(one.shape, other.shape))
    for part in (one, other):
        total[tuple(slice(0, n) for n in part.shape)] += part / 2
    return total


def _pair(source: _Class, target: _Class, kernel, number: int) -> np.ndarray | None:
    """Kernel from one class to another; None where another pair of classes stands for these voxels."""
    layered = _layered(source.tissue, target.tissue)
    if (source.layer is not None, target.layer is not None) != (layered, layered):
        return None
    first, second = sorted((source.tissue.material, target.tissue.material))
    if source.tissue is target.tissue:
        density = source.tissue.density_g_cm3
    else:
        density = way_density(source.tissue, target.tissue, source.layer or 0, target.layer or 0, number)
    return kernel(first, density, second)


def _photon_Gy(problem: VoxelProblem, body: Body, points: dict[str, PointEnergies], precision: str):
    """Photon dose [z, y, x] by the kernel of each target's composition, and the density of the body they cross."""
    mean = float(problem.density_g_cm3[~problem.air].mean())
    medium = round(max(round(mean / DENSITY_STEP), 1) * DENSITY_STEP, 6)
    shares = dict.fromkeys(points, np.float32(0))
    for tissue, share in zip(body.tissues, body.shares):
        shares[tissue.material] = shares[tissue.material] + share
    options = {"density_g_cm3": medium, "most_voxels": _most(problem), "parts": ("photon",)}
    octants = [[cached_kernel(point, problem.spacing_mm, **options).photon_MeV] for point in points.values()]
    maps = convolve_sum([problem.tia_MBq_h], octants, precision)
    total = np.sum([dose * share for dose, share in zip(maps, shares.values(), strict=True)], axis=0)
    return total * gray_per_MeV(problem.voxel_mL * medium), medium
