"""The plasma curve that feeds the tissue: samples joined by straight lines, or a model fitted through them.

Integrals and convolutions with exponentials are exact for the joined samples. `feng` is model 2 of Feng, Huang, Wang,
Int. J. Biomed. Comput. 32 (1993) 95:

    Cp(t) = (A1 t - A2 - A3) exp(-l1 t) + A2 exp(-l2 t) + A3 exp(-l3 t)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dose.errors import CalibrationError, InputError, describe
from dose.nuclides import radionuclide
from imaging.parametric.frames import DynamicFrames, require_nuclide

FINE_STEP_MIN = 0.02
"""Samples of a fitted model are taken this far apart at the start, and 1 % of the time apart later."""


@dataclass(frozen=True)
class InputFunction:
    """Plasma concentration `plasma_Bq_per_mL` [sample] at `time_min` [sample] after the start of the scan.

    Between samples it is linear, from time 0 (value 0) to the first sample too. `blood_Bq_per_mL` is whole blood, for
    the share of vessels in a voxel (None: as plasma). `nuclide` is needed where decay is to be undone, and is compared
    with that of the frames.

    Raises:
        InputError: fewer than 3 samples, times not rising or negative, values that are negative or not finite, or
            samples that are not corrected, of no nuclide.
    """

    time_min: np.ndarray
    plasma_Bq_per_mL: np.ndarray
    decay_corrected: bool
    blood_Bq_per_mL: np.ndarray | None = None
    nuclide: str | None = None

    def __post_init__(self):
        require_nuclide("input function", self.decay_corrected, self.nuclide)
        time, plasma = np.asarray(self.time_min, dtype=float), np.asarray(self.plasma_Bq_per_mL, dtype=float)
        blood = plasma if self.blood_Bq_per_mL is None else np.asarray(self.blood_Bq_per_mL, dtype=float)
        fits = time.ndim == 1 and len(time) >= 3 and plasma.shape == blood.shape == time.shape
        if not fits or not (np.diff(time) > 0).all() or not time[0] >= 0:
            found, expected = "too few samples, or times that do not rise from 0 on", "3 or more in order of time"
            raise InputError(describe("input function, time_min", found, expected, "sort them, drop doubles"))
        if not (np.isfinite(plasma) & np.isfinite(blood) & (plasma >= 0) & (blood >= 0)).all() or not plasma.any():
            found, expected = "negative, missing or no activity", "finite values of 0 or more"
            raise InputError(describe("input function, values", found, expected, "check background and calibration"))
        if time[0] > 0:
            time, plasma, blood = (np.concatenate([[0.0], v]) for v in (time, plasma, blood))
        for name, value in (("time_min", time), ("plasma_Bq_per_mL", plasma), ("blood_Bq_per_mL", blood)):
            object.__setattr__(self, name, value)

    def corrected(self) -> InputFunction:
        """Values as if nothing had decayed since time 0."""
        if self.decay_corrected or self.nuclide is None:
            return self
        factor = np.exp(radionuclide(self.nuclide).decay_constant_per_h / 60 * self.time_min)
        curves = (self.plasma_Bq_per_mL * factor, True, np.asarray(self.blood_Bq_per_mL) * factor)
        return InputFunction(self.time_min, *curves, self.nuclide)

    def beside(self, frames: DynamicFrames) -> InputFunction:
        """Corrected, for frames of the same nuclide; InputError for those of another."""
        if self.nuclide and frames.nuclide and self.nuclide != frames.nuclide:
            found, do = f"plasma of {self.nuclide}, frames of {frames.nuclide}", "correct the one that is wrong"
            raise InputError(describe("input function, nuclide", found, "the same nuclide", do))
        return self.corrected()

    def integral(self, time_min, *, blood: bool = False) -> np.ndarray:
        """Area under the curve from 0 to each time, Bq min/mL; InputError beyond the last sample."""
        values = np.asarray(self.blood_Bq_per_mL if blood else self.plasma_Bq_per_mL)
        at = self._within(time_min)
        area = np.concatenate([[0.0], np.cumsum(np.diff(self.time_min) * (values[1:] + values[:-1]) / 2)])
        k = np.clip(np.searchsorted(self.time_min, at, side="right") - 1, 0, len(values) - 2)
        past = at - self.time_min[k]
        slope = (values[k + 1] - values[k]) / (self.time_min[k + 1] - self.time_min[k])
        return area[k] + past * (values[k] + slope * past / 2)

    def frame_means(self, start_min, end_min, *, blood: bool = False) -> np.ndarray:
        """Mean concentration over each frame."""
        area = self.integral(end_min, blood=blood) - self.integral(start_min, blood=blood)
        return area / (np.asarray(end_min) - np.asarray(start_min))

    def convolved(self, rate_per_min, time_min) -> np.ndarray:
        """g(t) = integral of Cp(s) exp(-r (t - s)) ds, [rate, time], exact for the joined samples (r > 0)."""
        rate, at = np.atleast_1d(np.asarray(rate_per_min, dtype=float)), self._within(time_min)
        nodes = np.union1d(self.time_min, at)
        plasma = np.interp(nodes, self.time_min, self.plasma_Bq_per_mL)
        out = np.zeros((len(rate), len(nodes)))
        for k, h in enumerate(np.diff(nodes)):
            x = rate * h
            fade, one = np.exp(-x), -np.expm1(-x) / rate
            # a straight piece: its value at the start, and its slope, each against the exponential
            ramp = np.where(x > 1e-4, (h - one) / (rate * h), h / 2 - rate * h**2 / 6)
            out[:, k + 1] = fade * out[:, k] + plasma[k] * one + (plasma[k + 1] - plasma[k]) * ramp
        return out[:, np.searchsorted(nodes, at)]

    def _within(self, time_min) -> np.ndarray:
        at = np.asarray(time_min, dtype=float)
        if (at > self.time_min[-1] + 1e-6).any() or (at < 0).any():
            found = f"times up to {at.max():.4g} min, samples up to {self.time_min[-1]:.4g} min"
            do = "sample longer, or fit a model (fit_feng) and extend it knowingly"
            raise InputError(describe("input function", found, "samples to the end of the last frame", do))
        return np.minimum(at, self.time_min[-1])


def image_derived(frames: DynamicFrames, region: np.ndarray, *, recovery: float = 1.0) -> InputFunction:
    """The mean curve of a blood region [z, y, x], over its recovery coefficient, placed at the middle of frames.

    Plasma is taken equal to whole blood, no metabolites: say so where you report it. The last value is held to the end
    of the last frame.

    Raises:
        InputError: an empty region or one of another shape, or a recovery outside 0 to 1.
    """
    weight = np.asarray(region, dtype=float)
    if weight.shape != frames.array_Bq_per_mL.shape[1:] or not weight.sum() > 0 or not 0 < recovery <= 1:
        found, expected = f"region {weight.shape}, recovery {recovery}", "voxels of the image, recovery over 0 up to 1"
        raise InputError(describe("blood region", found, expected, "draw it on the frames' grid"))
    values = frames.corrected().array_Bq_per_mL.reshape(len(frames.start_min), -1)
    curve = np.maximum(values @ weight.ravel() / weight.sum() / recovery, 0)
    time = np.append(frames.mid_min, frames.end_min[-1])
    return InputFunction(time, np.append(curve, curve[-1]), True, nuclide=frames.nuclide)


def feng(time_min, parameters) -> np.ndarray:
    """Model 2 of Feng et al. 1993; parameters A1, A2, A3 (Bq/mL/min, Bq/mL, Bq/mL), l1, l2, l3 (1/min)."""
    a1, a2, a3, l1, l2, l3 = parameters
    t = np.asarray(time_min, dtype=float)
    return (a1 * t - a2 - a3) * np.exp(-l1 * t) + a2 * np.exp(-l2 * t) + a3 * np.exp(-l3 * t)


def fit_feng(samples: InputFunction, *, until_min: float | None = None) -> InputFunction:
    """The samples' Feng model, on fine samples to `until_min`, by least squares in relative error.

    Raises:
        CalibrationError: the fit misses the samples by more than a fifth of their root mean square.
    """
    from scipy.optimize import least_squares

    corrected = samples.corrected()
    time, values = corrected.time_min[1:], corrected.plasma_Bq_per_mL[1:]
    peak = float(values.max())
    scale = np.array([peak * 10, peak / 5, peak / 5, 5.0, 0.2, 0.01])
    weight = 1 / np.maximum(values, 0.02 * peak)
    starts = (np.array([1, 1, 1, f, 1, 1]) for f in (0.4, 1.0, 2.0))
    fits = [least_squares(lambda p: (feng(time, p * scale) - values) * weight, s, bounds=(1e-4, 1e3)) for s in starts]
    best = min(fits, key=lambda f: f.cost)
    miss = float(np.sqrt(((feng(time, best.x * scale) - values) ** 2).mean() / (values**2).mean()))
    if miss > 0.2:
        do = "use the samples as they are, or check the start of the injection"
        raise CalibrationError(describe("input function", f"a misfit of {miss:.0%}", "at most 20 %", do))
    fine = _fine_times(until_min or float(time[-1]))
    return InputFunction(fine, np.maximum(feng(fine, best.x * scale), 0), True, nuclide=samples.nuclide)


def _fine_times(last_min: float) -> np.ndarray:
    times = [0.0]
    while times[-1] < last_min:
        times.append(min(last_min, times[-1] + max(FINE_STEP_MIN, 0.01 * times[-1])))
    return np.array(times)
