"""Linear solves with s I - J in closed form, J the Jacobian of one species.

Organs meet only in blood and liver, so the matrix is block-arrow: each organ's chain vascular, interstitial, transit,
bound, internalised collapses to a few scalars, then lungs, artery and vein close the loop. No pivot subtracts positive
numbers of like size, so no pivoting is needed. Cost grows with the number of organs, not its cube (PERFORMANCE.md
section 5.1). The order of elimination is that of `state.Layout`, so any number of organs and tumours is one program.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from pbpk.kinetics import Rates
from pbpk.state import FIRST_PORTAL, LIVER, LUNGS, Ligand, spread


class Factor(NamedTuple):
    """Inverse pivots and couplings of the organ chains and of the blood loop for one species."""

    internalised: jax.Array
    interstitial_from_internalised: jax.Array
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


def factor(r: Rates, s, association, dissociation) -> Factor:
    """Factor s I - J; `association` and `dissociation` per minute are linearised binding rates [specific, patient]."""
    kidney, binding, organs = r.layout.kidney, r.layout.binding, r.layout.organs
    internalised = 1 / (s + r.release)
    back = r.returned * internalised
    bound = 1 / (s + dissociation + r.internalisation)
    bound_from_int = association * bound
    transit = 1 / (s + r.from_transit)
    recycling = r.to_plasma + spread(r.to_transit * r.from_transit * transit, kidney, organs)
    in_kidney = spread(r.to_urine + r.to_transit * s * transit, kidney, organs)
    kept = r.nonsaturable * (1 - back) + bound_from_int * (s + r.internalisation * (1 - back))
    lost = s + in_kidney + spread(kept, binding, organs)
    interstitial = 1 / (lost + recycling)
    vascular = 1 / (s + r.outflow + r.to_interstitium * lost * interstitial)
    return Factor(
        internalised, back, bound, bound_from_int, dissociation + back * r.internalisation, interstitial, transit,
        recycling, vascular, *_blood_factor(r, s, vascular),
    )  # fmt: skip


def _drains(r: Rates) -> tuple[slice, slice]:
    """Organs that drain into the liver, and those that drain into the vein."""
    last = FIRST_PORTAL + r.layout.portal
    return slice(FIRST_PORTAL, last), slice(last, None)


def _blood_factor(r: Rates, s, vascular):
    portal, direct = _drains(r)
    from_artery = r.inflow * vascular
    liver = (r.inflow[LIVER] + jnp.sum(r.outflow[portal] * from_artery[portal], axis=0)) * vascular[LIVER]
    back = r.outflow[LIVER] * liver + jnp.sum(r.outflow[direct] * from_artery[direct], axis=0)
    artery = 1 / (s + r.from_artery)
    lungs = r.inflow[LUNGS] * vascular[LUNGS]
    artery_from_vein = r.outflow[LUNGS] * lungs * artery
    protein = 1 / (s + r.protein_return)
    vein = 1 / (s + r.from_vein + r.protein_binding * s * protein - back * artery_from_vein)
    return from_artery, liver, back, artery, lungs, artery_from_vein, protein, vein


def solve(f: Factor, r: Rates, b: Ligand) -> Ligand:
    """x with (s I - J) x = b for one species."""
    kidney, binding, organs = r.layout.kidney, r.layout.binding, r.layout.organs
    bound0 = b.bound * f.bound
    from_cells = f.interstitial_from_bound * bound0 + f.interstitial_from_internalised * b.internalised
    interstitial0 = (b.interstitial + spread(from_cells, binding, organs)) * f.interstitial
    transit0 = b.transit * f.transit
    reabsorbed = spread(r.from_transit * transit0, kidney, organs)
    closed = b.vascular + f.plasma_from_interstitial * interstitial0 + reabsorbed
    vascular, vein_artery_protein = _solve_blood(f, r, closed * f.vascular, b.blood)
    interstitial = interstitial0 + r.to_interstitium * f.interstitial * vascular
    beside_cells = interstitial[binding]
    bound = bound0 + f.bound_from_interstitial * beside_cells
    return Ligand(
        vascular=vascular,
        interstitial=interstitial,
        transit=transit0 + r.to_transit * f.transit * interstitial[kidney],
        bound=bound,
        internalised=(b.internalised + r.internalisation * bound + r.nonsaturable * beside_cells) * f.internalised,
        blood=vein_artery_protein,
    )


def _solve_blood(f: Factor, r: Rates, v0, b):
    """Vascular pools and blood, given each organ's response `v0` to its own right-hand side."""
    portal, direct = _drains(r)
    liver0 = v0[LIVER] + f.vascular[LIVER] * jnp.sum(r.outflow[portal] * v0[portal], axis=0)
    back0 = r.outflow[LIVER] * liver0 + jnp.sum(r.outflow[direct] * v0[direct], axis=0)
    artery0 = (b[1] + r.outflow[LUNGS] * v0[LUNGS]) * f.artery
    vein = (b[0] + r.protein_return * b[2] * f.protein + back0 + f.return_from_artery * artery0) * f.vein
    artery = artery0 + f.artery_from_vein * vein
    protein = (b[2] + r.protein_binding * vein) * f.protein
    lungs = v0[LUNGS] + f.lungs_from_vein * vein
    liver = liver0 + f.liver_from_artery * artery
    others = v0[FIRST_PORTAL:] + f.vascular_from_artery[FIRST_PORTAL:] * artery
    return jnp.concatenate([lungs[None], liver[None], others]), jnp.stack([vein, artery, protein])
