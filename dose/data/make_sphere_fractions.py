"""Writes sphere_fractions.csv: `python dose/data/make_sphere_fractions.py <folder with the dose tables>`.

Absorbed fractions of electrons and photons for a uniform source in a unit-density water sphere inside endless water,
for each nuclide on its own. A deposit at distance x from its decay stays in a sphere of radius R with probability
U(x) = 1 - 3x/(4R) + x^3/(16 R^3) for x < 2R (chord geometry of the sphere; Berger's reciprocity), so

- photons: histories from a point (XCOM photo, Compton, pair; Klein-Nishina; electrons set free deposit where they
  arise; no Rayleigh), each deposit scored with U for all radii at once: attenuation and build-up are both in it;
- electrons: straight continuous slowing down, distances shrunk by PENETRATION for multiple scattering;
  ICRP-107 spectra.
"""

import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

MASSES_G = 10.0 ** np.arange(-3, 5.51, 0.5)
RADII_CM = (3 * MASSES_G / (4 * np.pi)) ** (1 / 3)
WATER = {1: 0.111894, 8: 0.888106}
PENETRATION = 0.79
"""Radial distance per CSDA path length: fitted to three EGSnrc spheres (egsnrc_sphere_mono.csv), within 2.5%."""
HISTORIES = 300_000
ELECTRON_MEV, PHOTON_CUT_MEV = 0.510998950, 0.001
GRID_KEV = (2, 5, 10, 15, 20, 30, 40, 50, 60, 80, 100, 150, 200, 300, 400, 500, 700, 1000, 1500, 2000, 3000)
GRID_MEV = np.array(GRID_KEV) / 1e3
PHOTONS = ("gamma", "xray", "annihilation")
ELECTRONS = ("auger_ck", "conversion_electron")


def inside(x_cm):
    """U for every radius, shape [deposit, mass]."""
    q = np.minimum(np.asarray(x_cm)[:, None] / RADII_CM, 2.0)
    return 1 - 0.75 * q + q**3 / 16


def rows(path):
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    names = lines[0].split(",")
    return [dict(zip(names, line.split(","), strict=True)) for line in lines[1:]]


def cross_sections(folder):
    """log E, and log of (photo, Compton, pair + triplet) of water in cm2/g."""
    table = {z: [r for r in rows(folder / "xcom_cross_sections.csv") if int(r["Z"]) == z] for z in WATER}
    energy = np.array([float(r["energy_MeV"]) for r in table[8]])
    total = np.zeros((3, len(energy)))
    for z, weight in WATER.items():
        own = np.array([float(r["energy_MeV"]) for r in table[z]])
        columns = (("photoelectric",), ("compton",), ("pair", "triplet"))
        for k, names in enumerate(columns):
            total[k] += weight * np.interp(energy, own, [sum(float(r[n]) for n in names) for r in table[z]])
    return np.log(energy), np.log(total + 1e-30)


def klein_nishina(energy, rng):
    """Energy after Compton scattering, by rejection on the cosine."""
    k = energy / ELECTRON_MEV
    out, left = np.empty_like(energy), np.arange(len(energy))
    while len(left):
        cosine = rng.uniform(-1, 1, len(left))
        ratio = 1 / (1 + k[left] * (1 - cosine))
        accept = rng.uniform(0, 2, len(left)) < ratio**2 * (ratio + 1 / ratio - 1 + cosine**2)
        out[left[accept]] = ratio[accept]
        left = left[~accept]
    return energy * out


def isotropic(n, rng):
    z, phi = rng.uniform(-1, 1, n), rng.uniform(0, 2 * np.pi, n)
    s = np.sqrt(1 - z**2)
    return np.stack([s * np.cos(phi), s * np.sin(phi), z], axis=1)


def turned(direction, cosine, rng):
    """The direction after a polar deflection with a uniform azimuth."""
    trial = np.cross(direction, isotropic(len(direction), rng))
    normal = trial / np.linalg.norm(trial, axis=1, keepdims=True)
    return direction * cosine[:, None] + normal * np.sqrt(np.maximum(0, 1 - cosine**2))[:, None]


