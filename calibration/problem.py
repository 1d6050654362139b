"""One calibration as a sum of squares: residuals of the log activities over their own sd, and whitened offsets.

With theta = m + L z, m and L L' the prior of the fitted parameters where all shared errors are zero,

    loss(z) = 1/2 sum_j ((ln A_j(theta) - ln y_j)/s_j)^2 + 1/2 sum_k z_k^2

Shared errors eta (calibration, recovery, volume) are not learnt from the kinetics: were they, a patient whose liver
takes up a fifth of the usual would be held to prove the camera wrong. The posterior is cut there (Plummer, Stat Comput
2015;25:37): eta keeps its distribution, and theta follows it, d theta/d eta = C (P^-1 S - J' D^-1 H), with P and S
the prior's covariance and its own dependence on eta, C the posterior's, J the model's derivatives, H the loads. In a
linear normal model the cut posterior has exactly the variance of its error, so intervals cover as often as they say.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calibration import noise
from calibration.belief import Belief
from calibration.forward import pool_weights
from calibration.observations import Observations

WHOLE = frozenset({"remainder", "whole_body"})
"""Regions made of everything: they inform the shared parameters only."""

SINKS = ("tumour_rest",)
"""Organs whose uptake every observation shows a little, by what it lacks."""


@dataclass(frozen=True)
class Problem:
    """All but the model itself.

    `belief` before the fit, with every shared error of these observations; `fitted` and `errors` are indices into it.
    `mean` [parameter], `prior` [parameter, parameter] of the fitted where all errors are zero, `follow`
    [parameter, error] how their mean goes with these. `log_observed` [observation, lane]: one patient has one lane.
    `sd` [observation]; `loads` [observation, error].
    """

    belief: Belief
    fitted: np.ndarray
    errors: np.ndarray
    mean: np.ndarray
    prior: np.ndarray
    follow: np.ndarray
    log_observed: np.ndarray
    sd: np.ndarray
    loads: np.ndarray

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.belief.names[k] for k in self.fitted)

    @property
    def cholesky(self) -> np.ndarray:
        return np.linalg.cholesky(self.prior)

    @property
    def error_covariance(self) -> np.ndarray:
        return self.belief.covariance[np.ix_(self.errors, self.errors)]

    def offsets(self, z: np.ndarray) -> np.ndarray:
        """Log offsets [parameter, lane] of whitened ones."""
        return self.mean[:, None] + self.cholesky @ z

    def residual(self, log_activity: np.ndarray) -> np.ndarray:
        """Modelled less observed log activity over its own sd, [observation, lane]; padded rows are left out."""
        return (log_activity[: len(self.sd)] - self.log_observed) / self.sd[:, None]

    def loss(self, log_activity: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Negative log posterior [lane] of whitened offsets z [parameter, lane] that show `log_activity`."""
        return 0.5 * (np.sum(self.residual(log_activity) ** 2, axis=0) + np.sum(z**2, axis=0))

    def following(self, jacobian: np.ndarray, spread: np.ndarray) -> np.ndarray:
        """d theta/d eta [parameter, error] after the fit, of covariance `spread`, with `jacobian` at the optimum."""
        weighed = (jacobian / self.sd[:, None] ** 2).T @ self.loads
        return spread @ (np.linalg.solve(self.prior, self.follow) - weighed)

    def after(self, mean: np.ndarray, spread: np.ndarray, follow: np.ndarray) -> Belief:
        """The normal of everything, where the fitted are N(mean + follow eta, spread)."""
        t = self.error_covariance
        both = np.block([[spread + follow @ t @ follow.T, follow @ t], [t @ follow.T, t]])
        known = np.concatenate([self.fitted, self.errors])
        return self.belief.updated(known, np.concatenate([mean, np.zeros(len(t))]), both)


def problem(belief: Belief, obs: Observations, organs, *, log_observed=None, errors=None, sinks=SINKS) -> Problem:
    """The problem of fitting `obs`; `log_observed` [observation, lane] replaces its logs for many patients.

    `errors` (`noise.Errors`) replaces those of noise.csv. `sinks` are fitted though nobody outlined them.
    """
    errors = errors or noise.errors(obs)
    shared = errors.shared
    belief = belief.with_errors(shared)
    fitted = _fitted(belief, obs, organs, sinks)
    at = np.arange(belief.parameters, len(belief.names))
    loads = np.zeros((len(obs), len(at)))
    loads[:, belief.index(shared.names) - belief.parameters] = shared.loads
    t, cross = belief.covariance[np.ix_(at, at)], belief.covariance[np.ix_(fitted, at)]
    follow = np.linalg.solve(t, cross.T).T
    return Problem(
        belief=belief,
        fitted=fitted,
        errors=at,
        mean=belief.mean[fitted],
        prior=belief.covariance[np.ix_(fitted, fitted)] - follow @ cross.T,
        follow=follow,
        log_observed=np.log(obs.activity_MBq)[:, None] if log_observed is None else np.asarray(log_observed),
        sd=errors.sd,
        loads=loads,
    )


def _fitted(belief: Belief, obs: Observations, organs, sinks) -> np.ndarray:
    """Indices of the parameters that the observations can inform: shared ones, those of observed organs, and of sinks.

    Ligand that tumours take which were not segmented is missed everywhere else: 1 sd of their receptors moves other
    regions by 3 %, skewed, where that of any other organ that was not observed moves them by 0.4 % at most. Whole-body
    counts and the remainder tell of those tumours more directly.
    """
    seen = {*sinks, *(SINKS if WHOLE & set(obs.region) else ())}
    for region in set(obs.region) - WHOLE:
        weights = pool_weights(region, organs, frozenset())
        seen |= {organ for organ, w in zip(organs, weights, strict=False) if w > 0}
    names = belief.names[: belief.parameters]
    return np.array([k for k, name in enumerate(names) if "/" not in name or name.split("/")[1] in seen], int)
