"""A network over a large image, patch by patch, with the patches' middles weighing more than their edges."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float

from dose.learning.cases import Progress, silent


@torch.no_grad()
def patchwise(
    network: Callable[[torch.Tensor], torch.Tensor],
    inputs: Float[np.ndarray, "channel ..."],
    patch: Sequence[int],
    *,
    overlap: float = 0.5,
    progress: Progress = silent,
) -> Float[np.ndarray, "output ..."]:
    """A network's answer, float32; patches that overlap are averaged with Hann-like weights.

    Args:
        network: takes [1, channel, *patch].
        patch: its size along each axis; an axis shorter than the patch is taken whole.
        overlap: part of a patch that it shares with its neighbour.
    """
    space = inputs.shape[1:]
    sizes = [min(p, n) for p, n in zip(patch, space, strict=True)]
    starts = list(itertools.product(*(patch_starts(n, p, overlap) for n, p in zip(space, sizes))))
    weight = _window(sizes)
    total, weights = None, np.zeros(space, dtype=np.float32)
    for done, corner in enumerate(starts):
        progress(done, len(starts), "patches")
        where = tuple(slice(a, a + p) for a, p in zip(corner, sizes))
        answer = network(torch.from_numpy(np.ascontiguousarray(inputs[(slice(None), *where)], dtype=np.float32))[None])
        answer = answer[0].numpy()
        total = np.zeros((len(answer), *space), dtype=np.float32) if total is None else total
        total[(slice(None), *where)] += weight * answer
        weights[where] += weight
    progress(len(starts), len(starts), "patches")
    assert total is not None
    return total / weights


def patch_starts(length: int, patch: int, overlap: float) -> list[int]:
    """First voxels of patches that cover an axis, evenly spread."""
    if patch >= length:
        return [0]
    number = int(np.ceil((length - patch) / max(1.0, patch * (1.0 - overlap)))) + 1
    return np.unique(np.round(np.linspace(0, length - patch, number)).astype(int)).tolist()


def _window(sizes: Sequence[int]) -> np.ndarray:
    window = np.ones((), dtype=np.float32)
    for n in sizes:
        window = window[..., None] * np.sin(np.pi * (np.arange(n) + 0.5) / n).astype(np.float32)
    return window + 1e-3
