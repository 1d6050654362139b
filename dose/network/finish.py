"""After training: the last layer by least squares over all scenes at once, and the stretch of the ensemble's spread.

All three networks are linear in their last layer, and the noise of the targets is known: the weighted normal equations
of all training scenes, with a unit ridge, give the layer that steps of one scene each approach only slowly.
`theratwin train` does both once the steps are done (`Recipe.after`).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from dose.learning.cases import Case, cases_of, held_out_seeds, training_seeds
from dose.learning.recipe import Config, Recipe, folder
from dose.learning.weights import load_weights, save_weights, tensors_of
from dose.network import maps
from dose.network.spread import fit_spread

RIDGE = 1.0
"""Of the layer's weights, in units of one over the noise's variance."""


def finisher(module: str) -> Callable[[Path], Path]:
    """What a recipe of this module does after training."""
    return lambda where: finish(importlib.import_module(module), where)


def finish(part: ModuleType, where: Path | None = None) -> Path:
    """Solve the last layer of each member, fit the spread, write weights and card anew."""
    recipe: Recipe = part.RECIPE
    trained = load_weights(recipe, where)
    config = Config(*(trained.card[key] for key in ("size", "network", "data", "training")))
    training, held_out = (cases_of(recipe, config, seeds(config)) for seeds in (training_seeds, held_out_seeds))
    for member in trained.members:
        solve_last(member, part, training)
    out = where or folder(recipe.package, "weights")
    path = save_weights(out, recipe, config, trained.members, {**trained.card, "last_layer": "least squares"})
    if len(trained.members) > 1:
        fit_spread(recipe, part.channels, held_out, out)
    return path


@torch.no_grad()
def solve_last(model: nn.Module, part: ModuleType, cases: Sequence[Case]) -> None:
    """Put the least-squares last layer into a network; rows that it is not linear in stay as they are."""
    layer, rows = part.last_layer(model)
    for indices in rows:
        layer.weight[indices], layer.bias[indices] = 0.0, 0.0
    sums: list[tuple] = [(0.0, 0.0) for _ in rows]
    for case in cases:
        for kind, found in enumerate(_equations(model, part, layer, case)):
            sums[kind] = tuple(a + b for a, b in zip(sums[kind], found))
    for (matrix, right), indices in zip(sums, rows):
        found = torch.linalg.solve(matrix + RIDGE * torch.eye(len(matrix), dtype=matrix.dtype), right)
        found = found.reshape(len(indices), -1).float()
        layer.weight[indices] = found[:, :-1, None, None, None]
        layer.bias[indices] = found[:, -1]


def _equations(model: nn.Module, part: ModuleType, layer, case: Case) -> list[tuple[Tensor, Tensor]]:
    """Normal matrix and right side of each kind, from one scene."""
    seen = dict(part.channels(case))
    scale = float(seen.pop("scale_Gy"))
    drawn = {name: array[None] for name, array in tensors_of(seen).items()}
    kept = []
    hook = layer.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
    base = model(drawn)[0]
    signals = [s[0] for s in part.signals(model, drawn)]
    hook.remove()
    weight = torch.from_numpy(maps.weights(case)) * scale**2
    missing = torch.from_numpy(maps.stacked(case, "")) / scale - base
    features = torch.cat([kept[0][0], torch.ones_like(base[:1])])
    return [_normal(s, features, w, y) for s, w, y in zip(signals, weight, missing)]


def _normal(signals: Tensor, features: Tensor, weight: Tensor, missing: Tensor) -> tuple[Tensor, Tensor]:
    judged = weight > 0
    root = weight[judged].sqrt()
    columns = signals[:, judged][:, None] * features[:, judged][None] * (maps.GENTLE * root)
    columns = columns.flatten(0, 1)
    return (columns @ columns.T).double(), (columns @ (root * missing[judged])).double()
