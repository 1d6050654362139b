"""Counting: decay while a view is taken, dead time, noise.

A head that is paralysed for tau by every pulse, counted or not, lets exp(-n tau) of the true rate n through (Knoll,
Radiation Detection and Measurement, chapter 4: extending dead time); each window loses the same part.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Array, Float

from imaging.projections import Projections

NODES, WEIGHTS = np.polynomial.legendre.leggauss(4)
"""Gauss and Legendre's rule on a frame: exact for cubics, 1e-10 for a decay by a tenth."""


def mean_decay(start_s, duration_s, half_life_h: float) -> np.ndarray:
    """Mean of 2^(-t / half-life) from `start_s` over `duration_s`, exact; broadcasts."""
    rate = np.log(2) / (half_life_h * 3600)
    span = rate * np.asarray(duration_s, float)
    return np.exp(-rate * np.asarray(start_s, float)) * -np.expm1(-span) / span


def mean_of_curve(curve: Callable, start_s, duration_s) -> np.ndarray:
    """Mean of `curve(time_h)` over frames, by four nodes each; broadcasts over frames."""
    start, half = np.asarray(start_s, float)[..., None], np.asarray(duration_s, float)[..., None] / 2
    times_h = (start + half * (1 + NODES)) / 3600
    return np.asarray(curve(times_h)) @ WEIGHTS / 2


def live_fraction(true_cps, dead_time_us: float):
    """Part of the true rate that a paralysable head counts."""
    return np.exp(-np.asarray(true_cps, float) * dead_time_us * 1e-6)


def background_counts(acquisition: Projections, cps_per_keV: float) -> np.ndarray:
    """Mean counts of a pixel from the room, [window, view, 1, 1]: even over the head and over energy."""
    pixels = np.prod(acquisition.counts.shape[2:])
    width = np.array([window.width_keV for window in acquisition.windows])
    return (cps_per_keV * width[:, None] * acquisition.frame_s / pixels)[..., None, None]


def poisson(key, expected) -> Float[Array, ...]:
    """Counts drawn about their expectation, as float32."""
    import jax
    import jax.numpy as jnp

    mean = jnp.asarray(np.asarray(expected), dtype=jnp.float32)
    return jax.random.poisson(key, mean).astype(jnp.float32)
