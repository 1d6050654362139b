"""Which scan to make in the coming cycle: what each would let the cycles after it do.

Every composite draw is one patient the data allow. A scan of a region at some hour of the coming cycle would show that
patient's activity with the scan's error; the other draws then move towards it as a linear update does (ensemble Kalman
filter, Evensen 2003), and the later cycles are scaled as far as the moved draws' limits let them. The mean over
patients less what the same rule gives without a scan is what the scan is worth (expected value of sample information).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from calibration import noise
from calibration.observations import Observations
from dose.errors import InputError, describe
from pbpk.compiled import compiled
from twin.outlook import Coming, Outlook, doses, outlook_of
from twin.outlook.report import coming_of
from twin.patient import PatientTwin, Plan
from twin.planning.choices import Choices
from twin.planning.problem import Problem, Variables, clean, tail_of
from twin.planning.setting import problem_of

TIMES_H = (4.0, 24.0, 48.0, 72.0, 96.0, 120.0, 168.0)
PATIENTS = 64
"""Draws taken for the truth in turn; their mean is known to an eighth of the spread between patients."""
STEPS = 22
SEED = 20_006


@dataclass(frozen=True)
class ScanWorth:
    """A scan of `region` at `time_h` of the coming cycle: mean gain of later activity and of mean tumour dose, with the
    standard error of the first; `share` is the first over what knowing the region's kinetics exactly would give."""

    time_h: float
    region: str
    gain_MBq: float
    gain_sd_MBq: float
    gain_Gy: float
    share: float


def scan_worth(
    twin: PatientTwin | Outlook,
    made: Plan,
    times_h: Sequence[float] = TIMES_H,
    *,
    region: str = "kidneys",
    probability: float = 0.05,
) -> tuple[ScanWorth, ...]:
    """What one scan of the coming cycle is worth to the cycles after it, for each of `times_h`, best first.

    `made` is the plan that the later activities are scaled from, in their proportion. Error of the scan: that of SPECT
    in calibration/data/noise.csv, shared errors taken as unknown.

    Raises:
        InputError: fewer than two cycles planned, a region not in the report, hours outside of the outlook's curves.
    """
    outlook = twin if isinstance(twin, Outlook) else outlook_of(twin)
    if len(made.administrations) < 2:
        do = "plan at least two cycles: a scan of the last one changes nothing"
        raise InputError(describe("plan", f"{len(made.administrations)} cycles to come", "two or more", do))
    if region not in outlook.regions:
        raise InputError(describe("region", region, f"one of {', '.join(outlook.regions)}", "name a reported region"))
    if min(times_h) < outlook.time_h[0] or max(times_h) > outlook.time_h[-1]:
        expected = f"{outlook.time_h[0]:g} to {outlook.time_h[-1]:g} h"
        raise InputError(describe("times_h", f"{list(times_h)}", expected, "choose other hours"))
    limits = tuple(lim for lim in made.limits if lim.region == region and not lim.at_least)
    if not limits:
        raise InputError(describe("plan: limits", f"none on {region}", "one that a scan of it bears on", "add one"))
    return _ranked(outlook, made, limits, region, tuple(times_h), probability)


def _ranked(outlook: Outlook, made: Plan, limits, region: str, times_h, probability: float):
    c = coming_of(outlook, made.administrations)
    v = Variables(c.activity_MBq, c.amount_nmol, c.interval_h)
    problem = problem_of(outlook, limits, Choices(), "activity", probability, 1.0)
    k = outlook.regions.index(region)
    log_curve = np.log(np.maximum(_curves(outlook, c, k), 1e-300))
    later_MBq = float(np.sum(v.activity_MBq[1:]))
    per_MBq = _tumour_per_MBq(outlook, problem, v)
    everything, _ = _gain(problem, v, None, 0.0, k)
    rows = []
    for t in times_h:
        seen = np.array([np.interp(t, outlook.time_h, curve) for curve in log_curve])
        gain, error = _gain(problem, v, seen, _scan_sd(outlook, region, t, seen), k)
        share = gain / everything if everything > 0 else 0.0
        rows.append(ScanWorth(t, region, gain * later_MBq, error * later_MBq, gain * later_MBq * per_MBq, share))
    return tuple(sorted(rows, key=lambda row: -row.gain_MBq))


