"""Pools in series that an excretion known at the edges of segments fills: bladder contents, gut contents.

Between edges the decay-corrected rate is a polynomial of degree four. Without decay the pools of all patients obey the
same rates, so one matrix exponential a piece of time (host) serves everyone, and decay is a factor. Time integrals
follow from the balance of each pool. Equations: docs/contents.md.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array
from scipy.special import factorial

SAME_TIME_MIN = 1e-6
"""A void or asked time this close to a segment's edge is at the edge."""
POWERS = 5
"""Coefficients of a polynomial of degree four."""
STEEP = 8.0
"""Decay over a segment, as an exponent, from which on the rate at its end is taken for zero: corrected for decay, it
would be rounding errors times a large number."""
MULTIPLE = 128
"""Pieces and voids after the end are padded to this multiple, so that few programs are compiled."""
SERIES_TERMS = 18
"""1/18! is below the rounding of a double."""


class Chain(NamedTuple):
    """Pools in series, emptied at rates `per_min` [pool], and the pieces of time without void or asked time, [piece].

    A piece of `length_min` is the part `share` of its segment, from the part `begin`, `since_min`, on. `through` takes
    the pools over it and `driven` adds what a rate of x^j (x from 0 to 1) brings, both without decay; a void at its end
    leaves `kept`. `later_min` counts from the end of the solve to the voids after it, which take `taken` of what is
    held then. `at` picks the asked times.
    """

    per_min: np.ndarray
    segment: np.ndarray
    begin: np.ndarray
    share: np.ndarray
    since_min: np.ndarray
    length_min: np.ndarray
    kept: np.ndarray
    through: np.ndarray
    driven: np.ndarray
    later_min: np.ndarray
    taken: np.ndarray
    at: np.ndarray


def chain(per_min, edges, asked, voids, later, residual: float) -> Chain:
    """The pieces between segments' edges, voids and asked times, and their operators."""
    per_min = np.asarray(per_min, float)
    voids = _snapped(voids, edges)
    cuts = np.union1d(edges, voids)
    asked = _snapped(asked, cuts)
    cuts = np.union1d(cuts, asked)
    at = np.searchsorted(cuts, asked)
    kept = _padded(np.where(np.isin(cuts[1:], voids), residual, 1.0), 1.0)
    begin, length = _padded(cuts[:-1], cuts[-1]), _padded(np.diff(cuts), 0.0)
    segment = np.minimum(np.searchsorted(edges, begin, side="right"), len(edges) - 1) - 1
    since, whole = begin - edges[segment], np.diff(edges)[segment]
    where = (segment, since / whole, length / whole, since, length)
    taken = _padded((1 - residual) * residual ** np.arange(len(later)), 0.0)
    later = _padded(later - edges[-1], 0.0)
    return Chain(per_min, *where, kept, *_operators(per_min, length), later, taken, at)


def _padded(values: np.ndarray, last: float) -> np.ndarray:
    """With `last` at the end up to a multiple of `MULTIPLE`: pieces of no length, voids that take nothing."""
    return np.append(values, np.full(-len(values) % MULTIPLE, last))


