"""Lesions of a virtual patient: how many, how large, how much ligand they bind, drawn from a fitted law.

A law has two levels. A patient has a number of lesions, of one of two populations, and traits: lesions larger or
smaller than others' (`volume`), of more or less uptake (`uptake`), more or less alike (`uptake_spread`). Given these,
lesions are independent. With n lesions, number m = log(n / reference), v = log of a volume, and all z standard normal:

    n - 1           oligo: geometric, mean `oligo_extra`; otherwise negative binomial (mean `poly_extra`, `poly_shape`);
                    n up to `MOST`
    v               normal above log(`least_mL`): location `volume_log` + `volume_number` m + `volume_between`
                    z_patient, scale `volume_within`; lesions together hold `most_mL` or less
    log uptake      `uptake_number` m + `uptake_volume` (min(v, log `flat_mL`) - log `reference_mL`)
                    + `uptake_between` z_patient + spread z
    log spread      log `uptake_within` + `within_number` m + `uptake_spread` z_patient

Numbers, their origin and limits: `data/lesions.csv`, docs/cohorts.md.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int
from scipy.special import gammaln

from dose.errors import InputError, describe
from dose.provenance import load_table
from pbpk.compiled import compiler_options
from pbpk.levers import known

TARGETS = ("PSMA", "SSTR")
MOST = 120
"""Most lesions of a patient: the largest number among the 497 scans the law was fitted to. The fitted law without this
bound would give 3.2 % of patients more."""
BLOCK = 256
"""Patients drawn by one program. Blocks begin at multiples of it, so that a patient stands at the same place of the
same program, and is the same to the last bit, whatever range is asked for."""
MOST_PATIENTS = 2**32
"""`fold_in` takes numbers below this."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LesionLaw:
    """Parameters of the law, in the words of the module's first lines.

    `reference_number` and `reference_mL` are the number and volume of the lesion whose relative uptake is 1, for a
    patient without deviations; `reference_suv` is its mean SUV.
    """

    oligo_share: float
    oligo_extra: float
    poly_extra: float
    poly_shape: float
    volume_log: float
    volume_number: float
    volume_between: float
    volume_within: float
    least_mL: float
    most_mL: float
    uptake_number: float
    uptake_volume: float
    flat_mL: float
    uptake_between: float
    uptake_within: float
    within_number: float
    uptake_spread: float
    reference_number: float
    reference_mL: float
    reference_suv: float


class Lesions(NamedTuple):
    """Lesions of patients `first` to `last` - 1; zero beyond a patient's `count`.

    `relative_uptake` is 1 for the median lesion of the median patient: multiply a receptor density by it.
    """

    count: Int[np.ndarray, " patient"]
    volume_mL: Float[np.ndarray, "patient lesion"]
    relative_uptake: Float[np.ndarray, "patient lesion"]


@cache
def lesion_law(target: str) -> LesionLaw:
    """The shipped law of a receptor family: "PSMA", fitted to PET, or "SSTR", from few published figures.

    Raises:
        InputError: another target.
    """
    known("target", target, TARGETS)
    rows = {
        row["quantity"]: float(row["value"]) for row in load_table("pbpk", "lesions.csv") if row["target"] == target
    }
    return LesionLaw(**{field.name: rows[field.name] for field in fields(LesionLaw)})


def number_probabilities(law: LesionLaw, most: int = MOST) -> Float[np.ndarray, " number"]:
    """Probability of 1, 2, ... `most` lesions; their sum is 1."""
    extra = np.arange(most)
    oligo = _negative_binomial(extra, law.oligo_extra, 1.0)
    poly = _negative_binomial(extra, law.poly_extra, law.poly_shape)
    share = law.oligo_share * oligo + (1 - law.oligo_share) * poly
    return share / share.sum()


