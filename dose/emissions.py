"""What a radionuclide emits in one decay: lines of photons, electrons and alphas, and the beta spectrum.

The records are those of ICRP Publication 107, read from the package icrp107-database, one file a nuclide (JSON text
held as a string inside JSON). Nothing is left out of a record and nothing rescaled: X-ray and Auger lines reach down
to below one eV, and the beta spectrum is the table of the publication, whose trapezoid integral lies up to 0.3 % off
the sum of the branches (16N: 0.5 %; see docs/nuclear-data.md).

Fragments and neutrons of spontaneous fission (28 heavy nuclides) are no lines that any engine here transports: their
energy stands in `fission_MeV`. Betas and gammas of the fission itself are among the others.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from dose.errors import InputError, describe
from dose.nuclides import Radionuclide, radionuclide

LINES = {
    "gamma": "gamma", "xray": "X", "annihilation": "annihilation", "conversion_electron": "IE", "auger": "auger",
    "alpha": "alpha", "recoil": "alpha recoil",
}  # fmt: skip
"""Field of `Emissions` to the word in the records."""

BETAS = ("beta-", "beta+", "betaD")
"""Words of the records for beta branches: the last are the delayed betas of spontaneous fission."""

FISSION = ("fission", "neutron")
"""Words of the records for what no engine follows."""

PHOTONS, ELECTRON_LINES = ("gamma", "xray", "annihilation"), ("conversion_electron", "auger")


@dataclass(frozen=True, eq=False)
class Lines:
    """Discrete energies: `energy_MeV` [line], rising, and how many each decay gives, `per_decay` [line]."""

    energy_MeV: np.ndarray
    per_decay: np.ndarray

    @property
    def number(self) -> float:
        """Particles per decay."""
        return float(self.per_decay.sum())

    @property
    def MeV_per_decay(self) -> float:
        """Energy carried away by a decay's particles, on average."""
        return float(self.energy_MeV @ self.per_decay)


@dataclass(frozen=True, eq=False)
class Spectrum:
    """A density `per_MeV` [point] per decay at `energy_MeV` [point], rising; linear in between, zero beyond."""

    energy_MeV: np.ndarray
    per_MeV: np.ndarray

    @property
    def number(self) -> float:
        """Particles per decay, by the trapezoid rule."""
        return float(np.trapezoid(self.per_MeV, self.energy_MeV))

    @property
    def MeV_per_decay(self) -> float:
        """Energy carried away by a decay's particles, by the trapezoid rule."""
        return float(np.trapezoid(self.per_MeV * self.energy_MeV, self.energy_MeV))


@dataclass(frozen=True, eq=False)
class Emissions:
    """The emissions of one decay of one nuclide alone, without its progeny.

    `beta` holds electrons and positrons together, as in the records; `beta_branches` are the mean energy and the yield
    of each branch, of which `energy_MeV("beta")` is made. `fission_MeV`: fission fragments and neutrons.
    """

    nuclide: str
    gamma: Lines
    xray: Lines
    annihilation: Lines
    conversion_electron: Lines
    auger: Lines
    alpha: Lines
    recoil: Lines
    beta: Spectrum
    beta_branches: Lines
    positrons_per_decay: float
    fission_MeV: float

    @property
    def photons(self) -> Lines:
        """Gammas, X rays and annihilation quanta."""
        return merged(*(getattr(self, kind) for kind in PHOTONS))

    @property
    def electron_lines(self) -> Lines:
        """Conversion and Auger electrons."""
        return merged(*(getattr(self, kind) for kind in ELECTRON_LINES))

    def energy_MeV(self, kind: str) -> float:
        """Mean energy per decay of a kind: a field, "beta", "photon" (three fields) or "electron" (beta and two).

        Raises:
            InputError: no such kind.
        """
        parts = {name: (name,) for name in LINES}
        parts |= {"beta": ("beta_branches",), "photon": PHOTONS, "electron": ("beta_branches", *ELECTRON_LINES)}
        if kind not in parts:
            raise InputError(describe("kind", f'"{kind}"', f"one of {', '.join(parts)}", "correct the word"))
        return sum(getattr(self, part).MeV_per_decay for part in parts[kind])


def merged(*parts: Lines) -> Lines:
    """The lines of all parts in rising order."""
    energy = np.concatenate([part.energy_MeV for part in parts])
    order = np.argsort(energy, kind="stable")
    return Lines(*map(_frozen, (energy[order], np.concatenate([part.per_decay for part in parts])[order])))


def record_name(nuclide: str) -> str:
    """ "177mLu" as ICRP 107 writes it, "Lu-177m"."""
    number, symbol = re.fullmatch(r"(\d+[mn]?)([A-Z][a-z]?)", nuclide).groups()  # type: ignore[union-attr]
    return f"{symbol}-{number}"


def emissions(nuclide: str | Radionuclide) -> Emissions:
    """The emissions of a nuclide, in any spelling that `dose.radionuclide` reads; read once, arrays read-only.

    Raises:
        InputError: not a radionuclide of ICRP 107.
    """
    return read_emissions(radionuclide(nuclide).name)


@cache
def read_emissions(nuclide: str) -> Emissions:
    """As `emissions`, by the project's own name ("177mLu") and without the table of nuclides."""
    pairs = _record(nuclide)["emissions"]
    lines = {field: _lines(pairs[word]) for field, word in LINES.items()}
    lost = sum(_lines(pairs[word]).MeV_per_decay for word in FISSION)
    return Emissions(
        nuclide=nuclide,
        beta=Spectrum(*_columns(pairs["b-spectra"])),
        beta_branches=merged(*(_lines(pairs[word]) for word in BETAS)),
        positrons_per_decay=_lines(pairs["beta+"]).number,
        fission_MeV=lost,
        **lines,
    )


def read_half_life(nuclide: str) -> tuple[float, str]:
    """The half-life and its unit (us, ms, s, m, h, d or y) of the record of "177mLu"."""
    record = _record(nuclide)
    return float(record["half_life"]), record["time_unit"]


def _record(nuclide: str) -> dict:
    text = files("icrp107_database").joinpath("icrp107", f"{record_name(nuclide)}.json").read_text(encoding="utf-8")
    return json.loads(json.loads(text))


def _lines(pairs: list) -> Lines:
    return Lines(*_columns(pairs))


def _columns(pairs: list) -> tuple[np.ndarray, np.ndarray]:
    table = np.asarray(pairs, float).reshape(-1, 2)
    return _frozen(table[:, 0].copy()), _frozen(table[:, 1].copy())


def _frozen(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array
