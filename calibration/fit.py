"""MAP by Levenberg-Marquardt and the Laplace posterior by the exact Hessian, both in whitened log space.

With offsets = L z, L the Cholesky factor of the prior covariance, the prior on z is standard normal and the negative
log posterior is half the squared norm of (residuals of the log activities, z). Reference for Laplace in this setting:
the Bayesian (MAP) practice of Kletting 2016, PBPK.md section 6.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx

from calibration import noise
from calibration.forward import Course, Experiment, experiment, log_activity, modelled, pad_rows, pool_weights
from calibration.observations import Observations
from calibration.parameters import Prior
from calibration.posterior import Posterior
from dose.errors import CalibrationError, describe
from pbpk.check import require_double
from pbpk.compiled import compiled

ROUNDS = 4
"""Step sequences are frozen at the prior median, then at each optimum, until the optimum stays where it is."""
SAME_OPTIMUM = 0.01
"""Change of any parameter, in prior standard deviations, below which a step sequence served."""
MAX_STEPS = 64
TOLERANCE = 1e-4
POOR_FIT = 2.5
"""Chi-square per observation of a region above which its curve is called missed and its parameters' sd are widened."""


WHOLE = frozenset({"remainder", "whole_body"})
"""Regions made of everything: they inform the shared parameters only."""


def _residuals(z, problem, adjoint: bool = False):
    exp, cholesky, log_observed, log_sd = problem
    return jnp.concatenate([(log_activity(exp, cholesky @ z, adjoint) - log_observed) / log_sd, z])


@jax.custom_jvp
def _residuals_with_jacobian(z, problem):
    return _residuals(z, problem)


@_residuals_with_jacobian.defjvp
def _one_jacobian(primals, tangents):
    """One forward-mode Jacobian serves every direction the optimiser asks for, so the solve is compiled once."""
    z, problem = primals
    jacobian, value = jax.jacfwd(lambda z: (_residuals(z, problem),) * 2, has_aux=True)(z)
    return value, jacobian @ tangents[0]


def _optimum(exp: Experiment, cholesky, log_observed, log_sd, z0):
    solver = optx.LevenbergMarquardt(rtol=TOLERANCE, atol=TOLERANCE)
    problem = (exp, cholesky, log_observed, log_sd)
    both = lambda z, problem: (_residuals_with_jacobian(z, problem),) * 2
    result = optx.least_squares(both, solver, z0, args=problem, max_steps=MAX_STEPS, throw=False, has_aux=True)
    return result.value, result.result == optx.RESULTS.successful, result.aux


def _hessian(exp: Experiment, cholesky, log_observed, log_sd, z):
    loss = lambda z: 0.5 * jnp.sum(_residuals(z, (exp, cholesky, log_observed, log_sd), adjoint=True) ** 2)
    return jax.hessian(loss)(z)


def _compiled_hessian(*arguments):
    return compiled(_hessian).lower(*arguments).compile()


def calibrate(
    courses: tuple[Course, ...],
    observations: Observations,
    prior: Prior,
    *,
    draws: int = 200,
    seed: int = 0,
    to_cycle: int | None = None,
) -> Posterior:
    """Posterior of all parameters of `prior` given the observations that the model can show.

    Parameters of organs that were not observed are not fitted; they keep the prior, conditioned on the fitted ones
    through the prior correlations. The Hessian is compiled on the second core while the optimum is sought. `to_cycle`
    lets older cycles count less (see `noise.log_sd`).

    Raises:
        InputError: double precision is off.
        CalibrationError: the optimiser does not reach a finite optimum.
    """
    require_double()
    usable = observations.select(modelled(observations, courses[0].kinetics.organs))
    if len(usable) == 0:
        return _laplace(prior, np.zeros(0, int), np.zeros(0), np.zeros((0, 0)), 0.0, 0, (), draws, seed)
    fitted = _fitted(prior, usable, courses[0].kinetics.organs)
    names = tuple(prior.names[k] for k in fitted)
    cholesky = np.linalg.cholesky(prior.covariance[np.ix_(fitted, fitted)])
    log_sd = pad_rows(noise.log_sd(usable, to_cycle), np.inf)
    data = tuple(map(jnp.asarray, (cholesky, pad_rows(np.log(usable.activity_MBq)), log_sd)))
    z = np.zeros(len(fitted))
    converged, residuals = False, np.zeros(0)
    with ThreadPoolExecutor(1) as beside:
        exp = experiment(courses, usable, names, cholesky @ z)
        compiling = beside.submit(_compiled_hessian, exp, *data, jnp.asarray(z))
        for _ in range(ROUNDS):
            before = z
            z, converged, residuals = (np.asarray(x) for x in compiled(_optimum)(exp, *data, jnp.asarray(z)))
            if not np.all(np.isfinite(z)):
                raise CalibrationError(_no_optimum())
            if np.max(np.abs(z - before)) < SAME_OPTIMUM:
                break
            exp = experiment(courses, usable, names, cholesky @ z, exp)
        hessian = np.asarray(compiling.result()(exp, *data, jnp.asarray(z)))
    misfit = residuals[: len(usable)]
    warnings = () if converged else ("the optimiser stopped before its tolerance was met",)
    widening, missed = _birge(names, usable, misfit, courses[0].kinetics.organs)
    spread = cholesky @ _inverse(hessian) @ cholesky.T * np.outer(widening, widening)
    chi2 = float(np.sum(misfit**2))
    return _laplace(prior, fitted, cholesky @ z, spread, chi2, len(usable), warnings + missed, draws, seed)


