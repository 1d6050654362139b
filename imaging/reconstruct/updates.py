"""One update of an image by the views of a subset: the terms that MLEM, OSEM and BSREM are made of.

With y the counts of the subset, A its projector and b what is added to its projections (scatter),

    expected        e = A x + b
    EM              x <- x A'(y / e) / A'1                                       (Shepp and Vardi 1982)
    penalised       x <- max(0, x + a D [A'(y / e) - A'1 - beta/S grad U(x)])    (Ahn and Fessler 2003)

with S subsets. D = x / (s + beta/S c W), s the mean of A'1 over all subsets, is the preconditioner of EM, made smaller
where the prior bends the objective more than the data do: c W / x bounds the prior's curvature
(imaging/reconstruct/prior.py), so that no beta makes a full step (a = 1) overshoot much. D is the same for all subsets,
or the steps of a round would not cancel at the maximum (each subset's own A'1 missed it by 1 % in a small case). Pixels
with counts where none are expected (e = 0) cannot be explained by any image, and leave it alone.

References:
    L. A. Shepp, Y. Vardi, IEEE Trans. Med. Imaging 1 (1982) 113-122.
    S. Ahn, J. A. Fessler, IEEE Trans. Med. Imaging 22 (2003) 613-626.
"""

from __future__ import annotations

from typing import Any, Protocol

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from imaging.reconstruct.prior import CURVATURE, gradient, neighbour_weight

LEAST_EXPECTED = 1e-12
"""Expected counts at or below this are taken for none."""

LEAST_SEEN = 1e-6
"""A voxel seen less than this share of the best seen one by a subset is left as it is by that subset."""

LEAST_OF_IMAGE = 1e-6
"""Lowest value of a voxel in a penalised update, as a share of the mean: at zero it could never rise again."""


class AbstractSystem(Protocol):
    """What a projector must offer, as `SpectSystem` does: images are [z, y, x], projections [view, v, u]."""

    def forward(self, image, views=None) -> Array: ...

    def back(self, projections, views=None) -> Array: ...


class SubsetData(eqx.Module):
    """Counts and additive term of one subset's views, its sensitivity A'1, and the mean of that over all subsets."""

    counts: Float[Array, "place v u"]
    scatter: Float[Array, "place v u"]
    views: Int[Array, " place"]
    counted: Float[Array, " place"]
    sensitivity: Float[Array, "z y x"]
    mean_sensitivity: Float[Array, "z y x"]


class EM(eqx.Module):
    """The multiplicative update; `step` is not used."""

    def __call__(self, system: Any, image, data: SubsetData, step) -> tuple[Array, Array]:
        """The new image, and the log-likelihood of the old one on this subset's views [place]."""
        ratio, fit = compared(system, image, data)
        seen = data.sensitivity > LEAST_SEEN * data.sensitivity.max()
        factor = system.back(ratio, data.views) / jnp.where(seen, data.sensitivity, 1)
        return jnp.where(seen, image * factor, image), fit


class Penalised(eqx.Module):
    """A relaxed, preconditioned gradient step of the likelihood less `beta` times the relative difference prior."""

    beta: Float[Array, ""]
    gamma: Float[Array, ""]
    subsets: Float[Array, ""]

    def __call__(self, system: Any, image, data: SubsetData, step) -> tuple[Array, Array]:
        """The new image, and the log-likelihood of the old one on this subset's views [place]."""
        ratio, fit = compared(system, image, data)
        share = self.beta / self.subsets
        bend = data.mean_sensitivity + share * CURVATURE * neighbour_weight(image)
        slope = system.back(ratio, data.views) - data.sensitivity - share * gradient(image, self.gamma)
        seen = data.mean_sensitivity > LEAST_SEEN * data.mean_sensitivity.max()
        moved = image + step * image / jnp.where(seen, bend, 1) * slope
        floor = LEAST_OF_IMAGE * image.mean()
        return jnp.where(seen, jnp.maximum(moved, floor), image), fit


def compared(system: Any, image, data: SubsetData) -> tuple[Array, Array]:
    """Counts over expected counts [place, v, u], and the log-likelihood of each view relative to a perfect fit."""
    expected = system.forward(image, data.views) + data.scatter
    is_met = expected > LEAST_EXPECTED
    safe = jnp.where(is_met, expected, 1)
    ratio = jnp.where(is_met, data.counts / safe, 0) * data.counted[:, None, None]
    has_counts = (data.counts > 0) & is_met
    logs = jnp.where(has_counts, jnp.log(safe / jnp.where(has_counts, data.counts, 1)), 0)
    fit = data.counts * logs - (expected - data.counts)
    return ratio, data.counted * fit.sum(axis=(1, 2))
