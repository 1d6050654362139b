"""What `check_kinetic_model` says to a model that breaks its promises: each fault has its own words."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from dose.errors import InputError
from dose.nuclides import radionuclide
from pbpk.abstract import AbstractClosedFormModel, AbstractKineticModel, Pool, placed
from pbpk.contract import check_kinetic_model

LU = radionuclide("177Lu")
DECAY = LU.decay_constant_per_min
PASSING = 0.003
"""From blood to urine per min."""


class Broken(AbstractKineticModel):
    """Blood to urine, but for the one fault it is made with; without a fault it is right."""

    fault: str = eqx.field(static=True, default="")
    nuclide = LU

    @property
    def pools(self):
        names = ("blood", "blood") if self.fault == "names" else ("blood", "urine")
        return (Pool(names[0]), Pool(names[1], "amount" if self.fault == "weights" else "sink"))

    @property
    def regions(self):
        return () if self.fault == "regions" else ("blood", "bladder")

    def weights(self):
        whole = placed(self, blood="blood", urine="bladder") if self.fault != "names" else np.eye(2)
        return {"over": 2 * whole, "flat": whole[0]}.get(self.fault, whole)

    def entry(self, hot_nmol, total_nmol):
        given = {"more": 1.1 * hot_nmol, "square": hot_nmol**2, "below": -hot_nmol, "ligand": total_nmol}
        return jnp.zeros(2).at[0].set(given.get(self.fault, hot_nmol))

    def derivative(self, t_min, y):
        leaving = PASSING * (jnp.ones(()) if self.fault == "below zero" else y[0])
        gained = {"leak": 0.9, "source": 1.1}.get(self.fault, 1.0) * leaving
        rate = jnp.stack([-leaving, gained]) - (0.0 if self.fault == "stable" else DECAY) * y
        if self.fault == "root":
            return rate + 0 * jnp.sqrt(y[1] - y[1])
        if self.fault == "infinite":
            return rate / 0.0
        if self.fault == "if" and y[0] > 0:
            return rate
        return rate[:1] if self.fault == "short" else rate


FAULTS = {
    "names": "pools: found",
    "regions": "regions: found ()",
    "flat": "weights: found float64[2]; expected float64[2, 2]",
    "short": "derivative: found float64[1]; expected float64[2]",
    "if": "a function that JAX can trace",
    "over": "weights: found some outside 0 to 1",
    "weights": "weights: found a pool without label",
    "more": "entry: found more label than was given",
    "ligand": "entry: found more label than was given",
    "square": "entry: found not linear",
    "below": "entry: found less than zero",
    "below zero": "never below 0",
    "leak": "label: found lost other than by decay",
    "source": "activity: found more than was given",
    "stable": "activity: found more than was given",
    "root": "derivative: found a slope that is not finite",
    "infinite": "derivative: found a value that is not finite",
}


def test_a_sound_model_passes():
    check_kinetic_model(Broken())


@pytest.mark.parametrize(("fault", "words"), FAULTS.items(), ids=list(FAULTS))
def test_each_fault_is_named(fault, words):
    with pytest.raises(InputError) as caught:
        check_kinetic_model(Broken(fault))
    assert words in str(caught.value)
    assert "To do:" in str(caught.value)


class Hasty(AbstractClosedFormModel):
    """A closed form with half the decay of its own equations."""

    nuclide = LU
    pools = (Pool("tumour"),)
    regions = ("tumour_1",)

    def weights(self):
        return np.eye(1)

    def entry(self, hot_nmol, total_nmol):
        return hot_nmol[None]

    def derivative(self, t_min, y):
        return -DECAY * y

    def advance(self, y, inflow_per_min, minutes):
        return y * jnp.exp(-0.5 * DECAY * minutes), y * minutes


def test_a_closed_form_of_other_equations_is_named():
    with pytest.raises(InputError, match="advance: found another solution"):
        check_kinetic_model(Hasty())


def test_an_unknown_kind_of_pool_is_named():
    with pytest.raises(InputError, match="kind of pool urine: found 'drain'"):
        Pool("urine", "drain")


def test_a_misplaced_pool_is_named():
    with pytest.raises(InputError, match="pool of the model: found 'blod'; expected blood"):
        placed(Broken(), blod="blood")


def test_an_interface_left_open_cannot_be_made():
    class Half(AbstractKineticModel):
        nuclide = LU
        pools = (Pool("blood"),)
        regions = ("blood",)

        def weights(self):
            return np.eye(1)

    with pytest.raises(TypeError, match="abstract"):
        Half()  # pyright: ignore[reportAbstractUsage]
