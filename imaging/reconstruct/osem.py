"""MLEM, OSEM and BSREM: images from the counts of a rotating camera, by whatever projector is given.

All take the record of the projections for its counts and angles, and a system with `forward` and `back`
(imaging/reconstruct/system.py). Images are in counts per second and voxel, as a camera of perfect sight would count
them; a camera's sensitivity (imaging/reconstruct/reconstruction.py) turns that into Bq/mL.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dose.errors import ImageError, describe
from imaging.geometry import Volume
from imaging.projections import Projections
from imaging.reconstruct.iterations import RELAXATION, Settings, problem, updates


@dataclass(frozen=True)
class Reconstruction:
    """`volume` in counts per second and voxel, and how it was made.

    `log_likelihood` [iteration] is the Poisson log-likelihood relative to a perfect fit (so at most 0), each subset's
    share of it taken before its own update: with one subset, that of the image at the iteration's start.
    """

    volume: Volume
    algorithm: str
    iterations: int
    subsets: int
    log_likelihood: np.ndarray


def mlem(projections: Projections, system, *, iterations: int, **given) -> Reconstruction:
    """OSEM with all views in one subset: the likelihood never falls. Takes what `osem` takes."""
    return osem(projections, system, iterations=iterations, subsets=1, **given)


def osem(
    projections: Projections,
    system,
    *,
    iterations: int,
    subsets: int,
    scatter=None,
    initial=None,
    line_keV: float | None = None,
    grid: Volume | None = None,
) -> Reconstruction:
    """Ordered subsets expectation maximisation (Hudson and Larkin 1994) of the peak window.

    `scatter` [view, v, u] (or an estimate of `tew`, `dew`) is added to the expected counts, not taken from the
    measured. `initial` [z, y, x] defaults to a uniform image of the measured total. `grid` is where the system's images
    lie; that of the projections by default.

    Raises:
        InputError: settings out of range.
        ImageError: shapes that do not agree, no counts, or an iteration whose image is not finite.
    """
    settings = Settings(iterations, subsets)
    return reconstruction(projections, system, settings, scatter=scatter, initial=initial, line_keV=line_keV, grid=grid)


def bsrem(
    projections: Projections,
    system,
    *,
    iterations: int,
    subsets: int,
    beta: float,
    gamma: float = 2.0,
    relaxation: float = RELAXATION,
    scatter=None,
    initial=None,
    line_keV: float | None = None,
    grid: Volume | None = None,
) -> Reconstruction:
    """Maximum of the likelihood less `beta` times the relative difference prior, by relaxed subset updates.

    Raises:
        InputError, ImageError: as `osem`.
    """
    settings = Settings(iterations, subsets, "bsrem", beta, gamma, relaxation)
    return reconstruction(projections, system, settings, scatter=scatter, initial=initial, line_keV=line_keV, grid=grid)


def reconstruction(
    projections, system, settings: Settings, *, scatter=None, initial=None, line_keV=None, grid=None
) -> Reconstruction:
    """What `osem` and `bsrem` call: a `Reconstruction` by these settings."""
    stated = problem(projections, system, settings, scatter=scatter, initial=initial, line_keV=line_keV)
    fits = np.zeros(settings.iterations)
    affine = _affine(projections, stated.initial.shape, grid)
    last = stated.initial
    for n, (image, fit) in enumerate(updates(stated, settings)):
        fits[n // settings.subsets] += float(np.asarray(fit).sum(dtype=float))
        last = image
    volume = Volume(np.asarray(last), affine)
    return Reconstruction(volume, settings.algorithm, settings.iterations, settings.subsets, fits)


def _affine(projections: Projections, shape, grid: Volume | None) -> np.ndarray:
    """The grid given, else that of the projections."""
    grid = projections.grid() if grid is None else grid
    if grid.array.shape != tuple(shape):
        found, expected = f"an image of shape {tuple(shape)}", f"that of the grid, {grid.array.shape}"
        raise ImageError(describe("system", found, expected, "give its grid, as it was given to the system"))
    return grid.affine
