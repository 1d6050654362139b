"""The stylised adult of `dose.phantom` as an anatomy to be scanned, as it is or randomised in size, shape and pose.

One body serves dose and pictures. Its masses are ICRP 89's (or the ones given); a randomised body keeps exactly the
masses that it was drawn with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dose.errors import InputError, describe
from dose.phantom import GROUPS, Phantom, body_height_cm, body_mass_g, phantom, reference_organs, site_masses_g
from dose.provenance import load_table
from imaging.geometry import Volume
from imaging.scanner.anatomy import Anatomy, hounsfield
from imaging.scanner.deform import Motion, deformed, padded

MARGIN_MM = 24.0
"""Air round a randomised body, so that turning and shifting keep it in the field."""

MOST_SD = 2.0
"""Draws stop here: bodies whose organs do not fit are no use."""

DRAWS = 5
"""Times that a randomised body is drawn before the last error is shown."""

BOWEL = ("stomach", "small_intestine", "right_colon", "left_colon", "rectosigmoid")


@dataclass(frozen=True)
class ShapeSpread:
    """How far a randomised body goes; sd of each.

    `sizes` multiplies the relative sds of `data/body_spread.csv` (0: reference sizes).
    """

    sizes: float = 1.0
    field_mm: float = 3.0
    scale_mm: float = 60.0
    rotation_deg: float = 1.5
    translation_mm: float = 5.0
    breathing_mm: float = 5.0

    def __post_init__(self):
        low = min(self.sizes, self.field_mm, self.rotation_deg, self.translation_mm, self.breathing_mm)
        if not (low >= 0 and self.scale_mm > 0):
            raise InputError(describe("spread", "a negative value", "zero or more", "correct the spread"))


def virtual_body(
    sex: str,
    *,
    voxel_mm: float = 4.0,
    height_cm: float | None = None,
    weight_kg: float | None = None,
    masses_g: Mapping[str, float] | None = None,
    seed: int | None = None,
    spread: ShapeSpread | None = None,
) -> Anatomy:
    """A standing adult with the reference's or the given masses; with a `seed` drawn about them.

    Sizes that are given are not drawn. z is 0 at the crotch and x at the middle, in LPS mm.

    Raises:
        InputError: as `dose.phantom.phantom`; a spread under which the body folds or an organ finds no room.
    """
    if seed is None:
        return of_phantom(phantom(sex, voxel_mm, masses_g=masses_g, height_cm=height_cm, weight_kg=weight_kg))
    spread, random = spread or ShapeSpread(), np.random.default_rng(seed)
    made = _fitting(sex, voxel_mm, dict(masses_g or {}), (height_cm, weight_kg), spread, random)
    return deformed(padded(of_phantom(made), MARGIN_MM), drawn_motion(spread, random))


def _fitting(sex: str, voxel_mm: float, known: dict, size, spread: ShapeSpread, random: np.random.Generator) -> Phantom:
    """The first draw whose organs find room; small organs between others do not always."""
    for attempt in range(DRAWS):
        drawn = {name: mass for name, mass in drawn_masses_g(sex, spread, random).items() if not _given(name, known)}
        height, weight = (own if given is None else given for own, given in zip(_drawn_size(sex, spread, random), size))
        try:
            return phantom(sex, voxel_mm, masses_g={**drawn, **known}, height_cm=height, weight_kg=weight)
        except InputError:
            if attempt == DRAWS - 1:
                raise
    raise AssertionError("DRAWS is above zero")


def of_phantom(body: Phantom) -> Anatomy:
    """An anatomy with the phantom's labels, names and densities, CT numbers by density."""
    affine = np.diag([body.voxel_mm, body.voxel_mm, body.voxel_mm, 1.0])
    affine[:3, 3] = 10 * np.asarray(body.origin_cm)
    ct = Volume(hounsfield(body.density_g_cm3)[body.labels], affine)
    return Anatomy(body.labels, body.names, body.density_g_cm3, ct, _unions(body))


def _unions(body: Phantom) -> dict[str, dict[str, float]]:
    """Unions of labels, and the tissues that bones share."""
    found = {name: dict.fromkeys(parts, 1.0) for name, parts in GROUPS.items() if set(parts) <= set(body.names)}
    sites = {site: tissues for site, tissues in site_masses_g(body.sex).items() if site in body.names}
    marrow = {site: tissues["red_marrow"] / sum(tissues.values()) for site, tissues in sites.items()}
    found["bone"] = dict.fromkeys(sites, 1.0)
    found["red_marrow"] = {site: share for site, share in marrow.items() if share > 0}
    found["gi"] = dict.fromkeys(BOWEL, 1.0)
    return found


def _spreads() -> dict[str, float]:
    return {row["quantity"]: float(row["value"]) for row in load_table("imaging", "body_spread.csv")}


def _given(name: str, known: Mapping[str, float]) -> bool:
    """Whether a mass of the user's settles this organ, a part of it or a union with it."""
    parts = set(GROUPS.get(name, (name,)))
    return any(parts & set(GROUPS.get(other, (other,))) for other in known)


def drawn_masses_g(sex: str, spread: ShapeSpread, random: np.random.Generator) -> dict[str, float]:
    """Masses of the organs of `data/body_spread.csv`, lognormal with the reference as median."""
    reference = {organ.name: organ.mass_g for organ in reference_organs(sex)}
    found = {}
    for name, cv in _spreads().items():
        if name in ("weight", "height"):
            continue
        whole = sum(reference[part] for part in GROUPS.get(name, (name,)))
        found[name] = whole * float(np.exp(_normal(random) * spread.sizes * np.sqrt(np.log1p(cv**2))))
    return found


def _drawn_size(sex: str, spread: ShapeSpread, random: np.random.Generator) -> tuple[float, float]:
    """Height in cm and weight in kg."""
    sd = _spreads()
    height = body_height_cm(sex) + spread.sizes * sd["height"] * _normal(random)
    taller = (height / body_height_cm(sex)) ** 2
    return height, body_mass_g(sex) / 1e3 * taller * float(np.exp(spread.sizes * sd["weight"] * _normal(random)))


def drawn_motion(spread: ShapeSpread, random: np.random.Generator) -> Motion:
    three = lambda sd: tuple(float(sd * _normal(random)) for _ in range(3))
    turn, shift = three(spread.rotation_deg), three(spread.translation_mm)
    breath = spread.breathing_mm * _normal(random)
    seed = int(random.integers(2**31))
    return Motion(spread.field_mm, spread.scale_mm, turn, shift, breath, seed=seed)


def _normal(random: np.random.Generator) -> float:
    return float(np.clip(random.standard_normal(), -MOST_SD, MOST_SD))
