"""Right-hand side of the whole-body model: one function a term, assembled as the equation page reads.

Source: the corrected equations of PBPK.md section 2 (structure of Kletting 2016 and Fele-Paranj 2024, defects mended).
All amounts are [..., pool, patient].
"""

from __future__ import annotations

import jax.numpy as jnp

from pbpk.kinetics import Rates
from pbpk.state import FIRST_PORTAL, LIVER, LUNGS, Ligand, spread


def perfusion(x: Ligand, r: Rates):
    """Net plasma transport into each vascular pool, shape [organ, patient]."""
    venous, arterial = x.blood[..., 0, :], x.blood[..., 1, :]
    leaving = r.outflow * x.vascular
    portal = jnp.sum(leaving[..., FIRST_PORTAL : FIRST_PORTAL + r.layout.portal, :], axis=-2, keepdims=True)
    arterial_in = r.inflow[LIVER:] * arterial[..., None, :]
    lungs = (r.inflow[LUNGS] * venous)[..., None, :]
    arriving = jnp.concatenate([lungs, arterial_in[..., :1, :] + portal, arterial_in[..., 1:, :]], axis=-2)
    return arriving - leaving


def venous_return(x: Ligand, r: Rates):
    """Plasma transport into the vein: liver and every organ that drains there directly."""
    direct = slice(FIRST_PORTAL + r.layout.portal, None)
    drained = jnp.sum(r.outflow[direct] * x.vascular[..., direct, :], axis=-2)
    return r.outflow[LIVER] * x.vascular[..., LIVER, :] + drained


def blood(x: Ligand, r: Rates, infusion):
    """Derivatives of vein, artery and plasma-protein pool."""
    venous, arterial, protein = (x.blood[..., k, :] for k in range(3))
    exchange = r.protein_binding * venous - r.protein_return * protein
    d_venous = venous_return(x, r) - r.from_vein * venous - exchange + infusion
    d_arterial = r.outflow[LUNGS] * x.vascular[..., LUNGS, :] - r.from_artery * arterial
    return jnp.stack([d_venous, d_arterial, exchange], axis=-2)


def species(x: Ligand, total_bound, r: Rates, infusion) -> Ligand:
    """Transport, binding, internalisation and excretion of one species, without decay."""
    kidney, binding, organs = r.layout.kidney, r.layout.binding, r.layout.organs
    extravasation = r.to_interstitium * x.vascular - r.to_plasma * x.interstitial
    reabsorption = r.from_transit * x.transit
    in_tubule, beside_cells = x.interstitial[..., kidney, :], x.interstitial[..., binding, :]
    bound_net = r.binding * beside_cells * (r.receptors - total_bound) - r.k_off * x.bound
    uptake = r.nonsaturable * beside_cells
    returned = r.returned * x.internalised
    leaving_tubule = spread((r.to_urine + r.to_transit) * in_tubule, kidney, organs)
    return Ligand(
        vascular=perfusion(x, r) - extravasation + spread(reabsorption, kidney, organs),
        interstitial=extravasation - leaving_tubule - spread(bound_net + uptake - returned, binding, organs),
        transit=r.to_transit * in_tubule - reabsorption,
        bound=bound_net - r.internalisation * x.bound,
        internalised=r.internalisation * x.bound + uptake - r.release * x.internalised,
        blood=blood(x, r, infusion),
    )


def decaying(rate: Ligand, x: Ligand, decay) -> Ligand:
    """The same with physical decay out of every pool."""
    return Ligand(*(d - decay * pool for d, pool in zip(rate, x, strict=True)))


def leaving(x: Ligand, r: Rates):
    """Rates at which one species' hot amount goes to urine and bile, is otherwise released, and decays."""
    urine = jnp.sum(r.to_urine * x.interstitial[..., r.layout.kidney, :], axis=-2)
    bile = r.to_bile * x.internalised[..., 0, :]
    released = jnp.sum((r.release - r.returned) * x.internalised, axis=-2) - bile
    decayed = r.decay * sum(jnp.sum(pool, axis=-2) for pool in x)
    return jnp.stack([urine, bile, released, decayed], axis=-2)
