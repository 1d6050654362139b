"""A system whose views see less and less: the nuclide decays while the camera turns.

With image x at the start of the acquisition, a view that counts from t to t + T sees the mean of its decay,

    f = exp(-lambda t) (1 - exp(-lambda T)) / (lambda T)

times A x. As a weight of the system (and not of the counts) it leaves the counts Poisson.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

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


def decaying(system: Any, acquisition: Projections, nuclide: str) -> ViewWeighted:
    """The system that sees an image of the start of the acquisition.

    Raises:
        InputError: an unknown nuclide.
    """
    return ViewWeighted(system, jnp.asarray(decay_factors(acquisition, nuclide), jnp.float32))
