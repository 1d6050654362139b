"""What a voxel dose calculation needs, checked once: shapes, signs, suspicious units, impossible sums of decays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dose.errors import InputError, describe
from dose.kernels import checked_spacing
from dose.nuclides import Radionuclide
from dose.organ import ChainMember, equilibrium_chain, gray_per_MeV
from dose.point_energies import DENSEST_G_CM3, check_emits
from dose.provenance import constant

SLIPS = {
    "Bq and MBq confused": 1e6,
    "kBq and MBq, or MBq and GBq, confused": 1e3,
    "seconds and hours confused": 3600.0,
    "minutes and hours confused": 60.0,
}
"""Confusions of units and the factor each puts on a time-integrated activity."""

PER_VOXEL = "give MBq h per voxel as an array [z, y, x]; of a Volume in MBq h/mL, volume.array * volume.voxel_mL"
DENSITY = "give an array [z, y, x] or a number; of a Volume, volume.array"
"""What to do where a map is something else, such as an `imaging.geometry.Volume`, which this package does not know."""

LEAST_SHARE = 1e-3
"""Share of all decays that an image holds at least, when a confusion is sought that would explain the sum."""


@dataclass(frozen=True, eq=False)
class VoxelProblem:
    """A checked input of a voxel engine: maps are [z, y, x], `tia_MBq_h` is per voxel.

    `links` are the nuclides that decay in each place, with their decays per decay of the parent. `tissue` holds indices
    into `materials`; without it all is the first of them, and with none the engine decides. `options` are its own.
    """

    tia_MBq_h: np.ndarray
    density_g_cm3: np.ndarray
    spacing_mm: tuple[float, float, float]
    links: tuple[ChainMember, ...]
    materials: tuple
    tissue: np.ndarray | None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def voxel_mL(self) -> float:
        return math.prod(self.spacing_mm) * 1e-3

    @property
    def parent(self) -> Radionuclide:
        return self.links[0].nuclide

    @property
    def chain(self) -> bool:
        """Whether progeny is counted with the parent."""
        return len(self.links) > 1

    @property
    def alpha_MeV(self) -> float:
        """Alphas and recoils of all links per decay of the parent."""
        return sum(link.decays * (link.nuclide.alpha_MeV + link.nuclide.recoil_MeV) for link in self.links)

    @property
    def air(self) -> np.ndarray:
        """Voxels too thin for a dose to mean anything."""
        return self.density_g_cm3 < constant("dose", "voxel_air_density")

    def Gy_per_MeV(self) -> np.ndarray:
        """Dose of a voxel when each decay of a MBq h leaves one MeV in it, [z, y, x]; none in air."""
        per_g = gray_per_MeV(self.voxel_mL)
        return np.where(self.air, 0.0, per_g / np.maximum(self.density_g_cm3, 1e-6)).astype(np.float32)


def tia_per_voxel_MBq_h(tia_MBq_h_mL, spacing_mm: Sequence[float]) -> np.ndarray:
    """A map of MBq h/mL (as `calibration.voxels.tia_map` makes it) in MBq h per voxel.

    Raises:
        InputError: impossible edges, a map that is no array.
    """
    tia = _numbers(tia_MBq_h_mL, "tia_MBq_h_mL", "give an array [z, y, x]; of a Volume, volume.array")
    return tia * (math.prod(checked_spacing(spacing_mm)) * 1e-3)


def checked_problem(
    tia_MBq_h, density_g_cm3, nuclide: str, spacing_mm, *, material, tissue, chain: bool, allow_negative: bool, options
) -> VoxelProblem:
    """The input of an engine, or an error that says what is wrong with it.

    Raises:
        InputError: see `dose.voxels.voxel`; also a map that is no array, and a density that is air everywhere.
    """
    tia = _checked_tia(_numbers(tia_MBq_h, "tia_MBq_h", PER_VOXEL).astype(float, copy=False), allow_negative)
    density = _numbers(density_g_cm3, "density_g_cm3", DENSITY).astype(float, copy=False)
    density = _checked_density(density, tia.shape)
    parent = check_emits(nuclide, chain)
    links = equilibrium_chain(parent.name) if chain else (ChainMember(parent, 1.0),)
    materials = _names(material)
    labels = _checked_tissue(tissue, tia.shape, len(materials))
    return VoxelProblem(tia, density, checked_spacing(spacing_mm), links, materials, labels, dict(options))


def _names(material) -> tuple:
    """No material, one (a name or a Material), or several."""
    if material is None:
        return ()
    return tuple(material) if isinstance(material, (list, tuple)) else (material,)


def _numbers(values, field: str, do: str) -> np.ndarray:
    try:
        array = np.asarray(values)
        return array if array.dtype.kind in "biuf" else array.astype(float)
    except (TypeError, ValueError) as error:
        raise InputError(describe(field, f"a {type(values).__name__}", "an array of numbers", do)) from error


def _checked_tia(tia: np.ndarray, allow_negative: bool) -> np.ndarray:
    if tia.ndim != 3 or tia.size == 0:
        raise InputError(describe("tia_MBq_h", f"shape {tia.shape}", "three axes [z, y, x]", "give one volume"))
    unknown, below = int((~np.isfinite(tia)).sum()), int((tia < 0).sum())
    if unknown:
        do = "set voxels without a value to 0 (tia_map leaves NaN where a scan had none), or mend the map"
        raise InputError(describe("tia_MBq_h", f"{unknown} values that are NaN or infinite", "finite values", do))
    if below and not allow_negative:
        do = "set them to 0, or keep noise about 0 that way by allow_negative=True (not for Monte Carlo)"
        raise InputError(describe("tia_MBq_h", f"{below} values below 0, least {tia.min():.3g}", "0 or more", do))
    if not (tia > 0).any():
        raise InputError(describe("tia_MBq_h", "no voxel above 0", "some activity", "check the map and its scale"))
    return tia


def _checked_density(density: np.ndarray, shape) -> np.ndarray:
    if density.ndim and density.shape != shape:
        do = "resample the CT to the activity's grid (average densities, not CT numbers)"
        raise InputError(describe("density_g_cm3", f"shape {density.shape}", f"{shape} as tia_MBq_h, or a number", do))
    least, most = float(density.min()), float(density.max())
    air = constant("dose", "voxel_air_density")
    if least >= 0 and most < air:
        found = f"{least:.4g} to {most:.4g}, which is air everywhere"
        do = "g/mm3? multiply by 1000; a map without a body in it has no dose"
        raise InputError(describe("density_g_cm3", found, f"{air:g} g/cm3 or more somewhere", do))
    wrong = not np.isfinite(density).all() or least < 0 or most > DENSEST_G_CM3
    if wrong:
        found, expected = f"{least:.4g} to {most:.4g}", f"0 to {DENSEST_G_CM3} g/cm3"
        raise InputError(describe("density_g_cm3", found, expected, _density_advice(density, least, most)))
    return np.broadcast_to(density, shape)


def _density_advice(density: np.ndarray, least: float, most: float) -> str:
    if least < -100 and most < 1e5:
        return "these look like CT numbers: convert them by dose.density_from_ct"
    if least >= 0 and 200 < most < 2.5e4:
        return (
            "these look like kg/m3 (1000 times g/cm3) or raw CT values: divide by 1000, or apply the rescale intercept"
        )
    return "check the file and its unit; a gap may be set to the density of air, 0.0012"


def _checked_tissue(tissue, shape, count: int) -> np.ndarray | None:
    if tissue is None:
        return None
    labels = np.asarray(tissue)
    if labels.shape != shape or labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= count:
        found = f"shape {labels.shape}, {labels.dtype}, {labels.min()} to {labels.max()}"
        do = "give the map of dose.tissue_from_ct, and its names as material"
        raise InputError(describe("tissue", found, f"whole numbers 0 to {count - 1} of shape {shape}", do))
    return labels


def administered_notes(problem: VoxelProblem, administered_MBq: float | None) -> list[str]:
    """What the sum of all decays says beside what was administered.

    Raises:
        InputError: more decays than the administered activity has altogether.
    """
    if administered_MBq is None:
        return []
    if not (math.isfinite(administered_MBq) and administered_MBq > 0):
        raise InputError(describe("administered_MBq", f"{administered_MBq}", "above 0 MBq", "give the activity in MBq"))
    total = float(problem.tia_MBq_h.sum())
    limit = administered_MBq * problem.parent.half_life_h / math.log(2)
    share, found = total / limit, f"a sum of {total:.4g} MBq h from {administered_MBq:.4g} MBq"
    if share > constant("dose", "voxel_tia_share_error"):
        expected = f"at most {limit:.4g} MBq h, were all to decay in the image"
        raise InputError(describe("tia_MBq_h", found, expected, f"check for {_slips(share, problem.voxel_mL)}"))
    if share > 1:
        return [f"{found} is {share:.3g} times all there is to decay: check the calibration factor"]
    if share < constant("dose", "voxel_tia_share_low"):
        return [f"{found} is only {share:.2g} of all there is to decay: check for {_slips(share, problem.voxel_mL)}"]
    return []


def _slips(share: float, voxel_mL: float) -> str:
    """Confusions without which the sum would be a believable share of all there is to decay."""
    factors = SLIPS | {"MBq h/mL and MBq h per voxel confused (tia_per_voxel_MBq_h)": 1 / voxel_mL}
    true = {name: (share / f if share > 1 else share * f, f) for name, f in factors.items()}
    names = [f"{name} (a factor of {f:.4g})" for name, (left, f) in true.items() if LEAST_SHARE <= left <= 1]
    return "; ".join(names) or "the units of activity and time"


def magnitude_notes(problem: VoxelProblem, dose_Gy: np.ndarray) -> list[str]:
    """What the dose where the activity is says of the units.

    Raises:
        InputError: a mean dose that only a wrong unit can explain.
    """
    weight = np.maximum(problem.tia_MBq_h, 0.0)
    mean = float((dose_Gy * weight).sum() / weight.sum())
    found = f"a mean of {mean:.3g} Gy where the activity is"
    high, low = constant("dose", "voxel_dose_high"), constant("dose", "voxel_dose_low")
    if mean > constant("dose", "voxel_dose_error"):
        do = "check for Bq given as MBq (a factor of 1e6), kBq (1e3), seconds for hours (3600), or a wrong spacing_mm"
        raise InputError(describe("dose", found, f"below {constant('dose', 'voxel_dose_error'):g} Gy", do))
    if mean > high:
        return [f"{found} is above {high:g} Gy: check for kBq given as MBq (1e3) or seconds for hours (3600)"]
    if mean < low:
        return [f"{found} is below {low:g} Gy: check for MBq given as GBq or TBq (1e3, 1e6)"]
    return []
