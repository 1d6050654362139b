"""From the Laplace approximation to the posterior itself: draws weighted by how wrong the approximation is at each.

Proposals come from a multivariate t about the optimum, with the inverse Gauss-Newton information as its scale, and are
weighted by the exact posterior density over theirs. The largest weights are smoothed by a generalised Pareto fit, whose
shape k says whether the weights can be trusted: below 0.7 they can (Vehtari, Simpson, Gelman, Yao, Gabry, JMLR
2024;25:72). Pareto smoothing is arviz-stats'.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import equinox as eqx
import numpy as np
from scipy.special import logsumexp

from calibration import lanes
from calibration.forward import Experiment
from calibration.optimum import Optimum, of_lanes
from calibration.problem import Problem

PROPOSALS = 2000
FREEDOM = 20.0
"""Degrees of freedom of the proposal: tails a little heavier than a normal's, so that weights stay bounded."""
MIXED, WIDER = 0.7, 1.5
"""Second round: share of the first round's covariance; factor on Laplace's where the first round has too few draws."""
TRUSTED_K = 0.7
"""Pareto shape above which weighted draws are not used (Vehtari 2024, section 3). The same paper asks for less than
1 - 1/log10(draws) of few draws, 0.62 of 400: it would send one cohort patient in ten back to Laplace, whose ranks are
worse than those of the weights (docs/calibration.md)."""
LEAST_EFFECTIVE = 100.0
"""Effective draws below which weights are too uneven to use."""


@dataclass(frozen=True)
class Weighted:
    """Whitened draws `z` [parameter, proposal, lane] with `weight` [proposal, lane] that sums to one.

    `pareto_k` and `effective` (sample size) are [lane].
    """

    z: np.ndarray
    weight: np.ndarray
    pareto_k: np.ndarray
    effective: np.ndarray

    @property
    def trusted(self) -> np.ndarray:
        """Lanes whose weights can be used, [lane]."""
        return (self.pareto_k < TRUSTED_K) & (self.effective > LEAST_EFFECTIVE)

    def replaced(self, which, other: Weighted, taken) -> Weighted:
        """The same with lanes `which` from the lanes of `other` where `taken`."""
        mine = [x.copy() for x in (self.z, self.weight, self.pareto_k, self.effective)]
        for into, values in zip(mine, (other.z, other.weight, other.pareto_k, other.effective), strict=True):
            into[..., which] = values[..., taken]
        return Weighted(*mine)

    def moments(self, lane: int) -> tuple[np.ndarray, np.ndarray]:
        """Weighted mean [parameter] and covariance of a lane's whitened offsets."""
        z, w = self.z[..., lane], self.weight[:, lane]
        mean = z @ w
        away = z - mean[:, None]
        return mean, (away * w) @ away.T / (1 - np.sum(w**2))

    def resampled(self, lane: int, draws: int, rng: np.random.Generator) -> np.ndarray:
        """Indices [draw] of proposals, each as often as its weight says (systematic resampling), in random order."""
        points = (rng.uniform() + np.arange(draws)) / draws
        chosen = np.searchsorted(np.cumsum(self.weight[:, lane]), points)
        return rng.permutation(np.minimum(chosen, len(self.weight) - 1))


def weighted(exp: Experiment, prob: Problem, found: Optimum, rng, proposals: int = PROPOSALS) -> Weighted:
    """Weighted draws about each lane's optimum; needs one solve a proposal and lane.

    Lanes whose weights cannot be trusted get a second round of proposals, about the mean of the first and with its
    covariance mixed into Laplace's (adaptive importance sampling), and keep whichever round has the smaller k.
    """
    first = _round(exp, prob, found, rng, proposals)
    doubtful = np.flatnonzero(~first.trusted)
    if not len(doubtful):
        return first
    again = _round(
        _of_lanes(exp, doubtful), of_lanes(prob, doubtful), _recentred(first, found, doubtful), rng, proposals
    )
    better = again.pareto_k < first.pareto_k[doubtful]
    return first.replaced(doubtful[better], again, better)


def _of_lanes(exp: Experiment, which) -> Experiment:
    several = exp.kinetics.patients > exp.courses
    return eqx.tree_at(lambda e: e.kinetics, exp, lanes.patients(exp, which)) if several else exp


def _recentred(drawn: Weighted, found: Optimum, which) -> Optimum:
    """Centres and scales for a second round, of the lanes `which`."""
    centres, information = [], []
    for k in which:
        mean, covariance = drawn.moments(k)
        finite = np.all(np.isfinite(covariance)) and drawn.effective[k] > len(mean)
        laplace = np.linalg.inv(found.information[k])
        centres.append(mean if finite else found.z[:, k])
        information.append(np.linalg.inv(MIXED * covariance + (1 - MIXED) * laplace if finite else WIDER * laplace))
    return replace(found, z=np.stack(centres, axis=1), information=np.stack(information))


def _round(exp: Experiment, prob: Problem, found: Optimum, rng, proposals: int) -> Weighted:
    z, log_q = _proposed(found, rng, proposals)
    parameters, _, count = z.shape
    flat = z.reshape(parameters, -1)
    which = np.tile(np.arange(count), proposals)
    seen = lanes.evaluate(exp, prob.offsets(flat), which)
    loss = of_lanes(prob, which).loss(seen.log_activity, flat)
    log_ratio = -loss.reshape(proposals, count) - log_q
    weight, k = smoothed(np.where(np.isfinite(log_ratio), log_ratio, -np.inf))
    return Weighted(z, weight, k, 1 / np.sum(weight**2, axis=0))


def _proposed(found: Optimum, rng, proposals: int):
    """Proposals [parameter, proposal, lane] and the log of their density up to a constant, [proposal, lane]."""
    parameters, count = found.z.shape
    normal = rng.standard_normal((proposals, count, parameters))
    scale = np.sqrt(FREEDOM / rng.chisquare(FREEDOM, (proposals, count)))
    lower = np.linalg.cholesky(found.information)
    step = np.linalg.solve(np.swapaxes(lower, 1, 2)[None], (scale[..., None] * normal)[..., None])[..., 0]
    squared = scale**2 * np.sum(normal**2, axis=-1)
    log_q = -0.5 * (FREEDOM + parameters) * np.log1p(squared / FREEDOM)
    return found.z[:, None, :] + np.moveaxis(step, -1, 0), log_q


def smoothed(log_ratio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pareto-smoothed weights [proposal, lane] that sum to one, and the shape k [lane]."""
    from arviz_stats.base.array import array_stats

    # psislw takes the log density to be divided out: minus the log ratio
    pairs = [array_stats.psislw(column.max() - column) for column in log_ratio.T]
    log_weight = np.stack([np.asarray(lw) for lw, _ in pairs], axis=1)
    k = np.array([float(k) for _, k in pairs])
    return np.exp(log_weight - np.asarray(logsumexp(log_weight, axis=0))), k
