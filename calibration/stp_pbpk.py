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

    `features` [feature, draw] are logs of what may be known beside the scan, in the order of `Scan.biomarkers` (which
    are logs then), with `feature_sd` [feature]: here the region's uptake in a PET before therapy, and filtration over
    its typical value. `point` is which number stands for the posterior: its "median", or the one of "least error",
    E[1/T]/E[1/T^2], whose expected squared relative error is least (of a log-normal: the median times exp(-variance)).
    Intervals do not depend on it.
    """

    time_h: np.ndarray
    log_activity: np.ndarray
    log_tia: np.ndarray
    region: str
    features: np.ndarray
    feature_sd: np.ndarray
    point: str = "least error"
    name: str = "PBPK posterior"

    @classmethod
    def learn(
        cls,
        courses: tuple[Course, ...],
        prior: Prior,
        region: str,
        time_h,
        *,
        pet_h: float | None = None,
        feature_sd: float = 0.10,
        draws: int = DRAWS,
        seed: int = 0,
    ):
        """Solve the population once, for scans at the hours `time_h` [time] after the administration of cycle 1.

        `courses` are the therapy and, with `pet_h` (hours after its injection), a PET as cycle 0.

        Raises:
            InputError: the model has no such region.
        """
        weights = pool_weights(region, courses[0].kinetics.organs, frozenset())
        if weights is None:
            raise InputError(describe("region", f'"{region}"', "a region of the model", "see dose.known_regions()"))
        time_h = np.unique(np.asarray(time_h, float))
        seen = _asked(region, time_h, pet_h)
        rng, zero = np.random.default_rng(seed), np.zeros(len(prior.names))
        offsets = rng.multivariate_normal(zero, prior.covariance, size=draws, method="eigh").T
        used = courses if pet_h is not None else courses[:1]
        exp = experiment(used, seen, prior.names, offsets[:, : lanes.CHUNK], to_the_end=True)
        shown = lanes.evaluate(exp, offsets)
        logs = np.asarray(shown.log_activity)
        filtration = offsets[[prior.names.index("filtration")]]
        features = np.concatenate([logs[len(time_h) : len(seen)], filtration]) if pet_h is not None else filtration[:0]
        log_tia = np.log(weights @ np.asarray(shown.tia_MBq_h)[:, 0])
        return cls(time_h, logs[: len(time_h)], log_tia, region, features, np.full(len(features), feature_sd))

    def tia(self, scan: Scan) -> TIAEstimate:
        """Integral of each patient of the scan: `point` and 90 % interval of the posterior.

        Raises:
            InputError: another region, or an hour that was not solved.
        """
        expected = np.concatenate([self._log_activity(scan)[None], self.features])
        observed = np.concatenate([np.atleast_1d(np.log(scan.activity))[:, None], self._markers(scan)], axis=1)
        sd = np.append(scan.noise_log_sd, self.feature_sd)
        parts = [
            self._quantiles(expected, observed[k : k + PATIENTS_AT_ONCE], sd)
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

    def _markers(self, scan: Scan) -> np.ndarray:
        """Logs of what is known beside the scan, [patient, feature]."""
        found = np.zeros((1, 0)) if scan.biomarkers is None else np.atleast_2d(scan.biomarkers)
        wanted = len(self.features)
        if not wanted:
            return np.zeros((max(np.size(scan.activity), 1), 0))
        if found.shape[1] != wanted:
            do = "give the log of the region's PET uptake in MBq and of filtration over its typical value"
            raise InputError(describe("scan.biomarkers", f"{found.shape[1]} features", f"{wanted}", do))
        return np.broadcast_to(found, (np.size(scan.activity), wanted))

    def _log_activity(self, scan: Scan) -> np.ndarray:
        if scan.region not in ("", self.region):
            do = f"learn the method for {scan.region}"
            raise InputError(describe("scan.region", f'"{scan.region}"', f'"{self.region}"', do))
        at = np.flatnonzero(np.isclose(self.time_h, scan.time_h))
        if not len(at):
            expected = f"one of {', '.join(f'{t:g}' for t in self.time_h)} h"
            raise InputError(describe("scan.time_h", f"{scan.time_h:g} h", expected, "learn the method for that hour"))
        return self.log_activity[at[0]]

    def _quantiles(self, expected, observed, sd):
        """5, 50, 95 % of the integral, its point of least error, prior share, effective draws, each [patient]."""
        order = np.argsort(self.log_tia)
        sorted_tia, expected = self.log_tia[order], expected[:, order]
        weight = _weights(expected, observed, sd)
        below = np.cumsum(weight, axis=1) - weight / 2
        quantiles = [np.exp([np.interp(q, b, sorted_tia) for b in below]) for q in (0.05, 0.5, 0.95)]
        spread = _variance(sorted_tia, weight)
        without = _variance(sorted_tia, _weights(expected, observed, np.append(NARROW * sd[0], sd[1:])))
        share = np.divide(without, spread, out=np.ones_like(spread), where=spread > 0)
        return (*quantiles, _least_error(sorted_tia, weight), np.clip(share, 0.0, 1.0), 1 / np.sum(weight**2, axis=1))


def _asked(region: str, time_h, pet_h: float | None) -> Observations:
    """Observations at the hours of cycle 1 and, if asked, one of cycle 0, whose values are not used."""
    hours = [*time_h] if pet_h is None else [*time_h, pet_h]
    cycles = (1,) * len(time_h) + (0,) * (len(hours) - len(time_h))
    n, one = len(hours), np.ones(len(hours))
    return Observations((region,) * n, hours, one, 0.1 * one, one, ("SPECT",) * n, cycles)


def _weights(expected, observed, sd) -> np.ndarray:
    """Weights [patient, draw] that sum to one, from logs [feature, draw] and [patient, feature] of sds [feature]."""
    log_weight = np.zeros((len(observed), expected.shape[1]))
    for k, s in enumerate(sd):
        log_weight -= 0.5 * ((observed[:, [k]] - expected[k]) / s) ** 2
    return np.exp(log_weight - np.asarray(logsumexp(log_weight, axis=1))[:, None])


def _least_error(log_tia, weight) -> np.ndarray:
    first, second = weight @ np.exp(-log_tia), weight @ np.exp(-2 * log_tia)
    return first / second


def _variance(values, weight) -> np.ndarray:
    mean = weight @ values
    return weight @ values**2 - mean**2
