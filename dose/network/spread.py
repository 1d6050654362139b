"""How far a network's ensemble spread must be stretched to be its error: found on held-out scenes, kept in the card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from dose.learning.cases import Case
from dose.learning.recipe import Recipe, folder
from dose.learning.weights import load_weights, tensors_of
from dose.network import maps

LEAST_SHARE = 0.05
"""Of the mean dose of a scene: voxels below take no part."""


def fit_spread(recipe: Recipe, channels, cases: Sequence[Case], where: Path | None = None) -> float:
    """Factor of the ensemble's spread, by root mean square relative to dose; written to the card as "sd_factor".

    Args:
        cases: with two Monte Carlo runs each ("second_..."), none of them trained on.
    """
    trained = load_weights(recipe, where)
    sums = np.sum([_sums(trained.members, channels(case), case) for case in cases], axis=0)
    factor = float(np.sqrt(max(sums[0], 0.0) / sums[1]))
    path = (where or folder(recipe.package, "weights")) / f"{recipe.name}.json"
    card = json.loads(path.read_text(encoding="utf-8")) | {"sd_factor": round(factor, 3)}
    path.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    return factor


def _sums(members, seen, case: Case) -> tuple[float, float]:
    """Squared relative errors without Monte Carlo noise, and squared relative spreads, summed over voxels."""
    scale = float(seen["scale_Gy"])
    drawn = {n: a[None] for n, a in tensors_of({n: a for n, a in seen.items() if n != "scale_Gy"}).items()}
    with torch.no_grad():
        answers = np.stack([member(drawn)[0].numpy().sum(0) * scale for member in members])
    dose, spread = answers.mean(0), answers.std(0, ddof=1)
    a, b = (maps.stacked(case, word).sum(0) for word in ("", "second_"))
    inside = (case["density"] >= maps.AIR) & (dose > 0)
    inside &= dose > LEAST_SHARE * dose[inside].mean()
    relative = 1 / dose[inside] ** 2
    error = (dose - a)[inside] * (dose - b)[inside]
    return float(np.sum(relative * error)), float(np.sum(relative * spread[inside] ** 2))
