"""An oracle for patients whose tumours answer: what it gives changes the tumours, and these what it may give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from twin.constraints import Limit, limit
from twin.policies.amounts import best_split
from twin.policies.cohort import Cohort
from twin.policies.policy import AbstractPolicy, State
from twin.trial.design import Regimen
from twin.trial.people import EMPTY_ML
from twin.trial.reading import PerMBq
from twin.trial.unfolding import Scene, led_to

ROUNDS, HALVINGS = 5, 14
"""Rounds of foresight, each with the doses that the activities of the one before lead to; then activities are scaled
down, by halving, until the limit holds in truth."""


@dataclass(frozen=True)
class Foreseen(AbstractPolicy):
    """Activities [patient, cycle] worked out before; a cycle may be left out."""

    pauses: ClassVar[bool] = True
    given_MBq: np.ndarray

    def activity_MBq(self, state: State) -> np.ndarray:
        return self.given_MBq[:, state.cycle]


def foreseen(scene: Scene, arm: Regimen) -> Foreseen:
    """Activities that keep the arm's limit in truth, with as much tumour dose as rounds of foresight find."""
    kept, given = limit(arm.limit), np.full((scene.group.count, arm.cycles), arm.cap_MBq)
    mL = np.where(scene.group.class_mL > EMPTY_ML, scene.group.class_mL, 0.0)
    share = mL / mL.sum(axis=1, keepdims=True)
    for _ in range(ROUNDS):
        found = _cohort(scene, led_to(scene, arm, given))
        gain = np.einsum("pck,pk->pc", found.dose[..., scene.truth.tumours], share)
        given = best_split(gain, *found.terms(kept), kept.value_Gy, arm.cap_MBq)
    return Foreseen(given * _largest(scene, arm, kept, given)[:, None])


def _largest(scene: Scene, arm: Regimen, kept: Limit, given: np.ndarray) -> np.ndarray:
    """Largest share of the activities with which each patient keeps the limit, [patient]."""
    fits = lambda share: _total(scene, arm, kept, given * share[:, None]) <= kept.value_Gy
    low, high = np.zeros(len(given)), np.ones(len(given))
    low = np.where(fits(high), 1.0, low)
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        good = fits(middle)
        low, high = np.where(good, middle, low), np.where(good, high, middle)
    return low


def _total(scene: Scene, arm: Regimen, kept: Limit, given: np.ndarray) -> np.ndarray:
    return _cohort(scene, led_to(scene, arm, given)).total_Gy(kept, given)


def _cohort(scene: Scene, each: list[PerMBq]) -> Cohort:
    truth, none = scene.truth, np.zeros(len(scene.truth.regions))
    dose, weighted, quadratic, _ = (np.stack(x, axis=1) for x in zip(*each, strict=True))
    mass, number = truth.mass_g.mean(axis=0), scene.group.people.number
    return Cohort("", truth.regions, mass, none, number, dose, weighted, quadratic)
