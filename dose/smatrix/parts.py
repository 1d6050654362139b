"""The S values of single regions, part by part: alphas, electrons, photons. Used by `dose.smatrix`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dose.emissions import Emissions, emissions
from dose.organ import ChainMember, absorbed_fractions, gray_per_MeV
from dose.phantom.organs import Organ, reference_organs
from dose.phantom.skeleton import quantities
from dose.provenance import constant, load_table
from dose.regions import HOLLOW
from dose.smatrix.saf import BONE_SURFACE, RED_MARROW, WHOLE_BODY, SafTable, absorbed_MeV_per_kg
from dose.smatrix.spongiosa import Shares, shares, surface_self

PARTS = ("alpha", "electron", "photon")
TRABECULAR_SURFACE, CORTICAL_SURFACE = "trabecular_surface", "cortical_surface"
SURFACES = {TRABECULAR_SURFACE: "trabecular_bone", CORTICAL_SURFACE: "cortical_bone"}
"""Activity on surfaces: its photons are those of the mineral beneath."""
WALLS = {f"{wall}_contents": wall for wall in HOLLOW}
ON_TRABECULAE = 0.5
"""Share of the osteogenic cells on trabecular bone, the others on cortical bone (ICRP 30)."""


@dataclass(frozen=True, eq=False)
class Members:
    """S of single regions in Gy/(MBq h), `parts` by word [target, source], and the relative sd of their sum but for the
    masses."""

    targets: tuple[str, ...]
    sources: tuple[str, ...]
    parts: dict[str, Float[np.ndarray, "target source"]]
    model_sd: Float[np.ndarray, "target source"]


def member_parts(table: SafTable, followed: Sequence[ChainMember], masses_g: Mapping[str, float]) -> Members:
    """S of every target from every source, summed over a nuclide and its progeny."""
    sources = (*table.sources, *(surface for surface, bone in SURFACES.items() if bone in table.sources))
    shape = len(table.targets), len(sources)
    total = {word: np.zeros(shape) for word in (*PARTS, "variance")}
    for link in followed:
        for word, value in _of_nuclide(table, sources, emissions(link.nuclide.name), masses_g).items():
            total[word] += value * link.decays ** (2 if word == "variance" else 1)
    whole = sum(total[word] for word in PARTS)
    model = np.sqrt(total["variance"] + _judged(table.targets, sources, total))
    relative = np.divide(model, whole, out=np.zeros(shape), where=whole > 0)
    return Members(table.targets, sources, {word: total[word] for word in PARTS}, relative)


def _of_nuclide(table: SafTable, sources, emitted: Emissions, masses_g) -> dict[str, np.ndarray]:
    """One decay of one nuclide alone; `variance` is that of the photons' statistics."""
    photon, sd = _photons(table, sources, emitted)
    short = {word: np.zeros((len(table.targets), len(sources))) for word in ("alpha", "electron")}
    organs = {organ.name: organ for organ in reference_organs(table.sex)}
    for i, target in enumerate(table.targets):
        for j, source in enumerate(sources):
            pair = target, source, organs, masses_g, emitted, table.sex
            short["electron"][i, j] = electron_Gy(*pair)
            short["alpha"][i, j] = alpha_Gy(*pair)
    return {**short, "photon": photon, "variance": sd**2}


def _photons(table: SafTable, sources, emitted: Emissions) -> tuple[np.ndarray, np.ndarray]:
    """Gy/(MBq h) of the lines and, in other organs, of the bremsstrahlung (an organ's own is in its electrons)."""
    lines = emitted.photons
    value, sd = absorbed_MeV_per_kg(table, lines.energy_MeV, lines.per_decay)
    soft = _bremsstrahlung(emitted)
    if soft is not None:
        more, _ = absorbed_MeV_per_kg(table, *soft)
        own = np.array([[t in (s, WHOLE_BODY) or s == WHOLE_BODY for s in table.sources] for t in table.targets])
        value = value + np.where(own, 0.0, more)
    column = [table.sources.index(SURFACES.get(source, source)) for source in sources]
    per_MeV = gray_per_MeV(1e3)
    return value[:, column] * per_MeV, sd[:, column] * per_MeV


def _bremsstrahlung(emitted: Emissions) -> tuple[np.ndarray, np.ndarray] | None:
    from dose.montecarlo.decays import ELECTRON_LEAST_MEV, bremsstrahlung, electron_energies
    from dose.montecarlo.materials import material

    energy, number = electron_energies(emitted.nuclide)
    hard = (energy > ELECTRON_LEAST_MEV) & (number > 0)
    return bremsstrahlung(material("soft_tissue"), energy[hard], number[hard])[:2] if hard.any() else None


