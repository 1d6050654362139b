"""Nuclear data and decay chains against radioactivedecay, DDEP, IDAC-Dose and sums made beside the project."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path

import numpy as np

from dose.bateman import activities_MBq, cumulated_MBq_h
from dose.emissions import emissions, record_name
from dose.nuclides import HOURS, known_nuclides, radionuclide
from dose.organ import gray_per_MeV
from dose.progeny import chain_energy_MeV, energy_MeV
from tests.validate import Skipped, check, close

DDEP = "DDEP (LNHB) ENSDF files in nrc-cnrc/EGSnrc, tests/reference/ddep_nuclides.csv"
BESIDE = "sum made with radioactivedecay beside the project"
IDAC = "IDAC-Dose 2.1, Andersson et al. 2017, figure 3: 10 cm3 cortical bone, 1 MBq 227Th, 80 d"
CORTICAL_BONE_G = 19.2
"""10 cm3 of 1.92 g/cm3, as in the figure's example (the density is that of ICRP cortical bone, recalled)."""
CHAINS = {
    "225Ac": (27.48, 0.513, 0.690, 0.219),
    "212Pb": (7.802, 0.150, 0.901, 1.456),
    "223Ra": (26.38, 0.496, 1.043, 0.314),
    "213Bi": (8.324, 0.159, 0.656, 0.173),
    "211At": (6.784, 0.131, 0.006, 0.041),
}
"""MeV per decay of the parent: alpha, recoil, electrons, photons; 207Bi left out after 211At."""
COURSES = {"225Ac": (1.0, 240.0), "223Ra": (24.0, 1000.0), "212Pb": (0.1, 50.0), "227Th": (1920.0,), "211At": (7.0,)}