def _no_optimum() -> str:
    do = "check times, units and volumes of the observations; leave out the region that cannot be right"
    return describe("calibration", "no finite optimum", "activities that the model can reach", do)


def _fitted(prior: Prior, obs: Observations, organs) -> np.ndarray:
    """Indices of the parameters that the observations can inform: shared ones and those of observed organs.

    Whole-body counts and the remainder also tell of the tumours that were not segmented.
    """
    seen = {"tumour_rest"} if WHOLE & set(obs.region) else set()
    for region in set(obs.region) - WHOLE:
        weights = pool_weights(region, organs, frozenset())
        seen |= {organ for organ, w in zip(organs, weights, strict=False) if w > 0}
    return np.array([k for k, name in enumerate(prior.names) if "/" not in name or name.split("/")[1] in seen], int)


def _inverse(hessian: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(0.5 * (hessian + hessian.T))
    if values.min() <= 0:
        raise CalibrationError(_no_optimum())
    return (vectors / values) @ vectors.T


def _birge(names, obs: Observations, residuals: np.ndarray, organs) -> tuple[np.ndarray, tuple[str, ...]]:
    """Factor on each parameter's sd where the model misses a region's curve by more than the noise allows.

    The Birge ratio, sqrt(chi-square per observation), of each badly fitted region (Birge 1932; used by the Particle
    Data Group) on the parameters of its organs: the model's shape is wrong there, and no covariance of a wrong model
    covers that.
    """
    factor, warnings = np.ones(len(names)), []
    for region in dict.fromkeys(obs.region):
        mine = np.array([r == region for r in obs.region])
        reduced = float(np.mean(residuals[mine] ** 2))
        if reduced <= POOR_FIT:
            continue
        if region in WHOLE:
            warnings.append(f"{region}: the model misses the measured curve; no organ's interval is widened for it")
            continue
        ratio = np.sqrt(reduced)
        inside = {o for o, w in zip(organs, pool_weights(region, organs, frozenset()), strict=False) if w > 0}
        factor = np.maximum(factor, [ratio if name.split("/")[-1] in inside else 1.0 for name in names])
        warnings.append(
            f"{region}: the model misses the measured curve; its parameters' sd are widened {ratio:.1f} fold"
        )
    return factor, tuple(warnings)


def _laplace(prior: Prior, fitted, offsets, spread, chi2, used, warnings, draws, seed) -> Posterior:
    """Extend the posterior of the fitted parameters to all, by the prior's conditional distribution, and draw."""
    n = len(prior.names)
    others = np.setdiff1d(np.arange(n), fitted)
    full = prior.covariance
    link = np.linalg.solve(full[np.ix_(fitted, fitted)], full[np.ix_(fitted, others)]).T
    mean, covariance = np.zeros(n), np.zeros((n, n))
    mean[fitted], mean[others] = offsets, link @ offsets
    covariance[np.ix_(fitted, fitted)] = spread
    covariance[np.ix_(others, fitted)] = link @ spread
    covariance[np.ix_(fitted, others)] = (link @ spread).T
    own = full[np.ix_(others, others)] - link @ full[np.ix_(fitted, others)]
    covariance[np.ix_(others, others)] = own + link @ spread @ link.T
    rng = np.random.default_rng(seed)
    sample = rng.multivariate_normal(mean, covariance, size=draws, method="eigh")
    return Posterior(
        prior.names, prior.unit, prior.median, prior.log_sd, mean, covariance, sample, chi2, used, tuple(warnings)
    )
