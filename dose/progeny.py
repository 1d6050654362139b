"""Which nuclides follow a nuclide, how often, and the energy of a whole chain by kind of radiation.

The tree is that of ICRP 107 (`dose.nuclides`). No time is in it: `dose.bateman` has the courses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from dose.errors import InputError, describe
from dose.nuclides import Radionuclide, known_nuclides, radionuclide

OUTLIVES = 10
"""A daughter is followed while it lives less than this many parent half-lives: 209Pb after 213Bi (4) is, 207Bi after
211At (40 000) decays too late and too little to matter."""

NOBLE_GASES, GAS_LEAVES_H = ("He", "Ne", "Ar", "Kr", "Xe", "Rn"), 1.0
"""A daughter that is a noble gas and lives longer than this leaves the tissue: 131mXe after 131I, 222Rn after 226Ra.
219Rn (4 s) and 220Rn (56 s) decay before they do."""

KINDS = ("alpha", "recoil", "beta", "conversion", "photon")
"""How the energy of a decay is split; conversion includes Auger electrons. Fission fragments are in none."""

Initial = str | Radionuclide | Mapping
"""One nuclide, or nuclide to activity in MBq; keys are names or `Radionuclide`s."""


@dataclass(frozen=True)
class Chain:
    """Nuclides, mothers before daughters, with `half_life_h` [nuclide] and `branching` [daughter, mother]."""

    names: tuple[str, ...]
    half_life_h: tuple[float, ...]
    branching: tuple[tuple[float, ...], ...]

    @property
    def matrix_per_h(self) -> np.ndarray:
        """The A of N' = A N, [to, from], lower triangular."""
        rates = math.log(2) / np.array(self.half_life_h)
        return (np.array(self.branching) - np.eye(len(rates))) * rates


def given(initial: Initial) -> dict[Radionuclide, float]:
    """Nuclide to activity in MBq, 1 for one alone.

    Raises:
        InputError: unknown or stable nuclide, none, or one written twice.
    """
    pairs = initial.items() if isinstance(initial, Mapping) else [(initial, 1.0)]
    found = {radionuclide(name): value for name, value in pairs}
    if not found or len({entry.name for entry in found}) < len(pairs):
        names = ", ".join(entry.name for entry in found) or "nothing"
        raise InputError(describe("initial", names, "each nuclide once, one at least", "correct the mapping"))
    return found


def chain(initial: Initial, follow: float = math.inf, gas_leaves_h: float = math.inf) -> Chain:
    """The nuclides at the start and their radioactive progeny.

    `follow`: a daughter that lives `follow` or more half-lives of the longest-lived nuclide at the start ends its
    branch, as does a noble gas that lives longer than `gas_leaves_h`; as they stand all are kept.

    Raises:
        InputError: unknown or stable nuclide, none, or one written twice.
    """
    return _chain(tuple(given(initial)), follow, gas_leaves_h)


@cache
def _chain(starts: tuple[Radionuclide, ...], follow: float, gas_leaves_h: float) -> Chain:
    order: list[str] = []
    longest_h = follow * max(first.half_life_h for first in starts)
    for first in starts:
        _last_first(first, longest_h, gas_leaves_h, order)
    order.reverse()
    own = {entry.name: entry.half_life_h for entry in starts}
    branching = np.zeros((len(order), len(order)))
    for mother in order:
        for daughter, part in radionuclide(mother).progeny:
            if daughter in order:
                branching[order.index(daughter), order.index(mother)] += part
    lives = tuple(own.get(name, radionuclide(name).half_life_h) for name in order)
    return Chain(tuple(order), lives, tuple(map(tuple, branching.tolist())))


def _last_first(nuclide: Radionuclide, longest_h: float, gas_leaves_h: float, order: list[str]) -> None:
    """Depth first: a nuclide is appended after everything it leads to."""
    if nuclide.name in order:
        return
    for daughter, _ in nuclide.progeny:
        if daughter in known_nuclides():
            entry = radionuclide(daughter)
            leaves = daughter.lstrip("0123456789mn") in NOBLE_GASES and entry.half_life_h > gas_leaves_h
            if entry.half_life_h < longest_h and not leaves:
                _last_first(entry, longest_h, gas_leaves_h, order)
    order.append(nuclide.name)


def equilibrium_decays(parent: str | Radionuclide, follow: float = OUTLIVES) -> dict[str, float]:
    """Decays of each nuclide per decay of the parent, after all of them: sums over branches of products of branching.

    Daughters are taken to decay where the parent did; a noble gas that has time to leave ends its branch.

    Raises:
        InputError: unknown or stable nuclide.
    """
    found = chain(parent, follow, GAS_LEAVES_H)
    decays = np.zeros(len(found.names))
    for k, row in enumerate(found.branching):
        decays[k] = (k == 0) + np.dot(row, decays)
    return dict(zip(found.names, decays.tolist(), strict=True))


def energy_MeV(decays: Mapping[str, float]) -> dict[str, float]:
    """Energy by kind (`KINDS`) of so many decays of each nuclide: MeV times the unit of `decays`.

    Raises:
        InputError: unknown or stable nuclide.
    """
    entries = [(radionuclide(name), number) for name, number in decays.items()]
    return {kind: sum(number * getattr(entry, f"{kind}_MeV") for entry, number in entries) for kind in KINDS}


def chain_energy_MeV(parent: str | Radionuclide, follow: float = OUTLIVES) -> dict[str, float]:
    """Energy of the chain per decay of the parent by kind (`KINDS`), all progeny decaying where the parent did.

    Raises:
        InputError: unknown or stable nuclide.
    """
    return energy_MeV(equilibrium_decays(parent, follow))
