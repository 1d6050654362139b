"""PSA in blood from the volume of tumours: a pool that they fill and that empties. Illustrative, not validated.

    PSA' = kin V - kout PSA

This minimal form is not the model of Siebinga 2024 (EJNMMI Phys 11), who let PSA grow by itself and the activity
in tumours shrink it, directly and through a delay, with between-patient CVs near 100 %; what is taken from there is
the idea of one compartment. kin follows from a steady state before therapy, kin = kout PSA_0 / V_0, unless it is given.

Solved is the distance R from what the volume of the moment would sustain, PSA = kin V / kout + R, so

    R' = -kout R - (kin / kout) V'

With V linear between points h apart this is exact: R <- R exp(-kout h) - (kin / kout) dV (1 - exp(-kout h)) / (kout h).
A constant volume leaves PSA as it is to the last digit. Constants: pbpk/data/outcomes.csv.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pbpk.volume import H_PER_DAY, LN2, checked, published


class PsaRates(NamedTuple):
    """Rate out of blood, and secretion in ng/mL of blood per h per mL of tumour (None: from a steady state).

    Numbers or arrays [draw], ...
    """

    kout_per_h: Float[Array, ...]
    kin_ng_per_mL_per_h_per_mL: Float[Array, ...] | None = None


def typical(**changes) -> PsaRates:
    """The rates of pbpk/data/outcomes.csv, with `changes` to named fields; kin from a steady state unless given.

    Raises:
        InputError: an unknown field, a negative or non-finite value, a kout of zero.
    """
    values = {"kout_per_h": LN2 / (H_PER_DAY * published("psa_half_life"))}
    return checked(PsaRates, values | changes, may_be_zero=("kin_ng_per_mL_per_h_per_mL",))


@jax.jit
def psa_curve(
    rates: PsaRates,
    psa_0_ng_per_mL: Float[Array, ...],
    volume_mL: Float[Array, "... time"],
    time_h: Float[Array, " time"],
) -> Float[Array, "... time"]:
    """PSA in ng/mL at `time_h` (ascending), which was `psa_0_ng_per_mL` at the first of them; leading axes broadcast.

    `volume_mL` is that of all tumours that secrete, together, and above zero at the first time. It is taken as linear
    between the times: the error falls with the square of their distance (docs/outcomes.md says how large it is).
    """
    kout_per_h = jnp.asarray(rates.kout_per_h)
    volume_0_mL, change = volume_mL[..., 0], (volume_mL - volume_mL[..., :1]) / volume_mL[..., :1]
    psa_0, kin = jnp.asarray(psa_0_ng_per_mL), rates.kin_ng_per_mL_per_h_per_mL
    sustained_0 = psa_0 if kin is None else kin * volume_0_mL / kout_per_h
    turnovers = kout_per_h[..., None] * jnp.diff(time_h)
    pushed = -sustained_0[..., None] * jnp.diff(change) * _mean_decay(turnovers)
    return sustained_0[..., None] * (1 + change) + _pool(psa_0 - sustained_0, jnp.exp(-turnovers), pushed)


def _mean_decay(x):
    """(1 - e^-x) / x, 1 at 0."""
    return jnp.where(x > 0, -jnp.expm1(-x) / jnp.where(x > 0, x, 1.0), 1.0)


def _pool(first, kept: Float[Array, "... interval"], added: Float[Array, "... interval"]) -> Float[Array, "... time"]:
    """A pool that keeps a part of itself over each interval and gains: its content at all times."""
    lead = jnp.broadcast_shapes(first.shape, kept.shape[:-1], added.shape[:-1])
    intervals = [jnp.moveaxis(jnp.broadcast_to(x, (*lead, x.shape[-1])), -1, 0) for x in (kept, added)]
    step = lambda pool, now: 2 * (now[0] * pool + now[1],)
    first = jnp.broadcast_to(first, lead).astype(intervals[1].dtype)
    _, later = jax.lax.scan(step, first, tuple(intervals))
    return jnp.moveaxis(jnp.concatenate([first[None], later]), 0, -1)