def equivalent_mass_g(organ: Organ, mass_g: float) -> float:
    """Mass of the unit-density sphere that electrons leave as they leave a part of the organ.

    Equal ratio of surface to volume in g/cm2: a layer of thickness t is a sphere of radius 3t/2.
    """
    if organ.thickness_cm:
        radius = 1.5 * organ.thickness_cm * organ.density_g_cm3 * (mass_g / organ.mass_g) ** (1 / 3)
        return 4 / 3 * math.pi * radius**3
    return mass_g / organ.parts * organ.density_g_cm3**2


def electron_Gy(target: str, source: str, organs, masses_g, emitted: Emissions, sex: str) -> float:
    """Electrons (betas, conversion and Auger) of one pair in Gy/(MBq h)."""
    energy = emitted.energy_MeV("electron")
    if not energy:
        return 0.0
    everywhere = _everywhere(target, source)
    if everywhere:
        return energy * gray_per_MeV(masses_g[everywhere])
    if target in (RED_MARROW, BONE_SURFACE):
        from dose.montecarlo.decays import electron_energies

        mean = energy / max(emitted.beta.number + emitted.conversion_electron.number, 1e-9)
        return energy * _skeletal(target, source, "electron", electron_energies(emitted.nuclide), mean, masses_g, sex)
    if WALLS.get(source) == target:
        return _share("electron_share") * energy * gray_per_MeV(masses_g[source])
    if target == source:
        mass = equivalent_mass_g(organs[target], masses_g[target])
        return energy * absorbed_fractions(emitted.nuclide, max(mass, 1e-3))[0] * gray_per_MeV(masses_g[target])
    return 0.0


def alpha_Gy(target: str, source: str, organs, masses_g, emitted: Emissions, sex: str) -> float:
    """Alphas and recoils of one pair in Gy/(MBq h)."""
    energy = emitted.energy_MeV("alpha") + emitted.energy_MeV("recoil")
    if not energy:
        return 0.0
    everywhere = _everywhere(target, source)
    if everywhere:
        return energy * gray_per_MeV(masses_g[everywhere])
    if target in (RED_MARROW, BONE_SURFACE):
        lines = emitted.alpha
        pairs = lines.energy_MeV, lines.per_decay
        return energy * _skeletal(target, source, "alpha", pairs, 0.0, masses_g, sex)
    if WALLS.get(source) == target:
        return _share("alpha_share") * energy * gray_per_MeV(masses_g[source])
    return energy * gray_per_MeV(masses_g[target]) if target == source else 0.0


def _everywhere(target: str, source: str) -> str | None:
    """The mass by which energy is spread if the whole body is source or target."""
    return WHOLE_BODY if WHOLE_BODY in (target, source) else None


def _share(quantity: str) -> float:
    """What of the dose in its contents a wall gets (`data/walls.csv`)."""
    return next(float(r["value"]) for r in load_table("dose", "walls.csv") if r["quantity"] == quantity)


def _skeletal(target: str, source: str, kind: str, pairs, mean_MeV: float, masses_g, sex: str) -> float:
    """Gy/(MBq h) per MeV that a particle leaves in red marrow or on bone surfaces, from a source in the skeleton."""
    table, per_g = shares(kind, sex), gray_per_MeV(1.0)
    energy, number = (np.asarray(part) for part in pairs)
    fast = energy > 0
    mean = lambda what: table.mean(what, source, energy[fast], number[fast])
    if target == RED_MARROW:
        return mean(table.marrow) * gray_per_MeV(masses_g[RED_MARROW])
    if source in SURFACES:
        bone = SURFACES[source].removesuffix("_bone")
        return surface_self(kind, mean_MeV, bone) * gray_per_MeV(masses_g[BONE_SURFACE])
    share = 1 - ON_TRABECULAE if source == "cortical_bone" else ON_TRABECULAE
    return share * mean(table.surface_per_g) * per_g


def _judged(targets, sources, total: Mapping[str, np.ndarray]) -> np.ndarray:
    """Variance of the models, by part and pair."""
    variance = np.zeros((len(targets), len(sources)))
    spongy, alike = quantities("spongiosa_relative_sd")[""], constant("dose", "electron_fraction_relative_sd")
    own, cross = constant("dose", "smatrix_photon_own_sd"), constant("dose", "smatrix_photon_cross_sd")
    for i, target in enumerate(targets):
        for j, source in enumerate(sources):
            in_bone = target in (RED_MARROW, BONE_SURFACE) and source != WHOLE_BODY
            wall = WALLS.get(source) == target
            electron = spongy if in_bone else _share("electron_relative_sd") if wall else alike
            near = target == source or WHOLE_BODY in (target, source)
            sds = {"electron": electron, "alpha": spongy if in_bone and target != source else
                   constant("dose", "alpha_relative_sd"), "photon": own if near else cross}  # fmt: skip
            variance[i, j] = sum((sds[word] * total[word][i, j]) ** 2 for word in PARTS)
    return variance


__all__ = ["PARTS", "WALLS", "Members", "Shares", "equivalent_mass_g", "member_parts"]
