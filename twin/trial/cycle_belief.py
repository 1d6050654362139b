"""What a policy believes of one region's dose in each cycle, where every cycle has been estimated by itself.

Of cycles seen: the estimate, with an error that all cycles share (camera, recovery, contour) and one of its own. Of
cycles to come: the last one seen, moved by the trend and by steps of drift; before any, the population.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from twin.constraints import Limit
from twin.policies.belief import DRAWS, DosePrior, sobol_normals
from twin.trial.estimators import Learned
from twin.trial.reading import MOST_CYCLES


@dataclass(frozen=True)
class CycleBelief:
    """`mean` and `sd` [patient, cycle] of ln(Gy per MBq) of cycles seen (NaN: not seen or nothing given); `trend`
    [cycle]; `common_sd` of the error that all share."""

    prior: DosePrior
    trend: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    common_sd: float = 0.0

    @classmethod
    def before(cls, learned: Learned, place: int, patients: int) -> CycleBelief:
        none = np.full((patients, MOST_CYCLES), np.nan)
        return cls(learned.of(place)[0], learned.trend[:, place], none, none)

    def seen(self, cycle: int, log_dose: np.ndarray, sd: np.ndarray, given: np.ndarray, common: float) -> CycleBelief:
        """After a cycle's estimate, [patient]; `given` says who got any activity."""
        mean, spread = self.mean.copy(), self.sd.copy()
        mean[:, cycle], spread[:, cycle] = np.where(given, log_dose, np.nan), np.where(given, sd, np.nan)
        return replace(self, mean=mean, sd=spread, common_sd=common)

    def terms(self, limit: Limit, draws: int = DRAWS) -> tuple[np.ndarray, np.ndarray]:
        """Draws of what is linear and quadratic in activity, [patient, draw, cycle]; as `DoseBelief.terms`."""
        normal = sobol_normals(draws, MOST_CYCLES + 3)
        dose = np.exp(self._log_doses(normal[:, 1], normal[:, 2], normal[:, 3:]))
        if limit.quantity == "dose_Gy":
            return dose, np.zeros_like(dose)
        curvature = np.exp(self.prior.curvature_mean[0] + self.prior.curvature_sd[0] * normal[:, 0])
        return self.prior.weighted_ratio[0] * dose, curvature[:, None] * dose**2

    def _log_doses(self, common: np.ndarray, level: np.ndarray, own: np.ndarray) -> np.ndarray:
        """[patient, draw, cycle] of standard normals [draw], [draw] and [draw, cycle]."""
        start = self.prior.mean[0] + np.sqrt(self.prior.covariance[0, 0]) * level
        now, out = np.broadcast_to(start, (len(self.mean), len(level))), []
        for c in range(MOST_CYCLES):
            step = self.trend[c] - self.trend[c - 1] if c else 0.0
            moved = now + step + (self.prior.drift_sd[0] * own[:, c] if c else 0.0)
            alone = np.sqrt(np.maximum(self.sd[:, c] ** 2 - self.common_sd**2, 0.0))
            found = self.mean[:, c : c + 1] + self.common_sd * common + alone[:, None] * own[:, c]
            now = np.where(np.isfinite(found), found, moved)
            out.append(now)
        return np.stack(out, axis=2)
