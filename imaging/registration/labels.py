"""Labels of one scan carried to a later one, as weights: what moves, what is lost, and what the volumes did.

Masks are drawn in the moving image's space (the earlier cycle) and wanted on a grid in the fixed one. Weights stay
between 0 and 1 (linear interpolation), so that a small lesion keeps its volume; where regions overlap more than they
did, weights are scaled down to sum to 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dose.errors import ImageError, describe
from imaging.geometry import Volume
from imaging.registration.pairwise import Registration
from imaging.registration.quality import Flag, judged
from imaging.registration.regionwise import RegionRegistration
from imaging.registration.resampling import resample
from imaging.registration.settings import setting
from imaging.registration.transform import SpatialTransform

OVERLAPS = ("resolve", "keep")


@dataclass(frozen=True)
class PropagatedRegion:
    """A region on the new grid with its volumes in mL.

    `volume_ratio` is after over before; `jacobian_ratio` the same as the transform's Jacobian says (they differ where
    the field of view ends). `at_edge` says that weight touches the border of the grid.
    """

    region: str
    mask: Volume
    before_mL: float
    after_mL: float
    jacobian_ratio: float
    at_edge: bool
    flags: tuple[Flag, ...]

    @property
    def volume_ratio(self) -> float:
        return self.after_mL / self.before_mL

    @property
    def refused(self) -> bool:
        return any(flag.level == "refused" for flag in self.flags)


def propagate(
    masks: dict[str, Volume],
    registration: Registration | SpatialTransform,
    grid: Volume,
    *,
    regions: tuple[RegionRegistration, ...] = (),
    overlap: str = "resolve",
) -> dict[str, PropagatedRegion]:
    """`masks` (weights 0 to 1 in moving space) on `grid` (fixed space), each by its own refinement where there is one.

    Raises:
        ImageError: the registration is refused, a mask is empty or has weights outside 0 to 1.
    """
    whole = registration.required() if isinstance(registration, Registration) else registration
    if overlap not in OVERLAPS:
        raise ImageError(describe("overlap", f'"{overlap}"', f"one of {', '.join(OVERLAPS)}", "choose one"))
    own = {r.region: r.transform for r in regions}
    for name, mask in masks.items():
        _check(name, mask)
    transforms = {name: own.get(name, whole) for name in masks}
    carried = {name: resample(mask, transforms[name], grid) for name, mask in masks.items()}
    if overlap == "resolve":
        carried = _without_overlap(carried)
    return {name: _judged(name, masks[name], carried[name], transforms[name]) for name in masks}


def _check(name: str, mask: Volume) -> None:
    low, high = float(mask.array.min()), float(mask.array.max())
    if low < 0 or high > 1 or not high > 0:
        found, do = f"weights from {low:.3g} to {high:.3g}", "give a mask or fractions"
        raise ImageError(describe(f"mask of {name}", found, "0 to 1, not all 0", do))


def _without_overlap(masks: dict[str, Volume]) -> dict[str, Volume]:
    """Weights over 1 in sum are shared out in proportion."""
    total = np.sum([m.array for m in masks.values()], axis=0) if masks else 1.0
    over = np.maximum(total, 1.0)
    return {name: m.with_array(m.array / over) for name, m in masks.items()}


def _judged(name: str, before: Volume, after: Volume, transform: SpatialTransform) -> PropagatedRegion:
    before_mL, after_mL = weight_mL(before), weight_mL(after)
    # integral of weight x |J| over the fixed grid is the moving volume that the grid saw
    jacobian = np.abs(transform.jacobian(after)) if after_mL > 0 else np.ones(1)
    seen_mL = float((after.array * jacobian).sum(dtype=float)) * after.voxel_mL
    ratio = after_mL / seen_mL if seen_mL > 0 else 0.0
    lost = max(0.0, 1 - seen_mL / before_mL)
    change = abs(ratio - 1) if seen_mL > 0 else 1.0
    flags = (
        judged("lost", lost, "1", "share of the region that the new grid does not show or another region took",
               setting("lost_note"), setting("lost_refuse")),
        judged("volume", change, "1", "change of volume by the transform", setting("volume_note"), np.inf),
    )  # fmt: skip
    return PropagatedRegion(name, after, before_mL, after_mL, ratio, _at_edge(after.array), flags)


def weight_mL(mask: Volume) -> float:
    """Volume of a mask of weights."""
    return float(mask.array.sum(dtype=float)) * mask.voxel_mL


def _at_edge(weights: np.ndarray) -> bool:
    return any(weights.take(k, axis=axis).any() for axis in range(3) for k in (0, -1))