def _curves(outlook: Outlook, cycles: Coming, region: int) -> np.ndarray:
    """Activity of the coming cycle [draw, time] without drift."""
    basis = np.asarray(outlook.surfaces.amount.basis(cycles.amount_nmol[:1]))[0]
    log = np.einsum("a,adt->dt", basis, np.asarray(outlook.surfaces.activity[:, :, region]))
    return np.exp(log) * float(cycles.activity_MBq[0])


def _scan_sd(outlook: Outlook, region: str, time_h: float, log_activity) -> float:
    """Log sd of what one SPECT shows of a region, own and shared errors."""
    one, activity = np.ones(1), np.exp(np.median(log_activity)) * np.ones(1)
    number = (outlook.example.cycle,)
    seen = Observations((region,), time_h * one, activity, 0.03 * activity, np.nan * one, ("SPECT",), number)
    return float(np.sqrt(noise.covariance(seen)[0, 0]))


def _tumour_per_MBq(outlook: Outlook, problem: Problem, v: Variables) -> float:
    """Mean tumour dose (Gy) of the later cycles per MBq of theirs."""
    lesions = list(outlook.surfaces.lesions)
    if not lesions:
        return 0.0
    found = doses(clean(problem.surfaces), Coming(v.activity_MBq, v.amount_nmol, v.interval_h, problem.trend))
    mass = outlook.mass_g[lesions] / outlook.mass_g[lesions].sum()
    later = np.asarray(found.dose_Gy)[:, 1:, lesions].sum(axis=1) @ mass
    return float(later.mean() / max(float(np.sum(v.activity_MBq[1:])), 1e-9))


def _gain(problem: Problem, v: Variables, log_seen, sd: float, region: int) -> tuple[float, float]:
    """Mean and standard error of the gain in the later cycles' scale; `log_seen` None knows the uptake exactly."""
    replicates, draws = problem.moved.shape[:2]
    rng = np.random.default_rng(SEED)
    truth = rng.choice(replicates * draws, PATIENTS, replace=False)
    error = sd * rng.standard_normal((PATIENTS + 1, replicates * draws))
    known = log_seen is None
    seen = np.zeros(draws) if log_seen is None else np.asarray(log_seen)
    with_scan, without = _scales(problem, v, jnp.asarray(seen), jnp.asarray(error), jnp.asarray(truth), region, known)
    gain = np.asarray(with_scan) - float(without)
    return float(gain.mean()), float(gain.std() / np.sqrt(len(gain)))


@compiled
def _scales(problem: Problem, v: Variables, log_seen, error, truth, region, known):
    """Largest scale of the later cycles for each truth after its scan [patient], and without a scan."""
    middle = doses(clean(problem.surfaces), Coming(v.activity_MBq, v.amount_nmol, v.interval_h, problem.trend))
    place = problem.used.index(int(problem.specs[0].regions[0]))
    walk = jnp.log(problem.moved[:, :, 1, place]) - jnp.log(problem.moved[:, :, 0, place])
    size = jnp.log(middle.dose_Gy[:, 0, problem.specs[0].regions[0]]) + walk
    shown = jnp.where(known, size, log_seen + walk).ravel() + error[-1] * (1 - known)
    size = size.ravel()
    centred = shown - jnp.mean(shown)
    gain = jnp.mean((size - jnp.mean(size)) * centred) / jnp.mean(centred**2)
    shift = lambda i, noise: gain * (shown[i] - error[-1, i] * (1 - known) + noise[i] - shown)
    none = _largest(problem, middle, jnp.zeros_like(size))
    each = jax.vmap(lambda i, noise: _largest(problem, middle, shift(i, noise)))(truth, error[:-1])
    return each, none


def _largest(problem: Problem, middle, shift):
    """Largest scale of the cycles after the first that keeps the limits, draws moved by `shift` [composite]."""
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

    (low, _), _ = jax.lax.scan(halve, (jnp.zeros(()), jnp.full((), 4.0)), None, length=STEPS)
    return low
