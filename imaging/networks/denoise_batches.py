"""Batches and loss of the denoising networks: crops of noisy images with their targets, in units of their level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dose.learning.recipe import Case, Config
from dose.learning.spread import spread_error
from imaging.networks.denoise import TRUNCATE, channels, level
from imaging.recovery import FWHM_PER_SIGMA

FLOOR = 1.0
"""Squared errors are relative to the local mean plus this part of the image's level: plain below it, and above it as
Poisson noise asks."""

SD_SHARE = 0.2
"""Weight in the loss of how well the sd foretells the error."""


def batch(cases: Sequence[Case], random: np.random.Generator, config: Config) -> Mapping[str, np.ndarray]:
    """Crops of noisy images in units of their level, with the noise-free ones (`target`)."""
    return _drawn(cases, random, config, _supervised)


def pairs(cases: Sequence[Case], random: np.random.Generator, config: Config) -> Mapping[str, np.ndarray]:
    """As `batch`, without truth: one scan is the target of the other."""
    return _drawn(cases, random, config, _paired)


def _drawn(cases, random, config: Config, choice) -> Mapping[str, np.ndarray]:
    crops = []
    for _ in range(int(config.training["batch"])):
        case = cases[random.integers(len(cases))]
        noisy, target = choice(case, random)
        crops.append(_crop(noisy, target, _centre(noisy, case, random, config), random, config))
    return {name: np.concatenate([crop[name] for crop in crops]) for name in crops[0]}


def _supervised(case: Case, random: np.random.Generator):
    """A mixture of both scans, whose variance lies between that of one and that of their mean."""
    a, b = (case["first"], case["second"]) if random.random() < 0.5 else (case["second"], case["first"])
    share = max(0.0, float(random.uniform(-0.5, 0.5)))
    return a + np.float32(share) * (b - a), case["noise_free"]


def _paired(case: Case, random: np.random.Generator):
    turned = random.random() < 0.5
    return (case["first"], case["second"]) if turned else (case["second"], case["first"])


def _crop(noisy, target, centre, random: np.random.Generator, config: Config) -> dict[str, np.ndarray]:
    size = np.asarray(config.training["patch"])
    noisy, target = _filled(noisy, size), _filled(target, size)
    reach, widths = int(config.network["reach"]), config.network["widths_voxels"]
    margin = max(reach, int(np.ceil(TRUNCATE * max(widths) / FWHM_PER_SIGMA)) + 1)
    first = np.clip(centre - size // 2, 0, noisy.shape - size)
    outer = tuple(slice(max(0, a - margin), a + n + margin) for a, n in zip(first, size))
    inner = [slice(a - o.start, a - o.start + n) for a, n, o in zip(first, size, outer)]
    scale = np.float32(level(noisy))
    seen = channels(noisy[outer] / scale, reach, widths)[inner[0], :, inner[1], inner[2]]
    wanted = (target[outer] / scale)[tuple(inner)][:, None]
    return _mirrored({"input": seen, "target": wanted}, random)


def _filled(array: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The array, made as large as a patch by repeating its far edge."""
    lacking = np.maximum(size - array.shape, 0)
    return np.pad(array, [(0, int(n)) for n in lacking], mode="edge") if lacking.any() else array


def _centre(array: np.ndarray, case: Case, random: np.random.Generator, config: Config) -> np.ndarray:
    """A voxel of the body or a hot one; a part `regions` lies in any labelled region, small as often as large."""
    kind, share = random.random(), float(config.training.get("regions", 0.0)) if "labels" in case else 0.0
    if kind < share:
        region = random.choice(np.unique(case["labels"])[1:])
        return random.choice(np.argwhere(case["labels"] == region))
    threshold = (0.1 if kind < 0.5 + 0.5 * share else 2.0) * level(array)
    for _ in range(200):
        at = random.integers(array.shape)
        if array[tuple(at)] > threshold:
            return at
    return random.integers(array.shape)


def _mirrored(crop: dict[str, np.ndarray], random: np.random.Generator) -> dict[str, np.ndarray]:
    axes = [axis for axis in (2, 3) if random.random() < 0.5]
    return {name: np.flip(array, axes) for name, array in crop.items()}


def loss(model: nn.Module, drawn: Mapping[str, Tensor]) -> Tensor:
    """Squared error relative to the local mean, and that of the sd about what the error's size asks for.

    Convolutions run in bfloat16, which halves the time on processors that know it; answers are always in float32.
    """
    seen = drawn["input"].to(memory_format=torch.channels_last)
    with torch.autocast(seen.device.type, dtype=torch.bfloat16):
        found = model(seen).float()
    error = found[:, 0] - drawn["target"][:, 0]
    local = functional.relu(seen[:, -2]) + FLOOR
    of_sd = spread_error(error, found[:, 1])
    return ((error**2 + SD_SHARE * of_sd**2) / local).mean()
