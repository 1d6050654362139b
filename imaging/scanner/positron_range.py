"""From the place of decay to that of annihilation: two Gaussians by nuclide, scaled with the density of the tissue.

The shapes come from our own transport in water (`data/make_positron_range.py`). Activity in each class of density is
spread by the kernel of its own mean density, distances going with 1/density: sources near a face between tissues keep
the kernel of where they lie. Counts are kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import correlate1d
from scipy.special import ive

from dose.errors import InputError, describe
from dose.nuclides import radionuclide
from dose.provenance import load_table

CLASS_EDGES_g_cm3 = (0.7, 1.15)
"""Lung below, soft tissue between, bone above."""

LEAST_DENSITY_g_cm3 = 0.1
"""Positrons in air fly for metres: what counts as air here takes the range of thin lung, and hardly any activity."""

REACH_SIGMA = 5.0


@dataclass(frozen=True)
class PositronRange:
    """Annihilations in water: `share` of each Gaussian and its `sigma_mm`; positrons of a decay."""

    share: tuple[float, float]
    sigma_mm: tuple[float, float]
    positrons_per_decay: float

    @property
    def mean_mm(self) -> float:
        """Mean distance from decay to annihilation in water."""
        return float(np.sqrt(8 / np.pi) * np.dot(self.share, self.sigma_mm))


NO_RANGE = PositronRange((1.0, 0.0), (0.0, 0.0), 1.0)


def positron_range(nuclide: str) -> PositronRange:
    """The shape for a nuclide of `data/positron_range.csv`.

    Raises:
        InputError: none in the table.
    """
    name = radionuclide(nuclide).name
    table = {row["nuclide"]: row for row in load_table("imaging", "positron_range.csv")}
    if name not in table:
        expected = f"one of {', '.join(table)}"
        raise InputError(describe("nuclide", f'"{name}"', expected, "choose a positron emitter of the table"))
    row = {key: float(table[name][key]) for key in ("w1", "s1_mm", "s2_mm", "positrons_per_decay")}
    shares, widths = (row["w1"], 1 - row["w1"]), (row["s1_mm"], row["s2_mm"])
    return PositronRange(shares, widths, row["positrons_per_decay"])


def spread(array, spacing_mm, kernel: PositronRange, density_g_cm3=None, fwhm_mm: float = 0.0) -> np.ndarray:
    """Annihilations of decays [z, y, x], as a scanner of Gaussian `fwhm_mm` sees them; sums are kept within the field.

    `density_g_cm3` [z, y, x] of the tissue, water by default.
    """
    array = np.asarray(array, dtype=np.float32)
    seen, blur = np.zeros(array.shape), (fwhm_mm / np.sqrt(8 * np.log(2))) ** 2
    for part, density in _classes(array, density_g_cm3):
        for share, sigma in zip(kernel.share, kernel.sigma_mm):
            if share > 0:
                seen += share * gaussian(part, spacing_mm, (sigma / density) ** 2 + blur)
    return seen


def _classes(array: np.ndarray, density):
    """Activity of each class of density with its mean density."""
    if density is None:
        return [(array, 1.0)]
    dense = np.maximum(density, LEAST_DENSITY_g_cm3)
    which = np.digitize(dense, CLASS_EDGES_g_cm3)
    found = []
    for k in np.unique(which):
        part = np.where(which == k, array, np.float32(0))
        if part.any():
            found.append((part, float(np.average(dense, weights=part))))
    return found


def gaussian(array: np.ndarray, spacing_mm, variance_mm2: float) -> np.ndarray:
    """Blur by the discrete Gaussian exp(-t) I_n(t): sum one, variance exact for every width (Lindeberg 1990)."""
    for axis, step in enumerate(np.asarray(spacing_mm)[::-1]):
        t = variance_mm2 / step**2
        reach = int(np.ceil(REACH_SIGMA * np.sqrt(t) + 2))
        line = ive(np.abs(np.arange(-reach, reach + 1)), t)
        array = correlate1d(array, line / line.sum(), axis, mode="constant")
    return array
