"""Electrons slowing down in a material: stopping power, range, deflection per step, bremsstrahlung.

Collision stopping power: Berger and Seltzer's formula (ICRU 37, eq. 3.1), density effect with the fitted parameters of
Sternheimer, Berger and Seltzer 1984 (`data/density_effect.csv`), else the general ones of Sternheimer and Peierls (Phys
Rev B 1971;3:3681). Radiative:
Attix (1986), eq. 8.15 with its coefficient interpolated in energy, good to about 15 %, of a part that is 0.5 % for 90Y.

Hard losses, of a twentieth to a half of the energy, follow Rutherford's 1/W^2 (Moller's law without its smaller terms)
one by one; what they take is left out of the steady loss, so that the mean is kept and tracks straggle. Elastic
scattering is mixed in the same way (Fernandez-Varea et al., Nucl Instrum Methods B 1993;73:447, recalled): of the
Moliere-screened Rutherford law, with Z(Z + 1) for the electrons, the greatest angles, one in five steps, are
single events; the rest turn the track by a truncated exponential law of their mean cosine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dose.montecarlo.attenuation import ENERGIES, GRID_MEV
from dose.montecarlo.materials import Material, atomic_mass, electrons_per_mass, material
from dose.provenance import constant, load_table

LOSS_PER_STEP = 0.05
"""Share of its energy an electron loses in a step (docs/montecarlo.md has the figures for others)."""
COLUMNS = (
    "step in g/cm2",
    "width of the law of soft deflections",
    "collision share of the steady loss",
    "CSDA range in g/cm2",
    "share of the energy not radiated until the electron stops",
    "chance of a hard loss in a step",
    "share of the loss that hard losses take",
    "1/(mu + A) of the least hard deflection, mu = (1 - cos)/2",
    "the same of the greatest",
    "screening A",
)
HARD_DEFLECTIONS = 0.2
"""Mean number of single deflections in a step."""
HARDEST, SOFTEST = 0.5, 0.05
"""Energy losses between these shares of an electron's energy are single events; equal partners: half is the most."""
AVOGADRO = 6.02214076e23
NEAREST_SHAPE = "tissue_soft_icrp"
"""Whose x0, x1 and k a tissue takes that has no row of its own, with its own C."""
TISSUE_I_EV = (60.0, 80.0)
GAS_BELOW_G_CM3 = 0.01
PLASMA_EV = 28.816
"""Plasma energy of one electron mole per cm3 (ICRU 37)."""
RADIATIVE = ((0.1, 5.33), (0.5, 5.33), (1.0, 6.0), (10.0, 12.0))
"""Attix's coefficient B by energy in MeV (16/3 below half an MeV)."""


class ElectronTables(eqx.Module):
    """For each material, flattened with the energy grid, the columns of `COLUMNS`."""

    rows: Float[Array, "material_energy column"]
    loss: float = eqx.field(static=True)


@dataclass(frozen=True, eq=False)
class Slowing:
    """Of one material on `GRID_MEV`: stopping powers in MeV cm2/g, CSDA range in g/cm2."""

    collision: np.ndarray
    radiative: np.ndarray
    range_g_cm2: np.ndarray

    @property
    def total(self) -> np.ndarray:
        return self.collision + self.radiative

    @property
    def radiated(self) -> np.ndarray:
        """Share of the kinetic energy radiated until the electron stops (ICRU 37's radiation yield)."""
        lost = _integral(self.radiative / self.total) + GRID_MEV[0] * self.radiative[0] / self.total[0]
        return lost / GRID_MEV


def _integral(values: np.ndarray) -> np.ndarray:
    """Integral over energy from the grid's first point, trapezoid in log E."""
    scaled, step = values * GRID_MEV, np.diff(np.log(GRID_MEV))
    return np.concatenate([[0.0], np.cumsum(step * (scaled[1:] + scaled[:-1]) / 2)])


def _density_effect(matter: Material, momentum_log10: np.ndarray) -> np.ndarray:
    c, x0, x1, a, k = _density_parameters(matter)
    above = 2 * math.log(10) * momentum_log10 - c
    middle = above + a * np.maximum(x1 - momentum_log10, 0) ** k
    return np.where(momentum_log10 < x0, 0.0, np.where(momentum_log10 < x1, middle, above))


