"""Lesions by thresholds, with organs of known place left out.

The rules themselves (41 % of the maximum, a fixed SUV, one from the liver) are those of `imaging.tumour_burden`; here
they are put over a whole scan. What organs take up by their nature is cut away with a margin for the blur; the liver,
where lesions lie as well, keeps its own threshold inside.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool
from scipy.ndimage import distance_transform_edt, label

from dose.errors import InputError, describe
from imaging.geometry import Volume
from imaging.region_means import check_mask
from imaging.tumour_burden import default_of, liver_threshold, threshold_mask

RULES = ("fixed", "liver", "share")

FIXED_SUV = 3.0
"""Working value for PSMA and SSTR (SUV 3 and 4 are both in use; recalled)."""

MARGIN_mm = 8.0
"""Organs are widened by about one width of the scanner's blur before they are cut away."""

LIVER = "liver"


def threshold_lesions(
    suv: Volume,
    *,
    rule: str = "fixed",
    fixed_suv: float = FIXED_SUV,
    organs: Mapping[str, Volume] | None = None,
    margin_mm: float = MARGIN_mm,
    minimum_volume_mL: float | None = None,
) -> Volume:
    """Mask of lesions in a scan of SUV, in islands of at least `minimum_volume_mL` (0.5 mL).

    Args:
        rule: "fixed" takes voxels at or above `fixed_suv`; "liver" those above 1.5 mean + 2 sd of the liver; "share"
            cuts each island of "fixed" at 41 % of its maximum.
        organs: masks by name on the image's grid, cut away with `margin_mm`; within "liver" the liver's rule holds.

    Raises:
        InputError: another rule, a threshold not above zero, rule "liver" without a liver.
        ImageError: a mask on another grid or without voxels.
    """
    organs = organs or {}
    if rule not in RULES:
        raise InputError(describe("rule", f'"{rule}"', f"one of {RULES}", "choose one"))
    if not fixed_suv > 0:
        raise InputError(describe("fixed_suv", f"{fixed_suv:g}", "above zero", "give an SUV, as 3"))
    if rule == "liver" and LIVER not in organs:
        raise InputError(describe("organs", f"no {LIVER}", f"a mask of the {LIVER}", 'give it, or use rule "fixed"'))
    least = default_of("any", "minimum_volume") if minimum_volume_mL is None else minimum_volume_mL
    level = liver_threshold(suv, organs[LIVER]) if rule == "liver" else fixed_suv
    above = (suv.array >= level) & exclude_organs(suv, organs, margin_mm)
    if LIVER in organs:
        above |= (suv.array >= max(level, liver_threshold(suv, organs[LIVER]))) & _clear_liver(suv, organs, margin_mm)
    if rule == "share":
        above &= _above_share(suv.array, above, default_of("relative", "share_of_maximum"))
    return threshold_mask(suv.with_array(above), 0.5, minimum_volume_mL=least)


def exclude_organs(
    grid: Volume, organs: Mapping[str, Volume], margin_mm: float = MARGIN_mm
) -> Bool[np.ndarray, "z y x"]:
    """Where none of the organs is, nor within a margin of them.

    Raises:
        ImageError: a mask on another grid or without voxels.
    """
    covered = np.zeros(grid.array.shape, dtype=bool)
    for mask in organs.values():
        check_mask(grid, mask)
        covered |= mask.array > 0.5
    return ~covered if margin_mm <= 0 else _away_mm(covered, grid) > margin_mm


def _clear_liver(suv: Volume, organs: Mapping[str, Volume], margin_mm: float) -> np.ndarray:
    """The liver and its rim, less all other organs with theirs."""
    others = {name: mask for name, mask in organs.items() if name != LIVER}
    return (organs[LIVER].array > 0.5) & exclude_organs(suv, others, margin_mm)


def _away_mm(covered: np.ndarray, grid: Volume) -> np.ndarray:
    if not covered.any():
        return np.full(covered.shape, np.inf)
    return np.asarray(distance_transform_edt(~covered, sampling=grid.spacing_mm[::-1]))


def _above_share(values: np.ndarray, above: np.ndarray, share: float) -> np.ndarray:
    islands, number = label(above, structure=np.ones((3, 3, 3)))  # type: ignore[misc]
    tops = np.zeros(number + 1)
    np.maximum.at(tops, islands.ravel(), np.where(above, values, 0.0).ravel())
    return values >= share * tops[islands]
