"""Kinetic models that every law of tests/laws/test_models_laws.py runs on: add a model, add one line to `PROBLEMS`.

`ThreePools` and `Saturable` are cases V21, V22 and V23 of the verification list, written as a user would write them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from dose.nuclides import Radionuclide, radionuclide
from pbpk.abstract import AbstractKineticModel, Pool, is_radioactive, placed
from pbpk.administration import Administration
from pbpk.models.antibody import Antibody
from pbpk.models.microspheres import Microspheres
from pbpk.models.poppk import PSMA617, HADotatate
from pbpk.models.reduced import reduced
from pbpk.models.thyroid import Thyroid
from tests.reference.reference_pbpk import default_patient

LU = radionuclide("177Lu")
REDUCED_TARGETS = ("kidney_left", "kidney_right", "liver", "parotid", "tumour_1", "tumour_rest")
EVERYTHING = "everything"


class ThreePools(AbstractKineticModel):
    """V21: blood exchanges with kidney and tumour, and is excreted. Rates per h: k12, k21, k13, k31, kex."""

    rates_per_h: Float[Array, " rate"]
    nuclide: Radionuclide = eqx.field(static=True)

    pools = (Pool("blood"), Pool("kidney"), Pool("tumour"), Pool("urine", "sink"))
    regions = ("blood", "kidneys", "tumour_1")

    def weights(self):
        return placed(self, blood="blood", kidney="kidneys", tumour="tumour_1")

    def entry(self, hot_nmol, total_nmol):
        return jnp.zeros(4).at[0].set(hot_nmol)

    def derivative(self, t_min, y):
        k12, k21, k13, k31, kex = self.rates_per_h / 60
        b, k, t, _ = y
        flows = (k21 * k + k31 * t - (k12 + k13 + kex) * b, k12 * b - k21 * k, k13 * b - k31 * t, kex * b)
        return jnp.stack(flows) - self.nuclide.decay_constant_per_min * y


class Saturable(AbstractKineticModel):
    """V22, V23: ligand in blood binds to kidney and tumour receptors until they are full; bound is internalised."""

    kidney_nmol: Float[Array, ""]
    tumour_nmol: Float[Array, ""]
    nuclide: Radionuclide = eqx.field(static=True)

    pools = (
        *(Pool(f"all_{name}", "amount") for name in ("blood", "kidney", "kidney_in", "tumour", "tumour_in")),
        *(Pool(name) for name in ("blood", "kidney", "kidney_in", "tumour", "tumour_in")),
        Pool("urine", "sink"), Pool("released", "sink"),
    )  # fmt: skip
    regions = ("kidneys", "tumour_1")

    def weights(self):
        return placed(self, kidney="kidneys", kidney_in="kidneys", tumour="tumour_1", tumour_in="tumour_1")

    def entry(self, hot_nmol, total_nmol):
        return jnp.zeros(12).at[0].set(total_nmol).at[5].set(hot_nmol)

    def derivative(self, t_min, y):
        free = jnp.stack([self.kidney_nmol - y[1], self.tumour_nmol - y[3]])
        everything, label = self._species(y[:5], free), self._species(y[5:10], free)
        return jnp.concatenate([everything[:5], label - self.nuclide.decay_constant_per_min * y[5:]])

    def _species(self, x, free):
        """Five pools, then urine and released. Constants of V22 per h."""
        kk, kt, k_off, k_int, r_k, r_t, kex = jnp.array([0.010, 0.030, 0.03, 0.10, 0.012, 0.0015, 0.5]) / 60
        b, kb, ki, tb, ti = x
        to_kidney, to_tumour = kk * b * free[0], kt * b * free[1]
        flows = (
            k_off * (kb + tb) - to_kidney - to_tumour - kex * b,
            to_kidney - (k_off + k_int) * kb, k_int * kb - r_k * ki,
            to_tumour - (k_off + k_int) * tb, k_int * tb - r_t * ti,
            kex * b, r_k * ki + r_t * ti,
        )  # fmt: skip
        return jnp.stack(flows)


def three_pools() -> ThreePools:
    return ThreePools(jnp.array([0.30, 0.05, 0.02, 0.004, 0.60]), LU)


def saturable(tumour_nmol: float = 8.0) -> Saturable:
    return Saturable(jnp.asarray(20.0), jnp.asarray(tumour_nmol), LU)


class WithEverything(AbstractKineticModel):
    """A model with one region more, which holds all of its label, the sinks' too."""

    model: AbstractKineticModel

    @property
    def pools(self):
        return self.model.pools

    @property
    def nuclide(self):
        return self.model.nuclide

    @property
    def regions(self):
        return (*self.model.regions, EVERYTHING)

    def weights(self):
        label = jnp.asarray(is_radioactive(self.model), float)[None]
        return jnp.concatenate([jnp.asarray(self.model.weights()), label])

    def entry(self, hot_nmol, total_nmol):
        return self.model.entry(hot_nmol, total_nmol)

    def derivative(self, t_min, y):
        return self.model.derivative(t_min, y)


@dataclass(frozen=True)
class Problem:
    """A model, what is usually given of it, and which laws are its own.

    `is_linear`: superposition holds. `hot_is_linear`: activity is linear in what is given at the same ligand.
    """

    name: str
    make: Callable[[], AbstractKineticModel]
    activity_MBq: float
    amount_nmol: float
    is_linear: bool
    hot_is_linear: bool = True

    def given(self, time_h: float = 0.0, share: float = 1.0, ligand: float = 1.0, infusion_h: float = 0.0):
        """An administration of `share` of the usual activity in `ligand` of the usual amount."""
        nuclide = self.make().nuclide.name
        activity, amount = share * self.activity_MBq, ligand * self.amount_nmol
        return Administration(1, time_h, activity, amount, infusion_h, self.name, nuclide)


def _microspheres():
    return Microspheres.of(uptake_ratio=4.0, lung_shunt=0.06, tumour_g=250.0, normal_liver_g=1400.0)


PROBLEMS = (
    Problem("V21 three pools", three_pools, 740.0, 100.0, is_linear=True),
    Problem("V22 saturable", saturable, 740.0, 100.0, is_linear=False),
    Problem("microspheres", _microspheres, 2000.0, 10.0, is_linear=True),
    Problem("thyroid", Thyroid.of, 500.0, 2.0, is_linear=True),
    Problem("thyroid, stunned", lambda: Thyroid.of(stunning=True), 500.0, 2.0, is_linear=False, hot_is_linear=False),
    Problem("antibody", lambda: Antibody.of(tumour_mL=40.0), 740.0, 100.0, is_linear=False),
    Problem("PSMA-617", PSMA617.of, 740.0, 100.0, is_linear=False, hot_is_linear=False),
    Problem("68Ga-HA-DOTATATE", lambda: HADotatate.of("68Ga-HA-DOTATATE"), 100.0, 5.0, is_linear=False),
    Problem("177Lu-HA-DOTATATE", lambda: HADotatate.of("177Lu-HA-DOTATATE"), 740.0, 90.0, is_linear=False),
    Problem("reduced", lambda: reduced(default_patient(), LU, REDUCED_TARGETS), 740.0, 100.0, is_linear=False),
)