def photon_fraction(energy_MeV, sigma, rng):
    """Absorbed fraction per mass of MASSES_G for one photon energy."""
    n = HISTORIES
    place, way, energy, score = np.zeros((n, 3)), isotropic(n, rng), np.full(n, energy_MeV), np.zeros(len(MASSES_G))
    while len(energy):
        photo, compton, pair = np.exp([np.interp(np.log(energy), sigma[0], s) for s in sigma[1]])
        total = photo + compton + pair
        place = place + way * (rng.exponential(size=len(energy)) / total)[:, None]
        choice = rng.uniform(0, 1, len(energy)) * total
        is_photo, is_pair = choice < photo, choice > photo + compton
        after = klein_nishina(energy, rng)
        after = np.where(is_photo, 0, np.where(is_pair, ELECTRON_MEV, after))
        deposit = np.where(is_pair, energy - 2 * ELECTRON_MEV, energy - after)
        deposit, after = np.where(after < PHOTON_CUT_MEV, energy, deposit), np.where(after < PHOTON_CUT_MEV, 0, after)
        score += deposit @ inside(np.linalg.norm(place, axis=1))
        cosine = np.clip(1 - ELECTRON_MEV * (1 / np.maximum(after, 1e-6) - 1 / energy), -1, 1)
        way = np.where(is_pair[:, None], isotropic(len(energy), rng), turned(way, cosine, rng))
        goes_on = after > 0
        twins = ((place, place), (way, -way), (after, after))
        place, way, energy = (np.concatenate([a[goes_on], b[is_pair]]) for a, b in twins)
    return score / (n * energy_MeV)


def electron_fractions(folder):
    """Energies and absorbed fractions, shape [energy, mass]."""
    table = rows(folder / "electron_water_csda.csv")
    energy, power = (np.array([float(r[c]) for r in table]) for c in ("energy_MeV", "S_col"))
    path = np.concatenate([[0], np.cumsum(np.diff(energy) * (1 / power[1:] + 1 / power[:-1]) / 2)])
    path += energy[0] / power[0]
    starts, fractions = np.geomspace(energy[3], min(energy[-1], 5.0), 80), []
    for start in starts:
        left = (np.arange(400) + 0.5) / 400 * start
        x = PENETRATION * (np.interp(start, energy, path) - np.interp(left, energy, path))
        fractions.append(inside(x).mean(axis=0))
    return starts, np.array(fractions)


def at(energies, grid, fractions):
    """Fractions at given energies, 1 below the grid: shape [energy, mass]."""
    return np.stack([np.interp(np.log(energies), np.log(grid), f, left=1.0) for f in fractions.T], axis=1)


def emissions(folder):
    """(energy, energy times yield) pairs: nuclide -> "photon" or "electron" -> list; betas by their spectra."""
    lines = defaultdict(lambda: {"photon": [], "electron": []})
    for r in rows(folder / "icrp107_emissions.csv"):
        kind = "photon" if r["type"] in PHOTONS else "electron" if r["type"] in ELECTRONS else None
        energy, number = float(r["energy_MeV"]), float(r["yield_per_decay"])
        if kind and energy > 0 and number > 0:
            lines[r["nuclide"]][kind].append((energy, number * energy))
    spectra = defaultdict(list)
    for r in rows(folder / "icrp107_beta_spectra.csv"):
        spectra[r["nuclide"]].append((float(r["energy_MeV"]), float(r["dNdE_per_MeV"])))
    for name, spectrum in spectra.items():
        energy, density = np.array(spectrum).T
        weight = np.gradient(energy) * density * energy
        lines[name]["electron"] += [(e, w) for e, w in zip(energy, weight, strict=True) if e > 0 and w > 0]
    return lines


def mean_fraction(pairs, grid, table):
    """Energy-weighted absorbed fraction, shape [mass]; 1 where the nuclide emits none of the kind."""
    if not pairs:
        return np.ones(len(MASSES_G))
    energy, weight = np.array(pairs).T
    return weight @ at(energy, grid, table) / weight.sum()


def main(folder):
    rng, sigma = np.random.default_rng(107), cross_sections(folder)
    photon = np.array([photon_fraction(e, sigma, rng) for e in GRID_MEV])
    electron_grid, electron = electron_fractions(folder)
    notice = "ICRP-107 data (c) 2008 A. Endo and K.F. Eckerman, notice in LICENSE.ICRP-07"
    text = [f"# written by dose/data/make_sphere_fractions.py; {notice}"]
    text.append("nuclide,mass_g,electron,photon,unit,source_id,locator")
    for name, both in emissions(folder).items():
        electrons = mean_fraction(both["electron"], electron_grid, electron)
        photons = mean_fraction(both["photon"], GRID_MEV, photon)
        symbol, number = name.split("-")
        for m, e, p in zip(MASSES_G, electrons, photons, strict=True):
            text.append(
                f"{number}{symbol},{m:.6g},{e:.5f},{p:.5f},1,own_sphere,ICRP-07 {name} in make_sphere_fractions.py"
            )
    Path(__file__).with_name("sphere_fractions.csv").write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
