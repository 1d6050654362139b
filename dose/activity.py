"""Time-integrated activity of a region from its measurements: fitted curves, averaged; and the plain rules.

A fitted clearance can never be slower than physical decay: rates are lambda_phys + exp(x). Models are compared by
AICc with known measurement errors (chi2 + 2K + 2K(K+1)/(N-K-1)) and averaged by Akaike weight, with the variance
between models added (Burnham and Anderson 2002, sections 2.9 and 4.3). Where AICc is undefined (N - K - 1 below 1) a
model is "not comparable" and is not ranked.
Where points miss by more than stated, the sd is widened by sqrt(chi2/(N - K)).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from dose.curves import Exponentials, bi, extrapolated_fraction, mono, tri_uptake, uptake
from dose.errors import InputError, describe
from dose.nuclides import radionuclide

SLOWEST_LOG, FASTEST_LOG = math.log(1e-6), math.log(50.0)
"""Bounds of the logs of biological rates in 1/h: nothing physiological lies outside."""

REJECTED_CHI2_PER_DOF = 9.0
"""A model that misses its points by three standard deviations (in the root mean square) does not enter an average."""

SLOPE_TOLERANCE = 0.01
"""A late slope less than this fraction below physical decay is taken for rounding."""

TAIL_DISAGREEMENT = 0.30
"""Two tail rules that differ by more than this fraction of the smaller integral are reported."""


@dataclass(frozen=True)
class CurveFit:
    """One model fitted; `aicc` is None where it is not comparable; `tia_sd_MBq_h` is from the full covariance."""

    model: str
    curve: Exponentials
    tia_MBq_h: float
    tia_sd_MBq_h: float
    chi2: float
    parameters: int
    aicc: float | None
    weight: float = 0.0


@dataclass(frozen=True)
class AveragedTIA:
    """Model-averaged integral, its sd with the spread between models, and what a reader should know (`notes`)."""

    tia_MBq_h: float
    tia_sd_MBq_h: float
    extrapolated_fraction: float
    comparable: bool
    fits: tuple[CurveFit, ...]
    notes: tuple[str, ...]


def _mono(x, lp):
    return mono(math.exp(x[0]), lp + math.exp(x[1]))


def _uptake(x, lp):
    slow = lp + math.exp(x[1])
    return uptake(math.exp(x[0]), slow, slow + math.exp(x[2]))


def _bi(x, lp):
    slow = lp + math.exp(x[1])
    return bi(math.exp(x[0]), slow, math.exp(x[2]), slow + math.exp(x[3]))


def _tri(x, lp):
    slow = lp + math.exp(x[1])
    middle = slow + math.exp(x[3])
    amplitude_3, both = math.exp(x[0]), math.exp(x[2])  # their difference may be negative: a second uptake phase
    return tri_uptake(both - amplitude_3, middle, amplitude_3, slow, middle + math.exp(x[4]))


MODELS = {
    "mono": (_mono, ((), ())),
    "uptake": (_uptake, ((-0.5,), (-2.0,), (1.0,))),
    "bi": (_bi, ((None, -1.5), (None, -3.0), (None, 0.0))),
    "tri_uptake": (_tri, ((None, -3.0, -0.5), (None, -2.0, 1.0), (None, -3.5, -1.5))),
}
"""Curve from log parameters, and starts of the parameters after the slow phase (None: half its amplitude)."""


def checked_points(time_h, activity_MBq, sd_MBq=None):
    """Sorted float arrays, shape [time]."""
    t, a = np.asarray(time_h, dtype=float), np.asarray(activity_MBq, dtype=float)
    sd = np.ones_like(a) if sd_MBq is None else np.broadcast_to(np.asarray(sd_MBq, dtype=float), a.shape)
    good = t.ndim == 1 and t.shape == a.shape and len(t) > 0 and np.all(np.isfinite([t, a, sd]))
    if not good or np.any(t < 0) or np.any(a <= 0) or np.any(sd <= 0) or len(np.unique(t)) != len(t):
        expected = "equally long lists of finite numbers, distinct times not below 0, activities and sds above 0"
        do = "remove or correct the rows that do not fit"
        raise InputError(describe("time_h, activity_MBq, sd_MBq", "lists that cannot be integrated", expected, do))
    order = np.argsort(t)
    return t[order], a[order], sd[order]


def fit_curves(time_h, activity_MBq, sd_MBq, nuclide: str) -> AveragedTIA:
    """Fits every model that has no more parameters than there are points, and averages their integrals.

    Args:
        time_h: times after the end of administration, shape [time].
        activity_MBq: activities present, shape [time].
        sd_MBq: their independent standard deviations, shape [time] or one number.

    Raises:
        InputError: fewer than two points, or values that are not usable.
    """
    t, a, sd = checked_points(time_h, activity_MBq, sd_MBq)
    if len(t) < 2:
        do = "use dose.madsen_tia or dose.hanscheid_tia and say so, or calibrate the twin, whose prior knows clearance"
        raise InputError(describe("time_h", f"{len(t)} measurement", "two or more to fit a curve", do))
    lp = radionuclide(nuclide).decay_constant_per_h
    fits = tuple(_fit(name, t, a, sd, lp) for name, (_, starts) in MODELS.items() if 2 + len(starts[0]) <= len(t))
    return averaged(fits, t, late_slope_flag(t, a, nuclide))


def _fit(name, t, a, sd, lp) -> CurveFit:
    from scipy.optimize import least_squares  # a third of a second to import, and only needed here

    build, starts = MODELS[name]

    def residuals(x):
        return (build(x, lp).activity_MBq(t) - a) / sd

    k = 2 + len(starts[0])
    is_amplitude = np.array([True, False, *(start is None for start in starts[0])])
    scale = math.log(a.max())
    low = np.where(is_amplitude, scale - 12, SLOWEST_LOG)
    high = np.where(is_amplitude, scale + 12, FASTEST_LOG)
    tight = {"xtol": 1e-10, "ftol": 1e-10, "gtol": 1e-10, "jac": "3-point", "bounds": (low, high), "max_nfev": 300}
    tries = [least_squares(residuals, _start(start, t, a, lp), **tight) for start in starts]
    best = min(tries, key=lambda found: found.cost)
    chi2, dof = 2 * float(best.cost), len(t) - k
    sd_tia = _tia_sd(build, best, lp, low, high) * math.sqrt(max(1.0, chi2 / dof) if dof > 0 else 1.0)
    aicc = chi2 + 2 * k + 2 * k * (k + 1) / (dof - 1) if dof > 1 else None
    curve = build(best.x, lp)
    return CurveFit(name, curve, curve.tia_MBq_h, sd_tia, chi2, k, aicc)


def _start(rest, t, a, lp):
    """Slow phase through the last two points, then the model's own starts."""
    slope = math.log(a[-2] / a[-1]) / (t[-1] - t[-2])
    biological = min(max(slope - lp, 1e-4), 10.0)
    amplitude = math.log(a[-1]) + min((biological + lp) * t[-1], 10.0)
    amplitude = min(amplitude, math.log(a.max()) + 5)
    return np.array([amplitude, math.log(biological), *(amplitude - 0.7 if start is None else start for start in rest)])


