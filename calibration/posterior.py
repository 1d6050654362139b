"""The posterior of the moved parameters and of the errors their observations share: draws, and what the data taught."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from calibration.belief import Belief

if TYPE_CHECKING:
    from calibration.parameters import Prior

Z90 = 1.6448536269514722
"""Normal quantile that leaves 5% on each side."""


@dataclass(frozen=True)
class Posterior:
    """Posterior in log space.

    `names` like "receptor_density/kidney_right"; `unit` per name; `prior_median` (physical value), `prior_log_sd`,
    `map_log` (centre: offset of the log from the prior median), all of shape [parameter]; `covariance`
    [parameter, parameter] of the log offsets; `draws` [draw, parameter] of the log offsets. `chi2` sums the squared
    whitened residuals of the `observations_used` log activities at the optimum.

    `error_names` are errors that observations share (calibration, recovery, volume): `error_mean` [error],
    `error_draws` [draw, error], and `error_covariance` [error, parameter + error] with the parameters and each other.
    `method` is "prior", "laplace", "importance" or "nuts"; `diagnostics` what that method says of itself.
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
    error_names: tuple[str, ...] = ()
    error_mean: np.ndarray = field(default_factory=lambda: np.zeros(0))
    error_covariance: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    error_draws: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    method: str = "laplace"
    diagnostics: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, prior: Prior, after: Belief, draws: np.ndarray, **rest) -> Posterior:
        """Of what is believed `after` of the parameters of `prior` and shared errors, and `draws` [draw, both]."""
        p = after.parameters
        return cls(
            names=prior.names,
            unit=prior.unit,
            prior_median=prior.median,
            prior_log_sd=prior.log_sd,
            map_log=after.mean[:p],
            covariance=after.covariance[:p, :p],
            draws=draws[:, :p],
            error_names=after.errors,
            error_mean=after.mean[p:],
            error_covariance=after.covariance[p:],
            error_draws=draws[:, p:],
            **rest,
        )

    @property
    def belief(self) -> Belief:
        """The normal of parameters and shared errors together: the next calibration's prior."""
        p, e = len(self.names), len(self.error_names)
        full = np.zeros((p + e, p + e))
        full[:p, :p] = self.covariance
        if e:
            full[p:], full[:p, p:] = self.error_covariance, self.error_covariance[:, :p].T
        return Belief((*self.names, *self.error_names), p, np.concatenate([self.map_log, self.error_mean]), full)

    def given_errors(self) -> tuple[np.ndarray, np.ndarray]:
        """(how the parameters' mean follows the shared errors [parameter, error], their covariance given these)."""
        p = len(self.names)
        if not self.error_names:
            return np.zeros((p, 0)), self.covariance
        cross, own = self.error_covariance[:, :p], self.error_covariance[:, p:]
        follow = np.linalg.solve(own, cross).T
        return follow, self.covariance - follow @ cross

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

    def error(self, name: str) -> np.ndarray | None:
        """Draws [draw] of a shared error, or None where no observation shares it."""
        return self.error_draws[:, self.error_names.index(name)] if name in self.error_names else None
