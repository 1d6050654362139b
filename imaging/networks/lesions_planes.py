"""What the lesion networks share: loss, channels, and a 2D network over a volume in three planes (2.5D)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from dose.learning.cases import Progress, silent
from dose.learning.recipe import Config
from dose.learning.unet import UNet

AT_ONCE = 16
"""Slices that go through the network together."""

DICE_WEIGHT = 0.5
SMOOTH = 50.0
"""Voxels added to both sides of the Dice loss, so that batches without lesions do not rule."""

NO_CT = -2.0
"""Channel of a CT that is not there."""


def planar_network(config: Config, extra: int) -> nn.Module:
    """The U-Net: slices of the image and `extra` channels of the middle slice in, one logit out."""
    of = config.network
    return UNet(2, int(of["slices"]) + extra, 1, width=int(of["width"]), levels=int(of["levels"]))


def segmentation_loss(network: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Cross-entropy, which keeps probabilities honest, and half of the Dice loss, which keeps small lesions."""
    logit, target = network(batch["inputs"])[:, 0], batch["target"]
    seen = torch.sigmoid(logit)
    shared, both = (seen * target).sum(), seen.sum() + target.sum()
    dice = 1.0 - (2.0 * shared + SMOOTH) / (both + SMOOTH)
    return functional.binary_cross_entropy_with_logits(logit, target) + DICE_WEIGHT * dice


def compressed(values: np.ndarray) -> np.ndarray:
    """asinh: near zero as it is, far from zero a logarithm."""
    return np.arcsinh(values).astype(np.float32)


def ct_channel(hu: np.ndarray | None, shape) -> np.ndarray:
    """CT numbers over 500, cut at air and bone; `NO_CT` where there is none."""
    if hu is None:
        return np.full(shape, NO_CT, np.float32)
    return np.clip(hu / 500.0, -1.6, 2.0).astype(np.float32)


@torch.no_grad()
def three_planes(
    network: nn.Module,
    image: Float[np.ndarray, "z y x"],
    others: Sequence[Float[np.ndarray, "z y x"]],
    slices: int,
    body: np.ndarray,
    progress: Progress = silent,
) -> Float[np.ndarray, "plane z y x"]:
    """Probabilities of a volume read in axial, coronal and sagittal slices.

    Args:
        image: of which each slice brings its neighbours along.
        others: channels of the slice itself.
        body: slices without any of it are skipped.
    """
    found = []
    for plane in range(3):
        stacked = _pass(network, *(np.moveaxis(a, plane, 0) for a in (image, body)), others, plane, slices, progress)
        found.append(np.moveaxis(stacked, 0, plane))
    progress(3, 3, "planes")
    return np.stack(found)


def _pass(network, image, body, others, plane: int, slices: int, progress: Progress) -> np.ndarray:
    half = slices // 2
    padded = np.pad(image, ((half, half), (0, 0), (0, 0)), mode="edge")
    turned = [np.moveaxis(a, plane, 0) for a in others]
    out = np.zeros(image.shape, np.float32)
    wanted = np.flatnonzero(body.any(axis=(1, 2)))
    for start in range(0, len(wanted), AT_ONCE):
        progress(plane, 3, "planes")
        some = wanted[start : start + AT_ONCE]
        stack = np.stack([np.concatenate([padded[k : k + slices], [a[k] for a in turned]]) for k in some])
        out[some] = torch.sigmoid(network(torch.from_numpy(stack)))[:, 0].numpy()
    return out
