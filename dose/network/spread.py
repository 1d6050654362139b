"""The sd of a network's answer: from the members' spread and from how far they depart from the kernel engine.

sd^2 = a spread^2 + b (network - kernels)^2 + c dose^2, with a, b, c at or above 0 by least squares on held-out scenes,
whose two Monte Carlo runs give the squared error without their noise. A spread alone cannot see an error that all
members share. Kept in the card as "sd_parts".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import nnls

from dose.errors import InputError, describe
from dose.learning.cases import Case
from dose.learning.recipe import folder
from dose.learning.weights import amend_card, load_weights
from dose.network import maps

LEAST_SHARE = 0.05
"""Of the mean dose of a scene: voxels below take no part."""

GROUPS = 20
"""Of each scene's voxels, by the sum of both parts, of equal number: so that no scene or voxel outweighs the others."""

FLOOR = 0.01**2
"""Of the squared relative parts, in the weights of the fit, which are one over these and the runs' noise."""


def fit_spread(part: ModuleType, cases: Sequence[Case], where: Path | None = None) -> tuple[float, float, float]:
    """a, b and c of a dose network; also written to its card.

    Args:
        cases: with two Monte Carlo runs each ("second_..."), none of them trained on.

    Raises:
        InputError: scenes in which the parts explain nothing.
    """
    members = load_weights(part.RECIPE, where).members
    rows = np.concatenate([_rows(members, part, case) for case in cases])
    parts = np.column_stack([rows[:, 1:3], np.ones(len(rows))])
    weight = 1 / (rows[:, 1:].sum(axis=1) + FLOOR)
    found, _ = nnls(parts * weight[:, None], rows[:, 0] * weight)
    if not found.any():
        raise InputError(describe("held-out scenes", "no error above their noise", "some", "give more histories"))
    a, b, c = (round(float(x), 6) for x in found)
    amend_card(where or folder(part.RECIPE.package, "weights"), part.RECIPE.name, {"sd_parts": [a, b, c]})
    return a, b, c


def sd_of(card, answers: Float[np.ndarray, "member z y x"], kernel) -> Float[np.ndarray, "z y x"] | None:
    """Sd in Gy of the members' mean; None where a card has no parts or there is one member."""
    if len(answers) < 2 or "sd_parts" not in card:
        return None
    a, b, c = card["sd_parts"]
    mean = answers.mean(0)
    return np.sqrt(a * answers.var(0, ddof=1) + b * (mean - kernel) ** 2 + c * mean**2)


def _rows(members, part: ModuleType, case: Case) -> Float[np.ndarray, "group 4"]:
    """Means over groups of voxels of squared error, spread, departure and noise of a run, all relative to the dose."""
    drawn, scale = maps.drawn(part.channels(case))
    with torch.no_grad():
        answers = np.stack([member(drawn)[0].numpy().sum(0) * scale for member in members])
    dose, kernel = answers.mean(0), maps.stacked(case, f"{part.START[0]}_").sum(0)
    first, second = (maps.stacked(case, word).sum(0) for word in ("", "second_"))
    inside = (case["density"] >= maps.AIR) & (dose > 0)
    inside &= dose > LEAST_SHARE * dose[inside].mean()
    error, noise = (dose - first) * (dose - second), (first - second) ** 2 / 2
    relative = np.stack([error, answers.var(0, ddof=1), (dose - kernel) ** 2, noise])[:, inside] / dose[inside] ** 2
    order = np.argsort(relative[1:3].sum(0), kind="stable")
    return np.stack([relative[:, own].mean(axis=1) for own in np.array_split(order, GROUPS)])
