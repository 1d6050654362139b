"""Which scan to make in the coming cycle: what each would let the cycles after it do.

Every composite draw is one patient the data allow. A scan of a region at some hour of the coming cycle would show that
patient's activity with the scan's error; the other draws then move towards it as a linear update does (ensemble Kalman
filter, Evensen 2003), and the later cycles are scaled as far as the moved draws' limits let them. The mean over
patients less what the same rule gives without a scan is what the scan is worth (expected value of sample information).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dose.errors import InputError, describe
from pbpk.compiled import compiled
from twin.constraints import activity_cap_MBq
from twin.outlook import Coming, Outlook, doses, outlook_of
from twin.outlook.report import coming_of
from twin.patient import PatientTwin, Plan, ScanWorth
from twin.planning.choices import Choices
from twin.planning.problem import Problem, Variables, clean, middle_doses, tail_of
from twin.planning.scans import checked_times, shown_by
from twin.planning.setting import problem_of

TIMES_H = (4.0, 24.0, 48.0, 72.0, 96.0, 120.0, 168.0)
PATIENTS = 64
"""Draws taken for the truth in turn; their mean is known to an eighth of the spread between patients."""
STEPS = 22
SEED = 20_006


def scan_worth(
    twin: PatientTwin | Outlook,
    made: Plan,
    times_h: Sequence[float | Sequence[float]] = TIMES_H,
    *,
    region: str = "kidneys",
    probability: float = 0.05,
    cap_MBq: float | None = None,
) -> tuple[ScanWorth, ...]:
    """What scans of the coming cycle are worth to the cycles after it, for each of `times_h`, best first.

    An entry is one hour or several hours of one protocol, such as (24, 96). `made` is the plan that the later
    activities are scaled from, in their proportion, up to `cap_MBq` each (default: the nuclide's cap). Error of a scan:
    that of SPECT in calibration/data/noise.csv.

    Raises:
        InputError: fewer than two cycles planned, a region not in the report, hours outside of the outlook's curves.
    """
    outlook = twin if isinstance(twin, Outlook) else outlook_of(twin)
    if len(made.administrations) < 2:
        do = "plan at least two cycles: a scan of the last one changes nothing"
        raise InputError(describe("plan", f"{len(made.administrations)} cycles to come", "two or more", do))
    if region not in outlook.regions:
        raise InputError(describe("region", region, f"one of {', '.join(outlook.regions)}", "name a reported region"))
    protocols = [tuple(map(float, np.atleast_1d(hours))) for hours in times_h]
    checked_times(outlook, protocols)
    limits = tuple(lim for lim in made.limits if lim.region == region and not lim.at_least)
    if not limits:
        raise InputError(describe("plan: limits", f"none on {region}", "one that a scan of it bears on", "add one"))
    cap = cap_MBq or activity_cap_MBq(outlook.twin.study.nuclide)
    return _ranked(outlook, made, limits, region, protocols, probability, cap)


def _ranked(outlook: Outlook, made: Plan, limits, region: str, protocols, probability: float, cap_MBq: float):
    c = coming_of(outlook, made.administrations)
    v = Variables(c.activity_MBq, c.amount_nmol, c.interval_h)
    problem = problem_of(outlook, limits, Choices(), "activity", probability, 1.0)
    later_MBq = float(np.sum(v.activity_MBq[1:]))
    per_MBq = _tumour_per_MBq(outlook, problem, v)
    most = max(cap_MBq / float(np.max(v.activity_MBq[1:])), 1.0)
    everything, _ = _gain(problem, v, None, most)
    rows = []
    for hours in protocols:
        gain, error = _gain(problem, v, _first_scan(outlook, problem, v, hours), most)
        share = gain / everything if everything > 0 else 0.0
        MBq, sd_MBq = gain * later_MBq, error * later_MBq
        rows.append(ScanWorth(hours, region, MBq, sd_MBq, MBq * per_MBq, share, gain))
    return tuple(sorted(rows, key=lambda row: -row.gain_MBq))


def cheapest(rows: Sequence[ScanWorth], least_gain_per_scan: float) -> tuple[ScanWorth, ...]:
    """Protocols with the one first whose gain, less `least_gain_per_scan` for each of its scans, is largest; empty
    where no scan brings that much."""
    net = lambda row: row.relative - least_gain_per_scan * len(row.times_h)
    ordered = sorted(rows, key=lambda row: -net(row))
    return tuple(ordered) if ordered and net(ordered[0]) > 0 else ()


class _Scan(NamedTuple):
    """One number that stands for all scans: `seen` [draw], how far drift moves it, and the sd of its error."""

    seen: np.ndarray
    reach: float
    sd: float


def _first_scan(outlook: Outlook, problem: Problem, v: Variables, hours: Sequence[float]) -> _Scan:
    place = problem.specs[0].regions[0]
    log_dose = np.log(np.asarray(middle_doses(problem, v).dose_Gy)[:, :1, place])
    drift = np.array([outlook.drift_sd[place] ** 2])
    shown = shown_by(outlook, v, 1, place, hours, log_dose, drift)
    weight = shown.weight[0]
    return _Scan(shown.deviation[:, 0] @ weight, float(weight.sum()), float(np.linalg.norm(weight @ shown.root)))


def _tumour_per_MBq(outlook: Outlook, problem: Problem, v: Variables) -> float:
    """Mean tumour dose (Gy) of the later cycles per MBq of theirs."""
    lesions = list(outlook.surfaces.lesions)
    if not lesions:
        return 0.0
    found = middle_doses(problem, v)
    mass = outlook.mass_g[lesions] / outlook.mass_g[lesions].sum()
    later = np.asarray(found.dose_Gy)[:, 1:, lesions].sum(axis=1) @ mass
    return float(later.mean() / max(float(np.sum(v.activity_MBq[1:])), 1e-9))


def _gain(problem: Problem, v: Variables, scan: _Scan | None, most: float) -> tuple[float, float]:
    """Mean and standard error of the gain in the later cycles' scale, which is at most `most`; without a scan the
    uptake is known exactly."""
    replicates, draws = problem.moved.shape[:2]
    rng = np.random.default_rng(SEED)
    truth = rng.choice(replicates * draws, PATIENTS, replace=False)
    one = scan or _Scan(np.zeros(draws), 0.0, 0.0)
    error = one.sd * rng.standard_normal((PATIENTS + 1, replicates * draws))
    arrays = (jnp.asarray(one.seen), jnp.asarray(one.reach), jnp.asarray(error), jnp.asarray(truth), jnp.asarray(most))
    with_scan, without = _scales(problem, v, *arrays, scan is None)
    gain = np.asarray(with_scan) - float(without)
    return float(gain.mean()), float(gain.std() / np.sqrt(len(gain)))


@compiled
def _scales(problem: Problem, v: Variables, seen, reach, error, truth, most, known):
    """Largest scale of the later cycles for each truth after its scan [patient], and without a scan."""
    middle = doses(clean(problem.surfaces), Coming(v.activity_MBq, v.amount_nmol, v.interval_h, problem.trend))
    place = problem.used.index(int(problem.specs[0].regions[0]))
    walk = jnp.log(problem.moved[:, :, 1, place]) - jnp.log(problem.moved[:, :, 0, place])
    size = jnp.log(middle.dose_Gy[:, 0, problem.specs[0].regions[0]]) + walk
    shown = jnp.where(known, size, seen + reach * walk).ravel() + error[-1] * (1 - known)
    size = size.ravel()
    centred = shown - jnp.mean(shown)
    gain = jnp.mean((size - jnp.mean(size)) * centred) / jnp.maximum(jnp.mean(centred**2), 1e-20)
    shift = lambda i, noise: gain * (shown[i] - error[-1, i] * (1 - known) + noise[i] - shown)
    none = _largest(problem, middle, jnp.zeros_like(size), most)
    each = jax.vmap(lambda i, noise: _largest(problem, middle, shift(i, noise), most))(truth, error[:-1])
    return each, none


def _largest(problem: Problem, middle, shift, most):
    """Largest scale of the cycles after the first, up to `most`, that keeps the limits, draws moved by `shift`
    [composite]."""
    factor = jnp.exp(shift.reshape(problem.moved.shape[:2]))[:, :, None]

    def fits(scale):
        good = True
        for k, spec in enumerate(problem.specs):
            at, r = problem.used.index(spec.regions[0]), spec.regions[0]
            moved = problem.moved[..., 1:, at] * factor
            low = middle.dose_Gy[..., r] if spec.quantity == "dose_Gy" else middle.weighted_Gy[..., r]
            square = 0.0 * low if spec.quantity == "dose_Gy" else middle.bed_Gy[..., r] - middle.weighted_Gy[..., r]
            scales = jnp.full(low.shape[1], scale).at[0].set(1.0)
            first = problem.moved[..., 0, at]
            past = (problem.past_dose_Gy if spec.quantity == "dose_Gy" else problem.past_weighted_Gy)[:, r] * first
            past = past + (0.0 if spec.quantity == "dose_Gy" else problem.past_quadratic_Gy[:, r] * first**2)
            total = jnp.sum(low * moved * scales + square * (moved * scales) ** 2, axis=-1) + past
            good = good & (tail_of(total.ravel(), spec, problem.tail[k]) <= problem.value_Gy[k])
        return good

    def halve(ends, _):
        low, high = ends
        scale = 0.5 * (low + high)
        ok = fits(scale)
        return (jnp.where(ok, scale, low), jnp.where(ok, high, scale)), None

    (low, _), _ = jax.lax.scan(halve, (jnp.zeros(()), most), None, length=STEPS)
    return low
