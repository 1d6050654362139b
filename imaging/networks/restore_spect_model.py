"""The network of partial-volume restoration: what it sees, what it gives, its batches and its loss.

A 3D U-Net without biases adds to the image. Every input goes with the activity, CT only as a factor of a smoothed
copy, so f(a x) = a f(x). Two more outputs are the sd of a voxel, and a map whose mean over a region is the sd of that
region's mean.
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
from imaging.networks.denoise import level, smoothed
from imaging.networks.restore_spect_cases import lesions_of, organ_of
from imaging.networks.restore_spect_classical import deconvolved

SMOOTH_VOXELS = (2.5, 6.0)
"""FWHM of the smoothed copies."""

HU_SCALE = 500.0
BASE, LOCAL = 0, 3
"""Channels: the image, which is added to, and the narrower smoothed copy."""

FLOOR, SD_SHARE, REGION_SHARE = 0.25, 0.2, 0.5
"""Errors count relative to the local mean plus FLOOR of the image's level; weights of the sd and of region means."""

IMPORTANT, DROP_CT = 2.0, 0.2
"""What more a voxel or mean of a lesion or kidney weighs; part of the crops without CT."""

RIM = 3
"""Voxels at the sides of a crop that do not count."""

MOST_LABELS = 256
KIDNEYS = ("kidney_left", "kidney_right")


class Restorer(nn.Module):
    """[batch, channel, z, y, x] of `channels` to [batch, (activity, sd, sd of means), z, y, x]."""

    def __init__(self, width: int, levels: int, deconvolutions: Sequence[int], fwhm_mm: float):
        super().__init__()
        self.deconvolutions, self.fwhm_mm = tuple(deconvolutions), fwhm_mm
        inputs = 3 + len(SMOOTH_VOXELS) + len(self.deconvolutions)
        self.unet = UNet(3, inputs, 3, width=width, levels=levels, bias=False)
        with torch.no_grad():
            self.unet.last.weight[0] = 0.0

    def forward(self, x: Tensor) -> Tensor:
        found = self.unet(x)
        return torch.cat([functional.relu(x[:, BASE : BASE + 1] + found[:, :1]), found[:, 1:].abs()], dim=1)


def network(config: Config) -> Restorer:
    """The untrained network of a configuration: it gives the image as it is."""
    return Restorer(**config.network).to(memory_format=torch.channels_last_3d)


def channels(
    array: Float[np.ndarray, "z y x"], hu: np.ndarray | None, spacing_mm, steps: Sequence[int], fwhm_mm: float
) -> Float[np.ndarray, "channel z y x"]:
    """The image, deconvolved copies, smoothed ones, and two of these times what CT shows (0 without)."""
    sharp = deconvolved(array, spacing_mm, fwhm_mm, steps)
    soft = [smoothed(array, width) for width in SMOOTH_VOXELS]
    matter = np.zeros(array.shape, np.float32) if hu is None else np.clip(hu, -1000, 1000) / np.float32(HU_SCALE)
    return np.stack([array, *sharp, *soft, sharp[0] * matter, soft[0] * matter]).astype(np.float32)


_KEPT: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
"""By the id of a case's image: itself, its channels in units of its level, and how much each voxel weighs."""


def batch(cases: Sequence[Case], random: np.random.Generator, config: Config) -> Mapping[str, np.ndarray]:
    """Crops of images in units of their level, with the truth, labels and weights."""
    crops = [_crop(cases[random.integers(len(cases))], random, config) for _ in range(int(config.training["batch"]))]
    return {name: np.stack([crop[name] for crop in crops]) for name in crops[0]}


