"""Exponential curves of many voxels at once: columns, slopes, amplitudes and integrals.

Coordinates are ln of the slow rate, which is never below physical decay, and ln of what the fast rate adds to it.
Arrays end in the voxel: coordinates [rate, voxel], columns [amplitude, scan, voxel].
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

SLOWEST_PER_H, FASTEST_PER_H = 1e-6, 50.0
"""Bounds of what biology adds to a rate, those of dose.activity."""

RIDGE = 1e-13
"""Added to the scaled information matrix: two equal rates give a huge uncertainty instead of an error."""


@dataclass(frozen=True)
class Model:
    """Exponentials mixed from free amplitudes: `mix` [rate, amplitude]."""

    name: str
    mix: np.ndarray

    @property
    def parameters(self) -> int:
        return sum(self.mix.shape)


MODELS = {
    "mono": Model("mono", np.array([[1.0]])),
    "uptake": Model("uptake", np.array([[1.0], [-1.0]])),
    "bi": Model("bi", np.eye(2)),
}
"""A exp(-l1 t); A (exp(-l1 t) - exp(-l2 t)); A1 exp(-l1 t) + A2 exp(-l2 t) with l2 above l1."""


def bounds(model: Model, physical_per_h: float) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest coordinates, each [rate, 1]."""
    low = [math.log(physical_per_h + SLOWEST_PER_H), math.log(SLOWEST_PER_H)]
    high = [math.log(physical_per_h + FASTEST_PER_H), math.log(FASTEST_PER_H)]
    n = len(model.mix)
    return np.array(low[:n])[:, None], np.array(high[:n])[:, None]


def rates(theta):
    """Slow rate, and the slow one plus what the fast one adds, [rate, voxel]."""
    return np.cumsum(np.exp(theta), axis=0)


def basis(model: Model, t, theta):
    """Columns [amplitude, scan, voxel] and their slopes by the coordinates [rate, amplitude, scan, voxel]."""
    slow, exponential = np.exp(theta[0]), np.exp(-rates(theta)[:, None] * t)
    by_slow = -slow * t * exponential
    slopes = [np.einsum("ra,rtv->atv", model.mix, by_slow)]
    if len(model.mix) == 2:
        by_fast = -np.exp(theta[1]) * t * exponential[1]
        slopes.append(model.mix[1][:, None, None] * by_fast)
    return np.einsum("ra,rtv->atv", model.mix, exponential), np.stack(slopes)


def amplitudes(column, y):
    """Least squares of y [scan, voxel] on weighted columns [amplitude, scan, voxel]: [amplitude, voxel]."""
    gram = np.einsum("atv,btv->abv", column, column)
    right = np.einsum("atv,tv->av", column, y)
    if len(column) == 1:
        return right / gram[0]
    determinant = gram[0, 0] * gram[1, 1] * (1 + RIDGE) - gram[0, 1] ** 2
    first = gram[1, 1] * right[0] - gram[0, 1] * right[1]
    second = gram[0, 0] * right[1] - gram[0, 1] * right[0]
    return np.stack([first, second]) / determinant


def integral(model: Model, theta, amplitude, last_h: float):
    """Integral [voxel], its gradient by amplitudes and coordinates [parameter, voxel], and its part after `last_h`."""
    rate, each = rates(theta), model.mix @ amplitude
    terms = each / rate
    by_rate = -each / rate**2
    by_coordinate = [by_rate.sum(0) * np.exp(theta[0])]
    if len(rate) == 2:
        by_coordinate.append(by_rate[1] * np.exp(theta[1]))
    gradient = np.concatenate([model.mix.T @ (1 / rate), np.stack(by_coordinate)])
    return terms.sum(0), gradient, (terms * np.exp(-rate * last_h)).sum(0)
