"""Writes the tables of `dose.montecarlo`: `python dose/data/make_montecarlo.py <folder with the dose tables>`.

xcom.csv and materials.csv hold the same figures as the files they are read from, with unit and source in every row.
form_factors.csv is sampled from xraylib (pip, 4.3.0), which holds the tables of Hubbell et al. 1975.
"""

import csv
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
MOMENTUM_PER_A = np.concatenate([[0.0], np.geomspace(0.005, 100, 60)])
"""sin(theta/2) / wavelength, in inverse Angstrom."""


def rows(path):
    return csv.DictReader(line for line in path.read_text().splitlines() if not line.startswith("#"))


def write(name, note, header, lines):
    text = [f"# written by dose/data/make_montecarlo.py; {note}", ",".join(header)]
    text += [",".join(str(value) for value in line) for line in lines]
    (HERE / name).write_text("\n".join(text) + "\n")


def cross_sections(folder):
    kinds = ("photoelectric", "compton", "rayleigh", "pair", "triplet")
    lines = [
        (r["Z"], r["energy_MeV"], *(r[kind] for kind in kinds), "cm2/g", "xcom", "by element")
        for r in rows(folder / "xcom_cross_sections.csv")
    ]
    write("xcom.csv", "mass attenuation by process", ("Z", "energy_MeV", *kinds, "unit", "source_id", "locator"), lines)


def materials(folder):
    header = ("material", "density_g_cm3", "I_eV", "composition", "unit", "source_id", "locator")
    table = rows(folder / "materials_icru.csv")
    kept = ((float(r["density_g_cm3"]), float(r["I_eV"]), r) for r in table)
    lines = [
        (r["material"], f"{d:.6g}", f"{i:.6g}", r["composition"], "Z:mass fraction", "icru37", r["material"])
        for d, i, r in kept
    ]
    write("materials.csv", "density, mean excitation energy, composition", header, lines)


def form_factors(folder):
    import xraylib

    elements = sorted({int(r["Z"]) for r in rows(folder / "xcom_cross_sections.csv")})
    lines = []
    for z in elements:
        for x in MOMENTUM_PER_A:
            coherent = xraylib.FF_Rayl(z, float(x))
            incoherent = xraylib.SF_Compt(z, float(x)) if x > 0 else 0.0
            lines.append((z, f"{x:.5g}", f"{coherent:.5g}", f"{incoherent:.5g}", "1", "hubbell1975", "by element"))
    header = ("Z", "momentum_per_A", "coherent", "incoherent", "unit", "source_id", "locator")
    write("form_factors.csv", "atomic form factors and incoherent scattering functions", header, lines)


if __name__ == "__main__":
    source = Path(sys.argv[1])
    cross_sections(source)
    materials(source)
    form_factors(source)