def _crop(case: Case, random: np.random.Generator, config: Config) -> dict[str, np.ndarray]:
    k, size = int(random.integers(len(case["image"]))), np.asarray(config.training["patch"])
    seen, weight = _prepared(case, k, config)
    labels, shape = case["labels"][k], np.array(case["labels"].shape[1:])
    first = np.clip(
        _centre(labels, weight, random, config) - random.integers(size // 4, 3 * size // 4), 0, shape - size
    )
    box = tuple(slice(a, a + n) for a, n in zip(first, size))
    made = {
        "input": seen[(slice(None), *box)],
        "target": case["activity"][k][box][None] / np.float32(level(case["image"][k])),
        "weight": weight[box][None],
        "labels": labels[box][None].astype(np.int64),
    }
    if random.random() < DROP_CT:
        made["input"] = np.concatenate([made["input"][:-2], 0 * made["input"][-2:]])
    axes = [axis for axis in (1, 2, 3) if random.random() < 0.5]
    return {name: np.flip(array, axes) for name, array in made.items()}


def _prepared(case: Case, k: int, config: Config) -> tuple[np.ndarray, np.ndarray]:
    key = hash((id(case["image"]), k))
    if key not in _KEPT or _KEPT[key][0] is not case["image"]:
        image = case["image"][k] / np.float32(level(case["image"][k]))
        network_ = config.network
        seen = channels(image, case["hu"], case["spacing_mm"], network_["deconvolutions"], network_["fwhm_mm"])
        chosen = np.logical_or.reduce([organ_of(case, k, *KIDNEYS), *lesions_of(case, k).values()])
        _KEPT[key] = case["image"], seen, (1 + IMPORTANT * chosen).astype(np.float32)
    return _KEPT[key][1:]


def _centre(labels: np.ndarray, weight: np.ndarray, random: np.random.Generator, config: Config) -> np.ndarray:
    """A voxel of a region of any size (half of these of lesions or kidneys), or one of the field."""
    if random.random() > float(config.training["regions"]):
        return np.array([random.integers(n) for n in labels.shape])
    present = np.unique(labels[weight > 1] if random.random() < 0.5 else labels)
    present = present[present > 0]
    if not len(present):
        return np.array([random.integers(n) for n in labels.shape])
    return random.choice(np.argwhere(labels == random.choice(present)))


def loss(model: nn.Module, drawn: Mapping[str, Tensor]) -> Tensor:
    """Relative squared errors of voxels, relative errors of means of regions, and of both sd.

    Convolutions run in bfloat16 with channels last, which halves the time on processors that know it.
    """
    seen = drawn["input"]
    with torch.autocast(seen.device.type, dtype=torch.bfloat16):
        found = model(seen.contiguous(memory_format=torch.channels_last_3d)).float()
    inner = (..., *(slice(RIM, -RIM),) * 3)
    found, target, weight = found[inner], drawn["target"][inner], drawn["weight"][inner]
    local = functional.relu(seen[:, LOCAL : LOCAL + 1][inner]) + FLOOR
    error = found[:, :1] - target
    of_sd = spread_error(error, found[:, 1:2])
    voxels = (weight * (error**2 + SD_SHARE * of_sd**2) / local**2).mean()
    return voxels + REGION_SHARE * _of_regions(found, target, weight, drawn["labels"][inner])


def _of_regions(found: Tensor, target: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """Relative error of the means of all regions in the crops, and of the sd foretold for them."""
    where = labels + MOST_LABELS * torch.arange(len(labels), device=labels.device)[:, None, None, None, None]
    _, region = torch.unique(where, return_inverse=True)
    columns = torch.stack([found[:, 0], target[:, 0], found[:, 2], weight[:, 0], labels[:, 0].float()], dim=-1)
    sums = columns.new_zeros(int(region.max()) + 1, 5).index_add(0, region.flatten(), columns.reshape(-1, 5))
    number = torch.bincount(region.flatten())
    mean, true, sd, important, label = (sums / number[:, None]).T
    counted = (label > 0) & (number >= 3)
    error, scale = mean - true, 0.7 * true + 0.3 * mean.detach() + FLOOR
    relative = functional.smooth_l1_loss(error / scale, torch.zeros_like(error), beta=0.1, reduction="none")
    of_sd = (spread_error(error, sd) / scale) ** 2
    share = important * counted
    return ((relative + of_sd) * share).sum() / share.sum().clamp(min=1e-6)
