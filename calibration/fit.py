"""A patient's posterior: optimum, Laplace approximation, and its correction by importance weights or by NUTS.

With offsets = m + L z, L the Cholesky factor of the prior covariance, the prior on z is standard normal and the
negative log posterior is half the squared norm of (residuals, z): see `problem`. Reference for MAP and Laplace in this
setting: the Bayesian practice of Kletting 2016, PBPK.md section 6.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calibration import lanes
from calibration.belief import Belief, normal_draws
from calibration.forward import Course, Experiment, experiment, modelled, pool_weights
from calibration.importance import weighted
from calibration.observations import Observations
from calibration.optimum import Optimum, optimum
from calibration.parameters import Prior
from calibration.posterior import Posterior
from calibration.problem import WHOLE, Problem, problem
from calibration.suspicions import contradictions, unit_slips
from dose.errors import CalibrationError, InputError, describe, nearest
from pbpk.check import require_double

ROUNDS = 4
"""Step sequences are frozen at the prior median, then at each optimum, until the optimum stays where it is."""
SAME_OPTIMUM = 0.01
"""Change of any parameter, in prior standard deviations, below which a step sequence served."""
SCATTER = 1.5
"""Step sequences for draws are frozen over this many standard deviations about the optimum."""
POOR_FIT = 2.5
"""Chi-square per observation of a region above which its curve is called missed and its parameters' sd are widened."""
METHODS = ("importance", "laplace", "nuts")


@dataclass(frozen=True)
class Fitted:
    """A problem at its optimum (one lane), with the experiment that was solved.

    `log_expected` [observation] are the log activities expected before the fit.
    """

    experiment: Experiment
    problem: Problem
    optimum: Optimum
    log_expected: np.ndarray

    @property
    def offsets(self) -> np.ndarray:
        return self.problem.offsets(self.optimum.z)[:, 0]

    @property
    def laplace(self) -> np.ndarray:
        """Covariance [parameter, parameter] of the fitted offsets."""
        return self.problem.cholesky @ np.linalg.inv(self.optimum.information[0]) @ self.problem.cholesky.T


def calibrate(
    courses: tuple[Course, ...],
    observations: Observations,
    prior: Prior,
    *,
    draws: int = 200,
    seed: int = 0,
    known: Belief | None = None,
    method: str = "importance",
) -> Posterior:
    """Posterior of all parameters of `prior` given the observations that the model can show.

    Parameters of organs that were not observed are not fitted; they keep the prior, conditioned on the fitted ones
    through the prior correlations. `known` replaces the prior's distribution by an earlier posterior (`sequential`).
    `method`: "laplace", "importance" (Laplace corrected by Pareto-smoothed importance weights; Laplace again, with a
    warning, where these cannot be trusted) or "nuts".

    Raises:
        InputError: double precision is off, or an unknown method.
        CalibrationError: no finite optimum.
    """
    require_double()
    if method not in METHODS:
        do = f'write "{nearest(method, METHODS) or METHODS[0]}"'
        raise InputError(describe("method", f'"{method}"', ", ".join(METHODS), do))
    belief, rng = known or Belief.of(prior), np.random.default_rng(seed)
    usable = observations.select(modelled(observations, courses[0].kinetics.organs))
    if len(usable) == 0:
        everything = belief.filled(np.zeros(0, int), np.zeros((draws, 0)), rng)
        return Posterior.of(prior, belief, everything, chi2=0.0, observations_used=0, method="prior")
    fitted = fit(courses, usable, belief)
    suspected = (*unit_slips(usable, fitted.log_expected), *contradictions(usable))
    prob, found = fitted.problem, fitted.optimum
    mean, spread, sample, said, name, diagnostics = _sampled(fitted, method, draws, rng, seed)
    follow = prob.following(found.jacobian[..., 0], spread)
    factor, missed = widening(prob, usable, found.residual[:, 0], courses[0].kinetics.organs)
    sample, spread = mean + (sample - mean) * factor, spread * np.outer(factor, factor)
    errors = normal_draws(rng, prob.error_covariance, draws)
    both = np.concatenate([prob.fitted, prob.errors])
    everything = prob.belief.filled(both, np.concatenate([sample + errors @ follow.T, errors], axis=1), rng)
    chi2 = float(np.sum(found.residual**2))
    stopped = () if found.converged[0] else ("the optimiser stopped before its tolerance was met",)
    after = prob.after(mean, spread, follow)
    warnings = (*suspected, *stopped, *said, *missed)
    return Posterior.of(
        prior,
        after,
        everything,
        chi2=chi2,
        observations_used=len(usable),
        warnings=warnings,
        method=name,
        diagnostics=diagnostics,
    )


