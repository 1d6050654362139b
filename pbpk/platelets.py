"""Platelets under marrow dose: a pool that proliferates, three of transit, the blood. Demonstration, no source.

Friberg et al., J Clin Oncol 2002;20:4713 (recalled), with kill by the dose rate of the marrow, k = 4 / MTT:

    Prol' = k Prol ((1 - E) (C0 / Circ)^g - 1)      E = slope x dose rate in Gy/h
    T1' = k (Prol - T1)    T2' = k (T1 - T2)    T3' = k (T2 - T3)    Circ' = k (T3 - Circ)

The form is that of chemotherapy; no set of parameters for 177Lu was found, so slopes show what the model does and
forecast nothing. A dose rate with E above 1 kills more than is born: growth turns negative and pools shrink towards
zero. ln Prol and ln Circ are the states, so they never pass it. Constants: pbpk/data/outcomes.csv.

Steps are of fourth order (the classical Runge-Kutta). A uniform grid and the starts of the cycles together are the
nodes, so no step crosses a jump of the dose rate; within a step the rate is the parabola with the true ends and the
true dose. Between nodes the curve is the cubic of the values and slopes there, of fourth order too.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pbpk.volume import LN2, checked, published

STEPS = 1024
"""Over 40 weeks 6.6 h each, which keeps errors near 1e-5 for MTT of 100 h and more."""
LONGEST_STEP = 0.5
"""Times the fastest growth, (4 / MTT) (C0 / lowest Circ)^g. Longer steps give NaN: errors would pass 1e-4, and soon
become as large as the count."""


class PlateletChain(NamedTuple):
    """Count before therapy, mean transit time, feedback exponent g and slope: numbers or arrays [draw], ..."""

    baseline_per_nL: Float[Array, ...]
    transit_time_h: Float[Array, ...]
    feedback: Float[Array, ...]
    slope_h_per_Gy: Float[Array, ...]


class Nadir(NamedTuple):
    """The lowest count of a curve and its time, [...]."""

    platelets_per_nL: Float[Array, ...]
    time_h: Float[Array, ...]


def typical(**changes) -> PlateletChain:
    """The chain of pbpk/data/outcomes.csv, with `changes` to named fields.

    Raises:
        InputError: an unknown field, a negative or non-finite value, a baseline or transit time of zero.
    """
    columns = ("platelet_baseline", "platelet_transit_time", "platelet_feedback", "platelet_slope")
    values = dict(zip(PlateletChain._fields, (published(name) for name in columns), strict=True))
    return checked(PlateletChain, values | changes, may_be_zero=("feedback", "slope_h_per_Gy"))


@partial(jax.jit, static_argnames="steps")
def platelet_curve(
    chain: PlateletChain,
    starts_h: Float[Array, " cycle"],
    marrow_dose_Gy: Float[Array, "... cycle"],
    effective_half_life_h: Float[Array, "... cycle"],
    time_h: Float[Array, " time"],
    *,
    steps: int = STEPS,
) -> Float[Array, "... time"]:
    """Platelets per nL at `time_h` (any order); leading axes broadcast. Before the first dose they are at baseline.

    Each cycle's marrow dose is given from its start on with its effective half-life; cycles may overlap. A padded
    one has dose 0 and a start not before the first cycle's, so that steps are not spent on it. One program serves all
    values of the same shapes and `steps`. A draw whose steps are longer than `LONGEST_STEP` is NaN: ask for more.
    """
    lead = jnp.broadcast_shapes(
        marrow_dose_Gy.shape[:-1], effective_half_life_h.shape[:-1], *(jnp.shape(x) for x in chain)
    )
    cycle_first = lambda x: jnp.moveaxis(jnp.broadcast_to(x, (*lead, len(starts_h))), -1, 0)
    chain = PlateletChain(*(jnp.broadcast_to(x, lead) for x in chain))
    first_h, last_h = jnp.minimum(jnp.min(starts_h), jnp.min(time_h)), jnp.max(time_h)
    grid_h = jnp.linspace(first_h, last_h, steps + 1)
    node_h = jnp.sort(jnp.concatenate([grid_h, jnp.clip(starts_h, first_h, last_h)]))
    decay_per_h = LN2 / cycle_first(effective_half_life_h)
    values, slopes = _solve(chain, node_h, starts_h, cycle_first(marrow_dose_Gy) * decay_per_h, decay_per_h)
    fastest_per_h = 4 / chain.transit_time_h * jnp.min(values, axis=0) ** -chain.feedback
    scale_per_nL = jnp.where(fastest_per_h * (last_h - first_h) / steps <= LONGEST_STEP, chain.baseline_per_nL, jnp.nan)
    return jnp.moveaxis(scale_per_nL * _between(node_h, values, slopes, time_h), 0, -1)


def _solve(chain: PlateletChain, node_h, starts_h, initial_Gy_per_h, decay_per_h):
    """Circ / C0 and its slope per h at the nodes, [node, ...]; rates of the cycles are [cycle, ...]."""
    begins = jnp.searchsorted(node_h, starts_h).reshape(-1, *(1 for _ in chain.slope_h_per_Gy.shape))
    rate_per_h = 4 / chain.transit_time_h

    def step(now, interval):
        y, left = now
        k, h = interval
        left = left + jnp.where(k == begins, initial_Gy_per_h, 0.0)
        right = left * jnp.exp(-decay_per_h * h)
        kills = [chain.slope_h_per_Gy * jnp.sum(x, axis=0) for x in (left, (left - right) / decay_per_h, right)]
        y = _runge_kutta(chain, y, kills, h)
        return (y, right), y[3:]

    one = jnp.ones_like(rate_per_h)
    start = jnp.stack([0 * one, one, one, one, 0 * one])
    first = start, jnp.zeros_like(initial_Gy_per_h)
    _, ends = jax.lax.scan(step, first, (jnp.arange(len(node_h) - 1), jnp.diff(node_h)))
    transit, log_circulating = jnp.moveaxis(jnp.concatenate([start[None, 3:], ends]), 1, 0)
    return jnp.exp(log_circulating), rate_per_h * (transit - jnp.exp(log_circulating))


def _runge_kutta(chain: PlateletChain, y, kills, h):
    """The state h later; `kills` are E at the left end, its integral over the step, and E at the right end."""
    left, integral, right = kills
    middle = (6 * integral / jnp.where(h > 0, h, 1.0) - left - right) / 4
    k1 = _derivative(chain, y, left)
    k2 = _derivative(chain, y + h / 2 * k1, middle)
    k3 = _derivative(chain, y + h / 2 * k2, middle)
    k4 = _derivative(chain, y + h * k3, right)
    return y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def _derivative(chain: PlateletChain, y, kill):
    """Of ln Prol, T1, T2, T3 and ln Circ, all over C0, per h."""
    log_proliferating, *transit, log_circulating = y
    grown = (1 - kill) * jnp.exp(-chain.feedback * log_circulating) - 1
    passed = [jnp.exp(log_proliferating), *transit]
    moved = [before - after for before, after in zip(passed, transit)]
    replaced = transit[-1] * jnp.exp(-log_circulating) - 1
    return 4 / chain.transit_time_h * jnp.stack([grown, *moved, replaced])


def _between(node_h, values, slopes, time_h):
    """The cubic of values and slopes at the nodes, [time, ...]."""
    k = jnp.clip(jnp.searchsorted(node_h, time_h, side="right") - 1, 0, len(node_h) - 2)
    h = (node_h[k + 1] - node_h[k]).reshape(-1, *(1 for _ in values.shape[1:]))
    x = (time_h - node_h[k]).reshape(h.shape) / jnp.where(h > 0, h, 1.0)
    from_values = (1 + 2 * x) * (1 - x) ** 2 * values[k] + x**2 * (3 - 2 * x) * values[k + 1]
    return from_values + h * x * (1 - x) * ((1 - x) * slopes[k] - x * slopes[k + 1])


@jax.jit
def nadir(platelets_per_nL: Float[Array, "... time"], time_h: Float[Array, " time"]) -> Nadir:
    """The lowest count among the times of the curve, and when it is first reached."""
    return Nadir(jnp.min(platelets_per_nL, axis=-1), time_h[jnp.argmin(platelets_per_nL, axis=-1)])


@jax.jit
def before_cycles(
    platelets_per_nL: Float[Array, "... time"], time_h: Float[Array, " time"], starts_h: Float[Array, " cycle"]
) -> Float[Array, "... cycle"]:
    """The count as each cycle starts, linear between the times (ascending); beyond them that of the nearest time."""
    k = jnp.clip(jnp.searchsorted(time_h, starts_h, side="right") - 1, 0, len(time_h) - 2)
    x = jnp.clip((starts_h - time_h[k]) / (time_h[k + 1] - time_h[k]), 0.0, 1.0)
    return (1 - x) * platelets_per_nL[..., k] + x * platelets_per_nL[..., k + 1]
