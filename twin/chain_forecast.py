"""Self-dose of each reported region per activity of the parent in it, with the daughters of an alpha chain followed.

A nuclide whose daughters `pbpk.daughters` can follow gets coefficients by draw and cycle: daughters that leave their
organ are missing there, those from elsewhere are added, and each draw has its own retentions and rates
(docs/daughters.md). Every other nuclide keeps the coefficient of `dose.organ`, with a chain in equilibrium.
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from calibration.forward import pool_weights
from dose.chains import ChainDose, chain_dose
from dose.organ import dose_coefficient_Gy_per_MBq_h, equilibrium_chain
from dose.regions import density_g_per_mL, reference_mass_g
from pbpk.daughters import daughters, is_followed, is_mobile
from pbpk.elements import BLOOD
from pbpk.freed import Redistribution, draw, typical
from twin.body import Body

REDISTRIBUTION_SEED = 20_003
"""Retentions and rates are drawn apart from all else: they are of the patient, the same in each of the cycles."""
FOLLOWED = (
    "daughters of {} are followed with assumed retention (docs/daughters.md): it was measured in no patient, and the "
    "intervals hold that doubt; the S values listed by region are those of decay in place and were not used"
)


class Coefficient(NamedTuple):
    """Physical dose of a region in Gy per MBq h of the parent in it, and the part of it that is electrons and photons.

    `total_Gy_per_MBq_h` and `low_let` are numbers where daughters stay, [draw, cycle] where they are followed;
    `relative_sd` is the model uncertainty of the self-dose.
    """

    total_Gy_per_MBq_h: Float[np.ndarray, "draw cycle"] | float
    low_let: Float[np.ndarray, "draw cycle"] | float
    relative_sd: float


def coefficients(body: Body, sex: str, nuclide: str, regions, mass_g, organ_tia, drift) -> list[Coefficient]:
    """One for each of `regions` with masses `mass_g` [region].

    `organ_tia` [pool, cycle, draw] in MBq h, organs first and then the pools of blood, is that of the parent without
    `drift` [draw, cycle, region]; the last draw is the MAP and gets the table's central redistribution.
    """
    if not is_followed(nuclide):
        return [_in_place(region, nuclide, mass) for region, mass in zip(regions, mass_g, strict=True)]
    parent = parent_tia_MBq_h(body, regions, organ_tia, drift)
    spread = redistribution((*body.organs, BLOOD), masses_g(body, sex), parent.shape[-1] - 1)
    found = daughters(nuclide, parent, spread)
    share = np.array([pool_weights(region, body.organs, frozenset()) for region in regions])[:, : len(parent)]
    reported = np.einsum("rp,npcd->nrcd", share, np.asarray(found.inside))
    dose = chain_dose(
        dict(zip(found.nuclides, reported, strict=True)), regions, dict(zip(regions, mass_g, strict=True))
    )
    return [_followed(dose, k, reported[0, k]) for k in range(len(regions))]


def _in_place(region: str, nuclide: str, mass_g: float) -> Coefficient:
    s = dose_coefficient_Gy_per_MBq_h(region, nuclide, mass_g)
    return Coefficient(s.total, (s.electron + s.photon) / s.total, s.relative_sd)


def _followed(dose: ChainDose, k: int, parent: Float[np.ndarray, "cycle draw"]) -> Coefficient:
    """Region `k` of the doses [nuclide, region, cycle, draw], over the parent's TIA; 0 in a cycle without activity."""
    high, total = (np.asarray(part[:, k]) for part in (dose.alpha_Gy, dose.by_nuclide_Gy))
    gray = total.sum(axis=0)
    ratio = lambda a, b: np.divide(a, b, out=np.zeros_like(gray), where=b > 0).T
    # errors of one nuclide's and another's coefficient are taken as fully correlated
    weight = total[..., -1].sum(axis=-1)
    relative_sd = float(weight @ dose.relative_sd[:, k] / max(weight.sum(), np.finfo(float).tiny))
    return Coefficient(ratio(gray, parent), ratio(gray - high.sum(axis=0), gray), relative_sd)


def parent_tia_MBq_h(body: Body, regions, organ_tia, drift) -> Float[np.ndarray, "place cycle draw"]:
    """The parent in each organ and, last, in blood: an organ's drift also changes what its neighbours receive."""
    count = len(body.organs)
    parent = np.concatenate([organ_tia[:count], organ_tia[count:].sum(axis=0, keepdims=True)])
    for k, region in enumerate(regions):
        if region in body.organs:
            parent[body.organs.index(region)] *= drift[..., k].T
    # integrals of an organ that takes up next to nothing can end a rounding error below 0
    return np.maximum(parent, 0.0)


def masses_g(body: Body, sex: str) -> dict[str, float]:
    """Mass of every organ of the model, and the reference mass of blood."""
    volumes = zip(body.organs, body.physiology.volume_L, strict=True)
    return {o: 1000 * float(v) * density_g_per_mL(o) for o, v in volumes} | {BLOOD: reference_mass_g(BLOOD, sex)}


def redistribution(places: tuple[str, ...], mass_g: dict[str, float], draws: int) -> Redistribution:
    """Random values on a trailing axis [draw + 1], the table's central ones last."""
    drawn, central = draw(jax.random.key(REDISTRIBUTION_SEED), places, mass_g, draws), typical(places, mass_g)
    moving, fixed = eqx.partition(drawn, lambda x: isinstance(x, jax.Array))
    middle = eqx.filter(central, lambda x: isinstance(x, jax.Array))
    joined = jax.tree.map(lambda d, c: jnp.concatenate([d, c[..., None]], axis=-1), moving, middle)
    return eqx.combine(joined, fixed)


def daughter_warnings(nuclide: str) -> tuple[str, ...]:
    """What the reader of a report must know of an alpha chain; none where no daughter lives long enough to move."""
    progeny = equilibrium_chain(nuclide)[1:]
    if not any(link.nuclide.alpha_MeV > 0 for link in progeny) or not any(is_mobile(link.nuclide) for link in progeny):
        return ()
    if is_followed(nuclide):
        return (FOLLOWED.format(nuclide),)
    return (f"daughters of {nuclide} are not followed: all are taken to decay where it did, which free ones do not",)
