"""Unions of regions, patient masses and the remainder of the body, for `dose.smatrix`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from dose.errors import InputError, describe, nearest
from dose.organ import ChainMember, absorbed_fractions, equilibrium_chain
from dose.phantom.organs import GROUPS, reference_organs
from dose.regions import region
from dose.smatrix.parts import PARTS, WALLS, equivalent_mass_g
from dose.smatrix.saf import BONE_SURFACE, RED_MARROW, WHOLE_BODY

if TYPE_CHECKING:
    from dose.smatrix.matrix import SMatrix

REMAINDER = "remainder"


def region_name(name: str) -> str:
    """ "Left kidney", "osteogenic cells", "Urinary bladder" as a matrix names them; unknown words come back cleaned."""
    word = "_".join(str(name).lower().replace("-", " ").replace("_", " ").split())
    try:
        return region(word)
    except InputError:
        return word


def regrouped(matrix: SMatrix) -> SMatrix:
    """The matrix with its unions made anew from their members: targets averaged by mass, activity spread by mass."""
    rows = [k for k, name in enumerate(matrix.targets) if name not in GROUPS]
    columns = [k for k, name in enumerate(matrix.sources) if name not in GROUPS]
    targets, to = _weights([matrix.targets[k] for k in rows], matrix.masses_g)
    sources, of = _weights([matrix.sources[k] for k in columns], matrix.masses_g)
    one = lambda table: to @ table[np.ix_(rows, columns)] @ of.T
    parts = {word: one(getattr(matrix, word)) for word in PARTS}
    whole = sum(parts.values())
    sd = one(matrix.model_sd * matrix.total)
    relative = np.divide(sd, whole, out=np.zeros_like(whole), where=whole > 0)
    masses = dict(matrix.masses_g) | {
        name: sum(matrix.masses_g[m] for m in members)
        for name, members in GROUPS.items()
        if set(members) <= set(matrix.masses_g)
    }
    return replace(matrix, targets=targets, sources=sources, model_sd=relative, mass_sd=to @ matrix.mass_sd[rows],
                   masses_g=masses, **parts)  # fmt: skip


def _weights(names: list[str], masses_g: Mapping[str, float]) -> tuple[tuple[str, ...], np.ndarray]:
    """Names with the unions that they complete, and how much of each member is in each of them [name, member]."""
    unions = {union: members for union, members in GROUPS.items() if set(members) <= set(names)}
    table = np.zeros((len(names) + len(unions), len(names)))
    table[: len(names)] = np.eye(len(names))
    for k, members in enumerate(unions.values(), start=len(names)):
        whole = sum(masses_g[member] for member in members)
        for member in members:
            table[k, names.index(member)] = masses_g[member] / whole
    return (*names, *unions), table


def expanded(given_g: Mapping[str, float], reference_g: Mapping[str, float]) -> dict[str, float]:
    """Masses of single regions: a union is divided as in the reference.

    Raises:
        InputError: unknown region, or a mass that is not above 0.
    """
    found: dict[str, float] = {}
    for name, mass in given_g.items():
        word = region_name(name)
        if word not in reference_g:
            hint = nearest(word, reference_g) or ", ".join(reference_g)
            raise InputError(describe("masses_g", repr(name), hint, "correct the name"))
        if not (math.isfinite(mass) and mass > 0):
            raise InputError(describe(f"masses_g of {name}", f"{mass}", "above 0 g", "give grams"))
        members = GROUPS.get(word, (word,))
        whole = sum(reference_g[member] for member in members)
        found |= {member: mass * reference_g[member] / whole for member in members}
    return found


def mass_factors(matrix: SMatrix, known_g: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Factors [target, source] by part for the new masses of single regions.

    Raises:
        InputError: the matrix does not say its nuclide.
    """
    if not matrix.nuclide:
        do = "give nuclide= when the file is read"
        raise InputError(describe("nuclide", "none in this matrix", "the nuclide whose S values they are", do))
    factors = {word: np.ones(matrix.total.shape) for word in PARTS}
    chain = equilibrium_chain(matrix.nuclide) if matrix.chain else equilibrium_chain(matrix.nuclide)[:1]
    organs = {organ.name: organ for organ in reference_organs(matrix.sex)}
    for name, mass in known_g.items():
        before = matrix.masses_g[name]
        own = {"alpha": before / mass, "electron": _ratio(chain, organs.get(name), before, mass, 0),
               "photon": _ratio(chain, organs.get(name), before, mass, 1)}  # fmt: skip
        for word in PARTS:
            for i, target in enumerate(matrix.targets):
                for j, source in enumerate(matrix.sources):
                    factors[word][i, j] *= _factor(word, name, target, source, before / mass, own)
    return factors


def _factor(word: str, name: str, target: str, source: str, inverse: float, own: Mapping[str, float]) -> float:
    """How one pair changes if the mass of `name` does."""
    particles = word != "photon"
    if name == WHOLE_BODY and WHOLE_BODY in (target, source):
        return inverse if particles or source != WHOLE_BODY else own["photon"]
    if WALLS.get(source) == target:
        return (inverse if particles else own["photon"]) if source == name else 1.0
    if name in (RED_MARROW, BONE_SURFACE):
        return inverse if target == name and (particles or source == name) and source != WHOLE_BODY else 1.0
    return own[word] if name == target == source else 1.0


def _ratio(chain: tuple[ChainMember, ...], organ, before_g: float, after_g: float, kind: int) -> float:
    """Own dose after over own dose before: electrons (kind 0) or photons (1) of spheres of both masses."""

    def dose(mass_g: float) -> float:
        sphere = mass_g if organ is None else equivalent_mass_g(organ, mass_g) if kind == 0 else mass_g / organ.parts
        energy = ("electron_MeV", "photon_MeV")[kind]
        total = sum(
            link.decays * getattr(link.nuclide, energy) * absorbed_fractions(link.nuclide.name, max(sphere, 1e-3))[kind]
            for link in chain
            if link.nuclide.electron_MeV + link.nuclide.photon_MeV > 0
        )
        return total / mass_g

    old = dose(before_g)
    return dose(after_g) / old if old > 0 else before_g / after_g


def remainder(matrix: SMatrix, named: tuple[str, ...]) -> tuple[dict[str, np.ndarray], float]:
    """See `dose.smatrix.SMatrix.remainder`."""
    if WHOLE_BODY not in matrix.sources:
        do = "use a matrix with the whole body among its sources"
        raise InputError(describe("sources", "no whole_body", "whole_body, from which the remainder is made", do))
    inside = [name for name in named if name not in (WHOLE_BODY, REMAINDER)]
    column = {name: matrix.sources.index(name) for name in (*inside, WHOLE_BODY)}
    whole_g = matrix.masses_g[WHOLE_BODY]
    left_g = whole_g - sum(_source_mass_g(matrix, name) for name in inside)
    if left_g < 0.01 * whole_g:
        do = "name fewer sources, or check the masses"
        raise InputError(describe("remainder", f"{left_g:.0f} g beside the sources", "more than 1 % of the body", do))
    parts = {}
    for word in PARTS:
        table = getattr(matrix, word)
        taken = sum((table[:, column[name]] * _source_mass_g(matrix, name) for name in inside), np.zeros(len(table)))
        parts[word] = np.maximum(table[:, column[WHOLE_BODY]] * whole_g - taken, 0.0) / left_g
    return parts, left_g


def _source_mass_g(matrix: SMatrix, name: str) -> float:
    """Mass that a source takes out of the body: surfaces of bone take none."""
    return matrix.masses_g.get(name, 0.0)
