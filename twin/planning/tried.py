"""One combination of number of cycles and cold ligand: its optimum in whole vials, or which limits conflict."""

from __future__ import annotations

from dataclasses import dataclass

from twin.outlook import Outlook
from twin.patient import Conflict
from twin.planning.choices import Choices
from twin.planning.conflict import TOLERANCE, conflict_of
from twin.planning.problem import Problem
from twin.planning.rounding import conflict_of_vials, whole_vials
from twin.planning.setting import problem_of, space_of, step_of
from twin.planning.solver import Solution, Space, descended, optimised, solution


@dataclass(frozen=True)
class Tried:
    """A combination and the best point found; with a `conflict` that point meets not all limits and is no plan."""

    outlook: Outlook
    problem: Problem
    cycles: int
    point: Solution
    conflict: Conflict | None = None


def tried(outlook, limits, choices: Choices, objective: str, cycles: int, tail: float, target_Gy: float) -> Tried:
    """The optimum of `cycles` cycles in all, more than were given."""
    problem = problem_of(outlook, limits, choices, objective, tail, target_Gy)
    space = space_of(outlook, choices, cycles)
    assert space is not None
    found, conflict = _met(problem, space, limits, tail)
    if conflict is not None:
        return Tried(outlook, problem, cycles, found, conflict)
    step = step_of(choices, space)
    rounded = whole_vials(problem, found, step)
    if not rounded.feasible:
        conflict = conflict_of_vials(problem, rounded, limits, tail, step)
    return Tried(outlook, problem, cycles, rounded, conflict)


def _met(problem: Problem, space: Space, limits, tail: float) -> tuple[Solution, Conflict | None]:
    """The optimum; where it misses a limit, the optimum from the least violating point on, or the conflict."""
    found = optimised(problem, space)
    if found.feasible:
        return found, None
    conflict, least = conflict_of(problem, space, limits, tail)
    if conflict is not None:
        return least, conflict
    again = descended(problem, space, least.x)
    return (again, None) if again.feasible else (solution(problem, space, least.x, TOLERANCE), None)
