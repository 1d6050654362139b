"""Power: the chance that a trial of n patients an arm would find the difference that the virtual trial has.

A trial of parallel groups is drawn many times from the virtual patients, each arm from its own, with replacement and
not paired, and tested at 5 %, two-sided: Welch's t-test for means, the pooled test of two shares, the log-rank test for
survival. The standard error is that of the draws alone. That the virtual patients and the difference between the arms
are themselves a model's, and finite in number, is not in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from dose.errors import InputError, describe, nearest
from dose.tissues import TWO_SIDED_95
from twin.trial.results import Trial
from twin.trial.statistics_endpoints import Endpoint, endpoints, part_values

ALPHA, WANTED = 0.05, 0.8
SIZES = (10, 20, 40, 80, 160, 320, 640)
STREAM = 20_045
DRAWS = {"mean": 2000, "share": 20_000, "survival": 400}
"""Trials drawn for each size; the log-rank test is slow."""
BLOCK = 2_000_000
"""Numbers drawn at once."""
TESTS = {"mean": "Welch's t-test", "share": "test of two shares", "survival": "log-rank test"}
SURVIVAL = "survival"
"""The endpoint of the log-rank test."""


@dataclass(frozen=True)
class PowerCurve:
    """Power [size] with its standard error for `sizes` patients an arm; `needed` patients give 80 % (NaN: not in
    range), between `needed_lower95` and `needed_upper95` by the draws."""

    endpoint: str
    words: str
    arms: tuple[str, str]
    test: str
    sizes: np.ndarray
    power: np.ndarray
    error: np.ndarray
    needed: float
    needed_lower95: float
    needed_upper95: float


def power_curve(
    trial: Trial, endpoint: str, arms: tuple[str, str], sizes: Sequence[int] = SIZES, seed: int = 0
) -> PowerCurve:
    """Power of a mean or share of the endpoint table, or of "survival", between two arms.

    Raises:
        InputError: an endpoint or arm that there is not, sizes below 2, or an arm without results.
    """
    numbers = np.array(sorted(sizes), dtype=int)
    if not len(numbers) or numbers[0] < 2:
        raise InputError(describe("sizes", f"{list(sizes)}", "numbers of patients from 2 up", "correct them"))
    chosen = _endpoint(trial, endpoint)
    groups = [_group(trial, chosen, arm) for arm in arms]
    rng = np.random.default_rng([STREAM, seed])
    draws = DRAWS[chosen.kind]
    power = np.array([_share_found(chosen.kind, groups, int(n), draws, rng) for n in numbers])
    error = np.sqrt(power * (1 - power) / draws)
    needed = [needed_for(numbers, power + z * error) for z in (0.0, TWO_SIDED_95, -TWO_SIDED_95)]
    return PowerCurve(chosen.name, chosen.words, arms, TESTS[chosen.kind], numbers, power, error, *needed)


def needed_for(sizes: np.ndarray, power: np.ndarray, wanted: float = WANTED) -> float:
    """Patients an arm for this power, between sizes along the probit of power over the root of n; NaN outside."""
    rising = np.maximum.accumulate(np.clip(power, 1e-6, 1 - 1e-6))
    if not rising[0] <= wanted <= rising[-1]:
        return np.nan
    k = int(np.searchsorted(rising, wanted))
    ends, roots = stats.norm.ppf(rising[max(k - 1, 0) : k + 1]), np.sqrt(sizes[max(k - 1, 0) : k + 1])
    return float(np.interp(stats.norm.ppf(wanted), ends, roots) ** 2)


def _endpoint(trial: Trial, name: str) -> Endpoint:
    every = {e.name: e for e in endpoints(trial) if e.kind in ("mean", "share")}
    every[SURVIVAL] = Endpoint(SURVIVAL, "survival", "d", "survival")
    if name in every:
        return every[name]
    hint = nearest(name, tuple(every)) or "one of " + ", ".join(every)
    raise InputError(describe("endpoint", repr(name), hint, "name a mean, a share or survival"))


def _group(trial: Trial, endpoint: Endpoint, arm: str) -> np.ndarray:
    """[row, patient] of an arm: its values, or times and deaths; patients without a result are left out."""
    if arm not in trial.arms:
        hint = nearest(arm, trial.arms) or "one of " + ", ".join(trial.arms)
        raise InputError(describe("arm", repr(arm), hint, "correct the name"))
    a, found = trial.arms.index(arm), []
    for part in part_values(trial, () if endpoint.name == SURVIVAL else (endpoint,)):
        if endpoint.name == SURVIVAL:
            found.append(np.stack([part.columns["survival_d"][a], part.columns["died"][a]]))
        else:
            every = part.exceeded[endpoint.subject] if endpoint.of is None else endpoint.of(part.columns)
            found.append(every[a][None])
    values = np.concatenate(found, axis=1)
    values = values[:, np.isfinite(values).all(axis=0)]
    if not values.shape[1]:
        do = "choose an endpoint that the arm has"
        raise InputError(describe(f"arm {arm}", f"no patient with {endpoint.words}", "at least one", do))
    return values


def _share_found(kind: str, groups, size: int, draws: int, rng) -> float:
    """Share of drawn trials of this size whose test is below ALPHA."""
    if kind == "share":
        return float(np.mean(_two_shares(*(rng.binomial(size, g[0].mean(), draws) for g in groups), size) < ALPHA))
    if kind == "survival":
        return float(np.mean([_log_rank(*(_drawn(g, size, rng) for g in groups)) < ALPHA for _ in range(draws)]))
    found, block = 0, max(1, BLOCK // size)
    for start in range(0, draws, block):
        shape = (min(block, draws - start), size)
        found += int(np.sum(_welch(*(g[0][rng.integers(0, g.shape[1], shape)] for g in groups)) < ALPHA))
    return found / draws


def _drawn(group: np.ndarray, size: int, rng) -> np.ndarray:
    return group[:, rng.integers(0, group.shape[1], size)]


def _welch(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """p [draw] of values [draw, patient]; 1 where both groups are the same number, 0 where they are two."""
    size = one.shape[1]
    a, b = one.var(axis=1, ddof=1) / size, other.var(axis=1, ddof=1) / size
    gap = np.abs(one.mean(axis=1) - other.mean(axis=1))
    spread = a + b > 0
    safe = np.where(spread, a + b, 1.0)
    degrees = safe**2 * (size - 1) / np.where(spread, a**2 + b**2, 1.0)
    return np.where(spread, 2 * stats.t.sf(gap / np.sqrt(safe), degrees), gap == 0)


def _two_shares(one: np.ndarray, other: np.ndarray, size: int) -> np.ndarray:
    """p [draw] of events of two groups of the same size, pooled variance, normal."""
    pooled = (one + other) / (2 * size)
    error = np.sqrt(pooled * (1 - pooled) * 2 / size)
    gap = np.abs(one - other) / size
    return np.where(error > 0, 2 * stats.norm.sf(gap / np.where(error > 0, error, 1.0)), 1.0)


def _log_rank(one: np.ndarray, other: np.ndarray) -> float:
    if not (one[1].any() or other[1].any()):
        return 1.0
    samples = (stats.CensoredData(uncensored=t[d == 1], right=t[d == 0]) for t, d in (one, other))
    return float(stats.logrank(*samples).pvalue)
