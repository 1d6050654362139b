"""What an arm's policy is told of each cycle: the dose as estimated from scans, and a belief about the next ones.

`exact` knows the truth. `linear` estimates the log of a region's dose from its log activities at the scans, with the
weights of the best linear estimate (`twin.planning.scans` has the formula) over virtual patients of another seed.
Errors of a scan are those of calibration/data/noise.csv: own ones, and shared ones that stay with the patient.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from calibration import noise
from calibration.observations import Observations
from twin.constraints import limit
from twin.policies.belief import DoseBelief, DosePrior
from twin.policies.measure import Noise
from twin.trial.design import Imaging, Regimen
from twin.trial.people import SCANS
from twin.trial.physics import Truth
from twin.trial.reading import MOST_CYCLES, PerMBq, at_size

if TYPE_CHECKING:
    from twin.trial.cycle_belief import CycleBelief
    from twin.trial.unfolding import Scene

COUNTING = 0.03
MOST_SCANS = 8


class Estimate(NamedTuple):
    """Of one cycle, [patient, region]: the log of the estimated dose (-inf without activity), its stated sd, and the
    estimated over the true dose."""

    log_dose: np.ndarray
    log_sd: np.ndarray
    factor: np.ndarray


class Known(NamedTuple):
    """What an estimator carries from cycle to cycle."""

    scene: Scene
    belief: DoseBelief | CycleBelief


class AbstractEstimator(ABC):
    """Tells a policy what was measured; `after` is called once a cycle, in order."""

    @abstractmethod
    def start(self, scene: Scene) -> Known: ...

    @abstractmethod
    def after(
        self, known: Known, cycle: int, activity_MBq: np.ndarray, per: PerMBq, log_size: np.ndarray
    ) -> tuple[Known, Estimate]: ...


class Learned(NamedTuple):
    """Regression of a region's log dose per MBq on its log activities per MBq at the scans, [.., region]; `trend`
    [cycle, region] is how the mean log dose changes from the first cycle on, as tumours shrink."""

    weight: np.ndarray
    mean_seen: np.ndarray
    mean_dose: np.ndarray
    lasting_sd: np.ndarray
    fresh_sd: np.ndarray
    shared_root: np.ndarray
    own_sd: np.ndarray
    prior: DosePrior
    trend: np.ndarray

    def of(self, place: int) -> tuple[DosePrior, Noise]:
        """Prior and errors of one region alone, for a policy's belief."""
        p, one = self.prior, slice(place, place + 1)
        prior = DosePrior(
            p.regions[one], p.mean[one], p.covariance[one, one], p.drift_sd[one], p.weighted_ratio[one],
            p.curvature_mean[one], p.curvature_sd[one],
        )  # fmt: skip
        return prior, Noise(self.lasting_sd[one], self.fresh_sd[one], np.zeros(1))


@dataclass(frozen=True)
class Linear(AbstractEstimator):
    """The estimator `linear`; with `exact` the same belief without errors."""

    arm: Regimen
    learned: Learned
    exact: bool = False

    def start(self, scene: Scene) -> Known:
        prior, errors = self.learned.of(self._place(scene))
        if self.exact:
            errors = Noise(np.zeros(1), np.zeros(1), np.zeros(1))
        belief = DoseBelief.of(prior, errors, scene.group.count, MOST_CYCLES)
        trend = np.append(self.learned.trend[:, self._place(scene)], 0.0)  # the last entry is the lasting error
        return Known(scene, replace(belief, mean=belief.mean + trend))

    def after(
        self, known: Known, cycle: int, activity_MBq: np.ndarray, per: PerMBq, log_size: np.ndarray
    ) -> tuple[Known, Estimate]:
        true = np.log(per.dose)
        found = true if self.exact else self._estimated(known.scene, cycle, activity_MBq, per)
        k = self._place(known.scene)
        given = np.where(activity_MBq > 0, activity_MBq, np.nan)[:, None]
        sd = np.hypot(self.learned.lasting_sd, self.learned.fresh_sd) * (not self.exact)
        belief = known.belief.seen(cycle, found[:, k : k + 1])
        with np.errstate(invalid="ignore"):
            log = np.log(given) + found
        said = Estimate(log, np.where(np.isfinite(log), sd, np.nan), np.exp(found - true))
        return known._replace(belief=belief), said

    def _place(self, scene: Scene) -> int:
        return scene.truth.regions.index(limit(self.arm.limit).region)

    def _estimated(self, scene: Scene, cycle: int, activity_MBq: np.ndarray, per: PerMBq) -> np.ndarray:
        """Log dose per MBq as the scans show it, [patient, region]."""
        times = len(self.arm.imaging.times_h)
        truth, count = scene.truth, len(scene.truth.regions)
        at_first = at_size(truth, np.zeros_like(scene.group.class_mL), scene.group.class_mL).dose
        change = np.log(per.dose / at_first)  # drift, trend and size move the whole curve
        seen = np.log(scan_activity(truth, self.arm)) + change[..., None]
        z = scene.group.normals(SCANS + 10 * (cycle + 1), count, times)
        lasting = scene.group.normals(SCANS, count, MOST_SCANS)[..., :times]
        own = self._own_sd(seen, activity_MBq)
        seen = seen + np.einsum("rst,prt->prs", self.learned.shared_root, lasting) + own * z
        return self.learned.mean_dose + np.einsum("prs,rs->pr", seen - self.learned.mean_seen, self.learned.weight)

    def _own_sd(self, log_seen: np.ndarray, activity_MBq: np.ndarray) -> np.ndarray:
        """Sd of each scan's own error, the design's additive error included, [patient, region, scan]."""
        MBq = np.exp(log_seen) * np.maximum(activity_MBq, 1e-9)[:, None, None]
        added = np.log1p((self.arm.imaging.additive_MBq / MBq) ** 2)
        return np.sqrt(self.learned.own_sd**2 + np.minimum(added, 4.0))


def scan_activity(truth: Truth, arm: Regimen) -> np.ndarray:
    """Activity per MBq at the arm's scans, [patient, region, scan]."""
    at = [truth.times_h.index(t) for t in arm.imaging.times_h]
    return np.maximum(truth.activity[..., at], 1e-12)


def scan_errors(region: str, activity: np.ndarray, imaging: Imaging) -> tuple[np.ndarray, np.ndarray]:
    """Sd of each scan's own log error [scan], and covariance of the shared ones [scan, scan]."""
    n = len(activity)
    obs = Observations(
        (region,) * n, np.array(imaging.times_h), activity, COUNTING * activity, np.full(n, np.nan), ("SPECT",) * n,
        (1,) * n,
    )  # fmt: skip
    own = np.sqrt(noise.log_sd(obs) ** 2 + np.log1p(imaging.proportional**2))
    return own, noise.shared_errors(obs).covariance
