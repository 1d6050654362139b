"""Partial volume of a whole image: true means of regions with their covariance, and a corrected image.

Geometric transfer matrix (Rousset 1998): measured means are R times the true ones. Iterative Yang (Erlandsson 2012):
each voxel is multiplied by s / blur(s), where s is the image that the present means would make, and the means are
taken anew until they stand. Both are exact for regions of even uptake and a known point spread. What is not exact is
carried into the covariance: the noise of the measured means through the inverse, the width of the point spread, and a
shift between drawing and image, the last two by three-point Gauss-Hermite quadrature, because the loss of a lesion
that is missed to either side is of second order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import shift as shifted

from dose.errors import ImageError, InputError, describe
from imaging.geometry import Volume
from imaging.noise_model import NoiseModel, mean_covariance
from imaging.point_spread import GaussianSpread
from imaging.recovery import corrected_means, mixing_matrix

METHODS = ("gtm", "yang")
REST = "rest"
"""Whatever lies in no region takes part as one more of this name."""

MOST_OVERLAP = 0.02
"""Regions that share more than this part of one of them are not solved for together."""

YANG_ITERATIONS, YANG_TOLERANCE = 50, 1e-5
"""Iterations at most, and the change of all means, relative to the largest, below which they stand."""

HERMITE_NODE, HERMITE_WEIGHT = 3**0.5, 1 / 6
"""Outer nodes of three-point Gauss-Hermite quadrature in sd, and the weight of each."""


@dataclass(frozen=True)
class PartialVolume:
    """True `means` [region] in the image's unit with `covariance` [region, region]; `regions` ends with "rest" if any.

    `image` is the corrected image of Yang's method, None for the matrix; `measured` are the means as they were.
    """

    regions: tuple[str, ...]
    means: np.ndarray
    covariance: np.ndarray
    measured: np.ndarray
    image: Volume | None = None
    iterations: int = 0

    @property
    def sd(self) -> np.ndarray:
        return np.sqrt(np.diag(self.covariance))


def partial_volume(
    image: Volume,
    masks: Mapping[str, Volume],
    psf: float | Callable,
    method: str = "gtm",
    *,
    noise: NoiseModel | None = None,
    psf_relative_sd: float = 0.0,
    shift_sd_mm: float = 0.0,
) -> PartialVolume:
    """Means of `masks` (weights 0 to 1 on the image's grid) as if nothing had been blurred.

    `psf` is a FWHM in mm or a blur of `imaging.point_spread`. Without `noise` the covariance holds point spread and
    shift only. The covariance of Yang's means is that of the matrix, whose errors it shares.

    Raises:
        InputError: an unknown method, or an uncertain width of a callable that has no `scaled`.
        ImageError: masks of another grid, empty, overlapping, or regions that cannot be told apart.
    """
    if method not in METHODS:
        raise InputError(describe("method", f'"{method}"', f"one of {METHODS}", "choose one"))
    blur = psf if callable(psf) else GaussianSpread(image.spacing_mm, float(psf))
    names, weights = with_rest(image, masks)
    values = image.array.astype(float)
    measured = weighted_means(values, weights)
    matrix = mixing_matrix(weights, blur)
    means = corrected_means(matrix, measured)
    covariance = np.zeros((len(names), len(names)))
    if noise is not None:
        inverse = np.linalg.inv(matrix)
        covariance = inverse @ mean_covariance(weights, noise) @ inverse.T
    if psf_relative_sd:
        covariance = covariance + _width_covariance(weights, measured, blur, psf_relative_sd, means)
    if shift_sd_mm:
        covariance = covariance + _shift_covariance(image, weights, matrix, shift_sd_mm, means)
    if method == "gtm":
        return PartialVolume(names, means, covariance, measured)
    sharp, means, iterations = iterative_yang(values, weights, blur, means)
    return PartialVolume(names, means, covariance, measured, image.with_array(sharp), iterations)


def weighted_means(values: np.ndarray, weights: list[np.ndarray]) -> np.ndarray:
    """Mean of `values` [z, y, x] in each region, [region]."""
    return np.array([float((w * values).sum()) / float(w.sum(dtype=float)) for w in weights])


def iterative_yang(values, weights, blur: Callable, means) -> tuple[np.ndarray, np.ndarray, int]:
    """(corrected image, its means, iterations) from first `means` (Erlandsson 2012).

    Means of soft regions share edge voxels; they are told apart by the overlaps of the weights.

    Raises:
        ImageError: means that do not stand after `YANG_ITERATIONS`.
    """
    overlap = np.array([[float(np.vdot(w, v)) / float(w.sum(dtype=float)) for v in weights] for w in weights])
    sharp = values
    for iteration in range(1, YANG_ITERATIONS + 1):
        drawn = sum(max(float(a), 0.0) * w for a, w in zip(means, weights, strict=True))
        seen = blur(drawn)
        floor = 1e-6 * float(seen.max())
        sharp = values * np.divide(drawn, seen, out=np.ones_like(values), where=seen > floor)
        before, means = means, np.linalg.solve(overlap, weighted_means(sharp, weights))
        if np.max(np.abs(means - before)) <= YANG_TOLERANCE * np.max(np.abs(means)):
            return sharp, means, iteration
    found, do = f"means that still move after {YANG_ITERATIONS} iterations", "use the matrix, or join small regions"
    raise ImageError(describe("iterative Yang", found, "means that stand", do))


def _width_covariance(weights, measured, blur, relative_sd: float, means) -> np.ndarray:
    if not hasattr(blur, "scaled"):
        do = "give a spread of imaging.point_spread, or take its width as known"
        raise InputError(describe("psf", "a callable that cannot be made wider", "one with scaled(factor)", do))
    moved = []
    for side in (-HERMITE_NODE, HERMITE_NODE):
        matrix = mixing_matrix(weights, blur.scaled(1 + side * relative_sd))
        moved.append(corrected_means(matrix, measured) - means)
    return HERMITE_WEIGHT * (np.outer(moved[0], moved[0]) + np.outer(moved[1], moved[1]))


def _shift_covariance(image: Volume, weights, matrix, sd_mm: float, means) -> np.ndarray:
    """Three axes taken as independent; the image is moved by cubic splines, the drawing stays."""
    total = np.zeros(matrix.shape)
    for axis, spacing in enumerate(image.spacing_mm[::-1]):
        for side in (-HERMITE_NODE, HERMITE_NODE):
            step = np.zeros(3)
            step[axis] = side * sd_mm / spacing
            moved = shifted(image.array.astype(float), step, order=3, mode="nearest")
            change = np.linalg.solve(matrix, weighted_means(moved, weights)) - means
            total += HERMITE_WEIGHT * np.outer(change, change)
    return total


def with_rest(image: Volume, masks: Mapping[str, Volume]) -> tuple[tuple[str, ...], list[np.ndarray]]:
    """Names and weights of all regions and of what is left, soft neighbours that share a voxel allowed.

    Raises:
        ImageError: no regions, empty ones, another grid, or regions that overlap.
    """
    if not masks or not all(m.is_on_grid_of(image) and m.array.any() for m in masks.values()):
        found, do = "none, or one that is empty or on another grid", "draw them on this image"
        raise ImageError(describe("masks", found, "regions on the image's grid", do))
    weights = [mask.array.astype(float) for mask in masks.values()]
    total = np.sum(weights, axis=0)
    for name, weight in zip(masks, weights, strict=True):
        shared = float((weight * np.clip(total - weight, 0, None) * (total > 1 + 1e-6)).sum()) / float(weight.sum())
        if shared > MOST_OVERLAP:
            found = f"{shared:.0%} of {name} in other regions too"
            raise ImageError(
                describe(
                    "masks",
                    found,
                    "regions that do not overlap",
                    "separate or join them, or leave partial volume as it is",
                )
            )
    rest = np.clip(1 - total, 0, 1)
    if not rest.any():
        return tuple(masks), weights
    return (*masks, REST), [*weights, rest]
