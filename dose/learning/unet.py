"""The encoder and decoder that all networks here are made of: a U-Net in two or three dimensions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

CONVOLUTION = {2: nn.Conv2d, 3: nn.Conv3d}
POOL = {2: functional.avg_pool2d, 3: functional.avg_pool3d}
SLOPE = 0.1
"""Of the leaky rectifiers below zero."""

GROUPS = 4


class UNet(nn.Module):
    """U-Net (Ronneberger et al. 2015) with two convolutions a level, means for going down, nearest for going up.

    Without biases and norms the network is positively homogeneous: f(a x) = a f(x) for a > 0, so that twice the
    activity gives twice the answer, and it holds at noise levels that it was not trained at (Mohan et al. 2020).

    Args:
        dims: 2 or 3.
        inputs, outputs: channels.
        width: channels of the first level; each level below has twice as many.
        levels: resolutions.
        bias: convolutions with biases.
        norm: group norm after each convolution; ends homogeneity.
    """

    def __init__(
        self, dims: int, inputs: int, outputs: int, *, width: int, levels: int, bias: bool = True, norm: bool = False
    ):
        super().__init__()
        self.dims, self.levels = dims, levels
        widths = [width * 2**k for k in range(levels)]
        self.down = nn.ModuleList(_block(dims, a, b, bias, norm) for a, b in zip([inputs, *widths], widths))
        pairs = list(zip(widths[:-1], widths[1:]))[::-1]
        self.up = nn.ModuleList(_block(dims, below + here, here, bias, norm) for here, below in pairs)
        self.last = CONVOLUTION[dims](width, outputs, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, inputs, *space] to [batch, outputs, *space]; any size, padded inside by repeating the edge."""
        size = x.shape[2:]
        x, kept = padded(x, 2 ** (self.levels - 1)), []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else POOL[self.dims](x, 2))
            kept.append(x)
        for block, skip in zip(self.up, kept[-2::-1]):
            x = block(torch.cat([functional.interpolate(x, size=skip.shape[2:]), skip], dim=1))
        return self.last(x)[(..., *(slice(0, n) for n in size))]


def padded(x: Tensor, multiple: int) -> Tensor:
    """x with its space filled up to multiples of a number by repeating the far edge."""
    wanted = [-n % multiple for n in x.shape[2:]]
    if not any(wanted):
        return x
    return functional.pad(x, [side for more in reversed(wanted) for side in (0, more)], mode="replicate")


def _block(dims: int, inputs: int, outputs: int, bias: bool, norm: bool) -> nn.Sequential:
    parts: list[nn.Module] = []
    for a, b in ((inputs, outputs), (outputs, outputs)):
        parts.append(CONVOLUTION[dims](a, b, 3, padding=1, bias=bias))
        parts += [nn.GroupNorm(GROUPS, b)] if norm else []
        parts.append(nn.LeakyReLU(SLOPE))
    return nn.Sequential(*parts)


def count(members: Sequence[nn.Module]) -> int:
    """Weights of all members together."""
    return sum(p.numel() for member in members for p in member.parameters())