@cache
def _fitted() -> dict[str, tuple[float, ...]]:
    rows = load_table("dose", "density_effect.csv")
    return {row["material"]: tuple(float(row[c]) for c in ("C", "x0", "x1", "a", "k")) for row in rows}


def _density_parameters(matter: Material) -> tuple[float, ...]:
    """C, x0, x1, a, k: fitted for this material, of a tissue alike in shape, or Sternheimer and Peierls' general ones.

    Foam (lung) polarises as its walls do: a tissue of less than unit density counts as of unit density.
    """
    if matter.name in _fitted() and material(matter.name) == matter:
        return _fitted()[matter.name]
    is_tissue = TISSUE_I_EV[0] < matter.I_eV < TISSUE_I_EV[1] and matter.density_g_cm3 > GAS_BELOW_G_CM3
    density = max(matter.density_g_cm3, 1.0) if is_tissue else matter.density_g_cm3
    c = 2 * math.log(matter.I_eV / (PLASMA_EV * math.sqrt(density * electrons_per_mass(matter)))) + 1
    if is_tissue:
        _, x0, x1, _, k = _fitted()[NEAREST_SHAPE]
        return c, x0, x1, (c - 2 * math.log(10) * x0) / (x1 - x0) ** k, k
    if matter.density_g_cm3 < GAS_BELOW_G_CM3:
        x0, x1 = (1.6, 4.0) if c < 10 else (1.7, 4.0) if c < 10.5 else (1.8, 4.0) if c < 11 else (1.9, 4.0)
    else:
        x1, limit, offset = (2.0, 3.681, 1.0) if matter.I_eV < 100 else (3.0, 5.215, 1.5)
        x0 = 0.2 if c < limit else 0.326 * c - offset
    return c, x0, x1, (c - 2 * math.log(10) * x0) / (x1 - x0) ** 3, 3.0


def collision_MeV_cm2_g(matter: Material, energy_MeV=GRID_MEV) -> np.ndarray:
    """Collision stopping power of electrons."""
    rest, radius = constant("dose", "electron_rest_MeV"), constant("dose", "electron_radius_cm")
    tau = np.asarray(energy_MeV) / rest
    beta2 = tau * (tau + 2) / (tau + 1) ** 2
    f = 1 - beta2 + (tau**2 / 8 - (2 * tau + 1) * math.log(2)) / (tau + 1) ** 2
    delta = _density_effect(matter, np.log10(np.sqrt(tau * (tau + 2))))
    mean = matter.I_eV * 1e-6 / rest
    factor = 2 * math.pi * radius**2 * rest * AVOGADRO * electrons_per_mass(matter)
    return factor / beta2 * (np.log(tau**2 * (tau + 2) / (2 * mean**2)) + f - delta)


def radiative_MeV_cm2_g(matter: Material, energy_MeV=GRID_MEV) -> np.ndarray:
    """Radiative stopping power of electrons."""
    rest, radius = constant("dose", "electron_rest_MeV"), constant("dose", "electron_radius_cm")
    atoms = sum(share * z * (z + 1) / atomic_mass(z) for z, share in matter.composition)
    points = np.array(RADIATIVE)
    coefficient = np.interp(np.log(energy_MeV), np.log(points[:, 0]), points[:, 1])
    scale = constant("dose", "fine_structure") * radius**2 * AVOGADRO * atoms
    return scale * (np.asarray(energy_MeV) + rest) * coefficient


