"""Weighted least squares of exponential curves for many draws of the same scan times at once.

The curves and their log parameters are those of `dose.activity`, which fits one series; sampling an uncertainty
budget refits thousands.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

ITERATIONS = 60
"""Steps of Levenberg-Marquardt at most; from the nominal fit ten are enough."""
SETTLED = 1e-9
"""A step of the log parameters below this ends the fit."""
LOW, HIGH = math.log(1e-6), math.log(50.0)
"""Bounds of the logs of rates in 1/h: nothing physiological lies outside (as in `dose.activity`)."""
AMPLITUDE_RANGE = 12.0
"""Log amplitudes stay within this of the highest count rate."""
FASTER = (-3.0, -2.0, -1.0, 0.0, 1.0)
"""Starts of the log of the faster rate (1/h)."""
SHARES = (-1.0, 0.0, 1.0)
"""Starts of the log of the faster amplitude over the slower one."""
SMALLEST = 1e-12
"""Added to the normal matrix, so that a parameter without effect (a rate at its bound) stays where it is."""


def _mono(x, decay):
    return [(np.exp(x[..., 0]), decay + np.exp(x[..., 1]))]


def _uptake(x, decay):
    amplitude, slow = np.exp(x[..., 0]), decay + np.exp(x[..., 1])
    return [(amplitude, slow), (-amplitude, slow + np.exp(x[..., 2]))]


def _bi(x, decay):
    slow = decay + np.exp(x[..., 1])
    return [(np.exp(x[..., 0]), slow), (np.exp(x[..., 2]), slow + np.exp(x[..., 3]))]


@dataclass(frozen=True)
class Form:
    """Pairs (amplitude, rate) from log parameters [..., parameter]; which of these are rates; starts of the later ones.

    A start of a later amplitude is relative to the first.
    """

    terms: Callable
    is_rate: tuple[bool, ...]
    later: tuple[tuple[float, ...], ...]

    @property
    def parameters(self) -> int:
        return len(self.is_rate)


FORMS = {
    "mono": Form(_mono, (False, True), ((),)),
    "uptake": Form(_uptake, (False, True, True), tuple((rate,) for rate in FASTER)),
    "bi": Form(_bi, (False, True, False, True), tuple((share, rate) for rate in FASTER for share in SHARES)),
}


def jacobian(function, x: np.ndarray) -> np.ndarray:
    """Derivative of an analytic function by x [..., parameter], as last axis: complex steps, exact to rounding."""
    step = 1e-30
    columns = [function(x + 1j * step * row).imag / step for row in np.eye(x.shape[-1])]
    return np.stack(columns, axis=-1)


@dataclass(frozen=True)
class Problem:
    """A form at the times and standard uncertainties [time] of a series; no rate falls below `decay_per_h`.

    `highest` is the series' highest count rate, about which amplitudes are sought.
    """

    form: Form
    time_h: np.ndarray
    sd: np.ndarray
    decay_per_h: float
    highest: float

    def curve(self, x: np.ndarray) -> np.ndarray:
        """Count rates [..., time] of log parameters [..., parameter]."""
        terms = self.form.terms(x, self.decay_per_h)
        return np.sum([a[..., None] * np.exp(-rate[..., None] * self.time_h) for a, rate in terms], axis=0)

    def integral(self, x: np.ndarray) -> np.ndarray:
        """Integral over all time [...]."""
        return np.sum([a / rate for a, rate in self.form.terms(x, self.decay_per_h)], axis=0)

    @cached_property
    def low(self) -> np.ndarray:
        return np.where(self.form.is_rate, LOW, math.log(self.highest) - AMPLITUDE_RANGE)

    @cached_property
    def high(self) -> np.ndarray:
        return np.where(self.form.is_rate, HIGH, math.log(self.highest) + AMPLITUDE_RANGE)

    def residuals(self, x, counts) -> np.ndarray:
        return (self.curve(x) - counts) / self.sd

    def least_squares(self, counts: np.ndarray, start: np.ndarray) -> np.ndarray:
        """Log parameters [draw, parameter] of counts [draw, time]: Levenberg-Marquardt, all draws in step."""
        x, damping = np.clip(start, self.low, self.high), np.full(len(start), 1e-3)
        cost = np.sum(self.residuals(x, counts) ** 2, axis=-1)
        for _ in range(ITERATIONS):
            tried = np.clip(x + self._step(x, counts, damping), self.low, self.high)
            tried_cost = np.sum(self.residuals(tried, counts) ** 2, axis=-1)
            better, moved = tried_cost <= cost, np.max(np.abs(tried - x))
            x, cost = np.where(better[:, None], tried, x), np.where(better, tried_cost, cost)
            damping = np.clip(np.where(better, damping / 5, damping * 4), 1e-12, 1e8)
            if moved < SETTLED:
                break
        return x

    def _step(self, x, counts, damping) -> np.ndarray:
        jac = jacobian(self.curve, x) / self.sd[:, None]
        normal = np.einsum("dtp,dtq->dpq", jac, jac)
        scale = damping[:, None] * np.einsum("dpp->dp", normal) + SMALLEST
        pull = np.einsum("dtp,dt->dp", jac, self.residuals(x, counts))
        return -np.linalg.solve(normal + scale[:, :, None] * np.eye(x.shape[1]), pull[..., None])[..., 0]

    def best(self, counts: np.ndarray) -> np.ndarray:
        """Log parameters [parameter] of one series [time], the best of several starts."""
        starts = self._starts(counts)
        found = self.least_squares(np.broadcast_to(counts, (len(starts), len(counts))), starts)
        return found[int(np.argmin(np.sum(self.residuals(found, counts) ** 2, axis=-1)))]

    def _starts(self, counts: np.ndarray) -> np.ndarray:
        """Slow phase through the last two scans and through the first and last, and the form's own list."""
        order, starts = np.argsort(self.time_h), []
        for first in (order[-2], order[0]):
            last = order[-1]
            rate = math.log(counts[first] / counts[last]) / (self.time_h[last] - self.time_h[first])
            biological = max(rate - self.decay_per_h, 1e-4)
            amplitude = math.log(counts[last]) + (biological + self.decay_per_h) * self.time_h[last]
            starts += [[amplitude, math.log(biological), *later] for later in self.form.later]
        later_amplitudes = ~np.array(self.form.is_rate) & (np.arange(self.form.parameters) > 0)
        return np.array(starts) + np.where(later_amplitudes, np.array(starts)[:, :1], 0.0)
