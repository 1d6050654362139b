"""Noise taken out of images of activity by a network, beside a Gaussian filter: shared by SPECT and PET.

A slice is seen with its neighbours and with smoothed copies of the volume (2.5D); a 2D U-Net gives what to add to the
narrowest copy, and a second channel the sd of what is left, from the size of the errors in training. Images are divided
by their `level` first and answers multiplied by it, so that f(a x) = a f(x) whatever the network; as this one has no
biases, the same holds for a level misjudged by a factor. Its target is the noise-free image of the same resolution, or,
without truth, another scan of the same activity with noise of its own (noise2noise, Lehtinen et al. 2018; recalled).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Float
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from dose.errors import InputError, describe
from dose.learning.cases import Progress, silent
from dose.learning.ranges import Choice, choose
from dose.learning.recipe import Case, Config
from dose.learning.unet import UNet
from dose.learning.weights import Trained
from imaging.geometry import Volume
from imaging.recovery import FWHM_PER_SIGMA

TRUNCATE = 2.0
"""Smoothed copies end at as many sigmas."""

SLICES_AT_ONCE = 8
LEAST_VOXELS = 8
"""Along each axis of an image."""

Finish = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Of the image, the network's answer and its sd: answer and sd."""

MIRRORS = ((), (1,), (2,), (1, 2))
"""Axes [z, y, x] of the mirror images over which an answer may be averaged: as crops were mirrored in training."""

GRAIN_FWHM = 3.0
"""Voxels; what is finer is taken as noise by `features`."""


@dataclass(frozen=True)
class Denoised:
    """An image with less noise.

    Attributes:
        volume: Bq/mL.
        sd: of each voxel's error, Bq/mL: the network's own estimate, or, of the Gaussian filter, that part of the
            local scatter of what it took away which was left on training cases.
        choice: the method, and why not the network.
    """

    volume: Volume
    sd: Volume
    choice: Choice


@dataclass(frozen=True)
class Filter:
    """The Gaussian filter of least RMSE on training cases, and its error relative to what it takes away locally."""

    fwhm_mm: float
    left_over: float


