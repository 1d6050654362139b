"""Time-activity curves whose first parameter is the logarithm of their integral, for one patient or many at once.

A curve is TIA * shape(t) / integral of shape, so the standard uncertainty of ln TIA is an entry of the covariance and
not something to propagate. Hardiansyah et al. 2023 (EJNMMI Phys 10:12) write their f4d in this way; the other functions
of the family are brought to the same form here. All parameters are unbounded: logarithms of rates and of ratios, and
the logit of 2 alpha. A biological rate is exp(x), so that no curve falls more slowly than physical decay; rates are in
order by construction. Arrays end in the parameter: x [..., parameter]. Equations: docs/curves.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from dose.activity import FASTEST_LOG, SLOWEST_LOG
from dose.curves import Exponentials
from dose.provenance import load_table
from dose.trapezoids import check_choice

LOGIT_LIMIT = 12.0
"""Bound of logits and of log ratios: beyond exp(12) the smaller part is below a thousandth of a percent."""

COMPLEX_STEP = 1e-30
"""Imaginary step of derivatives: no difference is formed, so it may be tiny (Squire and Trapp 1998)."""

GRID = {"clearance": 7, "uptake": 7, "second": 6, "ratio": 6, "alpha": 5}
"""Grid points of each kind of parameter: what a multistart looks at before it polishes."""


@dataclass(frozen=True)
class CurveModel:
    """One function: its parameters (the first is the integral), and the shape from all but the first of them.

    `shape(x, physical_per_h)` gives relative amplitudes and rates, each [..., component].
    """

    name: str
    parameters: tuple[str, ...]
    shape: Callable

    @property
    def size(self) -> int:
        """Number of parameters, the integral among them."""
        return len(self.parameters)

    def exponentials(self, x, physical_per_h: float):
        """Amplitudes and rates [..., component] of parameters x [..., parameter]."""
        relative, rates = self.shape(x[..., 1:], physical_per_h)
        return relative * (np.exp(x[..., 0]) / (relative / rates).sum(-1))[..., None], rates

    def activity_MBq(self, x, time_h, physical_per_h: float):
        """Activity of parameters x [..., parameter] at times [..., time]."""
        amplitudes, rates = self.exponentials(x, physical_per_h)
        return (amplitudes[..., None, :] * np.exp(-rates[..., None, :] * np.asarray(time_h)[..., None])).sum(-1)

    def with_slopes(self, x, time_h, physical_per_h: float):
        """Activity [..., time] and its derivatives by the parameters [..., time, parameter]."""
        steps = x[..., None, :] + 1j * COMPLEX_STEP * np.eye(self.size)
        moved, faster = (part.imag / COMPLEX_STEP for part in self.exponentials(steps, physical_per_h))
        amplitudes, rates = self.exponentials(x, physical_per_h)
        t = np.asarray(time_h)[..., None]
        decay = np.exp(-rates[..., None, :] * t)
        slope = decay @ np.swapaxes(moved, -1, -2) - (t * amplitudes[..., None, :] * decay) @ np.swapaxes(
            faster, -1, -2
        )
        return (amplitudes[..., None, :] * decay).sum(-1), slope

    def curve(self, x, physical_per_h: float) -> Exponentials:
        """The curve of one parameter vector, x [parameter]."""
        amplitudes, rates = self.exponentials(np.asarray(x, dtype=float), physical_per_h)
        return Exponentials(tuple(map(float, amplitudes)), tuple(map(float, rates)))

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest parameters but the integral's, each [parameter - 1]."""
        rate = [name in ("clearance", "uptake", "second") for name in self.parameters[1:]]
        low = np.where(rate, SLOWEST_LOG, -LOGIT_LIMIT)
        return low, np.where(rate, FASTEST_LOG, LOGIT_LIMIT)

    def starts(self) -> np.ndarray:
        """Grid of shape parameters, [start, parameter - 1]."""
        axes = [_AXES[name](GRID[name]) for name in self.parameters[1:]]
        return np.stack([m.ravel() for m in np.meshgrid(*axes, indexing="ij")], -1) if axes else np.zeros((1, 0))


_AXES: dict[str, Callable] = {
    "clearance": lambda n: np.log(np.geomspace(5e-4, 0.3, n)),
    "second": lambda n: np.log(np.geomspace(0.01, 3.0, n)),
    "uptake": lambda n: np.log(np.geomspace(0.02, 6.0, n)),
    "ratio": lambda n: np.linspace(-2.5, 2.5, n),
    "alpha": lambda n: np.linspace(-3.0, 3.0, n),
}


