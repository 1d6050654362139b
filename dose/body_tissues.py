"""A body as tissues of a few densities: how much of each a voxel is, and how deep it lies in its own kind of tissue.

Used by the tissue-wise kernels (`dose.superposition`). The tissues are those of `data/kernel_tissues.csv`; between two
of them shares are linear in the logarithm of density. Depth counts voxels from the border of the voxel's group (lung,
soft, bone), from which follows what part of the straight way between two voxels lies in the tissue of each.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import ndimage

from dose.provenance import load_table
from dose.voxel_input import VoxelProblem


@dataclass(frozen=True)
class Tissue:
    """A row of the table."""

    density_g_cm3: float
    material: str
    group: str


@cache
def tissues() -> tuple[Tissue, ...]:
    """All rows, by rising density."""
    rows = load_table("dose", "kernel_tissues.csv")
    return tuple(Tissue(float(row["density"]), row["material"], row["group"]) for row in rows)


LEAST_SHARE = 0.1
"""Greatest share below which a body is taken to have no such tissue: its neighbours in density stand for it."""


def shares_at(density_g_cm3, of: tuple[Tissue, ...] | None = None) -> np.ndarray:
    """Share of each tissue (all of the table, or those of `of`) at a density, [tissue, ...]; the ends are held."""
    nodes = np.log([tissue.density_g_cm3 for tissue in of or tissues()])
    at = np.log(np.maximum(density_g_cm3, 1e-4))
    return np.stack([np.interp(at, nodes, row) for row in np.eye(len(nodes))]).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Body:
    """The tissues a body has, their shares [tissue, z, y, x] (none in air), and each voxel's depth [z, y, x]."""

    tissues: tuple[Tissue, ...]
    shares: np.ndarray
    depth: np.ndarray


def body_of(problem: VoxelProblem) -> Body:
    """Tissues, shares and depths of a checked problem."""
    greatest = (shares_at(problem.density_g_cm3) * ~problem.air).max(axis=(1, 2, 3))
    kept = tuple(tissue for tissue, most in zip(tissues(), greatest, strict=True) if most > LEAST_SHARE)
    shares = shares_at(problem.density_g_cm3, kept) * ~problem.air
    return Body(kept, shares, _depth(kept, shares))


def _depth(kept: tuple[Tissue, ...], shares: np.ndarray) -> np.ndarray:
    """Voxels between each voxel and the nearest of another group, 0 at the border; the map's size without a border."""
    names = [tissue.group for tissue in kept]
    own = np.array([sorted(set(names)).index(name) for name in names])[np.argmax(shares, axis=0)]
    depth = np.full(own.shape, max(own.shape))
    for group in np.unique(own) if np.ptp(own) else ():
        here = own == group
        depth[here] = np.asarray(ndimage.distance_transform_cdt(here, metric="chessboard"))[here] - 1
    return depth


def layers(body: Body, number: int) -> list[np.ndarray]:
    """Masks of depth 0, 1, ... and, last, of all that lies deeper."""
    at = np.minimum(body.depth, number - 1)
    return [at == k for k in range(number)]


def way_density(source: Tissue, target: Tissue, source_layer: int, target_layer: int, number: int) -> float:
    """Mean density of the way from a layer of one tissue to a layer of another, in g/cm3.

    From depth j to depth i a straight way through a flat border has (j + 1/2) of (i + j + 1) parts in the source. In
    layers of equal depth the geometric mean takes the place of the arithmetic one: where electrons reach just across
    the border, dose goes as 1/(density of source x density of target).
    """
    if source_layer == target_layer:
        return float(np.sqrt(source.density_g_cm3 * target.density_g_cm3))
    j, i = (layer + DEEPER * (layer == number - 1) for layer in (source_layer, target_layer))
    part = (j + 0.5) / (i + j + 1)
    return part * source.density_g_cm3 + (1 - part) * target.density_g_cm3


DEEPER = 1
"""Voxels by which the middle of "all that lies deeper" is taken to lie below that layer's top."""