def _tia_sd(build, found, lp, low, high) -> float:
    """sqrt(g' C g): C the covariance of the log parameters; those held at a bound are taken as known."""
    free = (found.x > low + 1e-3) & (found.x < high - 1e-3)
    step = 1e-5 * np.eye(len(found.x))
    up, down = ([build(found.x + s * e, lp).tia_MBq_h for e in step] for s in (1, -1))
    gradient = (np.array(up) - np.array(down)) / 2e-5
    covariance = np.linalg.pinv(found.jac[:, free].T @ found.jac[:, free])
    return float(np.sqrt(max(0.0, gradient[free] @ covariance @ gradient[free])))


def averaged(fits, t, slope_note: str | None = None, *, errors_known: bool = True) -> AveragedTIA:
    """Akaike weights among comparable models; equal ones where the comparison is undefined or all of them miss.

    `fits` are `CurveFit`, `t` the times [time] they were fitted to. Without known errors no misfit is refused.
    """
    accepted = [fit for fit in fits if not errors_known or _is_accepted(fit, len(t))]
    ranked = [fit for fit in accepted if fit.aicc is not None]
    used, notes = ranked or accepted or fits, [slope_note] if slope_note else []
    if ranked:
        raw = np.exp([-0.5 * (fit.aicc - min(f.aicc for f in ranked)) for fit in ranked])
    else:
        raw = np.ones(len(used))
        notes.append("models are not comparable by AICc (too few points): equal weights")
        if any(fit.parameters == len(t) for fit in used):
            notes.append("a curve with as many parameters as points enters: its sd holds no error of the model")
    if not accepted:
        notes.append("no model fits within the stated errors: they may be too small or a point wrong")
    weight = {fit.model: w for fit, w in zip(used, raw / raw.sum(), strict=True)}
    fits = tuple(replace(fit, weight=float(weight.get(fit.model, 0.0))) for fit in fits)
    mean = sum(fit.weight * fit.tia_MBq_h for fit in fits)
    variance = sum(fit.weight * (fit.tia_sd_MBq_h**2 + (fit.tia_MBq_h - mean) ** 2) for fit in fits)
    after = sum(fit.weight * fit.tia_MBq_h * extrapolated_fraction(fit.curve, t[-1]) for fit in fits) / mean
    return AveragedTIA(mean, math.sqrt(variance), after, bool(ranked), fits, tuple(notes))


def _is_accepted(fit: CurveFit, n: int) -> bool:
    dof = n - fit.parameters
    return fit.chi2 <= REJECTED_CHI2_PER_DOF * max(dof, 1)


def late_slope_flag(time_h, activity_MBq, nuclide: str) -> str | None:
    """What is impossible or unknown about the last two points, in words; None where nothing is."""
    t, a, _ = checked_points(time_h, activity_MBq)
    if len(t) < 2:
        return "one measurement: the clearance is not measured"
    slope, lp = math.log(a[-2] / a[-1]) / (t[-1] - t[-2]), radionuclide(nuclide).decay_constant_per_h
    if slope < 0:
        return "activity is still rising at the last two measurements: the tail is not measured"
    if slope < lp * (1 - SLOPE_TOLERANCE):
        found = f"activity falls more slowly ({slope:.3g} /h) than physical decay ({lp:.3g} /h)"
        return f"{found}: check times, unit and decay correction"
    return None
