"""A made-up table of photon specific absorbed fractions: reciprocal, plausible in size, quick, of no anatomy."""

from __future__ import annotations

import numpy as np

from dose.smatrix.saf import WHOLE_BODY, SafTable, reference_masses_g, sources, targets

ENERGY_MEV = np.array([0.01, 0.03, 0.1, 0.3, 1.0, 3.0])


def saf_table(sex: str = "male", relative_sd: float = 0.05) -> SafTable:
    """Own fractions as m^(1/3), cross ones by a distance that the names' places in the list give."""
    mass = {name: grams / 1e3 for name, grams in reference_masses_g(sex).items()}
    names = {name: k for k, name in enumerate(sorted(mass))}
    value = np.array([[_per_kg(t, s, mass, names) for s in sources(sex)] for t in targets(sex)])
    return SafTable(sex, ENERGY_MEV, targets(sex), sources(sex), value, np.full(value.shape, relative_sd))


def _per_kg(target: str, source: str, mass_kg, names) -> np.ndarray:
    own = np.minimum(0.9, 0.2 * mass_kg[target] ** (1 / 3) * (0.03 / ENERGY_MEV) ** 0.3)
    if target == WHOLE_BODY or source == WHOLE_BODY:
        return np.full(len(ENERGY_MEV), 0.4 / mass_kg[WHOLE_BODY])
    if target == source:
        return own / mass_kg[target]
    distance = 5 + abs(names[target] - names[source])
    return 0.3 / distance**2 * np.exp(-0.01 / ENERGY_MEV)