def scattering(matter: Material, energy_MeV=GRID_MEV) -> tuple[np.ndarray, np.ndarray]:
    """Strength K in cm2/g and screening A of K/(mu + A)^2, the law of single scattering in mu = (1 - cos)/2.

    K is summed over the atoms; A is their mean in the logarithm, weighted by K.
    """
    rest, radius, alpha = (constant("dose", n) for n in ("electron_rest_MeV", "electron_radius_cm", "fine_structure"))
    energy = np.asarray(energy_MeV)
    tau = energy / rest
    momentum2 = energy * (energy + 2 * rest)
    beta2 = tau * (tau + 2) / (tau + 1) ** 2
    total, log_screening = np.zeros_like(energy), np.zeros_like(energy)
    for z, share in matter.composition:
        screening = 1.70e-5 * z ** (2 / 3) * rest**2 / momentum2 * (1.13 + 3.76 * (alpha * z) ** 2 / beta2)
        per_atom = math.pi * radius**2 * z * (z + 1) * rest**2 / (momentum2 * beta2)
        strength = share * AVOGADRO / atomic_mass(z) * per_atom
        total, log_screening = total + strength, log_screening + strength * np.log(screening)
    return total, np.exp(log_screening / total)


@cache
def slowing(matter: Material) -> Slowing:
    """The material's slowing down on the energy grid."""
    collision, radiative = collision_MeV_cm2_g(matter), radiative_MeV_cm2_g(matter)
    total = collision + radiative
    beneath = GRID_MEV[0] / total[0] / 1.5  # below 1 keV the stopping power falls about as the root of E
    return Slowing(collision, radiative, beneath + _integral(1 / total))


def _width(mean: np.ndarray) -> np.ndarray:
    """Width q of the law p(x) ~ exp(-x/q) on x = 1 - cos in (0, 2) that has the given mean below 1."""
    q = np.minimum(mean, 0.999)
    for _ in range(60):
        found = q - 2 / np.expm1(np.minimum(2 / np.maximum(q, 1e-9), 700))
        q = np.clip(q * np.minimum(mean, 0.999) / np.maximum(found, 1e-30), 1e-9, 200.0)
    return q


@cache
def _rows(matter: Material, loss: float) -> np.ndarray:
    made = slowing(matter)
    after = np.log(np.maximum((1 - loss) * GRID_MEV, GRID_MEV[0]))
    step = made.range_g_cm2 - np.interp(after, np.log(GRID_MEV), made.range_g_cm2)
    chance, taken = _hard(matter, step, made.total)
    share = (made.collision / made.total - taken) / (1 - taken)
    strength, screening = scattering(matter, (1 - loss / 2) * GRID_MEV)
    nearest, furthest = _angles(step * strength, screening)
    least = 1 / nearest  # mu + A of the least hard deflection
    soft = 2 * step * strength * (np.log(least / screening) - 1 + screening / least)
    width = _width(-np.expm1(-np.maximum(soft, 1e-9)))
    columns = (step, width, share, made.range_g_cm2, 1 - made.radiated, chance, taken, nearest, furthest, screening)
    return np.stack(columns, axis=1).astype(np.float32)


def _angles(strength: np.ndarray, screening: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """1/(mu + A) of the least and the greatest hard deflection, for K times the step: `HARD_DEFLECTIONS` a step."""
    furthest = 1 / (1 + screening)
    return np.minimum(HARD_DEFLECTIONS / np.maximum(strength, 1e-30) + furthest, 1 / screening), furthest


def _hard(matter: Material, step_g_cm2: np.ndarray, total: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Chance of a hard collision in a step, and the share of the mean loss that they take."""
    rest, radius = constant("dose", "electron_rest_MeV"), constant("dose", "electron_radius_cm")
    tau = GRID_MEV / rest
    beta2 = tau * (tau + 2) / (tau + 1) ** 2
    rutherford = 2 * math.pi * radius**2 * rest * AVOGADRO * electrons_per_mass(matter) / beta2
    chance = step_g_cm2 * rutherford / GRID_MEV * (1 / SOFTEST - 1 / HARDEST)
    return chance, rutherford * math.log(HARDEST / SOFTEST) / total


def electron_tables(materials: tuple[Material, ...], loss: float = LOSS_PER_STEP) -> ElectronTables:
    """Tables of the materials, in their order."""
    rows = np.concatenate([_rows(matter, loss) for matter in materials])
    assert rows.shape == (len(materials) * ENERGIES, len(COLUMNS))
    return ElectronTables(jnp.asarray(rows), loss)
