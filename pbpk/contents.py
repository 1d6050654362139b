"""Bladder and gut contents: what left the PBPK in urine or bile and is still in the body, from a finished solve.

A linear system downstream of the PBPK, so nothing is added to the solver. In each segment the decay-corrected rate of
excretion is taken for the polynomial that has rates and slopes of both ends and the increase of the ledger
(`Solution.integrals`); contents follow exactly (`pbpk.series`), voids fall at their own times (`pbpk.voiding`). Amounts
are off by the sixth power of the segments' length. Bile goes straight into the small intestine.

Equations, accuracy, limits: docs/contents.md.
"""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from dose.errors import InputError, describe
from dose.nuclides import Radionuclide
from pbpk.compiled import compiled
from pbpk.forms import FORMS
from pbpk.kinetics import Kinetics, rates
from pbpk.model import decaying, leaving, species
from pbpk.segments import Segments
from pbpk.series import SAME_TIME_MIN, Chain, chain, follow, quartics
from pbpk.solve import Solution
from pbpk.state import LEDGER, unpack
from pbpk.voiding import GUT, MIN_PER_D, MIN_PER_H, FirstOrderVoiding, Voiding, gut_transit_per_d

REGIONS = ("bladder", *GUT)
ROUTES = ("urine", "faeces")
LEFT_BY = np.array([LEDGER.index("urine"), LEDGER.index("bile")])
"""Rows of the ledger that fill bladder and gut; what cells release otherwise is not followed."""
FIRST_MIN, GROWTH = 0.5, 1.15
"""Recommended times: the first after a dose or the end of an infusion, and the ratio of each to the one before."""
NONSENSE = 1e-3
"""Part of what was excreted by which contents may be negative, or more, before the solve knows too few times."""


class Contents(eqx.Module):
    """Hot ligand at `time_min`: in each of `REGIONS`, and by each of `ROUTES`.

    `integral_nmol_min` runs from 0 to each time; `integral_to_end_nmol_min` goes on until what the contents held at the
    end of the solve is gone, with no further excretion: it is the integral to infinity if the solve ran until the
    ligand had decayed. `excreted_nmol` left the PBPK, `passed_nmol` left the body; both as they were when they left.
    """

    time_min: Float[Array, " time"]
    amount_nmol: Float[Array, "time region patient"]
    integral_nmol_min: Float[Array, "time region patient"]
    integral_to_end_nmol_min: Float[Array, "region patient"]
    excreted_nmol: Float[Array, "time route patient"]
    passed_nmol: Float[Array, "time route patient"]

    def activity_MBq(self, nuclide: Radionuclide) -> Float[Array, "time region patient"]:
        return nuclide.activity_MBq_per_nmol * self.amount_nmol

    def tia_MBq_h(self, nuclide: Radionuclide) -> Float[Array, "region patient"]:
        """Time-integrated activity to the end."""
        return nuclide.activity_MBq_per_nmol / MIN_PER_H * self.integral_to_end_nmol_min


def excretion_times_min(start_min, duration_min, end_min: float) -> np.ndarray:
    """Times to ask `pbpk.solve.segments` for: dense after each dose and end of infusion, then geometric."""
    start = np.atleast_1d(np.asarray(start_min, float))
    begin = np.unique(np.concatenate([start, start + duration_min]))
    room = np.diff(np.append(begin, end_min)) / FIRST_MIN
    counts = np.ceil(np.log(np.maximum(room, 1.0)) / math.log(GROWTH)).astype(int)
    return np.concatenate([t + FIRST_MIN * GROWTH ** np.arange(n) for t, n in zip(begin, counts, strict=True)])


def contents(
    solution: Solution,
    kin: Kinetics,
    seg: Segments,
    voiding: Voiding | FirstOrderVoiding,
    *,
    ask_min=None,
    transit_per_d: np.ndarray | None = None,
    start: Float[Array, "row patient"] | None = None,
) -> Contents:
    """What is in bladder and gut at `ask_min` (default: the segments' ends), of every patient of `solution`.

    A void at an asked time has taken place. `transit_per_d`, out of each region of `GUT`, is `gut_transit_per_d()` if
    left out. `start` is what the solve began with; contents begin empty. Differentiable in `solution` and `kin`.

    Raises:
        InputError: times outside the solve, a transit that is not four rates above zero, a nuclide without decay,
            segments that are not the solution's, or a solve at too few times to tell contents that can be (not seen
            where arrays are traced).
    """
    if len(seg.length_min) != len(solution.y):
        found, expected = f"{len(seg.length_min)} segments", f"the {len(solution.y)} of the solution"
        raise InputError(describe("seg", found, expected, "pass the segments that were solved"))
    edges = np.append(0.0, seg.end_min)
    asked = edges[1:] if ask_min is None else np.atleast_1d(np.asarray(ask_min, float))
    transit = gut_transit_per_d() if transit_per_d is None else np.asarray(transit_per_d, float)
    _check(kin, edges[-1], asked, transit)
    voids = voiding.voids_min(_administrations_min(seg), edges[-1])
    bladder = chain([voiding.rate_per_min], edges, asked, *voids, voiding.residual_fraction)
    gut = chain(transit / MIN_PER_D, edges, asked, np.zeros(0), np.zeros(0), 0.0)
    traced = any(isinstance(x, Tracer) for x in jax.tree.leaves((solution, kin, start)))
    run = _by_route if traced else compiled(_by_route)
    fields = run(solution, kin, start, np.diff(edges), (bladder, gut))
    if not traced:
        _check_possible(fields, np.asarray(solution.integrals.ledger)[-1, LEFT_BY])
    return Contents(jnp.asarray(asked), **fields)


