"""The estimator of a virtual trial: a normal on the logs of dose per MBq, of all patients at once.

It stands for the twin's calibration of a PBPK model to scans, which takes seconds a patient and cycle. The unknowns of
a patient are ln(Gy per MBq) of each region in each cycle, a level plus a random walk, and each region's lasting error
of measurement; a measurement is linear in them, so conditioning is exact (Kalman) and the same gain serves all
patients. Level and its covariance come from a training cohort of other seeds, as do the walk's steps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from scipy.special import ndtri
from scipy.stats import qmc

from calibration.posterior import Z90
from twin.constraints import Limit
from twin.policies.cohort import Cohort, index
from twin.policies.measure import Noise

DRAWS = 1024
"""Points of a scrambled Sobol sequence that a belief is turned into: 51 of them lie beyond a tail of 5 %."""
SEED = 20_043


@dataclass(frozen=True)
class DosePrior:
    """What is known of a patient before anything is measured.

    `mean` [region] and `covariance` [region, region] of ln(Gy per MBq) in the first cycle, `drift_sd` [region] of each
    step after it. `weighted_ratio` [region] is weighted dose over dose; what the BED adds is dose^2 times a curvature
    (1/Gy), log-normal with `curvature_mean` and `curvature_sd` [region] of its log.
    """

    regions: tuple[str, ...]
    mean: np.ndarray
    covariance: np.ndarray
    drift_sd: np.ndarray
    weighted_ratio: np.ndarray
    curvature_mean: np.ndarray
    curvature_sd: np.ndarray


def dose_prior(training: Cohort) -> DosePrior:
    """From the first cycles of a cohort that no policy is tried on."""
    log, ratio = np.log(training.dose[:, 0]), training.weighted[:, 0] / training.dose[:, 0]
    curvature = np.log(training.quadratic[:, 0]) - 2 * log
    return DosePrior(
        regions=training.regions,
        mean=log.mean(axis=0),
        covariance=np.atleast_2d(np.cov(log, rowvar=False)),
        drift_sd=training.drift_sd,
        weighted_ratio=np.exp(np.log(ratio).mean(axis=0)),
        curvature_mean=curvature.mean(axis=0),
        curvature_sd=curvature.std(axis=0),
    )


@dataclass(frozen=True)
class DoseBelief:
    """`mean` [patient, entry] and `covariance` [entry, entry], which all patients share: entries are the regions' logs
    of Gy per MBq, cycle after cycle, and then the regions' lasting errors."""

    prior: DosePrior
    noise: Noise
    cycles: int
    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def of(cls, prior: DosePrior, noise: Noise, patients: int, cycles: int) -> DoseBelief:
        """Before anything was measured; `noise` is what the estimator takes the errors for."""
        count, step = len(prior.regions), np.arange(cycles)
        walk = np.kron(np.minimum.outer(step, step), np.diag(prior.drift_sd**2))
        doses = np.kron(np.ones((cycles, cycles)), prior.covariance) + walk
        full = np.zeros(((cycles + 1) * count,) * 2)
        full[:-count, :-count], full[-count:, -count:] = doses, np.diag(noise.lasting_sd**2)
        mean = np.concatenate([np.tile(prior.mean, cycles), np.zeros(count)])
        return cls(prior, noise, cycles, np.tile(mean, (patients, 1)), full)

    def seen(self, cycle: int, log_dose_per_MBq: np.ndarray) -> DoseBelief:
        """After the logs of a cycle's measured Gy per MBq, [patient, region]."""
        reads = np.zeros((self._count, len(self.covariance)))
        reads[:, self._at(cycle)] = reads[:, -self._count :] = np.eye(self._count)
        return self._conditioned(reads, log_dose_per_MBq, self.noise.fresh_sd)

    def foreseen(self, log_dose_per_MBq: np.ndarray) -> DoseBelief:
        """After a forecast of the first cycle's from a PET, whose error is its own, [patient, region]."""
        reads = np.zeros((self._count, len(self.covariance)))
        reads[:, self._at(0)] = np.eye(self._count)
        return self._conditioned(reads, log_dose_per_MBq, self.noise.before_sd)

    @property
    def _count(self) -> int:
        return len(self.prior.regions)

    def _at(self, cycle: int) -> slice:
        return slice(cycle * self._count, (cycle + 1) * self._count)

    def _conditioned(self, reads: np.ndarray, seen: np.ndarray, sd: np.ndarray) -> DoseBelief:
        to_seen = reads @ self.covariance
        # the pseudo-inverse serves beliefs and measurements without any doubt
        gain = to_seen.T @ np.linalg.pinv(to_seen @ reads.T + np.diag(sd**2), hermitian=True)
        mean = self.mean + (seen - self.mean @ reads.T) @ gain.T
        covariance = self.covariance - gain @ to_seen
        return replace(self, mean=mean, covariance=(covariance + covariance.T) / 2)

    def of_region(self, region: str) -> tuple[np.ndarray, np.ndarray]:
        """Mean [patient, cycle] and covariance [cycle, cycle] of a region's ln(Gy per MBq)."""
        at = index(self.prior.regions, region) + self._count * np.arange(self.cycles)
        return self.mean[:, at], self.covariance[np.ix_(at, at)]

    def interval90(self, region: str, cycle: int) -> tuple[np.ndarray, np.ndarray]:
        """Ends of the 90 % interval of a cycle's Gy per MBq, each [patient]."""
        mean, covariance = self.of_region(region)
        half = Z90 * np.sqrt(covariance[cycle, cycle])
        return np.exp(mean[:, cycle] - half), np.exp(mean[:, cycle] + half)

    def terms(self, limit: Limit, draws: int = DRAWS) -> tuple[np.ndarray, np.ndarray]:
        """Draws of what is linear and quadratic in activity (`Cohort.terms`), [patient, draw, cycle]; every patient
        has the same normal numbers."""
        k = index(self.prior.regions, limit.region)
        mean, covariance = self.of_region(limit.region)
        normal = sobol_normals(draws, self.cycles + 1)
        dose = np.exp(mean[:, None] + normal[:, 1:] @ _root(covariance).T)
        if limit.quantity == "dose_Gy":
            return dose, np.zeros_like(dose)
        curvature = np.exp(self.prior.curvature_mean[k] + self.prior.curvature_sd[k] * normal[:, 0])
        return self.prior.weighted_ratio[k] * dose, curvature[:, None] * dose**2


def _root(covariance: np.ndarray) -> np.ndarray:
    value, vector = np.linalg.eigh(covariance)
    return vector * np.sqrt(np.maximum(value, 0.0))


@cache
def sobol_normals(draws: int, width: int) -> np.ndarray:
    """Standard normal numbers [draw, width] of a scrambled Sobol sequence."""
    points = qmc.Sobol(width, rng=np.random.default_rng(SEED)).random_base2(int(np.ceil(np.log2(draws))))
    return ndtri(np.clip(points[:draws], 1e-12, 1 - 1e-12))
