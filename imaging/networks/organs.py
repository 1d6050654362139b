"""Organs on PET/CT and SPECT/CT: a compact 3D U-Net, with an atlas registered to the CT behind it.

The U-Net is that of Ronneberger et al. (2015) in three dimensions with group norms, trained by cross entropy and soft
Dice on simulated patients only (`organs_data`). One network serves PET, SPECT and CT alone, as blur, noise and absence
of the emission image are drawn at random in training. See docs/ai/organs.md for what it was not validated on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import binary_dilation
from torch import nn
from torch.nn import functional

from dose.learning.cases import Progress, silent
from dose.learning.patches import patchwise
from dose.learning.ranges import Choice, choose, with_reasons
from dose.learning.recipe import Case, Config, Recipe
from dose.learning.unet import UNet
from dose.learning.weights import Trained, found_weights
from imaging.geometry import Volume
from imaging.networks.given import covered_part, same_place
from imaging.networks.organs_data import Spread, batch, case, whole
from imaging.networks.organs_input import (
    FINEST,
    HEIGHT,
    HOTTEST,
    MEDIAN_HU,
    body_mask,
    checked,
    inputs_of,
    pieces_of,
    prepared,
)
from imaging.networks.organs_result import ORGANS, OrganSegmentation, measured

CHANNELS = 4
OVERLAP = 0.35

CLASS_WEIGHTS = (1.0, 4.0, 4.0, 2.0, 4.0, 10.0, 10.0, 15.0, 15.0, 5.0)
"""In the cross entropy, no organ first: with even weights the glands, a voxel in a thousand, were not learned in 1200
steps."""

DICE_WEIGHT = 1.0
"""Of the soft Dice beside the cross entropy."""

LEAST_PART = 0.25
"""Pieces smaller than this part of an organ's largest piece are taken for something else."""

LEAST_mL = {
    "kidney_left": 30.0,
    "kidney_right": 30.0,
    "liver": 200.0,
    "spleen": 20.0,
    "parotid_left": 4.0,
    "parotid_right": 4.0,
    "submandibular_left": 2.0,
    "submandibular_right": 2.0,
    "bladder": 8.0,
}
"""What is smaller is not taken for the organ: after its removal none must be invented."""

EVEN, SPARE = 0.5, 0.01
"""Probability that parts an organ from what is round it, and how far voxels of the network's grid stay from it."""

SD_PER_DOUBT = 0.61
"""Rms error of a volume over its doubtful volume, the sum of 2 p (1 - p): of the shipped 3D weights on eight held-out
PET/CT."""


def network(config: Config) -> nn.Module:
    """The untrained network: four channels to the logits of no organ and of each organ."""
    width, levels = int(config.network["width"]), int(config.network["levels"])
    return UNet(3, CHANNELS, len(ORGANS) + 1, width=width, levels=levels, norm=True)


