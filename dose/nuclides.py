"""Radionuclides: half-life, progeny and mean energies per decay, each nuclide on its own.

Numbers: all 1252 nuclides of ICRP Publication 107 through `data/nuclides.csv`. The half-life is a table value, so
another evaluation is another number, not another code: `radionuclide("225Ac", half_life_h=238.08)`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from functools import cache

from dose.errors import InputError, describe, nearest
from dose.provenance import load_table

AVOGADRO_PER_NMOL = 6.02214076e14
"""Atoms in a nanomole: the exact SI Avogadro constant (BIPM SI Brochure, 9th ed., table 1) times 1e-9."""

HOURS = {"us": 1 / 3.6e9, "ms": 1 / 3.6e6, "s": 1 / 3600, "m": 1 / 60, "h": 1.0, "d": 24.0, "y": 24 * 365.2422}
"""Hours in the half-life units of ICRP 107; the year is the tropical year of 365.2422 d."""

WORDS = (
    "hydrogen H helium He lithium Li beryllium Be boron B carbon C nitrogen N oxygen O fluorine F neon Ne sodium Na "
    "magnesium Mg aluminium Al silicon Si phosphorus P sulfur S chlorine Cl argon Ar potassium K calcium Ca scandium "
    "Sc titanium Ti vanadium V chromium Cr manganese Mn iron Fe cobalt Co nickel Ni copper Cu zinc Zn gallium Ga "
    "germanium Ge arsenic As selenium Se bromine Br krypton Kr rubidium Rb strontium Sr yttrium Y zirconium Zr "
    "niobium Nb molybdenum Mo technetium Tc ruthenium Ru rhodium Rh palladium Pd silver Ag cadmium Cd indium In tin "
    "Sn antimony Sb tellurium Te iodine I xenon Xe caesium Cs barium Ba lanthanum La cerium Ce praseodymium Pr "
    "neodymium Nd promethium Pm samarium Sm europium Eu gadolinium Gd terbium Tb dysprosium Dy holmium Ho erbium Er "
    "thulium Tm ytterbium Yb lutetium Lu hafnium Hf tantalum Ta tungsten W rhenium Re osmium Os iridium Ir platinum "
    "Pt gold Au mercury Hg thallium Tl lead Pb bismuth Bi polonium Po astatine At radon Rn francium Fr radium Ra "
    "actinium Ac thorium Th protactinium Pa uranium U neptunium Np plutonium Pu americium Am curium Cm berkelium Bk "
    "californium Cf einsteinium Es fermium Fm aluminum Al cesium Cs sulphur S tritium H"
)
"""English name and symbol of every element by atomic number, then second spellings that people write."""

ELEMENTS = dict(zip(WORDS.split()[::2], WORDS.split()[1::2], strict=True))
ELEMENTS |= {symbol.lower(): symbol for symbol in ELEMENTS.values()}
"""Lower-case names and symbols to symbols, to read "177 Lutetium"."""


def decay_constant(half_life: float) -> float:
    """ln 2 / half-life, in the inverse of the half-life's unit."""
    return math.log(2) / half_life


@dataclass(frozen=True)
class Radionuclide:
    """One radionuclide; energies are MeV per decay of this nuclide alone, `progeny` is (name, branching) pairs.

    `electron_MeV` is `beta_MeV` (both signs) and `conversion_MeV` (conversion and Auger electrons) together;
    `recoil_MeV` is the nucleus that recoils from an alpha. `fission_MeV`, the fragments and neutrons of spontaneous
    fission, is in none of the others and in no dose of this package.
    """

    name: str
    half_life_h: float
    electron_MeV: float
    photon_MeV: float
    alpha_MeV: float
    recoil_MeV: float
    progeny: tuple[tuple[str, float], ...]
    beta_MeV: float = 0.0
    conversion_MeV: float = 0.0
    fission_MeV: float = 0.0

    def __post_init__(self):
        if not (math.isfinite(self.half_life_h) and self.half_life_h > 0):
            field, found = f"half_life_h of {self.name}", f"{self.half_life_h}"
            raise InputError(describe(field, found, "a finite time above 0 h", "correct the table"))

    @property
    def decay_constant_per_h(self) -> float:
        return decay_constant(self.half_life_h)

    @property
    def decay_constant_per_min(self) -> float:
        return decay_constant(self.half_life_h * 60)

    @property
    def activity_MBq_per_nmol(self) -> float:
        """Activity of a nanomole of pure nuclide: lambda N_A (177Lu: about 726.8 MBq)."""
        return self.decay_constant_per_h / 3600 * AVOGADRO_PER_NMOL * 1e-6


