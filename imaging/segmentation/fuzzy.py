"""Fuzzy C-means with neighbours: each voxel belongs to each class in part, and looks at the voxels about it.

Plain fuzzy C-means (Bezdek 1981, recalled) minimises sum u^m (x - c)^2 over memberships u and class means c. The
spatial kind (Chuang et al. 2006, recalled) multiplies each membership by that of the neighbours, h, and normalises:
u' = u h^q / sum(u h^q). A membership between 0 and 1 at a lesion's edge serves as the part of the voxel that it holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import find_objects, gaussian_filter, label

from dose.errors import ImageError, InputError, describe
from imaging.geometry import Volume
from imaging.region_means import check_mask
from imaging.registration.resampling import cropped
from imaging.segmentation.thresholds import FIXED_SUV, LIVER, exclude_organs, threshold_lesions

FUZZINESS = 2.0
NEIGHBOURS_VOXELS = 0.7
"""Sigma of the Gaussian that takes the neighbours' mean."""

MOST_ITERATIONS = 100
STILL = 1e-4
"""Class means that move by less than this part of the range have settled."""

TINY = 1e-12
SURROUNDS_mm = 12.0
"""Rim about an island in which its background is looked for."""


@dataclass(frozen=True)
class FuzzyClasses:
    """Memberships [class, z, y, x], which sum to 1 within the region and are 0 outside; class means, rising."""

    memberships: Float[np.ndarray, "class z y x"]
    centres: Float[np.ndarray, " class"]
    iterations: int

    @property
    def hottest(self) -> Float[np.ndarray, "z y x"]:
        """Membership of the class of highest mean."""
        return self.memberships[-1]


def fuzzy_means(
    image: Volume, region: Volume | None = None, *, classes: int = 2, fuzziness: float = FUZZINESS, spatial: float = 1.0
) -> FuzzyClasses:
    """Classes of the voxels of a region (all, where none is given).

    Args:
        fuzziness: the exponent m, above 1; near 1 memberships become 0 or 1.
        spatial: the exponent q of the neighbours; 0 is plain fuzzy C-means.

    Raises:
        InputError: fewer than two classes, fuzziness not above 1, a negative spatial weight.
        ImageError: a region on another grid, or one with fewer different values than classes.
    """
    if classes < 2 or not fuzziness > 1 or not spatial >= 0:
        found = f"{classes} classes, fuzziness {fuzziness:g}, spatial {spatial:g}"
        expected = "2 classes or more, fuzziness above 1, spatial 0 or more"
        raise InputError(describe("fuzzy_means", found, expected, "leave out what is not needed"))
    inside = np.ones(image.array.shape, dtype=bool)
    if region is not None:
        check_mask(image, region)
        inside = region.array > 0.5
    values = image.array.astype(float)
    seen = values[inside]
    if len(np.unique(seen)) < classes:
        found = f"{len(np.unique(seen))} different values"
        raise ImageError(describe("region", found, f"{classes} or more", "draw it larger"))
    return _settled(values, inside, classes, fuzziness, spatial)


def fuzzy_lesions(
    suv: Volume,
    *,
    fixed_suv: float = FIXED_SUV,
    organs: Mapping[str, Volume] | None = None,
    minimum_volume_mL: float | None = None,
) -> Volume:
    """Memberships (0 to 1) of lesions: two classes about each island that a fixed threshold finds.

    Organs whose masks are given are neither lesion nor background, but for the liver.

    Raises:
        InputError, ImageError: as `threshold_lesions` and `fuzzy_means`.
    """
    seeds = threshold_lesions(suv, fixed_suv=fixed_suv, organs=organs, minimum_volume_mL=minimum_volume_mL)
    islands = label(seeds.array > 0, structure=np.ones((3, 3, 3)))[0]  # type: ignore[index]
    allowed = exclude_organs(suv, {name: mask for name, mask in (organs or {}).items() if name != LIVER}, 0.0)
    found = np.zeros(suv.array.shape, dtype=np.float32)
    for number, box in enumerate(find_objects(islands), start=1):
        where = _widened(box, suv)
        free = allowed[where] & ((islands[where] == 0) | (islands[where] == number))
        part = cropped(suv, where)
        hot = fuzzy_means(part, part.with_array(free)).hottest
        found[where] = np.maximum(found[where], hot * _reached(hot, islands[where] == number))
    return suv.with_array(found)


def _settled(values, inside, classes: int, fuzziness: float, spatial: float) -> FuzzyClasses:
    low, high = np.quantile(values[inside], [0.05, 0.999])
    centres = np.linspace(low, high, classes)
    width, turns = max(high - low, TINY), 0
    while turns < MOST_ITERATIONS:
        turns += 1
        u = _memberships(values, inside, centres, fuzziness, spatial)
        weight = u[:, inside] ** fuzziness
        moved = (weight @ values[inside]) / np.maximum(weight.sum(axis=1), TINY)
        still = np.abs(moved - centres).max() < STILL * width
        centres = moved
        if still:
            break
    order = np.argsort(centres, kind="stable")
    found = _memberships(values, inside, centres, fuzziness, spatial)[order]
    return FuzzyClasses(found.astype(np.float32), centres[order], turns)


def _memberships(values, inside: Bool[np.ndarray, "z y x"], centres, fuzziness: float, spatial: float) -> np.ndarray:
    far = np.abs(values[None] - centres[:, None, None, None]) + TINY
    closeness = (far / far.min(axis=0)) ** (-2.0 / (fuzziness - 1.0))
    u = inside * closeness / closeness.sum(axis=0)
    if not spatial:
        return u
    about = np.stack([gaussian_filter(one, NEIGHBOURS_VOXELS, mode="nearest") for one in u])
    u = u * about**spatial
    return inside * u / np.maximum(u.sum(axis=0), TINY)


def _widened(box, grid: Volume) -> tuple[slice, ...]:
    more = np.ceil(SURROUNDS_mm / grid.spacing_mm[::-1]).astype(int)
    return tuple(slice(max(0, s.start - m), s.stop + m) for s, m in zip(box, more))


def _reached(hot: np.ndarray, seed: np.ndarray) -> np.ndarray:
    """The part above a half that hangs together with the seed, and its rim."""
    pieces = label(hot >= 0.5, structure=np.ones((3, 3, 3)))[0]  # type: ignore[index]
    mine = np.isin(pieces, np.setdiff1d(np.unique(pieces[seed]), [0]))
    return gaussian_filter(mine.astype(float), 1.0, truncate=1.5) > 0
