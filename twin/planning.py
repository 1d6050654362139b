"""The next activities: as much tumour dose as the organ limits allow with 95% probability.

With the ligand amount of a cycle fixed, hot ligand is linear once the total is known (pbpk.state), so a draw's doses
are exactly linear in the activities and its BED is quadratic; one batched solve gives the coefficients and the
optimiser works on them. The chance constraint is the empirical quantile over the draws, whose gradient is that of the
draws next to it. Method: sample-average chance constraint, CLINICAL.md section 4.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize

from dose.errors import InputError, describe
from dose.regions import is_tumour
from pbpk.administration import Administration
from pbpk.parameters import ligand
from twin.constraints import Limit, activity_cap_MBq, default_limits
from twin.forecast import dose_report
from twin.patient import DoseReport, PatientTwin, Plan

__all__ = ["default_limits", "plan"]

PROBABILITY = 0.05
ACTIVE_SHARE = 1e-3
"""A constraint counts as active when its slack is below this share of it; activities are rounded down to 1 MBq."""


@dataclass(frozen=True)
class _Problem:
    """Coefficients at the reference activities: arrays [draw, cycle]; limits' past sums [draw]."""

    reference_MBq: np.ndarray
    limits: tuple[Limit, ...]
    past: tuple[np.ndarray, ...]
    linear: tuple[np.ndarray, ...]
    quadratic: tuple[np.ndarray, ...]
    benefit: np.ndarray
    probability: float


def plan(
    twin: PatientTwin,
    limits: tuple[Limit, ...] | None = None,
    *,
    cycles: int = 4,
    interval_days: float = 42.0,
    probability: float = PROBABILITY,
    cap_MBq: float | None = None,
) -> Plan:
    """Activities of the remaining cycles (up to `cycles` in all) that give most tumour dose within the limits.

    Each limit holds with probability 1 - `probability` over posterior draws. Without a tumour the total activity is
    maximised instead. Doses already given count against the limits; the first cycle planned follows the last one
    given by `interval_days`.

    Raises:
        InputError: a limit on a region that is not in the report, no cycles left, or a nuclide without a cap.
    """
    limits = default_limits() if limits is None else tuple(limits)
    cap = cap_MBq or activity_cap_MBq(twin.study.nuclide)
    given, future = _future(twin, cycles, interval_days, cap)
    observed = frozenset(twin.study.observations.cycle) - {0}
    if not future:
        report = dose_report(twin, given, observed)
        return Plan((), (), report, _exceeded(report, limits), (f"all {cycles} cycles were given: nothing to plan",))
    report = dose_report(twin, (*given, *future), observed)
    problem = _problem(report, limits, len(given), probability)
    scale = _optimise(problem)
    amounts = [f.amount_nmol for f in future]
    activities = np.floor(scale * cap + 1e-6)
    scale = activities / cap
    planned = tuple(
        replace(f, activity_MBq=float(a), amount_nmol=n)
        for f, a, n in zip(future, activities, amounts, strict=True)
        if a > 0.0
    )
    final = _scaled(report, len(given), scale)
    warnings = _warnings(final, limits, probability) + tuple(
        f"no activity is left for cycle {f.cycle} within the limits"
        for f, a in zip(future, activities, strict=True)
        if a <= 0
    )
    active = tuple(_active(problem, scale, k) for k, a in enumerate(activities) if a > 0.0)
    return Plan(planned, active, final, _exceeded(final, limits), warnings)


def _future(twin: PatientTwin, cycles: int, interval_days: float, cap: float):
    study = twin.study
    given = tuple(a for a in study.administrations if a.cycle > 0 and a.ligand == study.ligand)
    last = max(given, key=lambda a: a.cycle, default=None)
    first = last.cycle + 1 if last else 1
    start_h = last.time_h + 24 * interval_days if last else max((a.time_h for a in study.administrations), default=0.0)
    if not last and study.administrations:
        start_h = max(start_h, 0.0)
    amount = last.amount_nmol if last else ligand(study.ligand).typical_amount_nmol("therapy")
    infusion = last.infusion_h if last else 0.0
    return given, tuple(
        Administration(
            c, start_h + 24 * interval_days * (c - first), cap, amount, infusion, study.ligand, study.nuclide
        )
        for c in range(first, cycles + 1)
    )


def _problem(report: DoseReport, limits, given: int, probability: float) -> _Problem:
    past, linear, quadratic = [], [], []
    for lim in limits:
        if lim.region not in report.regions:
            expected = f"one of {', '.join(report.regions)}"
            raise InputError(describe(f"limit {lim.name}", lim.region, expected, "leave it out or add the region"))
        k = report.regions.index(lim.region)
        values = getattr(report, lim.quantity)[..., k]
        proportional = report.linear_bed_Gy[..., k] if lim.quantity == "bed_Gy" else values
        past.append(values[:, :given].sum(axis=1))
        low = np.minimum(proportional, values)
        linear.append(low[:, given:])
        quadratic.append((values - low)[:, given:])
    benefit = _benefit(report, given)
    reference = report.administered_MBq[given:]
    return _Problem(reference, limits, tuple(past), tuple(linear), tuple(quadratic), benefit, probability)


