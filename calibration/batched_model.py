"""What the scans and time integrals of a block of patients should be, and their slopes, for `batched`.

All patients of a block (lanes in lockstep) share one frozen step sequence, so that a solve is a smooth function of the
offsets and forward differences are exact to about 1e-6. One solve for a difference costs half of what a direction of
automatic forward derivatives does (docs/calibration-batched.md).
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from calibration.batched_lanes import Group, Scans
from calibration.forward import GRID_MULTIPLE, HALF_LIVES_TO_THE_END, MINUTES_PER_HOUR
from calibration.lanes import DIFFERENCE
from calibration.parameters import Scaling
from pbpk.compiled import compiled
from pbpk.kinetics import Kinetics
from pbpk.solve import Grid, Segments, freeze, segments, solve_on

RTOL = 1e-2
"""Tolerance at which step sequences are frozen: activities and integrals to 2e-4, far below any noise, as steps have to
end at scans and are held down by the fast first minutes."""
HOT_FRACTION = 1e-3
"""Labelled part of the ligand in the solves; the result per hot amount does not depend on it."""


class Given(NamedTuple):
    """One administration: activity (MBq) and ligand in all (nmol), [patient] or one number for all; infusion in h, 0
    for a bolus; `cold_nmol` of unlabelled ligand as a bolus `cold_lead_h` before."""

    activity_MBq: np.ndarray | float
    amount_nmol: np.ndarray | float
    infusion_h: float = 0.0
    cold_nmol: np.ndarray | float = 0.0
    cold_lead_h: float = 0.0


class Asked(NamedTuple):
    """What all patients share; derivatives by `each` parameter, or by their `kinds` (`batched_lanes`)."""

    names: tuple[str, ...]
    scans: Scans
    half_life_h: float
    infusion_h: float
    cold_lead_h: float
    each: tuple[Group, ...]
    kinds: tuple[Group, ...]


class Seen(eqx.Module):
    """Log activity [observation, lane] per MBq given, and log of the integrals [region, lane] (MBq h per MBq)."""

    log_activity: Float[Array, "observation lane"]
    log_tia: Float[Array, "region lane"]


class Model(eqx.Module):
    """What a program needs of a block of patients; `at` [observation] are segments, `hot_nmol` [lane]."""

    kinetics: Kinetics
    scaling: Scaling
    at: np.ndarray
    weights: np.ndarray
    tia_weights: np.ndarray
    hot_nmol: np.ndarray


class Block(NamedTuple):
    """The patients of a block, and their doses: the cycle alone, until the label has decayed."""

    model: Model
    segments: Segments


def block(kin: Kinetics, amount_nmol: np.ndarray, cold_nmol: np.ndarray, asked: Asked) -> Block:
    """Amounts (nmol) [lane]; nobody has ligand left from an earlier cycle."""
    scans, lead_h = asked.scans, asked.cold_lead_h * bool(np.any(cold_nmol > 0))
    ask_min = MINUTES_PER_HOUR * (lead_h + scans.time_h)
    last_h = max(HALF_LIVES_TO_THE_END * asked.half_life_h, float(np.max(scans.time_h)))
    hot = HOT_FRACTION * amount_nmol
    doses = [(MINUTES_PER_HOUR * lead_h, MINUTES_PER_HOUR * asked.infusion_h, amount_nmol, hot)]
    if np.any(cold_nmol > 0):
        doses = [(0.0, 0.0, cold_nmol, 0 * hot), *doses]
    start, duration, total, labelled = (np.array(x) for x in zip(*doses, strict=True))
    seg = segments(start, duration, total, labelled, ask_min, MINUTES_PER_HOUR * (lead_h + last_h))
    at = np.argmin(np.abs(seg.end_min - ask_min[:, None]), axis=1)
    return Block(Model(kin, Scaling.of(asked.names, kin.organs), at, scans.weights, scans.tia_weights, hot), seg)


def frozen(of: Block, offsets: np.ndarray) -> Grid:
    """The step sequence that suits every lane at its offsets [parameter, lane].

    Raises:
        InputError: a lane that cannot be solved.
    """
    kin = of.model.scaling.apply(of.model.kinetics, jnp.asarray(offsets))
    return freeze(kin, of.segments, rtol=RTOL, multiple=GRID_MULTIPLE)


def _seen(model: Model, grid: Grid, offsets) -> Seen:
    solution = solve_on(model.scaling.apply(model.kinetics, offsets), grid, bed=False)
    hot, integrals = solution.hot, solution.integrals
    pools = jnp.concatenate([hot.organ_total(solution.layout), hot.blood], axis=1)[jnp.asarray(model.at)]
    whole = jnp.concatenate([integrals.organ[-1], integrals.blood[-1]])
    activity = jnp.einsum("op,opl->ol", jnp.asarray(model.weights), pools) / model.hot_nmol
    tia = jnp.asarray(model.tia_weights) @ whole / model.hot_nmol / MINUTES_PER_HOUR
    return Seen(jnp.log(activity), jnp.log(tia))


def seen(of: Block, grid: Grid, offsets: np.ndarray) -> Seen:
    """`Seen` of every lane at offsets [parameter, lane], as numpy."""
    return jax.tree.map(np.asarray, compiled(_seen)(of.model, grid, jnp.asarray(offsets)))


def slopes(of: Block, grid: Grid, offsets: np.ndarray, groups: tuple[Group, ...]) -> tuple[Seen, Seen]:
    """`Seen` and its derivatives, [.., parameter, lane], by the offsets; zero by those in no group."""
    here = seen(of, grid, offsets)
    activity, tia = (np.zeros((len(x), *offsets.shape)) for x in (here.log_activity, here.log_tia))
    for group, of_activity, of_tia in groups:
        step = DIFFERENCE * np.isin(np.arange(len(offsets)), group)
        there = seen(of, grid, offsets + step[:, None])
        activity[:, group] = of_activity[..., None] * _rate(here.log_activity, there.log_activity)
        tia[:, group] = of_tia[..., None] * _rate(here.log_tia, there.log_tia)
    return here, Seen(activity, tia)


def _rate(here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Difference quotient [row, 1, lane]."""
    return (there - here)[:, None] / DIFFERENCE
