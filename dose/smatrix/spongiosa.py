"""Energy that electrons and alphas leave in red marrow and on bone surfaces, by a walk along straight tracks.

Along a track, spongy bone is a chain of chords: active marrow and fat cells in a cavity, a trabecula, the next cavity.
Taken as exponentially distributed (a Markov chain of three states and the way out of the bone), the chance to be in
active marrow at a mass depth t is the exponential of a matrix; the absorbed fraction is its mean over the energy lost.
Particles slow down continuously; electrons get `penetration` of their track's length away. At low energy the marrow
irradiates itself with 1, at high energy with its share of the mass: the two limits of ICRP 116. Chord lengths, their
sources and how they are remembered: `data/phantom_skeleton.csv`. In the tradition of Spiers, Whitwell and Eckerman
(chords) and Bolch et al., J Nucl Med 2002;43:97 (fat cells along the track).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float

from dose.phantom.skeleton import quantities, site_masses_g

UM_PER_CM = 1e4
STEPS = 80
"""Points along the loss of energy from the start to rest."""
ELECTRON_GRID_MEV = np.geomspace(1e-3, 5.0, 50)
ALPHA_GRID_MEV = np.linspace(0.5, 12.0, 24)
NO_RED_MARROW = 0.5
"""Share of active marrow in a cavity without any: only surfaces are asked for there, and they do not depend on it."""


@dataclass(frozen=True)
class Fabric:
    """Spongy bone of one site: mean chords in cm, share of active marrow in the marrow."""

    marrow_cm: float
    trabecula_cm: float
    site_cm: float
    cellularity: float


@dataclass(frozen=True, eq=False)
class Shares:
    """Share of a particle's energy that is left, by energy [energy], per source: in red marrow, and per gram of the
    layer of osteogenic cells on trabecular and on cortical surfaces."""

    energy_MeV: np.ndarray
    marrow: dict[str, np.ndarray]
    surface_per_g: dict[str, np.ndarray]

    def mean(self, table: dict[str, np.ndarray], source: str, energy_MeV, per_decay) -> float:
        """Mean over particles of these energies, weighted by energy; 0 for a source that reaches nothing."""
        if source not in table or not np.any(per_decay):
            return 0.0
        weight = np.asarray(energy_MeV) * np.asarray(per_decay)
        return float(weight @ np.interp(np.log(energy_MeV), np.log(self.energy_MeV), table[source]) / weight.sum())


def fabric(site: str) -> Fabric:
    """Chords of a site."""
    cellularity = quantities("cellularity").get(site, NO_RED_MARROW)
    marrow, bone = (quantities(f"{word}_chord")[site] / UM_PER_CM for word in ("marrow", "trabecula"))
    return Fabric(marrow, bone, quantities("site_chord")[site], cellularity)


def _densities() -> np.ndarray:
    rows = quantities("tissue_density")
    return np.array([rows["red_marrow"], rows["yellow_marrow"], rows["trabecular_bone"]])


def generator(spongy: Fabric) -> Float[np.ndarray, "3 3"]:
    """Rates per g/cm2 from active marrow, fat and bone (rows) to each other; rows add to minus the rate of escape.

    The grain of the marrow, over which active marrow forgets itself, is the same at every cellularity: where there is
    more fat, its cells touch.
    """
    share, grain = spongy.cellularity, quantities("marrow_grain")[""] / UM_PER_CM
    active, fat = grain / (1 - share), grain / share
    rates = np.array([[0, 1 / active, 1 / spongy.marrow_cm], [1 / fat, 0, 1 / spongy.marrow_cm],
                      [share / spongy.trabecula_cm, (1 - share) / spongy.trabecula_cm, 0]])  # fmt: skip
    return (rates - np.diag(rates.sum(axis=1) + 1 / spongy.site_cm)) / _densities()[:, None]


def presence(rates: np.ndarray, start: np.ndarray, depth_g_cm2: np.ndarray) -> Float[np.ndarray, "depth 3"]:
    """Chance of each state at each mass depth, from the chances at the start."""
    value, right = np.linalg.eig(rates)
    along = np.exp(np.outer(depth_g_cm2, value))
    return np.real((start @ right * along) @ np.linalg.inv(right))


def losses(kind: str, energy_MeV: float) -> tuple[np.ndarray, np.ndarray]:
    """Mass depths reached at equal parts of the energy's loss, and the share of the energy of each."""
    left = energy_MeV * (1 - (np.arange(STEPS) + 0.5) / STEPS)
    depth = _range_g_cm2(kind, energy_MeV) - _range_g_cm2(kind, left)
    return depth, np.full(STEPS, 1 / STEPS)


def _range_g_cm2(kind: str, energy_MeV):
    if kind == "alpha":
        return quantities("alpha_range")[""] * np.asarray(energy_MeV) ** 1.5
    energy, reach = _electron_ranges()
    return quantities("penetration")[""] * np.interp(energy_MeV, energy, reach)


