"""Training of the short-scan network on a user's own counts, without any truth."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import cast

import numpy as np
import torch

from dose.errors import ImageError, InputError, describe
from dose.learning.cases import Progress, silent
from dose.learning.ranges import positive, stated, whole
from dose.learning.training import rate
from dose.learning.weights import load_weights
from imaging.networks.short_scan import RECIPE, ring_order
from imaging.networks.short_scan_windows import CENTRE, SIDE, smooth_base
from imaging.networks.sparse_views_model import ViewsNet, views_loss
from imaging.networks.sparse_views_ring import line_windows
from imaging.projections import Projections

HALF = 0.5
"""Chance of each count to go into the half that the network sees."""

PEAK_SHARE = 0.6
"""Of the steps that surely take the peak window; the others take any."""

BATCH = 4
MEMORY_STEPS = 40
"""Steps over which the mean of the weights forgets."""

START_RATE = 3e-3
REFINE_RATE = 3e-4
"""Learning rates from scratch and from trained weights."""


def refine_on_own(
    projections: Projections,
    *,
    steps: int = 200,
    from_scratch: bool = False,
    line_keV: float | None = None,
    seed: int = 0,
    weights: Path | None = None,
    progress: Progress = silent,
) -> ViewsNet:
    """A network for `denoise_short_scan(..., network=)`, trained on the counts of one acquisition alone.

    In each step counts are split binomially into halves: for Poisson counts these are independent, with the same
    expectation, so that the one is a target for the other without any truth. The network's scale equivariance lets it
    take all counts afterwards. The sd that it gives is that of a half's error against another half, noise of the target
    included: too large.

    Raises:
        InputError: no steps, or what is no number.
        ImageError: counts that are no whole numbers (filtered or corrected), none at all, or views not evenly spread.
    """
    whole(steps=steps)
    positive(**stated(line_keV=line_keV))
    if steps < 1:
        raise InputError(describe("steps", f"{steps}", "one or more", "give more"))
    windows = [_whole(projections.counts[k]) for k in line_windows(projections, line_keV).values()]
    order, random = ring_order(projections), np.random.default_rng(seed)
    torch.manual_seed(seed)
    model = RECIPE.network(RECIPE.config()) if from_scratch else load_weights(RECIPE, weights).members[0]
    model = cast("ViewsNet", copy.deepcopy(model)).train()
    mean, highest = copy.deepcopy(model).eval(), START_RATE if from_scratch else REFINE_RATE
    adam = torch.optim.Adam(model.parameters(), lr=highest)
    for step in range(steps):
        progress(step, steps, "training on own counts")
        adam.param_groups[0]["lr"] = highest * rate(step / steps)
        adam.zero_grad(set_to_none=True)
        counts = windows[0] if random.random() < PEAK_SHARE else windows[random.integers(len(windows))]
        views_loss(model, _halves(counts, order, random)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        _follow(mean, model, min(step + 1, MEMORY_STEPS))
    progress(steps, steps, "training on own counts")
    return mean


def _whole(counts: np.ndarray) -> np.ndarray:
    whole = np.round(counts).astype(np.int64)
    if np.abs(counts - whole).max() > 1e-3 or not whole.any():
        found, do = (
            "counts that are no whole numbers, or none",
            "give the counts as acquired, not filtered or corrected",
        )
        raise ImageError(describe("projections.counts", found, "Poisson counts", do))
    return whole


def _halves(counts: np.ndarray, order: np.ndarray, random: np.random.Generator) -> dict[str, torch.Tensor]:
    seen, other = [], []
    for _ in range(BATCH):
        where = order[(random.integers(len(order)) + np.arange(2 * SIDE + CENTRE)) % len(order)]
        one = random.binomial(counts[where], HALF)
        seen.append(one)
        other.append((counts[where] - one)[SIDE : SIDE + CENTRE])
    views = torch.from_numpy(np.array(seen, dtype=np.float32))
    target = torch.from_numpy(np.array(other, dtype=np.float32))
    return {"views": views, "base": smooth_base(views), "target": target}


@torch.no_grad()
def _follow(mean: torch.nn.Module, model: torch.nn.Module, memory: int) -> None:
    for slow, fast in zip(mean.parameters(), model.parameters()):
        slow.lerp_(fast, 1.0 / memory)
