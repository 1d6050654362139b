"""Reading a schedule off the surfaces: doses, BED, time-integrated activity and tumour sizes, differentiable.

Cycle after cycle, tumours shrink by ln(V'/V) = ln 2 T/Td - alpha BED (Kletting 2019; `pbpk.volume`), and the next cycle
has the uptake and masses of that size. What is in blood, and so what a gram of any lesion takes up, depends on the size
of all lesions together (the sink); a lesion's activity goes with its own size besides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from twin.outlook.surface import MOST_CYCLES, Surfaces


class Coming(NamedTuple):
    """Cycles to come, each [cycle] and padded with activity 0: `interval_h` until the next one (the last: to the end
    of what is followed), `trend` a factor on the tumours' uptake."""

    activity_MBq: Float[Array, " cycle"]
    amount_nmol: Float[Array, " cycle"]
    interval_h: Float[Array, " cycle"]
    trend: Float[Array, " cycle"]


class Doses(NamedTuple):
    """Of each cycle to come, [draw, cycle, region]; `size` [draw, cycle + 1, lesion] relative to the first's start."""

    dose_Gy: Float[Array, "draw cycle region"]
    weighted_Gy: Float[Array, "draw cycle region"]
    bed_Gy: Float[Array, "draw cycle region"]
    tia_MBq_h: Float[Array, "draw cycle region"]
    size: Float[Array, "draw cycle1 lesion"]


def coming(
    activity_MBq: Sequence[float], amount_nmol, interval_h, trend_log_per_cycle: float = 0.0, trend_from: int = 0
) -> Coming:
    """Padded cycles; amount and interval are one for all or one each. `trend_log_per_cycle` is what the tumours' uptake
    changes from cycle to cycle, counted from `trend_from` cycles ago."""
    count = len(activity_MBq)
    pad = lambda x: np.concatenate([np.broadcast_to(np.asarray(x, float), (count,)), np.zeros(MOST_CYCLES - count)])
    amount, interval = pad(amount_nmol), pad(interval_h)
    amount[count:] = amount[0] if count else 1.0
    steps = np.arange(MOST_CYCLES) + trend_from
    return Coming(pad(activity_MBq), amount, interval, np.exp(trend_log_per_cycle * steps))


def doses(surfaces: Surfaces, cycles: Coming) -> Doses:
    """Doses of the cycles for every draw; differentiable in every number of `cycles`."""
    lesions = np.array(surfaces.lesions, int)
    share = surfaces.lesion_mL / jnp.maximum(jnp.sum(surfaces.lesion_mL), 1e-300)
    is_lesion = np.isin(np.arange(surfaces.dose.shape[-1]), lesions)
    by_amount = surfaces.amount.basis(cycles.amount_nmol)
    one = jnp.ones((surfaces.dose.shape[2], len(lesions)))

    def cycle(log_size, item):
        activity, basis, interval_h, trend, drift = item
        read = _reader(surfaces, basis, log_size, share)
        moved = jnp.exp(drift) * jnp.where(is_lesion, trend, 1.0)
        error = jnp.exp(surfaces.error)
        dose, weighted = (jnp.exp(read(x)) * activity * moved * error for x in (surfaces.dose, surfaces.weighted))
        bed = weighted + jnp.exp(read(surfaces.quadratic)) * jnp.square(activity * moved * error)
        tia = jnp.exp(read(surfaces.tia)) * activity * moved * _own_size(surfaces, log_size, share)
        killed = surfaces.alpha_per_Gy[:, None] * bed[:, lesions]
        grown = jnp.log(2.0) * interval_h / surfaces.doubling_time_h[:, None]
        return log_size + grown - killed, (dose, weighted, bed, tia, log_size)

    items = (cycles.activity_MBq, by_amount, cycles.interval_h, cycles.trend, jnp.moveaxis(surfaces.drift, 1, 0))
    last, rows = jax.lax.scan(cycle, jnp.log(one), jax.tree.map(jnp.asarray, items))
    *found, before = (jnp.moveaxis(x, 0, 1) for x in rows)
    return Doses(*found, jnp.exp(jnp.concatenate([before, last[:, None]], axis=1)))


def _reader(surfaces: Surfaces, by_amount, log_size, share):
    """The log surface [draw, region] at one amount and, draw by draw, at the size of all lesions together."""
    if surfaces.size.nodes == 1:
        return lambda surface: jnp.einsum("a,adr->dr", by_amount, surface[:, 0])
    by_size = surfaces.size.basis(jnp.exp(log_size) @ share)
    return lambda surface: jnp.einsum("ds,sdr->dr", by_size, jnp.einsum("a,asdr->sdr", by_amount, surface))


def _own_size(surfaces: Surfaces, log_size, share):
    """Size of each region over that at which its activity was read, [draw, region]; 1 but for lesions."""
    one = jnp.ones(surfaces.dose.shape[2:])
    if surfaces.size.nodes == 1 or not surfaces.lesions:
        return one
    read_at = jnp.clip(jnp.exp(log_size) @ share, surfaces.size.low, surfaces.size.high)
    return one.at[:, np.array(surfaces.lesions)].set(jnp.exp(log_size) / read_at[:, None])


@eqx.filter_jit
def doses_compiled(surfaces: Surfaces, cycles: Coming) -> Doses:
    return doses(surfaces, cycles)


@eqx.filter_jit
def curves_compiled(surfaces: Surfaces, cycles: Coming) -> Float[Array, "draw cycle region time"]:
    """Activity (MBq) after each administration, with the tumours' size of now."""
    log = jnp.einsum("ca,adrt->dcrt", surfaces.amount.basis(cycles.amount_nmol), surfaces.activity)
    is_lesion = np.isin(np.arange(surfaces.dose.shape[-1]), surfaces.lesions)
    trend = jnp.where(is_lesion, cycles.trend[:, None], 1.0)
    moved = (jnp.exp(surfaces.drift) * trend)[..., None]
    return jnp.exp(log) * moved * jnp.asarray(cycles.activity_MBq)[:, None, None]