def fit(courses, observations: Observations, belief: Belief) -> Fitted:
    """The optimum, with step sequences frozen again until it stays where it is.

    Raises:
        CalibrationError: no finite optimum.
    """
    prob = problem(belief, observations, courses[0].kinetics.organs)
    exp = experiment(courses, observations, prob.names, prob.mean)
    expected = lanes.evaluate(exp, prob.mean[:, None]).log_activity[: len(observations), 0]
    found = _finite(optimum(exp, prob, np.zeros((len(prob.fitted), 1))))
    for _ in range(ROUNDS - 1):
        exp = experiment(courses, observations, prob.names, prob.offsets(found.z)[:, 0], exp)
        again = _finite(optimum(exp, prob, found.z))
        moved, found = np.max(np.abs(again.z - found.z)), again
        if moved < SAME_OPTIMUM:
            break
    around = prob.offsets(found.z + _scattered(found))
    return Fitted(experiment(courses, observations, prob.names, around, exp), prob, found, np.asarray(expected))


def _finite(found: Optimum) -> Optimum:
    if not np.all(np.isfinite(found.loss)) or not np.all(np.isfinite(found.information)):
        raise CalibrationError(_no_optimum())
    return found


def _scattered(found: Optimum) -> np.ndarray:
    """Whitened steps [parameter, lane] about the optimum, wider than Laplace: the last step sequence suits them all."""
    normal = np.random.default_rng(0).standard_normal((found.z.shape[0], lanes.CHUNK))
    return SCATTER * np.linalg.solve(np.linalg.cholesky(found.information[0]).T, normal)


def _no_optimum() -> str:
    do = "check times, units and volumes of the observations; leave out the region that cannot be right"
    return describe("calibration", "no finite optimum", "activities that the model can reach", do)


def _sampled(fitted: Fitted, method: str, draws: int, rng, seed: int):
    """Mean [parameter], covariance, draws [draw, parameter], warnings, method used, diagnostics."""
    if method == "nuts":
        from calibration.sampler import nuts

        chains = nuts(fitted, seed=seed)
        flat = chains.offsets.reshape(-1, chains.offsets.shape[-1])
        taken = flat[np.linspace(0, len(flat) - 1, draws).round().astype(int)]
        return flat.mean(axis=0), np.cov(flat.T), taken, chains.warnings, "nuts", chains.diagnostics
    if method == "importance":
        found = weighted(fitted.experiment, fitted.problem, fitted.optimum, rng)
        diagnostics = {"pareto_k": float(found.pareto_k[0]), "effective_draws": float(found.effective[0])}
        if found.trusted[0]:
            lower = fitted.problem.cholesky
            mean, spread = found.moments(0)
            taken = fitted.problem.offsets(found.z[:, found.resampled(0, draws, rng), 0])
            return fitted.problem.mean + lower @ mean, lower @ spread @ lower.T, taken.T, (), "importance", diagnostics
        k, effective = diagnostics["pareto_k"], diagnostics["effective_draws"]
        text = (
            f"importance weights are not to be trusted (Pareto k {k:.2f}, effective draws {effective:.0f}): the Laplace"
        )
        said = (f'{text} approximation stands; method="nuts" samples the posterior itself',)
    else:
        said, diagnostics = (), {}
    taken = rng.multivariate_normal(fitted.offsets, fitted.laplace, size=draws, method="eigh")
    return fitted.offsets, fitted.laplace, taken, said, "laplace", diagnostics


def widening(prob: Problem, obs: Observations, residual: np.ndarray, organs) -> tuple[np.ndarray, tuple[str, ...]]:
    """Factor on each parameter's sd where the model misses a region's curve by more than the noise allows.

    The Birge ratio, sqrt(chi-square per observation), of each badly fitted region (Birge 1932; used by the Particle
    Data Group) on the parameters of its organs: the model's shape is wrong there, and no covariance of a wrong model
    covers that.
    """
    factor, warnings = np.ones(len(prob.names)), []
    for region in dict.fromkeys(obs.region):
        mine = np.array([r == region for r in obs.region])
        reduced = float(np.mean(residual[mine] ** 2))
        if reduced <= POOR_FIT:
            continue
        if region in WHOLE:
            warnings.append(f"{region}: the model misses the measured curve; no organ's interval is widened for it")
            continue
        ratio = np.sqrt(reduced)
        inside = {o for o, w in zip(organs, pool_weights(region, organs, frozenset()), strict=False) if w > 0}
        factor = np.maximum(factor, [ratio if name.split("/")[-1] in inside else 1.0 for name in prob.names])
        warnings.append(
            f"{region}: the model misses the measured curve; its parameters' sd are widened {ratio:.1f} fold"
        )
    return factor, tuple(warnings)
