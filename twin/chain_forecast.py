"""Self-dose of each reported region per activity of the parent in it, with the daughters of an alpha chain followed.

A nuclide whose daughters `pbpk.daughters` can follow gets coefficients by draw and cycle: daughters that leave their organ
are missing there, those that come from elsewhere are added, and each draw has its own retentions and rates
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
from pbpk.daughters import daughters, is_followed
from pbpk.elements import BLOOD
from pbpk.freed import Redistribution, draw, typical
from twin.body import Body

REDISTRIBUTION_SEED = 20_003
"""Retentions and rates are drawn apart from all else: they are of the patient, the same in each of the cycles."""


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
    share = np.stack([_share(region, body) for region in regions])
    reported = np.einsum("rp,npcd->nrcd", share, np.asarray(found.inside))
    dose = chain_dose(dict(zip(found.nuclides, reported, strict=True)), regions, dict(zip(regions, mass_g, strict=True)))
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
    """The parent in each organ and, last, in blood: what drifts in an organ also feeds its neighbours with daughters."""
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


def _share(region: str, body: Body) -> Float[np.ndarray, " place"]:
    """Weights of organs and blood whose sum is a region, "kidneys" from left and right."""
    weights = pool_weights(region, body.organs, frozenset())
    if weights is None:
        raise AssertionError(f"{region} is reported but not modelled")
    return weights[: len(body.organs) + 1]


def daughter_warnings(nuclide: str) -> tuple[str, ...]:
    """What the reader of a report must know of an alpha chain; none for other nuclides."""
    if is_followed(nuclide):
        text = (
            "daughters of {} are followed after they leave the chelate, with assumed retention in each organ that was "
            "measured in no patient (docs/daughters.md): intervals hold that doubt, and doses are not those of decay in "
            "place, which the S values listed by region describe"
        )
        return (text.format(nuclide),)
    chain = equilibrium_chain(nuclide)
    if len(chain) > 1 and any(link.nuclide.alpha_MeV > 0 for link in chain):
        text = "daughters of {} are not followed: all are taken to decay where it did, so doses away from it are too low"
        return (text.format(nuclide),)
    return ()