@cache
def _electron_ranges() -> tuple[np.ndarray, np.ndarray]:
    from dose.montecarlo.attenuation import GRID_MEV
    from dose.montecarlo.materials import material
    from dose.montecarlo.stopping import slowing

    return np.append(0.0, GRID_MEV), np.append(0.0, slowing(material("water")).range_g_cm2)


def site_shares(spongy: Fabric, kind: str, energy_MeV: float, start: np.ndarray) -> tuple[float, float]:
    """Share of the energy in active marrow, and crossings of a trabecular surface per g/cm2 of depth, averaged so."""
    depth, weight = losses(kind, energy_MeV)
    chance = presence(generator(spongy), start, depth)
    length = np.array([spongy.marrow_cm, spongy.marrow_cm, spongy.trabecula_cm])
    return float(weight @ chance[:, 0]), float(weight @ (chance / (length * _densities())).sum(axis=1))


START = {
    "red_marrow": np.array([1.0, 0, 0]),
    "yellow_marrow": np.array([0, 1.0, 0]),
    "trabecular_bone": np.array([0, 0, 1.0]),
}


def _start(source: str, spongy: Fabric) -> np.ndarray:
    if source == "trabecular_surface":
        return np.array([spongy.cellularity / 2, (1 - spongy.cellularity) / 2, 0.5])
    return START[source]


@cache
def shares(kind: str, sex: str = "male") -> Shares:
    """Averages over the skeleton: each site weighs by how much of the source it holds.

    `kind` is "electron" or "alpha"; alphas of the red marrow itself are all counted to it, as OLINDA and MIRD 22 do.
    """
    grid = ELECTRON_GRID_MEV if kind == "electron" else ALPHA_GRID_MEV
    masses = site_masses_g(sex)
    marrow, surface = {}, {}
    depth, density = quantities("surface_depth")[""] / UM_PER_CM, quantities("tissue_density")["red_marrow"]
    layer_g = sum(_trabecular_cm2(site, masses) for site in masses) * depth * density
    for source in (*START, "trabecular_surface"):
        held = {s: m["trabecular_bone" if source == "trabecular_surface" else source] for s, m in masses.items()}
        total = sum(held.values())
        spread = {site: mass / total for site, mass in held.items() if mass > 0}
        both = np.array([[site_shares(fabric(s), kind, e, _start(source, fabric(s))) for e in grid] for s in spread])
        weight = np.array(list(spread.values()))
        red = np.array([masses[site]["red_marrow"] > 0 for site in spread])
        marrow[source] = (weight * red) @ both[:, :, 0]
        surface[source] = weight @ both[:, :, 1] * 2 * depth * density / layer_g
    if kind == "alpha":
        marrow["red_marrow"] = np.ones_like(grid)
    return Shares(grid, marrow, surface | {"cortical_bone": _cortical_per_g(kind, grid, masses)})


def _trabecular_cm2(site: str, masses) -> float:
    """Surface of the trabeculae of a site: four volumes over the mean chord (Cauchy)."""
    return (
        4
        * masses[site]["trabecular_bone"]
        / quantities("tissue_density")["trabecular_bone"]
        / fabric(site).trabecula_cm
    )


def _cortical_per_g(kind: str, grid: np.ndarray, masses) -> np.ndarray:
    """The same for cortical bone and the canals in it: two states, no escape."""
    per_cm3, canal = quantities("cortical_surface")[""], quantities("haversian_chord")[""] / UM_PER_CM
    bone_g = sum(tissues["cortical_bone"] for tissues in masses.values())
    rho_bone, rho_soft = quantities("tissue_density")["cortical_bone"], quantities("tissue_density")["red_marrow"]
    bone = 4 / per_cm3
    depth_cm = quantities("surface_depth")[""] / UM_PER_CM
    layer_g = bone_g / rho_bone * per_cm3 * depth_cm * rho_soft
    leave = np.array([1 / (canal * rho_soft), 1 / (bone * rho_bone)])
    rates = leave[:, None] * np.array([[-1.0, 1.0], [1.0, -1.0]])
    found = []
    for energy in grid:
        depth, weight = losses(kind, energy)
        chance = presence(rates, np.array([0.0, 1.0]), depth)
        crossings = weight @ (chance / np.array([canal * rho_soft, bone * rho_bone])).sum(axis=1)
        found.append(crossings * 2 * depth_cm * rho_soft / layer_g)
    return np.array(found)


def surface_self(kind: str, mean_MeV: float, bone: str) -> float:
    """Absorbed fraction of bone surfaces for activity on them (ICRP 30), `bone` "trabecular" or "cortical"."""
    word = "alpha" if kind == "alpha" else "soft_beta" if mean_MeV < 0.2 else f"{bone}_beta"
    return quantities("surface_self")[word]
