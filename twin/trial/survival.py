"""Survival of an arm: Kaplan-Meier with its band, median, restricted mean, and the log-rank test between arms.

Up to `EXACT` patients the curve, its band and the test are scipy's (`ecdf` and `logrank`); above, deaths are counted by
whole days, which scipy has no form for, and the same formulas are used on the counts. No hazard ratio is given: the
hazards of the tumour-burden model are not proportional, and the arms hold the same patients.

References:
    Kaplan and Meier, J Am Stat Assoc 1958;53:457; band on the log-log scale (scipy); the median's interval holds the
    times at which the band holds 1/2 (Brookmeyer and Crowley, Biometrics 1982;38:29); Greenwood's variance.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from scipy import stats

from dose.tissues import TWO_SIDED_95

EXACT = 20_000
"""Patients of an arm up to which times are taken as they are; above, they are rounded up to whole days."""


@dataclass(frozen=True)
class Tally:
    """At `time_d` [time], in order: how many died, and how many left by death or by the end of follow-up."""

    time_d: np.ndarray
    deaths: np.ndarray
    left: np.ndarray

    @classmethod
    def of(cls, time_d, died) -> Tally:
        """Of patients' times; NaN are left out."""
        time_d, died = np.asarray(time_d, float), np.asarray(died, bool)
        known = np.isfinite(time_d)
        times, place = np.unique(time_d[known], return_inverse=True)
        count = lambda keep: np.bincount(place[keep], minlength=len(times)).astype(np.int64)
        return cls(times, count(died[known]), count(np.ones(known.sum(), bool)))

    def plus(self, other: Tally) -> Tally:
        """Both together."""
        times, place = np.unique(np.concatenate([self.time_d, other.time_d]), return_inverse=True)
        add = lambda a, b: np.bincount(place, np.concatenate([a, b]), minlength=len(times)).astype(np.int64)
        return Tally(times, add(self.deaths, other.deaths), add(self.left, other.left))

    @property
    def patients(self) -> int:
        return int(self.left.sum())

    @property
    def at_risk(self) -> np.ndarray:
        """Patients just before each time."""
        return self.patients - np.concatenate([[0], np.cumsum(self.left)[:-1]]) if len(self.left) else self.left

    def censored(self) -> stats.CensoredData:
        """As scipy takes it."""
        stayed = self.left - self.deaths
        return stats.CensoredData(uncensored=np.repeat(self.time_d, self.deaths), right=np.repeat(self.time_d, stayed))


@dataclass(frozen=True)
class Curve:
    """Survival [time] just after each `time_d` with its 95 % band (NaN before the first death)."""

    tally: Tally
    survival: np.ndarray
    lower: np.ndarray
    upper: np.ndarray

    @property
    def time_d(self) -> np.ndarray:
        return self.tally.time_d


def kaplan_meier(tally: Tally) -> Curve:
    """The curve of a tally; an empty one of nobody."""
    if not tally.patients:
        return Curve(tally, *(np.zeros(0) for _ in range(3)))
    return _of_samples(tally) if tally.patients <= EXACT else _of_counts(tally)


def _of_samples(tally: Tally) -> Curve:
    found = stats.ecdf(tally.censored()).sf
    with warnings.catch_warnings():
        # before the first death and after the last one of all the band has no value, which scipy warns of
        warnings.filterwarnings("ignore", "The confidence interval is undefined", RuntimeWarning)
        band = found.confidence_interval(method="log-log")
    return Curve(tally, found.probabilities, band.low.probabilities, band.high.probabilities)


def _of_counts(tally: Tally) -> Curve:
    """The product-limit estimate, and Greenwood's variance on the log-log scale."""
    risk, deaths = tally.at_risk, tally.deaths
    survival = np.cumprod(1 - deaths / risk)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.cumsum(deaths / (risk * (risk - deaths)))
        log = np.log(survival)
        half = TWO_SIDED_95 * np.sqrt(variance) / log
        return Curve(tally, survival, survival ** np.exp(-half), survival ** np.exp(half))


