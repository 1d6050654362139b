"""All patients at once: mixed-effects curves, the function that the population supports, and a new patient's integral.

Where a patient has three or four scans, AICc is undefined for most functions and a rate may not be seen at all. Fitted
together, patients tell which function they share and how far its parameters spread (Hardiansyah et al., EJNMMI Phys
2023;10:12, eleven functions and Akaike weights; Devasia et al., J Nucl Med 2021;62:1118, a bi-exponential). A new
patient's most probable parameters under that spread give the integral from one scan or more. The paper's other ten
functions are not known here; those of `curve_models.FAMILY` are ours, as is the residual in logarithms. docs/curves.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from calibration.curve_cohort import Cohort, cohort, padded
from calibration.curve_mixed import Layout, Modes, Population, fitted, information, modes
from calibration.curve_models import FAMILY, CurveModel, curve_model
from calibration.curve_patient import PatientTIA, expected, first, patients
from dose.curves import Exponentials
from dose.errors import CalibrationError, InputError, describe
from dose.nuclides import radionuclide

START_SD, START_SIGMA = 0.4, 0.15
"""Spread between patients and residual error that the fit begins with, in logarithms."""

POLISHED_STARTS, SCREENED_PATIENTS = 2, 40
"""Starts that are followed to the end, and patients whose curves choose them."""

LEAST_PATIENTS = 3
"""Fewer patients say nothing of a spread."""


@dataclass(frozen=True)
class MixedFit:
    """A function fitted to all patients: means and spread of its parameters, residual error, the patients themselves.

    `mean` [parameter] are logarithms as in `curve_models` (the first is ln TIA), `mean_covariance` what the cohort
    leaves open of them, `omega` the covariance between patients, `sigma` the relative residual error beyond the stated
    sds. `individual` are the cohort's own integrals. `aicc` is None where it is undefined.
    """

    model: str
    nuclide: str
    mean: np.ndarray
    mean_covariance: np.ndarray
    omega: np.ndarray
    sigma: float
    random: tuple[str, ...]
    individual: PatientTIA
    minus_two_log_likelihood: float
    fitted_parameters: int
    observations: int
    settled: bool

    @property
    def aic(self) -> float:
        return self.minus_two_log_likelihood + 2 * self.fitted_parameters

    @property
    def aicc(self) -> float | None:
        """AIC with the term for few observations; None where N - K - 1 is below 1."""
        k, spare = self.fitted_parameters, self.observations - self.fitted_parameters - 1
        return self.aic + 2 * k * (k + 1) / spare if spare > 0 else None

    def tia(self, time_h, activity_MBq, sd_MBq=None, *, draws: int = 0, seed: int = 0) -> PatientTIA:
        """Most probable integral of new patients and its sd, from one scan or more.

        Args:
            time_h: hours after the end of administration, [scan] or [patient, scan].
            activity_MBq: activities present, of the same shape and in the cohort's unit; NaN: not measured.
            sd_MBq: stated sds, which add to `sigma`; None: `sigma` alone.
            draws: 0 (default) gives the mode and Laplace's sd, as the papers do; a few hundred importance draws a
                patient give the posterior's mean and sd of ln TIA instead, which with one scan lie higher.
            seed: of those draws.

        Raises:
            InputError: shapes that do not fit, or values not above zero.
        """
        one = np.ndim(activity_MBq) < 2
        data = cohort(time_h, np.atleast_1d(activity_MBq), sd_MBq)
        at, prior = self._at(data)
        lp = radionuclide(self.nuclide).decay_constant_per_h
        sampled = draws > 0
        found = expected(curve_model(self.model), lp, data, prior, at, draws, seed) if sampled else patients(at, prior)
        return first(found) if one else found

    def curve(self, parameters) -> Exponentials:
        """The curve of one patient's `parameters` [parameter]."""
        return curve_model(self.model).curve(parameters, radionuclide(self.nuclide).decay_constant_per_h)

    def misfit(self, time_h, activity_MBq, sd_MBq=None) -> np.ndarray:
        """Standardised residuals of new patients' scans at their most probable curves, [patient, scan]."""
        data = cohort(time_h, np.atleast_1d(activity_MBq), sd_MBq)
        at, _ = self._at(data)
        sd = np.sqrt(self.sigma**2 + data.log_variance)
        return np.where(data.known, (data.log_activity - at.log_curve) / sd, np.nan)

    def _at(self, data: Cohort) -> tuple[Modes, Population]:
        """Modes under the spread between patients and the doubt about its centre, and that prior."""
        lp = radionuclide(self.nuclide).decay_constant_per_h
        prior = Population(self.mean, np.linalg.cholesky(self.omega + self.mean_covariance), self.sigma)
        return modes(curve_model(self.model), lp, data, prior), prior


