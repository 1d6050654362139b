"""Layout of the state: rows are pools, columns are patients.

Rows of one species: vascular and interstitial amounts of every organ, transit of the kidneys, bound and internalised
of the organs that bind, then vein, artery and protein. Total ligand obeys equations without decay, and hot ligand is
linear once the total is known: that is why these two are kept, not hot and cold. Arrays may carry leading axes
(segments, stages); the last two axes are always [row, patient].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

POOLS = ("vascular", "interstitial", "transit", "bound", "internalised")
BLOOD = ("venous", "arterial", "protein")
LEDGER = ("urine", "bile", "released", "decayed")
LUNGS, LIVER, FIRST_PORTAL = 0, 1, 2


@dataclass(frozen=True)
class Layout:
    """Counts of organs, in the order lungs, liver, portal organs, kidneys, other binding organs, all others.

    `specific` counts the organs that may bind or take up ligand for good: the liver and those that follow it.
    """

    organs: int
    portal: int
    kidneys: int
    specific: int

    @property
    def kidney(self) -> slice:
        first = FIRST_PORTAL + self.portal
        return slice(first, first + self.kidneys)

    @property
    def binding(self) -> slice:
        return slice(LIVER, LIVER + self.specific)

    @property
    def sizes(self) -> tuple[int, ...]:
        return (self.organs, self.organs, self.kidneys, self.specific, self.specific, len(BLOOD))

    @property
    def rows(self) -> int:
        return sum(self.sizes)

    @property
    def vein(self) -> int:
        return self.rows - len(BLOOD)


class Ligand(NamedTuple):
    """Amounts (nmol) of one species, [..., pool, patient]; `transit` of kidneys, `bound` on of binding organs."""

    vascular: Float[Array, "*lead organ patient"]
    interstitial: Float[Array, "*lead organ patient"]
    transit: Float[Array, "*lead kidney patient"]
    bound: Float[Array, "*lead specific patient"]
    internalised: Float[Array, "*lead specific patient"]
    blood: Float[Array, "*lead blood patient"]

    def by_organ(self, layout: Layout) -> Float[Array, "*lead pool organ patient"]:
        """All five pools of every organ in the order of POOLS, zero where an organ lacks one."""
        kidney = spread(self.transit, layout.kidney, layout.organs)
        specific = (spread(x, layout.binding, layout.organs) for x in (self.bound, self.internalised))
        return jnp.stack([self.vascular, self.interstitial, kidney, *specific], axis=-3)

    def organ_total(self, layout: Layout) -> Float[Array, "*lead organ patient"]:
        kidney = spread(self.transit, layout.kidney, layout.organs)
        specific = spread(self.bound + self.internalised, layout.binding, layout.organs)
        return self.vascular + self.interstitial + kidney + specific


class Integrals(NamedTuple):
    """Time integrals of hot amounts, [..., pool, patient].

    `organ` and `blood` in nmol min; `unrepaired` is the integral of the amount weighted by exp(-repair (t - s));
    `kill` the integral of amount times unrepaired (nmol^2 min^2), from which the BED follows; `ledger` in nmol. The
    two of the BED have no rows where only activity was asked for.
    """

    organ: Float[Array, "*lead organ patient"]
    blood: Float[Array, "*lead blood patient"]
    ledger: Float[Array, "*lead ledger patient"]
    unrepaired: Float[Array, "*lead repaired patient"]
    kill: Float[Array, "*lead repaired patient"]


def spread(x, place: slice, count: int):
    """`x` [..., part, patient] put at `place` of an axis of `count` organs, zero elsewhere."""
    around = [(0, 0)] * (x.ndim - 2) + [(place.start, count - place.stop), (0, 0)]
    return jnp.pad(x, around)


def unpack(y: Float[Array, "*lead row patient"], layout: Layout) -> Ligand:
    """The pools of one species."""
    parts, start = [], 0
    for size in layout.sizes:
        parts.append(y[..., start : start + size, :])
        start += size
    return Ligand(*parts)


def pack(ligand: Ligand) -> Float[Array, "*lead row patient"]:
    return jnp.concatenate(list(ligand), axis=-2)
