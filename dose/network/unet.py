"""`dose_unet`: density and activity to dose, by a plain U-Net on top of one kernel with density scaling.

Networks of this kind: Lee et al. 2019 (CT and activity patches to Monte Carlo dose by a U-Net, recalled). All it sees
of dose are ratios to a smoothed dose B, and it answers with factors of the kernel's dose and of B: doubled activity
doubles the answer exactly, but the answer is not additive. Model card: docs/ai/dose_unet.md.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dose.learning.cases import Case
from dose.learning.recipe import Config, Recipe
from dose.learning.unet import UNet
from dose.network import maps
from dose.network.finish import finisher
from dose.network.scenes import simulated

START = ("single",)
"""Kernel maps that the network starts from."""

SMOOTHED = 5
"""Voxels along each axis over which B is the mean."""

LEAST = 1e-6


class DoseUNet(nn.Module):
    """Dose of a case, [batch, kind, z, y, x]; nothing in air."""

    def __init__(self, width: int, levels: int):
        super().__init__()
        self.factors = UNet(3, 9, 4, width=width, levels=levels)
        nn.init.zeros_(self.factors.last.weight)
        nn.init.zeros_(self.factors.last.bias)

    def forward(self, drawn: Mapping[str, Tensor]) -> Tensor:
        single, density = drawn["single"], drawn["density"]
        total, smooth = single.sum(1, keepdim=True), smoothed(single)
        whole = smooth.clamp(min=1e-30)
        seen = [torch.log(total / whole + LEAST) / 4, single[:, 1:] / (total + LEAST * whole), drawn["local"] / whole]
        x = torch.cat([*seen, maps.tissue_features(density, drawn["about"])], dim=1)
        own, spread = (maps.GENTLE * self.factors(x)).chunk(2, dim=1)
        return (single * (1 + own) + smooth * spread) * (density >= maps.AIR)[:, None]


def smoothed(single: Tensor) -> Tensor:
    """B: the kernel's dose of both kinds, averaged over the voxels about, [batch, 1, z, y, x]."""
    total = single.sum(1, keepdim=True)
    return functional.avg_pool3d(total, SMOOTHED, stride=1, padding=SMOOTHED // 2)


def last_layer(model: DoseUNet) -> tuple[nn.Conv3d, list[tuple[int, list[int]]]]:
    """The layer that answers are linear in, and its rows, each with their kind."""
    return model.factors.last, [(0, [0, 2]), (1, [1, 3])]


def signals(model: DoseUNet, drawn: Mapping[str, Tensor]) -> list[Tensor]:
    """What the rows of the last layer are factors of, by kind, [batch, row, z, y, x]."""
    judged = (drawn["density"] >= maps.AIR)[:, None]
    single, smooth = drawn["single"], smoothed(drawn["single"])
    return [torch.cat([single[:, k : k + 1], smooth], dim=1) * judged for k in range(2)]


def channels(case: Case) -> dict[str, np.ndarray]:
    """What the network sees of a case; `scale_Gy` brings its answer back to Gy."""
    single = maps.stacked(case, "single_")
    scale = float(single.sum(0).mean())
    return {
        "single": single / scale,
        "local": maps.local_Gy(case)[None] / scale,
        "density": np.asarray(case["density"], np.float32),
        "about": maps.about(case),
        "scale_Gy": np.array(scale, np.float32),
    }


def network(config: Config) -> nn.Module:
    """The untrained network of a configuration."""
    return DoseUNet(int(config.network["width"]), int(config.network["levels"]))


RECIPE = Recipe(
    name="dose_unet",
    package="dose.network",
    case=lambda seed, config: simulated(seed, config.data),
    batch=lambda cases, random, config: maps.batch(cases, random, config, channels),
    network=network,
    loss=maps.loss,
    limits=maps.limits,
    after=finisher(__name__),
)