def fit_mixed(model: str, curves, *, nuclide: str, random: tuple[str, ...] | None = None, full=False) -> MixedFit:
    """One function fitted to the curves of all patients.

    Args:
        model: a name of `curve_models.FAMILY`; "bi" and "f4d" are those of the papers.
        curves: (time_h [scan], activity_MBq [scan]) of each patient, or with sd_MBq [scan] as a third. Activities in
            MBq, or in any other unit (per administered activity) as long as new patients come in the same.
        nuclide: whose physical decay is the slowest clearance.
        random: which parameters differ between patients (names of `CurveModel.parameters`); None: all of them.
        full: let the parameters of a patient correlate; wants some ten patients for each parameter.

    Raises:
        InputError: unknown names, fewer than three patients, values that cannot be used.
    """
    function, data = curve_model(model), curves if isinstance(curves, Cohort) else padded(curves)
    if len(data.known) < LEAST_PATIENTS:
        do = "fit them one by one (calibration.curves.fit_region), or add patients"
        raise InputError(describe("curves", f"{len(data.known)} patients", f"{LEAST_PATIENTS} or more", do))
    mask, lp = _random(function, random), radionuclide(nuclide).decay_constant_per_h
    low, high = (np.concatenate([[edge], bound]) for edge, bound in zip((-np.inf, np.inf), function.bounds()))
    layout = Layout(mask, full)
    starts = _starts(function, lp, data, layout)
    value, population, at, settled = fitted(function, lp, data, layout, starts, low, high)
    seen = information(data, at, population) + np.diag(1.0 / _widest(low, high) ** 2)
    return MixedFit(
        model=model,
        nuclide=nuclide,
        mean=population.mean,
        mean_covariance=np.linalg.inv(seen),
        omega=population.omega,
        sigma=float(population.sigma),
        random=tuple(name for name, moves in zip(function.parameters, mask) if moves),
        individual=patients(at, population),
        minus_two_log_likelihood=value,
        fitted_parameters=layout.size,
        observations=data.observations,
        settled=settled,
    )


def _widest(low, high) -> np.ndarray:
    """Sd that the bounds alone leave a mean: no cohort's ignorance is wider. The integral has none."""
    return np.where(np.isfinite(high - low), (high - low) / math.sqrt(12), 1e3)


def _random(model: CurveModel, names) -> np.ndarray:
    wanted = set(model.parameters if names is None else names)
    if not wanted <= set(model.parameters) or not wanted:
        do = f"choose among the parameters of {model.name}"
        raise InputError(describe("random", ", ".join(sorted(wanted)) or "none", ", ".join(model.parameters), do))
    return np.array([name in wanted for name in model.parameters])


def _starts(model: CurveModel, lp: float, data: Cohort, layout: Layout) -> list[np.ndarray]:
    """The grid points whose shapes, each patient at its own level, miss the points least."""
    some = slice(0, SCREENED_PATIENTS)
    grid = model.starts()
    x = np.concatenate([np.zeros((len(grid), 1)), grid], axis=1)
    known, y = data.known[some], data.log_activity[some]
    with np.errstate(all="ignore"):
        shape = np.stack([np.log(model.activity_MBq(row, data.time_h[some], lp)) for row in x])
    gap = np.where(known, y - shape, 0.0)
    level = gap.sum(-1) / known.sum(-1)
    misfit = np.where(known, (gap - level[..., None]) ** 2, 0.0).sum((1, 2))
    best = np.argsort(np.where(np.isfinite(misfit), misfit, np.inf))[:POLISHED_STARTS]
    return [layout.start(np.append(level[k].mean(), grid[k]), START_SD, START_SIGMA) for k in best]


@dataclass(frozen=True)
class Selection:
    """All functions fitted to one cohort, with their Akaike weights, from the best to the worst."""

    fits: tuple[MixedFit, ...]
    weights: tuple[float, ...]

    @property
    def best(self) -> MixedFit:
        return self.fits[0]

    def tia(self, time_h, activity_MBq, sd_MBq=None) -> PatientTIA:
        """Integral of new patients averaged over functions, in logarithms, with the variance between functions.

        Raises:
            InputError: as `MixedFit.tia`.
        """
        each = [fit.tia(time_h, activity_MBq, sd_MBq) for fit in self.fits]
        weight = np.array(self.weights).reshape(-1, *[1] * np.ndim(each[0].log_sd))
        log_tia = np.log([e.tia_MBq_h for e in each])
        mean = (weight * log_tia).sum(0)
        variance = (weight * (np.array([e.log_sd for e in each]) ** 2 + (log_tia - mean) ** 2)).sum(0)
        share = (weight * np.array([e.prior_share for e in each])).sum(0)
        sd = np.exp(mean) * np.sqrt(np.expm1(variance) * np.exp(variance))
        return PatientTIA(np.exp(mean), sd, np.sqrt(variance), share, each[0].parameters)


def select_function(curves, *, nuclide: str, models: tuple[str, ...] = tuple(FAMILY), full=False) -> Selection:
    """Every function fitted to all patients, and how much the cohort supports each of them.

    Weights are exp(-D/2) of AICc differences with N all observations and K means, spreads and sigma. A function whose
    AICc is undefined, or whose fit did not settle, has weight 0 and stays in the list.

    Raises:
        InputError: as `fit_mixed`, or where no function can be compared.
        CalibrationError: no fit settled.
    """
    data = curves if isinstance(curves, Cohort) else padded(curves)
    _check_comparable(data, models)
    fits = [fit_mixed(name, data, nuclide=nuclide, full=full) for name in models]
    score = np.array([fit.aicc if fit.aicc is not None and fit.settled else np.inf for fit in fits])
    if not np.isfinite(score).any():
        raise CalibrationError(describe("curves", "no fit that settled", "one or more", "name simpler functions"))
    weight = np.exp(-0.5 * (score - score.min()))
    order = np.argsort(score, kind="stable")
    return Selection(tuple(fits[k] for k in order), tuple(float(weight[k] / weight.sum()) for k in order))


def _check_comparable(data: Cohort, models: tuple[str, ...]):
    """Refuses a cohort in which not even the smallest function, with its spreads and sigma, has an AICc."""
    least = min((2 * curve_model(name).size + 1 for name in models), default=0)
    if not models or data.observations - least - 1 < 1:
        do = "add patients or scans, or name functions with fewer parameters"
        found = f"{data.observations} observations of {len(data.known)} patients for {len(models)} functions"
        raise InputError(describe("curves", found, f"{least + 2} or more: fitted parameters plus two", do))
