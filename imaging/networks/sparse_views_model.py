"""The network on views that sparse-view completion and short-scan denoising share, its cases, its batches and its loss.

Counts x are divided by their mean and by s = sqrt(local mean + floor), so that counting noise is as strong in hot as in
cold regions. A U-Net without biases gives a residual to a linear estimate `base` and the sd of what remains,

    mean = base + level s r(x / level s),    sd = level s |h(x / level s)|,    level = mean of x,

so that a x gives a times the answer exactly, for any a > 0: by the division by level s, whatever the U-Net. Without
biases r and h are homogeneous besides, and the level itself may be misjudged by a factor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dose.learning.recipe import Case, Config
from dose.learning.spread import spread_error
from dose.learning.unet import UNet
from imaging.networks.acquisitions import Physics, acquisition
from imaging.networks.sparse_views_ring import system_fwhm_mm
from imaging.scanner.camera import camera

FLOOR = 0.05
"""Added to the local mean, relative to the mean of the image: regions outside of the body weigh little."""

LOCAL_pixels = 5
"""Side of the square whose mean is the local mean."""

SD_WEIGHT = 0.2
"""Of the loss of the sd beside the error of the mean."""

START = 0.1
"""What the last layer's weights are multiplied by before training: it begins near the linear estimate."""

MARGIN = 0.1
"""Part by which an input may leave the range of a feature that was the same in all of training."""

ROLES = ("peak", "lower", "upper")


class ViewsNet(nn.Module):
    """Some views and a linear estimate of others in, expected counts of those others and their sd out."""

    def __init__(self, inputs: int, outputs: int, *, width: int, levels: int):
        super().__init__()
        self.inputs, self.outputs = inputs + outputs, outputs
        self.unet = UNet(2, inputs + outputs, 2 * outputs, width=width, levels=levels, bias=False)
        with torch.no_grad():
            self.unet.last.weight.mul_(START)

    def forward(self, views: Tensor, base: Tensor) -> tuple[Tensor, Tensor]:
        """[batch, inputs, v, u] and [batch, outputs, v, u] to the mean and sd, both [batch, outputs, v, u]."""
        unit = noise_unit(views)
        answer = self.unet(torch.cat([views, base], dim=1) / unit)
        return base + unit * answer[:, : self.outputs], unit * answer[:, self.outputs :].abs()


def level(views: Tensor) -> Tensor:
    """Mean counts of each image of a batch, [batch, 1, 1, 1]; one where there are none."""
    mean = views.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (mean == 0)


def noise_unit(views: Tensor) -> Tensor:
    """level s [batch, 1, v, u]: goes as the counts, and from place to place as the sd of their noise."""
    mean = level(views)
    return mean * (local_mean(views).mean(dim=1, keepdim=True) / mean + FLOOR).sqrt()


def local_mean(views: Tensor, pixels: int = LOCAL_pixels) -> Tensor:
    """Means of squares about each pixel, smaller at the edge."""
    return functional.avg_pool2d(views, pixels, stride=1, padding=pixels // 2, count_include_pad=False)


def views_loss(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Squared error in units of the counting noise, and that of the sd for the error as it is."""
    mean, sd = model(batch["views"], batch["base"])
    noise = noise_unit(batch["views"]) / level(batch["views"]).sqrt()
    error = (mean - batch["target"]) / noise
    return error.square().mean() + SD_WEIGHT * spread_error(error, sd / noise).square().mean()


def views_case(seed: int, config: Config) -> Case:
    """The seed of an acquisition, and its mean radius in mm: counts are kept on disk by `acquisitions` already."""
    return {"seed": np.array(seed), "radius_mm": np.array(acquisition(seed).empty.radii_mm.mean())}


@lru_cache(maxsize=128)
def expected_counts(seed: int) -> np.ndarray:
    """Of the nominal activity, float16 [peak lower upper, view, v, u]."""
    return acquisition(seed).expected.astype(np.float16)


def drawn(cases: Sequence[Case], random: np.random.Generator, config: Config, views: int) -> tuple[np.ndarray, float]:
    """Expected counts of `views` successive views of one window of one case, mirrored and cut by chance, and a scale.

    The views of a mirrored patient come the other way round.
    """
    case = expected_counts(int(cases[random.integers(len(cases))]["seed"]))
    window = random.choice(3, p=config.data["window_shares"])
    start = random.integers(case.shape[1])
    rows, columns = (random.integers(n - c + 1) for n, c in zip(case.shape[2:], config.data["crop"]))
    where = (slice(rows, rows + config.data["crop"][0]), slice(columns, columns + config.data["crop"][1]))
    chosen = case[window][np.arange(start, start + views) % case.shape[1]][:, *where].astype(float)
    if random.random() < 0.5:
        chosen = chosen[::-1, :, ::-1]
    if random.random() < 0.5:
        chosen = chosen[:, ::-1]
    low, high = np.log(config.data["scale"])
    return chosen, float(np.exp(random.uniform(low, high)))


def views_limits(cases: Sequence[Case], config: Config) -> dict[str, tuple[float, float]]:
    """Range of each of `sparse_views_ring.features`: of the cases at the scales of the training."""
    physics, means = Physics(), [float(expected_counts(int(c["seed"]))[0].mean(dtype=float)) for c in cases]
    radii = [float(case["radius_mm"]) for case in cases]
    spec = camera(physics.collimator)
    blur = system_fwhm_mm(physics.collimator, physics.line_keV, spec.intrinsic_fwhm_at(physics.line_keV))
    same = lambda value: ((1 - MARGIN) * value, (1 + MARGIN) * value)
    return {
        "counts per pixel and view": (config.data["scale"][0] * min(means), config.data["scale"][1] * max(means)),
        "pixel_mm": same(physics.voxel_mm),
        "window's middle, keV": same(physics.line_keV),
        "mean radius_mm": ((1 - MARGIN) * min(radii), (1 + MARGIN) * max(radii)),
        "system_fwhm_mm": same(blur),
    }
