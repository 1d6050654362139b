"""The rows that both networks of time-integrated activity are judged by: `register` makes them for one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from dose.learning.recipe import Recipe
from dose.learning.weights import found_weights
from tests.validate import Skipped, check
from tests.validate import ai_cost as cost
from tests.validate.ai_tia import JUDGED, ORGANS, Patient, Tests, patients

BELOW = "interval below 0"
SIMULATED = "virtual patients of the test seeds; [network, classical, difference, low, high]"
SLOWER = 16
"""Patients whose kinetics are slower than in training."""

GROUPS = {
    "earns: error of kidneys and lesions": JUDGED,
    "error of kidneys": ("kidney",),
    "error of lesions": ("tumour",),
    "error of liver, spleen and glands": ORGANS,
}

A_PATIENT = """mask = np.zeros(counts.shape, bool); mask[20:30, 20:30, 20:30] = True
known = {"mass_g": 8e4, "tracer": "psma", "method": "network"}
"""
"""After the scan, in a program whose memory is measured."""


@dataclass(frozen=True)
class Judge:
    """A network and what it is held beside.

    Attributes:
        recipe: of the network.
        kind: of its scans, "spect" or "pet".
        classical: methods beside it.
        strongest: the best of them on the same patients, in words.
        make: the map of a patient by a method, SUV h.
        call: the public call on a patient, by network unless told otherwise.
        unlike: answers to scans of a patient that are unlike those of the training.
        program: what follows `A_SCAN`: a call on the volume v with a mask.
    """

    recipe: Recipe
    kind: str
    classical: tuple[str, ...]
    strongest: str
    make: Callable[[Patient, str], np.ndarray]
    call: Callable[..., Any]
    unlike: Callable[[Patient], Sequence[Any]]
    program: str

    @property
    def name(self) -> str:
        return f"ai/{self.recipe.name}"

    @cached_property
    def tests(self) -> Tests:
        return self.of(patients(self.kind))

    @cached_property
    def slower(self) -> Tests:
        return self.of(patients(self.kind, SLOWER, more={"slower": 1.5}))

    def of(self, chosen: list[Patient]) -> Tests:
        return Tests(chosen, self.make, self.classical)

    def asked(self, patient: Patient, **more):
        """The public call, by network.

        Raises:
            Skipped: no weights ship.
        """
        if found_weights(self.recipe)[0] is None:
            raise Skipped(f"no weights ship: see docs/ai/{self.recipe.name}.md")
        return self.call(patient, **more)


def register(judge: Judge) -> None:
    """Register the rows that both networks have."""
    for words, groups in GROUPS.items():
        beside_strongest(judge, words, lambda: judge.tests, groups)
    beside_strongest(judge, "other: kinetics 1.5 times slower", lambda: judge.slower)
    _range(judge)
    _cost(judge)


def beside_strongest(judge: Judge, words: str, tests: Callable[[], Tests], groups: Sequence[str] = JUDGED) -> None:
    """Register a row beside the strongest classical method on the same patients."""
    key = f"{judge.name}/{words}, {judge.strongest}"
    check(key, "%", BELOW, SIMULATED)(lambda: tests().against(tests().strongest(groups), groups))


def _range(judge: Judge) -> None:
    @check(f"{judge.name}/range: unlike scans flagged, test scans flagged",
           "1", "all, at most an eighth", "limits of the card")  # fmt: skip
    def unlike_scans_are_flagged():
        chosen = judge.tests.patients
        far = [bool(made.choice.reasons) for made in judge.unlike(chosen[0])]
        like = [bool(judge.asked(patient).choice.reasons) for patient in chosen]
        return [np.mean(far), np.mean(like)], all(far) and np.mean(like) <= 1 / 8


def _cost(judge: Judge) -> None:
    @check(f"{judge.name}/seconds of a map", "s", "30", "64 x 50 x 76 voxels")
    def seconds():
        patient = judge.tests.patients[0]
        taken = cost.timed(lambda: judge.asked(patient))
        return taken, taken <= 30

    @check(f"{judge.name}/peak memory", "MB", "3000", "of a process that maps 64 x 64 x 80 voxels")
    def memory():
        judge.asked(judge.tests.patients[0])
        peak = cost.peak_megabytes(cost.a_scan((64, 64, 80), 6.0) + A_PATIENT + judge.program)
        return peak, peak <= 3000
