"""A denoising network from a user's own scans, without truth: noise2noise (Lehtinen et al. 2018; recalled).

Two images of one activity with noise of their own, each the target of the other: the least squared error of a target
with noise of mean zero is that of its mean. Two PET frames after one another (decay corrected, the activity at rest)
are such a pair; so are OSEM images of two halves of the counts, as far as OSEM's mean does not hang on the counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from torch import nn

from dose.errors import ImageError, InputError, describe
from dose.learning.cases import Case, Progress, silent
from dose.learning.recipe import Config, Recipe
from dose.learning.training import CLIP, rate
from dose.learning.weights import Trained, load_weights, save_weights, tensors_of
from imaging.geometry import Volume
from imaging.networks import denoise, denoise_batches
from imaging.projections import Projections

STEPS = 400
"""Of training: some minutes on two cores."""


def learned_from_pairs(
    recipe: Recipe,
    pairs: Sequence[tuple[Volume, Volume]],
    out: Path,
    *,
    steps: int = STEPS,
    start: Trained | None = None,
    features: Mapping[str, float] = MappingProxyType({}),
    seed: int = 0,
    progress: Progress = silent,
) -> Trained:
    """Train on pairs of images of the same activity and write the weights to a folder of the user's.

    Give that folder as `weights` to `denoised_pet` or `denoised_spect`, with method="network".

    Args:
        recipe: `denoise_pet.RECIPE` or `denoise_spect.RECIPE`.
        pairs: each of one activity, on one grid, with noise of their own.
        out: folder for the weights; the shipped ones are not touched.
        steps: of training.
        start: weights to begin with; from random ones where none.
        features: what the images do not tell (`denoise_pet.RANGE`, `denoise_spect.LINE`), kept as the range of use.
        seed: of crops and first weights.
        progress: called with steps done.

    Raises:
        InputError: no pair, no steps, an image too small or without activity.
        ImageError: a pair on two grids.
    """
    cases = [_case(pair) for pair in _checked(pairs, steps)]
    config = recipe.config() if start is None else _config(start)
    config = replace(config, training={**config.training, "steps": steps, "members": 1})
    torch.manual_seed(seed)
    model = recipe.network(config)
    if start is not None:
        model.load_state_dict(start.members[0].state_dict())
    trained = fitted(model, replace(recipe, batch=denoise_batches.pairs), cases, config, seed=seed, progress=progress)
    bounds = denoise.limits(cases, config) | {name: (0.95 * v, 1.05 * v) for name, v in features.items()}
    card = {"limits": {name: list(v) for name, v in bounds.items()}, "runs": [], "made": "from pairs, without truth"}
    save_weights(Path(out), recipe, config, [trained], card)
    return load_weights(recipe, Path(out))


def fitted(
    model: nn.Module, recipe: Recipe, cases: Sequence[Case], config: Config, *, seed: int, progress: Progress = silent
) -> nn.Module:
    """The model after the configuration's steps of Adam on the recipe's batches."""
    random, steps = np.random.default_rng(seed), int(config.training["steps"])
    adam = torch.optim.Adam(model.parameters(), lr=float(config.training["learning_rate"]))
    for step in range(steps):
        adam.param_groups[0]["lr"] = float(config.training["learning_rate"]) * rate(step / steps)
        adam.zero_grad(set_to_none=True)
        found = recipe.loss(model, tensors_of(recipe.batch(cases, random, config)))
        found.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        adam.step()
        progress(step + 1, steps, "training on pairs")
    return model.eval()


def halves(projections: Projections, seed: int) -> tuple[Projections, Projections]:
    """Two scans of half the time whose Poisson counts are independent: each count goes to one by the toss of a coin.

    Raises:
        ImageError: counts that are not whole numbers; those of a file that was rescaled are not counts.
    """
    counts = np.rint(projections.counts).astype(np.int64)
    if np.abs(projections.counts - counts).max() > 1e-3:
        do = "give the projections as acquired"
        raise ImageError(describe("projections.counts", "numbers that are not whole", "counts", do))
    first = np.random.default_rng(seed).binomial(counts, 0.5)
    half = replace(projections, frame_s=projections.frame_s / 2)
    return half.with_counts(first.astype(np.float32)), half.with_counts((counts - first).astype(np.float32))


def _checked(pairs: Sequence[tuple[Volume, Volume]], steps: int) -> Sequence[tuple[Volume, Volume]]:
    if not pairs or steps < 1:
        found = f"{len(pairs)} pairs and {steps} steps"
        raise InputError(describe("pairs, steps", found, "one pair and one step or more", "give two scans"))
    for first, second in pairs:
        if not first.is_on_grid_of(second):
            raise ImageError(describe("pairs", "two grids", "one grid a pair", "resample one onto the other"))
        denoise.checked(first)
        denoise.checked(second)
    return pairs


def _case(pair: tuple[Volume, Volume]) -> Case:
    return {"first": pair[0].array, "second": pair[1].array, "spacing_mm": pair[0].spacing_mm}


def _config(start: Trained) -> Config:
    card = start.card
    return Config(card["size"], card["network"], card["data"], card["training"])