@cache
def limit(name: str) -> float:
    """The value called `name` in calibration/data/curves.csv."""
    return {row["name"]: float(row["value"]) for row in load_table("calibration", "curves.csv")}[name]


def _columns(*parts):
    """Columns of one shape stacked along a last axis [..., component]."""
    return np.stack(np.broadcast_arrays(*parts), axis=-1)


def _one(x):
    """Ones of the shape of x [..., parameter] without its last axis, which may be empty."""
    return np.ones(x.shape[:-1])


def _half_logistic(y):
    """alpha in (0, 1/2)."""
    return 0.5 / (1.0 + np.exp(-y))


def _physical(x, lp):
    return _columns(_one(x)), _columns(lp * _one(x))


def _mono(x, lp):
    return _columns(_one(x)), _columns(lp + np.exp(x[..., 0]))


def _mono_fast(x, lp):
    return _columns(_one(x), -1.0), _columns(lp + np.exp(x[..., 0]), lp + limit("blood_clearance_per_h"))


def _uptake(x, lp):
    slow = lp + np.exp(x[..., 0])
    return _columns(_one(x), -1.0), _columns(slow, slow + np.exp(x[..., 1]))


def _retained(x, lp):
    return _columns(_one(x), np.exp(x[..., 1])), _columns(lp, lp + np.exp(x[..., 0]))


def _retained_uptake(x, lp):
    return _columns(_one(x), -1.0), _columns(lp, lp + np.exp(x[..., 0]))


def _retained_f4d(x, lp):
    """f4d whose clearance is physical decay alone."""
    alpha = _half_logistic(x[..., 1])
    rates = _columns(lp, lp + np.exp(x[..., 0]), lp + limit("blood_clearance_per_h"))
    return _columns(1 - alpha, -alpha, 2 * alpha - 1), rates


def _bi(x, lp):
    slow = lp + np.exp(x[..., 0])
    return _columns(_one(x), np.exp(x[..., 2])), _columns(slow, slow + np.exp(x[..., 1]))


def _bi_fast(x, lp):
    relative, rates = _bi(x, lp)
    fast = _columns(lp + limit("blood_clearance_per_h") + 0 * rates[..., 0])
    return np.concatenate([relative, -relative.sum(-1, keepdims=True)], -1), np.concatenate([rates, fast], -1)


def _f4d(x, lp):
    """Hardiansyah 2023. An activity is never negative, so lambda_2 is above lambda_1 and alpha below 1/2."""
    slow, alpha = lp + np.exp(x[..., 0]), _half_logistic(x[..., 2])
    rates = _columns(slow, slow + np.exp(x[..., 1]), lp + limit("blood_clearance_per_h"))
    return _columns(1 - alpha, -alpha, 2 * alpha - 1), rates


def _tri_uptake(x, lp):
    """The share of the slow phase may exceed one: the middle phase is then a second uptake."""
    slow, share = lp + np.exp(x[..., 0]), np.exp(x[..., 2])
    middle = slow + np.exp(x[..., 1])
    return _columns(1 - share, share, -1.0), _columns(middle, slow, middle + np.exp(x[..., 3]))


FAMILY = {
    name: CurveModel(name, ("tia", *parameters), shape)
    for name, parameters, shape in (
        ("physical", (), _physical),
        ("mono", ("clearance",), _mono),
        ("mono_fast", ("clearance",), _mono_fast),
        ("retained_uptake", ("uptake",), _retained_uptake),
        ("uptake", ("clearance", "uptake"), _uptake),
        ("retained", ("second", "ratio"), _retained),
        ("retained_f4d", ("uptake", "alpha"), _retained_f4d),
        ("bi", ("clearance", "second", "ratio"), _bi),
        ("bi_fast", ("clearance", "second", "ratio"), _bi_fast),
        ("f4d", ("clearance", "uptake", "alpha"), _f4d),
        ("tri_uptake", ("clearance", "second", "ratio", "uptake"), _tri_uptake),
    )
}
"""Eleven sums of one to three exponentials with one to five parameters, from the simplest on."""


def curve_model(name: str) -> CurveModel:
    """The function called `name` in `FAMILY`.

    Raises:
        InputError: no such function.
    """
    check_choice("model", name, tuple(FAMILY))
    return FAMILY[name]
