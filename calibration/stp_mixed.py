"""Mixed-effects methods: a population of curves, and the most probable curve of a patient with one scan.

The fit is `curve_population.fit_mixed`. Here it becomes a single-time-point method: its errors are read off the
cohort's own patients, each seen by one noisy scan, as Laplace's sd knows neither skewness nor the function's misfit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calibration.curve_cohort import Cohort, cohort
from calibration.curve_models import FAMILY
from calibration.curve_population import MixedFit, fit_mixed, select_function
from calibration.stp_cohort import CurveCohort, check_within
from calibration.stp_method import AbstractMethod, noise_steps
from calibration.stp_scan import Scan, limit


@dataclass(frozen=True, eq=False)
class Devasia2021(AbstractMethod):
    """Bi-exponential mixed effects: the integral of the patient's most probable curve, given the scan.

    Devasia et al., J Nucl Med 2021;62:1118: of 500 virtual kidney integrals 6 % were off by more than 10 %, against
    20 % by Hänscheid 2018 and 17 % by Madsen. Ours: parameters are log-normal, and those of a patient correlate where
    the cohort has ten patients for each of them; curves before `mixed_from_h` of the table are left out, since two
    clearances know no uptake. Interval: errors on the cohort's patients, who also taught the population's parameters,
    so in a cohort of n it is too narrow by some 1/n.
    """

    population: CurveCohort
    fit: MixedFit
    name = "Devasia 2021"

    @classmethod
    def learn(cls, known: CurveCohort) -> Devasia2021:
        return cls(known, fit_mixed("bi", _curves(known, late=True), nuclide=known.nuclide, full=_full(known, "bi")))

    def tia_MBq_h(self, scan: Scan) -> np.ndarray:
        return _one_scan(self.fit, self.population, scan)

    def errors(self, scan: Scan) -> np.ndarray:
        return _errors(self.fit, self.population, scan)

    def notes(self, scan: Scan) -> tuple[str, ...]:
        return _notes(self.fit, scan)


@dataclass(frozen=True, eq=False)
class Hardiansyah2023(AbstractMethod):
    """As Devasia's, with the function of `curve_models.FAMILY` that the cohort supports best (Akaike weight).

    Hardiansyah et al., EJNMMI Phys 2023;10:12: eleven functions, 8 patients. Only f4d of theirs is known to us.
    `weights` are the Akaike weights by function, from the best to the worst.
    """

    population: CurveCohort
    fit: MixedFit
    weights: tuple[tuple[str, float], ...]
    name = "Hardiansyah 2023"

    @classmethod
    def learn(cls, known: CurveCohort, models: tuple[str, ...] = tuple(FAMILY)) -> Hardiansyah2023:
        found = select_function(_curves(known), nuclide=known.nuclide, models=models, full=_full(known, "tri_uptake"))
        weights = tuple((fit.model, weight) for fit, weight in zip(found.fits, found.weights))
        return cls(known, found.best, weights)

    def tia_MBq_h(self, scan: Scan) -> np.ndarray:
        return _one_scan(self.fit, self.population, scan)

    def errors(self, scan: Scan) -> np.ndarray:
        return _errors(self.fit, self.population, scan)

    def notes(self, scan: Scan) -> tuple[str, ...]:
        return (f"function: {self.fit.model}", *_notes(self.fit, scan))


def _curves(known: CurveCohort, late: bool = False) -> Cohort:
    keep = known.time_h >= (limit("mixed_from_h") if late else 0.0)
    return cohort(known.time_h[keep], known.activity_MBq[:, keep])


def _full(known: CurveCohort, model: str) -> bool:
    return len(known) >= limit("patients_per_parameter") * FAMILY[model].size


def _at_hour(fit: MixedFit, activity, time_h: float, log_sd: float) -> np.ndarray:
    """Most probable integrals of patients with one scan each, in the shape of `activity`."""
    column = np.reshape(activity, (-1, 1))
    found = fit.tia(np.full_like(column, time_h), column, column * np.sqrt(np.expm1(log_sd**2)))
    return np.reshape(found.tia_MBq_h, np.shape(activity))


def _one_scan(fit: MixedFit, known: CurveCohort, scan: Scan) -> np.ndarray:
    check_within(scan.time_h, known.time_h)
    return _at_hour(fit, scan.activity, scan.time_h, scan.noise_log_sd)


def _errors(fit: MixedFit, known: CurveCohort, scan: Scan) -> np.ndarray:
    """Errors [case, noise]: here the estimate is not proportional to the activity, so each noise is fitted."""
    seen = known.activity_at(scan.time_h)[:, None] * np.exp(noise_steps(scan.noise_log_sd))
    return np.log(known.tia_MBq_h[:, None] / _at_hour(fit, seen, scan.time_h, scan.noise_log_sd))


def _notes(fit: MixedFit, scan: Scan) -> tuple[str, ...]:
    if fit.settled:
        return ()
    return (f"the population's fit of {fit.model} did not settle: its spread is not the most likely one",)
