"""How sure a region's total is: Poisson noise carried through every update of the iterations, to first order.

The image is a function of the counts y (and of the scatter b that is added); a region's total is q = m'x_N(y, b) with m
the region's mask. Its gradient in y and b is one vector-Jacobian product of all updates: from the last to the first,
each update hands back what it owes to its image, its counts and its scatter (Barrett, Wilson and Tsui 1994 linearise
the iterations; PyTomography 3.4 runs the recursion backwards for one region). Then

    var q = sum_i (dq/dy_i)^2 y_i + var of (dq/db)'b

with the variance of the scatter estimate exact for its windows. Images after each update are kept, and an update's
inner values computed again, so that memory is one image an update and one region costs about two reconstructions. The
start is a constant here: without scatter its scale has no effect at all, and with it next to none.

References:
    H. H. Barrett, D. W. Wilson, B. M. W. Tsui, Phys. Med. Biol. 39 (1994) 833-846.
"""

from __future__ import annotations

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from dose.errors import ImageError, describe
from imaging.geometry import Volume
from imaging.projections import Projections
from imaging.reconstruct.iterations import Problem, Settings, problem, updates
from imaging.reconstruct.scatter import ScatterEstimate
from imaging.reconstruct.updates import SubsetData


@dataclass(frozen=True)
class RegionTotals:
    """`total` [region] in counts per second, and its `covariance` [region, region] by counting statistics."""

    total: np.ndarray
    covariance: np.ndarray

    @property
    def sd(self) -> np.ndarray:
        return np.sqrt(np.diag(self.covariance))


def region_uncertainty(
    projections: Projections,
    system,
    settings: Settings,
    masks,
    *,
    scatter: ScatterEstimate | np.ndarray | None = None,
    initial=None,
    line_keV: float | None = None,
) -> RegionTotals:
    """Totals of the reconstructed regions, and their covariance by the noise of the counts and of the scatter estimate.

    `masks` [region, z, y, x] (or one mask, or Volumes) weight the voxels, 0 to 1. A `scatter` that is a plain array is
    taken for known.

    Raises:
        InputError, ImageError: as `osem`; ImageError too for masks that are not on the system's grid.
    """
    found = region_sensitivities(
        projections, system, settings, masks, scatter=scatter, initial=initial, line_keV=line_keV
    )
    counts = projections.counts[projections.window("peak", line_keV)]
    flat = found.to_counts.reshape(len(found.total), -1)
    covariance = (flat * np.asarray(counts, dtype=float).ravel()) @ flat.T
    if isinstance(scatter, ScatterEstimate):
        covariance = covariance + scatter.covariance(found.to_scatter)
    return RegionTotals(found.total, covariance)


@dataclass(frozen=True)
class RegionSensitivities:
    """`total` [region] in counts per second; its derivatives by the counts of the peak and by the scatter estimate,
    both [region, view, v, u]."""

    total: np.ndarray
    to_counts: np.ndarray
    to_scatter: np.ndarray


def region_sensitivities(
    projections: Projections, system, settings: Settings, masks, *, scatter=None, initial=None, line_keV=None
) -> RegionSensitivities:
    """How the totals of `region_uncertainty` go with each count.

    Raises:
        InputError, ImageError: as `region_uncertainty`.
    """
    stated = problem(projections, system, settings, scatter=scatter, initial=initial, line_keV=line_keV)
    weights = _checked(masks, stated.initial.shape)
    images = [stated.initial, *(image for image, _ in updates(stated, settings))]
    total = np.einsum("kzyx,zyx->k", weights.astype(float), np.asarray(images[-1], dtype=float))
    return RegionSensitivities(total, *_sensitivities(stated, settings, images, weights))


def _sensitivities(stated: Problem, settings: Settings, images, weights) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives of the regions' totals by counts and by scatter, both [region, view, v, u]."""
    owed = jnp.asarray(weights)
    to_counts, to_scatter = (np.zeros((len(weights), *stated.counts.shape)) for _ in range(2))
    rule = settings.rule()
    for n in reversed(range(len(images) - 1)):
        k, step = n % settings.subsets, jnp.float32(settings.step(n // settings.subsets))
        owed, by_counts, by_scatter = _pulled(rule, stated.system, images[n], stated.subset(k), step, owed)
        places = stated.subsets.counted[k] > 0
        views = stated.subsets.views[k][places]
        to_counts[:, views] += np.asarray(by_counts, dtype=float)[:, places]
        to_scatter[:, views] += np.asarray(by_scatter, dtype=float)[:, places]
    return to_counts, to_scatter


@eqx.filter_jit
def _pulled(rule, system, image, data: SubsetData, step, owed):
    """What one update hands back of `owed` [region, z, y, x]: to its image, its counts and its scatter."""

    def update(image, counts, scatter):
        noisy = eqx.tree_at(lambda d: (d.counts, d.scatter), data, (counts, scatter))
        return rule(system, image, noisy, step)[0]

    _, pull = jax.vjp(update, image, data.counts, data.scatter)
    return jax.lax.map(pull, owed)


def _checked(masks, shape) -> np.ndarray:
    """Masks as float32 [region, z, y, x]."""
    listed = masks if isinstance(masks, (list, tuple)) else [masks]
    arrays = np.stack([np.asarray(m.array if isinstance(m, Volume) else m, dtype=np.float32) for m in listed])
    arrays = arrays.reshape(-1, *arrays.shape[-3:])
    if arrays.shape[1:] != tuple(shape) or not np.isfinite(arrays).all() or not arrays.any(axis=(1, 2, 3)).all():
        found = f"masks of shape {arrays.shape[1:]}, or an empty one, or values not finite"
        raise ImageError(describe("masks", found, f"weights on the system's grid, {shape}", "resample the regions"))
    return arrays
