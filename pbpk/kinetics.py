"""Every rate of the whole-body model for one or many patients, as arrays.

Organs are ordered so that the graph needs no look-ups: lungs first (fed by the vein), then the liver, then the organs
that drain into the liver, the kidneys, the other organs that bind ligand, and all others (fed by the artery, draining
into the vein). Arrays carry a trailing patient axis, so a population is the same value with more columns. Equations:
docs/equations.md; PBPK.md section 2.
"""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from pbpk.state import FIRST_PORTAL, LIVER, Layout


class Kinetics(eqx.Module):
    """Explicit anatomy, physiology and ligand: volumes in L, flows in L/min, amounts in nmol, rates per min.

    Of what cells release, `returned_fraction` goes back to the interstitium, the rest out of the body: from the liver
    `biliary_fraction` of it into bile. Of the ligand in plasma `unbound_fraction` is free; the rest is on albumin and
    leaves plasma by `albumin_permeability` (L/min) alone.
    """

    plasma_flow: Float[Array, "organ patient"]
    vascular: Float[Array, "organ patient"]
    interstitial: Float[Array, "organ patient"]
    transit: Float[Array, "organ patient"]
    permeability: Float[Array, "organ patient"]
    filtration: Float[Array, "organ patient"]
    receptors: Float[Array, "organ patient"]
    internalisation: Float[Array, "organ patient"]
    release: Float[Array, "organ patient"]
    nonsaturable: Float[Array, "organ patient"]
    returned_fraction: Float[Array, "organ patient"]
    albumin_permeability: Float[Array, "organ patient"]
    repair: Float[Array, "organ patient"]
    k_on: Float[Array, " patient"]
    k_off: Float[Array, " patient"]
    excreted_fraction: Float[Array, " patient"]
    biliary_fraction: Float[Array, " patient"]
    unbound_fraction: Float[Array, " patient"]
    arterial: Float[Array, " patient"]
    venous: Float[Array, " patient"]
    protein_binding: Float[Array, " patient"]
    protein_return: Float[Array, " patient"]
    decay: Float[Array, " patient"]
    organs: tuple[str, ...] = eqx.field(static=True)
    portal_count: int = eqx.field(static=True)
    kidney_count: int = eqx.field(static=True)
    specific_count: int = eqx.field(static=True)

    @property
    def patients(self) -> int:
        return self.plasma_flow.shape[-1]

    @property
    def layout(self) -> Layout:
        return Layout(len(self.organs), self.portal_count, self.kidney_count, self.specific_count)


class Rates(eqx.Module):
    """First-order rates per minute derived from `Kinetics`, each for the organs that have it."""

    outflow: Float[Array, "organ patient"]
    inflow: Float[Array, "organ patient"]
    to_interstitium: Float[Array, "organ patient"]
    to_plasma: Float[Array, "organ patient"]
    to_urine: Float[Array, "kidney patient"]
    to_transit: Float[Array, "kidney patient"]
    from_transit: Float[Array, "kidney patient"]
    binding: Float[Array, "specific patient"]
    receptors: Float[Array, "specific patient"]
    internalisation: Float[Array, "specific patient"]
    release: Float[Array, "specific patient"]
    nonsaturable: Float[Array, "specific patient"]
    returned: Float[Array, "specific patient"]
    repair: Float[Array, "organ patient"]
    to_bile: Float[Array, " patient"]
    k_off: Float[Array, " patient"]
    from_artery: Float[Array, " patient"]
    from_vein: Float[Array, " patient"]
    protein_binding: Float[Array, " patient"]
    protein_return: Float[Array, " patient"]
    decay: Float[Array, " patient"]
    layout: Layout = eqx.field(static=True)


def rates(kin: Kinetics) -> Rates:
    """Rates of each exchange. Lungs carry the sum of all organ flows, tumours included."""
    layout = kin.layout
    kidney, binding = layout.kidney, layout.binding
    systemic = kin.plasma_flow[LIVER:]
    total_flow = jnp.sum(systemic, axis=0)
    portal = kin.plasma_flow[FIRST_PORTAL : FIRST_PORTAL + kin.portal_count]
    liver_out = kin.plasma_flow[LIVER] + jnp.sum(portal, axis=0)
    out_flow = jnp.concatenate([total_flow[None], liver_out[None], kin.plasma_flow[FIRST_PORTAL:]])
    in_flow = jnp.concatenate([total_flow[None] / kin.venous, systemic / kin.arterial])
    free = kin.unbound_fraction
    extravasation = free * (kin.permeability + kin.filtration) + (1 - free) * kin.albumin_permeability
    returned = (kin.returned_fraction * kin.release)[binding]
    exchange = kin.filtration[kidney] / kin.interstitial[kidney]
    return Rates(
        outflow=out_flow / kin.vascular,
        inflow=in_flow,
        to_interstitium=extravasation / kin.vascular,
        to_plasma=kin.permeability / kin.interstitial,
        to_urine=kin.excreted_fraction * exchange,
        to_transit=(1 - kin.excreted_fraction) * exchange,
        from_transit=(1 - kin.excreted_fraction) * kin.filtration[kidney] / kin.transit[kidney],
        binding=kin.k_on / kin.interstitial[binding],
        receptors=kin.receptors[binding],
        internalisation=kin.internalisation[binding],
        release=kin.release[binding],
        nonsaturable=kin.nonsaturable[binding],
        returned=returned,
        repair=kin.repair,
        to_bile=kin.biliary_fraction * (kin.release[LIVER] - returned[0]),
        k_off=kin.k_off,
        from_artery=total_flow / kin.arterial,
        from_vein=total_flow / kin.venous,
        protein_binding=free * kin.protein_binding,
        protein_return=kin.protein_return,
        decay=kin.decay,
        layout=layout,
    )
