"""The two forms in which the model is solved: total and hot ligand, or hot ligand alone where one profile serves both.

Hot and cold ligand move alike, so after one bolus (or several from one vial) hot(t) = total(t) exp(-lambda t) times a
constant, in every pool. Then the hot amounts alone are solved, with the total read from them through that known ratio:
half the rows, exact (PBPK.md section 2). An infusion, or cycles with other hot fractions, need both species.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pbpk import elimination
from pbpk.kinetics import Rates
from pbpk.model import decaying, species
from pbpk.state import Ligand, pack, spread, unpack


class Drive(NamedTuple):
    """What acts on the pools from outside: infusion (total, hot) in nmol/min, and total over hot amount."""

    infusion: Float[Array, "species patient"]
    ratio: Float[Array, " patient"]

    def later(self, minutes, decay) -> Drive:
        return self._replace(ratio=self.ratio * jnp.exp(decay * minutes))


class OneProfile:
    """Rows: hot ligand. The total is `ratio` times the hot amount, with a ratio that grows as the hot ligand decays."""

    name = "one profile"
    species = 1

    @staticmethod
    def derivative(y, r: Rates, drive: Drive):
        hot = unpack(y, r.layout)
        return pack(decaying(species(hot, drive.ratio * hot.bound, r, drive.infusion[1]), hot, r.decay))

    @staticmethod
    def time_derivative(y, r: Rates, drive: Drive):
        of_ratio = lambda ratio: OneProfile.derivative(y, r, drive._replace(ratio=ratio))
        return jax.jvp(of_ratio, (drive.ratio,), (drive.ratio * r.decay,))[1]

    @staticmethod
    def factor(y, r: Rates, drive: Drive, shift):
        hot = unpack(y, r.layout)
        free = r.receptors - drive.ratio * hot.bound
        crowding = r.binding * drive.ratio * hot.interstitial[r.layout.binding]
        return elimination.factor(r, shift + r.decay, r.binding * free, r.k_off + crowding)

    @staticmethod
    def solve(f, r: Rates, b):
        return pack(elimination.solve(f, r, unpack(b, r.layout)))

    @staticmethod
    def total_and_hot(y, ratio):
        """Rows of both species, from y [..., row, patient] and the ratio [..., patient]."""
        return ratio[..., None, :] * y, y


class BothSpecies:
    """Rows: total ligand, then hot ligand. The hot block sees the total only through the free receptors."""

    name = "total and hot"
    species = 2

    @staticmethod
    def derivative(y, r: Rates, drive: Drive):
        """Both species on an axis of their own: a third faster than one after the other."""
        both = unpack(y.reshape(*y.shape[:-2], 2, -1, y.shape[-1]), r.layout)
        decay = jnp.stack([jnp.zeros_like(r.decay), r.decay])[:, None]
        rate = decaying(species(both, both.bound[..., :1, :, :], r, drive.infusion), both, decay)
        return pack(rate).reshape(y.shape)

    @staticmethod
    def time_derivative(y, r: Rates, drive: Drive):
        return jnp.zeros_like(y)

    @staticmethod
    def factor(y, r: Rates, drive: Drive, shift):
        total, hot = (unpack(part, r.layout) for part in jnp.split(y, 2, axis=-2))
        association = r.binding * (r.receptors - total.bound)
        crowding = r.binding * total.interstitial[r.layout.binding]
        of_total = elimination.factor(r, shift, association, r.k_off + crowding)
        of_hot = elimination.factor(r, shift + r.decay, association, r.k_off + 0 * crowding)
        return of_total, of_hot, r.binding * hot.interstitial[r.layout.binding]

    @staticmethod
    def solve(f, r: Rates, b):
        of_total, of_hot, hot_from_total_bound = f
        b_total, b_hot = (unpack(part, r.layout) for part in jnp.split(b, 2, axis=-2))
        total = elimination.solve(of_total, r, b_total)
        crowded = hot_from_total_bound * total.bound
        hot = elimination.solve(of_hot, r, _taken_off(b_hot, crowded, r))
        return jnp.concatenate([pack(total), pack(hot)], axis=-2)

    @staticmethod
    def total_and_hot(y, ratio):
        return tuple(jnp.split(y, 2, axis=-2))


def _taken_off(b: Ligand, crowded, r: Rates) -> Ligand:
    """Hot ligand kept off receptors that total ligand has taken."""
    beside_cells = spread(crowded, r.layout.binding, r.layout.organs)
    return b._replace(interstitial=b.interstitial + beside_cells, bound=b.bound - crowded)


FORMS = {form.name: form for form in (OneProfile, BothSpecies)}
