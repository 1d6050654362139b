"""Time-integrated count rate of a region, and how counting noise reaches it.

Either scans, which are fitted here (and refitted for each draw of noise), or a curve of exponentials that was fitted
elsewhere, with the covariance of its parameters. The covariance of amplitude and rate cannot be left out: they
compensate each other in the integral.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from calibration.budget_checks import checked_covariance
from calibration.budget_fit import FORMS, Problem, jacobian
from dose.activity import fit_curves
from dose.curves import Exponentials, extrapolated_fraction
from dose.errors import InputError, describe
from dose.nuclides import radionuclide

AT_BOUND = 1e-3
"""A log parameter this near its bound is held there, and counts as known."""


@dataclass(frozen=True)
class Scans:
    """Count rates in a region's contour at several times, with their standard uncertainties from counting.

    `time_h` after the end of administration; `counts` in cps (or activities in MBq, with a calibration factor of 1)
    present at the scan, not corrected for decay; `sd` in the same unit; all [time]. `form` is "mono", "uptake" or
    "bi", as in `dose.curves`. With a `nuclide` no rate falls below physical decay.

    Raises:
        InputError: counts or sd not above zero, repeated times, fewer scans than the form has parameters.
    """

    time_h: np.ndarray
    counts: np.ndarray
    sd: np.ndarray
    form: str = "mono"
    nuclide: str | None = None

    def __post_init__(self):
        time_h, counts, sd = (np.asarray(x, dtype=float) for x in (self.time_h, self.counts, self.sd))
        sd = np.full(counts.shape, sd) if sd.ndim == 0 else sd
        _check(time_h, counts, sd, self.form)
        for name, array in (("time_h", time_h), ("counts", counts), ("sd", sd)):
            object.__setattr__(self, name, array)

    @cached_property
    def _problem(self) -> Problem:
        decay = radionuclide(self.nuclide).decay_constant_per_h if self.nuclide else 0.0
        return Problem(FORMS[self.form], self.time_h, self.sd, decay, float(self.counts.max()))

    @cached_property
    def fit(self) -> np.ndarray:
        """Log parameters [parameter] of the weighted least squares fit."""
        return self._problem.best(self.counts)

    @property
    def fitted(self) -> np.ndarray:
        """The fitted curve at the times, [time]."""
        return self._problem.curve(self.fit)

    @property
    def curve(self) -> Exponentials:
        """The fitted curve; its amplitudes are in the unit of `counts`."""
        terms = FORMS[self.form].terms(self.fit, self._problem.decay_per_h)
        amplitudes, rates = zip(*((float(a), float(rate)) for a, rate in terms), strict=True)
        return Exponentials(amplitudes, rates)

    @property
    def time_integral(self) -> float:
        """Integral of the fitted curve from 0 to the end of time, in units of `counts` times h."""
        return float(self._problem.integral(self.fit))

    @cached_property
    def covariance(self) -> np.ndarray:
        """Of the log parameters, from the stated noise; a rate held at physical decay counts as known."""
        jac = jacobian(self._problem.curve, self.fit) / self.sd[:, None]
        free = (self.fit > self._problem.low + AT_BOUND) & (self.fit < self._problem.high - AT_BOUND)
        covariance = np.zeros((len(self.fit), len(self.fit)))
        covariance[np.ix_(free, free)] = np.linalg.pinv(jac[:, free].T @ jac[:, free])
        return covariance

    @cached_property
    def gradient(self) -> np.ndarray:
        """d ln(integral) / d log parameter, [parameter]."""
        return jacobian(self._problem.integral, self.fit) / self.time_integral

    @property
    def noise_relative_sd(self) -> float:
        """u(integral)/integral from counting noise: sqrt(g' C g)."""
        return math.sqrt(max(0.0, self.gradient @ self.covariance @ self.gradient))

    @property
    def without_covariance(self) -> float:
        """The same with amplitudes and rates (A, l) taken as independent: wrong, for comparison."""
        to_plain = jacobian(self._plain, self.fit)
        variance = np.diag(to_plain @ self.covariance @ to_plain.T)
        a, rate = np.split(self._plain(self.fit), 2)
        gradient = np.concatenate([1 / rate, -a / rate**2]) / self.time_integral
        return math.sqrt(np.sum(gradient**2 * variance))

    def _plain(self, x) -> np.ndarray:
        """Amplitudes, then rates, of log parameters [parameter]."""
        terms = FORMS[self.form].terms(x, self._problem.decay_per_h)
        return np.array([*(a for a, _ in terms), *(rate for _, rate in terms)])

    @property
    def extrapolated_fraction(self) -> float:
        """Part of the integral after the last scan, which nothing measured."""
        return extrapolated_fraction(self.curve, float(self.time_h.max()))

    @property
    def widening(self) -> float:
        """sqrt(chi2/(N - K)) where above 1: points miss the curve by more than their noise (Birge 1932)."""
        freedom = len(self.counts) - FORMS[self.form].parameters
        chi2 = float(np.sum(self._problem.residuals(self.fit, self.counts) ** 2))
        return math.sqrt(max(1.0, chi2 / freedom)) if freedom else 1.0

    @property
    def dimension(self) -> int:
        """Standard normals that a draw of noise takes."""
        return len(self.counts)

    def log_integral(self, z: np.ndarray) -> np.ndarray:
        """ln of the integral over the nominal one, [draw]: each refitted to counts with noise `z` [time, draw]."""
        counts = self.fitted + self.sd * np.asarray(z).T
        found = self._problem.least_squares(counts, np.broadcast_to(self.fit, (len(counts), len(self.fit))))
        return np.log(self._problem.integral(found) / self.time_integral)


def between_curves(time_h, counts, sd, nuclide: str) -> float:
    """Relative sd between the curves that these scans leave possible (`dose.fit_curves`: weights by AICc).

    A figure for `Chain.kinetics_relative_sd` from the scans themselves. What no curve of the list can do, and the tail
    where all of them agree to be wrong, is not in it.
    """
    found = fit_curves(time_h, counts, sd, nuclide)
    each = np.array([fit.tia_MBq_h for fit in found.fits])
    weight = np.array([fit.weight for fit in found.fits])
    return math.sqrt(float(np.sum(weight * (each / found.tia_MBq_h - 1) ** 2)))


def _check(time_h, counts, sd, form: str) -> None:
    if form not in FORMS:
        raise InputError(describe("form", repr(form), "one of " + ", ".join(FORMS), "name one of them"))
    alike = time_h.ndim == 1 and time_h.shape == counts.shape == sd.shape
    finite = alike and bool(np.all(np.isfinite([time_h, counts, sd])))
    if not finite or time_h.min(initial=0) < 0 or len(np.unique(time_h)) < len(time_h):
        expected = "equally long lists of finite numbers, distinct times not below 0"
        raise InputError(describe("time_h, counts, sd", "lists that cannot be fitted", expected, "correct the rows"))
    if np.any(counts <= 0) or np.any(sd <= 0):
        do = "leave out scans in which the region cannot be seen, and give each count rate its counting uncertainty"
        raise InputError(describe("counts, sd", f"{counts}, {sd}", "count rates and uncertainties above 0", do))
    needed = FORMS[form].parameters
    if len(counts) < needed:
        found = f"{len(counts)} scan{'s' * (len(counts) != 1)} for the {needed} parameters of {form}"
        do = "add scans, choose a simpler curve, or give a KnownCurve from a single-time-point method"
        raise InputError(describe("time_h", found, f"{needed} or more", do))


@dataclass(frozen=True)
class KnownCurve:
    """A curve fitted elsewhere, with the covariance [2 components, 2 components] of (amplitudes, rates).

    Raises:
        InputError: an integral not above zero, a covariance of the wrong size or not positive definite.
    """

    curve: Exponentials
    covariance: np.ndarray
    widening = 1.0
    extrapolated_fraction = None

    def __post_init__(self):
        size = 2 * len(self.curve.rates_per_h)
        object.__setattr__(self, "covariance", checked_covariance("curve covariance", self.covariance, size))
        if not self.curve.tia_MBq_h > 0:
            found = f"an integral of {self.curve.tia_MBq_h:g}"
            raise InputError(describe("curve", found, "above 0", "check signs of amplitudes and order of rates"))

    @property
    def time_integral(self) -> float:
        return self.curve.tia_MBq_h

    @property
    def gradient(self) -> np.ndarray:
        """d ln(integral) by (amplitudes, rates): 1/l and -a/l^2 over the integral."""
        a, rate = np.array(self.curve.amplitudes_MBq), np.array(self.curve.rates_per_h)
        return np.concatenate([1 / rate, -a / rate**2]) / self.time_integral

    @property
    def noise_relative_sd(self) -> float:
        """u(integral)/integral: sqrt(g' C g)."""
        return math.sqrt(max(0.0, self.gradient @ self.covariance @ self.gradient))

    @property
    def without_covariance(self) -> float:
        """The same with all parameters taken as independent: wrong, for comparison."""
        return math.sqrt(np.sum(self.gradient**2 * np.diag(self.covariance)))

    @property
    def dimension(self) -> int:
        return len(self.covariance)

    def log_integral(self, z: np.ndarray) -> np.ndarray:
        """ln of the integral over the nominal one, [draw], for `z` [2 components, draw]; rates are log-normal.

        A draw whose amplitudes leave no integral above zero is NaN: `budget` refuses a chain that has such draws.
        """
        a, rate = np.array(self.curve.amplitudes_MBq), np.array(self.curve.rates_per_h)
        to_log = np.concatenate([np.ones(len(a)), 1 / rate])
        values, vectors = np.linalg.eigh(self.covariance * np.outer(to_log, to_log))
        shift = vectors @ (np.sqrt(np.maximum(values, 0.0))[:, None] * np.asarray(z))
        found = np.sum((a[:, None] + shift[: len(a)]) / (rate[:, None] * np.exp(shift[len(a) :])), axis=0)
        return np.log(np.where(found > 0, found, np.nan) / self.time_integral)
