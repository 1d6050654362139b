"""The network of both time-integrated activity maps: a U-Net on halved resolution, pointwise layers, log ratios out.

It answers by how much the logarithm of each voxel departs from that of a classical answer, and the sd of that
logarithm. Its last layer begins at zero: an untrained network is the classical method.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from dose.learning.recipe import Config
from dose.learning.unet import UNet

INPUTS = {"tia_single": 14, "tia_from_pet": 13}
LEAST_LOG_SD, MOST_LOG_SD = 0.05, 1.5
START_LOG_SD = 0.3
MOST_LOG = 6.0
"""Departures from the classical answer end at a factor of 400."""


class FactorNet(nn.Module):
    """[batch, channel, z, y, x] to [batch, (log ratio, sd of the logarithm), z, y, x]."""

    def __init__(self, inputs: int, width: int, levels: int, fine: int):
        super().__init__()
        self.coarse = UNet(3, inputs, fine, width=width, levels=levels)
        self.fine = nn.Conv3d(inputs + fine, fine, 1)
        self.last = nn.Conv3d(2 * fine, 2, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor) -> Tensor:
        small = functional.avg_pool3d(x, 2, ceil_mode=True)
        wide = functional.interpolate(self.coarse(small), scale_factor=2, mode="trilinear")
        wide = wide[(..., *(slice(0, n) for n in x.shape[2:]))]
        near = functional.leaky_relu(self.fine(torch.cat([x, wide], dim=1)), 0.1)
        found = self.last(torch.cat([near, wide], dim=1))
        log_sd = bounded(math.log(START_LOG_SD) + found[:, 1], math.log(LEAST_LOG_SD), math.log(MOST_LOG_SD))
        return torch.stack([bounded(found[:, 0], -MOST_LOG, MOST_LOG), torch.exp(log_sd)], dim=1)


def bounded(x: Tensor, low: float, high: float) -> Tensor:
    """x within bounds, beyond which it goes on with a hundredth of its slope: training finds its way back."""
    inside = x.clamp(low, high)
    return inside + 0.01 * (x - inside)


def network(name: str, config: Config) -> FactorNet:
    """The untrained network of a configuration."""
    return FactorNet(INPUTS[name], **{k: int(config.network[k]) for k in ("width", "levels", "fine")})


def loss(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Gaussian likelihood of each voxel's log ratio, and errors of the regions' sums.

    The batch holds x, base (log of the classical answer over `value`), value, log_true (of a voxel's answer over
    `value`), weight (of voxels), labels, truth, region_weight [batch, label], prior [batch, label] (log of the mean
    that the kinetic model predicts) and tie (weight of the departure from it).
    """
    found = model(batch["x"])
    ratio, sd = found[:, 0], found[:, 1]
    error = bounded(batch["log_true"] - batch["base"] - ratio, -MOST_LOG, MOST_LOG)
    voxels = ((0.5 * (error / sd) ** 2 + torch.log(sd)) * batch["weight"]).sum(dim=(1, 2, 3))
    answer = batch["value"] * torch.exp(batch["base"] + ratio)
    number = batch["region_weight"].shape[1]
    sums, true, counts = (region_sums(a, batch["labels"], number) for a in (answer, batch["truth"], None))
    off = torch.log(sums.clamp_min(1e-6) / true.clamp_min(1e-6))
    regions = (off.abs() * batch["region_weight"]).sum(dim=1)
    from_prior = torch.log(sums.clamp_min(1e-6) / counts.clamp_min(1)) - batch["prior"]
    tied = (from_prior.square() * batch["region_weight"]).sum(dim=1) * batch["tie"]
    return (voxels + 2.0 * regions + tied).mean()


def region_sums(array: Tensor | None, labels: Tensor, number: int) -> Tensor:
    """Sums over the voxels of each label, [batch, label]; their counts where there is no array."""
    flat = labels.flatten(1)
    values = torch.ones(flat.shape, device=labels.device) if array is None else array.flatten(1)
    return torch.zeros(len(flat), number, device=values.device).scatter_add(1, flat, values.to(torch.float32))
