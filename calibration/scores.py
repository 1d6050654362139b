"""How well stated distributions meet the truth: ranks, coverage, and the continuous ranked probability score.

Simulation-based calibration (Talts et al. 2018, arXiv 1804.06788): with the truth drawn from the prior and the data
from the model, the truth's rank among posterior draws is uniform. Ranks of weighted draws are the weight below it.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import kstest


def crps(draws, truth) -> np.ndarray:
    """CRPS of draws [draw, ...] at a truth [...]: E|X - y| - E|X - X'|/2, by the sorted form (Gneiting 2007)."""
    x = np.sort(np.asarray(draws, float), axis=0)
    n = len(x)
    weight = (2 * np.arange(1, n + 1) - n - 1).reshape(-1, *[1] * (x.ndim - 1))
    return np.mean(np.abs(x - truth), axis=0) - np.sum(weight * x, axis=0) / n**2


def ranks(draws, truth, weight=None, rng: np.random.Generator | None = None) -> np.ndarray:
    """Rank of the truth [...] among draws [draw, ...] as a share from 0 to 1; ties are broken at random.

    `weight` [draw, ...] sums to one over the draws (none: equal).
    """
    draws = np.asarray(draws, float)
    weight = np.full(draws.shape, 1 / len(draws)) if weight is None else np.broadcast_to(weight, draws.shape)
    below, at = np.sum(weight * (draws < truth), axis=0), np.sum(weight * (draws == truth), axis=0)
    jitter = (rng or np.random.default_rng(0)).uniform(size=np.shape(below))
    share = 1 / (len(draws) + 1)
    return np.where(at > 0, below + at * jitter, below * (1 - share) + share * jitter)


def uniformity(rank) -> float:
    """p-value of a Kolmogorov-Smirnov test that ranks [patient] are uniform on 0 to 1."""
    return float(kstest(np.asarray(rank), "uniform").pvalue)


def covered(draws, truth, level: float = 0.90, weight=None) -> np.ndarray:
    """Whether the central interval of draws [draw, ...] holds the truth [...]; equal or given weights."""
    share = ranks(draws, truth, weight)
    return (share >= (1 - level) / 2) & (share <= (1 + level) / 2)


def narrowed(draws, factor: float, weight=None) -> np.ndarray:
    """Draws [draw, ...] shrunk about their mean: a posterior that claims too much, for negative controls."""
    draws = np.asarray(draws, float)
    mean = np.average(draws, axis=0, weights=weight if weight is None else np.broadcast_to(weight, draws.shape))
    return mean + factor * (draws - mean)
