"""Region-wise rigid refinement: kidneys slide under the ribs, and a transform of the whole body does not follow.

Around each region a box of the fixed image is registered rigidly, from the global transform on. A refinement that goes
further than the limits, or does not gain, is dropped: the global transform stays, and the result says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dose.errors import ImageError, describe
from imaging.geometry import Volume
from imaging.registration.pairwise import Registration, register, volume_of
from imaging.registration.resampling import cropped
from imaging.registration.settings import STAGES, setting
from imaging.registration.transform import SpatialTransform
from imaging.series import ImageSeries


@dataclass(frozen=True)
class RegionRegistration:
    """`transform` for one region; `shift_mm` and `angle_deg` from the global one at the region's centre.

    `refined` is False where the global transform was kept, for the reason in `words`.
    """

    region: str
    transform: SpatialTransform
    refined: bool
    shift_mm: float
    angle_deg: float
    gain: float
    words: str


def register_regions(
    fixed: ImageSeries | Volume,
    moving: ImageSeries | Volume,
    masks: dict[str, Volume],
    overall: Registration | SpatialTransform,
    *,
    margin_mm: float | None = None,
    spacing_mm: float | None = None,
    metric: str = "auto",
) -> tuple[RegionRegistration, ...]:
    """One rigid refinement for each mask (region name to weights 0 to 1 in the fixed space).

    Raises:
        ImageError: a mask without a voxel on the fixed image.
    """
    start = overall.transform if isinstance(overall, Registration) else overall
    margin = setting("region_margin") if margin_mm is None else margin_mm
    options = {"spacing_mm": spacing_mm, "metric": metric}
    return tuple(_refined(name, mask, fixed, moving, start, margin, options) for name, mask in masks.items())


def _refined(name, mask, fixed, moving, start: SpatialTransform, margin_mm, options) -> RegionRegistration:
    on_fixed = mask.resampled_onto(volume_of(fixed))
    box = _box(on_fixed, margin_mm, name)
    centre = on_fixed.to_lps_mm(np.argwhere(on_fixed.array > 0.5).mean(axis=0)[::-1])
    here = _tangent(start, centre)
    part = _with_volume(fixed, cropped(volume_of(fixed), box))
    try:
        found = register(part, moving, stages=STAGES[:1], start=here, sampling_share=1.0, **options)
    except ImageError:
        return RegionRegistration(name, start, False, 0.0, 0.0, 0.0, "kept global: the box could not be registered")
    shift = float(np.linalg.norm(found.transform.apply(centre) - here.apply(centre)))
    angle = _angle_deg(found.transform, here)
    gain = found.stages[-1].after - found.stages[0].before
    words = _objection(shift, angle, gain)
    kept = start if words else found.transform
    return RegionRegistration(name, kept, not words, shift, angle, gain, words or "refined within the limits")


def _objection(shift_mm: float, angle_deg: float, gain: float) -> str:
    limits = setting("region_shift_limit"), setting("region_angle_limit")
    if shift_mm > limits[0] or angle_deg > limits[1]:
        return f"kept global: the box asks for {shift_mm:.0f} mm and {angle_deg:.0f} deg, beyond the limits"
    return "" if gain > 0 else "kept global: no gain of similarity in the box"


def _tangent(transform: SpatialTransform, centre_mm: np.ndarray) -> SpatialTransform:
    """The affine that moves the region's centre as the whole transform does, and turns as its affine does."""
    matrix = transform.affine.copy()
    matrix[:3, 3] += transform.apply(centre_mm) - SpatialTransform(matrix).apply(centre_mm)
    u, _, vt = np.linalg.svd(matrix[:3, :3])
    turned = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt
    matrix[:3, 3] += (matrix[:3, :3] - turned) @ centre_mm
    matrix[:3, :3] = turned
    return SpatialTransform(matrix)


def _angle_deg(a: SpatialTransform, b: SpatialTransform) -> float:
    """Angle of the turn between two rigid transforms."""
    cosine = (np.trace(a.affine[:3, :3] @ b.affine[:3, :3].T) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def _box(mask: Volume, margin_mm: float, name: str) -> tuple[slice, ...]:
    where = np.argwhere(mask.array > 0.5)
    if not len(where):
        do = "check the segmentation and its frame of reference"
        raise ImageError(describe(f"mask of {name}", "nothing on the fixed image", "at least one voxel", do))
    reach = np.ceil(margin_mm / mask.spacing_mm[::-1]).astype(int)
    low = np.maximum(where.min(axis=0) - reach, 0)
    high = np.minimum(where.max(axis=0) + reach + 1, mask.array.shape)
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))


def _with_volume(image: ImageSeries | Volume, volume: Volume) -> ImageSeries | Volume:
    return replace(image, volume=volume) if isinstance(image, ImageSeries) else volume
