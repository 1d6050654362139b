"""What better knowledge would allow: a patient known exactly, and one more scan.

Known exactly: each draw taken for the truth, the plan's activities are scaled until that draw meets the limits itself.
The mean over draws less the plan's own is what knowledge could gain, an upper bound for any scan.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from pbpk.compiled import compiled
from twin.outlook import Coming, doses
from twin.outlook.surface import Surfaces
from twin.patient import Knowledge
from twin.planning.effects import effects
from twin.planning.problem import Problem, Variables, joined

STEPS = 36
"""Halvings of the log scale between 1e-4 and 1e4."""


def _with_own_errors(problem: Problem, surfaces: Surfaces, factor, v: Variables):
    """Doses of each draw with activities scaled by its own factor [draw, cycle], errors of the draw inside."""
    found = doses(surfaces, Coming(v.activity_MBq, v.amount_nmol, v.interval_h, problem.trend))
    f = factor[..., None]
    dose, weighted = found.dose_Gy * f, found.weighted_Gy * f
    bed = weighted + (found.bed_Gy - found.weighted_Gy) * f**2
    return found._replace(dose_Gy=dose, weighted_Gy=weighted, bed_Gy=bed)


def _worst_share(problem: Problem, found) -> jax.Array:
    """Largest upper-limited quantity over its limit, [draw]."""
    error = jnp.exp(problem.surfaces.error)
    shares = [jnp.zeros(error.shape[0])]
    for k, spec in enumerate(problem.specs):
        if spec.at_least:
            continue
        r = np.array(spec.regions)
        each = found.dose_Gy[..., r] if spec.quantity == "dose_Gy" else found.bed_Gy[..., r]
        past = problem.past_dose_Gy[:, r] * error[:, r]
        if spec.quantity != "dose_Gy":
            past = problem.past_weighted_Gy[:, r] * error[:, r] + problem.past_quadratic_Gy[:, r] * error[:, r] ** 2
        worst = jnp.max(joined(problem, spec, each), axis=1)
        total = worst if spec.per == "cycle" else joined(problem, spec, jnp.sum(each, axis=1) + past)
        shares.append(total / problem.value_Gy[k])
    return jnp.max(jnp.stack(shares), axis=0)


@compiled
def scaled_to_each(problem: Problem, v: Variables, cap_MBq):
    """Activities [draw, cycle] and mean tumour dose [draw] with the plan scaled to each draw's own limits."""

    def at(log_scale):
        factor = jnp.minimum(jnp.exp(log_scale)[:, None], cap_MBq / jnp.maximum(v.activity_MBq, 1e-9))
        return factor, _with_own_errors(problem, problem.surfaces, factor, v)

    def halve(ends, _):
        low, high = ends
        middle = 0.5 * (low + high)
        fits = _worst_share(problem, at(middle)[1]) <= 1.0
        return (jnp.where(fits, middle, low), jnp.where(fits, high, middle)), None

    draws = problem.surfaces.dose.shape[2]
    ends = jnp.full(draws, jnp.log(1e-4)), jnp.full(draws, jnp.log(1e4))
    (low, _), _ = jax.lax.scan(halve, ends, None, length=STEPS)
    factor, found = at(low)
    error = jnp.exp(problem.surfaces.error)
    past = (problem.past_dose_Gy * error, problem.past_weighted_Gy * error, problem.past_quadratic_Gy * error**2)
    effect = effects(problem.surfaces, found, past, problem.named, problem.kidneys, problem.mass_g, problem.dose_cv)
    return factor * v.activity_MBq, effect.tumour_dose_Gy


def knowledge_of(problem: Problem, v: Variables, cap_MBq: float, mine_MBq: float, mine_Gy: float) -> Knowledge:
    """What knowing each draw would allow, against the plan's mean activity to come and tumour dose; `v` is the schedule
    that is scaled to each draw."""
    activity, dose = (np.asarray(x) for x in scaled_to_each(problem, v, jnp.asarray(cap_MBq)))
    total = activity.sum(axis=1)
    return Knowledge(total, dose, float(total.mean() - mine_MBq), float(dose.mean() - mine_Gy))
