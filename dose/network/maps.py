"""What the dose networks see and what they are judged by: maps of one case as channels, noise as weights.

Doses are divided by the mean of the map that a network starts from, so that it sees numbers about one whatever the
activity; all three networks are linear or homogeneous in that factor. Targets are single Monte Carlo runs with their
noise, whose mean is what is learned (Lehtinen et al. 2018, recalled); weights come from the kernel engine's dose and
never from the noisy one, so that they bring no bias.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from dose.learning.cases import Case
from dose.learning.recipe import Config
from dose.learning.weights import tensors_of
from dose.network.scenes import NUCLIDES
from dose.nuclides import radionuclide
from dose.organ import gray_per_MeV

KINDS = ("electron", "photon")
"""Channels of every dose map here."""

AIR = 0.05
"""Below this density, in g/cm3, no dose is given (as `dose.voxels`)."""

TOLERATED = 0.02
"""Relative error of a voxel's dose that counts as much as noise of the same size."""

GENTLE = 0.1
"""Times the networks' factors: a first step of training then changes no dose by more than its noise."""

STILL = ("about", "basis")
"""Of a case's arrays, what stays as it is when the scene is turned."""

USUAL_MM = 4.0


def stacked(case: Case, word: str) -> np.ndarray:
    """Electron and photon dose of one method in Gy, [kind, z, y, x]; no word: the Monte Carlo's."""
    return np.stack([case[f"{word}{kind}_Gy"] for kind in KINDS]).astype(np.float32)


def about(case: Case) -> np.ndarray:
    """Nuclide, one number each, and voxel size, [feature]."""
    known = [float(int(case["nuclide"]) == k) for k in range(len(NUCLIDES))]
    return np.array([*known, float(case["spacing_mm"][0]) / USUAL_MM - 1], np.float32)


def local_Gy(case: Case) -> np.ndarray:
    """Dose if all electrons stayed where they arise, [z, y, x], 0 in air."""
    density, number = case["density"], int(case["nuclide"])
    per_g = gray_per_MeV(float(np.prod(case["spacing_mm"])) * 1e-3) * radionuclide(NUCLIDES[number]).electron_MeV
    return np.where(density < AIR, 0.0, case["tia"] * per_g / np.maximum(density, AIR)).astype(np.float32)


def tissue_features(density: Tensor, facts: Tensor) -> Tensor:
    """Density as channels, with nuclide and voxel size spread over the map: [batch, 6, z, y, x]."""
    space = density.shape[-3:]
    log = torch.log(density.clamp(min=AIR)) / 2
    maps = torch.stack([log, density, (density < AIR).to(density.dtype)], dim=1)
    return torch.cat([maps, facts[:, :, None, None, None].expand(-1, -1, *space)], dim=1)


def drawn(seen: Mapping[str, np.ndarray]) -> tuple[dict[str, Tensor], float]:
    """A case's channels as a batch of one, and the Gy that its numbers stand for."""
    rest = {name: array[None] for name, array in seen.items() if name != "scale_Gy"}
    return tensors_of(rest), float(seen["scale_Gy"])


def weights(case: Case) -> np.ndarray:
    """One over the variance of noise and tolerated error, by kind, [kind, z, y, x]; 0 in air, in 1/Gy^2."""
    made, target, density = stacked(case, "kernel_"), stacked(case, ""), case["density"]
    judged = (density >= AIR) & (made.sum(0) > 0)
    tolerated = (TOLERATED * made.sum(0)) ** 2
    noise = np.stack([_noise(m, t, density, judged) for m, t in zip(made, target)])
    return np.where(judged, 1 / np.maximum(noise + tolerated, 1e-30), 0.0).astype(np.float32)


def _noise(made: np.ndarray, target: np.ndarray, density: np.ndarray, judged: np.ndarray) -> np.ndarray:
    """Variance of the Monte Carlo: counts of equal energy over the voxel's mass, with one factor for the map."""
    expected = np.where(judged, made / np.maximum(density, AIR), 0.0)
    level = np.sum(((target - made) ** 2)[judged]) / max(float(expected.sum()), 1e-30)
    return level * expected


def batch(cases: Sequence[Case], random: np.random.Generator, config: Config, channels) -> Mapping[str, np.ndarray]:
    """Whole scenes, turned and mirrored at random; `channels` gives a network's own maps of a case by name."""
    found = []
    for number in random.integers(len(cases), size=int(config.training["batch"])):
        case = cases[number]
        one = dict(channels(case))
        scale = float(one.pop("scale_Gy"))
        one |= {"target": stacked(case, "") / scale, "weight": weights(case) * scale**2}
        order, signs = random.permutation(3), random.choice([-1, 1], size=3)
        found.append({n: array if n in STILL else _turned(array, order, signs) for n, array in one.items()})
    return {name: np.stack([one[name] for one in found]) for name in found[0]}


def _turned(array: np.ndarray, order: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """The last three axes of a map in another order and direction."""
    first = array.ndim - 3
    turned = array.transpose(*range(first), *(first + order))
    return np.ascontiguousarray(turned[(..., *(slice(None, None, int(s)) for s in signs))])


def loss(model: torch.nn.Module, drawn: Mapping[str, Tensor]) -> Tensor:
    """Mean over voxels and kinds of the squared difference in units of its variance."""
    return (drawn["weight"] * (model(drawn) - drawn["target"]) ** 2).mean()


def tissue_box(density, tia) -> tuple[slice, ...]:
    """The least box that holds all tissue and activity: empty air about it is cut off before a network looks."""
    index = np.argwhere((np.asarray(density) >= AIR) | (np.asarray(tia) > 0))
    if not len(index):
        return (slice(None),) * 3
    return tuple(slice(int(a), int(b) + 1) for a, b in zip(index.min(axis=0), index.max(axis=0)))


def features(case: Case) -> dict[str, float]:
    """What a network's range is told by, of the tissue's box."""
    spacing, density = case["spacing_mm"], np.asarray(case["density"])[tissue_box(case["density"], case["tia"])]
    return {
        "voxel size in mm": float(np.cbrt(np.prod(spacing))),
        "longest over shortest edge of a voxel": float(max(spacing) / min(spacing)),
        "greatest density in g/cm3": float(density.max()),
        "shortest side of the map in voxels": float(min(density.shape)),
    }


def limits(cases: Sequence[Case], _: Config) -> dict[str, tuple[float, float]]:
    """Range of each feature; larger maps and bodies without bone are allowed."""
    seen = [features(case) for case in cases]
    found = {name: (min(s[name] for s in seen), max(s[name] for s in seen)) for name in seen[0]}
    found["longest over shortest edge of a voxel"] = (1.0, 1.02)
    found["greatest density in g/cm3"] = (AIR, found["greatest density in g/cm3"][1])
    found["shortest side of the map in voxels"] = (found["shortest side of the map in voxels"][0], 512.0)
    return found
