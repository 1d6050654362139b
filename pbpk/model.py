"""Right-hand side of the whole-body model: one function a term, assembled as the equation page reads.

Source: the corrected equations of PBPK.md section 2 (structure of Kletting 2016 and Fele-Paranj 2024, defects mended).
"""

from __future__ import annotations

import jax.numpy as jnp

from pbpk.kinetics import FIRST_PORTAL, LIVER, LUNGS, Rates
from pbpk.state import Integrals, Ligand, State, pack, unpack


def perfusion(x: Ligand, r: Rates):
    """Net plasma transport into each vascular pool, shape [organ, patient]."""
    venous, arterial, _ = x.blood
    leaving = r.outflow * x.vascular
    portal = jnp.sum(leaving[FIRST_PORTAL : FIRST_PORTAL + r.portal_count], axis=0)
    arriving = r.inflow * arterial
    arriving = jnp.concatenate([(r.inflow[LUNGS] * venous)[None], (arriving[LIVER] + portal)[None], arriving[2:]])
    return arriving - leaving


def venous_return(x: Ligand, r: Rates):
    """Plasma transport into the vein: liver and every organ that drains there directly."""
    leaving = r.outflow * x.vascular
    return leaving[LIVER] + jnp.sum(leaving[FIRST_PORTAL + r.portal_count :], axis=0)


def blood(x: Ligand, r: Rates, infusion):
    """Derivatives of vein, artery and plasma-protein pool."""
    venous, arterial, protein = x.blood
    exchange = r.protein_binding * venous - r.protein_return * protein
    d_venous = venous_return(x, r) - r.from_vein * venous - exchange + infusion
    d_arterial = r.outflow[LUNGS] * x.vascular[LUNGS] - r.from_artery * arterial
    return jnp.stack([d_venous, d_arterial, exchange])


def species(x: Ligand, free_receptors, r: Rates, infusion) -> Ligand:
    """Transport, binding, internalisation and excretion of one species, without decay."""
    extravasation = r.to_interstitium * x.vascular - r.to_plasma * x.interstitial
    reabsorption = r.from_transit * x.transit
    association = r.binding * x.interstitial * free_receptors
    dissociation = r.k_off * x.bound
    uptake = r.nonsaturable * x.interstitial
    leaving_tubule = (r.to_urine + r.to_transit) * x.interstitial
    return Ligand(
        vascular=perfusion(x, r) - extravasation + reabsorption,
        interstitial=extravasation - leaving_tubule - association + dissociation - uptake,
        transit=r.to_transit * x.interstitial - reabsorption,
        bound=association - dissociation - r.internalisation * x.bound,
        internalised=r.internalisation * x.bound + uptake - r.release * x.internalised,
        blood=blood(x, r, infusion),
    )


def decaying(rate: Ligand, x: Ligand, decay) -> Ligand:
    """The same with physical decay out of every pool."""
    return Ligand(*(d - decay * pool for d, pool in zip(rate, x, strict=True)))


def integrands(hot: Ligand, unrepaired, r: Rates) -> Integrals:
    """What the integrals grow by; `unrepaired` decays with the rate of sublethal damage repair."""
    amount = hot.organ_total
    urine = jnp.sum(r.to_urine * hot.interstitial, axis=0)
    released = jnp.sum(r.release * hot.internalised, axis=0)
    decayed = r.decay * (jnp.sum(amount, axis=0) + jnp.sum(hot.blood, axis=0))
    return Integrals(
        organ=amount,
        blood=hot.blood,
        unrepaired=amount - r.repair * unrepaired,
        kill=amount * unrepaired,
        ledger=jnp.stack([urine, released, decayed]),
    )


def right_hand_side(y, r: Rates, infusion):
    """dy/dt for y of shape [row, patient]; `infusion` is (total, hot) in nmol per min, each [patient]."""
    organs = r.outflow.shape[0]
    state = unpack(y, organs)
    free = r.receptors - state.total.bound
    d_total = species(state.total, free, r, infusion[0])
    d_hot = decaying(species(state.hot, free, r, infusion[1]), state.hot, r.decay)
    return pack(State(d_total, d_hot, integrands(state.hot, state.integrals.unrepaired, r)))
