"""Lesions in an anatomy: superellipsoids of a given volume at places drawn within bone, nodes or organs.

A lesion is the N voxels nearest to its centre in its own metric |x/a|^e + |y/b|^e + |z/c|^e, N = volume / voxel, so
that its volume is right to half a voxel. It may reach out of the site (a rib is thinner than a metastasis), never out
of the body or into another lesion. Its density is the mean of what it replaces: the body's mass is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import distance_transform_edt

from dose.errors import InputError, describe
from dose.provenance import load_table
from dose.regions import is_tumour, region
from imaging.scanner.anatomy import REMAINDER, Anatomy, hounsfield

NODE_REACH_MM = 30.0
"""Retroperitoneal and pelvic nodes lie within this of the spine, in soft tissue."""

SPINE = ("lumbar_spine", "thoracic_spine", "sacrum")
PLACES_TRIED = 400
MOST_SD = (-2.0, 2.0)
"""Draws of sizes stop here."""

LEAST_VOXELS = 4
"""A lesion of fewer voxels has no shape."""


@dataclass(frozen=True)
class Lesion:
    """A lesion to be placed; `site` is "bone" (marrow-bearing), "node", or a region of the anatomy.

    `axes` are relative lengths along x, y, z; `exponent` 2 is an ellipsoid, more is boxier. `name` is a tumour region.

    Raises:
        InputError: a name that is no tumour, a volume, axis or exponent not above zero.
    """

    name: str
    volume_mL: float
    site: str
    axes: tuple[float, float, float] = (1.0, 1.0, 1.0)
    exponent: float = 2.0

    def __post_init__(self):
        object.__setattr__(self, "name", region(self.name))
        if not is_tumour(self.name):
            do = "name it tumour_<label>"
            raise InputError(describe("lesion.name", "a region that is no tumour", "a tumour", do))
        least = min(self.volume_mL, *self.axes, self.exponent)
        if not (np.isfinite(self.volume_mL) and least > 0):
            expected = "volume, axes and exponent above zero"
            raise InputError(describe("lesion", f"a smallest value of {least:g}", expected, "correct the lesion"))


def sampled_lesions(numbers: Mapping[str, int], seed: int) -> tuple[Lesion, ...]:
    """So many lesions by site, of lognormal volume (`data/lesion_sizes.csv`) and slightly unequal axes.

    Raises:
        InputError: a site that the table does not hold.
    """
    rows = load_table("imaging", "lesion_sizes.csv")
    table = {(row["site"], row["quantity"]): float(row["value"]) for row in rows}
    random, found = np.random.default_rng(seed), []
    for site, number in numbers.items():
        if (site, "median") not in table:
            expected = f"one of {', '.join(sorted({row['site'] for row in rows}))}"
            raise InputError(describe("site", f'"{site}"', expected, "give Lesion(...) with a volume of its own"))
        for _ in range(number):
            volume = table[site, "median"] * table[site, "gsd"] ** float(np.clip(random.standard_normal(), *MOST_SD))
            axes = tuple(float(a) for a in np.exp(random.normal(0, 0.15, 3)))
            found.append(Lesion(f"tumour_{len(found) + 1}", volume, site, axes))
    return tuple(found)


def with_lesions(
    anatomy: Anatomy, lesions: Iterable[Lesion], seed: int | Sequence[int], *, leave_out: bool = False
) -> Anatomy:
    """The anatomy with the lesions in it, the largest placed first.

    Args:
        leave_out: lesions that find no room are left out.

    Raises:
        InputError: a site that the anatomy lacks, a name twice, a lesion of too few voxels or without room.
    """
    random = np.random.default_rng(seed)
    for lesion in sorted(lesions, key=lambda one: (-one.volume_mL, one.name)):
        where = _place(anatomy, lesion, random)
        if where is not None:
            anatomy = _painted(anatomy, lesion.name, where)
        elif not leave_out:
            do = "make it smaller, or choose another site"
            raise InputError(describe(f"place of {lesion.name}", "no room", "a free place in its site", do))
    return anatomy


def site_mask(anatomy: Anatomy, site: str) -> np.ndarray:
    """Where the centre of a lesion of this site may lie, [z, y, x]."""
    if site == "bone":
        return anatomy.mask("red_marrow" if "red_marrow" in anatomy.unions else "bone")
    if site == "node":
        spine = [name for name in SPINE if name in anatomy.names] or ["bone"]
        bones = np.logical_or.reduce([anatomy.mask(name) for name in spine])
        far = np.asarray(distance_transform_edt(~bones, sampling=anatomy.ct.spacing_mm[::-1]))
        return (far <= NODE_REACH_MM) & anatomy.mask(REMAINDER)
    return anatomy.mask(site)


def _place(anatomy: Anatomy, lesion: Lesion, random: np.random.Generator):
    """Indices of the voxels of a free place; None where there is none."""
    if lesion.name in anatomy.names:
        raise InputError(describe("lesions", f'"{lesion.name}" twice', "each name once", "rename one of them"))
    voxels = round(lesion.volume_mL / anatomy.voxel_mL)
    if voxels < LEAST_VOXELS:
        found, expected = f"{lesion.volume_mL:g} mL", f"at least {LEAST_VOXELS * anatomy.voxel_mL:.2g} mL"
        raise InputError(describe(f"volume of {lesion.name}", found, expected, "make the voxels smaller"))
    centres = np.flatnonzero(site_mask(anatomy, lesion.site))
    for centre in random.choice(centres, min(PLACES_TRIED, len(centres)), replace=False) if len(centres) else ():
        chosen = _around(anatomy, lesion, np.unravel_index(centre, anatomy.labels.shape), voxels)
        if chosen is not None:
            return chosen
    return None


def _around(anatomy: Anatomy, lesion: Lesion, centre, voxels: int):
    """Indices of the nearest voxels to a centre; None where that leaves the body or meets another lesion."""
    spacing, axes = anatomy.ct.spacing_mm, np.asarray(lesion.axes)
    size = axes / axes.prod() ** (1 / 3)
    reach = np.ceil(1.3 * (voxels * anatomy.voxel_mL * 1000) ** (1 / 3) * size / spacing).astype(int)[::-1]
    lows, highs = np.asarray(centre) - reach, np.asarray(centre) + reach + 1
    if (lows < 0).any() or (highs > anatomy.labels.shape).any():
        return None
    along = [np.arange(-r, r + 1) * step / s for r, step, s in zip(reach, spacing[::-1], size[::-1])]
    far = np.sum([np.abs(axis) ** lesion.exponent for axis in np.meshgrid(*along, indexing="ij")], axis=0)
    nearest = np.unravel_index(np.argsort(far, axis=None, kind="stable")[:voxels], far.shape)
    index = tuple(where + low for where, low in zip(nearest, lows))
    met = np.unique(anatomy.labels[index])
    free = [k > 0 and not anatomy.names[k].startswith("tumour_") for k in met]
    return index if all(free) else None


def _painted(anatomy: Anatomy, name: str, index) -> Anatomy:
    labels = anatomy.labels.copy()
    density = float(anatomy.density_g_cm3[labels[index]].mean())
    labels[index] = len(anatomy.names)
    ct = anatomy.ct.array.copy()
    ct[index] = hounsfield(density)
    return replace(
        anatomy,
        labels=labels,
        names=(*anatomy.names, name),
        density_g_cm3=np.append(anatomy.density_g_cm3, density),
        ct=anatomy.ct.with_array(ct),
    )