class Denoiser(nn.Module):
    """[slice, channel, y, x] of `channels` to [slice, (activity, sd), y, x]."""

    def __init__(self, reach: int, widths_voxels: Sequence[float], width: int, levels: int):
        super().__init__()
        self.base, self.widths_voxels = 2 * reach + 1, tuple(widths_voxels)
        self.unet = UNet(2, self.base + len(widths_voxels), 2, width=width, levels=levels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        found = self.unet(x)
        return torch.stack([x[:, self.base] + found[:, 0], found[:, 1].abs()], dim=1)


def network(config: Config) -> Denoiser:
    """The untrained network of a configuration."""
    return Denoiser(**config.network)


def channels(
    array: Float[np.ndarray, "z y x"], reach: int, widths_voxels: Sequence[float]
) -> Float[np.ndarray, "z channel y x"]:
    """What the network sees of each slice: itself between its neighbours, then smoothed copies."""
    padded = np.pad(array, ((reach, reach), (0, 0), (0, 0)), mode="edge")
    near = [padded[k : k + len(array)] for k in range(2 * reach + 1)]
    return np.stack([*near, *(smoothed(array, w) for w in widths_voxels)], axis=1)


def smoothed(array: np.ndarray, fwhm_voxels: float | Sequence[float], truncate: float = TRUNCATE) -> np.ndarray:
    """Gaussian of a width in voxels; at the edge the last voxel goes on."""
    sigma = np.asarray(fwhm_voxels) / FWHM_PER_SIGMA
    return gaussian_filter(np.asarray(array, np.float32), sigma, mode="nearest", truncate=truncate)


def level(array: np.ndarray) -> float:
    """Mean of what lies above the mean: a scale of the image that goes with its activity."""
    return float(array[array >= min(array.mean(), array.max())].mean())  # float32 may round the mean above all


def features(volume: Volume) -> dict[str, float]:
    """What of an image decides whether a network may be used on it.

    Both are medians or signs of what is finer than GRAIN_FWHM within the body, so that edges count little: noise is
    its size over the local mean; grain is how often neighbours agree in sign (-1 to 1), which goes with resolution.
    """
    mean = smoothed(volume.array, 2 * GRAIN_FWHM)
    body, fine = mean > 0.2 * volume.array.mean(), volume.array - smoothed(volume.array, GRAIN_FWHM)
    agree = [np.mean(np.sign(np.roll(fine, 1, axis) * fine)[body]) for axis in range(3)]
    return {
        "voxel_mm": float(10 * volume.voxel_mL ** (1 / 3)),
        "longest over shortest voxel side": float(volume.spacing_mm.max() / volume.spacing_mm.min()),
        "noise": float(np.median(np.abs(fine[body]) / mean[body])),
        "grain": float(np.mean(agree)),
    }


MARGIN = 0.05
"""By which the range of a feature reaches beyond that of the training cases, relative to it; of voxels, to itself."""


def limits(cases: Sequence[Case], config: Config) -> dict[str, tuple[float, float]]:
    """The range of `features` over the noisy training images; those of one voxel size allow a tenth more or less."""
    seen = [features(as_volume(case, name)) for case in cases for name in ("first", "mean")]
    found = {}
    for name in seen[0]:
        low, high = min(f[name] for f in seen), max(f[name] for f in seen)
        width = 2 * MARGIN * low if "voxel" in name else MARGIN * (high - low)
        found[name] = (low - width, high + width)
    return found


def as_volume(case: Case, name: str) -> Volume:
    """An image of a case; "mean" of both scans."""
    array = 0.5 * (case["first"] + case["second"]) if name == "mean" else case[name]
    return Volume(array, np.diag([*np.broadcast_to(case["spacing_mm"], 3), 1.0]))


def checked(volume: Volume) -> None:
    """Raises:
    InputError: an image too small, or without activity.
    """
    if min(volume.array.shape) < LEAST_VOXELS:
        found, expected = f"shape {volume.array.shape}", f"{LEAST_VOXELS} voxels or more along each axis"
        raise InputError(describe("image", found, expected, "give the whole image"))
    if not volume.array.sum(dtype=float) > 0 or volume.array.min() < -volume.array.max():
        found = f"values of {volume.array.min():.3g} to {volume.array.max():.3g}"
        raise InputError(describe("image", found, "activity above zero, but for noise", "give the image in Bq/mL"))


def denoised(
    volume: Volume,
    trained: Trained | None,
    why: str,
    classical: Filter,
    *,
    method: str = "auto",
    more: Mapping[str, float] = MappingProxyType({}),
    mirrors: Sequence[tuple[int, ...]] = ((),),
    finish: Finish | None = None,
    progress: Progress = silent,
) -> Denoised:
    """The image by the network or by the filter; `more` are features that the image does not tell, `mirrors` the axes
    of each mirror image over which the network's answer is averaged, `finish` what is done to that.

    Raises:
        InputError: as `checked`, and `dose.learning.ranges.choose`.
    """
    checked(volume)
    bounds = None if trained is None else trained.limits
    choice = choose(method, bounds, features(volume) | dict(more), default=bool(trained and trained.default), why=why)
    if choice.method == "classical" or trained is None:
        mean, sd = filtered(volume, classical)
    else:
        mean, sd = mirrored(trained.members[0], volume.array, mirrors, progress)
        mean, sd = finish(volume.array, mean, sd) if finish else (mean, sd)
    return Denoised(volume.with_array(mean), volume.with_array(sd), choice)


def filtered(volume: Volume, classical: Filter) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian filter, and the local rms of what it took away, as much of it as training cases left in error."""
    width = classical.fwhm_mm / volume.spacing_mm[::-1]
    mean = smoothed(volume.array, width, truncate=4.0)
    taken = smoothed((volume.array - mean) ** 2, 5.0)
    return np.maximum(mean, 0), classical.left_over * np.sqrt(np.maximum(taken, 0))


def mirrored(
    model: nn.Module, array: np.ndarray, mirrors: Sequence[tuple[int, ...]] = MIRRORS, progress: Progress = silent
) -> tuple[np.ndarray, np.ndarray]:
    """Means of `applied` over mirror images, mirrored back: activity, and sd (their errors go together)."""
    found = []
    for k, axes in enumerate(mirrors):
        now = _part(progress, k, len(mirrors))
        found.append([np.flip(image, axes) for image in applied(model, np.flip(array, axes), now)])
    return np.mean([mean for mean, _ in found], axis=0), np.mean([sd for _, sd in found], axis=0)


def _part(progress: Progress, k: int, parts: int) -> Progress:
    """Progress of the k-th of as many equal parts, told as that of the whole."""
    return lambda done, whole, words: progress(k * whole + done, parts * whole, words)


@torch.no_grad()
def applied(model: nn.Module, array: np.ndarray, progress: Progress = silent) -> tuple[np.ndarray, np.ndarray]:
    """The network's activity and sd of a volume [z, y, x], some slices at a time; no activity below zero."""
    assert isinstance(model, Denoiser)
    reach, scale = (model.base - 1) // 2, level(array)
    seen = channels(np.asarray(array, np.float32) / np.float32(scale), reach, model.widths_voxels)
    found = []
    for first in range(0, len(seen), SLICES_AT_ONCE):
        progress(first, len(seen), "slices")
        found.append(model(torch.from_numpy(np.ascontiguousarray(seen[first : first + SLICES_AT_ONCE]))).numpy())
    progress(len(seen), len(seen), "slices")
    mean, sd = np.concatenate(found).transpose(1, 0, 2, 3) * np.float32(scale)
    return np.maximum(mean, 0), sd
