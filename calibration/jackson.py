"""Jackson's analytic curve through three scans: no fit, three exponentials, no uncertainty.

Jackson PA et al., Med Phys 2013;40:112503 (VRAK); the rules are those of the published solver (jacksonmedphysics/
TriExponential-Solver, triexp_solver.py, read as code). It works on decay-corrected values. The slow phase passes
through the last two of them; what the first one has more or less than that phase is a middle phase that falls to 1 % of
the second value by the second scan; an uptake of fixed rate makes the curve start at zero. Values that no such curve
meets are moved first, which is said in `notes`. Made for 177Lu. Its constants are rows of calibration/data/curves.csv.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from calibration.curve_models import limit
from dose.curves import Exponentials
from dose.errors import InputError, describe


@dataclass(frozen=True)
class JacksonCurve:
    """Amplitudes A1 (uptake), A2 (middle), A3 (slow) and their biological slopes in 1/h, negative where the phase
    falls.

    `curve` is the activity present, with physical decay, in the unit of the input; `notes` say which values were moved.
    """

    amplitudes: tuple[float, float, float]
    slopes_per_h: tuple[float, float, float]
    curve: Exponentials
    notes: tuple[str, ...]

    @property
    def tia_MBq_h(self) -> float:
        """Integral to the end of time, in the unit of the input times h."""
        return self.curve.tia_MBq_h


def jackson_three_point(time_h, activity_MBq, half_life_h: float) -> JacksonCurve:
    """The curve through three scans.

    Args:
        time_h: three increasing hours after the end of administration, [3].
        activity_MBq: activities present (not decay-corrected) or concentrations, [3].
        half_life_h: physical half-life.

    Raises:
        InputError: not three increasing times above 0 with values above 0.
    """
    t, a = np.asarray(time_h, dtype=float), np.asarray(activity_MBq, dtype=float)
    good = t.shape == a.shape == (3,) and np.all(np.isfinite([t, a])) and np.all(np.diff([0.0, *t]) > 0)
    if not good or np.any(a <= 0) or not half_life_h > 0:
        found, expected = f"times {t.tolist()}", "three increasing times above 0 h, three activities above 0"
        do = "sort the scans, or use calibration.curves.fit_region for another number of them"
        raise InputError(describe("time_h, activity_MBq", found, expected, do))
    lp = math.log(2) / half_life_h
    corrected, notes = _met(t, a * np.exp(lp * t))
    middle, slow = _phases(t, corrected)
    amplitudes, slopes = (tuple(map(float, part)) for part in _with_uptake(middle, slow))
    kept = [(a, lp - k) for a, k in zip(amplitudes, slopes) if a != 0]
    return JacksonCurve(amplitudes, slopes, Exponentials(*map(tuple, zip(*kept))), notes)


def _met(t, d) -> tuple[np.ndarray, tuple[str, ...]]:
    """Decay-corrected values that a curve can meet, and what was moved."""
    moved = d.copy()
    slowest = d[2] * math.exp(limit("jackson_slowest_per_h") * (t[2] - t[1]))
    if d[1] < slowest:
        straight = d[0] + (d[2] - d[0]) * (t[1] - t[0]) / (t[2] - t[0])
        moved[1] = max(d[1], straight) if d[0] < d[2] else slowest
    moved[2] = max(d[2], limit("jackson_late_floor") * moved[1])
    moved[0] = max(d[0], limit("jackson_early_floor") * moved[1])
    changed = np.flatnonzero(moved > d * (1 + 1e-12))
    return moved, tuple(f"scan at {t[k]:g} h was taken {moved[k] / d[k]:.3g} times as high" for k in changed)


def _phases(t, d):
    """(amplitude, slope) of the middle and of the slow phase."""
    floor, residue = -limit("jackson_slowest_per_h"), limit("jackson_residue")
    rises = d[2] > d[1]
    slope = floor if rises else min(math.log(d[2] / d[1]) / (t[2] - t[1]), floor)
    slow = (d[2] * math.exp(-slope * t[2]), slope)
    first = 1 if rises else 0
    left = d[first] - slow[0] * math.exp(slope * t[first])
    return _line(t[first], left, t[first + 1], residue * d[first + 1]), slow


def _line(t0: float, left: float, t1: float, rest: float) -> tuple[float, float]:
    """A exp(k t) of the sign of `left` from |left| to `rest`; one that would grow keeps its amplitude and is flat."""
    if left == 0:
        return 0.0, 0.0
    slope = math.log(rest / abs(left)) / (t1 - t0)
    return math.copysign(abs(left) * math.exp(-slope * t0), left), min(slope, 0.0)


def _with_uptake(middle, slow):
    """Amplitudes and slopes of the three phases that add up to zero at time 0."""
    if middle[0] + slow[0] < 0:
        return (0.0, -slow[0], slow[0]), (0.0, middle[1], slow[1])
    amplitudes = (-(middle[0] + slow[0]), middle[0], slow[0])
    return amplitudes, (-limit("jackson_uptake_per_h"), middle[1], slow[1])
