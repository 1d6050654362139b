"""The phantom on which the SPECT projector is compared and timed, and PyTomography run on the same."""

from __future__ import annotations

import warnings

import numpy as np

from imaging.geometry import Volume
from imaging.projections import EnergyWindow, Projections
from imaging.reconstruct import DetectorResponse, SpectSystem, collimator_response, spect_system

RADIUS_mm, MU_PER_mm = 220.0, 0.01353
COLLIMATOR, ENERGY_keV, INTRINSIC_mm = "SY-ME", 208.0, 3.8


def response() -> DetectorResponse:
    return collimator_response(COLLIMATOR, ENERGY_keV, INTRINSIC_mm)


def phantom(edge: int, views: int, pixel_mm: float) -> tuple[Projections, np.ndarray, Volume]:
    """An orbit, an elliptical body with two hot spheres [z, y, x], and its attenuation."""
    angles = np.arange(views) * 360 / views
    window = EnergyWindow(187.2, 228.8, "peak")
    counts, per_view = np.zeros((1, views, edge, edge)), np.ones(views)
    made = Projections(counts, (window,), angles, RADIUS_mm * per_view, per_view, pixel_mm, np.zeros(3))
    middle = (np.arange(edge) - (edge - 1) / 2) * pixel_mm
    z, y, x = np.meshgrid(middle, middle, middle, indexing="ij")
    body = ((x / 170) ** 2 + (y / 120) ** 2 < 1) & (abs(z) < 180)
    image = body * 0.05
    image[(x - 70) ** 2 + (y + 40) ** 2 + (z - 50) ** 2 < 30**2] = 1.0
    image[(x + 60) ** 2 + (y - 30) ** 2 + (z + 80) ** 2 < 20**2] = 2.0
    return made, image.astype(np.float32), made.grid().with_array(body * MU_PER_mm)


def system(made: Projections, mu: Volume | None) -> SpectSystem:
    return spect_system(made, response=response(), attenuation_per_mm=mu)


def pytomography_system(made: Projections, mu: Volume):
    """Theirs: axes (x, y, z), cm, a detector's angle 180 degrees from DICOM's."""
    warnings.simplefilter("ignore")
    import torch
    from pytomography.io.SPECT import dicom
    from pytomography.metadata.SPECT import SPECTObjectMeta, SPECTProjMeta
    from pytomography.projectors.SPECT import SPECTSystemMatrix
    from pytomography.transforms.SPECT import SPECTAttenuationTransform, SPECTPSFTransform

    pixel_cm, edge = made.pixel_mm / 10, made.counts.shape[2]
    blur = dicom.get_psfmeta_from_scanner_params(COLLIMATOR, ENERGY_keV, intrinsic_resolution=INTRINSIC_mm / 10)
    body = SPECTAttenuationTransform(torch.tensor(np.ascontiguousarray(mu.array.T) * 10))
    angles = (made.angles_deg + 180) % 360
    detector = SPECTProjMeta((edge, edge), [pixel_cm] * 2, angles, made.radii_mm / 10)
    return SPECTSystemMatrix([body, SPECTPSFTransform(blur)], [], SPECTObjectMeta([pixel_cm] * 3, [edge] * 3), detector)


def pytomography_forward(made: Projections, image: np.ndarray, mu: Volume) -> np.ndarray:
    """Their projections in our order, [view, v, u]."""
    with warnings.catch_warnings():
        theirs = pytomography_system(made, mu)
        import torch

        seen = theirs.forward(torch.tensor(np.ascontiguousarray(image.T))).numpy()
    return np.swapaxes(seen, 1, 2).astype(float)
