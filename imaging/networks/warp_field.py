"""Velocities to a smooth map that can be inverted, images through it, and what makes it a good one (torch).

A stationary velocity field is integrated by scaling and squaring (Arsigny et al. 2006; as in VoxelMorph's
diffeomorphic variant, Dalca et al. 2018; both recalled). Fields are [case, 3, z, y, x] with components x, y, z in mm,
on cubic voxels; the map is x -> x + u(x).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from dose.learning.unet import UNet, padded

SQUARINGS = 5
"""The velocity is cut into 2^5 parts: 30 mm in steps of 1 mm."""

WINDOW = 5
"""Voxels along an edge of the box of the local correlation."""

LEAST_PRODUCT = 1e-6
"""Added to the product of two local variances: noise alone (sd of 10 HU of the window's 500) counts for little."""

LEAST_JACOBIAN = 0.2
"""Below this share of its volume a voxel is penalised as folding."""

FLOW_WINDOWS = (3, 5)
"""Double voxels along an edge of the boxes of the two local flows; the second's images have double voxels too."""

FLOW_FLOOR = 2e-4
"""Added to the squared slopes of a flow, per voxel: slopes of noise say nothing."""

MOST_FLOW_mm = 20.0

SMOOTH, FOLDING, METABOLIC = 0.5, 10.0, 2.0
"""Weights beside the similarity."""


class Warper(nn.Module):
    """A U-Net from fixed CT, moving CT (or zeros) and moving emission (or zeros) to a velocity in mm.

    Eight neighbouring voxels become channels, so that all is computed on a grid of twice the voxel size. Two flows of
    the CTs (least squares in boxes; Lucas and Kanade 1981, recalled) are given to it, zero where there is no moving
    CT; their mean, smoothed, is the answer before training, and the network a correction to it.

    Args:
        width, levels: of the U-Net.
        velocity_mm: that an output of one means.
        voxel_mm: of the grid of the images.
    """

    def __init__(self, width: int, levels: int, velocity_mm: float, voxel_mm: float):
        super().__init__()
        self.unet = UNet(3, 3 * 8 + 3 * len(FLOW_WINDOWS), 3, width=width, levels=levels)
        self.velocity_mm, self.voxel_mm = velocity_mm, voxel_mm
        for parameter in self.unet.last.parameters():
            nn.init.normal_(parameter, std=1e-3)

    def velocity(self, inputs: Tensor) -> Tensor:
        """[case, 3, z / 2, y / 2, x / 2] in mm of inputs [case, 3, z, y, x] (odd sizes are filled up)."""
        images = padded(inputs, 2)
        with torch.no_grad():
            flow = flows(images[:, :1], images[:, 1:2], self.voxel_mm)
            plain = smoothed(0.5 * (flow[:, :3] + flow[:, 3:]))
        learned = self.unet(torch.cat([folded(images), flow / self.velocity_mm], dim=1))
        return plain + self.velocity_mm * learned

    def forward(self, inputs: Tensor) -> Tensor:
        """Displacement in mm, on the grid of the inputs."""
        return integrated(self.velocity(inputs), self.voxel_mm, inputs.shape[2:])


def flows(fixed: Tensor, moving: Tensor, voxel_mm: float) -> Tensor:
    """Displacements in mm [case, 6, z / 2, y / 2, x / 2] by least squares in boxes, at two resolutions."""
    shown = (moving.amax(dim=(1, 2, 3, 4), keepdim=True) > 0).float()
    coarse = [functional.avg_pool3d(image, 2) for image in (fixed, moving)]
    found = [
        _flow(smoothed(fixed), smoothed(moving), voxel_mm, FLOW_WINDOWS[0], 2),
        _flow(*coarse, 2 * voxel_mm, FLOW_WINDOWS[1], 1),
    ]
    return shown * torch.cat(found, dim=1).clamp(-MOST_FLOW_mm, MOST_FLOW_mm)


def smoothed(image: Tensor) -> Tensor:
    """Means over 3 x 3 x 3 voxels."""
    return functional.avg_pool3d(image, 3, stride=1, padding=1, count_include_pad=False)


def _flow(fixed: Tensor, moving: Tensor, voxel_mm: float, window: int, stride: int) -> Tensor:
    """The u for which moving + slope u is nearest to fixed in a box about each voxel."""
    slope = torch.cat(torch.gradient(0.5 * (fixed + moving), dim=(4, 3, 2)), dim=1)
    pairs = [(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)]
    parts = [slope[:, i] * slope[:, j] for i, j in pairs] + [slope[:, i] * (fixed - moving)[:, 0] for i in range(3)]
    means = functional.avg_pool3d(torch.stack(parts, 1), stride)
    means = functional.avg_pool3d(means, window, 1, window // 2, count_include_pad=False)
    a, b, c, d, e, f = means[:, :6].unbind(1)
    a, b, c = (diagonal + FLOW_FLOOR for diagonal in (a, b, c))
    x, y, z = means[:, 6:].unbind(1)
    rows = ((b * c - f * f, e * f - c * d, d * f - b * e), (e * f - c * d, a * c - e * e, d * e - a * f))
    rows += ((d * f - b * e, d * e - a * f, a * b - d * d),)
    whole = a * rows[0][0] + d * rows[0][1] + e * rows[0][2]
    return voxel_mm * torch.stack([(r[0] * x + r[1] * y + r[2] * z) / whole for r in rows], dim=1)


def folded(images: Tensor) -> Tensor:
    """[case, channel, z, y, x] to [case, 8 channel, z / 2, y / 2, x / 2]."""
    n, c, z, y, x = images.shape
    apart = images.reshape(n, c, z // 2, 2, y // 2, 2, x // 2, 2)
    return apart.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(n, 8 * c, z // 2, y // 2, x // 2)


def integrated(velocity: Tensor, voxel_mm: float, size) -> Tensor:
    """The displacement after unit time of a stationary velocity on every other voxel, on a grid of this size."""
    part = velocity / 2**SQUARINGS
    for _ in range(SQUARINGS):
        part = part + through(part, part, 2 * voxel_mm)
    whole = functional.interpolate(part, scale_factor=2, mode="trilinear")
    return whole[(..., *(slice(0, n) for n in size))]


def through(image: Tensor, displacement: Tensor, voxel_mm: float) -> Tensor:
    """image [case, channel, z, y, x] at x + u(x), linear; beyond its edge the edge's value."""
    size = image.shape[2:]
    axes = [torch.linspace(-1, 1, n, device=image.device) for n in size]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    rest = torch.stack([x, y, z], dim=-1)
    scale = torch.tensor([2 / (voxel_mm * max(n - 1, 1)) for n in size[::-1]], device=image.device)
    points = rest + displacement.permute(0, 2, 3, 4, 1) * scale
    return functional.grid_sample(image, points, padding_mode="border", align_corners=True)


def gradients(displacement: Tensor, voxel_mm: float) -> Tensor:
    """d u_i / d x_j by forward differences, [case, i, j, z, y, x], one voxel shorter along each axis."""
    u = displacement
    here = u[:, :, :-1, :-1, :-1]
    dx = u[:, :, :-1, :-1, 1:] - here
    dy = u[:, :, :-1, 1:, :-1] - here
    dz = u[:, :, 1:, :-1, :-1] - here
    return torch.stack([dx, dy, dz], dim=2) / voxel_mm


def volume_change(slopes: Tensor) -> Tensor:
    """det(1 + du/dx), [case, z, y, x]."""
    eye = torch.eye(3, device=slopes.device).reshape(1, 3, 3, 1, 1, 1)
    m = slopes + eye
    (a, b, c), (d, e, f), (g, h, i) = ([m[:, r, k] for k in range(3)] for r in range(3))
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)


def local_correlation(one: Tensor, other: Tensor) -> Tensor:
    """Squared correlation in a box about every other voxel, mean over all that show anything, [case]."""

    def mean(image: Tensor) -> Tensor:
        return functional.avg_pool3d(image, WINDOW, stride=2, padding=WINDOW // 2, count_include_pad=False)

    a, b = mean(one), mean(other)
    cross = mean(one * other) - a * b
    first, second = mean(one**2) - a**2, mean(other**2) - b**2
    found = cross**2 / (first * second + LEAST_PRODUCT)
    shown = (first > LEAST_PRODUCT**0.5).float()
    return (found * shown).sum(dim=(1, 2, 3, 4)) / shown.sum(dim=(1, 2, 3, 4)).clamp(min=1)


def cost(velocity: Tensor, displacement: Tensor, batch: Mapping[str, Tensor], voxel_mm: float) -> Tensor:
    """Dissimilarity, roughness, folding and change of volume where activity lies; a scalar.

    `batch` holds "fixed" and "moving" (CT, [case, 1, z, y, x], 0 to 1) and "emission" of the moving image (0 to 1).
    """
    both = through(torch.cat([batch["moving"], batch["emission"]], dim=1), displacement, voxel_mm)
    unlike = 1 - local_correlation(batch["fixed"], both[:, :1]).mean()
    rough = gradients(velocity, 2 * voxel_mm).square().sum(dim=(1, 2)).mean()
    volume = volume_change(gradients(displacement, voxel_mm))
    folding = functional.relu(LEAST_JACOBIAN - volume).mean()
    hot = both[:, 1, :-1, :-1, :-1]
    metabolic = (hot * (volume - 1).square()).sum() / hot.sum().clamp(min=1e-3)
    return unlike + SMOOTH * rough + FOLDING * folding + METABOLIC * metabolic


REFINING_mm = 0.3
"""Step of Adam on a velocity."""


def refined(velocity: Tensor, batch: Mapping[str, Tensor], voxel_mm: float, steps: int) -> Tensor:
    """A velocity that lowers the cost of this pair further, from the network's on."""
    found = velocity.detach().clone().requires_grad_(True)
    adam = torch.optim.Adam([found], lr=REFINING_mm)
    for _ in range(steps):
        adam.zero_grad(set_to_none=True)
        cost(found, integrated(found, voxel_mm, batch["fixed"].shape[2:]), batch, voxel_mm).backward()
        adam.step()
    return found.detach()