def _check(kin: Kinetics, end_min: float, asked: np.ndarray, transit: np.ndarray) -> None:
    if not np.all((asked >= 0) & (asked <= end_min + SAME_TIME_MIN)):
        found = f"{asked.min():g} to {asked.max():g} min"
        raise InputError(describe("ask_min", found, f"0 to {end_min:g} min, the end of the solve", "solve for longer"))
    if transit.shape != (len(GUT),) or not np.all(np.isfinite(transit) & (transit > 0)):
        expected = "a rate per day above zero out of each of " + ", ".join(GUT)
        raise InputError(
            describe("transit_per_d", f"{transit}", expected, "begin with pbpk.voiding.gut_transit_per_d()")
        )
    if not isinstance(kin.decay, Tracer) and not np.all(np.asarray(kin.decay) > 0):
        raise InputError(describe("decay", "a nuclide that does not decay", "a rate above zero", "check the nuclide"))


def _check_possible(fields: dict[str, Array], left) -> None:
    """Refuse contents below zero or above what was excreted, [route, patient]: the rate was known at too few times."""
    excreted = np.asarray(fields["excreted_nmol"])
    held = np.stack([part.min(axis=1) for part in np.split(np.asarray(fields["amount_nmol"]), [1], axis=1)], axis=1)
    worst = np.maximum(np.maximum(-held, -excreted), excreted - left)
    if np.any(worst > NONSENSE * np.max(left, axis=0)):
        do = "solve with excretion_times_min(start, duration, end) among the times asked of pbpk.solve.segments"
        expected = "between none and all that was excreted"
        raise InputError(describe("contents", "less than nothing, or more than was excreted", expected, do))


def _administrations_min(seg: Segments) -> np.ndarray:
    """0 and the times at which a bolus is given or an infusion begins or grows."""
    anyone = lambda x: np.any(np.asarray(x) > 0, axis=tuple(range(1, np.ndim(x))))
    faster = np.diff(np.asarray(seg.infusion_nmol_per_min), axis=0, prepend=0)
    return np.union1d(0.0, np.asarray(seg.start_min)[anyone(seg.bolus_nmol) | anyone(faster)])


def _by_route(solution: Solution, kin: Kinetics, start, length_min, chains: tuple[Chain, ...]) -> dict[str, Array]:
    """The fields of `Contents` but for its times: each chain fed by its own route, regions and routes put together."""
    so_far, rate, slope = _excretion(solution, kin, start)
    curve = quartics(so_far, rate, slope, length_min, kin.decay)
    found = [follow(curve[..., k, :], chain, kin.decay) for k, chain in enumerate(chains)]
    return {name: jnp.concatenate([part[name] for part in found], axis=-2) for name in found[0]}


def _excretion(solution: Solution, kin: Kinetics, start):
    """Urine and bile at every edge, [edge, route, patient]: so far (nmol), the rate (per min), and the rate's slope."""
    r, layout = rates(kin), solution.layout
    rows = FORMS[solution.form].total_and_hot(solution.y, solution.ratio)
    begin = jnp.zeros_like(jnp.concatenate(rows, axis=-2)[0]) if start is None else jnp.asarray(start)
    pairs = zip(jnp.split(begin, 2), rows, strict=True)
    total, hot = (unpack(jnp.concatenate([first[None], later]), layout) for first, later in pairs)
    slope = decaying(species(hot, total.bound, r, 0.0), hot, r.decay)
    ledger = jnp.pad(solution.integrals.ledger, ((1, 0), (0, 0), (0, 0)))
    return tuple(x[:, LEFT_BY] for x in (ledger, leaving(hot, r), leaving(slope, r)))
