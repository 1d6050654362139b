"""Lesions between a diagnostic PET and a therapy SPECT: which stay, vanish, shrink or appear, and the prior they leave.

The prior is a probability map of the PET. In training it is made from the truth of the earlier scan: each lesion at a
drawn certainty, blurred, moved by a few millimetres of misregistration, with islands that are no lesions.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import gaussian_filter, shift

from imaging.recovery import FWHM_PER_SIGMA

FATES = {"stays": 0.55, "vanished": 0.2, "appeared": 0.15, "neither": 0.1}
SHRUNK = 0.25
"""Part of the lesions that stay and are smaller on the SPECT."""

LEFT = (0.3, 0.8)
"""Part of a shrunk lesion's voxels that is left."""

WIDTH_mm, MOVED_mm = (4.0, 9.0), 3.0
"""FWHM of the prior's edges, sd of its motion along each axis."""

CERTAINTY = (0.5, 1.0)
FALSE_ISLANDS, ISLAND_mm = 0.3, (5.0, 12.0)
"""Chance of an island in a slab that is no lesion, and its radius."""

NO_PRIOR = -1.0
DROPPED = 0.35
"""Part of the slabs without a prior."""


def fates(number: int, random: np.random.Generator) -> tuple[set[int], set[int]]:
    """Labels of lesions on the earlier scan, and of those on the later one."""
    drawn = random.choice(list(FATES), size=number, p=list(FATES.values()))
    earlier = {k + 1 for k, fate in enumerate(drawn) if fate in ("stays", "vanished")}
    return earlier, {k + 1 for k, fate in enumerate(drawn) if fate in ("stays", "appeared")}


def shrunk(lesion: Int[np.ndarray, "a b c"], random: np.random.Generator) -> Int[np.ndarray, "a b c"]:
    """Labels with some lesions reduced to the voxels about their middle."""
    out = lesion.copy()
    for k in np.unique(lesion[lesion > 0]):
        index = np.argwhere(lesion == k)
        if random.random() < SHRUNK and len(index) > 8:
            far = np.sum((index - index.mean(axis=0)) ** 2, axis=1)
            gone = index[np.argsort(far, kind="stable")[max(5, int(random.uniform(*LEFT) * len(index))) :]]
            out[tuple(gone.T)] = 0
    return out


def prior_channel(
    lesion: Int[np.ndarray, "a b c"], earlier: set[int], voxel_mm: float, random: np.random.Generator
) -> Float[np.ndarray, "a b c"]:
    """The prior of the earlier scan's lesions, `NO_PRIOR` everywhere where it is dropped."""
    if random.random() < DROPPED:
        return np.full(lesion.shape, NO_PRIOR, np.float32)
    values = np.zeros(int(lesion.max()) + 1)
    for k in earlier & set(range(1, len(values))):
        values[k] = random.uniform(*CERTAINTY)
    made = values[lesion]
    if random.random() < FALSE_ISLANDS:
        centre, radius = [random.uniform(0, n) for n in made.shape], random.uniform(*ISLAND_mm) / voxel_mm
        far = sum((axis - c) ** 2 for axis, c in zip(np.ogrid[tuple(slice(0, n) for n in made.shape)], centre))
        made = np.where(far <= radius**2, random.uniform(*CERTAINTY), made)
    return moved(made, voxel_mm, random)


def moved(prior: np.ndarray, voxel_mm: float, random: np.random.Generator) -> np.ndarray:
    """A prior with soft edges, misregistered by a drawn shift."""
    soft = gaussian_filter(prior, random.uniform(*WIDTH_mm) / FWHM_PER_SIGMA / voxel_mm)
    by = random.normal(0, MOVED_mm / voxel_mm, 3)
    return np.clip(shift(soft, by, order=1, mode="nearest"), 0, 1).astype(np.float32)
