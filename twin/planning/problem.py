"""The planning problem as arrays: what every draw gets, tails of it, the objective, and one compiled evaluation.

Limits are judged over composite draws: each posterior draw with several draws of the errors that are independent of
it (mass, S value, drift of uptake), so that a 5 % tail rests on thousands of numbers where 200 draws were solved.
Objectives that are means leave these errors out: a lognormal drift would make later cycles look richer.
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import ndtri
from scipy.stats import qmc

from pbpk.compiled import compiled
from pbpk.platelets import PlateletChain, platelet_curve
from twin.constraints import TUMOURS, WORST_LESION, Limit
from twin.outlook import MOST_CYCLES, Coming, Outlook, doses
from twin.outlook.read import Doses
from twin.outlook.surface import Surfaces
from twin.planning.effects import Effects, effects

COMPOSITE = 3200
"""Composite draws aimed at: a 5 % tail then holds 160 of them."""
WINDOW = 0.01
"""A quantile is the mean of the composite draws within this of its rank, so that its slope rests on some tens."""
SEED = 20_005


class Spec(NamedTuple):
    """The form of a limit: indices of its regions, how they are joined, and what is bounded how."""

    regions: tuple[int, ...]
    join: str
    quantity: str
    per: str
    rule: str
    at_least: bool


class Problem(eqx.Module):
    """Arrays of a plan. `past_*` [draw, region] is what was given; `moved` [replicate, draw, cycle + 1, used region]
    the factor of the independent errors, first that of the past."""

    surfaces: Surfaces
    past_dose_Gy: Float[Array, "draw region"]
    past_weighted_Gy: Float[Array, "draw region"]
    past_quadratic_Gy: Float[Array, "draw region"]
    moved: Float[Array, "replicate draw cycle1 used"]
    value_Gy: Float[Array, " limit"]
    tail: Float[Array, " limit"]
    mass_g: Float[Array, " region"]
    target_Gy: Float[Array, ""]
    dose_cv: Float[Array, ""]
    trend: Float[Array, " cycle"]
    past_start_h: Float[Array, " past"]
    past_marrow_Gy: Float[Array, "draw past"]
    marrow_half_life_h: Float[Array, ""]
    chain: PlateletChain | None
    lowest_per_nL: Float[Array, ""]
    platelet_tail: Float[Array, ""]
    first_h: Float[Array, ""]
    specs: tuple[Spec, ...] = eqx.field(static=True)
    used: tuple[int, ...] = eqx.field(static=True)
    named: tuple[int, ...] = eqx.field(static=True)
    kidneys: int = eqx.field(static=True)
    marrow: int = eqx.field(static=True)
    objective: str = eqx.field(static=True)


class Variables(NamedTuple):
    """Padded decision variables, each [cycle]."""

    activity_MBq: Float[Array, " cycle"]
    amount_nmol: Float[Array, " cycle"]
    interval_h: Float[Array, " cycle"]


def regions_of(outlook: Outlook, limit: Limit) -> tuple[tuple[int, ...], str]:
    """Indices of a limit's regions and how they are joined: "one", the "least" or the mean by "mass"."""
    if limit.region == WORST_LESION:
        return named_lesions(outlook), "least"
    if limit.region == TUMOURS:
        return outlook.surfaces.lesions, "mass"
    return (outlook.regions.index(limit.region),), "one"


def named_lesions(outlook: Outlook) -> tuple[int, ...]:
    """Lesions that have a name of their own; the rest of the burden counts where there is no other."""
    named = tuple(k for k in outlook.surfaces.lesions if outlook.regions[k] != "tumour_rest")
    return named or outlook.surfaces.lesions


