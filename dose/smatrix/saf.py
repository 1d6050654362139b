"""Specific absorbed fractions of photons in the stylised adults: how much of a photon's energy a kilogram receives.

`data/phantom_saf.csv` holds them for 14 energies, each source and target, with their statistical uncertainty; our own
Monte Carlo on the voxels of `dose.phantom` made them (`data/make_phantom_saf.py`, which says how red marrow and bone
surfaces get their share of what a bone absorbs). Between energies both logarithms are interpolated. Below the first
energy a source keeps more and more of its own photons, up to all at 1 keV, and the rest is held.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float

from dose.errors import InputError, describe
from dose.phantom.organs import REMAINDER, SKIN, reference_organs
from dose.phantom.skeleton import body_mass_g, check_sex, tissue_mass_g
from dose.provenance import load_table

RED_MARROW, BONE_SURFACE, WHOLE_BODY = "red_marrow", "bone_surface", "whole_body"
BONES = ("cortical_bone", "trabecular_bone")
LEAST_PER_KG = 1e-14
"""Stands for none where logarithms are taken."""
LOCAL_MEV = 1e-3
"""Photons of this energy and less stay where they arise."""


@dataclass(frozen=True, eq=False)
class SafTable:
    """Share of the photons' energy per kilogram of target, `per_kg` [target, source, energy], and its relative sd."""

    sex: str
    energy_MeV: Float[np.ndarray, " energy"]
    targets: tuple[str, ...]
    sources: tuple[str, ...]
    per_kg: Float[np.ndarray, "target source energy"]
    relative_sd: Float[np.ndarray, "target source energy"]


def targets(sex: str) -> tuple[str, ...]:
    """Regions that get a dose: organs and walls, red marrow, bone surfaces, the whole body."""
    solid = [organ.name for organ in reference_organs(sex) if organ.kind in ("organ", "wall")]
    return (*(name for name in solid if name != REMAINDER), RED_MARROW, BONE_SURFACE, WHOLE_BODY)


def sources(sex: str) -> tuple[str, ...]:
    """Regions that hold activity: organs, walls, contents, red marrow, bone mineral, the whole body."""
    held = [organ.name for organ in reference_organs(sex) if organ.kind in ("contents", "organ", "wall")]
    return (*(name for name in held if name != SKIN), SKIN, RED_MARROW, *BONES, WHOLE_BODY)


def reference_masses_g(sex: str) -> dict[str, float]:
    """Mass of every source and target of the reference adult."""
    own = {organ.name: organ.mass_g for organ in reference_organs(check_sex(sex))}
    skeleton = {name: tissue_mass_g(name, sex) for name in (RED_MARROW, BONE_SURFACE, *BONES)}
    return own | skeleton | {WHOLE_BODY: body_mass_g(sex)}


@cache
def reference_saf(sex: str) -> SafTable:
    """The table of the reference adult.

    Raises:
        InputError: unknown sex.
    """
    rows = [row for row in load_table("dose", "phantom_saf.csv") if row["sex"] == check_sex(sex)]
    energy = np.array([float(name[4:]) for name in rows[0] if name.startswith("saf_")])
    to, of = tuple(dict.fromkeys(r["target"] for r in rows)), tuple(dict.fromkeys(r["source"] for r in rows))
    value, sd = (np.zeros((len(to), len(of), len(energy))) for _ in range(2))
    for row in rows:
        where = to.index(row["target"]), of.index(row["source"])
        value[where] = [float(v or 0) for name, v in row.items() if name.startswith("saf_")]
        sd[where] = [float(v or 0) for name, v in row.items() if name.startswith("sd_")]
    return check_table(SafTable(sex, energy, to, of, value, sd))


def absorbed_MeV_per_kg(
    table: SafTable, energy_MeV: np.ndarray, per_decay: np.ndarray
) -> tuple[Float[np.ndarray, "target source"], Float[np.ndarray, "target source"]]:
    """MeV per decay and kilogram from photons of these energies, and the statistical sd of it."""
    energy, number = np.asarray(energy_MeV, float), np.asarray(per_decay, float)
    total, slope = np.zeros(table.per_kg.shape[:2]), np.zeros(table.per_kg.shape)
    grid, log_value = _with_local(table)
    for e, n in zip(energy, number):
        share, k = _between(np.clip(e, grid[0], grid[-1]), grid)
        part = e * n * np.exp((1 - share) * log_value[:, :, k] + share * log_value[:, :, k + 1])
        total += part
        for at, weight in ((k - 1, 1 - share), (k, share)):  # the grid has one energy more in front than the table
            slope[:, :, max(at, 0)] += weight * part
    return total, np.sqrt(np.sum((slope * table.relative_sd) ** 2, axis=2))


def _between(energy: float, grid: np.ndarray) -> tuple[float, int]:
    k = int(np.clip(np.searchsorted(grid, energy) - 1, 0, len(grid) - 2))
    return float(np.log(energy / grid[k]) / np.log(grid[k + 1] / grid[k])), k


def _with_local(table: SafTable) -> tuple[np.ndarray, np.ndarray]:
    """Energies from `LOCAL_MEV` on, and the logarithms of the table, whose own diagonal begins with 1 / mass."""
    mass_kg = {name: mass / 1e3 for name, mass in reference_masses_g(table.sex).items()}
    first = table.per_kg[:, :, :1].copy()
    for j, source in enumerate(table.sources):
        for i, target in enumerate(table.targets):
            if target == WHOLE_BODY or source in (target, WHOLE_BODY):
                first[i, j] = 1 / mass_kg[target if source == target else WHOLE_BODY]
    grid = np.append(LOCAL_MEV, table.energy_MeV)
    return grid, np.log(np.maximum(np.concatenate([first, table.per_kg], axis=2), LEAST_PER_KG))


def check_table(table: SafTable) -> SafTable:
    """The table itself.

    Raises:
        InputError: numbers that cannot be: below zero, not finite, or more energy in a target than was emitted.
    """
    mass_kg = np.array([reference_masses_g(table.sex)[name] / 1e3 for name in table.targets])
    held = table.per_kg * mass_kg[:, None, None]
    if not (np.all(np.isfinite(held)) and held.min() >= 0 and held.max() <= 1.001):
        raise InputError(describe("absorbed fraction", f"{held.min():.3g} to {held.max():.3g}", "0 to 1",
                                  "make the table again"))  # fmt: skip
    return table
