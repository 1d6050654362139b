"""What a learned registration gives: the transform, the method, where it may be off, and a check of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dose.learning.ranges import Choice
from imaging.geometry import Volume
from imaging.networks.warp_grid import Inputs, on_grid, unlikeness
from imaging.registration.field import DisplacementField
from imaging.registration.pairwise import Registration
from imaging.registration.quality import Flag
from imaging.registration.transform import SpatialTransform

SD_FLOOR_mm, SD_PER_SPREAD = {True: 1.9, False: 4.1}, {True: 2.6, False: 0.0}
"""For CT pairs (True) and emission (False): least sd along one axis, and sd per half distance between the answers to
the images and to their mirror image. Least squares on eight held-out cases (seeds from 1 000 000), none below zero."""

LOST = 0.01
"""A loss of likeness by the network beyond which its answer is not taken."""


@dataclass(frozen=True)
class Warped:
    """A registration and what is known of it.

    Attributes:
        transform: from fixed to moving space, for `imaging.registration.resample`, `propagate`, `conservation_report`.
        rigid: the step before.
        classical: affine and B-spline, where they were used.
        choice: the method used, and why not the network or why not to rely on it.
        sd_mm: sd of the position along one axis on a grid of 8 mm in fixed space; None for the classical method.
        folding: share of that grid where space is folded over.
    """

    transform: SpatialTransform
    rigid: Registration
    classical: Registration | None
    choice: Choice
    sd_mm: Volume | None
    folding: Flag


def spatial_transform(moved_mm: np.ndarray, rigid: SpatialTransform, grid: Volume) -> SpatialTransform:
    """A displacement [3, z, y, x] on the network's grid, before the rigid transform."""
    return SpatialTransform(rigid.affine, DisplacementField(np.moveaxis(moved_mm, 0, -1), grid.affine))


def sd_volume(apart_mm: np.ndarray, inputs: Inputs) -> Volume:
    """Sd along one axis from half distances on every other voxel."""
    near = [np.minimum(np.arange(n) // 2, m - 1) for n, m in zip(inputs.grid.array.shape, apart_mm.shape)]
    spread = apart_mm[np.ix_(*near)]
    ct = inputs.moving_is_ct
    return inputs.grid.with_array(np.hypot(SD_FLOOR_mm[ct], SD_PER_SPREAD[ct] * spread))


def spoiled(found: Warped, inputs: Inputs) -> tuple[str, ...]:
    """In words, what the images themselves say against the network's answer."""
    said = []
    if found.folding.value > 0:
        said.append(f"the network folds {100 * found.folding.value:.2g} % of the field")
    if inputs.moving_is_ct:
        moved = on_grid(inputs.moving_image, found.transform, inputs.grid, ct=True)
        before, after = (unlikeness(inputs.fixed, image, both=True) for image in (inputs.moving, moved))
        if after > before + LOST:
            said.append(f"the CTs are less alike after the network ({after:.3f}) than before it ({before:.3f})")
    return tuple(said)
