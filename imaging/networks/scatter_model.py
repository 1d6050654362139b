"""The scatter network: what it sees of a view, how it answers, its batches, its loss and the range it was trained in.

A view's counts over their mean go through a 2D U-Net without biases. Its two answers, times that mean, are what to
add to a linear estimate from the three windows, and the sd of what is left: a x gives a times the answer, a > 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from dose.learning.recipe import Case, Config
from dose.learning.spread import spread_error
from dose.learning.unet import UNet
from imaging.networks.denoise import smoothed
from imaging.projections import EnergyWindow

WINDOWS = ("peak", "lower", "upper")

PEAK_pixels, SIDE_pixels = (2.0, 4.0, 8.0), (4.0, 8.0)
"""FWHM of the smoothed copies of the peak window and of those beside it that the network sees."""

BASE_pixels = 5.0
"""FWHM that smooths the linear estimate."""

CHANNELS = 2 + len(PEAK_pixels) + 2 * len(SIDE_pixels) + 1

WATER_mm = 300.0
"""Unit of the water that a pixel looks through."""

POOLED = 8
"""Side in pixels of the squares over which the error's mean is held down too: organs see that part of it."""

POOLED_WEIGHT, SD_WEIGHT = 4.0, 0.2
START = 0.1
"""What the last layer's weights are multiplied by before training: it begins near the linear estimate."""


class ScatterNet(nn.Module):
    """[view, channel, v, u] of `channels` to mean and sd of the scatter, [view, 2, v, u], relative to the level.

    Args:
        base: weights of the windows in the linear estimate.
    """

    def __init__(self, *, width: int, levels: int, base: Sequence[float]):
        super().__init__()
        self.base = tuple(base)
        self.unet = UNet(2, CHANNELS, 2, width=width, levels=levels, bias=False)
        with torch.no_grad():
            self.unet.last.weight.mul_(START)

    def forward(self, x: Tensor) -> Tensor:
        found = self.unet(x)
        return torch.stack([x[:, 0] + found[:, 0], found[:, 1].abs()], dim=1)


def network(config: Config) -> ScatterNet:
    """The untrained network of a configuration; `base` weighs the windows of the linear estimate."""
    return ScatterNet(**config.network)


def level_of(counts: np.ndarray) -> float:
    """Mean of the peak window of a view [window, v, u]; one where there are none."""
    return float(counts[0].mean()) or 1.0


def channels(
    counts: Float[np.ndarray, "window v u"], water_mm: Float[np.ndarray, "v u"], base: Sequence[float]
) -> Float[np.ndarray, "channel v u"]:
    """The linear estimate, the view itself, smoothed copies of all windows, and the water looked through."""
    peak, *sides = np.asarray(counts, np.float32) / np.float32(level_of(counts))
    linear = sum(w * one for w, one in zip(base, (peak, *sides)))
    seen = [smoothed(linear, BASE_pixels, truncate=3.0), peak]
    seen += [smoothed(peak, w, truncate=3.0) for w in PEAK_pixels]
    seen += [smoothed(side, w, truncate=3.0) for side in sides for w in SIDE_pixels]
    return np.stack([*seen, water_mm / WATER_mm]).astype(np.float32)


def batch(cases: Sequence[Case], random: np.random.Generator, config: Config) -> Mapping[str, np.ndarray]:
    """Views of cases at count levels of their own, mirrored by chance: `x`, and `target` relative to the level."""
    seen, wanted = [], []
    for _ in range(int(config.training["batch"])):
        case = cases[random.integers(len(cases))]
        view = random.integers(case["primary"].shape[1])
        scale = float(np.exp(random.uniform(*np.log(config.data["scale"]))))
        turn = (slice(None, None, random.choice((-1, 1))), slice(None, None, random.choice((-1, 1))))
        counts = random.poisson(scale * (case["primary"] + case["first"])[:, view][:, *turn])
        seen.append(channels(counts, case["water_mm"][view][turn], config.network["base"]))
        wanted.append(scale * case["second"][0, view][turn] / level_of(counts))
    return {"x": np.array(seen), "target": np.array(wanted, np.float32)}


def loss(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Squared error of pixels and of the means of squares, relative to the view's scatter, and that of the sd."""
    found = model(batch["x"])
    unit = batch["target"].mean(dim=(1, 2), keepdim=True) + 1e-6
    error = (found[:, 0] - batch["target"]) / unit
    pooled = functional.avg_pool2d(error[:, None], POOLED)
    of_sd = spread_error(error, found[:, 1] / unit).square().mean()
    return error.square().mean() + POOLED_WEIGHT * pooled.square().mean() + SD_WEIGHT * of_sd


def features(
    counts: Float[np.ndarray, "window view v u"],
    water_mm: np.ndarray,
    radii_mm: np.ndarray,
    pixel_mm: float,
    windows: Sequence[EnergyWindow],
) -> dict[str, float]:
    """What of a scan decides whether the network may be used on it; windows are peak, lower, upper."""
    peak, lower, upper = (float(c) for c in counts.mean(axis=(1, 2, 3), dtype=float))
    looked = water_mm[water_mm > 0]
    found = {
        "counts per pixel and view": peak,
        "lower over peak": lower / max(peak, 1e-9),
        "upper over peak": upper / max(peak, 1e-9),
        "mean radius_mm": float(np.mean(radii_mm)),
        "water looked through, mm": float(looked.mean()) if looked.size else 0.0,
        "pixel_mm": float(pixel_mm),
    }
    for role, window in zip(WINDOWS, windows):
        found |= {f"{role} window from keV": window.lower_keV, f"{role} window to keV": window.upper_keV}
    return found


def limits_of(cases: Sequence[Case], config: Config, windows: Sequence[EnergyWindow]) -> dict[str, tuple[float, float]]:
    """Ranges of `features` over the cases, a tenth wider; of counts by the scales of the training."""
    pixel_mm = float(config.data["pixel_mm"])
    seen = [features(c["primary"] + c["first"], c["water_mm"], c["radius_mm"], pixel_mm, windows) for c in cases]
    found = {}
    for name in seen[0]:
        low, high = min(f[name] for f in seen), max(f[name] for f in seen)
        wider = 0.005 if "window" in name else 0.0 if "counts" in name else 0.1
        found[name] = (low * (1 - wider), high * (1 + wider))
    low, high = found["counts per pixel and view"]
    found["counts per pixel and view"] = (config.data["scale"][0] * low, config.data["scale"][1] * high)
    return found
