"""Noise of a PET image: variance by the noise-equivalent counts of each place, shared with the neighbours.

Of n noise-equivalent counts NEC = T^2 / (T + S + R) (Strother 1990) a region's sum has relative variance a/n, with a
the reconstruction's amplification. White noise of that variance is filtered so that voxels at a distance d correlate
by r(d) = exp(-d^2 / (4 sigma^2)), as white noise after a Gaussian does: sums over regions keep their variance, a voxel
keeps 1 / sum r of it. The filter is the root of r's spectrum, so that r holds exactly on voxels of any size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import correlate1d

from dose.errors import InputError, describe


@dataclass(frozen=True)
class CountingModel:
    """What decides how many counts a scanner has of an activity.

    Attributes:
        sensitivity_cps_per_kBq: true coincidences for each kBq of positrons in air.
        survival: part of the pairs that leave the body.
        scatter_fraction: scatter over scatter and trues.
        randoms_per_true_per_MBq: randoms over trues, for each MBq of positrons in the field.
        amplification: variance of a region's sum over that of as many noise-equivalent counts.

    Raises:
        InputError: a value that cannot be.
    """

    sensitivity_cps_per_kBq: float
    survival: float
    scatter_fraction: float
    randoms_per_true_per_MBq: float
    amplification: float

    def __post_init__(self):
        above = min(self.sensitivity_cps_per_kBq, self.survival, self.amplification)
        others = (self.scatter_fraction, self.randoms_per_true_per_MBq)
        if not (above > 0 and self.survival <= 1 and min(others) >= 0 and self.scatter_fraction < 1):
            expected = "sensitivity, survival and amplification above zero, fractions below one"
            raise InputError(describe("counting model", "a value out of range", expected, "correct the specification"))

    def equivalent_share(self, positrons_MBq: float) -> float:
        """NEC over trues: T / (T + S + R)."""
        scatter = self.scatter_fraction / (1 - self.scatter_fraction)
        return 1 / (1 + scatter + self.randoms_per_true_per_MBq * positrons_MBq)

    def counts_per_decay(self, positrons_MBq: float) -> float:
        """Noise-equivalent counts of a positron decay, with this activity of positrons in the field."""
        return self.sensitivity_cps_per_kBq / 1e3 * self.survival * self.equivalent_share(positrons_MBq)


def noise(mean_Bq_per_mL, spacing_mm, counts_per_Bq_per_mL: float, model: CountingModel, filter_fwhm_mm: float, random):
    """One draw of noise about an image [z, y, x], in its unit.

    Args:
        mean_Bq_per_mL: the expected image.
        spacing_mm: of its voxels.
        counts_per_Bq_per_mL: noise-equivalent counts of a voxel of 1 Bq/mL in the frame.
        model: for its amplification.
        filter_fwhm_mm: width of the smoothing.
        random: a numpy generator.
    """
    sd = np.sqrt(white_variance(mean_Bq_per_mL, counts_per_Bq_per_mL, model))
    white = sd * random.standard_normal(np.shape(mean_Bq_per_mL), dtype=np.float32)
    for axis, step in enumerate(np.asarray(spacing_mm)[::-1]):
        white = correlate1d(white, _root(_correlation(filter_fwhm_mm, step)), axis, mode="constant")
    return white


def white_variance(mean_Bq_per_mL, counts_per_Bq_per_mL: float, model: CountingModel) -> np.ndarray:
    """Variance of each voxel before smoothing; n = counts x mean, so a mean^2 / n = a mean / counts."""
    return model.amplification * np.maximum(mean_Bq_per_mL, 0) / counts_per_Bq_per_mL


def voxel_sd(mean_Bq_per_mL, spacing_mm, counts_per_Bq_per_mL: float, model: CountingModel, filter_fwhm_mm: float):
    """sd of each voxel after smoothing where the mean changes little over the filter, [z, y, x]."""
    kept = np.prod([1 / _correlation(filter_fwhm_mm, step).sum() for step in spacing_mm])
    return np.sqrt(kept * white_variance(mean_Bq_per_mL, counts_per_Bq_per_mL, model))


def _correlation(fwhm_mm: float, step_mm: float) -> np.ndarray:
    """r along one axis, centred, [offset]."""
    sigma = fwhm_mm / np.sqrt(8 * np.log(2)) / step_mm
    reach = int(np.ceil(8 * sigma)) + 8
    return np.exp(-(np.arange(-reach, reach + 1) ** 2) / (4 * max(sigma, 1e-6) ** 2))


def _root(correlation: np.ndarray) -> np.ndarray:
    """The symmetric filter of sum one whose correlation with itself is r / sum r."""
    spectrum = np.maximum(np.fft.fft(np.fft.ifftshift(correlation)).real, 0)
    return np.fft.fftshift(np.fft.ifft(np.sqrt(spectrum / correlation.sum())).real)
