"""Features of an image by which a lesion network knows its range, and the grid that it reads images on."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from imaging.geometry import Volume

BODY_HU = -500.0
BODY_SHARE = 0.1
"""Without a CT the body is where the image is above this part of its mean above zero."""

HIGHEST = 0.9999
"""Quantile of the body's voxels that stands for the highest uptake."""


def image_features(image: Volume, ct: Volume | None) -> dict[str, float]:
    """Size of voxels, mean and highest uptake within the body, and noise.

    Noise is the median step between neighbours along x relative to their mean, in voxels about the body's mean: it
    rises with noise and with the size of voxels.
    """
    hu = ct.resampled_onto(image, outside=-1000.0).array if ct is not None else None
    body = body_mask(image.array, hu)
    inside = image.array[body] if body.any() else image.array.ravel()
    mean = float(inside.mean(dtype=float))
    return {
        "voxel_mm": float((image.voxel_mL * 1000) ** (1 / 3)),
        "mean_uptake": mean,
        "highest_uptake": float(np.quantile(inside, HIGHEST)),
        "noise": _steps(image.array, body),
    }


def body_mask(image: Float[np.ndarray, "z y x"], hu: np.ndarray | None) -> Bool[np.ndarray, "z y x"]:
    """Where the body is, by the CT, else by the image itself."""
    if hu is not None and (hu > BODY_HU).any():
        return hu > BODY_HU
    above = image[image > 0]
    return image > BODY_SHARE * float(above.mean(dtype=float)) if above.size else np.ones(image.shape, bool)


def axial_grid(image: Volume, voxel_mm: float) -> Volume:
    """Cubes along x to the left, y to the back, z to the head that cover an image."""
    n = np.array(image.array.shape[::-1]) - 1
    corners = image.to_lps_mm(np.array([[i, j, k] for i in (0, n[0]) for j in (0, n[1]) for k in (0, n[2])]))
    low, high = corners.min(axis=0), corners.max(axis=0)
    size = np.maximum(np.round((high - low) / voxel_mm).astype(int) + 1, 2)
    affine = np.diag([voxel_mm] * 3 + [1.0])
    affine[:3, 3] = low
    return Volume(np.zeros(tuple(size[::-1]), np.float32), affine)


def _steps(values: np.ndarray, body: np.ndarray) -> float:
    pairs = body[..., 1:] & body[..., :-1]
    a, b = values[..., 1:][pairs].astype(float), values[..., :-1][pairs].astype(float)
    middle = 0.5 * (a + b)
    usual = middle > 0.3 * float(np.median(middle)) if middle.size else np.zeros(0, bool)
    return float(np.median(np.abs(a - b)[usual] / middle[usual])) if usual.any() else 0.0
