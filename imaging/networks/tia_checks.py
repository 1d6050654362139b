"""What scans, numbers and masks must be before time-integrated activity is made of them.

Slips of unit show in sums: a field cannot hold more activity than was administered, and the SUV of a whole body has a
mean of 1 g/mL at the most.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool

from dose.errors import ImageError, InputError, describe, nearest
from dose.learning.ranges import positive
from dose.nuclides import Radionuclide
from imaging.geometry import Volume, as_volume
from imaging.networks.given import check_grid
from imaging.networks.tia_scans import TRACERS

LEAST_VOXELS = 16
"""Along each axis of an image."""

MOST_SHARE = 1.2
"""Of what was administered that a field may hold by its scan. Scanner and dose calibrator are each off by 10 % at most
(`voxel_tia_share_error`), which together makes a fifth; simulated fields hold 0.8 and less; GBq for MBq or kilograms
for grams make a thousand times that."""

LEAST_MASS_g, MOST_MASS_g = 1e3, 1e6
"""Of a patient: no child that is treated weighs less, and kilograms lie below it."""


def checked(volume: Volume, ct: Volume, tracer: str, field: str) -> None:
    """Raises:
    InputError: what is no volume, an unknown tracer, an image without activity.
    ImageError: an image that is too small, or a CT on another grid.
    """
    as_volume(volume, field)
    as_volume(ct, "ct")
    if tracer not in TRACERS:
        meant = nearest(tracer, TRACERS) or f"one of {TRACERS}"
        raise InputError(describe("tracer", repr(tracer), meant, "correct the name"))
    if min(volume.array.shape) < LEAST_VOXELS:
        found, expected = f"shape {volume.array.shape}", f"{LEAST_VOXELS} voxels or more along each axis"
        raise ImageError(describe(field, found, expected, "give the whole image"))
    if not volume.is_on_grid_of(ct):
        raise ImageError(describe("ct", "another grid", f"that of the {field}", "use ct.resampled_onto"))
    array = volume.array
    if not array.sum(dtype=float) > 0 or array.min() < -array.max():
        found = f"values of {array.min():.3g} to {array.max():.3g}"
        raise InputError(describe(field, found, "activity above zero, but for noise", "give the image as it is"))


def checked_mass(mass_g: float) -> None:
    """Raises an InputError for what cannot be a patient's mass in grams."""
    positive(mass_g=mass_g)
    if not LEAST_MASS_g <= mass_g <= MOST_MASS_g:
        expected = f"a patient's mass, {LEAST_MASS_g:g} to {MOST_MASS_g:g} g"
        raise InputError(describe("mass_g", f"{mass_g:g}", expected, "grams? give kilograms times 1000"))


def within_administered(volume: Volume, administered_MBq: float, time_h: float, nuclide: Radionuclide) -> None:
    """Whether the activity of a scan (Bq/mL at its hour) was administered, but for MOST_SHARE.

    Raises:
        InputError: more activity than there can be.
    """
    seen_MBq = float(volume.array.sum(dtype=float)) * volume.voxel_mL * 1e-6
    log = np.log(seen_MBq / administered_MBq) + np.log(2) * time_h / nuclide.half_life_h
    if log <= np.log(MOST_SHARE):
        return
    times = f"{np.exp(log):.3g}" if log < 100 else "over 1e43"
    found = f"{times} times administered_MBq, corrected for the decay of {nuclide.name} over time_h"
    do = "check administered_MBq (MBq, not GBq), time_h (hours), nuclide, and that the SPECT is in Bq/mL"
    raise InputError(describe("activity in the SPECT's field", found, f"at most {MOST_SHARE:g} times", do))


def within_body(suv: Volume, mass_g: float) -> None:
    """Whether SUVs of a field are those of a body of this mass, but for MOST_SHARE.

    Raises:
        InputError: more activity than there can be.
    """
    share = float(suv.array.sum(dtype=float)) * suv.voxel_mL / mass_g
    if share > MOST_SHARE:
        found, expected = f"{share:.3g} times mass_g", f"at most {MOST_SHARE:g} times: a body's mean is 1 g/mL or less"
        do = "check that the PET is in SUV by body weight (not Bq/mL) and mass_g in grams"
        raise InputError(describe("SUV times volume in the PET's field", found, expected, do))


def masks_on(regions: Mapping[str, Any] | None, grid: Volume) -> dict[str, Bool[np.ndarray, "z y x"]]:
    """Regions by name as boolean arrays.

    Args:
        regions: of arrays or volumes, as `mask_array` takes them; None for none.

    Raises:
        InputError: no mapping, or a name that is no text.
        ImageError: a mask of another grid, or without a voxel.
    """
    if not isinstance(regions, Mapping | None):
        do = 'give {"kidney_left": mask, ...}, or found.masks() of a segmentation'
        raise InputError(describe("regions", f"a {type(regions).__name__}", "masks by name", do))
    for name in regions or {}:
        if not isinstance(name, str):
            do = 'give names of dose.regions, such as "kidney_left" or "tumour_1"'
            raise InputError(describe("regions", f"the name {name!r}", "names as text", do))
    return {name: mask_array(mask, grid, f"regions[{name!r}]") for name, mask in (regions or {}).items()}


def mask_array(mask: Any, grid: Volume, field: str) -> Bool[np.ndarray, "z y x"]:
    """A mask as booleans: True where its weight is above one half.

    Args:
        mask: boolean or weights 0 to 1, an array [z, y, x] or a volume.
        grid: which it must lie on.
        field: its name in errors.

    Raises:
        ImageError: a mask of another grid or shape, without a voxel, or of no numbers.
    """
    if isinstance(mask, Volume):
        check_grid(mask, grid, field, how=', interpolation="nearest"')
    array = np.asarray(mask.array if isinstance(mask, Volume) else mask)
    inside = array > 0.5 if array.dtype.kind in "biuf" else np.zeros(0, bool)
    if array.shape != grid.array.shape or not inside.any():
        found = f"a {type(mask).__name__} of shape {array.shape}, {int(inside.sum())} voxels above 0.5"
        expected = f"a mask of shape {grid.array.shape}, with voxels"
        raise ImageError(describe(field, found, expected, "correct the mask"))
    return inside
