"""Layout of the state: rows are pools, columns are patients.

Rows: total ligand (vascular, interstitial, transit, bound, internalised of every organ; vein, artery, protein), the
same for hot ligand, then integrals of the hot amounts. Total ligand obeys equations without decay, and hot ligand is
linear once the total is known: that is why these two are kept, not hot and cold.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

POOLS = ("vascular", "interstitial", "transit", "bound", "internalised")
BLOOD = ("venous", "arterial", "protein")
LEDGER = ("urine", "released", "decayed")


class Ligand(NamedTuple):
    """Amounts (nmol) of one species; organ pools [organ, patient], blood [3, patient]."""

    vascular: Float[Array, "organ patient"]
    interstitial: Float[Array, "organ patient"]
    transit: Float[Array, "organ patient"]
    bound: Float[Array, "organ patient"]
    internalised: Float[Array, "organ patient"]
    blood: Float[Array, "blood patient"]

    @property
    def organ_total(self) -> Float[Array, "organ patient"]:
        return self.vascular + self.interstitial + self.transit + self.bound + self.internalised


class Integrals(NamedTuple):
    """Time integrals of hot amounts.

    `organ` and `blood` in nmol min; `unrepaired` is the integral of the amount weighted by exp(-repair (t - s));
    `kill` the integral of amount times unrepaired (nmol^2 min^2), from which the BED follows; `ledger` in nmol.
    """

    organ: Float[Array, "organ patient"]
    blood: Float[Array, "blood patient"]
    unrepaired: Float[Array, "organ patient"]
    kill: Float[Array, "organ patient"]
    ledger: Float[Array, "ledger patient"]


class State(NamedTuple):
    total: Ligand
    hot: Ligand
    integrals: Integrals


def species_rows(organs: int) -> int:
    return len(POOLS) * organs + len(BLOOD)


def rows(organs: int) -> int:
    return 2 * species_rows(organs) + 3 * organs + len(BLOOD) + len(LEDGER)


def unpack(y: Float[Array, "row patient"], organs: int) -> State:
    size = species_rows(organs)
    rest = y[2 * size :]
    n_blood = len(BLOOD)
    integrals = Integrals(
        organ=rest[:organs],
        blood=rest[organs : organs + n_blood],
        unrepaired=rest[organs + n_blood : 2 * organs + n_blood],
        kill=rest[2 * organs + n_blood : 3 * organs + n_blood],
        ledger=rest[3 * organs + n_blood :],
    )
    return State(_species(y[:size], organs), _species(y[size : 2 * size], organs), integrals)


def _species(block, organs: int) -> Ligand:
    pools = [block[k * organs : (k + 1) * organs] for k in range(len(POOLS))]
    return Ligand(*pools, block[len(POOLS) * organs :])


def pack(state: State) -> Float[Array, "row patient"]:
    return jnp.concatenate([*state.total, *state.hot, *state.integrals], axis=0)
