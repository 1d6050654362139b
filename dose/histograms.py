"""Dose-volume histograms of a region: what share of it gets how much.

ICRU 83, section 3: V_D is the share of the volume that gets at least D, D_V the least dose of the V percent that get
most. Sorted voxels stand at the middle of their own share of the volume, so that D_V does not depend on bins; there
are none. With draws of a dose map every number is one a draw, from which an interval follows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dose.errors import InputError, describe

PERCENT = 100.0


@dataclass(frozen=True, eq=False)
class DVH:
    """Doses of a region's voxels in falling order, [draw, voxel] in Gy, and each one's volume in mL.

    Every number of it has the shape [draw], or is one number where the map had no draws (`draws` is False).
    """

    dose_Gy: Float[np.ndarray, "draw voxel"]
    voxel_mL: Float[np.ndarray, "draw voxel"]
    draws: bool

    @property
    def volume_mL(self) -> float:
        return float(np.sum(self.voxel_mL[0]))

    @property
    def mean_Gy(self):
        return self._out(np.sum(self.dose_Gy * self.voxel_mL, axis=1) / self.volume_mL)

    @property
    def min_Gy(self):
        return self._out(self.dose_Gy[:, -1])

    @property
    def max_Gy(self):
        return self._out(self.dose_Gy[:, 0])

    def dose_at(self, percent: float):
        """D_V in Gy: the least dose of the `percent` of the volume that get most (95: D95).

        Raises:
            InputError: not between 0 and 100.
        """
        if not 0 <= percent <= PERCENT:
            raise InputError(describe("percent", f"{percent}", "0 to 100", "write D95 as dose_at(95)"))
        return self.dose_at_mL(percent / PERCENT * self.volume_mL)

    def dose_at_mL(self, volume_mL: float):
        """The least dose in Gy of the hottest `volume_mL` (2: D2cc).

        Raises:
            InputError: negative, or more than the region has.
        """
        if not 0 <= volume_mL <= self.volume_mL * (1 + 1e-9):
            expected = f"0 to the region's {self.volume_mL:.4g} mL"
            raise InputError(describe("volume_mL", f"{volume_mL}", expected, "ask for a smaller volume"))
        middle = np.cumsum(self.voxel_mL, axis=1) - self.voxel_mL / 2
        return self._out(np.array([np.interp(volume_mL, x, d) for x, d in zip(middle, self.dose_Gy, strict=True)]))

    def volume_above(self, dose_Gy: float):
        """V_D in percent: the share of the volume that gets at least `dose_Gy` (20: V20)."""
        return self._out(PERCENT * np.sum(self.voxel_mL * (self.dose_Gy >= dose_Gy), axis=1) / self.volume_mL)

    def cumulative(self, dose_Gy) -> Float[np.ndarray, "... dose"]:
        """V_D in percent at each of `dose_Gy` [dose]."""
        return np.stack([self.volume_above(float(d)) for d in np.atleast_1d(dose_Gy)], axis=-1)

    def differential(self, edges_Gy) -> Float[np.ndarray, "... bin"]:
        """Volume in mL per Gy within each bin, from its lower edge up to but without its upper one.

        Raises:
            InputError: edges that do not increase.
        """
        edges = np.asarray(edges_Gy, float)
        if edges.ndim != 1 or len(edges) < 2 or not np.all(np.diff(edges) > 0):
            raise InputError(describe("edges_Gy", f"{edges_Gy}", "two or more, increasing", "sort them"))
        return -np.diff(self.cumulative(edges), axis=-1) / PERCENT * self.volume_mL / np.diff(edges)

    def geud_Gy(self, a: float):
        """Generalised equivalent uniform dose (sum v_i D_i^a)^(1/a) (Niemierko, Med Phys 1999;26:1100, recalled): `a`
        of 1 is the mean; large for organs in series, negative for tumours.

        Raises:
            InputError: `a` is 0 or not finite.
        """
        if not np.isfinite(a) or a == 0:
            raise InputError(describe("a", f"{a}", "a finite number other than 0", "1 gives the mean dose"))
        log_dose = np.log(np.maximum(self.dose_Gy, np.finfo(float).tiny))
        top = np.max(a * log_dose, axis=1, keepdims=True)
        share = np.sum(self.voxel_mL / self.volume_mL * np.exp(a * log_dose - top), axis=1)
        return self._out(np.exp((np.log(share) + top[:, 0]) / a))

    def _out(self, values: np.ndarray):
        return values if self.draws else float(values[0])


def dvh(dose_Gy: Float[np.ndarray, "*shape"], inside: Float[np.ndarray, "*grid"], voxel_mL: float) -> DVH:
    """The histogram of a region of a dose map.

    Args:
        dose_Gy: the map, of the shape of `inside`, or draws of it with one axis before.
        inside: voxels of the region: True or False, or the share of each voxel, 0 to 1.
        voxel_mL: volume of a voxel.

    Raises:
        InputError: shapes that do not fit, an empty region, doses below 0 or not finite in it, a share outside 0 to
            1, or a volume not above 0.
    """
    dose, share = np.asarray(dose_Gy, float), np.asarray(inside, float)
    if dose.shape != share.shape and dose.shape[1:] != share.shape:
        do = "resample the region to the dose's grid"
        raise InputError(describe("inside", f"shape {share.shape}", f"that of the dose, {dose.shape}", do))
    if not (np.isfinite(voxel_mL) and voxel_mL > 0):
        raise InputError(describe("voxel_mL", f"{voxel_mL}", "a volume above 0 mL", "multiply the spacings in cm"))
    if not np.all((share >= 0) & (share <= 1)):
        raise InputError(describe("inside", "values outside 0 to 1", "True or False, or shares", "give one label"))
    if not share.any():
        raise InputError(describe("inside", "no voxel", "a region of one or more", "check the label and the grids"))
    draws = dose.ndim > share.ndim
    chosen = dose[..., share > 0].reshape(-1, np.count_nonzero(share))
    if not np.all(np.isfinite(chosen) & (chosen >= 0)):
        do = "see where the dose map has no value, and leave these voxels out of the region"
        raise InputError(describe("dose_Gy", "a dose below 0 or not finite in the region", "0 Gy or more", do))
    order = np.argsort(-chosen, axis=1)
    return DVH(np.take_along_axis(chosen, order, axis=1), voxel_mL * share[share > 0][order], draws)
