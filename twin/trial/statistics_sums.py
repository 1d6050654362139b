"""Sums over patients that grow part by part and never in memory, and the intervals made of them.

References:
    Wilson, J Am Stat Assoc 1927;22:209 (`twin.policies.intervals`); Newcombe, Stat Med 1998;17:2635, method 10 (paired
    difference of shares); Chan, Golub and LeVeque, Am Stat 1983;37:242 (adding up variances).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import stats

from dose.tissues import TWO_SIDED_95
from twin.policies.intervals import RESAMPLES, STREAM, wilson

BIN_LOG = 0.002
"""Width of a bin of a large trial's quantiles: 0.2 % of the value."""
LEAST, BINS = -20.0, 20_000
"""Log of the first bin, and how many; the first one holds zeros, too."""
BLOCK = 2_000_000
"""Numbers drawn at once in a bootstrap."""


@dataclass(frozen=True)
class Moments:
    """Number, mean and sum of squared departures [..] of values whose last axis was summed; NaN were left out."""

    count: np.ndarray
    mean: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> Moments:
        known = np.isfinite(values)
        count = known.sum(axis=-1)
        mean = np.where(known, values, 0.0).sum(axis=-1) / np.maximum(count, 1)
        squares = np.where(known, values - mean[..., None], 0.0) ** 2
        return cls(count, mean, squares.sum(axis=-1))

    def plus(self, other: Moments) -> Moments:
        count = self.count + other.count
        share = other.count / np.maximum(count, 1)
        step = other.mean - self.mean
        squares = self.squares + other.squares + step**2 * self.count * share
        return Moments(count, self.mean + step * share, squares)

    @property
    def error(self) -> np.ndarray:
        """Standard error of the mean; NaN below two values."""
        return np.sqrt(
            np.where(self.count > 1, self.squares / np.maximum(self.count - 1, 1), np.nan) / np.maximum(self.count, 1)
        )


def normal_interval(value, error) -> tuple[np.ndarray, np.ndarray]:
    return value - TWO_SIDED_95 * error, value + TWO_SIDED_95 * error


def log_bins(values: np.ndarray) -> np.ndarray:
    """[arm, bin]: how many of values [arm, patient] stand in each bin of their log."""
    with np.errstate(divide="ignore", invalid="ignore"):
        place = np.rint((np.log(values) - LEAST) / BIN_LOG)
    place = np.where(np.isfinite(values), place.clip(0, BINS - 1), np.nan)
    return np.stack([np.bincount(row[np.isfinite(row)].astype(np.int64), minlength=BINS) for row in place])


def binned_median(counts: np.ndarray) -> tuple[float, float, float]:
    """Median of one arm's bins [bin], with the interval of its order statistics."""
    total, running = int(counts.sum()), np.cumsum(counts)
    if not total:
        return np.nan, np.nan, np.nan
    value = lambda rank: float(np.exp(LEAST + BIN_LOG * np.searchsorted(running, rank + 1)))
    ranks = order_ranks(total)
    return value((total - 1) // 2), value(ranks[0]), value(ranks[1])


def exact_median(values: np.ndarray) -> tuple[float, float, float]:
    """The same of the values themselves."""
    known = np.sort(values[np.isfinite(values)])
    if not len(known):
        return np.nan, np.nan, np.nan
    low, high = order_ranks(len(known))
    return float(np.median(known)), float(known[low]), float(known[high])


def order_ranks(count: int) -> tuple[int, int]:
    """Ranks from 0 of the values between which the median lies with 95 % probability (binomial); all if too few."""
    low = int(stats.binom.ppf(0.025, count, 0.5))
    return max(low - 1, 0), min(count - low, count - 1)


def paired_share(both: float, first: float, second: float, neither: float) -> tuple[float, float, float]:
    """Share of the first minus that of the second in the same patients, with Newcombe's interval.

    `both` patients have the event in both, `first` in the first only, `second` in the second only.
    """
    total = both + first + second + neither
    if not total:
        return np.nan, np.nan, np.nan
    one, other = both + first, both + second
    (l1, u1), (l2, u2), p1, p2 = wilson(one, total), wilson(other, total), one / total, other / total
    product = one * (total - one) * other * (total - other)
    excess = both * neither - first * second
    excess = max(excess - total / 2, 0.0) if excess > 0 else excess
    phi = excess / np.sqrt(product) if product else 0.0
    length = lambda a, b: float(np.sqrt(max(a**2 - 2 * phi * a * b + b**2, 0.0)))
    return p1 - p2, p1 - p2 - length(p1 - l1, u2 - p2), p1 - p2 + length(u1 - p1, p2 - l2)


def clustered_share(share: float, error: float, patients: int) -> tuple[float, float]:
    """Interval of a share of cycles: Wilson's of as many independent ones as have this standard error."""
    if not patients or not np.isfinite(share):
        return np.nan, np.nan
    size = share * (1 - share) / error**2 if error > 0 else float(patients)
    return wilson(share * size, size)


def resamplings(patients: int, seed: int) -> Iterator[np.ndarray]:
    """How often each patient is drawn [resample, patient], block by block."""
    rng, block = np.random.default_rng([STREAM, seed]), max(1, BLOCK // max(patients, 1))
    for start in range(0, RESAMPLES, block):
        chosen = rng.integers(0, patients, (min(block, RESAMPLES - start), patients))
        yield np.stack([np.bincount(row, minlength=patients) for row in chosen]).astype(float)


def bootstrap_means(values: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """95 % intervals of means of values [row, patient], NaN left out: the same resampled patients in all rows."""
    known = np.isfinite(values)
    filled, weights = np.where(known, values, 0.0), known.astype(float)
    with np.errstate(invalid="ignore"):
        drawn = np.concatenate([(w @ filled.T) / (w @ weights.T) for w in resamplings(values.shape[1], seed)])
    enough = known.sum(axis=1) > 1
    low, high = np.full(len(values), np.nan), np.full(len(values), np.nan)
    if enough.any():
        low[enough], high[enough] = np.nanquantile(drawn[:, enough], [0.025, 0.975], axis=0)
    return low, high


def bootstrap_medians(time_d: np.ndarray, died: np.ndarray, seed: int) -> np.ndarray:
    """Median survival [resample, arm] of resampled patients; times, deaths [arm, patient]; infinite if not reached."""
    orders = [np.argsort(row) for row in time_d]
    rows = list(zip(time_d, died, orders, strict=True))
    medians = lambda weights: np.stack([_weighted_median(t[o], d[o], weights[:, o]) for t, d, o in rows], axis=1)
    return np.concatenate([medians(weights) for weights in resamplings(time_d.shape[1], seed)])


def _weighted_median(time_d: np.ndarray, died: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Kaplan-Meier's median [resample] of sorted times, each patient counted `weights` [resample, patient] times."""
    starts = np.flatnonzero(np.diff(time_d, prepend=-np.inf))
    left = np.add.reduceat(weights, starts, axis=1)
    deaths = np.add.reduceat(weights * died, starts, axis=1)
    risk = weights.sum(axis=1, keepdims=True) - np.cumsum(left, axis=1) + left
    survival = np.cumprod(1 - deaths / np.maximum(risk, 1), axis=1)
    reached = survival <= 0.5
    return np.where(reached.any(axis=1), time_d[starts][np.argmax(reached, axis=1)], np.inf)