def loss(model: nn.Module, found: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Cross entropy plus soft Dice of the organs that the batch holds; convolutions in bfloat16.

    Measured here: a step in bfloat16 takes 0.6 of its time in float32. A batch of one on one thread takes twice as
    long a case, as torch leaves oneDNN there.
    """
    with torch.autocast(found["inputs"].device.type, dtype=torch.bfloat16):
        logits = model(found["inputs"])
    return segmentation_loss(logits.float(), found["organs"])


def segmentation_loss(logits: torch.Tensor, organs: torch.Tensor) -> torch.Tensor:
    """Of logits [case, class, *space] against classes [case, *space]."""
    entropy = functional.cross_entropy(logits, organs, torch.tensor(CLASS_WEIGHTS, device=logits.device))
    p = logits.softmax(dim=1)
    truth = functional.one_hot(organs, logits.shape[1]).movedim(-1, 1).to(p.dtype)
    space = [0, *range(2, p.ndim)]
    both, volume = (p * truth).sum(space), truth.sum(space)
    dice = (2 * both + 1) / (p.sum(space) + volume + 1)
    there = (volume > 0).to(p.dtype)
    there[0] = 0
    return entropy + DICE_WEIGHT * ((1 - dice) * there).sum() / there.sum().clamp(min=1)


def limits(cases: Sequence[Case], config: Config) -> dict[str, tuple[float, float]]:
    """Range of each feature over whole randomised cases, widened by a tenth of it on either side.

    Not below zero but for CT numbers, and the height not below the least that was trained on.
    """
    random, found = np.random.default_rng(5), []
    voxel_mm = float(config.data["voxel_mm"])
    for k in range(4 * len(cases)):
        hu, relative, _ = whole(cases[k % len(cases)], random, Spread(no_emission=0.0))
        found.append(prepared(hu, relative, body_mask(hu), voxel_mm)[1])
    made = {name: [each[name] for each in found] for name in found[0]}
    made[HEIGHT] += [float(config.training["patch"][0]) * voxel_mm]
    return {name: _wider(name, min(values), max(values)) for name, values in made.items()}


RECIPE = Recipe("organs", "imaging.networks", case, batch, network, loss, limits)


def segment_organs(
    emission: Volume | None,
    ct: Volume,
    *,
    modality: str,
    method: str = "auto",
    sex: str = "male",
    weights: Path | None = None,
    progress: Progress = silent,
) -> OrganSegmentation:
    """Kidneys, liver, spleen, parotid and submandibular glands and bladder on a PET/CT, a SPECT/CT or a CT.

    Emission and CT lie in one frame of reference; their grids may differ. Volumes have an sd from the doubtful voxels
    of the network's probabilities, scaled on held-out simulated cases. The classical method states none.

    Args:
        emission: of any unit, above zero somewhere; None for CT alone.
        ct: in HU.
        modality: "PET", "SPECT" or, without emission, "CT".
        method: "auto" (network in its range, if it is the default), "network" or "classical" (the atlas).
        sex: of the atlas of the classical method.
        weights: folder with other weights than the shipped ones.
        progress: told of patches.

    Raises:
        InputError: another modality or method; "network" without weights; what is no volume.
        ImageError: images that cannot be segmented, or an emission image that covers none of the body on the CT.
    """
    return segmented(RECIPE, whole_volume, emission, ct, modality, method, sex, weights, progress)


Predict = Callable[[Trained, np.ndarray, Progress], np.ndarray]
"""Probabilities [class, z, y, x] of channels [channel, z, y, x]."""


def segmented(
    recipe: Recipe,
    predict: Predict,
    emission: Volume | None,
    ct: Volume,
    modality: str,
    method: str,
    sex: str,
    weights: Path | None,
    progress: Progress,
) -> OrganSegmentation:
    """As `segment_organs`, by the network of a recipe."""
    checked(emission, ct, modality)
    trained, why = found_weights(recipe, weights)
    voxel_mm = float(trained.card["data"]["voxel_mm"]) if trained else 6.0
    inputs, found, grid = inputs_of(emission, ct, voxel_mm)
    bounds = (
        None if trained is None else {k: v for k, v in trained.limits.items() if emission or k not in (HOTTEST, FINEST)}
    )
    choice = choose(method, bounds, found, default=bool(trained and trained.default), why=why)
    choice = with_reasons(choice, method, _elsewhere(emission, grid))
    if choice.method == "classical" or trained is None:
        from imaging.networks.organs_atlas import by_atlas

        return by_atlas(emission, ct, sex=sex, choice=choice, progress=progress)
    return _result(predict(trained, inputs, progress), grid, ct, choice)


def _elsewhere(emission: Volume | None, grid: Volume) -> tuple[str, ...]:
    """In words, that the emission image covers too little of the body on the grid's CT; raises where it covers none."""
    body = body_mask(grid.array).astype(np.float32)
    covered = 1.0 if emission is None else covered_part(emission, grid, body)
    return same_place("emission", covered, "the body on the CT")


def whole_volume(trained: Trained, inputs: np.ndarray, progress: Progress = silent) -> np.ndarray:
    """Mean probabilities [class, z, y, x] of the members over a whole image, patch by patch."""
    patch = [int(n) for n in trained.card["training"]["patch"]]
    members = [_probabilities(member, inputs, patch, progress) for member in trained.members]
    return np.mean(members, axis=0)


def _probabilities(member: nn.Module, inputs: np.ndarray, patch, progress: Progress) -> np.ndarray:
    def answer(x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):  # on one thread six times as fast as float32
            logits = member(x)
        return logits.float().softmax(dim=1)

    return patchwise(answer, inputs, patch, overlap=OVERLAP, progress=progress)


def _result(probability: np.ndarray, grid: Volume, ct: Volume, choice: Choice) -> OrganSegmentation:
    """Organs of probabilities on the network's grid, brought to the CT's."""
    kept = cleaned(probability, grid.voxel_mL)
    doubt = {name: float((2 * p * (1 - p)).sum()) * grid.voxel_mL for name, p in zip(ORGANS, probability[1:])}
    numbers = np.unique(kept)
    names = {int(k): ORGANS[int(k) - 1] for k in numbers if k}
    sure = {name: float(probability[k][kept == k].mean()) for k, name in names.items()}
    notes = tuple(f"{name} is cut by the field" for k, name in names.items() if _at_end(kept == k))
    labels = ct.with_array(_on_ct(probability, kept, grid, ct))
    volumes = measured(labels.array, names, ct.voxel_mL)
    sd = {name: SD_PER_DOUBT * doubt[name] for name in names.values()}
    return OrganSegmentation(labels, names, volumes, sd, sure, choice, notes)


def cleaned(probability: np.ndarray, voxel_mL: float) -> np.ndarray:
    """Likeliest class of each voxel, without small pieces and without organs too small to be there."""
    classes = probability.argmax(axis=0).astype(np.uint8)
    for k, name in enumerate(ORGANS, start=1):
        pieces, number = pieces_of(classes == k)
        if not number:
            continue
        sizes = np.bincount(pieces.ravel())[1:]
        small = np.flatnonzero((sizes < LEAST_PART * sizes.max()) | (sizes.max() * voxel_mL < LEAST_mL[name])) + 1
        classes[np.isin(pieces, small)] = 0
    return classes


def _on_ct(probability: np.ndarray, kept: np.ndarray, grid: Volume, ct: Volume) -> np.ndarray:
    """Classes on the CT's grid: an organ's probability is read linearly, and holds above a half.

    On a grid of its own that gives the classes back.
    """
    best, classes = np.full(ct.array.shape, 0.5, dtype=np.float32), np.zeros(ct.array.shape, dtype=np.float32)
    for k in np.unique(kept[kept > 0]):
        inside = kept == k
        p = np.where(inside, np.maximum(probability[k], EVEN + SPARE), np.minimum(probability[k], EVEN - SPARE))
        read = grid.with_array(p * binary_dilation(inside)).resampled_onto(ct).array
        more = read > best
        best[more], classes[more] = read[more], k
    return classes


def _at_end(mask: np.ndarray) -> bool:
    return bool(mask[0].any() or mask[-1].any())


def _wider(name: str, low: float, high: float) -> tuple[float, float]:
    more = 0.1 * (high - low)
    if name == HEIGHT:
        return low, high + more
    return low - more if name in (MEDIAN_HU, FINEST) else max(0.0, low - more), high + more