def independent_errors(outlook: Outlook, used: tuple[int, ...]):
    """Factors [replicate, draw, 1 + cycle, used region] of fresh errors, a scrambled Sobol sequence; kidneys share."""
    replicates = max(int(np.ceil(COMPOSITE / outlook.draws)), 1)
    count = replicates * outlook.draws
    groups = list(dict.fromkeys(min(outlook.kidneys) if k in outlook.kidneys else k for k in used))
    width = (1 + MOST_CYCLES) * len(groups)
    u = qmc.Sobol(width, seed=np.random.default_rng(SEED)).random_base2(int(np.ceil(np.log2(max(count, 2)))))
    normal = ndtri(np.clip(u[:count], 1e-12, 1 - 1e-12)).reshape(replicates, -1, 1 + MOST_CYCLES, len(groups))
    at = [groups.index(min(outlook.kidneys) if k in outlook.kidneys else k) for k in used]
    mine = normal[..., at]
    still = outlook.surfaces.drift.shape[1]
    walk = np.cumsum(mine[:, :, 1:] * outlook.drift_sd[list(used)], axis=2)[:, :, :still]
    error = mine[:, :, :1] * outlook.error_sd[list(used)]
    return jnp.exp(jnp.concatenate([error, error + walk], axis=2))


def clean(surfaces: Surfaces) -> Surfaces:
    """Without the errors that are independent of the draws."""
    zeros = (jnp.zeros_like(surfaces.error), jnp.zeros_like(surfaces.drift))
    return eqx.tree_at(lambda s: (s.error, s.drift), surfaces, zeros)


class Evaluated(NamedTuple):
    """Objective (to be maximised), slack of each row of `rows_of` as a share of its limit, and of the platelet rule
    [cycle]."""

    objective: Float[Array, ""]
    slack: Float[Array, " row"]
    platelets: Float[Array, " cycle"]


def rows_of(specs: tuple[Spec, ...]) -> list[tuple[int, int]]:
    """(limit, cycle) of each row of slack: a limit per course has one row, marked as cycle -1."""
    return [(k, c) for k, s in enumerate(specs) for c in (range(MOST_CYCLES) if s.per == "cycle" else (-1,))]


def evaluated(problem: Problem, v: Variables) -> Evaluated:
    """The plan at given variables; differentiable."""
    middle, found, effect = forecast_of(problem, v)
    slack = [slack_of(problem, k, totals(problem, spec, middle)) for k, spec in enumerate(problem.specs)]
    rows = jnp.concatenate(slack) if slack else jnp.zeros(0)
    return Evaluated(objective_of(problem, v, effect), rows, _platelets(problem, v, found))


def forecast_of(problem: Problem, v: Variables) -> tuple[Doses, Doses, Effects]:
    """Doses without the errors that are independent of the draws, those that the objective looks at, and effects."""
    cycles = Coming(v.activity_MBq, v.amount_nmol, v.interval_h, problem.trend)
    middle = doses(clean(problem.surfaces), cycles)
    found = doses(problem.surfaces, cycles) if problem.objective == "lesion_control" else middle
    past = (problem.past_dose_Gy, problem.past_weighted_Gy, problem.past_quadratic_Gy)
    effect = effects(problem.surfaces, found, past, problem.named, problem.kidneys, problem.mass_g, problem.dose_cv)
    return middle, found, effect


def totals(problem: Problem, spec: Spec, middle) -> Float[Array, "replicate draw cycle"]:
    """The bounded quantity of composite draws: of the whole course (one entry) or of each coming cycle."""
    at, regions = np.array([problem.used.index(k) for k in spec.regions]), np.array(spec.regions)
    factor, first = problem.moved[..., 1:, at], problem.moved[..., 0, at]
    weighted = middle.weighted_Gy[..., regions]
    low = middle.dose_Gy[..., regions] if spec.quantity == "dose_Gy" else weighted
    each = low * factor
    before = (problem.past_dose_Gy if spec.quantity == "dose_Gy" else problem.past_weighted_Gy)[:, regions] * first
    if spec.quantity != "dose_Gy":
        each = each + (middle.bed_Gy[..., regions] - weighted) * factor**2
        before = before + problem.past_quadratic_Gy[:, regions] * first**2
    value = each if spec.per == "cycle" else (jnp.sum(each, axis=2) + before)[:, :, None]
    return joined(problem, spec, value)