def _benefit(report: DoseReport, given: int) -> np.ndarray:
    """Worth of the activity of each planned cycle: equal, as the forecast's median tumour dose per GBq is constant.

    The drift between cycles widens the forecast but has no direction, so differences of the medians are noise.
    """
    tumours = [k for k, r in enumerate(report.regions) if is_tumour(r)]
    count = len(report.cycles) - given
    return np.full(count, np.median(report.dose_Gy[:, given:][..., tumours]) if tumours else 1.0)


def _quantiles(scale, problem: _Problem):
    """Cumulative quantity of each limit, at the 1 - probability quantile over draws, divided by the limit."""
    out = []
    for lim, past, a, b in zip(problem.limits, problem.past, problem.linear, problem.quadratic, strict=True):
        total = past + jnp.sum(a * scale + b * scale**2, axis=1)
        out.append(jnp.quantile(total, 1 - problem.probability) / lim.value_Gy)
    return jnp.stack(out)


def _optimise(problem: _Problem) -> np.ndarray:
    """Shares of the cap, [cycle], by SLSQP with exact gradients; then pulled back inside the limits if need be."""
    count = len(problem.benefit)
    benefit = problem.benefit / np.maximum(problem.benefit.sum(), 1e-300)
    slack = jax.jit(lambda x: 1 - _quantiles(x, problem))
    slope = jax.jit(jax.jacfwd(slack))
    start = _largest_even_share(slack, count)
    if start <= 0:
        return np.zeros(count)
    answer = minimize(
        lambda x: -float(benefit @ x),
        np.full(count, start),
        jac=lambda x: -benefit,
        bounds=[(0.0, 1.0)] * count,
        constraints={"type": "ineq", "fun": lambda x: np.asarray(slack(x)), "jac": lambda x: np.asarray(slope(x))},
        method="SLSQP",
        options={"maxiter": 200, "ftol": 1e-9},
    )
    best = np.clip(answer.x, 0.0, 1.0)
    best *= _largest_factor(lambda f: bool(np.all(np.asarray(slack(f * best)) >= -1e-9)))
    even = np.full(count, start)
    return best if benefit @ best >= benefit @ even else even


def _largest_even_share(slack, count: int) -> float:
    return _largest_factor(lambda f: bool(np.all(np.asarray(slack(jnp.full(count, f))) >= 0)))


def _largest_factor(fits) -> float:
    """Largest factor in [0, 1] that fits, by bisection to 1e-9; 0 if none does."""
    if fits(1.0):
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _scaled(report: DoseReport, given: int, scale: np.ndarray) -> DoseReport:
    """The report with the planned cycles' activities multiplied by `scale`.

    Dose, weighted or not, is linear in it, and what the BED adds to the weighted dose quadratic.
    """
    factor = np.concatenate([np.ones(given), scale])
    dose = report.dose_Gy * factor[:, None]
    low = np.minimum(report.linear_bed_Gy, report.bed_Gy)
    bed = low * factor[:, None] + (report.bed_Gy - low) * factor[:, None] ** 2
    keep = factor > 0
    return replace(
        report,
        cycles=tuple(c for c, k in zip(report.cycles, keep, strict=True) if k),
        kind=tuple(c for c, k in zip(report.kind, keep, strict=True) if k),
        administered_MBq=(report.administered_MBq * factor)[keep],
        dose_Gy=dose[:, keep],
        bed_Gy=bed[:, keep],
        weighted_Gy=None if report.weighted_Gy is None else (report.weighted_Gy * factor[:, None])[:, keep],
        tia_MBq_h=(report.tia_MBq_h * factor[:, None])[:, keep],
        extrapolated_fraction=report.extrapolated_fraction[keep],
    )


def _active(problem: _Problem, scale: np.ndarray, k: int) -> str:
    """What keeps cycle k from more activity."""
    if scale[k] >= 1 - ACTIVE_SHARE:
        return "activity cap per cycle"
    share = np.asarray(_quantiles(scale, problem))
    worst = int(np.argmax(share))
    if share[worst] >= 1 - ACTIVE_SHARE:
        return f"{problem.limits[worst].name} at {1 - problem.probability:.0%} probability"
    return "none"


def _exceeded(report: DoseReport, limits) -> dict[str, float]:
    """Share of draws whose cumulative quantity is above each limit."""
    total = lambda lim: getattr(report, lim.quantity)[..., report.regions.index(lim.region)].sum(axis=1)
    return {lim.name: float(np.mean(total(lim) > lim.value_Gy * (1 + 1e-6))) for lim in limits}


def _warnings(report: DoseReport, limits, probability: float) -> tuple[str, ...]:
    over = {name: p for name, p in _exceeded(report, limits).items() if p > probability + 1e-9}
    text = "{}: already exceeded with probability {:.0%} by what was given"
    return tuple(text.format(name, p) for name, p in over.items())