def share_at(curve: Curve, time_d: float) -> tuple[float, float, float]:
    """Survival at a time with its interval; NaN where everyone's follow-up ended before it."""
    if not len(curve.time_d) or (time_d > curve.time_d[-1] and curve.survival[-1] > 0):
        return np.nan, np.nan, np.nan
    k = int(np.searchsorted(curve.time_d, time_d, side="right")) - 1
    if k < 0 or curve.survival[k] == 1:
        # nobody has died: the exact (Clopper-Pearson) lower limit of patients out of as many
        risk = curve.tally.patients if k < 0 else curve.tally.at_risk[k]
        return 1.0, float(0.025 ** (1 / risk)), 1.0
    if curve.survival[k] == 0:
        return 0.0, 0.0, float(1 - 0.025 ** (1 / curve.tally.patients))
    return float(curve.survival[k]), float(curve.lower[k]), float(curve.upper[k])


def median(curve: Curve) -> tuple[float, float, float]:
    """Time at which half have died with its interval; infinite where the follow-up is too short to say."""
    if not len(curve.time_d):
        return np.nan, np.nan, np.nan
    first = lambda line: float(curve.time_d[np.argmax(line <= 0.5)]) if np.any(line <= 0.5) else np.inf
    return first(curve.survival), first(curve.lower), first(curve.upper)


def restricted_mean(curve: Curve, until_d: float) -> tuple[float, float]:
    """Mean survival up to a time: the area under the curve, and its standard error."""
    if not len(curve.time_d):
        return np.nan, np.nan
    area = _area_after(curve, until_d)
    total = float(area[0] + min(until_d, curve.time_d[0]))
    risk, deaths = curve.tally.at_risk, curve.tally.deaths
    terms = np.divide(area**2 * deaths, risk * (risk - deaths), out=np.zeros(len(risk)), where=risk > deaths)
    return total, float(np.sqrt(terms[curve.time_d <= until_d].sum()))


def _area_after(curve: Curve, until_d: float) -> np.ndarray:
    """[time]: the area under the curve from each time to `until_d`."""
    ends = np.append(curve.time_d, np.inf).clip(max=until_d)
    pieces = curve.survival * np.diff(ends)
    return np.cumsum(pieces[::-1])[::-1]


def log_rank(one: Tally, other: Tally) -> tuple[float, float]:
    """Chi-squared with one degree of freedom and its p-value; of independent groups."""
    if max(one.patients, other.patients) <= EXACT:
        found = stats.logrank(one.censored(), other.censored())
        return float(found.statistic) ** 2, float(found.pvalue)
    both = one.plus(other)
    first = one.plus(Tally(both.time_d, 0 * both.deaths, 0 * both.left))
    share, risk, deaths = first.at_risk / both.at_risk, both.at_risk, both.deaths
    excess = np.sum(first.deaths - deaths * share)
    variance = np.sum(deaths * share * (1 - share) * np.where(risk > 1, (risk - deaths) / np.maximum(risk - 1, 1), 0))
    statistic = float(excess**2 / variance)
    return statistic, float(stats.chi2.sf(statistic, 1))


def influence(curve: Curve, time_d, died, until_d: float, mean: bool = False) -> np.ndarray:
    """What each patient adds to survival at a time (`mean`: to the mean up to it), over the whole; NaN stays NaN.

    Its variance over the number of patients is Greenwood's; the difference of two arms' in one patient is what a paired
    comparison needs. Without censoring it is, for survival, 1 - S for who lives and -S for who died.
    """
    tally, times = curve.tally, np.asarray(time_d, float)
    last = int(np.searchsorted(curve.time_d, until_d, side="right"))
    if last == 0:
        return np.where(np.isfinite(times), 0.0, np.nan)
    weight = _area_after(curve, until_d)[:last] if mean else np.full(last, curve.survival[last - 1])
    risk, deaths = tally.at_risk[:last], tally.deaths[:last]
    own = np.divide(weight, risk - deaths, out=np.zeros(last), where=risk > deaths)
    so_far = np.cumsum(own * deaths / risk)
    place = np.searchsorted(curve.time_d[:last], np.nan_to_num(times, nan=np.inf), side="right") - 1
    here = place.clip(min=0)
    hit = np.asarray(died, bool) & (times <= until_d)
    found = tally.patients * np.where(place >= 0, so_far[here] - hit * own[here], 0.0)
    return np.where(np.isfinite(times), found, np.nan)
