"""Absorbed dose to organs from an S matrix and time-integrated activities, by source and kind of radiation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from dose.errors import InputError, describe
from dose.phantom.organs import GROUPS
from dose.smatrix.groups import REMAINDER, region_name, remainder
from dose.smatrix.parts import PARTS
from dose.smatrix.saf import WHOLE_BODY

if TYPE_CHECKING:
    import pandas as pd

    from dose.smatrix.matrix import SMatrix


@dataclass(frozen=True, eq=False)
class OrganDose:
    """Absorbed dose in Gy by target and source [target, source]; alphas apart, physical.

    `sd_Gy` [target] is that of the S values, with each source's share taken as independent.
    """

    targets: tuple[str, ...]
    sources: tuple[str, ...]
    alpha_Gy: Float[np.ndarray, "target source"]
    electron_Gy: Float[np.ndarray, "target source"]
    photon_Gy: Float[np.ndarray, "target source"]
    sd_Gy: Float[np.ndarray, " target"]

    @property
    def by_source_Gy(self) -> Float[np.ndarray, "target source"]:
        return self.alpha_Gy + self.electron_Gy + self.photon_Gy

    @property
    def total_Gy(self) -> Float[np.ndarray, " target"]:
        """Physical dose of each target."""
        return self.by_source_Gy.sum(axis=1)

    def weighted_Gy(self, alpha_rbe: float) -> Float[np.ndarray, " target"]:
        """RBE-weighted dose in Gy(RBE) of each target."""
        return (alpha_rbe * self.alpha_Gy + self.electron_Gy + self.photon_Gy).sum(axis=1)

    def of(self, target: str) -> float:
        """Physical dose in Gy of one target.

        Raises:
            InputError: not among the targets.
        """
        word = region_name(target)
        if word not in self.targets:
            raise InputError(describe("target", repr(target), ", ".join(self.targets), "correct the name"))
        return float(self.total_Gy[self.targets.index(word)])

    def table(self) -> pd.DataFrame:
        """Dose by target: alpha, electron, photon, total and its sd in Gy, and the share of each source."""
        import pandas as pd

        columns = {f"{word}_Gy": getattr(self, f"{word}_Gy").sum(axis=1) for word in PARTS}
        columns |= {"total_Gy": self.total_Gy, "sd_Gy": self.sd_Gy}
        columns |= {f"from_{source}_Gy": self.by_source_Gy[:, k] for k, source in enumerate(self.sources)}
        return pd.DataFrame(columns, index=pd.Index(self.targets, name="target"))


def summed(matrix: SMatrix, tia_MBq_h: Mapping[str, float]) -> OrganDose:
    """See `dose.smatrix.SMatrix.dose`."""
    given = _checked(matrix, tia_MBq_h)
    parts = {word: [] for word in PARTS}
    variance = np.zeros(len(matrix.targets))
    spread = matrix.relative_sd
    for name, activity in given.items():
        if name == REMAINDER:
            made, _ = remainder(matrix, tuple(given))
            sd = spread[:, matrix.sources.index(WHOLE_BODY)]
        else:
            column = matrix.sources.index(name)
            made, sd = {word: getattr(matrix, word)[:, column] for word in PARTS}, spread[:, column]
        for word in PARTS:
            parts[word].append(made[word] * activity)
        variance += (sd * sum(made[word] for word in PARTS) * activity) ** 2
    stack = [np.stack(parts[word], axis=1) for word in PARTS]
    return OrganDose(matrix.targets, tuple(given), *stack, np.sqrt(variance))


def drawn(matrix: SMatrix, tia_MBq_h: Mapping[str, float | np.ndarray], n: int, seed: int) -> np.ndarray:
    """See `dose.smatrix.SMatrix.dose_draws`."""
    values = [np.broadcast_to(np.asarray(value, float), np.shape(value) or (1,)) for value in tia_MBq_h.values()]
    for name, value in zip(tia_MBq_h, values):
        if value.shape not in ((1,), (n,)) or not (np.all(np.isfinite(value)) and value.min() >= 0):
            found = f"shape {value.shape}, least {np.min(value):.4g}"
            do = "give a number or draws, as many as are asked for"
            raise InputError(describe(f"tia_MBq_h of {name}", found, f"0 or more MBq h, once or {n} times", do))
    given = _checked(matrix, {name: float(value.mean()) for name, value in zip(tia_MBq_h, values)})
    s = matrix.draws(n, seed)
    total = np.zeros(s.shape[:2])
    for name, activity in zip(given, values):
        if name == REMAINDER:
            whole = matrix.sources.index(WHOLE_BODY)
            factor = np.divide(s[:, :, whole], matrix.total[:, whole], out=np.ones(s.shape[:2]),
                               where=matrix.total[:, whole] > 0)  # fmt: skip
            column = factor * sum(remainder(matrix, tuple(given))[0].values())
        else:
            column = s[:, :, matrix.sources.index(name)]
        total += column * activity[:, None]
    return total


def _checked(matrix: SMatrix, tia_MBq_h: Mapping[str, float]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in tia_MBq_h.items():
        word = region_name(name)
        word = word if word == REMAINDER else matrix.sources[matrix.source(name)]
        activity = float(value)
        if not (math.isfinite(activity) and activity >= 0):
            raise InputError(describe(f"tia_MBq_h of {name}", f"{value}", "0 or more MBq h", "see how it was made"))
        twice = [other for other in found if set(GROUPS.get(other, (other,))) & set(GROUPS.get(word, (word,)))]
        if twice:
            raise InputError(describe("tia_MBq_h", f"{name} beside {twice[0]}", "each region once", "leave one out"))
        found[word] = activity
    if not found:
        raise InputError(describe("tia_MBq_h", "no source", "at least one", "name the sources"))
    return found
