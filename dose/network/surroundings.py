"""What lies about each voxel, as maps: shares of the basis media there, and density blurred more and more.

Made of the whole map before it is cut, so that no network's reach ends them. Outside of the map is nothing, as in the
Monte Carlo. They are the same in any direction, so a turned body has turned maps.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from dose.body_tissues import shares_at
from dose.network import kernels, maps

SIGMAS = (1, 2, 4, 8)
"""Of the blurred density, in voxels."""

NEAR = (1, 2)
"""Sigmas of the blurred share of light media (lung), and of heavy ones (bone)."""

LIGHT, HEAVY = slice(0, 2), slice(3, None)
"""Which of the basis media, in their order of density."""


def surroundings(density_g_cm3) -> Float[np.ndarray, "map z y x"]:
    """The maps of a body [z, y, x]; `number()` of them."""
    density = np.asarray(density_g_cm3, np.float32)
    shares = shares_at(density, kernels.media()) * (density >= maps.AIR)
    parts = [shares[LIGHT].sum(0), shares[HEAVY].sum(0)]
    blurs = [_blurred(density, sigma) for sigma in SIGMAS]
    return np.stack([*shares, *blurs, *(_blurred(part, sigma) for sigma in NEAR for part in parts)]).astype(np.float32)


def number() -> int:
    """How many maps there are."""
    return len(kernels.media()) + len(SIGMAS) + 2 * len(NEAR)


def _blurred(array: np.ndarray, sigma: float) -> np.ndarray:
    return ndimage.gaussian_filter(array, sigma, mode="constant")
