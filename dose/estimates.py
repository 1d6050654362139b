"""A number with its interval, made from draws."""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

import numpy as np
from jaxtyping import Float

from dose.errors import InputError, describe

LEVEL = 0.95
"""Share of the draws that lies between `low` and `high`."""

FEWEST_DRAWS = 100
"""Fewer draws than this say nothing about a 95 % interval."""


@dataclass(frozen=True)
class Estimate:
    """A value, and the interval of `LEVEL` of its draws, in the unit of the field that holds it."""

    value: float
    low: float
    high: float

    def scaled(self, factor: float) -> Estimate:
        """The same in another unit."""
        return Estimate(self.value * factor, self.low * factor, self.high * factor)

    def row(self, name: str) -> dict[str, float]:
        """Three columns of a table."""
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}


def estimate(value: float, draws: Float[np.ndarray, " draw"]) -> Estimate:
    """`value` with the interval of its draws; the value itself need not be their median."""
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(value), float(low), float(high))


def generator(draws: int, seed: int, purpose: str) -> np.random.Generator:
    """The generator of so many draws; one seed gives independent ones for different purposes.

    Raises:
        InputError: fewer draws than `FEWEST_DRAWS`.
    """
    if draws < FEWEST_DRAWS:
        do = "ask for a thousand or more"
        raise InputError(describe("draws", f"{draws}", f"{FEWEST_DRAWS} or more", do))
    return np.random.default_rng([seed, crc32(purpose.encode())])