def _canonical(text: str) -> str | None:
    """ "Lu-177m", "177mLu", "lu177m" or "177m Lutetium" as "177mLu"; None where it does not read as a nuclide.

    A word that is an element as a whole has no state in front: "24na" is sodium, "192nir" the second isomer of Ir.
    """
    squeezed = re.sub(r"[\s\-_^\[\]()]", "", str(text)).lower()
    if ahead := re.fullmatch(r"(\d+)([a-z]+)", squeezed):
        mass, word = ahead.groups()
        state, word = ("", word) if word in ELEMENTS else (word[0], word[1:]) if word[0] in "mn" else ("", word)
    elif behind := re.fullmatch(r"([a-z]+)(\d+)([mn]?)", squeezed):
        word, mass, state = behind.groups()
    else:
        return None
    symbol = ELEMENTS[word] if word in ELEMENTS else word.capitalize()
    return f"{mass}{state}{symbol}"


@cache
def _table() -> dict[str, Radionuclide]:
    return {row["nuclide"]: _from_row(row) for row in load_table("dose", "nuclides.csv")}


def _from_row(row: dict[str, str]) -> Radionuclide:
    progeny = (pair.split(":") for pair in row["progeny"].split())
    return Radionuclide(
        name=row["nuclide"],
        half_life_h=float(row["half_life"]) * HOURS[row["unit"]],
        progeny=tuple((name, float(branching)) for name, branching in progeny),
        **{column: float(value) for column, value in row.items() if column.endswith("_MeV")},
    )


@cache
def known_nuclides() -> tuple[str, ...]:
    """Names of the nuclides in the table, as "177Lu", by atomic number."""
    return tuple(_table())


@cache
def _stable() -> frozenset[str]:
    """Ends of chains: what decays lead to and what has no record, so is stable or all but stable."""
    return frozenset(name for entry in _table().values() for name, _ in entry.progeny) - frozenset(_table())


def radionuclide(name: str | Radionuclide, half_life_h: float | None = None) -> Radionuclide:
    """The nuclide called `name`: "177Lu", "Lu-177", "lu177" and "177 Lutetium" are the same.

    With `half_life_h` it has the half-life of another evaluation; a `Radionuclide` is returned as it is.

    Raises:
        InputError: not in the table (which says whether it is stable), or a half-life that is none.
    """
    if isinstance(name, Radionuclide):
        found = name
    elif (canonical := _canonical(name)) in _table():
        found = _table()[canonical]
    else:
        raise InputError(_unknown(name, canonical))
    return found if half_life_h is None else replace(found, half_life_h=half_life_h)


def _unknown(name: str, canonical: str | None) -> str:
    expected = "a radionuclide of the table"
    if canonical in _stable():
        return describe("nuclide", f'"{name}", which is stable', expected, "ask for no dose of it: it emits nothing")
    hint = _same_element(canonical) or nearest(canonical or str(name), known_nuclides())
    do = f'write "{hint}" if that was meant' if hint else "see dose.known_nuclides()"
    return describe("nuclide", f'"{name}"', expected, do)


def _same_element(canonical: str | None) -> str | None:
    """The nuclide of the same element whose mass number is nearest."""
    mass, symbol = re.sub(r"\D", "", canonical or ""), re.sub(r"^\d+[mn]?", "", canonical or "")
    kin = [name for name in known_nuclides() if re.fullmatch(rf"\d+[mn]?{symbol}", name)]
    return min(kin, key=lambda name: abs(int(re.sub(r"\D", "", name)) - int(mass)), default=None)


def has_emissions(name: str | Radionuclide) -> bool:
    """Whether a decay gives energy that becomes dose; the stable end of a chain ("177Hf") gives none.

    Raises:
        InputError: neither in the table nor the end of a chain of it.
    """
    if isinstance(name, str) and _canonical(name) in _stable():
        return False
    found = radionuclide(name)
    return found.electron_MeV + found.photon_MeV + found.alpha_MeV + found.recoil_MeV > 0
