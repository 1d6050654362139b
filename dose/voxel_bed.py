"""A map of biologically effective dose with what it was made of, and how the parts of one are put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from dose.control import eqd2_Gy, eubed_Gy
from dose.errors import InputError, describe
from dose.histograms import DVH, dvh
from dose.mixed import MixedDose
from dose.tissues import Tissue, TissueDraws, tissue
from dose.trapezoids import check_choice

UNLIKELY_GY = 5000.0
"""A region's mean dose above it is reported: more than any therapy gives, so a unit may be wrong."""

QUANTITIES = ("bed", "eqd2", "dose")


@dataclass(frozen=True, eq=False)
class BEDMap:
    """Maps [z, y, x] or [draw, z, y, x]: physical dose of electrons and photons, of alphas (None: there are none), BED.

    All are NaN outside the regions. `rbe_max` is what the alphas entered BED with; `method` says where the time course
    is from.
    """

    low_LET_Gy: np.ndarray
    alpha_Gy: np.ndarray | None
    bed_Gy: np.ndarray
    rbe_max: float | None
    regions: Mapping[str, np.ndarray]
    tissues: Mapping[str, Tissue | TissueDraws]
    method: str
    warnings: tuple[str, ...]

    def mixed(self, region: str) -> MixedDose:
        """Physical dose of a region's voxels, [voxel] or [draw, voxel], alphas apart."""
        check_choice("region", region, tuple(self.regions))
        low = self.low_LET_Gy[..., self.regions[region]]
        return MixedDose(low, np.zeros_like(low) if self.alpha_Gy is None else self.alpha_Gy[..., self.regions[region]])

    def values_Gy(self, region: str, quantity: str = "bed") -> np.ndarray:
        """[voxel] or [draw, voxel] of a region: "bed", "eqd2" of it, or the physical "dose".

        Raises:
            InputError: a region or quantity of another name.
        """
        check_choice("quantity", quantity, QUANTITIES)
        check_choice("region", region, tuple(self.regions))
        if quantity == "dose":
            return np.asarray(self.mixed(region).physical_Gy)
        bed = self.bed_Gy[..., self.regions[region]]
        return bed if quantity == "bed" else eqd2_Gy(bed, per_voxel(self.tissues[region].alpha_beta_Gy))

    def histogram(self, region: str, voxel_mL: float, quantity: str = "bed") -> DVH:
        """Histogram of the quantity in a region: of BED the BED-volume histogram, of EQD2 what complications need."""
        values = self.values_Gy(region, quantity)
        return dvh(values, np.ones(values.shape[-1]), voxel_mL)

    def eubed_Gy(self, region: str, alpha_per_Gy, density_g_cm3=None):
        """Equivalent uniform BED of a region: a number, or [draw]. With a density map voxels count by their mass.

        Raises:
            InputError: as `values_Gy`, an alpha that is not above 0, a density that does not fit or is not above 0.
        """
        bed, inside = self.values_Gy(region), self.regions[region]
        weight = np.ones(bed.shape[-1]) if density_g_cm3 is None else _density(density_g_cm3, inside)
        if not np.all(np.asarray(alpha_per_Gy) > 0):
            raise InputError(describe("alpha_per_Gy", f"{alpha_per_Gy}", "above 0 per Gy", "see dose.parameter"))
        found = np.asarray(eubed_Gy(bed, weight, np.asarray(alpha_per_Gy, dtype=float)))
        return found if found.ndim else float(found)


