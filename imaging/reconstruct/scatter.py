"""Scatter in the peak window, estimated from windows beside it, with the variance that the estimate carries.

Triple energy window: the scatter under the peak is the trapezium between the windows at its two sides,

    s = (n_lower / w_lower + n_upper / w_upper) w_peak / 2                                   (Ogawa et al. 1991)

with w the widths in keV; with nothing emitted above the line n_upper is 0. Dual energy window: s = k n_lower (Jaszczak
et al. 1984), k of `data/scatter.csv` unless given. Both are linear in counts, so that the covariance of any
weighted sums of s is exact for Poisson counts, smoothing included. A Gaussian over v and u may smooth the estimate,
mirrored at the edges so that it keeps the total and leaves a flat field flat.

References:
    K. Ogawa et al., IEEE Trans. Med. Imaging 10 (1991) 408-412.
    R. J. Jaszczak, K. L. Greer, C. E. Floyd, C. C. Harris, R. E. Coleman, J. Nucl. Med. 25 (1984) 893-900.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dose.errors import ImageError, InputError, describe
from dose.provenance import load_table
from imaging.projections import Projections
from imaging.recovery import FWHM_PER_SIGMA


@dataclass(frozen=True)
class ScatterEstimate:
    """Scatter counts [view, v, u] and its parts: each a weight and the counts of a window, before smoothing.

    `smooth_v` [v, v] and `smooth_u` [u, u] are the smoothing along the two axes; None where there is none.
    """

    counts: np.ndarray
    parts: tuple[tuple[float, np.ndarray], ...]
    smooth_v: np.ndarray | None = None
    smooth_u: np.ndarray | None = None

    def variance(self) -> np.ndarray:
        """Variance of each pixel of `counts` by the counting statistics of the windows, [view, v, u]."""
        pixels = np.sum([weight**2 * counts for weight, counts in self.parts], axis=0)
        if self.smooth_v is None or self.smooth_u is None:
            return pixels
        return self.smooth_v**2 @ pixels @ (self.smooth_u**2).T

    def covariance(self, weights: np.ndarray) -> np.ndarray:
        """Covariance [k, k] of the sums of `counts` weighted by `weights` [k, view, v, u]."""
        if self.smooth_v is not None and self.smooth_u is not None:
            weights = self.smooth_v.T @ weights @ self.smooth_u
        flat = weights.reshape(len(weights), -1).astype(float)
        return np.sum([(share**2 * flat * counts.ravel()) @ flat.T for share, counts in self.parts], axis=0)


def tew(
    projections: Projections, *, line_keV: float | None = None, fwhm_mm: float = 0.0, has_upper: bool = True
) -> ScatterEstimate:
    """The triple energy window estimate for the peak window, from its lower and upper windows.

    Args:
        fwhm_mm: of the Gaussian that smooths the estimate, 0 for none.
        has_upper: False where the upper window is taken for empty (99mTc), and need not have been counted.

    Raises:
        ImageError: a window missing, or of no width.
    """
    peak = _width(projections, "peak", line_keV)
    parts = []
    for role in ("lower", "upper") if has_upper else ("lower",):
        counts = projections.counts[projections.window(role, line_keV)]
        parts.append((peak / _width(projections, role, line_keV) / 2, counts))
    return _estimate(projections, tuple(parts), fwhm_mm)


def dew(
    projections: Projections, *, k: float | None = None, line_keV: float | None = None, fwhm_mm: float = 0.0
) -> ScatterEstimate:
    """The dual energy window estimate: `k` times the lower window.

    Raises:
        InputError: `k` below zero or not finite.
        ImageError: no lower window.
    """
    factor = float(load_table("imaging", "scatter.csv")[0]["value"]) if k is None else float(k)
    if not (np.isfinite(factor) and factor >= 0):
        raise InputError(describe("k", f"{factor}", "a finite factor of 0 or more", "correct it"))
    counts = projections.counts[projections.window("lower", line_keV)]
    return _estimate(projections, ((factor, counts),), fwhm_mm)


def has_window(projections: Projections, role: str, line_keV: float | None = None) -> bool:
    """Whether any window has this role, of this line or of none said."""
    return any(
        w.role == role and (line_keV is None or w.line_keV is None or abs(w.line_keV - line_keV) < 1)
        for w in projections.windows
    )


def _width(projections: Projections, role: str, line_keV: float | None) -> float:
    width = projections.windows[projections.window(role, line_keV)].width_keV
    if not width > 0:
        found, expected = f"a {role} window of {width:g} keV", "a width above zero"
        raise ImageError(describe("projections.windows", found, expected, "repair the window's bounds"))
    return width


def _estimate(projections: Projections, parts, fwhm_mm: float) -> ScatterEstimate:
    raw = np.sum([weight * counts for weight, counts in parts], axis=0)
    if not (np.isfinite(fwhm_mm) and fwhm_mm >= 0):
        raise InputError(describe("fwhm_mm", f"{fwhm_mm}", "a finite width of 0 mm or more", "correct it"))
    if fwhm_mm == 0:
        return ScatterEstimate(np.asarray(raw, np.float32), parts)
    rows, columns = raw.shape[1:]
    sigma = fwhm_mm / FWHM_PER_SIGMA / projections.pixel_mm
    smooth_v, smooth_u = _smoothing(rows, sigma), _smoothing(columns, sigma)
    return ScatterEstimate((smooth_v @ raw @ smooth_u.T).astype(np.float32), parts, smooth_v, smooth_u)


def _smoothing(pixels: int, sigma: float) -> np.ndarray:
    """Gaussian weights [to, from], mirrored at the edges: rows and columns sum to one, so flat stays flat."""
    to, source = np.indices((pixels, pixels))
    gaussian = lambda apart: np.exp(-0.5 * (apart / sigma) ** 2)
    turns = 2 * pixels * np.arange(-1, 2)[:, None, None]
    weights = (gaussian(to - source + turns) + gaussian(to + source + 1 + turns)).sum(axis=0)
    return weights / weights.sum(axis=0)
