"""A reconstruction stated and run: settings, checked data split into subsets, and the images after each update.

One update (imaging/reconstruct/updates.py) is compiled once and serves every subset of every iteration. `osem` and
`bsrem` keep the last image; `region_uncertainty` keeps them all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from dose.errors import ImageError, InputError, describe
from imaging.geometry import Volume
from imaging.projections import Projections
from imaging.reconstruct.subsets import Subsets, view_subsets
from imaging.reconstruct.updates import EM, LEAST_SEEN, Penalised, SubsetData

RELAXATION = 1 / 15
"""Default loss of step per iteration in BSREM: the step of iteration n is 1 / (1 + n/15)."""

PLENTY_counts = 20
"""Where half of the views with counts have as many, one without any was not counted: chance empties e^-20 of them."""


@dataclass(frozen=True)
class Settings:
    """How to iterate: `algorithm` "osem" or "bsrem" (one subset is MLEM); the rest is for BSREM only.

    Raises:
        InputError: an unknown algorithm, or numbers out of range.
    """

    iterations: int = 4
    subsets: int = 8
    algorithm: str = "osem"
    beta: float = 0.0
    gamma: float = 2.0
    relaxation: float = RELAXATION

    def __post_init__(self):
        if self.algorithm not in ("osem", "bsrem"):
            raise InputError(describe("algorithm", f'"{self.algorithm}"', '"osem" or "bsrem"', "choose one"))
        numbers = (self.beta, self.gamma, self.relaxation)
        if self.iterations < 1 or not np.isfinite(numbers).all() or min(numbers) < 0:
            found = "a value below its least, or not finite"
            expected = "1 or more iterations; beta, gamma and relaxation of 0 or more"
            raise InputError(describe("reconstruction settings", found, expected, "correct it"))

    def rule(self):
        """The update of one subset."""
        if self.algorithm == "osem":
            return EM()
        return Penalised(*(jnp.float32(v) for v in (self.beta, self.gamma, self.subsets)))

    def step(self, iteration: int) -> float:
        return 1 / (1 + self.relaxation * iteration)


@dataclass(frozen=True)
class Problem:
    """Counts [view, v, u] and what belongs to each subset; `initial` [z, y, x] is where the iterations begin."""

    system: object
    counts: jax.Array
    scatter: jax.Array
    subsets: Subsets
    sensitivities: list[jax.Array]
    mean_sensitivity: jax.Array
    initial: jax.Array

    def subset(self, k: int) -> SubsetData:
        own = (self.subsets.views[k], self.subsets.counted[k], self.sensitivities[k])
        return _subset(self.counts, self.scatter, *own, self.mean_sensitivity)


def problem(
    projections: Projections, system, settings: Settings, *, scatter=None, initial=None, line_keV=None
) -> Problem:
    """Data and start of a reconstruction, checked.

    Raises:
        ImageError: shapes that do not agree, values that are not finite, no counts, or views that were not counted.
    """
    counts = jnp.asarray(_counted(projections.counts[projections.window("peak", line_keV)]))
    added = jnp.zeros_like(counts) if scatter is None else _additive(scatter, counts.shape)
    subsets = view_subsets(projections.angles_deg, settings.subsets)
    parts = [_sensitivity(system, v, c, counts[0]) for v, c in zip(subsets.views, subsets.counted, strict=True)]
    mean = sum(parts[1:], parts[0]) / settings.subsets
    seen = _seen(mean)
    start = _uniform(counts, mean * settings.subsets, seen) if initial is None else _start(initial, seen)
    return Problem(system, counts, added, subsets, parts, mean, start)


def updates(stated: Problem, settings: Settings) -> Iterator[tuple[jax.Array, jax.Array]]:
    """The image after each subset's update, with the log-likelihood [place] that the update met.

    Raises:
        ImageError: an image that is not finite, or is zero throughout, found after each iteration.
    """
    image, rule = stated.initial, settings.rule()
    for n in range(settings.iterations):
        step = jnp.float32(settings.step(n))
        for k in range(settings.subsets):
            image, fit = _update(rule, stated.system, image, stated.subset(k), step)
            yield image, fit
        total = float(image.sum())
        if not (np.isfinite(total) and total > 0):
            found = f"an image that is {'zero throughout' if total == 0 else 'not finite'} after iteration {n + 1}"
            do = "check the scatter estimate and the attenuation map, or use fewer subsets"
            raise ImageError(describe("reconstruction", found, "finite voxels, some of them above zero", do))


def _counted(counts: np.ndarray) -> np.ndarray:
    """The peak's counts [view, v, u]; a view that was never counted would pull the image to zero."""
    totals = counts.sum(axis=(1, 2), dtype=float)
    seen, empty = totals[totals > 0], int(np.sum(totals == 0))
    if empty and seen.size and np.median(seen) >= PLENTY_counts:
        found, expected = f"{empty} of {len(totals)} views without a count in the peak window", "counts in every view"
        raise ImageError(describe("projections.counts", found, expected, "leave out the views that were not counted"))
    return counts


@eqx.filter_jit
def _update(rule, system, image, data: SubsetData, step):
    return rule(system, image, data, step)


@jax.jit
def _subset(counts, scatter, views, counted, sensitivity, mean) -> SubsetData:
    return SubsetData(counts[views], scatter[views], views, counted, sensitivity, mean)


@eqx.filter_jit
def _sensitivity(system, views, counted, like):
    return system.back(jnp.broadcast_to(counted[:, None, None], (len(views), *like.shape)), views)


def _seen(sensitivity) -> jax.Array:
    """Voxels that any view sees; the others stay zero."""
    seen = sensitivity > LEAST_SEEN * sensitivity.max()
    if not (bool(jnp.isfinite(sensitivity).all()) and bool(seen.any())):
        found, expected = "no voxel that any view sees, or a sensitivity that is not finite", "a camera that sees"
        do = "check the radii, the centre and the attenuation map"
        raise ImageError(describe("system", found, expected, do))
    return seen


def _uniform(counts, sensitivity, seen) -> jax.Array:
    """The uniform image that would give as many counts as were measured."""
    total = counts.sum()
    if not float(total) > 0:
        do = "check the energy window and the acquisition"
        raise ImageError(describe("projections.counts", "no counts in the peak window", "some", do))
    return jnp.where(seen, total / sensitivity.sum(), 0)


def _start(initial, seen) -> jax.Array:
    shape = seen.shape
    array = np.asarray(initial.array if isinstance(initial, Volume) else initial, dtype=np.float32)
    if array.shape != shape or not np.isfinite(array).all() or array.min() < 0:
        found, expected = f"shape {array.shape}, or a value below zero or not finite", f"voxels of 0 or more, {shape}"
        raise ImageError(describe("initial", found, expected, "give an image on the system's grid"))
    return jnp.where(seen, array, 0)


def _additive(scatter, shape) -> jax.Array:
    array = np.asarray(getattr(scatter, "counts", scatter), dtype=np.float32)
    if array.shape != shape or not np.isfinite(array).all() or array.min() < 0:
        found, expected = f"shape {array.shape}, or a value below zero or not finite", f"counts of 0 or more, {shape}"
        raise ImageError(describe("scatter", found, expected, "give an estimate for each pixel of the peak window"))
    return jnp.asarray(array)
