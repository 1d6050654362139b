"""One scan and the kinetic model: the posterior of the integral, from draws of the population that are weighted.

With a single scan the posterior is the prior times one likelihood, so draws from the prior serve every patient and
every hour: weight_i ~ N(ln y; ln A_i(t), s^2). Exact up to sampling error; too few effective draws are said. What one
scan cannot tell (how long the activity stays) is left as wide as the population, and skewed as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from calibration import lanes
from calibration.forward import Course, experiment, pool_weights
from calibration.observations import Observations
from calibration.parameters import Prior
from calibration.stp_scan import Scan, TIAEstimate
from dose.errors import InputError, describe

DRAWS = 20_000
PATIENTS_AT_ONCE = 100
LEAST_EFFECTIVE = 50.0
"""Effective draws below which quantiles of one patient are rough, which the notes then say."""
NARROW = 0.2
"""The scan's sd is made this much smaller to see what doubt would stay without its noise."""


@dataclass(frozen=True, eq=False)
class PBPKPosterior:
    """Population draws of a region after one administration: `log_activity` [time, draw] of MBq, `log_tia` [draw].

    `point` is which number stands for the posterior: its "median", or the one of "least error", E[1/T]/E[1/T^2], whose
    expected squared relative error is least (of a log-normal: the median times exp(-variance)). Intervals do not depend
    on it.
    """

    time_h: np.ndarray
    log_activity: np.ndarray
    log_tia: np.ndarray
    region: str
    point: str = "least error"
    name: str = "PBPK posterior"

    @classmethod
    def learn(cls, course: Course, prior: Prior, region: str, time_h, *, draws: int = DRAWS, seed: int = 0):
        """Solve the population once, for scans at the hours `time_h` [time] after the administration of cycle 1.

        Raises:
            InputError: the model has no such region.
        """
        if pool_weights(region, course.kinetics.organs, frozenset()) is None:
            raise InputError(describe("region", f'"{region}"', "a region of the model", "see dose.known_regions()"))
        time_h = np.unique(np.asarray(time_h, float))
        n, one = len(time_h), np.ones(len(time_h))
        seen = Observations((region,) * n, time_h, one, 0.1 * one, one, ("SPECT",) * n, (1,) * n)
        rng = np.random.default_rng(seed)
        zero = np.zeros(len(prior.names))
        offsets = rng.multivariate_normal(zero, prior.covariance, size=draws, method="eigh").T
        exp = experiment((course,), seen, prior.names, offsets[:, : lanes.CHUNK], to_the_end=True)
        shown = lanes.evaluate(exp, offsets)
        weights = pool_weights(region, course.kinetics.organs, frozenset())
        log_activity = np.asarray(shown.log_activity)[:n]
        return cls(time_h, log_activity, np.log(weights @ np.asarray(shown.tia_MBq_h)[:, 0]), region)

    def tia(self, scan: Scan) -> TIAEstimate:
        """Integral of each patient of the scan: `point` and 90 % interval of the posterior.

        Raises:
            InputError: another region, or an hour that was not solved.
        """
        expected = self._log_activity(scan)
        observed = np.atleast_1d(np.log(scan.activity))
        parts = [
            self._quantiles(expected, observed[k : k + PATIENTS_AT_ONCE], scan.noise_log_sd)
            for k in range(0, len(observed), PATIENTS_AT_ONCE)
        ]
        shape = scan.activity.shape
        low, median, high, least, share, effective = (
            np.concatenate(x).reshape(shape) for x in zip(*parts, strict=True)
        )
        middle = least if self.point == "least error" else median
        few = int(np.sum(effective < LEAST_EFFECTIVE))
        text = f"{few} of {np.size(effective)} scans lie far outside the population: their quantiles are rough"
        return TIAEstimate(self.name, middle, low, high, share, (text,) if few else ())

    def _log_activity(self, scan: Scan) -> np.ndarray:
        if scan.region not in ("", self.region):
            do = f"learn the method for {scan.region}"
            raise InputError(describe("scan.region", f'"{scan.region}"', f'"{self.region}"', do))
        at = np.flatnonzero(np.isclose(self.time_h, scan.time_h))
        if not len(at):
            expected = f"one of {', '.join(f'{t:g}' for t in self.time_h)} h"
            raise InputError(describe("scan.time_h", f"{scan.time_h:g} h", expected, "learn the method for that hour"))
        return self.log_activity[at[0]]

    def _quantiles(self, expected, observed, sd: float):
        """5, 50, 95 % of the integral, its point of least error, prior share, effective draws, each [patient]."""
        order = np.argsort(self.log_tia)
        sorted_tia = self.log_tia[order]
        weight = _weights(expected[order], observed, sd)
        below = np.cumsum(weight, axis=1) - weight / 2
        quantiles = [np.exp([np.interp(q, b, sorted_tia) for b in below]) for q in (0.05, 0.5, 0.95)]
        spread = _variance(sorted_tia, weight)
        without = _variance(sorted_tia, _weights(expected[order], observed, NARROW * sd))
        share = np.divide(without, spread, out=np.ones_like(spread), where=spread > 0)
        return (*quantiles, _least_error(sorted_tia, weight), np.clip(share, 0.0, 1.0), 1 / np.sum(weight**2, axis=1))


def _weights(expected, observed, sd: float) -> np.ndarray:
    """Weights [patient, draw] that sum to one."""
    log_weight = -0.5 * ((observed[:, None] - expected[None]) / sd) ** 2
    return np.exp(log_weight - np.asarray(logsumexp(log_weight, axis=1))[:, None])


def _least_error(log_tia, weight) -> np.ndarray:
    first, second = weight @ np.exp(-log_tia), weight @ np.exp(-2 * log_tia)
    return first / second


def _variance(values, weight) -> np.ndarray:
    mean = weight @ values
    return weight @ values**2 - mean**2
