"""Sublethal damage that is repaired during the exposure: the quadratic part of the linear-quadratic effect, exactly.

For the dose rate R and repair at rate mu the unrepaired part obeys r' = R - mu r, and

    G D^2 = 2 int R r dt,    BED = D + G D^2 / (alpha/beta).

Dose rates are sums of exponentials, R = sum a_i exp(-l_i t), amplitudes up to batch [component, ...]. Their pairs are
integrals over a triangle, second divided differences of the exponential, evaluated without cancellation for every
ratio of the rates: for repair as fast as clearance, for a constant dose rate, for an exposure of no duration. Several
repair components add up by their fractions. Derivations: docs/radiobiology.md.
References: Dale, Br J Radiol 1985;58:515 (G); Brenner et al., Int J Radiat Oncol Biol Phys 1991;20:181 (recalled).
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from dose.tissues import Repair

SERIES_BELOW, SERIES_TERMS = 1.0, 19
"""Where both arguments are smaller, a power series is summed; its last term is then below 1e-17."""

SMALL, SMALL_TERMS = 0.1, 11
"""The same for (1 - exp(-x))/x."""


@jax.jit
def decay_mean(x):
    """(1 - exp(-x))/x, the mean of exp(-x u) over u from 0 to 1; 1 at x = 0."""
    tiny = jnp.abs(x) < SMALL
    safe = jnp.where(tiny, 1.0, x)
    near = jnp.where(tiny, x, 0.0)
    series = sum((-near) ** k * (1 / math.factorial(k + 1)) for k in range(SMALL_TERMS))
    return jnp.where(tiny, series, -jnp.expm1(-safe) / safe)


@jax.jit
def triangle(x, y):
    """int exp(-x s - y w) over s, w >= 0 with s + w <= 1, for x and y not below 0; 1/2 at 0, 1/(x y) far out."""
    low, high = jnp.minimum(x, y), jnp.maximum(x, y)
    near = high < SERIES_BELOW
    xs, ys = jnp.where(near, x, 0.0), jnp.where(near, y, 0.0)
    symmetric, power, series = jnp.ones_like(xs * ys), jnp.ones_like(ys), 0.5 * jnp.ones_like(xs * ys)
    for k in range(1, SERIES_TERMS):
        power = power * ys
        symmetric = xs * symmetric + power  # sum of all x^m y^n with m + n = k
        series = series + (-1) ** k * symmetric * (1 / math.factorial(k + 2))
    safe = jnp.where(near, 1.0, high)
    far = (decay_mean(low) - jnp.exp(-low) * decay_mean(safe - low)) / safe
    return jnp.where(near, series, far)


def components_of(repair) -> tuple[tuple, ...]:
    """Pairs (fraction, rate in 1/h) of a `Repair`, of a plain rate, or these pairs themselves."""
    if isinstance(repair, Repair):
        return repair.components
    return repair if isinstance(repair, tuple) else ((1.0, repair),)


def aligned(x, batch: int):
    """[component, ...] with the batch axes filled up to `batch`, so that they broadcast from the right."""
    return x.reshape(x.shape[:1] + (1,) * (batch - x.ndim + 1) + x.shape[1:])


def exposure_dose_Gy(amplitudes_Gy_per_h, rates_per_h, end_h=None):
    """D = int R dt from 0 to `end_h` (up to [...]), or to the end of time; shapes [component, ...] to [...]."""
    a, rate = (jnp.asarray(v, dtype=float) for v in (amplitudes_Gy_per_h, rates_per_h))
    batch = max(a.ndim - 1, rate.ndim - 1, jnp.ndim(end_h) if end_h is not None else 0)
    a, rate = aligned(a, batch), aligned(rate, batch)
    return jnp.sum(a / rate if end_h is None else a * end_h * decay_mean(rate * end_h), axis=0)


def quadratic_Gy2(amplitudes_Gy_per_h, rates_per_h, repair, end_h=None):
    """G D^2 of the dose rate sum a_i exp(-l_i t) from 0 to `end_h`, or to the end of time.

    To the end of time it is 2 sum_ij a_i a_j / ((l_i + l_j)(l_i + mu)). Shapes [component, ...] to [...]. Amplitudes
    may be negative (uptake); with an end (up to [...]), rates may be 0. `repair` is a `Repair` or a rate in 1/h; its
    draws [draw] broadcast with the batch.
    """
    a, rate = (jnp.asarray(v, dtype=float) for v in (amplitudes_Gy_per_h, rates_per_h))
    modes = components_of(repair)
    deepest = max(jnp.ndim(v) for v in (*(v for pair in modes for v in pair), 0 if end_h is None else end_h))
    batch = max(a.ndim - 1, rate.ndim - 1, deepest)
    a, rate = aligned(a, batch), aligned(rate, batch)
    both, pairs = rate[:, None] + rate[None, :], a[:, None] * a[None, :]
    total = jnp.zeros(())
    for fraction, mu in modes:
        one = rate[:, None] + mu
        kernel = 1 / (both * one) if end_h is None else end_h**2 * triangle(both * end_h, one * end_h)
        total = total + fraction * 2 * jnp.sum(pairs * kernel, axis=(0, 1))
    return total


def course_quadratic_Gy2(starts_h, amplitudes_Gy_per_h, rates_per_h, repair):
    """G D^2 of a whole course, whose cycles go on to the end of time: with what is left of earlier ones.

    Shapes [cycle] and [cycle, component] to []. Cycles far apart add up; close together the unrepaired damage and the
    activity left of one meet the next.
    """
    a, rate = (jnp.asarray(v, dtype=float) for v in (amplitudes_Gy_per_h, rates_per_h))
    start = jnp.repeat(jnp.asarray(starts_h, dtype=float), a.shape[1])
    a, rate = jnp.ravel(a), jnp.ravel(rate)
    gap = jnp.abs(start[:, None] - start[None, :])
    first = start[:, None] <= start[None, :]
    early, late = (jnp.where(keep, rate[:, None], rate[None, :]) for keep in (first, ~first))
    total = jnp.zeros(())
    for fraction, mu in components_of(repair):
        waiting = gap * jnp.exp(-jnp.minimum(early, mu) * gap) * decay_mean(jnp.abs(mu - early) * gap)
        ends = 1 / (rate[:, None] + mu) + 1 / (rate[None, :] + mu)
        together = jnp.exp(-early * gap) * ends / (rate[:, None] + rate[None, :])
        total = total + fraction * jnp.sum(a[:, None] * a[None, :] * (waiting / (late + mu) + together))
    return total


def g_factor(amplitudes_Gy_per_h, rates_per_h, mu_per_h, end_h=None):
    """Lea-Catcheside factor of the dose rate sum a_i exp(-l_i t), from 0 to `end_h` or to the end of time.

    `mu_per_h` is a repair rate or a `Repair`. G = (2/D^2) sum_ij a_i a_j / ((l_i + l_j)(l_i + mu)) to the end of time.
    """
    quadratic = quadratic_Gy2(amplitudes_Gy_per_h, rates_per_h, mu_per_h, end_h)
    return quadratic / exposure_dose_Gy(amplitudes_Gy_per_h, rates_per_h, end_h) ** 2
