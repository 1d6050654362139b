"""Where numpy arrays become torch tensors and come back; each crossing is checked.

Nothing else outside `imaging.networks` imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dose.errors import ImageError, describe

if TYPE_CHECKING:
    import torch


def to_torch(array, *, device: str = "cpu") -> torch.Tensor:
    """A float32 tensor of its own memory, axes as they are.

    Raises:
        ImageError: values that are not finite.
    """
    import torch

    values = np.array(array, dtype=np.float32, order="C")
    return torch.from_numpy(_finite(values)).to(device)


def to_numpy(tensor: torch.Tensor) -> np.ndarray:
    """A float32 array of its own memory, axes as they are.

    Raises:
        ImageError: another dtype than float32, or values that are not finite.
    """
    if str(tensor.dtype) != "torch.float32":
        raise ImageError(describe("tensor", f"{tensor.dtype}", "torch.float32", "convert it where it is made"))
    return _finite(tensor.detach().cpu().numpy().copy())


def _finite(values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        raise ImageError(describe("array", "values that are not finite", "finite values", "find where they arose"))
    return values
