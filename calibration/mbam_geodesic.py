"""Geodesics on the surface that a model's predictions trace in data space, towards its edges.

Of all curves on the surface a geodesic is the straightest: in data space its acceleration is normal to the surface, and
its speed constant. In parameter space it speeds up where predictions hardly move, which is how an edge shows.

Reference: Transtrum, Machta, Sethna, Phys Rev E 2011;83:036701, section IV.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.integrate import RK23

FAR = float(np.log(1e3))
"""A parameter is at its limit a thousandfold away from where it was; nearer, the geodesic goes on."""
FLAT = 1e-3
"""Singular value, in noise sds per log unit, below which the surface is thinner than any prediction can show: the path
is then a straight line, and its curvature rounding."""
UNSEEN = 1e-6
"""The same for directions left out of the geodesic's acceleration."""
GEODESIC_RTOL = 0.03
"""Local error of a step: the path only has to arrive at the right edge."""
STEPS = 8
"""Most steps of a path: what it points at by then is tried as a limit, and judged by its error."""
FAST = 10.0
"""Growth of the speed in parameter space by which the edge is known: there predictions hardly move while theta runs."""


@dataclass(frozen=True)
class Surface:
    """Predictions as functions of log parameters [parameter], in units of the noise.

    `values`: [prediction]. `along`: the same with their derivatives along the columns of a basis [parameter, free], as
    [prediction, free]. `curvature`: their second derivative along a direction, (theta, direction) to [prediction].
    """

    values: Callable[[np.ndarray], np.ndarray]
    along: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
    curvature: Callable[[np.ndarray, np.ndarray], np.ndarray]

    def problem(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Predictions [prediction] and their Jacobian [prediction, parameter]."""
        return self.along(theta, np.eye(len(theta)))


@dataclass(frozen=True)
class Path:
    """A geodesic: parameters and velocities [step, parameter]; `flat` if nothing changes along it, a straight line."""

    theta: np.ndarray
    velocity: np.ndarray
    flat: bool = False

    @property
    def fastest(self) -> np.ndarray:
        """Indices of the parameters by their speed at the end, the fastest first."""
        return np.argsort(-np.abs(self.velocity[-1]))


def sloppiest(jacobian: np.ndarray, rank: int = 0) -> tuple[float, np.ndarray]:
    """Smallest singular value of the Jacobian (or that of `rank` from below) and its unit direction [parameter]."""
    _, values, vectors = np.linalg.svd(jacobian, full_matrices=True)
    values = np.append(values, np.zeros(len(vectors) - len(values)))
    return float(values[-1 - rank]), vectors[-1 - rank]


def acceleration(surface: Surface, theta: np.ndarray, velocity: np.ndarray) -> np.ndarray:
    """theta'' = -(J'J)^-1 J' d2r/dtau2 of a geodesic (Transtrum 2011, section IV), unseen directions left alone.

    NaN where the model has no finite predictions: there the path ends.
    """
    jacobian = surface.problem(theta)[1]
    if not np.all(np.isfinite(jacobian)):
        return np.full(len(theta), np.nan)
    left, values, right = np.linalg.svd(jacobian, full_matrices=False)
    bent = left.T @ surface.curvature(theta, velocity)
    return -right.T @ (bent * values / (values**2 + UNSEEN**2))


def geodesic(surface: Surface, start: np.ndarray, rank: int = 0) -> Path:
    """The geodesic from `start` along the sloppiest direction, to an edge, or as far as `FAR` of any parameter.

    `rank` 1 is the direction next to the sloppiest, and so on.

    Of the two senses of the direction, that in which it gains speed: edges are there.
    """
    value, direction = sloppiest(surface.problem(start)[1], rank)
    if value < FLAT:
        return Path(np.stack([start, start + FAR * direction]), np.stack([direction, direction]), flat=True)
    if direction @ acceleration(surface, start, direction) < 0:
        direction = -direction
    size = len(start)

    def rate(_, state):
        return np.concatenate([state[size:], acceleration(surface, state[:size], state[size:])])

    solver = RK23(rate, 0.0, np.concatenate([start, direction]), np.inf, rtol=GEODESIC_RTOL, atol=GEODESIC_RTOL)
    states = [solver.y.copy()]
    for _ in range(STEPS):
        solver.step()
        if solver.status != "running" or not np.all(np.isfinite(solver.y)):
            break
        states.append(solver.y.copy())
        if np.abs(solver.y[:size] - start).max() > FAR or np.linalg.norm(solver.y[size:]) > FAST:
            break
    return Path(*np.split(np.stack(states), 2, axis=1))