def _snapped(times: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """`times`, but for those within `SAME_TIME_MIN` of one of the increasing `onto`, which become it."""
    near = np.clip(np.searchsorted(onto, times - SAME_TIME_MIN), 0, len(onto) - 1)
    return np.where(np.abs(onto[near] - times) <= SAME_TIME_MIN, onto[near], times)


def _operators(per_min: np.ndarray, length_min: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`through` [piece, pool, pool] and `driven` [piece, pool, power], in minutes, by one matrix exponential a piece.

    Rows below the pools generate x^j / j! (Van Loan, IEEE Trans Automat Contr 1978;23:395).
    """
    pools, (distinct, which) = len(per_min), np.unique(length_min, return_inverse=True)
    generator = np.tile(np.eye(pools + POWERS, k=1), (len(distinct), 1, 1))
    passing = np.diag(per_min[:-1], -1) - np.diag(per_min)
    generator[:, :pools] = 0.0
    generator[:, :pools, :pools] = passing * distinct[:, None, None]
    generator[:, 0, pools] = 1.0
    after = scipy.linalg.expm(generator)[which, :pools]
    return after[..., :pools], after[..., pools:] * factorial(np.arange(POWERS)) * length_min[:, None, None]


def quartics(so_far, rate, slope, length_min, decay):
    """Coefficients [power, segment, route, patient] of the decay-corrected rate (nmol/min) in x, 0 to 1 in a segment.

    From edges [edge, route, patient]: the cubic through rates and slopes of both ends, and as much of x^2 (1 - x)^2 as
    makes up what left in the segment.
    """
    h, z = length_min[:, None, None], (decay * length_min[:, None])[:, None, :]
    grown = jnp.where(z < STEEP, jnp.exp(jnp.minimum(z, STEEP)), 0.0)
    a, b = rate[:-1], rate[1:] * grown
    da, db = h * slope[:-1] + z * a, h * slope[1:] * grown + z * b
    cubic = jnp.stack([a, da, 3 * (b - a) - 2 * da - db, 2 * (a - b) + da + db, jnp.zeros_like(a)])
    bump, moment = np.array([0.0, 0.0, 1.0, -2.0, 1.0])[:, None, None, None], _moments(z)
    missing = jnp.diff(so_far, axis=0) / h - jnp.sum(cubic * moment, axis=0)
    return cubic + bump * missing / jnp.sum(bump * moment, axis=0)


def _moments(z):
    """Integrals over x from 0 to 1 of x^j exp(-z x), [power, ...].

    The highest power by a series for z below 1, else by parts; the others from it by a recursion of positive terms.
    """
    small, large = jnp.where(z < 1, z, 0.0), jnp.where(z < 1, 1.0, z)
    terms, by_parts = np.arange(SERIES_TERMS)[::-1], -jnp.expm1(-large) / large
    for j in range(1, POWERS):
        by_parts = (j * by_parts - jnp.exp(-large)) / large
    series = jnp.polyval((-1.0) ** terms / (factorial(terms) * (terms + POWERS)), small)
    found = [jnp.where(z < 1, series, by_parts)]
    for j in range(POWERS - 1, 0, -1):
        found.append((z * found[-1] + jnp.exp(-z)) / j)
    return jnp.stack(found[::-1])


def follow(curve, chain: Chain, decay) -> dict[str, Array]:
    """One route's fields of `pbpk.contents.Contents`, from the rate of each segment [power, segment, patient]."""
    curve = _within(curve, chain, decay)
    entered = jnp.sum(curve * _moments(decay * chain.length_min[:, None]), axis=0) * chain.length_min[:, None]
    amount, voided = _walk(curve, chain, decay)
    entered, voided = (jnp.cumsum(jnp.pad(x, ((1, 0), (0, 0))), axis=0) for x in (entered, voided))
    taken = jnp.sum(chain.taken[:, None] * jnp.exp(-decay * chain.later_min[:, None]), axis=0) * amount[-1, 0]
    integral = _integrals(entered - voided, amount, chain.per_min, decay)
    passed = voided + chain.per_min[-1] * integral[:, -1]
    return {
        "amount_nmol": amount[chain.at],
        "integral_nmol_min": integral[chain.at],
        "integral_to_end_nmol_min": _integrals(entered[-1] - voided[-1] - taken, 0 * amount[-1], chain.per_min, decay),
        "excreted_nmol": entered[chain.at, None],
        "passed_nmol": passed[chain.at, None],
    }


def _within(curve, chain: Chain, decay):
    """The polynomial of each piece in its own x, decay-corrected to its own beginning, [power, piece, patient]."""
    x, share, since_min = (jnp.asarray(v)[:, None] for v in (chain.begin, chain.share, chain.since_min))
    moved = jnp.zeros_like(curve[:, chain.segment])
    for coefficient in curve[::-1, chain.segment]:
        raised = jnp.pad(moved[:-1], ((1, 0), (0, 0), (0, 0)))
        moved = (x * moved + share * raised).at[0].add(coefficient)
    return jnp.exp(-decay * since_min) * moved


def _walk(curve, chain: Chain, decay):
    """Amounts [cut, pool, patient] from time 0 on, after voids, and what each void took [piece, patient]."""

    def step(pools, piece):
        through, driven, kept, faded, rate = piece
        arrived = faded * (through @ pools + driven @ rate)
        return kept * arrived, (kept * arrived, (1 - kept) * jnp.sum(arrived, axis=0))

    empty = jnp.zeros((len(chain.per_min), curve.shape[-1]), curve.dtype)
    faded = jnp.exp(-decay * chain.length_min[:, None])
    pieces = (chain.through, chain.driven, chain.kept, faded, jnp.moveaxis(curve, 0, 1))
    _, (amount, voided) = jax.lax.scan(step, empty, pieces)
    return jnp.concatenate([empty[None], amount]), voided


def _integrals(arrived, amount, per_min, decay):
    """What arrived in a pool is held, has decayed or went on: this gives its time integral, and what the next got."""
    found = []
    for k in range(amount.shape[-2]):
        found.append((arrived - amount[..., k, :]) / (per_min[k] + decay))
        arrived = per_min[k] * found[-1]
    return jnp.stack(found, axis=-2)
