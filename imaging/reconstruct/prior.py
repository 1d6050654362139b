"""The relative difference prior: smooths by relative, not absolute differences, and spares edges.

For an image x with neighbours j, k (26 around a voxel, each pair once, weight w = 1 / distance in voxels)

    U(x) = sum_jk w_jk (x_j - x_k)^2 / (x_j + x_k + gamma |x_j - x_k|)                        (Nuyts et al. 2002)

U grows in proportion to x, so that beta U is in counts where x is: beta is a number near 0.01 to 10 whatever the
activity. gamma = 0 smooths most; 2 is common.

Each pair's second derivative in x_j is 8 x_k^2 / (x_j + x_k + gamma |x_j - x_k|)^3, and x_j times it is at most 32/27
(gamma = 0, x_k = 2 x_j). Twice that, for both ends of a pair move at once (De Pierro 1995), is `CURVATURE`.

References:
    J. Nuyts, D. Beque, P. Dupont, L. Mortelmans, IEEE Trans. Nucl. Sci. 49 (2002) 56-60.
    A. R. De Pierro, IEEE Trans. Med. Imaging 14 (1995) 132-137.
"""

from __future__ import annotations

import itertools

import jax.numpy as jnp
from jaxtyping import Array, Float

CURVATURE = 64 / 27
"""Bound of x times the prior's second derivative per neighbour weight, both ends moving."""

LEAST_SUM = 1e-20
"""Sums of two neighbours at or below this have no relative difference: their pair counts nothing."""

HALF = tuple(offset for offset in itertools.product((-1, 0, 1), repeat=3) if offset > (0, 0, 0))
"""Thirteen offsets (z, y, x) that meet each pair of neighbours once."""


def _ends(image, offset) -> tuple[Array, Array]:
    """The two ends of all pairs with this offset."""
    here = tuple(slice(max(0, -d), n - max(0, d)) for d, n in zip(offset, image.shape, strict=True))
    there = tuple(slice(max(0, d), n - max(0, -d)) for d, n in zip(offset, image.shape, strict=True))
    return image[here], image[there]


def _weight(offset) -> float:
    return 1 / sum(d * d for d in offset) ** 0.5


def value(image: Float[Array, "z y x"], gamma) -> Array:
    """U(x), in the unit of the image."""
    total = jnp.zeros((), image.dtype)
    for offset in HALF:
        a, b = _ends(image, offset)
        size = a + b + gamma * jnp.abs(a - b)
        total += _weight(offset) * jnp.sum((a - b) ** 2 / jnp.where(size > LEAST_SUM, size, 1))
    return total


def gradient(image: Float[Array, "z y x"], gamma) -> Float[Array, "z y x"]:
    """dU/dx_j: sum over k of w (x_j - x_k)(gamma |x_j - x_k| + x_j + 3 x_k) / (x_j + x_k + gamma |x_j - x_k|)^2."""
    total = jnp.zeros_like(image)
    for offset in HALF:
        a, b = _ends(image, offset)
        apart = gamma * jnp.abs(a - b)
        size = jnp.where(a + b + apart > LEAST_SUM, a + b + apart, 1)
        part = _weight(offset) * (a - b) / size**2
        total += _padded(part * (apart + a + 3 * b), offset, image.shape)
        total -= _padded(part * (apart + b + 3 * a), tuple(-d for d in offset), image.shape)
    return total


def neighbour_weight(image: Float[Array, "z y x"]) -> Float[Array, "z y x"]:
    """Sum of the weights of each voxel's neighbours within the image."""
    total = jnp.zeros_like(image)
    for offset in HALF:
        pairs = jnp.full_like(_ends(image, offset)[0], _weight(offset))
        total += _padded(pairs, offset, image.shape) + _padded(pairs, tuple(-d for d in offset), image.shape)
    return total


def _padded(part, offset, shape) -> Array:
    """Values of the near ends of pairs with this offset, as an image with zeros elsewhere."""
    return jnp.pad(part, [(max(0, -d), max(0, d)) for d in offset])
