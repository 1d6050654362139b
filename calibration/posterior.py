"""The posterior of the moved parameters: draws, and what the data did to the prior."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Z90 = 1.6448536269514722
"""Normal quantile that leaves 5% on each side."""


@dataclass(frozen=True)
class Posterior:
    """Laplace posterior in log space.

    `names` like "receptor_density/kidney_right"; `unit` per name; `prior_median` (physical value), `prior_log_sd`,
    `map_log` (offset of the log from the prior median), all of shape [parameter]; `covariance` [parameter, parameter]
    of the log offsets; `draws` [draw, parameter] of the log offsets. `chi2` sums the
    squared residuals of the `observations_used` log activities at the optimum.
    """

    names: tuple[str, ...]
    unit: tuple[str, ...]
    prior_median: np.ndarray
    prior_log_sd: np.ndarray
    map_log: np.ndarray
    covariance: np.ndarray
    draws: np.ndarray
    chi2: float
    observations_used: int
    warnings: tuple[str, ...] = ()

    @property
    def contraction(self) -> np.ndarray:
        """1 - posterior variance / prior variance, shape [parameter]: 0 learnt nothing, 1 is known exactly."""
        return 1 - np.diag(self.covariance) / self.prior_log_sd**2

    @property
    def median(self) -> np.ndarray:
        return self.prior_median * np.exp(self.map_log)

    def interval90(self) -> tuple[np.ndarray, np.ndarray]:
        sd = np.sqrt(np.diag(self.covariance))
        return self.median * np.exp(-Z90 * sd), self.median * np.exp(Z90 * sd)
