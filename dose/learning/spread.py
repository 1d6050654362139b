"""What teaches a network the sd of its own error."""

from __future__ import annotations

import math

from torch import Tensor

SD_PER_MEAN = math.sqrt(math.pi / 2)
"""Sd of a Gaussian error over the mean of its absolute value."""


def spread_error(error: Tensor, sd: Tensor) -> Tensor:
    """By how much `sd` departs from that of a Gaussian whose absolute error is that seen; all of one shape and unit.

    Its square is least where sd is 1.25 times the mean absolute error expected there. The gradient goes to the sd
    alone, and stays finite as the sd goes to zero. That of the Gaussian likelihood does not: without biases an sd does
    go there, and the likelihood then takes the training over (docs/ai/sparse_views.md).
    """
    return sd - SD_PER_MEAN * error.detach().abs()
