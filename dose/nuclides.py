"""Radionuclides: half-life, progeny and mean energies per decay, each nuclide on its own.

Numbers: ICRP Publication 107 through `data/nuclides.csv`; the half-life is a table value, so another evaluation is
another row, not another code (`dataclasses.replace` makes a nuclide with a different one).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cache

from dose.errors import InputError, describe, nearest
from dose.provenance import load_table

AVOGADRO_PER_NMOL = 6.02214076e14
"""Atoms in a nanomole: the exact SI Avogadro constant (BIPM SI Brochure, 9th ed., table 1) times 1e-9."""

HOURS = {"s": 1 / 3600, "m": 1 / 60, "h": 1.0, "d": 24.0, "y": 24 * 365.2422}
"""Hours in the half-life units of ICRP 107; the year is the tropical year of 365.2422 d."""

ELEMENTS = {
    "actinium": "Ac", "astatine": "At", "bismuth": "Bi", "copper": "Cu", "fluorine": "F", "francium": "Fr",
    "gallium": "Ga", "holmium": "Ho", "indium": "In", "iodine": "I", "lead": "Pb", "lutetium": "Lu", "polonium": "Po",
    "radium": "Ra", "radon": "Rn", "rhenium": "Re", "samarium": "Sm", "technetium": "Tc", "terbium": "Tb",
    "thallium": "Tl", "thorium": "Th", "yttrium": "Y", "zirconium": "Zr",
}  # fmt: skip
"""English element names, to read "177 Lutetium"."""


def decay_constant(half_life: float) -> float:
    """ln 2 / half-life, in the inverse of the half-life's unit."""
    return math.log(2) / half_life


@dataclass(frozen=True)
class Radionuclide:
    """One radionuclide; energies are MeV per decay of this nuclide alone, `progeny` is (name, branching) pairs.

    `electron_MeV` holds betas, conversion and Auger electrons; `recoil_MeV` the nucleus that recoils from an alpha.
    """

    name: str
    half_life_h: float
    electron_MeV: float
    photon_MeV: float
    alpha_MeV: float
    recoil_MeV: float
    progeny: tuple[tuple[str, float], ...]

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
    """ "Lu-177m", "177mLu", "lu177m" or "177m Lutetium" as "177mLu"; None where it does not read as a nuclide."""
    squeezed = re.sub(r"[\s\-_^\[\]()]", "", str(text))
    match = re.fullmatch(r"(\d+)(m?)([A-Za-z]+)", squeezed) or re.fullmatch(r"([A-Za-z]+)(\d+)(m?)", squeezed)
    if match is None:
        return None
    parts = match.groups()
    mass, meta, word = parts if parts[0].isdigit() else (parts[1], parts[2], parts[0])
    return f"{mass}{meta}{ELEMENTS.get(word.lower(), word.capitalize())}"


@cache
def _table() -> dict[str, Radionuclide]:
    gathered: dict[str, list[dict[str, str]]] = {}
    for row in load_table("dose", "nuclides.csv"):
        gathered.setdefault(row["nuclide"], []).append(row)
    return {name: _from_rows(name, rows) for name, rows in gathered.items()}


def _from_rows(name: str, rows: list[dict[str, str]]) -> Radionuclide:
    one = {row["quantity"]: row for row in rows}
    energies = {f"{kind}_MeV": float(one[kind]["value"]) for kind in ("electron", "photon", "alpha", "recoil")}
    progeny = tuple((row["daughter"], float(row["value"])) for row in rows if row["quantity"] == "branching")
    half_life_h = float(one["half_life"]["value"]) * HOURS[one["half_life"]["unit"]]
    return Radionuclide(name=name, half_life_h=half_life_h, progeny=progeny, **energies)


def known_nuclides() -> tuple[str, ...]:
    """Names of the nuclides in the table, as "177Lu"."""
    return tuple(_table())


def radionuclide(name: str) -> Radionuclide:
    """The nuclide called `name`: "177Lu", "Lu-177", "lu177" and "177 Lutetium" are the same.

    Raises:
        InputError: not in the table.
    """
    canonical = _canonical(name)
    if canonical in _table():
        return _table()[canonical]
    hint = nearest(canonical or str(name), known_nuclides())
    do = f'write "{hint}" if that was meant' if hint else "see dose.known_nuclides()"
    raise InputError(describe("nuclide", f'"{name}"', "a radionuclide of the table", do))
