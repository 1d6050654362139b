"""Manifold boundary approximation (MBAM): fewer parameters, found by walking to the edge of what a model can do.

The predictions r(theta) of a model with log parameters trace a surface in data space. Along its sloppiest direction the
surface is thin: a geodesic that starts that way soon meets the edge, where one combination of parameters has gone to
zero or infinity. The edge is itself a model, with one parameter less and an equation that is the limit of the old one.
Refit it to the predictions of the full model, and start again.

A reduced model is kept as the full one with parameters tied: theta = far + basis phi. So it needs no code of its own,
and it can stand wherever the full one stands.

References: Transtrum and Qiu, Phys Rev Lett 2014;113:098701 (the method); Transtrum, Machta, Sethna, Phys Rev E
2011;83:036701 (geodesics and edges of model manifolds).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from calibration.mbam_geodesic import FAR, Path, Surface, geodesic
from calibration.profile import minimum

TRIED = 3
"""Limits tried at the end of a path, those of the fastest parameters, and how many of them are refitted."""
PART = 0.1
"""Part of the largest component of a flat direction below which a parameter has no part in it."""
DIRECTIONS, CHEAP = 4, 0.1
"""How many of the sloppiest directions are walked, if none before ends in a limit that adds less than this part of the
largest error allowed."""
PARTNER = 0.3
"""Speed of the second parameter over that of the first above which a limit of both in proportion is tried as well."""
CLEARLY = 0.9
"""A limit found later is taken where its error is below this part of the best so far: simple limits come first."""
REFIT = 12
"""Most steps of a refit: the last thousandth of the error costs more than it gives."""
HARMLESS = 0.02
"""A limit that adds less than this part of the largest error allowed is taken without trying another."""


@dataclass(frozen=True)
class Reduced:
    """A model with tied parameters: theta = far + basis @ phi.

    `far` [parameter] holds limits (minus infinity is a parameter of zero), `basis` [parameter, free] what is left;
    `free` names the free ones, and `limits` says what was taken, in order.
    """

    names: tuple[str, ...]
    free: tuple[str, ...]
    far: np.ndarray
    basis: np.ndarray
    limits: tuple[str, ...] = ()

    @classmethod
    def whole(cls, names: Sequence[str]) -> Reduced:
        """The full model."""
        return cls(tuple(names), tuple(names), np.zeros(len(names)), np.eye(len(names)))

    def full(self, phi: np.ndarray) -> np.ndarray:
        """Parameters [parameter] of the full model for free ones [free]."""
        return self.far + self.basis @ phi

    def of(self, surface: Surface) -> Surface:
        """The surface by the free parameters."""
        along = lambda phi, basis: surface.along(self.full(phi), self.basis @ basis)
        bend = lambda phi, direction: surface.curvature(self.full(phi), self.basis @ direction)
        return Surface(lambda phi: surface.values(self.full(phi)), along, bend)

    def without(
        self, k: int, phi: np.ndarray, up: bool, zero: bool, tied: dict[int, float]
    ) -> tuple[Reduced, np.ndarray]:
        """The model in which free parameter k is at its limit, and its free parameters.

        `zero` takes a downward limit as exactly zero. `tied` maps other free parameters to their ratio: they go along
        with k, and what stays free is what is left of them beside it.
        """
        distance = (1.0 if up else -1.0) * FAR
        shift = phi[k] + distance if up or not zero or tied else -np.inf
        moved = np.zeros(len(self.names))
        moved[self.basis[:, k] != 0] = shift
        for j, ratio in tied.items():
            moved = moved + self.basis[:, j] * ratio * distance
        arrow = "infinity" if up else "0"
        partners = "".join(f", with {self.free[j]} in proportion" for j in tied)
        keep = [j for j in range(len(self.free)) if j != k]
        after = Reduced(
            self.names, tuple(self.free[j] for j in keep), self.far + moved, self.basis[:, keep],
            (*self.limits, f"{self.free[k]} -> {arrow}{partners}"),
        )  # fmt: skip
        return after, phi[keep]


@dataclass(frozen=True)
class Step:
    """A model of the sequence: its free parameters [free], and root mean square and largest log error."""

    reduced: Reduced
    phi: np.ndarray
    rms: float
    largest: float


def reduce(
    surface: Surface,
    names: Sequence[str],
    start: np.ndarray,
    *,
    noise: float,
    largest: float,
    zeros: frozenset[str] = frozenset(),
    begin: Step | None = None,
) -> Iterator[Step]:
    """Models with one parameter less each, while some limit keeps the largest log error below `largest`.

    Args:
        surface: log predictions divided by `noise`.
        start: the full model's log parameters [parameter], whose predictions are to be kept.
        zeros: parameters that may be exactly zero; others go a thousandfold down.
        begin: a model of an earlier run to go on from (default: the full one).
    """
    start = np.asarray(start, float)
    step = begin or Step(Reduced.whole(names), start, 0.0, 0.0)
    wanted = surface.values(start)
    while len(step.reduced.free) > 1:
        best = _next(surface, wanted, noise, largest, step, zeros)
        if best is None or not best.largest <= largest:
            return
        step = best
        yield step


def _next(surface: Surface, wanted, noise: float, largest: float, step: Step, zeros) -> Step | None:
    """The best model at an edge: that of the sloppiest direction, or of the next ones if it costs much."""
    best, inside = None, step.reduced.of(surface)
    for rank in range(min(DIRECTIONS, len(step.phi))):
        path = geodesic(inside, step.phi, rank)
        edges = [step.reduced.without(k, step.phi, up, step.reduced.free[k] in zeros, tied)
                 for k, up, tied in _limits(path)]  # fmt: skip
        found = _best(surface, wanted, noise, edges, step.largest + HARMLESS * largest)
        best = found if best is None or found.largest < best.largest else best
        if best.largest <= step.largest + CHEAP * largest:
            break
    return best


def _best(surface: Surface, wanted, noise: float, edges, harmless: float) -> Step:
    """The best of some edges: as they are where one is harmless so, or else refitted."""
    as_they_are = [_judged(surface, wanted, noise, *edge) for edge in edges]
    best = min(as_they_are, key=lambda s: s.largest)
    return best if best.largest <= harmless else _best_refit(surface, wanted, noise, as_they_are, harmless, best)


def _judged(surface: Surface, wanted, noise: float, reduced: Reduced, phi) -> Step:
    error = noise * (surface.values(reduced.full(phi)) - wanted)
    if not np.all(np.isfinite(error)):
        return Step(reduced, phi, np.inf, np.inf)
    return Step(reduced, phi, float(np.sqrt(np.mean(error**2))), float(np.abs(error).max()))


def _best_refit(surface: Surface, wanted, noise: float, edges: list[Step], harmless: float, best: Step) -> Step:
    """The best of the most promising edges after a refit; the first harmless one ends the search."""
    for edge in sorted((s for s in edges if np.isfinite(s.largest)), key=lambda s: s.rms)[:TRIED]:
        found = _refitted(surface, wanted, noise, edge, harmless)
        best = found if found.largest < CLEARLY * best.largest else best
        if best.largest <= harmless:
            break
    return best


def _refitted(surface: Surface, wanted, noise: float, step: Step, harmless: float) -> Step:
    """The reduced model with its free parameters fitted to the full model's predictions."""
    inside = step.reduced.of(surface).problem
    apart = lambda phi: (lambda value, jacobian: (value - wanted, jacobian))(*inside(phi))
    phi, _ = minimum(apart, step.phi, iterations=REFIT, enough=(harmless / noise) ** 2)
    return _judged(surface, wanted, noise, step.reduced, phi)


def _limits(path: Path) -> Iterator[tuple[int, bool, dict[int, float]]]:
    """(parameter, up, tied) of the limits to try: the fastest ones alone, then the first two in their ratio.

    On a flat path all parameters that take part in the direction may go, either way.
    """
    velocity, order = path.velocity[-1], path.fastest
    if path.flat:
        part = [k for k in order if abs(velocity[k]) > PART * abs(velocity[order[0]])]
        yield from ((k, up, {}) for k in part for up in (True, False))
        return
    yield from ((k, bool(velocity[k] > 0), {}) for k in order[:TRIED])
    first, second = order[:2]
    if abs(velocity[second]) > PARTNER * abs(velocity[first]):
        yield first, bool(velocity[first] > 0), {second: float(np.sign(velocity[second] * velocity[first]))}
