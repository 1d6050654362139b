"""The 2.5D variant of the organ network: a 2D U-Net on five neighbouring axial slices answers for the middle one.

Cheaper than three dimensions, and blind to what lies more than two slices away. Axial slices only: no average over
three planes. See docs/ai/organs.md for how the two compare.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from dose.learning.cases import Progress, silent
from dose.learning.recipe import Case, Config, Recipe
from dose.learning.unet import UNet
from dose.learning.weights import Trained
from imaging.geometry import Volume
from imaging.networks.organs import CHANNELS, limits, segmentation_loss, segmented
from imaging.networks.organs_data import batch as boxes
from imaging.networks.organs_data import case
from imaging.networks.organs_result import ORGANS, OrganSegmentation

SLICES = 5
AT_ONCE = 8
"""Slices answered at a time."""


def network(config: Config) -> nn.Module:
    """The untrained network: five slices of CT twice and emission, and the place from left to right once."""
    width, levels = int(config.network["width"]), int(config.network["levels"])
    inputs = SLICES * (CHANNELS - 1) + 1
    return UNet(2, inputs, len(ORGANS) + 1, width=width, levels=levels, norm=True)


def batch(cases: Sequence[Case], random: np.random.Generator, config: Config) -> Mapping[str, np.ndarray]:
    """`inputs` [case, slice and channel, y, x] and `organs` [case, y, x] of the middle slice."""
    made = boxes(cases, random, config)
    inputs = np.stack([flat(box) for box in made["inputs"]])
    return {"inputs": inputs, "organs": made["organs"][:, SLICES // 2]}


def flat(box: np.ndarray) -> np.ndarray:
    """Channels of five slices [channel, slice, y, x] as [slice and channel, y, x]."""
    stack = box[:-1].reshape(-1, *box.shape[2:])
    return np.concatenate([stack, box[-1:, SLICES // 2]])


def loss(model: nn.Module, found: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Cross entropy plus soft Dice of the organs that the batch holds."""
    return segmentation_loss(model(found["inputs"]), found["organs"])


RECIPE = Recipe("organs_25d", "imaging.networks", case, batch, network, loss, limits)


def segment_organs_25d(
    emission: Volume | None,
    ct: Volume,
    *,
    modality: str,
    method: str = "auto",
    sex: str = "male",
    weights: Path | None = None,
    progress: Progress = silent,
) -> OrganSegmentation:
    """As `imaging.networks.organs.segment_organs`, by the 2.5D network.

    Raises:
        InputError: another modality or method; "network" without weights; what is no volume.
        ImageError: images that cannot be segmented, or an emission image that covers none of the body on the CT.
    """
    return segmented(RECIPE, slice_by_slice, emission, ct, modality, method, sex, weights, progress)


@torch.no_grad()
def slice_by_slice(trained: Trained, inputs: np.ndarray, progress: Progress = silent) -> np.ndarray:
    """Mean probabilities [class, z, y, x] of the members; beyond the ends the last slice is repeated."""
    reach = SLICES // 2
    deeper = np.pad(inputs, ((0, 0), (reach, reach), (0, 0), (0, 0)), mode="edge")
    found = []
    for low in range(0, inputs.shape[1], AT_ONCE):
        progress(low, inputs.shape[1], "slices")
        here = range(low, min(low + AT_ONCE, inputs.shape[1]))
        stack = torch.from_numpy(np.stack([flat(deeper[:, k : k + SLICES]) for k in here]))
        members = [member(stack).softmax(dim=1) for member in trained.members]
        found.append(torch.stack(members).mean(dim=0).numpy())
    progress(inputs.shape[1], inputs.shape[1], "slices")
    return np.concatenate(found).swapaxes(0, 1)
