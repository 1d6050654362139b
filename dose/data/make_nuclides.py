"""Writes nuclides.csv from the packages icrp107-database and radioactivedecay: `python dose/data/make_nuclides.py`.

Half-lives and energies are those of the first, branching is that of the second, both of ICRP Publication 107. The
second unpickles its own data and is needed here and in tests only.
"""

import re
from pathlib import Path

import radioactivedecay as rd

from dose.emissions import read_emissions, read_half_life, record_name

ENERGIES = ("electron", "beta", "conversion", "photon", "alpha", "recoil", "fission")
COLUMNS = ("nuclide", "half_life", "unit", *(f"{kind}_MeV" for kind in ENERGIES), "progeny", "source_id", "locator")
HEADER = (
    "# written by dose/data/make_nuclides.py; data (c) 2008 A. Endo and K.F. Eckerman, notice in LICENSE.ICRP-07",
    "# half_life is in `unit`; energies are per decay of this nuclide alone; electron is beta (both signs) and",
    "# conversion (with Auger electrons) together; fission is fragments and neutrons; progeny is name:branching",
    ",".join(COLUMNS),
)
SPONTANEOUS_FISSION = "SF"
"""What radioactivedecay calls the products of fission; they are no nuclide and end a branch."""


def canonical(name):
    """ "Lu-177m" as "177mLu"."""
    symbol, number = name.split("-")
    return f"{number}{symbol}"


def progeny(name):
    """ "177Hf:0.783 177Lu:0.217" of a nuclide."""
    entry = rd.Nuclide(record_name(name))
    pairs = zip(entry.progeny(), entry.branching_fractions(), strict=True)
    return " ".join(f"{canonical(to)}:{part:.7g}" for to, part in pairs if to != SPONTANEOUS_FISSION)


def energy_MeV(found, kind):
    if kind == "fission":
        return found.fission_MeV
    return found.electron_lines.MeV_per_decay if kind == "conversion" else found.energy_MeV(kind)


def row(name):
    found, (half_life, unit) = read_emissions(name), read_half_life(name)
    energies = ",".join(f"{energy_MeV(found, kind):.6g}" for kind in ENERGIES)
    return f"{name},{half_life:.10g},{unit},{energies},{progeny(name)},icrp107,ICRP-07 record {record_name(name)}"


def names():
    """Every nuclide that decays, by atomic number, mass and state."""
    data = rd.DEFAULTDATA
    found = [str(name) for name in data.nuclides if rd.Nuclide(name).half_life("s") < float("inf")]
    return sorted(map(canonical, found), key=lambda name: (rd.Nuclide(record_name(name)).Z, mass(name), name))


def mass(name):
    return int(re.match(r"\d+", name).group())


if __name__ == "__main__":
    target = Path(__file__).with_name("nuclides.csv")
    target.write_text("\n".join((*HEADER, *map(row, names()))) + "\n")
