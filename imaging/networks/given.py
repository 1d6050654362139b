"""What users give beside an image: other images that must show the same place, and organs by name on its grid."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from dose.errors import ImageError, InputError, describe
from dose.regions import TUMOUR_WORDS, region
from imaging.geometry import Volume, as_volume

WELL_COVERED = 0.95
"""Part of what is looked at that another image must cover: blur and arms reach a few per cent beyond a field."""

NONE_COVERED = 0.005
"""Less is printed as 0 %: the two images do not show the same place."""

SPARE = 1e-3
"""Voxels by which headers' decimals may miss."""

LESIONS = re.compile(rf"(?:{'|'.join(TUMOUR_WORDS)})s?\d*|metast\w*")
"""Words that name a lesion, wherever they stand: "liver_lesion", "Metastases"."""


def covered_part(image: Volume, grid: Volume, weights: Float[np.ndarray, "z y x"] | None = None) -> float:
    """Part of what a grid's voxels hold whose middles lie in the field of an image, 0 to 1; 1 where they hold nothing.

    Slice by slice: `registration.resampling.covered` holds the points of a whole PET at once.

    Args:
        weights: zero or more; the grid's own values above zero where not given.
    """
    ends = [(0, n - 1) for n in grid.array.shape[::-1]]
    corners = np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, 3)
    if _within(image, image.to_index(grid.to_lps_mm(corners)).T).all():
        return 1.0
    held = np.maximum(grid.array, 0) if weights is None else weights
    step = np.linalg.inv(image.affine) @ grid.affine
    y, x = np.ogrid[: held.shape[1], : held.shape[2]]
    seen = 0.0
    for z, plane in enumerate(held):
        there = _within(image, [row[0] * x + row[1] * y + row[2] * z + row[3] for row in step[:3]])
        seen += float(plane[np.broadcast_to(there, plane.shape)].sum(dtype=float))
    whole = float(held.sum(dtype=float))
    return seen / whole if whole > 0 else 1.0


def _within(image: Volume, index_xyz) -> np.ndarray:
    """Where voxel indices, one array for each axis, lie in the field of an image, to half a voxel beyond."""
    sides = [(at >= -0.5 - SPARE) & (at <= n - 0.5 + SPARE) for at, n in zip(index_xyz, image.array.shape[::-1])]
    return sides[0] & sides[1] & sides[2]


def same_place(field: str, part: float, of: str) -> tuple[str, ...]:
    """In words, that the image given as `field` covers too small a part of something (`of`); nothing where it does.

    Raises:
        ImageError: it covers none of it.
    """
    if part < NONE_COVERED:
        do = "give an image of the same frame of reference, or register it (imaging.registration)"
        raise ImageError(describe(field, f"a field with {part:.0%} of {of}", "the same place", do))
    if part >= WELL_COVERED:
        return ()
    return (f"the {field} covers {part:.0%} of {of}, at least {WELL_COVERED:.0%} are asked",)


def ct_doubts(ct: Volume | None, image: Volume, of: str) -> tuple[str, ...]:
    """`same_place` of a CT that may be left out: beyond its field the networks see air.

    Raises:
        InputError: no volume.
        ImageError: none of the image's activity (`of`, in words) lies in its field.
    """
    return () if ct is None else same_place("ct", covered_part(as_volume(ct, "ct"), image), of)


def organ_masks(organs: Mapping[str, Volume] | None, image: Volume) -> tuple[dict[str, Volume] | None, tuple[str, ...]]:
    """Masks by the names of `dose.regions`, and in words which names are not among those.

    Raises:
        InputError: no mapping of names to volumes, the name of a lesion, two masks of one organ.
        ImageError: a mask on another grid than the image's.
    """
    if organs is None:
        return None, ()
    found: dict[str, Volume] = {}
    for name, mask in volumes_by_name(organs, "organs").items():
        own = _organ_name(name)
        if own in found:
            raise InputError(describe("organs", f'"{own}" twice', "one mask of an organ", "join the two masks"))
        check_grid(mask, image, f"organs[{name!r}]", how=', interpolation="nearest"')
        found[own] = mask
    unknown = [name for name in found if not is_region(name)]
    said = f"organs of no known region: {', '.join(unknown)}; no lesion is called in them"
    return found, (said,) if unknown else ()


def _organ_name(name) -> str:
    """The canonical name of an organ, the name itself where it is not known."""
    if any(LESIONS.fullmatch(word) for word in re.split(r"[^a-z0-9]+", str(name).lower())):
        do = "leave it out: no lesion is called within these masks"
        raise InputError(describe("organs", f'"{name}", a lesion', "organs of physiological uptake", do))
    return region(name) if is_region(name) else str(name)


def is_region(name) -> bool:
    """Whether a name is one of `dose.regions`."""
    try:
        return bool(region(name))
    except InputError:
        return False


def volumes_by_name(given: Mapping[str, Volume], field: str) -> Mapping[str, Volume]:
    """What was given as `field`, once it is known to be volumes by name.

    Raises:
        InputError: anything else.
    """
    if not isinstance(given, Mapping):
        do = 'give {"liver": mask, ...}; an OrganSegmentation has them as masks()'
        raise InputError(describe(field, f"a {type(given).__name__}", "volumes by name", do))
    for name, volume in given.items():
        as_volume(volume, f"{field}[{name!r}]")
    return given


def check_grid(other: Volume, image: Volume, field: str, *, how: str = "") -> None:
    """Raises ImageError where the volume given as `field` lies on another grid than the image.

    Args:
        how: further arguments of `resampled_onto` for the advice.
    """
    if not other.is_on_grid_of(image):
        do = f"use its resampled_onto(image{how})"
        raise ImageError(describe(field, "another grid", "that of the image", do))
