"""The same reconstruction by PyTomography (extra `spect`): an independent projector and OSEM, for comparison.

PyTomography counts lengths in cm, holds objects [x, y, z] and projections [view, r, z], and puts a DICOM view of angle
a at 180 + a degrees; this module converts at its border and nowhere else. It knows neither frame times nor decay:
counts and scatter are scaled to the mean view first, which leaves them Poisson only where all views weigh alike.

References:
    PyTomography 3.4.0 (github.com/PyTomography/PyTomography), MIT licence.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

import numpy as np

from dose.errors import ImageError, InputError, describe
from imaging.bridge import to_numpy, to_torch
from imaging.geometry import Volume
from imaging.projections import Projections
from imaging.reconstruct.iterations import Settings
from imaging.reconstruct.osem import Reconstruction
from imaging.reconstruct.response import DetectorResponse

MM_PER_CM = 10.0
HALF_TURN_DEG = 180.0
SIGMAS = 4.0
"""Half-width of the peer's blurring kernels in standard deviations; its default of 3 loses tails (and counts)."""


def pytomography_osem(
    acquisition: Projections,
    settings: Settings,
    *,
    response: DetectorResponse | None,
    attenuation_per_mm: Volume | None = None,
    scatter: np.ndarray | None = None,
    view_weight: np.ndarray | None = None,
    line_keV: float | None = None,
) -> Reconstruction:
    """OSEM of the peak window by PyTomography, on the grid of the projections, in counts per second and voxel.

    `view_weight` [view] is what each view sees of the image (decay, dead time). The peer reports no likelihood: NaN
    stands there.

    Raises:
        InputError: PyTomography not installed, or an algorithm other than OSEM.
        ImageError: attenuation on another grid.
    """
    algorithms, likelihoods = _peer("algorithms"), _peer("likelihoods")
    if settings.algorithm != "osem":
        raise InputError(describe("algorithm", f'"{settings.algorithm}"', '"osem" here', 'use engine="own"'))
    seen_s = acquisition.frame_s * (1.0 if view_weight is None else view_weight)
    scale = (seen_s.mean() / seen_s)[:, None, None]
    device = str(import_module("pytomography").device)
    data = lambda counts: to_torch(np.swapaxes(counts * scale, 1, 2), device=device)
    counts = data(acquisition.counts[acquisition.window("peak", line_keV)])
    added = None if scatter is None else data(scatter)
    matrix = pytomography_system(acquisition, response=response, attenuation_per_mm=attenuation_per_mm)
    likelihood = likelihoods.PoissonLogLikelihood(matrix, counts, additive_term=added)
    image = to_numpy(algorithms.OSEM(likelihood)(settings.iterations, settings.subsets)) / seen_s.mean()
    volume = acquisition.grid().with_array(image.transpose(2, 1, 0))
    unknown = np.full(settings.iterations, np.nan)
    return Reconstruction(volume, "osem by PyTomography", settings.iterations, settings.subsets, unknown)


def pytomography_system(
    acquisition: Projections, *, response: DetectorResponse | None, attenuation_per_mm: Volume | None = None
):
    """PyTomography's system matrix of the acquisition, for images [x, y, z] in counts per view.

    Raises:
        InputError: PyTomography not installed.
        ImageError: attenuation on another grid.
    """
    meta, transforms = _peer("metadata.SPECT"), _peer("transforms.SPECT")
    pixel_cm = acquisition.pixel_mm / MM_PER_CM
    rows, columns = acquisition.counts.shape[2:]
    blocks = []
    if attenuation_per_mm is not None:
        if not attenuation_per_mm.is_on_grid_of(acquisition.grid()):
            do = "resample it onto projections.grid()"
            raise ImageError(describe("attenuation_per_mm", "another grid", "that of the projections", do))
        mu = to_torch(attenuation_per_mm.array.transpose(2, 1, 0) * MM_PER_CM)
        blocks.append(transforms.SPECTAttenuationTransform(mu.to(import_module("pytomography").device)))
    if response is not None:
        sigma_cm = lambda d, slope, offset, own: np.hypot(slope * d + offset, own)
        widths = (response.slope, response.offset_mm / MM_PER_CM, response.intrinsic_sigma_mm / MM_PER_CM)
        blocks.append(transforms.SPECTPSFTransform(meta.SPECTPSFMeta(widths, sigma_cm, min_sigmas=SIGMAS)))
    seen = meta.SPECTObjectMeta([pixel_cm] * 3, [columns, columns, rows])
    angles = (acquisition.angles_deg + HALF_TURN_DEG) % 360
    views = meta.SPECTProjMeta((columns, rows), [pixel_cm] * 2, angles, acquisition.radii_mm / MM_PER_CM)
    return _peer("projectors.SPECT").SPECTSystemMatrix(blocks, [], seen, views)


def _peer(module: str):
    if find_spec("pytomography") is None:
        do = "pip install theratwin[spect], or use engine='own'"
        raise InputError(describe("engine", "PyTomography not installed", "the extra spect", do))
    return import_module(f"pytomography.{module}")
