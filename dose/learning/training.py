"""Training: Adam with a warm start and a cosine, the mean of the weights kept, the same for every network."""

from __future__ import annotations

import copy
import math
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from dose.errors import InputError, describe
from dose.learning.cases import Progress, cases_of, held_out_seeds, silent, training_seeds
from dose.learning.recipe import Case, Config, Recipe
from dose.learning.unet import count
from dose.learning.weights import save_weights, tensors_of

WARM_UP = 0.03
"""Part of the steps over which the rate rises."""

CLIP = 1.0
LOOKS = 20
"""Times that the held-out loss is taken during training."""

HELD_OUT_BATCHES = 4
MEMORY_STEPS = 100
"""Steps over which the mean of the weights forgets."""


@dataclass(frozen=True)
class Run:
    """What one training did: `curve` holds (step, loss on training batches, loss on held-out cases)."""

    seed: int
    steps: int
    weights: int
    seconds: float
    simulated_seconds: float
    curve: list[tuple[int, float, float]]
    device: str
    threads: int
    torch: str
    python: str


def train(
    recipe: Recipe,
    size: str,
    out: Path,
    *,
    seed: int = 0,
    device: str | None = None,
    minutes: float | None = None,
    progress: Progress = silent,
) -> Path:
    """Simulate, train and write the weights with their card; the folder `out` is made. The same call gives the same.

    Args:
        size: "small" or "shipped" of the configuration.
        minutes: training of all members ends by then, with the rate brought down in time; results then hang on the
            machine's speed.
        device: of torch; a GPU where there is one.

    Raises:
        InputError: no such size or device, minutes not above zero, a folder that cannot be made, a loss that is no
            number.
    """
    if minutes is not None and not minutes > 0:
        raise InputError(describe("minutes", f"{minutes:g}", "above zero", "give more, or leave it out"))
    config = recipe.config(size)
    device = _usable(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    _made(out)
    begin = time.perf_counter()
    cases = cases_of(recipe, config, training_seeds(config), progress)
    held_out = cases_of(recipe, config, held_out_seeds(config), progress)
    simulated = time.perf_counter() - begin
    members, runs = [], []
    for k in range(int(config.training["members"])):
        share = minutes / int(config.training["members"]) if minutes else None
        member, run = _trained(recipe, config, cases, held_out, seed + k, device, share, simulated, progress)
        members.append(member)
        runs.append(asdict(run))
    card = {"limits": {k: list(v) for k, v in recipe.limits(cases, config).items()}, "runs": runs}
    path = save_weights(out, recipe, config, members, card)
    if recipe.after is not None:
        recipe.after(out)
    return path


def _usable(device: str) -> str:
    try:
        torch.empty(1, device=device).fill_(1.0)
    except (RuntimeError, AssertionError, ValueError) as error:
        found = f'"{device}" ({str(error).splitlines()[0][:80]})'
        raise InputError(describe("device", found, "one that this torch has", "take cpu, or leave it out")) from error
    return device


def _made(out: Path) -> None:
    """A folder that nothing can be written to is told before hours of training, not after."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / ".begun").touch()
        (out / ".begun").unlink()
    except OSError as error:
        found = f'"{out}" ({error.strerror})'
        raise InputError(describe("out", found, "a folder that can be written to", "name another one")) from error


def _trained(
    recipe: Recipe,
    config: Config,
    cases: Sequence[Case],
    held_out: Sequence[Case],
    seed: int,
    device: str,
    minutes: float | None,
    simulated: float,
    progress: Progress,
) -> tuple[nn.Module, Run]:
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    model = recipe.network(config).to(device)
    mean = copy.deepcopy(model).eval()
    steps = int(config.training["steps"])
    adam = torch.optim.Adam(model.parameters(), lr=float(config.training["learning_rate"]))
    unseen = _held_out_batches(recipe, config, held_out, device)
    curve, recent, begin, step = [], [], time.perf_counter(), 0
    while step < steps:
        spent = (time.perf_counter() - begin) / (60 * minutes) if minutes else 0.0
        position = max(step / steps, spent)
        if position >= 1:
            break
        for group in adam.param_groups:
            group["lr"] = float(config.training["learning_rate"]) * rate(position)
        recent.append(_step(recipe, model, adam, tensors_of(recipe.batch(cases, random, config), device)))
        step += 1
        _follow(mean, model, min(step, MEMORY_STEPS))
        if step % max(1, steps // LOOKS) == 0:
            curve.append((step, float(np.mean(recent)), _loss(recipe, mean, unseen)))
            recent = []
            progress(int(1000 * position), 1000, f"training, step {step}, held out {curve[-1][2]:.4g}")
    curve.append((step, float(np.mean(recent)) if recent else curve[-1][1], _loss(recipe, mean, unseen)))
    seconds = time.perf_counter() - begin
    about = (device, torch.get_num_threads(), torch.__version__, platform.python_version())
    return mean.cpu().eval(), Run(seed, step, count([mean]), round(seconds, 1), round(simulated, 1), curve, *about)


def rate(position: float) -> float:
    """The learning rate at a part of the training, relative to its highest."""
    return min(position / WARM_UP + 0.02, 1.0) * (0.5 + 0.5 * math.cos(math.pi * min(position, 1.0)))


def _step(recipe: Recipe, model: nn.Module, adam, batch) -> float:
    adam.zero_grad(set_to_none=True)
    loss = recipe.loss(model, batch)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), CLIP)
    value = float(loss.detach())
    if not math.isfinite(value):
        do = "lower learning_rate, or look at the cases"
        raise InputError(describe(f"loss of {recipe.name}", f"{value}", "a number", do))
    adam.step()
    return value


@torch.no_grad()
def _follow(mean: nn.Module, model: nn.Module, memory: int) -> None:
    for slow, fast in zip(mean.state_dict().values(), model.state_dict().values()):
        slow.lerp_(fast, 1.0 / memory) if slow.dtype.is_floating_point else slow.copy_(fast)


def _held_out_batches(recipe: Recipe, config: Config, held_out: Sequence[Case], device: str) -> list[dict]:
    random = np.random.default_rng(0)
    return [tensors_of(recipe.batch(held_out, random, config), device) for _ in range(HELD_OUT_BATCHES)]


@torch.no_grad()
def _loss(recipe: Recipe, model: nn.Module, batches: Sequence[dict]) -> float:
    return float(np.mean([float(recipe.loss(model, batch)) for batch in batches]))
