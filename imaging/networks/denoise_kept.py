"""What a network took away though noise does not explain it, put back: a lesion is not lost in silence.

The image less the network's answer is noise where the network is right. Averaged over the size of a small lesion it is
held beside its own spread in the whole body; where it exceeds that, the image stays as it was.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.ndimage import maximum_filter

from imaging.networks.denoise import smoothed
from imaging.noise_model import MEDIAN_OF_SD

LESION_FWHM = 2.0
"""Voxels over which differences are averaged."""

SIGMAS = 3.0
"""Averages from here on are put back, and wholly from one sd more on. The lowest of 2.5, 3, 3.5 by which the RMSE of
the PET network stays below half the filter's on training and held-out cases."""

EDGE_FWHM = 1.5
"""Voxels over which the part that is put back fades, one voxel beyond the place that was found."""

NOISE_FWHM = 5.0
"""Voxels over which the rms of what was taken away is the image's own noise."""

LEAST_PART = 0.2
"""Of the image's mean: less is not body, or counted as so much."""

Image = Float[np.ndarray, "z y x"]


def put_back(image: Image, mean: Image, sd: Image) -> tuple[Image, Image]:
    """A network's answer and sd with the image in the places where noise does not explain their difference."""
    taken = image - mean
    part = beyond_noise(image, mean)
    noise = np.sqrt(np.maximum(smoothed(taken**2, NOISE_FWHM), 0))
    return np.maximum(mean + part * taken, 0), (1 - part) * sd + part * noise


def beyond_noise(image: Image, mean: Image) -> Image:
    """Part of the difference, 0 to 1 in each voxel, that noise in proportion to the square root of activity leaves."""
    floor = LEAST_PART * float(image.mean())
    local = np.abs(smoothed(image - mean, LESION_FWHM)) / np.sqrt(np.maximum(smoothed(mean, LESION_FWHM), floor))
    spread = np.median(local[smoothed(image, LESION_FWHM) > floor]) / MEDIAN_OF_SD
    found = np.clip(local / max(spread, np.finfo(np.float32).tiny) - SIGMAS, 0, 1)
    return smoothed(maximum_filter(found, 3), EDGE_FWHM)
