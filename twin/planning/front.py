"""The trade between tumour and kidney: the best tumour BED for every kidney limit, the label beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from twin.constraints import Limit, default_limits
from twin.outlook import Outlook, outlook_of
from twin.patient import Comparison, PatientTwin
from twin.planning.choices import Choices
from twin.planning.compare import compared, label_of
from twin.planning.problem import Problem
from twin.planning.setting import amounts_of, checked_limits, checked_objective, problem_of, space_of
from twin.planning.solver import Solution, Space, descended, optimised

POINTS = 9
SHARES = (0.4, 1.6)
"""Kidney limits of the front, as shares of the limit that is in force."""
USUAL = Limit("kidney_front", "kidneys", "bed_Gy", 40.0, "sundlov_2022")


@dataclass(frozen=True)
class FrontPoint:
    """The best schedule under one kidney limit: BED of tumours (mean by mass) and kidneys, each [draw]."""

    kidney_limit_Gy: float
    tumour_bed_Gy: np.ndarray
    kidney_bed_Gy: np.ndarray
    activity_MBq: float
    activities_MBq: tuple[float, ...]


@dataclass(frozen=True)
class Front:
    """Points in order of their limit; `label` is the rest of the label's schedule (`label_point` its BEDs)."""

    points: tuple[FrontPoint, ...]
    label: Comparison | None
    label_point: FrontPoint | None


def front(
    twin: PatientTwin | Outlook,
    limits: Sequence[Limit] | None = None,
    *,
    choices: Choices | None = None,
    kidney_limits_Gy: Sequence[float] | None = None,
    probability: float = 0.05,
    **variables,
) -> Front:
    """Best mean tumour BED for each of `kidney_limits_Gy` on kidney BED, the other limits in force.

    Each is held with probability 1 - `probability`. `choices` or `variables` as in `twin.plan`; of several numbers of
    cycles the largest is taken.

    Raises:
        InputError: as `twin.plan`; no cycle left.
    """
    choices = choices or Choices(**variables)
    look = twin if isinstance(twin, Outlook) else outlook_of(twin, amounts_nmol=amounts_of(twin, choices))
    others = tuple(default_limits() if limits is None else limits)
    kidney = next((lim for lim in others if (lim.region, lim.quantity) == ("kidneys", "bed_Gy")), USUAL)
    bounds = (kidney, *(lim for lim in others if lim is not kidney))
    checked_limits(bounds, look.regions, look.lesions)
    space = space_of(look, choices, max(choices.numbers_of_cycles))
    objective = checked_objective("mean_tumour_bed", look.lesions)
    problem = problem_of(look, bounds, choices, objective, probability, 1.0)
    wanted = kidney_limits_Gy or tuple(np.linspace(*SHARES, POINTS) * kidney.value_Gy)
    label = label_of(look, problem, bounds)
    points = _walk(look, problem, space, sorted(wanted), bounds) if space else ()
    return Front(tuple(points), label, None if label is None else _of(label, kidney.value_Gy, ()))


def _walk(look: Outlook, problem: Problem, space: Space, wanted, bounds):
    """From the tightest limit to the loosest, each from the optimum before it; what cannot be met is left out."""
    before: Solution | None = None
    for value_Gy in wanted:
        here = eqx.tree_at(lambda p: p.value_Gy, problem, jnp.asarray(problem.value_Gy).at[0].set(value_Gy))
        found = optimised(here, space) if before is None else descended(here, space, before.x)
        if found.feasible:
            before = found
            v = space.variables(found.x)
            named = (replace(bounds[0], value_Gy=value_Gy), *bounds[1:])
            made = compared(f"{value_Gy:g} Gy", look, here, v, space.cycles, named)
            yield _of(made, value_Gy, tuple(float(a) for a in v.activity_MBq[: space.cycles]))


def _of(made: Comparison, limit_Gy: float, activities) -> FrontPoint:
    return FrontPoint(float(limit_Gy), made.tumour_bed_Gy, made.kidney_bed_Gy, made.activity_MBq, activities)