def _negative_binomial(k: np.ndarray, mean: float, shape: float) -> np.ndarray:
    odds = shape * np.log(shape / (shape + mean)) + k * np.log(mean / (shape + mean))
    return np.exp(gammaln(k + shape) - gammaln(shape) - gammaln(k + 1) + odds)


def draw_lesions(law: LesionLaw, key: Array, first: int, last: int) -> Lesions:
    """Lesions of patients `first` to `last` - 1; patient k is drawn with `jax.random.fold_in(key, k)`.

    Raises:
        InputError: numbers that are no range.
    """
    if not 0 <= first < last <= MOST_PATIENTS:
        expected = f"0 <= first < last <= {MOST_PATIENTS}"
        raise InputError(describe("first, last", f"{first}, {last}", expected, "ask for at least one patient"))
    begin = first - first % BLOCK
    below = np.cumsum(number_probabilities(law))[:-1]
    numbers = jax.tree.map(np.float64, law)
    blocks = [draw_program()(numbers, below, key, np.uint32(k)) for k in range(begin, last, BLOCK)]
    return Lesions(*(np.concatenate(part)[first - begin : last - begin] for part in zip(*blocks, strict=True)))


@cache
def draw_program():
    """The compiled draw of `BLOCK` patients of any law, to the fields of `Lesions`."""
    return jax.jit(_block, compiler_options=compiler_options())


def _block(law: LesionLaw, below: Array, key: Array, begin: Array):
    """`below` are the probabilities of a number of 1 or less, 2 or less, ...; `begin` is the first patient."""
    keys = jax.vmap(lambda k: jax.random.fold_in(key, k))(begin + jnp.arange(BLOCK, dtype=jnp.uint32))
    return jax.vmap(lambda k: _patient(law, below, k))(keys)


def _patient(law: LesionLaw, below: Array, key: Array):
    number, size, binding = jax.random.split(key, 3)
    count = 1 + jnp.searchsorted(below, jax.random.uniform(number), side="right")
    there = jnp.arange(MOST) < count
    log_volume = _log_volumes(law, count, there, size)
    volume, uptake = jnp.exp(log_volume), jnp.exp(_log_uptakes(law, count, log_volume, binding))
    return count, jnp.where(there, volume, 0.0), jnp.where(there, uptake, 0.0)


def _log_volumes(law: LesionLaw, count: Array, there: Array, key: Array) -> Array:
    """Drawn anew, patient's trait and all, until the lesions fit into `most_mL`."""
    total = lambda log_volume: jnp.sum(jnp.where(there, jnp.exp(log_volume), 0.0))
    again = lambda state: total(state[0]) > law.most_mL
    redraw = lambda state: (_one_try(law, count, jax.random.fold_in(key, state[1])), state[1] + 1)
    return lax.while_loop(again, redraw, redraw((jnp.zeros(MOST), 0)))[0]


def _one_try(law: LesionLaw, count: Array, key: Array) -> Array:
    trait, each = jax.random.split(key)
    middle = (
        law.volume_log + law.volume_number * _number_log(law, count) + law.volume_between * jax.random.normal(trait)
    )
    least = (jnp.log(law.least_mL) - middle) / law.volume_within
    return middle + law.volume_within * jax.random.truncated_normal(each, least, jnp.inf, (MOST,))


def _log_uptakes(law: LesionLaw, count: Array, log_volume: Array, key: Array) -> Array:
    traits, each = jax.random.split(key)
    level, alike = jax.random.normal(traits, (2,))
    number = _number_log(law, count)
    size = jnp.minimum(log_volume, jnp.log(law.flat_mL)) - jnp.log(law.reference_mL)
    middle = law.uptake_number * number + law.uptake_volume * size + law.uptake_between * level
    spread = law.uptake_within * jnp.exp(law.within_number * number + law.uptake_spread * alike)
    return middle + spread * jax.random.normal(each, (MOST,))


def _number_log(law: LesionLaw, count: Array) -> Array:
    return jnp.log(count / law.reference_number)
