"""What an arm's policy is told of each cycle: the dose as estimated from scans, and a belief about the next ones.

`exact` knows the truth. `linear` estimates the log of a region's dose from the logs of its activity per contoured mass
at the scans: of all weighted sums without bias the one of least variance, over virtual patients of another seed
(`twin.trial.training`). Errors of scans: `twin.trial.scan_noise`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from twin.constraints import limit
from twin.policies.belief import DoseBelief, DosePrior
from twin.policies.measure import Noise
from twin.trial.counted import counted
from twin.trial.design import Regimen
from twin.trial.physics import Truth
from twin.trial.reading import MOST_CYCLES, PerMBq, at_size
from twin.trial.scan_noise import REGIONS, own_normals, shared_normals, with_additive

if TYPE_CHECKING:
    from twin.trial.cycle_belief import CycleBelief
    from twin.trial.unfolding import Scene


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
    """The estimate of a region's log dose per MBq: mean_dose + weight . (log activity per MBq and g - mean_seen),
    [region] and [region, scan]; sds of its error that stays with the patient and of that of each cycle.

    `loads` [region, error] are those of the shared errors of scans, `own_sd` [region, scan] of their own ones; `trend`
    [cycle, region] is how the mean log dose changes from the first cycle on.
    """

    weight: np.ndarray
    mean_seen: np.ndarray
    mean_dose: np.ndarray
    lasting_sd: np.ndarray
    fresh_sd: np.ndarray
    loads: np.ndarray
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
        imaging, known, regions = self.arm.imaging, self.learned, scene.truth.regions
        at_first = at_size(scene.truth, np.zeros_like(scene.group.class_mL), scene.group.class_mL).dose
        change = np.log(per.dose / at_first)  # drift, trend and size move the whole curve
        activity = scan_activity(scene.truth, self.arm) * np.exp(change)[..., None]
        given = activity * activity_MBq[:, None, None]
        scan = counted(
            self.arm, scene.truth, scene.group, given, scan_rest(scene.truth, self.arm) * activity_MBq[:, None]
        )
        own = np.hypot(with_additive(known.own_sd, given, imaging), scan.sd)
        rows = [REGIONS.index(r) for r in regions]
        z = own_normals(scene.group, cycle, len(imaging.times_h))[:, rows]
        lasting = shared_normals(scene.group) @ known.loads.T
        seen = np.log(activity / scene.truth.mass_g[..., None]) + scan.shift + lasting[..., None] + own * z
        return known.mean_dose + np.einsum("prs,rs->pr", seen - known.mean_seen, known.weight)


def scan_activity(truth: Truth, arm: Regimen) -> np.ndarray:
    """Activity per MBq at the arm's scans, tumours of their first size, [patient, region, scan]."""
    at = [truth.times_h.index(t) for t in arm.imaging.times_h]
    return np.maximum(truth.activity[..., at], 1e-12)


def scan_rest(truth: Truth, arm: Regimen) -> np.ndarray:
    """Activity per MBq of the rest of the body at the arm's scans, [patient, scan]."""
    return truth.rest[:, [truth.times_h.index(t) for t in arm.imaging.times_h]]
