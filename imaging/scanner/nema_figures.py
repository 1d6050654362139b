"""The figures of NEMA NU 2 from an image of the IEC phantom, and the recovery of whole spheres.

Hot contrast recovery Q_j = (C_j / B_j - 1) / (ratio - 1), with C the mean of a disc of the sphere's inner diameter in
the slice through the centres and B that of 60 equal discs in the background (12 places in 5 slices); background
variability N_j is the sd of those 60 means over B_j.
"""

from __future__ import annotations

import numpy as np

from dose.errors import ImageError, describe
from imaging.geometry import Volume
from imaging.recovery_fit import contrast_recovery
from imaging.scanner.nema import DIAMETERS_MM, NemaPhantom, background_centres_mm, sizes, sphere_centres_mm

SLICES = (-2, -1, 0, 1, 2)
PARTS_OF_A_DISC_PIXEL = 10


def disc_mean(image: Volume, centre_mm, diameter_mm: float) -> float:
    """Mean of a disc in the transverse slice nearest to its centre, voxels at its edge by their share.

    Raises:
        ImageError: a disc that leaves the image.
    """
    index, reach = image.to_index(centre_mm), diameter_mm / 2 / image.spacing_mm[:2]
    low = np.floor(index[:2] - reach).astype(int)
    high = np.ceil(index[:2] + reach).astype(int)
    k = round(float(index[2]))
    if not 0 <= k < image.array.shape[0] or low.min() < 0 or (high >= image.array.shape[:0:-1]).any():
        raise ImageError(describe("region", "a disc outside the image", "one inside", "give an image of the phantom"))
    n, lengths = PARTS_OF_A_DISC_PIXEL, high - low + 1
    x, y = (
        ((np.arange(m * n) + 0.5) / n - 0.5 + l - i) * s
        for m, l, i, s in zip(lengths, low, index[:2], image.spacing_mm[:2])
    )
    within = (np.hypot(x, y[:, None]) <= diameter_mm / 2).reshape(lengths[1], n, lengths[0], n).mean(axis=(1, 3))
    values = image.array[k, low[1] : high[1] + 1, low[0] : high[0] + 1]
    return float((within * values).sum() / within.sum())


def background_means(image: Volume, diameter_mm: float, centre_lps_mm=(0.0, 0.0, 0.0)) -> np.ndarray:
    """Means of the 60 background discs of a diameter, [region]."""
    step = sizes()["roi_slice_step"]
    points = [np.array([x, y, step * k]) for k in SLICES for x, y in background_centres_mm()]
    return np.array([disc_mean(image, np.asarray(centre_lps_mm) + p, diameter_mm) for p in points])


def contrast_recoveries(image: Volume, phantom: NemaPhantom) -> np.ndarray:
    """Q of each sphere (1 is perfect), [sphere].

    Raises:
        InputError: a phantom without background or contrast.
    """
    ratio = phantom.sphere_Bq_per_mL / max(phantom.background_Bq_per_mL, 1e-30)
    found = []
    for centre, diameter in zip(sphere_centres_mm(), DIAMETERS_MM):
        background = float(background_means(image, diameter, phantom.centre_lps_mm).mean())
        sphere = disc_mean(image, phantom.centre_lps_mm + centre, diameter)
        found.append(contrast_recovery(sphere, background, ratio)[0])
    return np.array(found)


def background_variability(image: Volume, phantom: NemaPhantom) -> np.ndarray:
    """N of each sphere's diameter: sd of the 60 background means over their mean, [sphere]."""
    means = [background_means(image, d, phantom.centre_lps_mm) for d in DIAMETERS_MM]
    return np.array([m.std(ddof=1) / m.mean() for m in means])


def recoveries(image: Volume, phantom: NemaPhantom) -> np.ndarray:
    """Mean in each whole sphere over its true concentration, background taken off both, [sphere].

    Voxels count by their share in the sphere. `image` lies on the phantom's grid.

    Raises:
        ImageError: another grid.
    """
    if not image.is_on_grid_of(phantom.ct):
        do = "fill the phantom on the image's grid, nema_iec(..., grid=image)"
        raise ImageError(describe("image", "another grid than the phantom's", "the same grid", do))
    means = (phantom.spheres * image.array).sum(axis=(1, 2, 3)) / phantom.spheres.sum(axis=(1, 2, 3))
    level = 0.0
    if phantom.background_Bq_per_mL > 0:
        level = float(background_means(image, DIAMETERS_MM[-1], phantom.centre_lps_mm).mean())
    return (means - level) / (phantom.sphere_Bq_per_mL - phantom.background_Bq_per_mL)
