"""`dose_kernels`: kernels that a network makes of the density about source and target, one for each pair of voxels.

Idea of Goetz et al. 2020 and Akhavanallaf et al. 2021 (recalled: networks predict density-specific kernels). Here the
kernel from voxel s to voxel t is the sum over k of w_k(t) v_k(s) B_k(t - s), with B_k the electron kernels of five
media and weights that a U-Net makes from density alone: a few convolutions, exactly linear in activity. Energy that
stays in its own voxel, and photon dose, get one factor each. Model card: docs/ai/dose_kernels.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dose.body_tissues import Tissue, shares_at, tissues
from dose.kernel_cache import cached_kernel
from dose.kernels import self_energy_MeV
from dose.learning.cases import Case
from dose.learning.recipe import Config, Recipe
from dose.learning.unet import UNet
from dose.network import maps
from dose.network.finish import finisher
from dose.network.scenes import NUCLIDES, simulated
from dose.nuclides import radionuclide
from dose.organ import gray_per_MeV
from dose.point_energies import point_energies

START = ("single",)
"""Kernel maps that the network starts from: of these, the photons."""

REACH = 12
"""Greatest offset of the basis kernels in voxels: beyond it lies less than 1 % of 90Y's energy in lung at 3.6 mm."""

LEAST_G_CM3 = 0.2
"""Tissues of the kernel table from this density on make the basis."""

SELF_DENSITIES = np.geomspace(maps.AIR, 4.0, 24)


class Kernels(nn.Module):
    """Dose of a case, [batch, kind, z, y, x]; nothing in air."""

    def __init__(self, basis: int, width: int, levels: int):
        super().__init__()
        self.basis = basis
        self.weights = UNet(3, 6, 2 * basis + 2, width=width, levels=levels)
        nn.init.zeros_(self.weights.last.weight)
        nn.init.zeros_(self.weights.last.bias)

    def forward(self, drawn: Mapping[str, Tensor]) -> Tensor:
        density = drawn["density"]
        found = maps.GENTLE * self.weights(maps.tissue_features(density, drawn["about"]))
        source, target, own = found.split([self.basis, self.basis, 2], dim=1)
        leaving = drawn["tia"] * (drawn["shares"] + source)
        crossed = ((1 + target) * convolved(leaving, drawn["basis"])).sum(1)
        electron = drawn["stays"][:, 0] * (1 + own[:, 0]) + crossed
        photon = drawn["photon"][:, 0] * (1 + own[:, 1])
        return torch.stack([electron, photon], dim=1) * (density >= maps.AIR)[:, None]


def last_layer(model: Kernels) -> tuple[nn.Conv3d, list[tuple[int, list[int]]]]:
    """The layer, and with their kind its rows that answers are linear in: those of targets, and of what stays."""
    number = model.basis
    return model.weights.last, [(0, [*range(number, 2 * number + 1)]), (1, [2 * number + 1])]


def signals(model: Kernels, drawn: Mapping[str, Tensor]) -> list[Tensor]:
    """What these rows are factors of, by kind, [batch, row, z, y, x]."""
    judged = (drawn["density"] >= maps.AIR)[:, None]
    found = maps.GENTLE * model.weights(maps.tissue_features(drawn["density"], drawn["about"]))
    crossed = convolved(drawn["tia"] * (drawn["shares"] + found[:, : model.basis]), drawn["basis"])
    return [torch.cat([crossed, drawn["stays"]], dim=1) * judged, drawn["photon"] * judged]


def convolved(x: Tensor, octants: Tensor) -> Tensor:
    """Maps [batch, k, z, y, x] with even kernels given by their octants [batch, k, n, n, n]."""
    reach = octants.shape[-1] - 1
    size = x.shape[-3:]
    whole = [max(n, reach + 1) + reach for n in size]
    full = octants
    for axis, length in zip((-3, -2, -1), whole):
        mirrored = full.narrow(axis, 1, reach).flip(axis)
        gap = list(full.shape)
        gap[axis] = length - 2 * reach - 1
        full = torch.cat([full, full.new_zeros(gap), mirrored], dim=axis)
    pad = [side for n, length in zip(size[::-1], whole[::-1]) for side in (0, length - n)]
    spectrum = torch.fft.rfftn(functional.pad(x, pad), dim=(-3, -2, -1))
    back = torch.fft.irfftn(spectrum * torch.fft.rfftn(full, dim=(-3, -2, -1)), s=whole, dim=(-3, -2, -1))
    return back[(..., *(slice(0, n) for n in size))]