def joined(problem: Problem, spec: Spec, values: Float[Array, "... region"]) -> Float[Array, ...]:
    """The regions of a limit as one: the least of them, or their mean by mass."""
    if spec.join == "least":
        return jnp.min(values, axis=-1)
    mass = problem.mass_g[np.array(spec.regions)]
    return values @ (mass / jnp.sum(mass))


def tail_of(values: Float[Array, "... composite"], spec: Spec, tail) -> Float[Array, ...]:
    """What the rule compares with the limit: a quantile, the mean, or the mean of the worst share."""
    if spec.rule == "expectation":
        return jnp.mean(values, axis=-1)
    ordered = jnp.sort(values if spec.at_least else -values, axis=-1)  # worst first
    count = ordered.shape[-1]
    place = (jnp.arange(count) + 0.5) / count
    weight = place <= tail if spec.rule == "cvar" else jnp.abs(place - tail) <= jnp.minimum(WINDOW, tail)
    worst = ordered @ weight / jnp.sum(weight)
    return worst if spec.at_least else -worst


def slack_of(problem: Problem, k: int, value: Float[Array, "replicate draw cycle"]) -> Float[Array, " row"]:
    """Slack of limit `k`, as a share of it, from its totals."""
    spec = problem.specs[k]
    found = tail_of(jnp.moveaxis(value, 2, 0).reshape(value.shape[2], -1), spec, problem.tail[k])
    share = found / problem.value_Gy[k]
    return share - 1 if spec.at_least else 1 - share


def objective_of(problem: Problem, v: Variables, effect: Effects):
    match problem.objective:
        case "mean_tumour_dose":
            return jnp.mean(effect.tumour_dose_Gy)
        case "mean_tumour_bed":
            return jnp.mean(effect.tumour_bed_Gy)
        case "worst_lesion_eubed":
            return jnp.mean(effect.worst_eubed_Gy)
        case "lesion_control":
            return jnp.mean(jax.nn.sigmoid((effect.worst_dose_Gy / problem.target_Gy - 1) / 0.03))
        case "tumour_volume":
            return -jnp.mean(jnp.log(effect.volume_share))
        case "therapeutic_index":
            return jnp.mean(effect.tumour_bed_Gy / jnp.maximum(effect.kidney_bed_Gy, 1e-9))
        case "least_activity":
            return -jnp.sum(v.activity_MBq) / 1000
        case _:
            return jnp.sum(v.activity_MBq) / 1000


def _platelets(problem: Problem, v: Variables, found) -> Float[Array, " cycle"]:
    """Share above the lowest count allowed at the start of each coming cycle; the first coming cycle counts too."""
    if problem.chain is None:
        return jnp.zeros(MOST_CYCLES)
    start = problem.first_h + jnp.concatenate([jnp.zeros(1), jnp.cumsum(v.interval_h)[:-1]])
    starts = jnp.concatenate([problem.past_start_h, start])
    marrow = jnp.concatenate([problem.past_marrow_Gy, found.dose_Gy[..., problem.marrow]], axis=1)
    half_life = jnp.broadcast_to(problem.marrow_half_life_h, marrow.shape)
    curve = platelet_curve(problem.chain, starts, marrow, half_life, start)
    low = jnp.quantile(curve, problem.platelet_tail, axis=0)
    return low / problem.lowest_per_nL - 1


@compiled
def middle_doses(problem: Problem, v: Variables) -> Doses:
    """Doses of each draw without the errors that are independent of the draws."""
    return doses(clean(problem.surfaces), Coming(v.activity_MBq, v.amount_nmol, v.interval_h, problem.trend))


@compiled
def evaluate(problem: Problem, v: Variables) -> Evaluated:
    return evaluated(problem, v)


@compiled
def slopes(problem: Problem, v: Variables) -> tuple[Evaluated, Evaluated]:
    """Values, and their derivatives by every variable."""
    return evaluated(problem, v), jax.jacrev(lambda v: evaluated(problem, v))(v)
