"""Time integrals of hot amounts over one step, as if each were a row of the state, but outside the stage loop.

A row that nothing depends on needs no linear solve: for a linear integrand its increment is the integrand applied to
one weighted sum of the stages (`rosenbrock.QUADRATURE`); for the two of the BED a scalar recursion per organ follows
the stages. The numbers are those of a solver that carries the rows.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from pbpk.kinetics import Rates
from pbpk.model import leaving
from pbpk.rosenbrock import GAMMA, QUADRATURE, STAGES, WEIGHTS, WEIGHTS_OF_RATES, A, C
from pbpk.state import BLOOD, LEDGER, Integrals, Layout, unpack


def start(layout: Layout, patients: int, bed: bool, dtype) -> Integrals:
    """Zero integrals; without `bed` those of repair have no rows."""
    counts = (layout.organs, len(BLOOD), len(LEDGER), layout.organs * bed, layout.organs * bed)
    return Integrals(*(jnp.zeros((n, patients), dtype) for n in counts))


def advance(integrals: Integrals, hot, k_hot, r: Rates, h) -> Integrals:
    """Integrals at the end of a step of `h` minutes from hot rows [row, patient] and stages [stage, row, patient]."""
    combined = hot + jnp.tensordot(jnp.asarray(QUADRATURE, hot.dtype), k_hot, 1)
    over_step = unpack(combined, r.layout)
    grown = integrals._replace(
        organ=integrals.organ + h * over_step.organ_total(r.layout),
        blood=integrals.blood + h * over_step.blood,
        ledger=integrals.ledger + h * leaving(over_step, r),
    )
    return _repaired(grown, hot, k_hot, r, h) if integrals.kill.shape[0] else grown


def _repaired(integrals: Integrals, hot, k_hot, r: Rates, h) -> Integrals:
    """du/dt = amount - repair u and dkill/dt = amount u, stage by stage (DOSE.md section 6)."""
    a, c, b = (jnp.asarray(x, hot.dtype) for x in (A, C, WEIGHTS))
    amount, k_amount = (unpack(x, r.layout).organ_total(r.layout) for x in (hot, k_hot))
    stage_amount = amount + jnp.tensordot(a, k_amount, 1)
    before = integrals.unrepaired
    pivot = 1 / (1 / (h * GAMMA) + r.repair)

    def stage(i, k):
        u = before + jnp.tensordot(a[i], k, 1)
        rhs = stage_amount[i] + k_amount[i] - r.repair * u + jnp.tensordot(c[i], k, 1) / h
        return jax.lax.dynamic_update_index_in_dim(k, pivot * rhs, i, 0)

    k = jax.lax.fori_loop(0, STAGES, stage, jnp.zeros_like(k_amount))
    stage_unrepaired = before + jnp.tensordot(a, k, 1)
    product = stage_amount * stage_unrepaired + amount * k + before * k_amount
    kill = h * jnp.tensordot(jnp.asarray(WEIGHTS_OF_RATES, hot.dtype), product, 1)
    return integrals._replace(unrepaired=before + jnp.tensordot(b, k, 1), kill=integrals.kill + kill)
