"""The two passes over a trial's parts that its endpoint table is made of.

The first adds up values, counts and times of death; the second what each patient adds to a result of the first
(survival, coverage). Each needs the memory of a part and, up to `EXACT` patients, one number a patient, arm and
endpoint.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from twin.trial import statistics_sums as sums
from twin.trial import survival as km
from twin.trial.results import Trial
from twin.trial.statistics_endpoints import Endpoint, PartValues, part_values

MAKES_UP = 1e-9
"""Days taken off before times are rounded up, so that a whole day stays one."""
TINY = np.finfo(float).tiny


@dataclass
class Sums:
    """What a pass has added up so far: it grows, so it is not frozen, and nobody else holds it.

    `paired` and `pair_tallies` are of the patients with a result in both the arm and the reference: the latter holds
    the arm's tally and the reference's. `fours` counts pairs, `bins` and `kept` serve medians and the bootstrap.
    """

    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    ended: dict[tuple[str, str], int] = field(default_factory=dict)
    moments: dict[str, sums.Moments] = field(default_factory=dict)
    paired: dict[str, sums.Moments] = field(default_factory=dict)
    fours: dict[str, np.ndarray] = field(default_factory=dict)
    bins: dict[str, np.ndarray] = field(default_factory=dict)
    kept: dict[str, list[np.ndarray]] = field(default_factory=dict)
    tallies: dict[str, km.Tally] = field(default_factory=dict)
    pair_tallies: dict[str, tuple[km.Tally, km.Tally]] = field(default_factory=dict)


def first_pass(trial: Trial, every: tuple[Endpoint, ...]) -> Sums:
    """Counts and tallies always, moments of these endpoints."""
    nobody = km.Tally.of([], [])
    found = Sums(tallies=dict.fromkeys(trial.arms, nobody), pair_tallies=dict.fromkeys(trial.arms, (nobody, nobody)))
    for part in part_values(trial, every):
        _count(found, trial, part)
        _tally(found, trial, part)
        for endpoint in every:
            values = _direct(endpoint, part)
            if values is not None:
                _add(found, trial, endpoint, values)
    return found


def _direct(endpoint: Endpoint, part: PartValues) -> np.ndarray | None:
    """[arm, patient] of what one patient alone has; coverage has [2, arm, patient], cycles inside and all."""
    if endpoint.kind == "coverage":
        return np.stack(part.covered[endpoint.subject])
    if endpoint.of is not None:
        return endpoint.of(part.columns)
    return part.exceeded[endpoint.subject] if endpoint.kind == "share" else None


def _count(found: Sums, trial: Trial, part: PartValues) -> None:
    for a, arm in enumerate(trial.arms):
        for counts, words in ((found.counts, part.status[a]), (found.ended, part.ended[a][part.ok[a]])):
            names, numbers = np.unique(words[words != ""].astype(str), return_counts=True)
            for name, number in zip(names, numbers, strict=True):
                counts[arm, str(name)] = counts.get((arm, str(name)), 0) + int(number)


def times_of(trial: Trial, part: PartValues) -> tuple[np.ndarray, np.ndarray]:
    """Days and deaths [arm, patient]; whole days in a large trial, so that there are not more times than days."""
    exact, died = part.columns["survival_d"], np.nan_to_num(part.columns["died"]) > 0
    return (exact if trial.count <= km.EXACT else np.ceil(exact - MAKES_UP)), died


def _tally(found: Sums, trial: Trial, part: PartValues) -> None:
    days, died = times_of(trial, part)
    base = trial.arms.index(trial.reference)
    for a, arm in enumerate(trial.arms):
        both = np.isfinite(days[a]) & np.isfinite(days[base])
        found.tallies[arm] = found.tallies[arm].plus(km.Tally.of(days[a], died[a]))
        old = found.pair_tallies[arm]
        new = (km.Tally.of(days[k][both], died[k][both]) for k in (a, base))
        one, other = (x.plus(y) for x, y in zip(old, new, strict=True))
        found.pair_tallies[arm] = one, other


def _merge(kept: dict[str, sums.Moments], name: str, values: np.ndarray) -> None:
    new = sums.Moments.of(values)
    kept[name] = kept[name].plus(new) if name in kept else new


def _add(found: Sums, trial: Trial, endpoint: Endpoint, values: np.ndarray) -> None:
    name, base = endpoint.name, trial.arms.index(trial.reference)
    _merge(found.moments, name, values)
    if endpoint.kind == "coverage":
        _merge(found.paired, name, np.stack(_in_both(values, base)))
    if endpoint.kind == "mean":
        _merge(found.paired, name, values - values[base])
        if trial.count <= km.EXACT:
            found.kept.setdefault(name, []).append(values)
        else:
            found.bins[name] = found.bins.get(name, 0) + sums.log_bins(values)
    if endpoint.kind == "share":
        found.fours[name] = found.fours.get(name, 0) + _fours(values, values[base])


def _in_both(values: np.ndarray, base: int) -> tuple[np.ndarray, np.ndarray]:
    """Values [.., arm, patient] of each arm and of the reference, in patients who have both."""
    reference = np.broadcast_to(values[..., base : base + 1, :], values.shape)
    known = np.isfinite(values) & np.isfinite(reference)
    return np.where(known, values, np.nan), np.where(known, reference, np.nan)


def _fours(values: np.ndarray, base: np.ndarray) -> np.ndarray:
    """[arm, 4]: pairs with the event in both, in the arm only, in the reference only, in neither."""
    known = np.isfinite(values) & np.isfinite(base)
    here, there = values == 1, np.broadcast_to(base == 1, values.shape)
    kinds = (here & there, here & ~there, ~here & there, ~here & ~there)
    return np.stack([(known & kind).sum(axis=1) for kind in kinds], axis=1)


def second_pass(trial: Trial, every: tuple[Endpoint, ...], found: Sums, until_d: float) -> Sums:
    """Moments of what patients add to coverage, and of what they add to paired differences; times in small trials."""
    second = Sums()
    late = tuple(e for e in every if e.kind in ("survival", "restricted", "coverage"))
    curves = {arm: tuple(map(km.kaplan_meier, two)) for arm, two in found.pair_tallies.items()}
    for part in part_values(trial, late):
        for endpoint in late:
            if endpoint.kind == "coverage":
                _add_coverage(second, trial, endpoint, np.stack(part.covered[endpoint.subject]), found)
            else:
                _merge(second.paired, endpoint.name, _survival_pairs(trial, endpoint, part, curves, until_d))
        if trial.count <= km.EXACT:
            for name in ("survival_d", "died"):
                second.kept.setdefault(name, []).append(part.columns[name])
    return second


def ratio(mean: np.ndarray) -> np.ndarray:
    """Cycles inside over all cycles, of their means [2, ..]; NaN without cycles."""
    return np.where(mean[1] > 0, mean[0] / np.maximum(mean[1], TINY), np.nan)


def _add_coverage(second: Sums, trial: Trial, endpoint: Endpoint, values: np.ndarray, found: Sums) -> None:
    """Of a ratio of sums: (inside - ratio x cycles) over the mean of cycles."""
    adds = lambda x, mean: (x[0] - ratio(mean)[:, None] * x[1]) / np.maximum(mean[1], TINY)[:, None]
    _merge(second.moments, endpoint.name, adds(values, found.moments[endpoint.name].mean))
    pair = found.paired[endpoint.name].mean
    one, other = _in_both(values, trial.arms.index(trial.reference))
    _merge(second.paired, endpoint.name, adds(one, pair[0]) - adds(other, pair[1]))


def _survival_pairs(trial: Trial, endpoint: Endpoint, part: PartValues, curves, until_d: float) -> np.ndarray:
    """[arm, patient]: what a patient adds to the difference from the reference."""
    (days, died), base = times_of(trial, part), trial.arms.index(trial.reference)
    is_mean, until = endpoint.kind == "restricted", until_d if endpoint.kind == "restricted" else endpoint.at_d
    adds = lambda curve, k: km.influence(curve, days[k], died[k], until, is_mean)
    return np.stack([adds(curves[arm][0], a) - adds(curves[arm][1], base) for a, arm in enumerate(trial.arms)])
