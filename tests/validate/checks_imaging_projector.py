"""The SPECT projector beside PyTomography, beside itself reversed, and beside the Gaussian it stands for."""

from __future__ import annotations

from functools import cache

import numpy as np

from imaging.reconstruct import grid_gaussian
from tests.imaging_projector import phantom, pytomography_forward, response, system
from tests.validate import check

PEER = "PyTomography 3.4.0, ellipse with two spheres, attenuation and SY-ME at 208 keV, 64^3, 60 views"
LAW = "<A x, y> = <x, A' y>, 64^3, 60 views, attenuation and blur"


@cache
def _both() -> tuple[np.ndarray, np.ndarray]:
    made, image, mu = phantom(64, 60, 6.8)
    return np.asarray(system(made, mu).forward(image), float), pytomography_forward(made, image, mu)


@check("imaging/projector difference from PyTomography, relative L2", unit="1", tolerance="0.02", source=PEER)
def difference():
    ours, theirs = _both()
    found = float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))
    return found, found <= 0.02


@check("imaging/projector total beside PyTomography", unit="1", tolerance="1 within 0.02", source=PEER)
def total():
    ours, theirs = _both()
    found = float(ours.sum() / theirs.sum())
    return found, abs(found - 1) <= 0.02


@check("imaging/projector adjoint mismatch", unit="1", tolerance="1e-5", source=LAW)
def adjoint():
    made, _, mu = phantom(64, 60, 6.8)
    ours, rng = system(made, mu), np.random.default_rng(20261121)
    image, counts = (rng.random(shape).astype(np.float32) for shape in (ours.image_shape, (60, 64, 64)))
    there = np.vdot(np.asarray(ours.forward(image), float), counts)
    found = float(abs(there / np.vdot(image, np.asarray(ours.back(counts), float)) - 1))
    return found, found <= 1e-5


@check(
    "imaging/projector blur of point sources beside direct convolution, largest difference of the maximum",
    unit="1",
    tolerance="0.005",
    source="Gaussian of the source's distance on the pixel grid; 6 to 430 mm from the face, 128^3 of 4.8 mm",
)
def blur():
    made, _, _ = phantom(128, 1, 4.8)
    ours, worst, pixel = system(made, None), 0.0, np.arange(128)
    for line in range(20, 109, 4):
        image = np.zeros(ours.image_shape, np.float32)
        image[64, line, 64] = 1.0
        sigma_mm = response().sigma_mm(made.radii_mm[0] - (line - 63.5) * 4.8)
        profile = grid_gaussian((sigma_mm / 4.8) ** 2, 128)
        wanted = np.multiply.outer(profile[abs(pixel - 64)], profile[abs(pixel - 63)])
        worst = max(worst, float(np.abs(np.asarray(ours.forward(image), float)[0] - wanted).max() / wanted.max()))
    return worst, worst <= 0.005
