"""The endpoint table of a trial: each endpoint in each arm with its interval, and its paired difference.

Two passes over the parts: one adds up values and counts, one what needs the first's result (survival, coverage). Both
need the memory of a part and, up to `EXACT` patients, of one number a patient, arm and endpoint. All arms treat the
same patients, so differences are taken within a patient, of those with a result in both arms.

Intervals are 95 %. Means: bootstrap over patients up to EXACT patients, normal above. Medians: order statistics.
Shares: Wilson; differences of shares: Newcombe's paired method. Survival: Kaplan-Meier; its differences, and coverage:
normal, of the patients' influence on the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from twin.trial import statistics_sums as sums
from twin.trial import survival as km
from twin.trial.results import Trial
from twin.trial.statistics_endpoints import NOT_ELIGIBLE, OK, Endpoint, endpoints
from twin.trial.statistics_passes import Sums, first_pass, ratio, second_pass

if TYPE_CHECKING:
    import pandas as pd

NONE = (np.nan, np.nan, np.nan)
MOST_UNREACHED = 0.01
"""Share of resamples in which a median may not be reached before its difference has no interval."""


def endpoint_table(trial: Trial) -> pd.DataFrame:
    """One row an endpoint and arm.

    Columns: endpoint, words, unit, kind, arm, patients (with a value), value, lower95, upper95; median, median_lower95,
    median_upper95 (means only); pairs, difference, difference_lower95, difference_upper95 (from the reference arm, NaN
    in it); not_eligible, failed (patients of the arm without a result).

    Raises:
        InputError: a part that cannot be read.
    """
    import pandas as pd

    every = endpoints(trial)
    found = first_pass(trial, every)
    until = restricted_until(found.tallies)
    second = second_pass(trial, every, found, until)
    curves = {arm: km.kaplan_meier(found.tallies[arm]) for arm in trial.arms}
    state = _Made(trial, found, second, curves, until)
    rows = [row for endpoint in every for row in state.rows(endpoint)]
    return pd.DataFrame(rows)


def counts_table(trial: Trial) -> pd.DataFrame:
    """One row an arm: patients, not_eligible, failed (and by status), ok, and how therapy ended in those."""
    import pandas as pd

    found = first_pass(trial, ())
    rows = []
    for arm in trial.arms:
        by_status = {status: n for (a, status), n in found.counts.items() if a == arm}
        ends = {f"ended_{end}": n for (a, end), n in found.ended.items() if a == arm}
        failed = {f"failed_{s}": n for s, n in by_status.items() if s not in (OK, NOT_ELIGIBLE)}
        rows.append({"arm": arm, "patients": sum(by_status.values()), "not_eligible": by_status.get(NOT_ELIGIBLE, 0),
                     "failed": sum(failed.values()), "ok": by_status.get(OK, 0), **failed, **ends})  # fmt: skip
    made = pd.DataFrame(rows)
    return made.fillna(dict.fromkeys(made.columns.drop("arm"), 0)).astype(dict.fromkeys(made.columns.drop("arm"), int))


def survival_curves(trial: Trial) -> dict[str, km.Curve]:
    """Kaplan-Meier's curve of each arm."""
    tallies = first_pass(trial, ()).tallies
    return {arm: km.kaplan_meier(tallies[arm]) for arm in trial.arms}


def restricted_until(tallies: dict[str, km.Tally]) -> float:
    """The time up to which mean survival is taken: the shortest of the arms' longest follow-ups."""
    return min((float(t.time_d[-1]) for t in tallies.values() if len(t.time_d)), default=np.nan)


