"""Biologically effective dose of any dose rate: of a function of time by its ODE, of samples exactly between them.

With r_k the damage that repair component k has not yet undone, r_k' = R - mu_k r_k and
BED' = R (1 + 2 sum_k f_k r_k / (alpha/beta)). Sampled curves (a PBPK model's, a series of scans') are taken as straight
between samples, or as exponentials where they fall, with the named starts of `dose.trapezoids`; for that curve the
equations are solved in closed form, interval by interval, so nothing is lost however far apart the samples are.
Derivations: docs/radiobiology.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dose.errors import InputError, describe
from dose.repair import aligned, components_of, decay_mean, triangle
from dose.trapezoids import RULES, STARTS, check_choice

TOLERANCE = 1e-11
"""Relative and absolute (Gy) tolerance of the ODE solver, which leaves BED good to about 1e-10."""

MOST_STEPS = 65_536
"""Of the solver; a course of 5000 h with repair within 6 minutes takes about a tenth of that."""

MOMENT_SERIES_BELOW, MOMENT_TERMS = 1.0, 19
"""Where moments of the exponential are summed as a series (last term below 1e-17)."""


def bed_rates(dose_rate_Gy_per_h, unrepaired_Gy, alpha_beta_Gy, mu_per_h):
    """Right-hand side of the ODE form for any dose rate: (d unrepaired/dt, d BED/dt) in Gy/h.

    r' = R - mu r and BED' = R + 2 R r / (alpha/beta), both from 0; equals `bed_Gy` with `g_factor` at late times.
    """
    return dose_rate_Gy_per_h - mu_per_h * unrepaired_Gy, dose_rate_Gy_per_h * (1 + 2 * unrepaired_Gy / alpha_beta_Gy)


def ode_bed_Gy(
    dose_rate: Callable, alpha_beta_Gy, repair, end_h: float, *, breaks_h: Sequence[float] = (), adjoint=None
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """(dose, BED) from 0 to `end_h` of any dose rate, by an ODE solver; differentiable.

    Args:
        dose_rate: function from time in h to Gy/h, in jax.numpy.
        repair: a `Repair` or a rate in 1/h.
        breaks_h: times at which the dose rate jumps or has a kink (the starts of cycles).
        adjoint: another way of diffrax to differentiate; None: reverse mode (`jax.grad`).
    """
    import diffrax  # a second to import, and only needed here

    modes = components_of(repair)
    fraction, mu = (jnp.stack([jnp.asarray(m[k], dtype=float) for m in modes]) for k in (0, 1))

    def rates(t, y, _):
        rate = dose_rate(t)
        d_unrepaired, d_bed = bed_rates(rate, y[2:], alpha_beta_Gy, mu)
        return jnp.concatenate([jnp.stack([rate, jnp.sum(fraction * d_bed)]), d_unrepaired])

    inner = diffrax.PIDController(rtol=TOLERANCE, atol=TOLERANCE)
    inside = jnp.asarray(sorted(b for b in breaks_h if 0 < b < end_h), dtype=float)
    steps = diffrax.ClipStepSizeController(inner, jump_ts=inside) if inside.size else inner
    found = diffrax.diffeqsolve(
        diffrax.ODETerm(rates), diffrax.Dopri8(), 0.0, end_h, None, jnp.zeros(2 + len(modes)),
        saveat=diffrax.SaveAt(t1=True), stepsize_controller=steps, max_steps=MOST_STEPS,
        adjoint=adjoint or diffrax.RecursiveCheckpointAdjoint(),
    )  # fmt: skip
    assert found.ys is not None  # asked for by SaveAt
    return found.ys[0, 0], found.ys[0, 1]


def sampled_dose_Gy(time_h, dose_rate_Gy_per_h, *, rule: str = "linear", tail_per_h=None):
    """Dose of a sampled dose rate, [time, ...] to [...]; arguments as `sampled_quadratic_Gy2`."""
    rate = jnp.asarray(dose_rate_Gy_per_h, dtype=float)
    step, falls, fall = _intervals(time_h, rate, rule)
    dose = step * jnp.where(falls, rate[:-1] * decay_mean(fall), (rate[:-1] + rate[1:]) / 2)
    return jnp.sum(dose, axis=0) + (0.0 if tail_per_h is None else rate[-1] / tail_per_h)


def sampled_quadratic_Gy2(time_h, dose_rate_Gy_per_h, repair, *, rule: str = "linear", tail_per_h=None):
    """G D^2 of a sampled dose rate, exact for the curve that the rule draws through the samples; differentiable.

    Args:
        time_h: increasing times, [time]; nothing is assumed before the first.
        dose_rate_Gy_per_h: Gy/h at them, not below 0, [time, ...].
        repair: a `Repair` or a rate in 1/h, whose draws broadcast with [...].
        rule: "linear", or "log": an exponential wherever the samples fall.
        tail_per_h: rate at which the last sample falls on to the end of time, up to [...]; None: nothing after it.
    """
    rate, modes = jnp.asarray(dose_rate_Gy_per_h, dtype=float), components_of(repair)
    rate = aligned(rate, max(rate.ndim - 1, *(jnp.ndim(mu) for _, mu in modes)))
    intervals = _intervals(time_h, rate, rule)
    return sum(2 * fraction * _sampled_pairs(rate, *intervals, mu, tail_per_h) for fraction, mu in modes)


def _intervals(time_h, rate, rule: str):
    """Length of each interval, whether it falls as an exponential, and by what exponent."""
    step = jnp.diff(jnp.asarray(time_h, dtype=float)).reshape((-1,) + (1,) * (rate.ndim - 1))
    falls = (rate[1:] < rate[:-1]) & (rate[1:] > 0) if rule == "log" else jnp.zeros(rate[1:].shape, dtype=bool)
    return step, falls, jnp.log(jnp.where(falls, rate[:-1], 1.0) / jnp.where(falls, rate[1:], 1.0))


def _sampled_pairs(rate, step, falls, fall, mu, tail_per_h):
    """int R r dt of one repair component, carrying r from interval to interval."""
    straight, exponential = _straight(step * mu, rate[:-1], rate[1:]), _falling(step * mu, rate[:-1], fall)
    gain, cross, own = (jnp.where(falls, e, s) for e, s in zip(exponential, straight, strict=True))
    gain, cross, own = gain * step, cross * step, own * step**2
    kept = jnp.broadcast_to(jnp.exp(-mu * step), gain.shape)
    start = jnp.zeros_like(gain[0])
    (unrepaired, total), _ = jax.lax.scan(_interval, (start, start), (kept, gain, cross, own))
    if tail_per_h is None:
        return total
    return total + rate[-1] / (tail_per_h + mu) * (unrepaired + rate[-1] / (2 * tail_per_h))


def _interval(carry, these):
    """One interval's step of (unrepaired, int R r dt)."""
    unrepaired, total = carry
    kept, gain, cross, own = these
    return (unrepaired * kept + gain, total + own + unrepaired * cross), None


