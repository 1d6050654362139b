"""Dynamic PET: frames of activity concentration, and the decay that must be the same in frames and plasma.

Values are means over each frame. "Corrected" means: to the start of the scan (time 0), as the kinetic models want it.
Times are minutes, so that rates are per minute and K1 and Ki are mL/min/mL.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dose.errors import ImageError, InputError, describe
from dose.nuclides import radionuclide


@dataclass(frozen=True)
class DynamicFrames:
    """`array_Bq_per_mL` [frame, z, y, x] (or [frame, voxel]) with `start_min` and `duration_min` [frame].

    Frames follow each other; gaps are allowed, overlaps are not. `nuclide` is needed to undo decay; where it is None,
    weights leave decay out.

    Raises:
        InputError: frames that are not corrected, of no nuclide.
        ImageError: shapes that do not fit, values that are not finite, or frames that overlap or take no time.
    """

    array_Bq_per_mL: np.ndarray
    start_min: np.ndarray
    duration_min: np.ndarray
    decay_corrected: bool
    nuclide: str | None = None
    affine: np.ndarray | None = None

    def __post_init__(self):
        require_nuclide("dynamic frames", self.decay_corrected, self.nuclide)
        for name, kind in (("array_Bq_per_mL", np.float32), ("start_min", float), ("duration_min", float)):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=kind))
        count = self.start_min.shape
        fits = len(count) == 1 and self.duration_min.shape == count and self.array_Bq_per_mL.shape[:1] == count
        if not fits or self.array_Bq_per_mL.ndim < 2 or not np.isfinite(self.array_Bq_per_mL).all():
            found, expected = (
                f"array {self.array_Bq_per_mL.shape} for {count} frames",
                "finite, one start a frame",
            )
            raise ImageError(describe("dynamic frames", found, expected, "give [frame, z, y, x] and a time for each"))
        in_order = (self.duration_min > 0).all() and (self.start_min[1:] >= self.end_min[:-1] - 1e-6).all()
        if not in_order or not (self.start_min >= 0).all():
            found, expected = (
                "frames that overlap, take no time or begin before the injection",
                "frames in order of time",
            )
            raise ImageError(describe("dynamic frames, times", found, expected, "sort the frames and check the clocks"))

    @property
    def end_min(self) -> np.ndarray:
        return self.start_min + self.duration_min

    @property
    def mid_min(self) -> np.ndarray:
        return self.start_min + self.duration_min / 2

    def from_frame(self, first: int) -> DynamicFrames:
        """Without the frames before `first`."""
        kept = (self.array_Bq_per_mL[first:], self.start_min[first:], self.duration_min[first:])
        return DynamicFrames(*kept, self.decay_corrected, self.nuclide, self.affine)

    def corrected(self) -> DynamicFrames:
        """Values as if nothing had decayed since time 0, the decay within each frame included."""
        if self.decay_corrected or self.nuclide is None:
            return self
        factor = decay_factor(self.nuclide, self.start_min, self.duration_min)
        values = self.array_Bq_per_mL * factor.reshape(-1, *[1] * (self.array_Bq_per_mL.ndim - 1))
        return DynamicFrames(values, self.start_min, self.duration_min, True, self.nuclide, self.affine)

    def weights(self) -> np.ndarray:
        """Relative weights [frame], mean 1: 1 / variance of a corrected frame of Poisson counts.

        The mean curve of the whole image stands for each voxel's own, so that a voxel's noise does not weigh itself.
        Counts go as activity times duration; correction for decay multiplies value and sd alike:
        variance = corrected mean x decay factor / duration.
        """
        mean = self.corrected().array_Bq_per_mL.reshape(len(self.start_min), -1).mean(axis=1, dtype=float)
        floor = 0.01 * max(float(mean.max()), 1e-12)
        factor = decay_factor(self.nuclide, self.start_min, self.duration_min) if self.nuclide else 1.0
        weight = self.duration_min / (np.maximum(mean, floor) * factor)
        return weight / weight.mean()


def decay_factor(nuclide: str, start_min, duration_min) -> np.ndarray:
    """What turns a frame's measured mean into that without decay since time 0: l d e^(l s) / (1 - e^(-l d))."""
    rate = radionuclide(nuclide).decay_constant_per_h / 60
    decays = rate * np.asarray(duration_min)
    return np.exp(rate * np.asarray(start_min)) * decays / -np.expm1(-decays)


def require_nuclide(field: str, decay_corrected: bool, nuclide: str | None) -> None:
    """InputError where decay is to be undone and nobody says of what."""
    if not decay_corrected and nuclide is None:
        do = "give the nuclide, or values corrected to the start of the scan"
        raise InputError(describe(f"{field}, nuclide", "none, and decay to undo", "a known nuclide", do))
