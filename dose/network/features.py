"""`dose_features`: organs' and lesions' doses of the first cycle from a pre-therapy PET and covariates.

Trained on virtual patients alone (`twin.virtual_features`): it shows the pipeline and must not be used on patients. Its
classical method is the log-linear regression on the same features and patients. Model card: docs/ai/dose_features.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dose.errors import InputError, describe
from dose.learning.cases import Case
from dose.learning.ranges import Choice, choose
from dose.learning.recipe import Config, Recipe
from dose.learning.weights import Trained, found_weights
from dose.network import features_net as net
from dose.network.features_input import FEATURES, LESION_FEATURES, ORGANS, PLAIN, record_of
from dose.network.features_linear import Linear

NORMAL_95 = 1.959964
CLASSICAL = ("linear", "median")
DISTANCE, KNOWN = "distance from the training patients", "share of features known"
FAR = 0.999
"""Share of the training patients that lie nearer than the limit."""


@dataclass(frozen=True)
class Estimate:
    """Dose for each GBq of the first cycle: median, ends of the 95 % interval, sd of the log."""

    median_Gy_per_GBq: float
    low95_Gy_per_GBq: float
    high95_Gy_per_GBq: float
    log_sd: float


@dataclass(frozen=True)
class LearnedOrganDoses:
    """What `learned_organ_doses` found: by organ, and for each lesion in the order given, with the methods used.

    Intervals hold what features leave open within the virtual population, and the members' spread; no error of the
    model that the population was made with.
    """

    organs: Mapping[str, Estimate]
    lesions: tuple[Estimate, ...]
    choice: Choice
    lesion_choices: tuple[Choice, ...]


def learned_organ_doses(
    features, *, method: str = "auto", classical: str = "linear", weights: Path | None = None
) -> LearnedOrganDoses:
    """Doses of one patient per GBq of 177Lu-PSMA-617, from what a 68Ga-PSMA-11 PET and a CT show before.

    Args:
        features: dictionary or pandas row of `features_input.FEATURES` (units in their names; any may be missing, but
            not all SUVs), with `sex` in place of `female`, and `lesions`, a list of dictionaries of LESION_FEATURES.
        method: "auto", "network" or "classical".
        classical: "linear", or "median" for the training patients' median whatever the features are.
        weights: folder of a user's own.

    Raises:
        InputError: an unknown or impossible field, fields that contradict each other, no SUV, another method, no
            trained weights (the regression lies in their card).
    """
    record = record_of(features)
    if classical not in CLASSICAL:
        raise InputError(describe("classical", repr(classical), f"one of {CLASSICAL}", "choose one"))
    trained, why = found_weights(BASE, weights)
    if trained is None or "laws" not in trained.card:
        do = "train the network: theratwin train dose_features"
        raise InputError(describe("weights of dose_features", why or "no regression", "network and regression", do))
    x, own = record.patient[None], record.lesions
    choice = _choice(method, trained, "organs", x[0])
    rows = np.column_stack([np.repeat(x, len(own), axis=0), own])
    lesions = tuple(_choice(method, trained, "lesion", row) for row in rows)
    estimates = _estimates(trained, "organs", x, (choice,), classical)
    each = _estimates(trained, "lesion", rows, lesions, classical)
    return LearnedOrganDoses(dict(zip(ORGANS, estimates, strict=True)), tuple(each), choice, lesions)


def predicted(trained: Trained, part: str, x: np.ndarray, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sd of log doses (Gy/GBq) of many records at once, [record, dose].

    Args:
        part: "organs" or "lesion".
        x: logs as `features_input.logs` gives them, [record, feature]; lesions' features after their patient's.
        method: "network", "linear" or "median".
    """
    law: Linear = getattr(net.Laws.of(trained.card["laws"]), part)
    if method == "median":
        shape = (len(x), len(law.dose_mean))
        return np.broadcast_to(law.dose_mean, shape), np.broadcast_to(law.dose_sd, shape)
    return net.answers(trained.members, law, part, x) if method == "network" else law.predicted(x)


def _estimates(trained: Trained, part: str, x: np.ndarray, choices: Sequence[Choice], classical: str) -> list[Estimate]:
    """Of each dose of each record in turn."""
    found = []
    for row, choice in zip(x, choices, strict=True):
        mean, sd = predicted(trained, part, row[None], "network" if choice.method == "network" else classical)
        for m, s in zip(mean[0], sd[0], strict=True):
            low, middle, high = np.exp(m + s * NORMAL_95 * np.array([-1.0, 0.0, 1.0]))
            found.append(Estimate(float(middle), float(low), float(high), float(s)))
    return found


def _choice(method: str, trained: Trained, part: str, x: np.ndarray) -> Choice:
    known = about(x, getattr(net.Laws.of(trained.card["laws"]), part), part)
    limits = {name: trained.limits[name] for name in known}
    return choose(method, limits, known, default=trained.default)


def about(x: np.ndarray, law: Linear, part: str) -> dict[str, float]:
    """What is known of a record in the units of its names, its distance and its share of known features."""
    names = _names(part)
    values = [v if name in PLAIN else float(np.exp(v)) for name, v in zip(names, x, strict=True)]
    found = {name: float(v) for name, v in zip(names, values, strict=True) if np.isfinite(v)}
    kind = "lesion: " if part == "lesion" else ""
    share = float(np.mean(np.isfinite(x)))
    return found | {f"{kind}{DISTANCE}": float(law.distance(x[None])[0]), f"{kind}{KNOWN}": share}


def _names(part: str) -> tuple[str, ...]:
    return FEATURES if part == "organs" else (*FEATURES, *(f"lesion: {name}" for name in LESION_FEATURES))


def limits(cases: Sequence[Case], config: Config) -> dict[str, tuple[float, float]]:
    """Least and most of each feature among training patients, the distance of most of them, and what may be missing."""
    patient, _, lesion, _, whose = net.joined(cases)
    laws = net.laws_of(cases)
    found = {}
    for part, x in (("organs", patient), ("lesion", np.column_stack([patient[whose], lesion]))):
        kind = "lesion: " if part == "lesion" else ""
        for name, column in zip(_names(part), x.T, strict=True):
            ends = np.array([column.min(), column.max()])
            found[name] = tuple(float(v) for v in (ends if name in PLAIN else np.exp(ends)))
        far = float(np.quantile(getattr(laws, part).distance(x), FAR))
        found |= {f"{kind}{DISTANCE}": (0.0, far), f"{kind}{KNOWN}": (1 - net.MOST_MISSING, 1.0)}
    return found


def _no_case(seed: int, config: Config) -> Case:
    do = "train the recipe of twin.dose_recipes"
    raise InputError(describe("dose_features", "no virtual patients in this package", "cases made by the twin", do))


def _no_batch(cases: Sequence[Case], random: np.random.Generator, config: Config) -> dict[str, np.ndarray]:
    return net.batch(cases, random, config, net.laws_of(cases))


BASE = Recipe("dose_features", "dose.network", _no_case, _no_batch, net.network, net.loss, limits)
"""All but the virtual patients, which `twin.dose_recipes.DOSE_FEATURES` adds."""
