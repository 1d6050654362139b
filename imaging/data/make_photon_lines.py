"""Writes photon_lines.csv from icrp107-database: `python imaging/data/make_photon_lines.py` (development only).

Photons above 40 keV of a nuclide and of the progeny in equilibrium with it; lines closer than 4 % are one line at
their mean energy. 90Y has no line of use: its bremsstrahlung in water stands as lines at the middle of energy bins.
An electron of energy T gives Kramers' thick-target spectrum c (T - k) / k dk, with c = 2 Y / T from the radiative
yield Y of water, taken as proportional to T, folded with the beta spectrum of ICRP 107.
"""

from pathlib import Path

import numpy as np

from dose.emissions import read_emissions
from dose.nuclides import radionuclide

NUCLIDES = ("99mTc", "111In", "123I", "131I", "177Lu", "225Ac")
LOWEST_keV, LEAST_YIELD, MERGED = 40.0, 0.0015, 0.04
YIELD_PER_MeV = 0.0049
"""Radiative yield of water at 1 MeV (NIST ESTAR, recalled)."""

EDGES_keV = (40, 60, 80, 110, 150, 200, 280, 400, 600, 900, 1400, 2280)
HEADER = (
    "# written by imaging/data/make_photon_lines.py; ICRP 107 data (c) 2008 A. Endo and K.F. Eckerman, notice in",
    "# dose/data/LICENSE.ICRP-07; photons per decay of the nuclide with its progeny in equilibrium; energies in keV",
    "nuclide,energy_keV,per_decay,unit,source_id,locator",
)


def chain(name, weight=1.0):
    """Members of the chain that follow within days, with the decays of each per decay of the first."""
    yield name, weight
    for daughter, branching in radionuclide(name).progeny if name in ("225Ac", "221Fr", "217At", "213Bi") else ():
        if daughter not in ("209Pb", "213Po"):
            yield from chain(daughter, weight * branching)


def lines(name):
    found = []
    for member, weight in chain(name):
        emissions = read_emissions(member)
        for kind in ("gamma", "xray", "annihilation"):
            record = getattr(emissions, kind)
            found += list(zip(record.energy_MeV * 1000, record.per_decay * weight, strict=True))
    return merged(sorted((e, y) for e, y in found if e > LOWEST_keV and y > 1e-5))


def merged(found):
    groups = [[found[0]]]
    for line in found[1:]:
        near = line[0] / groups[-1][0][0] < 1 + MERGED
        groups[-1].append(line) if near else groups.append([line])
    sums = [(sum(y for _, y in g), sum(e * y for e, y in g)) for g in groups]
    return [(energy / total, total) for total, energy in sums if total > LEAST_YIELD]


def bremsstrahlung(name):
    beta = read_emissions(name).beta
    energy, density = beta.energy_MeV, beta.per_MeV
    for low, high in zip(EDGES_keV[:-1], EDGES_keV[1:], strict=True):
        k = np.linspace(low, high, 101) / 1000
        per_electron = 2 * YIELD_PER_MeV * np.clip(energy[:, None] - k, 0, None) / k
        spectrum = np.trapezoid(per_electron * density[:, None], energy, axis=0)
        number = np.trapezoid(spectrum, k)
        yield np.trapezoid(spectrum * k, k) / number * 1000, number


def main():
    rows = list(HEADER)
    for name in NUCLIDES:
        rows += [f"{name},{e:.2f},{y:.5g},1/decay,icrp107,gamma and X rays with progeny" for e, y in lines(name)]
    word = "Kramers spectrum of ICRP 107 betas in water"
    rows += [f"90Y,{e:.2f},{y:.5g},1/decay,theratwin_working,{word}" for e, y in bremsstrahlung("90Y")]
    Path(__file__).with_name("photon_lines.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
