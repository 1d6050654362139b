"""Linear solves with s I - J in closed form, J the Jacobian of the right-hand side.

Organs meet only in blood and liver, so the matrix is block-arrow: each organ's chain vascular, interstitial, transit,
bound, internalised collapses to a few scalars, then lungs, artery and vein close the loop. No pivot subtracts positive
numbers of like size, so no pivoting is needed. The hot block sees the total only through the free receptors. Cost grows
with the number of organs, not its cube (PERFORMANCE.md section 5.1).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from pbpk.kinetics import FIRST_PORTAL, LIVER, LUNGS, Rates
from pbpk.state import Integrals, Ligand, State, pack, unpack


class OrganFactor(NamedTuple):
    """Inverse pivots and couplings of the organ chains and of the blood loop for one species."""

    internalised: jax.Array
    bound: jax.Array
    bound_from_interstitial: jax.Array
    interstitial_from_bound: jax.Array
    interstitial: jax.Array
    transit: jax.Array
    plasma_from_interstitial: jax.Array
    vascular: jax.Array
    vascular_from_artery: jax.Array
    liver_from_artery: jax.Array
    return_from_artery: jax.Array
    artery: jax.Array
    lungs_from_vein: jax.Array
    artery_from_vein: jax.Array
    protein: jax.Array
    vein: jax.Array


class Factor(NamedTuple):
    total: OrganFactor
    hot: OrganFactor
    hot_from_total_bound: jax.Array
    organ_amount: jax.Array
    unrepaired: jax.Array
    shift: jax.Array


def factor(y, r: Rates, shift) -> Factor:
    """Factor shift * I - J at state y; `shift` is a scalar > 0."""
    state = unpack(y, r.outflow.shape[0])
    association = r.binding * (r.receptors - state.total.bound)
    crowding = r.binding * state.total.interstitial
    total = _species_factor(r, shift, association, r.k_off + crowding)
    hot = _species_factor(r, shift + r.decay, association, r.k_off + 0 * crowding)
    amount = state.hot.organ_total
    return Factor(total, hot, r.binding * state.hot.interstitial, amount, state.integrals.unrepaired, shift)


def _species_factor(r: Rates, s, association, dissociation) -> OrganFactor:
    internalised = 1 / (s + r.release)
    bound = 1 / (s + dissociation + r.internalisation)
    bound_from_int = association * bound
    transit = 1 / (s + r.from_transit)
    recycling = r.to_plasma + r.to_transit * r.from_transit * transit
    lost = s + r.to_urine + r.to_transit * s * transit + r.nonsaturable + bound_from_int * (s + r.internalisation)
    interstitial = 1 / (lost + recycling)
    vascular = 1 / (s + r.outflow + r.to_interstitium * lost * interstitial)
    return OrganFactor(
        internalised, bound, bound_from_int, dissociation, interstitial, transit, recycling, vascular,
        *_blood_factor(r, s, vascular),
    )  # fmt: skip


def _blood_factor(r: Rates, s, vascular):
    portal = slice(FIRST_PORTAL, FIRST_PORTAL + r.portal_count)
    systemic = slice(FIRST_PORTAL + r.portal_count, None)
    from_artery = r.inflow * vascular
    liver = (r.inflow[LIVER] + jnp.sum(r.outflow[portal] * from_artery[portal], axis=0)) * vascular[LIVER]
    back = r.outflow[LIVER] * liver + jnp.sum(r.outflow[systemic] * from_artery[systemic], axis=0)
    artery = 1 / (s + r.from_artery)
    lungs = r.inflow[LUNGS] * vascular[LUNGS]
    artery_from_vein = r.outflow[LUNGS] * lungs * artery
    protein = 1 / (s + r.protein_return)
    vein = 1 / (s + r.from_vein + r.protein_binding * s * protein - back * artery_from_vein)
    return from_artery, liver, back, artery, lungs, artery_from_vein, protein, vein


def solve(f: Factor, r: Rates, rhs):
    """x with (shift I - J) x = rhs, shapes [row, patient]."""
    b = unpack(rhs, r.outflow.shape[0])
    total = _solve_species(f.total, r, b.total)
    crowded = f.hot_from_total_bound * total.bound
    hot_rhs = b.hot._replace(interstitial=b.hot.interstitial + crowded, bound=b.hot.bound - crowded)
    hot = _solve_species(f.hot, r, hot_rhs)
    return pack(State(total, hot, _solve_integrals(f, r, hot, b.integrals)))


def _solve_species(f: OrganFactor, r: Rates, b: Ligand) -> Ligand:
    bound0 = b.bound * f.bound
    interstitial0 = (b.interstitial + f.interstitial_from_bound * bound0) * f.interstitial
    transit0 = b.transit * f.transit
    closed = b.vascular + f.plasma_from_interstitial * interstitial0 + r.from_transit * transit0
    vascular, vein_artery_protein = _solve_blood(f, r, closed * f.vascular, b.blood)
    interstitial = interstitial0 + r.to_interstitium * f.interstitial * vascular
    bound = bound0 + f.bound_from_interstitial * interstitial
    return Ligand(
        vascular=vascular,
        interstitial=interstitial,
        transit=transit0 + r.to_transit * f.transit * interstitial,
        bound=bound,
        internalised=(b.internalised + r.internalisation * bound + r.nonsaturable * interstitial) * f.internalised,
        blood=vein_artery_protein,
    )


def _solve_blood(f: OrganFactor, r: Rates, v0, b):
    """Vascular pools and blood, given each organ's response `v0` to its own right-hand side."""
    portal = slice(FIRST_PORTAL, FIRST_PORTAL + r.portal_count)
    systemic = slice(FIRST_PORTAL + r.portal_count, None)
    liver0 = v0[LIVER] + f.vascular[LIVER] * jnp.sum(r.outflow[portal] * v0[portal], axis=0)
    back0 = r.outflow[LIVER] * liver0 + jnp.sum(r.outflow[systemic] * v0[systemic], axis=0)
    artery0 = (b[1] + r.outflow[LUNGS] * v0[LUNGS]) * f.artery
    vein = (b[0] + r.protein_return * b[2] * f.protein + back0 + f.return_from_artery * artery0) * f.vein
    artery = artery0 + f.artery_from_vein * vein
    protein = (b[2] + r.protein_binding * vein) * f.protein
    lungs = v0[LUNGS] + f.lungs_from_vein * vein
    liver = liver0 + f.liver_from_artery * artery
    others = v0[FIRST_PORTAL:] + f.vascular_from_artery[FIRST_PORTAL:] * artery
    return jnp.concatenate([lungs[None], liver[None], others]), jnp.stack([vein, artery, protein])


def _solve_integrals(f: Factor, r: Rates, hot: Ligand, b: Integrals) -> Integrals:
    amount = hot.organ_total
    unrepaired = (b.unrepaired + amount) / (f.shift + r.repair)
    urine = jnp.sum(r.to_urine * hot.interstitial, axis=0)
    released = jnp.sum(r.release * hot.internalised, axis=0)
    decayed = r.decay * (jnp.sum(amount, axis=0) + jnp.sum(hot.blood, axis=0))
    return Integrals(
        organ=(b.organ + amount) / f.shift,
        blood=(b.blood + hot.blood) / f.shift,
        unrepaired=unrepaired,
        kill=(b.kill + f.unrepaired * amount + f.organ_amount * unrepaired) / f.shift,
        ledger=(b.ledger + jnp.stack([urine, released, decayed])) / f.shift,
    )
