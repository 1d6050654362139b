"""Methods that read the factor off a cohort's curves: Jackson's mean curve, Wang's smooth function of time.

Both papers are known to us from abstracts and reviews; what is ours is said in each class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calibration.stp_cohort import CurveCohort, check_size, check_within
from calibration.stp_method import AbstractMethod, features, with_noise
from calibration.stp_scan import Scan
from dose.errors import InputError, describe

KNOTS = 6
"""B-splines over ln t: hours of a dosimetry cohort are rarely more than eight."""
PENALTIES = tuple(10.0 ** np.arange(-5.0, 3.01))
"""Weights of the roughness that leaving out patients chooses from."""


@dataclass(frozen=True, eq=False)
class Jackson2020(AbstractMethod):
    """TIA = A(t)/a(t), a the mean of the cohort's curves, each normalised to an integral of one.

    Jackson et al., J Nucl Med 2020;61:1030 (177Lu-PSMA-617): dose per activity concentration by hour and tissue, from
    normalised curves of a cohort. Ours, as the paper was not read: that the mean is one of curves and not of factors
    TIA/A (few slow or fast patients would carry that one far from the peak), and monotone cubics between hours.
    """

    population: CurveCohort
    name = "Jackson 2020"

    @classmethod
    def learn(cls, cohort: CurveCohort) -> Jackson2020:
        return cls(cohort)

    def tia_MBq_h(self, scan: Scan) -> np.ndarray:
        return scan.activity / np.mean(1 / self.population.factors_h(scan.time_h))

    def errors(self, scan: Scan) -> np.ndarray:
        curves_per_h = 1 / self.population.factors_h(scan.time_h)
        others = (curves_per_h.sum() - curves_per_h) / (len(curves_per_h) - 1)
        return with_noise(np.log(others / curves_per_h), scan.noise_log_sd)


@dataclass(frozen=True, eq=False)
class Wang2023(AbstractMethod):
    """TIA = A(t) g(t), ln g a penalised spline of ln t; with biomarkers, each shifts ln g by a parabola in ln t.

    Wang et al., J Nucl Med 2023;64:1463: a generalised additive model, model 2 with biomarkers. Ours: the cubic basis
    with its penalty on second differences, chosen by leaving out patients; and that the effect of a biomarker may
    change with time, as that of a clearance must: it changes sign at t = 1/k.

    Attributes:
        coefficients: [column] of `_design`.
        left_out: the coefficients without each patient, [patient, column].
        centre, scale: of the biomarkers, [feature]; empty in model 1.
    """

    population: CurveCohort
    coefficients: np.ndarray
    left_out: np.ndarray
    centre: np.ndarray
    scale: np.ndarray

    @property
    def name(self) -> str:
        return "Wang 2023, model 2" if len(self.centre) else "Wang 2023, model 1"

    @classmethod
    def learn(cls, cohort: CurveCohort, biomarkers: bool = False) -> Wang2023:
        """Raises an InputError where biomarkers are asked for and the cohort is small or has none."""
        marked = np.zeros((len(cohort), 0))
        if biomarkers:
            check_size(cohort, "smallest_learner_cohort")
            marked = cohort_features(cohort)
        centre, scale = marked.mean(0), marked.std(0)
        design = _design(cohort.time_h, cohort.time_h, (marked - centre) / scale)
        target = np.log(cohort.tia_MBq_h[:, None] / cohort.activity_MBq)
        fits = [_fit(design, target, weight) for weight in PENALTIES]
        _, coefficients, left_out = min(fits, key=lambda fit: fit[0])
        return cls(cohort, coefficients, left_out, centre, scale)

    def _rows(self, time_h: float, marked: np.ndarray) -> np.ndarray:
        check_within(time_h, self.population.time_h)
        return _design(np.array([time_h]), self.population.time_h, (marked - self.centre) / self.scale)[:, 0]

    def tia_MBq_h(self, scan: Scan) -> np.ndarray:
        count = len(self.centre)
        marked = np.atleast_2d(features(scan, count)) if count else np.zeros((1, 0))
        factor = np.exp(self._rows(scan.time_h, marked) @ self.coefficients)
        return scan.activity * (factor if scan.activity.ndim else factor[0])

    def errors(self, scan: Scan) -> np.ndarray:
        marked = self.population.biomarkers if len(self.centre) else np.zeros((len(self.population), 0))
        predicted = np.sum(self._rows(scan.time_h, marked) * self.left_out, axis=1)
        return with_noise(np.log(self.population.factors_h(scan.time_h)) - predicted, scan.noise_log_sd)


def cohort_features(cohort: CurveCohort) -> np.ndarray:
    """The cohort's biomarkers that differ between patients, [patient, feature].

    Raises:
        InputError: none, or one that is the same in all patients.
    """
    marked = cohort.biomarkers
    if marked is None or marked.shape[1] == 0 or (marked.std(0) == 0).any():
        found = "none" if marked is None or marked.shape[1] == 0 else "one that is the same in all patients"
        do = "give [patient, feature] numbers known before the scan, or use a method without them"
        raise InputError(describe("biomarkers of the cohort", found, "features that differ", do))
    return marked


def _basis(time_h, cohort_h) -> np.ndarray:
    """Cubic B-splines of ln t on equal steps over the cohort's hours, [time, spline]."""
    from scipy.interpolate import BSpline

    low, high = np.log(cohort_h[0]), np.log(cohort_h[-1])
    inner = np.linspace(low, high, KNOTS - 2)
    knots = np.concatenate([np.full(3, low), inner, np.full(3, high)])
    return BSpline.design_matrix(np.clip(np.log(time_h), low, high), knots, 3).toarray()


def _design(time_h, cohort_h, marked) -> np.ndarray:
    """Splines, then each standardised biomarker times 1, u and u^2 (u: ln t from -1 to 1), [patient, time, column]."""
    low, high = np.log(cohort_h[0]), np.log(cohort_h[-1])
    u = 2 * (np.log(time_h) - low) / (high - low) - 1
    powers = np.stack([np.ones_like(u), u, u**2], axis=1)
    of_markers = (marked[:, None, :, None] * powers[:, None, :]).reshape(len(marked), len(u), -1)
    splines = np.broadcast_to(_basis(time_h, cohort_h), (len(marked), len(u), KNOTS))
    return np.concatenate([splines, of_markers], axis=2)


def _fit(design, target, weight: float):
    """Penalised least squares, and what leaving out each patient makes of it: score, coefficients, those left out.

    For a linear smoother the residuals of a patient who is left out are (I - H_ii)^-1 r_i, exactly.
    """
    patients, _, columns = design.shape
    rough = np.zeros((columns, columns))
    second = np.diff(np.eye(KNOTS), n=2, axis=0)
    rough[:KNOTS, :KNOTS] = second.T @ second
    rough[KNOTS:, KNOTS:] = np.eye(columns - KNOTS)
    gram = np.einsum("itp,itq->pq", design, design) + weight * patients * rough + 1e-9 * np.eye(columns)
    inverse = np.linalg.inv(gram)
    coefficients = inverse @ np.einsum("itp,it->p", design, target)
    residual = target - design @ coefficients
    hat = np.einsum("itp,pq,isq->its", design, inverse, design)
    alone = np.linalg.solve(np.eye(hat.shape[1]) - hat, residual[..., None])[..., 0]
    left_out = coefficients - np.einsum("pq,itq,it->ip", inverse, design, alone)
    return float(np.mean(alone**2)), coefficients, left_out