def channels(case: Case) -> dict[str, np.ndarray]:
    """What the network sees of a case; `scale_Gy` brings its answer back to Gy."""
    single = maps.stacked(case, "single_")
    scale = float(single.sum(0).mean())
    density = np.asarray(case["density"], np.float32)
    nuclide, spacing, per_MeV = _place(case)
    octants, stays = basis(nuclide, spacing)
    share = np.interp(np.log(np.maximum(density, maps.AIR)), np.log(SELF_DENSITIES), stays)
    return {
        "tia": (case["tia"] * (per_MeV / scale)).astype(np.float32)[None],
        "basis": octants,
        "shares": shares_at(density, media()),
        "stays": (maps.local_Gy(case) * share / scale).astype(np.float32)[None],
        "photon": single[1:] * density / scale,
        "density": density,
        "about": maps.about(case),
        "scale_Gy": np.array(scale, np.float32),
    }


def crossed_Gy(case: Case) -> np.ndarray:
    """Electron dose from other voxels in each medium of the basis, of the activity that lies in it, [k, z, y, x]."""
    nuclide, spacing, per_MeV = _place(case)
    leaving = (case["tia"] * per_MeV).astype(np.float32) * shares_at(case["density"], media())
    octants = torch.from_numpy(basis(nuclide, spacing)[0])
    return convolved(torch.from_numpy(leaving)[None], octants[None])[0].numpy()


def _place(case: Case) -> tuple[str, tuple[float, ...], float]:
    """Nuclide, voxel's edges in mm, and Gy of an MeV for each decay of a MBq h in a voxel of 1 g/cm3."""
    spacing = tuple(float(e) for e in case["spacing_mm"])
    return NUCLIDES[int(case["nuclide"])], spacing, gray_per_MeV(float(np.prod(spacing)) * 1e-3)


def media() -> tuple[Tissue, ...]:
    """The tissues whose kernels make the basis."""
    return tuple(tissue for tissue in tissues() if tissue.density_g_cm3 >= LEAST_G_CM3)


@lru_cache(maxsize=64)
def basis(nuclide: str, spacing_mm: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """MeV per decay over the mass in units of a voxel of water, [k, n, n, n] without the source's own voxel, and the
    share of electron energy that stays there at each of `SELF_DENSITIES`."""
    octants = []
    for tissue in media():
        point = point_energies(nuclide, tissue.material)
        made = cached_kernel(
            point, spacing_mm, density_g_cm3=tissue.density_g_cm3, most_voxels=(REACH,) * 3, parts=("electron",)
        )
        octant = np.zeros((REACH + 1,) * 3, np.float32)
        octant[tuple(slice(0, n) for n in made.electron_MeV.shape)] = made.electron_MeV / tissue.density_g_cm3
        octant[0, 0, 0] = 0.0
        octants.append(octant)
    point = point_energies(nuclide, "soft_tissue")
    stays = self_energy_MeV(point, spacing_mm, SELF_DENSITIES) / radionuclide(nuclide).electron_MeV
    return np.stack(octants), stays


def network(config: Config) -> nn.Module:
    """The untrained network of a configuration."""
    return Kernels(len(media()), int(config.network["width"]), int(config.network["levels"]))


RECIPE = Recipe(
    name="dose_kernels",
    package="dose.network",
    case=lambda seed, config: simulated(seed, config.data),
    batch=lambda cases, random, config: maps.batch(cases, random, config, channels),
    network=network,
    loss=maps.loss,
    limits=maps.limits,
    after=finisher(__name__),
)
