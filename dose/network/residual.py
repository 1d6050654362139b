"""`dose_residual`: what Monte Carlo adds to the tissue-wise kernels, as a sum of dose maps that a network weighs.

Idea of Mansouri et al. 2022 (recalled: a network learns Monte Carlo less multi-kernel dose). Here a U-Net and plain
maps of the surroundings see density alone; a last layer, one for each nuclide, makes of them the factors by which maps
that are linear in activity are added: so is their sum.
Model card: docs/ai/dose_residual.md.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from dose.learning.cases import Case
from dose.learning.recipe import Config, Recipe
from dose.learning.unet import UNet
from dose.network import kernels, maps
from dose.network.finish import finisher
from dose.network.scenes import NUCLIDES, simulated
from dose.network.surroundings import number, surroundings

START = ("kernel",)
"""Kernel maps that the network starts from."""


class Residual(nn.Module):
    """Kernel dose and its correction, [batch, kind, z, y, x]; nothing in air."""

    def __init__(self, signals: int, width: int, levels: int):
        super().__init__()
        self.features = UNet(3, 6, 1, width=width, levels=levels)
        self.features.last = nn.Identity()
        self.last = nn.Conv3d(width + number(), len(NUCLIDES) * 2 * signals, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, drawn: Mapping[str, Tensor]) -> Tensor:
        seen = self.features(maps.tissue_features(drawn["density"], drawn["about"]))
        factors = self.last(torch.cat([seen, drawn["around"]], dim=1)).unflatten(1, (len(NUCLIDES), 2, -1))
        own = drawn["about"][:, : len(NUCLIDES), None, None, None, None, None]
        added = ((factors * own).sum(1) * weighed(drawn)[:, None]).sum(2)
        return (drawn["kernel"] + maps.GENTLE * added) * (drawn["density"] >= maps.AIR)[:, None]


def weighed(drawn: Mapping[str, Tensor]) -> Tensor:
    """Maps that the network weighs, [batch, signal, z, y, x]."""
    return torch.cat([drawn["kernel"], drawn["local"], drawn["crossed"]], dim=1)


def last_layer(model: Residual) -> tuple[nn.Conv3d, list[tuple[int, list[int]]]]:
    """The layer that answers are linear in, and its rows: by nuclide and kind, each with its kind."""
    count = model.last.out_channels // (2 * len(NUCLIDES))
    return model.last, [(k % 2, list(range(k * count, (k + 1) * count))) for k in range(2 * len(NUCLIDES))]


def signals(model: Residual, drawn: Mapping[str, Tensor]) -> list[Tensor | None]:
    """What the rows of the last layer are factors of, [batch, row, z, y, x]; None for another nuclide's rows."""
    own = weighed(drawn) * (drawn["density"] >= maps.AIR)[:, None]
    return [own if bool(drawn["about"][0, k // 2]) else None for k in range(2 * len(NUCLIDES))]


def channels(case: Case) -> dict[str, np.ndarray]:
    """What the network sees of a case; `scale_Gy` brings its answer back to Gy."""
    kernel = maps.stacked(case, "kernel_")
    scale = float(kernel.sum(0).mean())
    crossed = case["crossed_Gy"] if "crossed_Gy" in case else kernels.crossed_Gy(case)
    return {
        "kernel": kernel / scale,
        "local": maps.local_Gy(case)[None] / scale,
        "crossed": crossed / scale,
        "density": np.asarray(case["density"], np.float32),
        "around": surroundings(case["density"]),
        "about": maps.about(case),
        "scale_Gy": np.array(scale, np.float32),
    }


def case(seed: int, config: Config) -> Case:
    """A scene with the dose that crosses voxels in each of the basis media, which takes longer than a step."""
    found = simulated(seed, config.data)
    return {**found, "crossed_Gy": kernels.crossed_Gy(found)}


def network(config: Config) -> nn.Module:
    """The untrained network of a configuration."""
    return Residual(3 + len(kernels.media()), int(config.network["width"]), int(config.network["levels"]))


RECIPE = Recipe(
    name="dose_residual",
    package="dose.network",
    case=case,
    batch=lambda cases, random, config: maps.batch(cases, random, config, channels),
    network=network,
    loss=maps.loss,
    limits=maps.limits,
    after=finisher(__name__),
)
