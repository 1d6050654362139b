"""The standard deviation of a voxel's activity concentration: a floor, a part like counting, a proportional part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dose.errors import InputError, describe

Numbers = float | np.ndarray
"""One number, or one for each scan, shape [scan]."""


@dataclass(frozen=True)
class VoxelNoise:
    """sd^2 = floor^2 + counting * A + (relative * A)^2, for A in MBq/mL; each part one number or shape [scan].

    `counting_MBq_mL` is the variance that goes with one MBq/mL: for pure counting, the concentration that one count
    stands for. `floor_MBq_mL` is what an empty voxel shows. Errors shared by all scans (calibration, recovery) do not
    belong here: give them to `tia_map` as `correlated_relative_sd`.

    Raises:
        InputError: a floor that is not above zero, or a part below zero.
    """

    floor_MBq_mL: Numbers
    counting_MBq_mL: Numbers = 0.0
    relative: Numbers = 0.0

    def __post_init__(self):
        floor, counting, relative = self._parts()
        if not (np.all(floor > 0) and np.all(counting >= 0) and np.all(relative >= 0)):
            found = f"floor {self.floor_MBq_mL}, counting {self.counting_MBq_mL}, relative {self.relative}"
            do = "take the floor from the spread of voxels in air: a scan of no counts still has an error"
            raise InputError(describe("noise", found, "a floor above 0 and no part below 0", do))

    def _parts(self):
        return (np.asarray(p, dtype=float) for p in (self.floor_MBq_mL, self.counting_MBq_mL, self.relative))

    def ordered(self, order) -> VoxelNoise:
        """The same with per-scan parts in another order of scans.

        Raises:
            InputError: a per-scan part that has not one value a scan.
        """
        parts = list(self._parts())
        if any(p.ndim and p.shape != (len(order),) for p in parts):
            found = f"parts of shapes {[p.shape for p in parts]}"
            expected = f"one number or {len(order)}, one a scan"
            raise InputError(describe("noise", found, expected, "give each part of the noise for every scan"))
        return VoxelNoise(*(p[order] if p.ndim else float(p) for p in parts))

    def sd(self, activity_MBq_mL) -> np.ndarray:
        """Standard deviation of activities [scan, voxel]; negative ones count as zero."""
        floor, counting, relative = (p[:, None] if p.ndim else p for p in self._parts())
        a = np.maximum(activity_MBq_mL, 0.0)
        return np.sqrt(floor**2 + counting * a + (relative * a) ** 2)
