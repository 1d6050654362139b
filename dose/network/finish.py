"""After training: the last layer by least squares over all scenes at once, and the stretch of the ensemble's spread.

All three networks are linear in their last layer, and the noise of the targets is known: the weighted normal equations
of all training scenes, with a unit ridge, give the layer that steps of one scene each approach only slowly.
`theratwin train` does both once the steps are done (`Recipe.after`).
"""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor, nn

from dose.learning.cases import Case, cases_of, held_out_seeds, training_seeds
from dose.learning.recipe import Config, Recipe, folder
from dose.learning.weights import load_weights, save_weights
from dose.network import maps
from dose.network.spread import fit_spread

RIDGE = 1.0
"""Of the layer's weights, in units of one over the noise's variance."""


def finisher(module: str) -> Callable[[Path], Path]:
    """What a recipe of this module does after training."""
    return lambda where: finish(importlib.import_module(module), where)


def finish(part: ModuleType, where: Path | None = None) -> Path:
    """Solve the last layer of each member on scenes drawn anew for it, keep that if it brings the held-out loss down,
    fit the spread, write weights and card."""
    recipe: Recipe = part.RECIPE
    trained = load_weights(recipe, where)
    config = Config(*(trained.card[key] for key in ("size", "network", "data", "training")))
    training, held_out = (cases_of(recipe, config, seeds(config)) for seeds in (training_seeds, held_out_seeds))
    members = [copy.deepcopy(member) for member in trained.members]
    for k, member in enumerate(members):
        solve_last(member, part, training, drawn_anew(len(training), k, len(members)))
    out = where or folder(recipe.package, "weights")
    losses = [held_out_loss(those, part, held_out) for those in (trained.members, members)]
    layer, kept = ("least squares", members) if losses[1] < losses[0] else ("trained", list(trained.members))
    more = {"last_layer": layer, "trained_loss": losses[0], "solved_loss": losses[1]}
    path = save_weights(out, recipe, config, kept, {**trained.card, **more})
    if len(members) > 1:
        fit_spread(part, held_out, out)
    return path


def drawn_anew(cases: int, member: int, members: int) -> np.ndarray:
    """How often each scene counts for a member: once where it is alone, else as a bootstrap has it, so that the spread
    of members holds what another choice of scenes would have changed."""
    if members == 1:
        return np.ones(cases)
    return np.random.default_rng([member, 7]).multinomial(cases, np.full(cases, 1 / cases)).astype(float)


@torch.no_grad()
def solve_last(model: nn.Module, part: ModuleType, cases: Sequence[Case], counts=None) -> None:
    """Put the least-squares last layer into a network; rows that it is not linear in stay as they are."""
    layer, rows = part.last_layer(model)
    for _, indices in rows:
        layer.weight[indices], layer.bias[indices] = 0.0, 0.0
    sums: list[tuple] = [(0.0, 0.0) for _ in rows]
    for case, count in zip(cases, np.ones(len(cases)) if counts is None else counts, strict=True):
        for k, found in enumerate(_equations(model, part, case) if count else ()):
            sums[k] = sums[k] if found is None else tuple(a + float(count) * b for a, b in zip(sums[k], found))
    for (matrix, right), (_, indices) in zip(sums, rows):
        if isinstance(matrix, Tensor):
            found = torch.linalg.solve(matrix + RIDGE * torch.eye(len(matrix), dtype=matrix.dtype), right)
            found = found.reshape(len(indices), -1).float()
            layer.weight[indices] = found[:, :-1, None, None, None]
            layer.bias[indices] = found[:, -1]


def _equations(model: nn.Module, part: ModuleType, case: Case) -> list[tuple[Tensor, Tensor] | None]:
    """Normal matrix and right side of each group of rows, from one scene; None where the scene says nothing of it."""
    layer, rows = part.last_layer(model)
    drawn, scale = maps.drawn(part.channels(case))
    kept = []
    hook = layer.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
    base = model(drawn)[0]
    signals = [None if s is None else s[0] for s in part.signals(model, drawn)]
    hook.remove()
    weight = torch.from_numpy(maps.weights(case)) * scale**2
    missing = torch.from_numpy(maps.stacked(case, "")) / scale - base
    features = torch.cat([kept[0][0], torch.ones_like(base[:1])])
    pairs = zip(signals, (kind for kind, _ in rows))
    return [None if s is None else _normal(s, features, weight[kind], missing[kind]) for s, kind in pairs]


@torch.no_grad()
def held_out_loss(members: Sequence[nn.Module], part: ModuleType, cases: Sequence[Case]) -> float:
    """Mean over scenes of the ensemble's loss, as training has it, with the noise of one Monte Carlo run."""
    found = []
    for case in cases:
        drawn, scale = maps.drawn(part.channels(case))
        answer = torch.stack([member(drawn)[0] for member in members]).mean(0).numpy() * scale
        found.append(float((maps.weights(case) * (answer - maps.stacked(case, "")) ** 2).mean()))
    return float(np.mean(found))


def _normal(signals: Tensor, features: Tensor, weight: Tensor, missing: Tensor) -> tuple[Tensor, Tensor]:
    judged = weight > 0
    root = weight[judged].sqrt()
    columns = signals[:, judged][:, None] * features[:, judged][None] * (maps.GENTLE * root)
    columns = columns.flatten(0, 1)
    return (columns @ columns.T).double(), (columns @ (root * missing[judged])).double()