def assembled(
    low_LET_Gy,
    regions: Mapping[str, np.ndarray],
    quadratic: Callable,
    *,
    method: str,
    tissues: Mapping[str, Tissue | TissueDraws] | None = None,
    alpha_Gy=None,
    rbe_max: float | None = None,
    notes: tuple[str, ...] = (),
) -> BEDMap:
    """The map from G D^2 of each region, `quadratic(name, low-LET dose [.., voxel], mask, tissue)`.

    Raises:
        InputError: as `dose.bed_maps.bed_of_kinetics`.
    """
    masks = separate(regions)
    low = in_regions("dose_Gy", low_LET_Gy, masks)
    alpha = None if alpha_Gy is None else in_regions("alpha_Gy", alpha_Gy, masks)
    if alpha is not None and (rbe_max is None or alpha.shape != low.shape):
        found, do = f"a map of shape {alpha.shape}, rbe_max {rbe_max}", "name the RBE; none is assumed"
        raise InputError(describe("alpha_Gy", found, f"the dose's shape {low.shape} and a number for rbe_max", do))
    used = {name: (tissues or {}).get(name) or tissue(name) for name in masks}
    found = BEDMap(low, alpha, np.full(_shape(low, masks, used), np.nan), rbe_max, masks, used, method, notes)
    words = []
    for name, inside in masks.items():
        here, values = found.mixed(name), used[name]
        bed = here.low_LET_Gy + quadratic(name, here.low_LET_Gy, inside, values) / per_voxel(values.alpha_beta_Gy)
        only_alpha = MixedDose(np.zeros_like(here.alpha_Gy), here.alpha_Gy)
        found.bed_Gy[..., inside] = bed if rbe_max is None else bed + only_alpha.weighted_Gy(rbe_max)
        mean = float(np.mean(here.physical_Gy))
        if mean > UNLIKELY_GY:
            words.append(f"{name}: a mean dose of {mean:.3g} Gy is more than any therapy gives: check the unit")
    return replace(found, warnings=(*notes, *words))


def _shape(low, masks, tissues) -> tuple[int, ...]:
    """Of the BED: with an axis of draws where the dose or a tissue has them."""
    grid = next(iter(masks.values())).shape
    lead = {low.shape[: low.ndim - len(grid)], *(np.shape(t.alpha_beta_Gy) for t in tissues.values())} - {()}
    if len(lead) > 1 or any(len(axes) > 1 for axes in lead):
        do = "draw as many tissues as there are draws of dose"
        raise InputError(describe("tissues", f"draws {sorted(lead)}", "one axis of draws, equally long", do))
    return (*(lead.pop() if lead else ()), *grid)


def separate(regions: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Boolean masks of one grid, none empty, none overlapping.

    Raises:
        InputError: otherwise, or no region.
    """
    masks = {name: np.asarray(mask, dtype=bool) for name, mask in regions.items()}
    grid = next(iter(masks.values())).shape if masks else ()
    bad = [name for name, mask in masks.items() if mask.shape != grid or not mask.any()]
    if bad or not masks:
        found = f"{bad[0]}: shape {masks[bad[0]].shape}, {int(masks[bad[0]].sum())} voxels" if bad else "no region"
        do = "resample the masks to the map's grid"
        raise InputError(describe("regions", found, f"masks of one shape {grid} with a voxel or more", do))
    if np.max(np.sum(list(masks.values()), axis=0, dtype=np.int16)) > 1:
        do = "give each voxel to one region: take lesions out of the organ they lie in"
        raise InputError(describe("regions", "masks that overlap", "each voxel in one region", do))
    return masks


def in_regions(field: str, values, masks) -> np.ndarray:
    """Values [..., grid] as floats, NaN outside the regions, checked inside.

    Raises:
        InputError: another grid, values below 0 or not finite in a region.
    """
    array, inside = np.asarray(values, dtype=float), np.any(list(masks.values()), axis=0)
    if array.shape[array.ndim - inside.ndim :] != inside.shape:
        do = "resample the regions to the map's grid"
        raise InputError(describe(field, f"shape {array.shape}", f"a map of {inside.shape}", do))
    here = array[..., inside]
    if not np.all(np.isfinite(here) & (here >= 0)):
        do = "see where the map has no value, and leave these voxels out of the region"
        raise InputError(describe(field, "a value below 0 or not finite in a region", "0 or more", do))
    return np.where(inside, array, np.nan)


def per_voxel(value):
    """A number, or draws [draw] as [draw, 1], to go with [.., voxel]."""
    return np.asarray(value, dtype=float)[..., None] if np.ndim(value) else value


def _density(density_g_cm3, inside) -> np.ndarray:
    density = np.asarray(density_g_cm3, dtype=float)
    if density.shape != inside.shape or not np.all(density[inside] > 0):
        do = "give the density map of the same grid"
        raise InputError(describe("density_g_cm3", f"shape {density.shape}", f"{inside.shape}, above 0", do))
    return density[inside]
