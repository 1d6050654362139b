"""A system whose views see less and less: the nuclide decays while the camera turns, and dead time takes its part.

With image x at the start of the acquisition, a view that counts from t to t + T sees the mean of its decay,

    f = exp(-lambda t) (1 - exp(-lambda T)) / (lambda T)

times A x, and keeps the live fraction of that. As weights of the system (and not of the counts) they leave the counts
Poisson.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from dose.errors import ImageError, describe
from dose.nuclides import radionuclide
from imaging.projections import Projections


class ViewWeighted(eqx.Module):
    """`system`, with each view's counts times `weight`."""

    system: Any
    weight: Float[Array, " view"]

    def forward(self, image: Float[Array, "z y x"], views: Int[Array, " some"] | None = None):
        """Expected counts [view, v, u]."""
        return self.system.forward(image, views) * self._of(views)

    def back(self, projections: Float[Array, "some v u"], views: Int[Array, " some"] | None = None):
        """The exact transpose, [z, y, x]."""
        return self.system.back(projections * self._of(views), views)

    def _of(self, views):
        weight = self.weight if views is None else self.weight[views]
        return weight[:, None, None]


def decay_factors(acquisition: Projections, nuclide: str) -> Float[np.ndarray, " view"]:
    """Mean activity during each view, relative to the start of the acquisition.

    Raises:
        InputError: an unknown nuclide.
    """
    per_s = radionuclide(nuclide).decay_constant_per_h / 3600
    during = per_s * acquisition.frame_s
    return np.exp(-per_s * acquisition.view_start_s()) * -np.expm1(-during) / during


def view_weights(acquisition: Projections, nuclide: str, live_fraction=None) -> Float[np.ndarray, " view"]:
    """What each view counts of the activity at the start: its decay times its `live_fraction` [view] (None: all).

    Raises:
        InputError: an unknown nuclide.
        ImageError: live fractions that are not one a view, above 0 and at most 1.
    """
    decayed = decay_factors(acquisition, nuclide)
    if live_fraction is None:
        return decayed
    live = np.asarray(live_fraction, dtype=float)
    if live.shape != decayed.shape or not (live.min() > 0 and live.max() <= 1):
        found, expected = f"shape {live.shape}, or a value outside", f"above 0 and at most 1, [view], {decayed.shape}"
        raise ImageError(describe("live_fraction", found, expected, "give counted over true rate of each view"))
    return decayed * live


def decaying(system: Any, acquisition: Projections, nuclide: str, live_fraction=None) -> ViewWeighted:
    """The system that sees an image of the start of the acquisition, with dead time where `live_fraction` is given.

    Raises:
        InputError, ImageError: as `view_weights`.
    """
    return ViewWeighted(system, jnp.asarray(view_weights(acquisition, nuclide, live_fraction), jnp.float32))
