"""The systemic iodine model of ICRP 137 (table 5.4) as a matrix, for comparison with the two-compartment thyroid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import expm

TRANSFERS_PER_D = {
    ("blood", "thyroid"): 7.26, ("blood", "bladder"): 11.84, ("blood", "salivary"): 5.16, ("blood", "stomach"): 8.60,
    ("blood", "other_1"): 600.0, ("blood", "kidneys"): 25.0, ("blood", "liver"): 15.0,
    ("salivary", "blood"): 50.0, ("stomach", "gut"): 50.0, ("gut", "blood"): 20.57,
    ("thyroid", "colloid"): 95.0, ("thyroid", "blood"): 36.0, ("colloid", "organic"): 0.0077,
    ("other_1", "blood"): 330.0, ("other_1", "other_2"): 35.0, ("other_2", "other_1"): 56.0,
    ("kidneys", "blood"): 100.0, ("liver", "blood"): 100.0,
    ("organic", "other_3"): 15.0, ("other_3", "organic"): 21.0, ("other_3", "other_4"): 1.2,
    ("other_4", "other_3"): 0.62, ("other_4", "blood"): 0.14, ("organic", "kidneys_o"): 3.6,
    ("kidneys_o", "organic"): 21.0,
    ("kidneys_o", "blood"): 0.14, ("organic", "liver_o"): 21.0, ("liver_o", "organic"): 21.0,
    ("liver_o", "blood"): 0.14, ("liver_o", "faeces"): 0.08,
}  # fmt: skip
"""ICRP 137, table 5.4, read in github 9rnsr/FlexID I-131_inj.inp. Saliva and gut contents are one step here: iodide
swallowed is back in blood within two hours, which the comparison does not see."""


@dataclass(frozen=True)
class Iodine:
    """Iodine given to blood at time 0, with decay."""

    matrix: np.ndarray
    gland: np.ndarray
    start: np.ndarray

    def at(self, time_d: float) -> float:
        """The part of what was given that is in the gland."""
        return float(self.gland @ expm(self.matrix * time_d) @ self.start)

    def integral_d(self) -> float:
        """Its integral to infinity, d."""
        return float(self.gland @ np.linalg.solve(-self.matrix, self.start))


def iodine(decay_per_d: float) -> Iodine:
    names = sorted({name for pair in TRANSFERS_PER_D for name in pair})
    matrix = -decay_per_d * np.eye(len(names))
    for (source, target), rate in TRANSFERS_PER_D.items():
        matrix[names.index(target), names.index(source)] += rate
        matrix[names.index(source), names.index(source)] -= rate
    gland = np.array([float(name in ("thyroid", "colloid")) for name in names])
    return Iodine(matrix, gland, np.array([float(name == "blood") for name in names]))
