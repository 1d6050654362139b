"""Detector pixels put together or divided: the simulation runs finer than the detector, its scatter coarser."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def binned(counts: Float[Array, "*front row column"], by: int) -> Float[Array, "*front v u"]:
    """Pixels put together `by` x `by` along the last two axes; the sum stays."""
    *front, rows, columns = counts.shape
    return counts.reshape(*front, rows // by, by, columns // by, by).sum(axis=(-3, -1))


def spread(counts: Float[Array, "*front row column"], by: int) -> Float[Array, "*front v u"]:
    """Pixels divided in `by` x `by`, straight between centres; each image keeps its sum."""
    if by == 1:
        return counts
    *front, rows, columns = counts.shape
    fine = jax.image.resize(counts, (*front, rows * by, columns * by), "linear")
    total, made = (jnp.sum(image, axis=(-2, -1), keepdims=True) for image in (counts, fine))
    return fine * jnp.where(made > 0, total / jnp.where(made > 0, made, 1), 0)
