"""Bladder and gut contents as rows of the whole model's own state, by scipy's Radau, restarted at each void.

Independent of `pbpk.contents` and of the structured solver: it shares only the terms of `pbpk.model`. Integrals and
what passed are rows too, so no balance is used.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.integrate import solve_ivp
from scipy.sparse import csc_matrix

from pbpk.contents import GUT, REGIONS, Contents, contents, excretion_times_min
from pbpk.forms import BothSpecies, Drive
from pbpk.kinetics import Kinetics, rates
from pbpk.model import leaving
from pbpk.solve import Segments, segments, solve
from pbpk.state import unpack
from pbpk.voiding import MIN_PER_D, Voiding, gut_transit_per_d
from tests.reference.reference_pbpk import default_patient

VOIDING = Voiding(5.0, first_void_h=3.0, residual_fraction=0.1)
ATOL_NMOL = 1e-14
START_STEP_MIN = 1e-3


class Course(NamedTuple):
    """A bolus of 100 nmol, 10 of them hot, at 0 and an infusion of the same; times in min."""

    infusion_min: float
    infusion_length_min: float
    end_min: float
    ask_min: np.ndarray

    @property
    def doses(self):
        """Starts, durations, total and hot amounts, as `segments` takes them."""
        return [0.0, self.infusion_min], [0.0, self.infusion_length_min], [100.0, 100.0], [10.0, 10.0]

    def segments(self, times_min=None) -> Segments:
        """Asked at the recommended times, unless others are given."""
        start, duration, total, hot = self.doses
        ask = excretion_times_min(start, duration, self.end_min) if times_min is None else times_min
        return segments(start, duration, total, hot, ask, self.end_min)


COURSE = Course(1440.0, 30.0, 4320.0, 60 * np.array([1.0, 4.0, 20.0, 23.9, 24.4, 30.0, 48.0, 71.0]))


class Rows(NamedTuple):
    """At each asked time [time, region]: amounts, integrals; and what passed [time, route]."""

    amount_nmol: np.ndarray
    integral_nmol_min: np.ndarray
    passed_nmol: np.ndarray


def ours(voiding=VOIDING, course: Course = COURSE, times_min=None, rtol: float = 1e-10) -> Contents:
    """`pbpk.contents` of the default patient at the course's asked times."""
    kin, seg = default_patient(), course.segments(times_min)
    return contents(solve(kin, seg, rtol=rtol, bed=False), kin, seg, voiding, ask_min=course.ask_min)


def differences(found: Contents, theirs: Rows) -> dict[str, np.ndarray]:
    """Worst relative difference over time of each region or route; a time at which a route holds nothing is skipped."""
    pairs = {name: (np.asarray(getattr(found, name))[..., 0], getattr(theirs, name)) for name in Rows._fields}
    relative = lambda a, b: np.max(np.abs(a - b) / np.where(b > 0, b, np.inf), axis=0)
    return {name: relative(*pair) for name, pair in pairs.items()}


def with_rows(voiding: Voiding = VOIDING, course: Course = COURSE, rtol: float = 1e-9) -> Rows:
    """The default patient with the contents as rows of the state."""
    kin = default_patient()
    model = _Model(kin, gut_transit_per_d())
    voids, _ = voiding.voids_min(np.array(course.doses[0]), course.end_min)
    begin, stop = course.infusion_min, course.infusion_min + course.infusion_length_min
    cuts = np.unique(np.concatenate([[0.0, begin, stop, course.end_min], course.ask_min, voids]))
    state, voided, found = model.start(100.0, 10.0), 0.0, []
    for a, b in zip(cuts[:-1], cuts[1:], strict=True):
        infusion = np.array([100.0, 10.0]) / (stop - begin) if begin <= a < stop else np.zeros(2)
        state = model.after(state, infusion, b - a, rtol)
        if np.any(voids == b):
            voided += (1 - voiding.residual_fraction) * state[model.bladder]
            state[model.bladder] *= voiding.residual_fraction
        if np.any(course.ask_min == b):
            found.append(model.rows(state, voided))
    return Rows(*(np.array(part) for part in zip(*found, strict=True)))


class _Model:
    """Right-hand side of both species, then the contents, their integrals and faeces, and its Jacobian."""

    def __init__(self, kin: Kinetics, transit: np.ndarray):
        r, layout = rates(kin), kin.layout
        self.layout, self.bladder = layout, 2 * layout.rows
        per_min = np.append(0.0, transit / MIN_PER_D)

        def rate(flat, infusion):
            y, held = flat[: self.bladder, None], flat[self.bladder : self.bladder + len(REGIONS)]
            hot = unpack(y[layout.rows :], layout)
            urine, bile = leaving(hot, r)[:2, 0]
            body = BothSpecies.derivative(y, r, Drive(infusion[:, None], jnp.ones_like(r.decay)))
            passing = per_min * held
            arriving = jnp.concatenate([jnp.stack([urine, bile]), passing[1 : len(GUT)]])
            return jnp.concatenate([body[:, 0], arriving - passing - kin.decay[0] * held, held, passing[-1:]])

        self.rate, self.jacobian = jax.jit(rate), jax.jit(jax.jacfwd(rate))

    def start(self, total: float, hot: float) -> np.ndarray:
        state = np.zeros(self.bladder + 2 * len(REGIONS) + 1)
        state[[self.layout.vein, self.layout.rows + self.layout.vein]] = total, hot
        return state

    def after(self, state, infusion, minutes: float, rtol: float) -> np.ndarray:
        done = solve_ivp(
            lambda _, y: np.asarray(self.rate(y, infusion)), (0.0, minutes), state, method="Radau",
            # sparse: one thread and no contention, unlike a dense factorisation of 170 rows
            jac=lambda _, y: csc_matrix(np.asarray(self.jacobian(y, infusion))), rtol=rtol, atol=ATOL_NMOL,
            first_step=min(START_STEP_MIN, minutes),
        )  # fmt: skip
        assert done.success
        return done.y[:, -1].copy()

    def rows(self, state, voided: float):
        amount, integral, (faeces,) = np.split(state[self.bladder :], [len(REGIONS), 2 * len(REGIONS)])
        return amount, integral, np.array([voided, faeces])
