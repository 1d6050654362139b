"""One function fitted to one region's scans: weighted least squares from many starts, with the full covariance.

Parameters are those of `calibration.curve_models`, the first of them ln TIA. Slopes are exact. Prior
knowledge of a parameter is one more residual, (x - ln median)/sd, which makes the estimate a most probable one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from calibration.curve_descent import descend
from calibration.curve_models import CurveModel
from dose.activity import CurveFit
from dose.curves import Exponentials
from dose.errors import InputError, describe

POLISHED = 8
"""Starts that are followed to the end: the best of the grid, none a neighbour of another."""

INTEGRAL_RANGE = 12.0
"""ln TIA may lie this far below and above the largest activity over the physical decay constant."""

AT_BOUND = 1e-3
"""A parameter this close to its bound is taken as known: its curvature there says nothing."""


@dataclass(frozen=True)
class Prior:
    """A parameter's median in its own unit (1/h for a biological rate, MBq h for "tia") and the sd of its logarithm.

    Raises:
        InputError: a median or an sd that is not above 0.
    """

    median: float
    log_sd: float

    def __post_init__(self):
        if not (self.median > 0 and self.log_sd > 0 and math.isfinite(self.median * self.log_sd)):
            found = f"median {self.median}, log_sd {self.log_sd}"
            do = "leave the prior out where nothing is known"
            raise InputError(describe("prior", found, "a median and an sd of its logarithm above 0", do))


@dataclass(frozen=True)
class RegionCurve:
    """A fitted function: x and covariance [parameter], the curve, its integral, and how well it meets the points.

    `covariance` is that of the stated errors; `tia_sd_MBq_h` is widened by `widening`, sqrt(chi2/(N - K)) where above
    1. `held` names parameters at a bound, taken as known. `aicc` is None where N - K - 1 is below 1.
    """

    model: str
    parameters: tuple[str, ...]
    x: np.ndarray
    covariance: np.ndarray
    curve: Exponentials
    tia_MBq_h: float
    tia_sd_MBq_h: float
    chi2: float
    widening: float
    aic: float
    aicc: float | None
    held: tuple[str, ...]
    converged: bool
    weight: float = 0.0

    @property
    def fit(self) -> CurveFit:
        """The same for `dose.activity.averaged`."""
        size = len(self.parameters)
        return CurveFit(self.model, self.curve, self.tia_MBq_h, self.tia_sd_MBq_h, self.chi2, size, self.aicc)


def check_priors(priors: Mapping[str, Prior], models: tuple[CurveModel, ...]):
    """Refuses a prior on a parameter that no function has as a logarithm."""
    known = {name for model in models for name in model.parameters} - {"alpha", "ratio"}
    for name in priors:
        if name not in known:
            do = "name tia or a biological rate of a function that is fitted"
            raise InputError(describe("priors", f'"{name}"', ", ".join(sorted(known)), do))


def fit_one(model: CurveModel, t, a, sd, lp: float, priors: Mapping[str, Prior], errors_known: bool) -> RegionCurve:
    """The best end of all starts; t, a, sd [scan] sorted and checked, `lp` the physical decay constant in 1/h."""
    low, high = model.bounds()
    level = math.log(a.max() / lp)
    low, high = np.append(level - INTEGRAL_RANGE, low), np.append(level + INTEGRAL_RANGE, high)
    problem = lambda x: _residuals(model, priors, x, t, a, sd, lp)
    ends, chi2, arrived = descend(problem, _starts(model, t, a, sd, lp, priors), low, high)
    best = int(chi2.argmin())
    free = (ends[best] > low + AT_BOUND) & (ends[best] < high - AT_BOUND)
    slopes = problem(ends[best : best + 1])[1][0]
    n = len(t) + sum(name in priors for name in model.parameters)
    return _read(model, ends[best], float(chi2[best]), slopes, free, n, lp, errors_known, bool(arrived[best]))


def _residuals(model: CurveModel, priors, x, t, a, sd, lp: float):
    """Weighted residuals of scans and priors [start, row] and their slopes [start, row, parameter]."""
    value, slope = model.with_slopes(x, t, lp)
    rows = [(k, priors[name].log_sd) for k, name in enumerate(model.parameters) if name in priors]
    of_priors = np.array([np.eye(model.size)[k] / log_sd for k, log_sd in rows]).reshape(len(rows), model.size)
    residual = np.concatenate([(value - a) / sd, _prior_residuals(model, priors, x)], axis=1)
    repeated = np.broadcast_to(of_priors, (len(x), *of_priors.shape))
    return residual, np.concatenate([slope / sd[:, None], repeated], axis=1)


def _starts(model: CurveModel, t, a, sd, lp: float, priors) -> np.ndarray:
    """Grid points with their best integral, [start, parameter]: the best ones, each unlike those before it."""
    grid = model.starts()
    x = np.concatenate([np.zeros((len(grid), 1)), grid], axis=1)
    shape = model.activity_MBq(x, t, lp) / sd
    level = np.maximum((shape * a / sd).sum(1) / (shape**2).sum(1), 1e-300)
    x[:, 0] = np.log(level)
    misfit = ((level[:, None] * shape - a / sd) ** 2).sum(1) + (_prior_residuals(model, priors, x) ** 2).sum(1)
    chosen: list[np.ndarray] = []
    for k in np.argsort(misfit):
        if all(np.abs(x[k, 1:] - other[1:]).max(initial=0.0) > 1.0 for other in chosen) or not chosen:
            chosen.append(x[k])
        if len(chosen) == POLISHED:
            break
    return np.array(chosen)


def _prior_residuals(model: CurveModel, priors, x) -> np.ndarray:
    """(x - ln median)/sd [..., prior] of the priors that this function has a parameter for."""
    rows = [(k, priors[name]) for k, name in enumerate(model.parameters) if name in priors]
    parts = [(x[..., k] - math.log(p.median)) / p.log_sd for k, p in rows]
    return np.stack(parts, -1) if parts else np.zeros((*x.shape[:-1], 0))


def _read(
    model: CurveModel, x, chi2: float, slopes, free, n: int, lp: float, known: bool, arrived: bool
) -> RegionCurve:
    """`n` counts scans and priors alike: a prior is an earlier measurement."""
    k, covariance = model.size, np.zeros((model.size, model.size))
    covariance[np.ix_(free, free)] = np.linalg.pinv(slopes[:, free].T @ slopes[:, free], hermitian=True)
    widening = math.sqrt(max(1.0, chi2 / (n - k))) if n > k else 1.0
    tia = float(np.exp(x[0]))
    aic, aicc = criteria(chi2, n, k, known)
    return RegionCurve(
        model=model.name,
        parameters=model.parameters,
        x=x,
        covariance=covariance,
        curve=model.curve(x, lp),
        tia_MBq_h=tia,
        tia_sd_MBq_h=tia * math.sqrt(max(covariance[0, 0], 0.0)) * widening,
        chi2=chi2,
        widening=widening,
        aic=aic,
        aicc=aicc,
        held=tuple(name for name, moves in zip(model.parameters, free) if not moves),
        converged=arrived and math.isfinite(chi2),
    )


def criteria(chi2: float, n: int, k: int, errors_known: bool) -> tuple[float, float | None]:
    """AIC and AICc of n points and k parameters; AICc is None where n - k - 1 is below 1.

    Known errors: chi2 + 2k. Unknown ones: n ln(chi2/n) + 2(k + 1), as the variance is one more parameter (Burnham and
    Anderson 2002, section 2.2; the convention of NUKFIT, recalled).
    """
    size = k if errors_known else k + 1
    aic = chi2 + 2 * k if errors_known else n * math.log(max(chi2, 1e-300) / n) + 2 * size
    spare = n - size - 1
    return aic, aic + 2 * size * (size + 1) / spare if spare > 0 else None
