"""Which scan times tell most about this patient's doses: the expected posterior of each set of times, ranked.

At each draw of the parameters the posterior after a set of scans is taken as normal (Laplace), with the scans'
information J' C^-1 J added to the prior's; the variance of the log time-integrated activity (TIA) q follows from its
gradient g as g' (P^-1 + J' C^-1 J)^-1 g. Draws stand for what is not yet known, so their mean is the expectation over
the patients that this one may be, and not a statement about one point. At fixed mass the log dose has the sd of the
log TIA, plus that of the mass, which no scan time changes.

The information of a set on a quantity is the expected drop of its entropy, mean ln(sd before / sd after), in nats: 0.69
nats halve the width. C holds what scans share (calibration, recovery, contour), so more scans do not average that away.

References: Chaloner and Verdinelli, Stat Sci 1995;10:273 (expected information as a criterion; Laplace at draws from
the prior); Rinscheid et al., EJNMMI Phys 2020;7:41 (schedules for 177Lu-PSMA by simulated kinetics).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from jaxtyping import Float

from calibration import noise
from calibration.design_gradients import slopes
from calibration.forward import Course, modelled, pool_weights
from calibration.identifiability import index_of
from calibration.observations import Observations
from calibration.parameters import Prior
from calibration.posterior import Z90
from dose.errors import InputError, describe
from pbpk.check import require_double

TIMES_H = (4.0, 24.0, 48.0, 72.0, 96.0, 120.0, 168.0)
"""Candidate hours after the administration: those at which departments scan."""
COUNTING_SD = 0.03
"""Relative sd of counting and contour stated with a candidate scan (an assumption; 1 to 3 % is usual for organs)."""
MOST_SCANS = 3


@dataclass(frozen=True)
class Design:
    """A set of scan times (h after the administration) and what it leaves, by quantity.

    `log_sd` [quantity] is the root of the mean posterior variance of the log TIA; `information_nats` [quantity] the
    expected gain over making no scan; `cost_nats` the mean information lost to the best set of as many scans.
    """

    times_h: tuple[float, ...]
    log_sd: np.ndarray
    information_nats: np.ndarray
    cost_nats: float = 0.0

    @property
    def factor90(self) -> np.ndarray:
        """Factor [quantity] by which the expected 90 % interval reaches up and down from its middle."""
        return np.exp(Z90 * self.log_sd)


@dataclass(frozen=True)
class DesignTable:
    """Designs of one to three scans, within each number of scans the most informative first.

    `before_log_sd` [quantity] is the spread without any of these scans (the prior's, or what made scans leave).
    """

    quantities: tuple[str, ...]
    before_log_sd: np.ndarray
    rows: tuple[Design, ...]

    def of(self, scans: int) -> tuple[Design, ...]:
        """Designs of so many scans, the best first."""
        return tuple(row for row in self.rows if len(row.times_h) == scans)

    def best(self, scans: int = 1) -> Design:
        return self.of(scans)[0]

    def ranked_by(self, quantity: str) -> DesignTable:
        """The same designs ranked by one quantity alone.

        Raises:
            InputError: the table has no such quantity.
        """
        k = index_of(quantity, self.quantities)
        return replace(self, rows=_ranked(self.rows, np.eye(len(self.quantities))[k]))

    def __str__(self) -> str:
        head = f"{'scans at, h':20}" + "".join(f"{q:>16}" for q in self.quantities) + f"{'cost, nats':>12}"
        line = lambda words, sd, end: f"{words:20}" + "".join(f"{100 * x:15.1f}%" for x in sd) + end
        rows = [line(", ".join(f"{t:g}" for t in r.times_h), r.log_sd, f"{r.cost_nats:12.2f}") for r in self.rows]
        return "\n".join([head, line("none of these", self.before_log_sd, f"{'':>12}"), *rows])


def scan_designs(
    courses: tuple[Course, ...],
    prior: Prior,
    draws: Float[np.ndarray, "draw parameter"],
    *,
    quantities: Sequence[str],
    regions: Sequence[str],
    times_h: Sequence[float] = TIMES_H,
    scans: Sequence[int] = (1, 2, MOST_SCANS),
    cycle: int | None = None,
    modality: str = "SPECT",
    counting_sd: float = COUNTING_SD,
    made: Observations | None = None,
) -> DesignTable:
    """Expected sd of the log TIAs of `quantities` after scans of `regions` at every set of `times_h`.

    Args:
        courses: of the patient; the TIA is that of the whole first one (the therapy).
        draws: log offsets from the prior median, of the posterior so far, or of the prior where nothing was measured.
        quantities: regions whose dose is wanted.
        regions: what each scan would measure.
        scans: numbers of scans, each from 1 to 3.
        cycle: which administration the scans follow (default: the first course's first).
        made: observations that exist already; their information is kept, and shared errors are shared with them.

    Raises:
        InputError: draws, times, numbers, a cycle or a region that cannot be used.
    """
    require_double()
    organs = courses[0].kinetics.organs
    cycle = min(a.cycle for a in courses[0].administrations) if cycle is None else cycle
    draws, times_h = np.asarray(draws, float), tuple(sorted(float(t) for t in times_h))
    _check(courses, prior, draws, times_h, scans, cycle, counting_sd)
    wanted = np.stack([_weights("quantities", q, organs) for q in quantities])
    for region in regions:
        _weights("regions", region, organs)
    made = Observations.empty() if made is None else made
    made = made.select(modelled(made, organs))
    unscanned = _candidates(regions, times_h, cycle, modality, np.ones(len(regions) * len(times_h)), counting_sd)
    found = slopes(courses, made.join(unscanned), prior.names, draws, wanted)
    middle = np.exp(np.median(found.log_activity, axis=0))[len(made) :]
    everything = made.join(_candidates(regions, times_h, cycle, modality, middle, counting_sd))
    covariance = noise.covariance(everything)
    cholesky = np.linalg.cholesky(prior.covariance)
    white, gradient = found.activity_by @ cholesky, found.tia_by @ cholesky
    after = lambda rows: _variance(white[:, rows], gradient, covariance[np.ix_(rows, rows)])
    fixed = np.arange(len(made))
    at = {t: len(made) + np.arange(len(regions)) * len(times_h) + k for k, t in enumerate(times_h)}
    before = after(fixed)
    sets = [s for n in scans for s in combinations(times_h, n)]
    rows = [_design(s, before, after(np.concatenate([fixed, *(at[t] for t in s)]))) for s in sets]
    weight = np.full(len(wanted), 1 / len(wanted))
    return DesignTable(tuple(quantities), np.sqrt(before.mean(0)), _ranked(rows, weight))


def _candidates(regions, times_h, cycle: int, modality: str, activity_MBq, counting_sd: float) -> Observations:
    """Scans not made yet, region by region and within it time by time."""
    count = len(activity_MBq)
    return Observations(
        tuple(r for r in regions for _ in times_h), np.tile(times_h, len(regions)), activity_MBq,
        counting_sd * activity_MBq, np.full(count, np.nan), (modality,) * count, (cycle,) * count,
    )  # fmt: skip


def _variance(white, gradient, covariance) -> Float[np.ndarray, "draw quantity"]:
    """Posterior variance of log quantities by Woodbury's identity, in the size of the observations.

    `white` [draw, observation, parameter] and `gradient` [draw, quantity, parameter] are by whitened parameters.
    """
    prior = np.sum(gradient**2, axis=-1)
    shown = np.einsum("dop,dqp->doq", white, gradient)
    inner = covariance + white @ white.swapaxes(-1, -2)
    return prior - np.einsum("doq,doq->dq", shown, np.linalg.solve(inner, shown))


def _design(times_h, before, after) -> Design:
    return Design(times_h, np.sqrt(after.mean(0)), 0.5 * np.log(before / after).mean(0))


def _ranked(rows, weight) -> tuple[Design, ...]:
    """Sorted by number of scans, then by weighted information; the cost is counted from the best of each number."""
    worth = lambda row: float(weight @ row.information_nats)
    best = {n: max(worth(r) for r in rows if len(r.times_h) == n) for n in {len(r.times_h) for r in rows}}
    rows = [replace(r, cost_nats=best[len(r.times_h)] - worth(r)) for r in rows]
    return tuple(sorted(rows, key=lambda r: (len(r.times_h), r.cost_nats)))


def _weights(field: str, region: str, organs) -> np.ndarray:
    found = pool_weights(region, organs, frozenset())
    if found is None:
        index_of(region, organs)
        raise InputError(describe(field, repr(region), "a region of the model", "leave it out"))
    return found


def _check(courses, prior: Prior, draws, times_h, scans, cycle: int, counting_sd: float) -> None:
    size, many = len(prior.names), len(times_h)
    rules = (
        ("draws: shape", f"{draws.shape}", draws.ndim == 2 and draws.shape[1:] == (size,) and len(draws) > 0,
         f"(draws, {size})", "take Posterior.draws, or draws of the prior"),
        ("times_h", f"{times_h}", many > 0 and all(0 < t < np.inf for t in times_h) and len(set(times_h)) == many,
         "different finite hours above 0", "count from the administration of the cycle"),
        ("scans", f"{tuple(scans)}", len(scans) > 0 and all(1 <= n <= min(MOST_SCANS, many) for n in scans),
         f"numbers from 1 to {min(MOST_SCANS, many)}", "ask for fewer scans, or give more candidate times"),
        ("cycle", f"{cycle}", any(c.has(cycle) for c in courses), "the cycle of an administration",
         "add the administration, or name another cycle"),
        ("counting_sd", f"{counting_sd:g}", 0 < counting_sd < 1, "a relative sd between 0 and 1", "0.03 is 3 %"),
    )  # fmt: skip
    for field, found, good, expected, do in rules:
        if not good:
            raise InputError(describe(field, found, expected, do))