@dataclass(frozen=True)
class _Made:
    """Both passes done: the rows. Each kind's method gives (patients, value, pairs, difference, median) by arm."""

    trial: Trial
    found: Sums
    second: Sums
    curves: dict[str, km.Curve]
    until_d: float

    @property
    def base(self) -> int:
        return self.trial.arms.index(self.trial.reference)

    @property
    def seed(self) -> int:
        return int(self.trial.design.get("seed", 0))

    def rows(self, endpoint: Endpoint) -> list[dict]:
        made = getattr(self, f"_{endpoint.kind}")(endpoint)
        return [self._row(endpoint, arm, *made[a]) for a, arm in enumerate(self.trial.arms)]

    def _row(self, endpoint: Endpoint, arm: str, patients, value, pairs, difference, middle=NONE) -> dict:
        if arm == self.trial.reference:
            difference, pairs = NONE, 0
        lost = [n for (a, status), n in self.found.counts.items() if a == arm and status not in (OK, NOT_ELIGIBLE)]
        row = {"endpoint": endpoint.name, "words": endpoint.words, "unit": endpoint.unit, "kind": endpoint.kind,
               "arm": arm, "patients": int(patients)}  # fmt: skip
        row |= _three("", value) | _three("median", middle) | {"pairs": int(pairs)} | _three("difference", difference)
        return row | {"not_eligible": self.found.counts.get((arm, NOT_ELIGIBLE), 0), "failed": sum(lost)}

    def _mean(self, endpoint: Endpoint) -> list[tuple]:
        name, arms = endpoint.name, range(len(self.trial.arms))
        one, two = self.found.moments[name], self.found.paired[name]
        if name in self.found.kept:
            values = np.concatenate(self.found.kept[name], axis=1)
            low, high = sums.bootstrap_means(np.concatenate([values, values - values[self.base]]), self.seed)
            ends = list(zip(low.reshape(2, -1), high.reshape(2, -1)))
            middles = [sums.exact_median(row) for row in values]
        else:
            ends = [sums.normal_interval(m.mean, m.error) for m in (one, two)]
            middles = [sums.binned_median(row) for row in self.found.bins[name]]
        made = [[(m.mean[a], low[a], high[a]) if m.count[a] else NONE for a in arms]
                for m, (low, high) in zip((one, two), ends)]  # fmt: skip
        return [(one.count[a], made[0][a], two.count[a], made[1][a], middles[a]) for a in arms]

    def _share(self, endpoint: Endpoint) -> list[tuple]:
        moments, rows = self.found.moments[endpoint.name], []
        for a, four in enumerate(self.found.fours[endpoint.name]):
            count = int(moments.count[a])
            events = int(np.rint(moments.mean[a] * count))
            value = (events / count, *sums.wilson(events, count)) if count else NONE
            rows.append((count, value, four.sum(), sums.paired_share(*(float(x) for x in four))))
        return rows

    def _coverage(self, endpoint: Endpoint) -> list[tuple]:
        mean, pair = self.found.moments[endpoint.name], self.found.paired[endpoint.name]
        share, error = ratio(mean.mean), self.second.moments[endpoint.name].error
        counts = np.where(np.isfinite(share), mean.count[1], 0)
        gap = ratio(pair.mean[0]) - ratio(pair.mean[1])
        ends = [sums.clustered_share(share[a], error[a], int(counts[a])) for a in range(len(share))]
        return [(counts[a], (share[a], *ends[a]), *self._paired(endpoint, a, gap[a])) for a in range(len(share))]

    def _survival(self, endpoint: Endpoint) -> list[tuple]:
        return self._of_curves(endpoint, lambda curve: km.share_at(curve, endpoint.at_d))

    def _restricted(self, endpoint: Endpoint) -> list[tuple]:
        def value(curve: km.Curve):
            mean, error = km.restricted_mean(curve, self.until_d)
            return mean, *sums.normal_interval(mean, error)

        return self._of_curves(endpoint, value)

    def _of_curves(self, endpoint: Endpoint, value) -> list[tuple]:
        rows = []
        for a, (arm, curve) in enumerate(self.curves.items()):
            one, other = (value(km.kaplan_meier(t))[0] for t in self.found.pair_tallies[arm])
            rows.append((curve.tally.patients, value(curve), *self._paired(endpoint, a, one - other)))
        return rows

    def _paired(self, endpoint: Endpoint, a: int, difference: float) -> tuple[int, tuple]:
        """Number of pairs, and a difference with the normal interval of what the patients add to it."""
        paired = self.second.paired[endpoint.name]
        return int(paired.count[a]), (difference, *sums.normal_interval(difference, paired.error[a]))

    def _median_time(self, endpoint: Endpoint) -> list[tuple]:
        """Medians that are not reached are infinite; their difference has an interval only in trials up to EXACT."""
        pairs = [self._median_pair(a) for a in range(len(self.trial.arms))]
        return [(c.tally.patients, km.median(c), *pair) for c, pair in zip(self.curves.values(), pairs, strict=True)]

    def _median_pair(self, a: int) -> tuple[int, tuple]:
        tallies = self.found.pair_tallies[self.trial.arms[a]]
        one, other = (km.median(km.kaplan_meier(t))[0] for t in tallies)
        pairs, both_reached = tallies[0].patients, np.isfinite([one, other]).all()
        if a == self.base or not both_reached:
            return pairs, NONE
        ends = self._median_ends(a) if self.second.kept else (np.nan, np.nan)
        return pairs, (one - other, *ends)

    def _median_ends(self, a: int) -> tuple[float, float]:
        days, died = (np.concatenate(self.second.kept[name], axis=1)[[a, self.base]] for name in ("survival_d", "died"))
        both = np.isfinite(days).all(axis=0)
        drawn = sums.bootstrap_medians(days[:, both], died[:, both] > 0, self.seed)
        reached = np.isfinite(drawn).all(axis=1)
        if np.mean(~reached) > MOST_UNREACHED:
            return np.nan, np.nan
        low, high = np.quantile(drawn[reached, 0] - drawn[reached, 1], [0.025, 0.975])
        return float(low), float(high)


def _three(start: str, three) -> dict[str, float]:
    names = (start or "value", *(f"{start}_{end}" if start else end for end in ("lower95", "upper95")))
    return dict(zip(names, map(float, three), strict=True))