def library():
    """radioactivedecay, which the dev extra installs."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import radioactivedecay
    except ImportError as reason:
        raise Skipped("radioactivedecay is in the dev extra, which is not installed") from reason
    return radioactivedecay


@check("dose/nuclear/nuclides whose lines and spectra add up to the table", "1", "all 1252, rel 6e-6", "ICRP 107")
def every_nuclide():
    good = sum(
        all(_same(name, kind) for kind in ("electron", "photon", "alpha", "recoil")) for name in known_nuclides()
    )
    return good, good == len(known_nuclides()) == 1252


def _same(name: str, kind: str) -> bool:
    return close(emissions(name).energy_MeV(kind), getattr(radionuclide(name), f"{kind}_MeV"), 6e-6)


@check("dose/nuclear/half-lives of all nuclides, worst difference", "1", "rel 1e-12", "radioactivedecay 0.6.1")
def half_lives():
    rd = library()
    theirs = {name: rd.Nuclide(record_name(name)).half_life("h") for name in known_nuclides()}
    worst = max(abs(radionuclide(name).half_life_h / life - 1) for name, life in theirs.items())
    return worst, worst <= 1e-12


@check(
    "dose/nuclear/activities and decays of five chains, worst difference",
    "1",
    "rel 1e-8",
    "radioactivedecay, 320 digits",
)
def courses():
    worst = max(_course_differences(library(), parent, time_h) for parent, row in COURSES.items() for time_h in row)
    return worst, worst <= 1e-8


def _course_differences(rd, parent: str, time_h: float) -> float:
    start = rd.InventoryHP({record_name(parent): 1.0}, "MBq")
    activity, decays = start.decay(time_h, "h").activities("MBq"), start.cumulative_decays(time_h, "h")
    pairs = ((activities_MBq, activity, 1.0), (cumulated_MBq_h, decays, 3.6e9))
    found = [(ours(parent, time_h), theirs, unit) for ours, theirs, unit in pairs]
    return max(
        abs(float(value) * unit / float(theirs[record_name(name)]) - 1)
        for ours, theirs, unit in found
        for name, value in ours.items()
    )


def _chain_check(parent: str, kind: str, expected: float):
    @check(f"dose/nuclear/chain of {parent}, {kind}", "MeV per decay", "0.5 % or the last digit", BESIDE)
    def chain_energy():
        found = chain_energy_MeV(parent)
        value = found["beta"] + found["conversion"] if kind == "electrons" else found[kind]
        return value, abs(value - expected) <= max(0.005 * expected, 5e-4)


for _parent, _energies in CHAINS.items():
    for _kind, _expected in zip(("alpha", "recoil", "electrons", "photon"), _energies, strict=True):
        _chain_check(_parent, _kind, _expected)


def _spectra():
    """Number and energy of every spectrum over those of its branches, without 16N, whose spectrum is cut."""
    found = [emissions(name) for name in known_nuclides() if name != "16N"]
    emitters = [one for one in found if one.beta.number > 0]
    number = np.array([one.beta.number / one.beta_branches.number for one in emitters])
    return number, np.array([one.beta.MeV_per_decay / one.energy_MeV("beta") for one in emitters])


@check("dose/nuclear/beta spectra, number against branches", "1", "rel 0.35 %", "ICRP 107 within itself")
def spectrum_number():
    worst = float(np.abs(_spectra()[0] - 1).max())
    return worst, worst <= 0.0035


@check("dose/nuclear/beta spectra, energy against branches", "1", "rel 0.5 %", "ICRP 107 within itself")
def spectrum_energy():
    worst = float(np.abs(_spectra()[1] - 1).max())
    return worst, worst <= 0.005


def _ddep(quantity: str) -> dict[str, float]:
    """Nuclide to value of ICRP 107 over that of DDEP."""
    path = Path(__file__).resolve().parents[1] / "reference" / "ddep_nuclides.csv"
    text = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    rows = [row for row in csv.DictReader(text) if row["quantity"] == quantity]
    ours = {
        "half_life": lambda row: radionuclide(row["nuclide"]).half_life_h / HOURS[row["unit"]],
        "beta_mean": lambda row: 1e3 * radionuclide(row["nuclide"]).beta_MeV,
    }[quantity]
    return {row["nuclide"]: ours(row) / float(row["value"]) for row in rows}


@check("dose/nuclear/half-lives against DDEP, worst of 16", "1", "rel 0.5 %, but 221Fr (4.9 for 4.79 min) 2.4 %", DDEP)
def ddep_half_lives():
    off = {name: abs(ratio - 1) for name, ratio in _ddep("half_life").items()}
    worst = max(off.values())
    return worst, off.pop("221Fr") <= 0.024 and max(off.values()) <= 0.005


@check("dose/nuclear/beta energy against DDEP, worst of 11", "1", "rel 0.8 %", DDEP)
def ddep_betas():
    worst = max(abs(ratio - 1) for ratio in _ddep("beta_mean").values())
    return worst, worst <= 0.008


@check("dose/nuclear/177Lu 208 keV intensity, ICRP 107 over DDEP", "1", "within 7 %: a known difference", DDEP)
def lutetium_line():
    gamma = emissions("177Lu").gamma
    value = float(gamma.per_decay[np.abs(gamma.energy_MeV - 0.2083662) < 6e-4].sum()) / 0.1038
    return value, abs(value - 1) <= 0.07


@check("dose/nuclear/90Y, all energy local", "Gy kg/GBq", "rel 1 %", "49.67 to 50 in clinical use (recalled)")
def yttrium():
    value = radionuclide("90Y").electron_MeV * gray_per_MeV(1e3) * 1e3 / radionuclide("90Y").decay_constant_per_h
    return value, close(value, 49.67, 0.01)


def _bone_Gy() -> tuple[dict[str, float], dict[str, float]]:
    """Gy by kind, of the parent's decays and of all, everything local."""
    decays = {name: float(value) for name, value in cumulated_MBq_h("227Th", 1920.0).items()}
    gray = gray_per_MeV(CORTICAL_BONE_G)
    both = ({"227Th": decays["227Th"]}, decays)
    alone, whole = ({kind: gray * energy for kind, energy in energy_MeV(which).items()} for which in both)
    return alone, whole


def _particles(dose_Gy: dict[str, float]) -> float:
    return dose_Gy["alpha"] + dose_Gy["beta"] + dose_Gy["conversion"]


@check("dose/nuclear/227Th in bone, parent", "Gy", "110 to 0.5 Gy", IDAC)
def bone_parent():
    value = _particles(_bone_Gy()[0])
    return value, abs(value - 110) <= 0.5


@check("dose/nuclear/227Th in bone, with progeny", "Gy", "563 to 3 %: theirs lacks the progeny's betas, it seems", IDAC)
def bone_chain():
    value = _particles(_bone_Gy()[1])
    return value, close(value, 563.0, 0.03)


@check("dose/nuclear/227Th in bone, with progeny, without betas", "Gy", "563 to 1 Gy", IDAC)
def bone_without_betas():
    whole = _bone_Gy()[1]
    value = _particles(whole) - whole["beta"]
    return value, abs(value - 563) <= 1
