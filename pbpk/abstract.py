"""The door for any kinetic model: what a model says about itself so that everything else can use it.

A model is a row of named pools, each empty before the first administration (a pool that is not empty at rest, such as
free receptors, is written as its distance from rest), and a right-hand side per minute. Radioactive pools hold nmol of
label and lose it by physical decay within `derivative`; the others carry what the kinetics need besides. Solving is not
the model's business: `pbpk.simulate` does it, and `pbpk.contract.check_kinetic_model` tells whether the model keeps
what it promises here. docs/models.md works an example.
"""

from abc import abstractmethod
from dataclasses import dataclass

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from dose.errors import InputError, describe, nearest
from dose.nuclides import Radionuclide

KINDS = {
    "label": "nmol of radioactive label in the body",
    "sink": "nmol of radioactive label that has left the body (urine, released), decaying there too",
    "amount": "nmol that do not decay, such as all ligand, labelled or not",
    "state": "anything else, of order one in its own unit, such as a dose so far in Gy",
}
"""What a pool can hold. A model with a sink promises that label is lost by decay alone."""


@dataclass(frozen=True)
class Pool:
    """One entry of the state, by name.

    Raises:
        InputError: a kind that is not one of `KINDS`.
    """

    name: str
    kind: str = "label"

    def __post_init__(self):
        if self.kind not in KINDS:
            do = "correct the spelling"
            raise InputError(describe(f"kind of pool {self.name}", repr(self.kind), f"one of {tuple(KINDS)}", do))

    @property
    def is_radioactive(self) -> bool:
        return self.kind in ("label", "sink")


class AbstractKineticModel(eqx.Module):
    """Kinetics of one agent with one nuclide in one patient; float leaves are what can be differentiated."""

    # equinox looks at these annotations themselves, so this module does without `from __future__ import annotations`

    pools: eqx.AbstractVar[tuple[Pool, ...]]
    regions: eqx.AbstractVar[tuple[str, ...]]
    nuclide: eqx.AbstractVar[Radionuclide]

    @abstractmethod
    def weights(self) -> Float[Array, "region pool"]:
        """The part of each pool that lies in each reported region: 0 to 1, and 0 for pools that hold no label."""

    @abstractmethod
    def entry(self, hot_nmol: Float[Array, ""], total_nmol: Float[Array, ""]) -> Float[Array, " pool"]:
        """What an administration of labelled and of all ligand adds to each pool: linear in the two, never negative.

        A bolus adds it at once; an infusion adds it at a constant rate.
        """

    @abstractmethod
    def derivative(self, t_min: Float[Array, ""], y: Float[Array, " pool"]) -> Float[Array, " pool"]:
        """dy/dt per minute with physical decay and without administrations; `t_min` from the start of cycle 1."""


class AbstractClosedFormModel(AbstractKineticModel):
    """A model whose equations have a known solution, which `pbpk.simulate` then uses instead of stepping."""

    @abstractmethod
    def advance(
        self, y: Float[Array, " pool"], inflow_per_min: Float[Array, " pool"], minutes: Float[Array, ""]
    ) -> tuple[Float[Array, " pool"], Float[Array, " pool"]]:
        """The pools after `minutes` of constant inflow, and their integrals over that time (unit of the pool, min)."""


def is_radioactive(model: AbstractKineticModel) -> np.ndarray:
    """Which pools hold label, [pool]."""
    return np.array([pool.is_radioactive for pool in model.pools])


def placed(model: AbstractKineticModel, **regions: str) -> np.ndarray:
    """Weights [region, pool] that put whole pools into regions: `placed(self, plasma="blood", bound="tumour_1")`.

    Raises:
        InputError: a pool or region that the model does not have, with the nearest that it has.
    """
    names = tuple(pool.name for pool in model.pools)
    weights = np.zeros((len(model.regions), len(names)))
    for pool, region in regions.items():
        weights[_index("region", region, model.regions), _index("pool", pool, names)] = 1.0
    return weights


def _index(what: str, name: str, known: tuple[str, ...]) -> int:
    if name not in known:
        expected = nearest(name, known) or "one of " + ", ".join(known)
        raise InputError(describe(f"{what} of the model", repr(name), expected, "correct the name"))
    return known.index(name)
