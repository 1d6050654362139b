"""Stylised adult man and woman: organs as solids in voxels, with ICRP-89 masses and red marrow spread over the bones.

Anatomy: `data/phantom_shapes.csv` (own parameters, in the tradition of MIRD pamphlet 5 and ORNL/TM-8381); masses and
densities: `data/phantom_organs.csv` and `dose.phantom.skeleton`. The size of each solid is solved so that its voxels
have the organ's mass where organs meet; what is then missing to the mass, below a few per cent, is made up by the
density. A patient is the reference stretched to height and weight, with the masses that are known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, UInt8

from dose.errors import InputError, describe, nearest
from dose.phantom.build import BODY, densities, voxels
from dose.phantom.organs import GROUPS, Organ, material_of, organs_of
from dose.phantom.shapes import parts
from dose.phantom.skeleton import body_height_cm, body_mass_g, check_sex
from dose.phantom.voxels import canvas

FINEST_MM, COARSEST_MM = 1.0, 8.0
HEIGHTS_CM, WEIGHTS_KG = (120.0, 220.0), (30.0, 250.0)
"""What `phantom` takes for an adult."""
ROOM = 1.05
"""The canvas is for a body this much wider than the table's; its width is solved afterwards."""


@dataclass(frozen=True, eq=False)
class Phantom:
    """An adult in voxels; `labels` [z, y, x] index `organs`, of which the first is what lies outside.

    x runs to the patient's left, y to the back, z up; `density_g_cm3` [label] gives each organ its mass exactly.
    `origin_cm` is the centre of the first voxel (x, y, z) from the middle of the body at the height of the crotch.
    """

    sex: str
    labels: UInt8[np.ndarray, "z y x"]
    voxel_mm: float
    organs: tuple[Organ, ...]
    density_g_cm3: Float[np.ndarray, " label"]
    origin_cm: tuple[float, float, float]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the labels, in their order."""
        return tuple(organ.name for organ in self.organs)

    @property
    def voxel_mL(self) -> float:
        return (self.voxel_mm / 10) ** 3

    @property
    def masses_g(self) -> dict[str, float]:
        """Mass of each label by its voxels and their density."""
        counts = np.bincount(self.labels.ravel(), minlength=len(self.organs))
        return {n: c * self.voxel_mL * d for n, c, d in zip(self.names[1:], counts[1:], self.density_g_cm3[1:])}

    def label(self, name: str) -> int:
        """The number of a label.

        Raises:
            InputError: the phantom has no such label.
        """
        if name not in self.names[1:]:
            hint = nearest(name, self.names[1:]) or ", ".join(self.names[1:])
            raise InputError(describe("organ", repr(name), f"a label of this phantom ({hint})", "correct the name"))
        return self.names.index(name)

    def mask(self, name: str) -> np.ndarray:
        """Voxels of a label or of a union such as "kidneys", [z, y, x]."""
        chosen = [self.label(member) for member in GROUPS.get(name, (name,))]
        return np.isin(self.labels, chosen)

    def materials(self) -> tuple:
        """A `dose.montecarlo.Material` for each label; outside is air."""
        return tuple(material_of(organ) for organ in self.organs)

    def scaled(self, masses_g: Mapping[str, float] | None = None, height_cm=None, weight_kg=None) -> Phantom:
        """The same sex and voxel size with a patient's masses, height and weight, as `phantom` takes them."""
        return phantom(self.sex, self.voxel_mm, masses_g=masses_g, height_cm=height_cm, weight_kg=weight_kg)


def phantom(
    sex: str,
    voxel_mm: float = 4.0,
    *,
    masses_g: Mapping[str, float] | None = None,
    height_cm: float | None = None,
    weight_kg: float | None = None,
) -> Phantom:
    """The reference adult, or one of another height, weight and organ masses.

    Organs that `masses_g` does not name keep the reference mass; the remainder takes up the difference to the weight.
    A union ("kidneys") is divided over its members as in the reference.

    Raises:
        InputError: unknown sex or organ; a voxel, height, weight or mass out of range; organs that do not fit the body.
    """
    check_sex(sex)
    _within("voxel_mm", voxel_mm, (FINEST_MM, COARSEST_MM), "mm", "give the edge of the voxel")
    height = body_height_cm(sex) if height_cm is None else float(height_cm)
    weight = body_mass_g(sex) / 1e3 if weight_kg is None else float(weight_kg)
    _within("height_cm", height, HEIGHTS_CM, "cm", "this is an adult; check the unit")
    _within("weight_kg", weight, WEIGHTS_KG, "kg", "this is an adult; check the unit")
    known = tuple(sorted((masses_g or {}).items()))
    return _built(sex, float(voxel_mm), height, weight, known)


@lru_cache(maxsize=4)
def _built(sex: str, voxel_mm: float, height_cm: float, weight_kg: float, masses_g: tuple) -> Phantom:
    organs = organs_of(sex, weight_kg * 1e3, dict(masses_g))
    tall = height_cm / body_height_cm("male")
    wide = math.sqrt(weight_kg * 1e3 / body_mass_g("male") / tall)
    stretch = np.array([wide, wide, tall])
    solids = [part for part in parts(sex) if part.organ == BODY or part.organ in {o.name for o in organs}]
    where = canvas([p for p in solids if p.organ == BODY], voxel_mm / 10, stretch, ROOM)
    labels = voxels(organs, solids, where, (voxel_mm / 10) ** 3)
    labels.setflags(write=False)
    density = densities(organs, labels, (voxel_mm / 10) ** 3)
    origin = tuple(float(axis[0] * s) for axis, s in zip((where.x, where.y, where.z), stretch))
    return Phantom(sex, labels, voxel_mm, organs, density, origin)


def _within(field: str, value: float, limits: tuple[float, float], unit: str, do: str) -> None:
    if not (math.isfinite(value) and limits[0] <= value <= limits[1]):
        raise InputError(describe(field, f"{value}", f"{limits[0]:g} to {limits[1]:g} {unit}", do))
