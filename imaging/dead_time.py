"""Dead time: what a camera counts of what reaches it, and back again, with its uncertainty.

Paralysable, m = n exp(-n tau), where each event prolongs the blindness, and non-paralysable, m = n / (1 + n tau)
(Knoll, Radiation Detection and Measurement, chapter 4). The paralysable inverse has two answers; the low branch
n = -W0(-m tau) / tau is taken, which is right below the peak at n = 1/tau and silently wrong beyond it: a count rate
cannot tell on which side it is. Rates are those of all events the crystal sees, of every energy, not of one window.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import lambertw

from dose.errors import ImageError, InputError, describe
from imaging.projections import Projections

MODELS = ("paralysable", "non_paralysable")

SMALLEST_ROOM = 1e-12
"""1 - n tau is not taken below this, so that the sd at the peak of a paralysable camera is huge and not NaN."""


def observed_rate(true_cps, tau_s: float, model: str = "paralysable"):
    """Counted rate of a true rate, any shape."""
    n = np.asarray(true_cps, dtype=float)
    _check(n, tau_s, model)
    return n * np.exp(-n * tau_s) if model == "paralysable" else n / (1 + n * tau_s)


def highest_rate(tau_s: float, model: str = "paralysable") -> float:
    """The most that can be counted: 1/(e tau) for a paralysable, 1/tau for a non-paralysable camera."""
    return math.inf if tau_s == 0 else 1 / (tau_s * (math.e if model == "paralysable" else 1))


def true_rate(observed_cps, tau_s: float, model: str = "paralysable"):
    """True rate of a counted rate on the low branch, any shape.

    Raises:
        ImageError: a rate above what a camera of this dead time can count.
    """
    m = np.asarray(observed_cps, dtype=float)
    _check(m, tau_s, model)
    limit = highest_rate(tau_s, model)
    if np.any(m > limit) or (model == "non_paralysable" and np.any(m == limit)):
        found, expected = f"{m.max():.4g} counts/s", f"at most {limit:.4g} counts/s for this dead time"
        raise ImageError(describe("count rate", found, expected, "check tau_s, or measure later at a lower rate"))
    if tau_s == 0:
        return m.copy()
    if model == "non_paralysable":
        return m / (1 - m * tau_s)
    return -np.real(lambertw(-m * tau_s)) / tau_s


def true_rate_sd(observed_cps, tau_s: float, *, observed_sd_cps=0.0, tau_sd_s: float = 0.0, model="paralysable"):
    """Standard deviation of `true_rate`, first order in the counted rate and in tau, any shape.

    Beyond all bounds at the peak of a paralysable camera, where a change of the true rate shows in no count.
    """
    n = true_rate(observed_cps, tau_s, model)
    if model == "paralysable":
        room = np.maximum(1 - n * tau_s, SMALLEST_ROOM)
        slope, by_tau = np.exp(n * tau_s) / room, n**2 / room
    else:
        slope, by_tau = (1 + n * tau_s) ** 2, n**2
    return np.hypot(slope * np.asarray(observed_sd_cps), by_tau * tau_sd_s)


def live_fraction(observed_cps, tau_s: float, model: str = "paralysable") -> np.ndarray:
    """Counted over true rate on the low branch, any shape: `Measured.live_fraction` of a reconstruction.

    Raises:
        ImageError: a rate above what a camera of this dead time can count.
    """
    rates = np.asarray(observed_cps, dtype=float)
    true = true_rate(rates, tau_s, model)
    return np.divide(rates, true, out=np.ones_like(true), where=true > 0)


@dataclass(frozen=True)
class DeadTimeCorrected:
    """Projections with each view's counts multiplied by `factor` [view]; `relative_sd` [view] comes from tau alone.

    All views share the tau, so their errors are fully correlated. The counts are no longer Poisson: their variance is
    `factor` times themselves, which nothing downstream knows. For a reconstruction, and above all for the uncertainty
    of its regions, give the raw projections and `Measured(live_fraction=1 / factor)` instead.
    """

    projections: Projections
    factor: np.ndarray
    relative_sd: np.ndarray


def corrected_projections(
    projections: Projections, tau_s: float, *, tau_sd_s: float = 0.0, model: str = "paralysable", rates_cps=None
) -> DeadTimeCorrected:
    """Each view's windows times true over counted rate; no longer Poisson (`DeadTimeCorrected`).

    `rates_cps` [view] are the camera's own rates over its whole spectrum; without them the sum of the windows stands
    for it, which is too low where counts fall outside of all windows, and corrects too little.

    Raises:
        ImageError: a rate above the camera's highest, or `rates_cps` of another length.
    """
    counted = projections.counts.sum(axis=(0, 2, 3), dtype=float) / projections.frame_s
    rates = counted if rates_cps is None else np.asarray(rates_cps, dtype=float)
    if rates.shape != projections.frame_s.shape:
        found, expected = f"shape {rates.shape}", f"[view], {projections.frame_s.shape}"
        raise ImageError(describe("rates_cps", found, expected, "give one rate a view"))
    true = true_rate(rates, tau_s, model)
    factor = 1 / live_fraction(rates, tau_s, model)
    sd = true_rate_sd(rates, tau_s, tau_sd_s=tau_sd_s, model=model)
    relative = np.divide(sd, true, out=np.zeros_like(true), where=true > 0)
    counts = projections.counts * factor.astype(np.float32)[None, :, None, None]
    return DeadTimeCorrected(projections.with_counts(counts), factor, relative)


def _check(rate: np.ndarray, tau_s: float, model: str) -> None:
    if model not in MODELS:
        raise InputError(describe("dead-time model", f'"{model}"', f"one of {MODELS}", "choose one"))
    if not (tau_s >= 0 and math.isfinite(tau_s)):
        raise InputError(describe("tau_s", f"{tau_s:g}", "a finite time of zero or more, in s", "correct it"))
    if not (np.isfinite(rate).all() and np.all(rate >= 0)):
        raise InputError(describe("count rate", "negative or not finite", "counts/s of zero or more", "correct it"))