@jax.jit
def _moments(x):
    """int_0^1 exp(-x w) (1-w)^(k-1)/(k-1)! dw for k = 1 to 4."""
    near = x < MOMENT_SERIES_BELOW
    small, large = jnp.where(near, x, 0.0), jnp.where(near, 1.0, x)
    found, above = [], -jnp.expm1(-large) / large
    for k in range(1, 5):
        series = sum((-small) ** n * (1 / math.factorial(n + k)) for n in range(MOMENT_TERMS))
        found.append(jnp.where(near, series, above))
        above = (1 / math.factorial(k) - above) / large
    return found


def _straight(x, first, last):
    """(unrepaired at the end, what earlier damage meets, own pairs) of a straight interval of length 1, repair x."""
    one, two, three, four = _moments(x)
    slope = last - first
    return first * one + slope * two, last * one - slope * two, first * last * two + slope**2 * (three - four)


def _falling(x, first, fall):
    """The same where the dose rate falls as exp(-fall u)."""
    gain = first * jnp.exp(-jnp.minimum(x, fall)) * decay_mean(jnp.abs(x - fall))
    return gain, first * decay_mean(x + fall), first**2 * triangle(2 * fall, x + fall)


def sampled_bed_Gy(
    time_h,
    dose_rate_Gy_per_h,
    alpha_beta_Gy,
    repair,
    *,
    start: str = "triangle",
    rule: str = "linear",
    tail_per_h=None,
):
    """BED in Gy of a sampled dose rate, [time, ...] to [...].

    Args:
        time_h: hours after the start of the exposure, increasing, [time].
        dose_rate_Gy_per_h: Gy/h at them, [time, ...].
        repair: a `Repair` or a rate in 1/h.
        start: what happened before a first sample later than 0: "triangle" (up from nothing) or "plateau".
        rule, tail_per_h: as `sampled_quadratic_Gy2`.

    Raises:
        InputError: another name, times that do not increase or lie before 0, dose rates below 0 or not finite, a tail
            rate that is not above 0, or no positive alpha/beta.
    """
    time, rate = with_start(time_h, dose_rate_Gy_per_h, start=start, rule=rule, tail_per_h=tail_per_h)
    if not np.all(np.asarray(alpha_beta_Gy) > 0):
        raise InputError(describe("alpha_beta_Gy", f"{alpha_beta_Gy}", "above 0 Gy", "see dose.tissue"))
    dose = sampled_dose_Gy(time, rate, rule=rule, tail_per_h=tail_per_h)
    return dose + sampled_quadratic_Gy2(time, rate, repair, rule=rule, tail_per_h=tail_per_h) / alpha_beta_Gy


def with_start(time_h, dose_rate_Gy_per_h, *, start: str, rule: str, tail_per_h=None) -> tuple[np.ndarray, np.ndarray]:
    """Checked samples, with one at time 0 put before them where the first is later; [time], [time, ...].

    Raises:
        InputError: as `sampled_bed_Gy`.
    """
    check_choice("start", start, STARTS)
    check_choice("rule", rule, RULES)
    time, rate = np.asarray(time_h, dtype=float), np.asarray(dose_rate_Gy_per_h, dtype=float)
    if time.ndim != 1 or rate.shape[:1] != time.shape or not len(time):
        found = f"{time.shape} times, dose rates of shape {rate.shape}"
        raise InputError(describe("time_h", found, "as many times as dose rates, time first", "move the time axis"))
    if not (np.all(np.isfinite(time)) and time[0] >= 0 and np.all(np.diff(time) > 0)):
        do = "sort the samples; times count from the start of the exposure"
        raise InputError(describe("time_h", "a negative, repeated or falling time", "increasing times from 0 h", do))
    if not np.all(np.isfinite(rate) & (rate >= 0)):
        do = "see where the curve or the map has no value"
        raise InputError(describe("dose_rate_Gy_per_h", "a value below 0 or not finite", "0 Gy/h or more", do))
    if tail_per_h is not None and not np.all(np.asarray(tail_per_h) > 0):
        raise InputError(describe("tail_per_h", "a rate that is not above 0", "above 0 /h", "use physical decay"))
    if time[0] > 0:
        first = rate[:1] * (0.0 if start == "triangle" else 1.0)
        time, rate = np.concatenate([[0.0], time]), np.concatenate([first, rate])
    return time, rate
