"""An anatomy in voxels: labels, names, densities and CT, from which activity maps are filled.

Activity lies evenly in a label, and over the labels of a union by mass: "kidneys" have one concentration per gram,
"red_marrow" goes to each bone by the marrow that it holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float, UInt16

from dose.errors import ImageError, InputError, describe, nearest
from dose.provenance import load_table
from dose.regions import UNIONS, region
from imaging.geometry import Volume

OUTSIDE, REMAINDER, WHOLE = "outside", "remainder", "whole_body"
DIFFUSE = ("muscle", "skin", "bone", "adipose", "blood", "red_marrow")
"""Regions whose activity goes to the remainder where the anatomy has no label for them."""

MOST_LABELS = 65_535

STEP_G_CM3 = 1e-9
"""Width given to a step of the line between CT number and density."""


@dataclass(frozen=True, eq=False)
class Anatomy:
    """A body in voxels.

    Attributes:
        labels: [z, y, x], indices of `names`; 0 is outside.
        names: of the labels; regions of `dose.regions`, skeletal sites of the stylised body, tumours.
        density_g_cm3: [label]; voxels times density is the mass of each label.
        ct: in HU on the same grid.
        unions: by name, the labels of a region made of several, with the share of each label's mass that belongs to it.

    Raises:
        ImageError: labels, names, densities and CT that do not fit together.
    """

    labels: UInt16[np.ndarray, "z y x"]
    names: tuple[str, ...]
    density_g_cm3: Float[np.ndarray, " label"]
    ct: Volume
    unions: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def __post_init__(self):
        object.__setattr__(self, "labels", np.asarray(self.labels, dtype=np.uint16))
        object.__setattr__(self, "density_g_cm3", np.asarray(self.density_g_cm3, dtype=float))
        fits = self.labels.shape == self.ct.array.shape and self.labels.max() < len(self.names)
        if not fits or self.density_g_cm3.shape != (len(self.names),) or not (self.density_g_cm3 > 0).all():
            found = f"{len(self.names)} names, labels to {self.labels.max()}, CT of shape {self.ct.array.shape}"
            raise ImageError(describe("anatomy", found, "a name and a density above zero a label", "repair the labels"))

    @property
    def affine(self) -> np.ndarray:
        return self.ct.affine

    @property
    def voxel_mL(self) -> float:
        return self.ct.voxel_mL

    @cached_property
    def counts(self) -> np.ndarray:
        """Voxels of each label, [label]."""
        return np.bincount(self.labels.ravel(), minlength=len(self.names))

    def members(self, name: str) -> dict[str, float]:
        """Labels that a region is made of, each with the share of its mass.

        Raises:
            InputError: a region that this anatomy does not hold.
        """
        known = name if name in self.names or name in self.unions else region(name)
        if known == WHOLE:
            return dict.fromkeys(self.names[1:], 1.0)
        if known in self.unions:
            return dict(self.unions[known])
        if known in self.names[1:]:
            return {known: 1.0}
        parts = [part for part in UNIONS.get(known, ()) if part in self.names]
        if not parts or len(parts) < len(UNIONS[known]):
            hint = nearest(known, (*self.names[1:], *self.unions)) or ", ".join(self.names[1:])
            raise InputError(describe("region", f'"{name}"', f"a region of this anatomy ({hint})", "correct the name"))
        return dict.fromkeys(parts, 1.0)

    def holds(self, name: str) -> bool:
        """Whether a region has a place here; InputError where it is no region at all."""
        try:
            return bool(self.members(name))
        except InputError:
            region(name)
            return False

    def mask(self, name: str) -> np.ndarray:
        """Boolean [z, y, x] of a label or of all labels of a union."""
        return np.isin(self.labels, [self.names.index(label) for label in self.members(name)])

    def volume_mL(self, name: str) -> float:
        """Volume of all voxels of a region."""
        return float(sum(self.counts[self.names.index(label)] for label in self.members(name)) * self.voxel_mL)

    def mass_g(self, name: str) -> float:
        """Mass of a region; of a tissue such as red marrow its own mass, not that of the bones."""
        return float(sum(self._masses_g(self.members(name)).values()))

    def _masses_g(self, members: Mapping[str, float]) -> dict[str, float]:
        index = {label: self.names.index(label) for label in members}
        per_label = self.counts * self.voxel_mL * self.density_g_cm3
        return {label: share * float(per_label[index[label]]) for label, share in members.items()}

    def slab(self, low_mm: float, high_mm: float) -> Anatomy:
        """The slices whose centres lie between two heights (LPS z).

        Raises:
            InputError: no slice there.
        """
        z_mm = self.ct.to_lps_mm(np.array([[0, 0, k] for k in range(len(self.labels))]))[:, 2]
        kept = np.flatnonzero((z_mm >= low_mm) & (z_mm <= high_mm))
        if not kept.size:
            found, expected = f"{low_mm:g} to {high_mm:g} mm", f"heights within {z_mm.min():g} to {z_mm.max():g} mm"
            raise InputError(describe("slab", found, expected, "give heights of the body in LPS mm"))
        affine = self.affine.copy()
        affine[:3, 3] = self.ct.to_lps_mm([0, 0, kept[0]])
        chosen = slice(kept[0], kept[-1] + 1)
        return replace(self, labels=self.labels[chosen], ct=Volume(self.ct.array[chosen], affine))


def hounsfield(density_g_cm3) -> np.ndarray:
    """CT number of tissues by their density: the line of Schneider et al. 2000 read backwards, rising throughout."""
    rows = load_table("dose", "ct_calibration.csv")
    density, hu = (np.array([float(row[name]) for row in rows]) for name in ("density", "hu"))
    for k in np.flatnonzero(np.diff(density) <= 0):  # where the next line begins lower, the line before ends early
        slope = (hu[k] - hu[k - 1]) / (density[k] - density[k - 1])
        density[k] = density[k + 1] - STEP_G_CM3
        hu[k] = hu[k - 1] + slope * (density[k] - density[k - 1])
    return np.interp(density_g_cm3, density, hu)


def density_of_hounsfield(hu) -> np.ndarray:
    """Density in g/cm3 at CT numbers of any shape, by the same table."""
    rows = load_table("dose", "ct_calibration.csv")
    return np.interp(hu, [float(row["hu"]) for row in rows], [float(row["density"]) for row in rows])


def noisy_ct(anatomy: Anatomy, sd_HU: float, seed: int) -> Volume:
    """The CT with Gaussian noise of this sd in every voxel, not below -1024 HU."""
    if not (np.isfinite(sd_HU) and sd_HU >= 0):
        raise InputError(describe("sd_HU", f"{sd_HU:g}", "zero or more", "give the noise of a voxel"))
    noise = np.random.default_rng(seed).standard_normal(anatomy.labels.shape)
    return anatomy.ct.with_array(np.maximum(anatomy.ct.array + sd_HU * noise, -1024.0))


def activity_map(anatomy: Anatomy, activity_MBq: Mapping[str, float]) -> Volume:
    """Bq/mL of the activities of regions, whose sum is kept.

    "remainder" is all of the body that no other named region holds; diffuse regions without a label go there too.

    Raises:
        InputError: a region without a place, or an activity that is negative or not finite.
    """
    per_label, rest_MBq = np.zeros(len(anatomy.names)), 0.0
    taken: set[str] = set()
    for name, value in activity_MBq.items():
        if not (np.isfinite(value) and value >= 0):
            raise InputError(describe(f"activity_MBq of {name}", f"{value:g}", "zero or more", "correct it"))
        if _is_diffuse(anatomy, name):
            rest_MBq += value
            continue
        members = anatomy.members(name)
        taken |= set(members)
        per_label += _shared(anatomy, members, value, name)
    if rest_MBq > 0:
        rest = {label: 1.0 for label in anatomy.names[1:] if label not in taken}
        per_label += _shared(anatomy, rest, rest_MBq, REMAINDER)
    concentration = per_label * 1e6 / (np.maximum(anatomy.counts, 1) * anatomy.voxel_mL)
    return anatomy.ct.with_array(concentration[anatomy.labels])


def _is_diffuse(anatomy: Anatomy, name: str) -> bool:
    known = name if name in anatomy.names else region(name)
    return known == REMAINDER or (known in DIFFUSE and not anatomy.holds(known))


def _shared(anatomy: Anatomy, members: Mapping[str, float], value_MBq: float, name: str) -> np.ndarray:
    """MBq of each label, [label]."""
    masses = anatomy._masses_g(members)
    whole = sum(masses.values())
    if value_MBq > 0 and not whole > 0:
        do = "give smaller voxels, or leave the region out"
        raise InputError(describe(f"activity_MBq of {name}", "a region without voxels", "a place for it", do))
    found = np.zeros(len(anatomy.names))
    for label, mass in masses.items():
        found[anatomy.names.index(label)] = value_MBq * mass / (whole or 1.0)
    return found
