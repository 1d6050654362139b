"""Mass density on the grid of the dose: from the CT in the scan's frame, else water inside the activity's outline.

Densities are averaged, not CT numbers. Where a CT ends, or where there is none, the outline is that of the summed
scans: it keeps nearly all activity inside and says where dose means something, not where skin is.
"""

from __future__ import annotations

import numpy as np

from dose.ct import density_from_ct
from imaging.geometry import Volume
from imaging.series import ImageSeries, StudyImages
from twin.dose_maps_grid import averaged

WATER_G_CM3, AIR_G_CM3 = 1.0, 0.0012
OUTLINE_BLUR_MM = 6.0
OUTLINE_SHARE = 0.005
"""Share of the 99.9th percentile of the blurred sum of scans at which the body ends: 99.98 % of the activity of the
real 177Lu pair of the tests lies inside, in 34 L over 39 cm. An assumption of ours."""
UNSEEN = -1.0
"""Stands for what a CT does not cover, while densities are resampled."""


def density_of(
    images: StudyImages, reference: ImageSeries, activity_MBq_mL: np.ndarray, grid: Volume, voxel_mm: float
) -> tuple[np.ndarray, str]:
    """Density in g/cm3 [z, y, x] on `grid`, and in words where it comes from.

    Args:
        images: the study, whose CT counts where it shares the reference's frame.
        reference: the scan whose voxels, averaged to `voxel_mm`, make the grid.
        activity_MBq_mL: [scan, z, y, x] on the grid.
        grid: of the dose.
        voxel_mm: its edge.
    """
    inside = outline(np.nansum(activity_MBq_mL, axis=0), grid)
    from_outline = np.where(inside, WATER_G_CM3, AIR_G_CM3).astype(np.float32)
    shared = [ct for ct in images.of("CT") if ct.frame_hash and ct.frame_hash == reference.frame_hash]
    if not shared:
        words = "water inside the outline of the activity: no CT in the scan's frame of reference"
        return from_outline, words
    ct = max(shared, key=lambda s: s.volume.array.size)
    found = _from_ct(ct, reference, voxel_mm)
    unseen = found <= 0
    words = f"CT in the scan's frame of reference; {unseen.mean():.0%} of the voxels beyond it by the outline"
    return np.where(unseen, from_outline, np.maximum(found, AIR_G_CM3)), words


def _from_ct(ct: ImageSeries, reference: ImageSeries, voxel_mm: float) -> np.ndarray:
    """Densities averaged to the grid; -1 where a voxel is not all within the CT."""
    from imaging.registration.resampling import coarser

    density = ct.volume.with_array(density_from_ct(ct.volume.array))
    fine = coarser(density, float(reference.volume.spacing_mm.max())).resampled_onto(reference.volume, outside=UNSEEN)
    seen = averaged(fine.with_array(fine.array >= 0), voxel_mm).array
    whole = averaged(fine.with_array(np.ones_like(fine.array)), voxel_mm).array
    mean = averaged(fine.with_array(np.maximum(fine.array, 0.0)), voxel_mm).array
    return np.where(seen > 0.99 * whole, mean / np.maximum(whole, 1e-9), UNSEEN)


def outline(activity: np.ndarray, grid: Volume) -> np.ndarray:
    """Where the body is by its activity [z, y, x]: the largest piece above a small share of the peak, holes filled."""
    from scipy.ndimage import binary_fill_holes, gaussian_filter, label

    smooth = gaussian_filter(np.maximum(activity, 0.0), OUTLINE_BLUR_MM / grid.spacing_mm[::-1])
    above = smooth > OUTLINE_SHARE * np.percentile(smooth, 99.9)
    if not above.any():
        return np.ones(activity.shape, dtype=bool)
    pieces = np.zeros(above.shape, dtype=np.int32)
    label(above, output=pieces)
    largest = pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
    return np.stack([binary_fill_holes(plane) for plane in largest])
