"""The whole-body model with its flows closed up: blood, a few target tissues, the rest.

Made from `Kinetics`. Vascular pools are taken to be at rest with the blood, whose volume holds them all, and flow and
permeability act one after the other. For each tissue, with blood concentration C = x/V_b:

    i' = E_in C - E_back i/V_i - g i/V_i - k_on R i/V_i + k_off b - k_ns i
    t' = (1 - f_exc) g (i/V_i - t/V_t)                  tubular return, kidneys only
    b' = k_on R i/V_i - (k_off + k_int) b
    n' = k_int b + k_ns i - k_rel n,     R = R_0 - b of all ligand
    E_in = F (PS + g) / (F + PS + g),    E_back = F PS / (F + PS)

What is kept: volumes, so that everything is shared as before once flow and permeability no longer limit it; receptors,
affinity, internalisation and release of the targets; excretion, protein binding, the amounts balance. What is lost: the
first minutes (lungs, portal vein, the first pass), and differences between the organs that the rest lumps, whose
receptors and rates are added up or averaged by uptake. Measured differences: docs/models.md.
"""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dose.errors import InputError, describe, nearest
from dose.nuclides import Radionuclide
from pbpk.abstract import AbstractKineticModel, Pool
from pbpk.kinetics import Kinetics

PARTS = ("interstitial", "transit", "bound", "internalised")
REST = "remainder"


class Tissues(eqx.Module):
    """Targets in their order, then the rest; volumes in L, flows in L/min, rates per min, receptors in nmol."""

    entering: Float[Array, " tissue"]
    returning: Float[Array, " tissue"]
    filtration: Float[Array, " tissue"]
    interstitial: Float[Array, " tissue"]
    transit: Float[Array, " tissue"]
    receptors: Float[Array, " tissue"]
    internalisation: Float[Array, " tissue"]
    release: Float[Array, " tissue"]
    nonsaturable: Float[Array, " tissue"]
    vascular: Float[Array, " tissue"]


class Reduced(AbstractKineticModel):
    """Blood, targets and rest of one patient."""

    tissues: Tissues
    k_on: Float[Array, ""]
    k_off: Float[Array, ""]
    excreted_fraction: Float[Array, ""]
    blood_L: Float[Array, ""]
    protein_binding: Float[Array, ""]
    protein_return: Float[Array, ""]
    targets: tuple[str, ...] = eqx.field(static=True)
    nuclide: Radionuclide = eqx.field(static=True)

    @property
    def regions(self) -> tuple[str, ...]:
        """Targets and rest, each with its plasma, then the large vessels with the pool on plasma proteins."""
        return (*self.targets, REST, "blood")

    @property
    def pools(self) -> tuple[Pool, ...]:
        names = ("blood", "protein", *(f"{tissue}_{part}" for part in PARTS for tissue in (*self.targets, REST)))
        every = tuple(Pool(f"all_{name}", "amount") for name in names)
        return (*every, *(Pool(name) for name in names), Pool("urine", "sink"), Pool("released", "sink"))

    def weights(self):
        count = len(self.targets) + 1
        vessels = self.tissues.vascular / self.blood_L
        blood = jnp.append(vessels, 1 - jnp.sum(vessels))[:, None]
        protein = jnp.zeros((count + 1, 1)).at[-1].set(1.0)
        parts = jnp.tile(jnp.eye(count + 1, count), len(PARTS))
        label = jnp.concatenate([blood, protein, parts], axis=1)
        return jnp.concatenate([jnp.zeros_like(label), label, jnp.zeros((count + 1, 2))], axis=1)

    def entry(self, hot_nmol, total_nmol):
        return jnp.zeros(len(self.pools)).at[0].set(total_nmol).at[self._size].set(hot_nmol)

    def derivative(self, t_min, y):
        everything, label = y[: self._size], y[self._size : 2 * self._size]
        free = self.tissues.receptors - self._split(everything)[-1][PARTS.index("bound")]
        d_all, _ = self._species(everything, free)
        d_label, left = self._species(label, free)
        decayed = self.nuclide.decay_constant_per_min * y[self._size :]
        return jnp.concatenate([d_all, jnp.concatenate([d_label, left]) - decayed])

    @property
    def _size(self) -> int:
        return 2 + len(PARTS) * (len(self.targets) + 1)

    def _split(self, x):
        return x[0], x[1], x[2:].reshape(len(PARTS), -1)

    def _species(self, x, free_receptors):
        """Derivatives without decay, and what leaves the body: urine, released."""
        k = self.tissues
        blood, protein, (interstitial, transit, bound, internalised) = self._split(x)
        entering, returning = k.entering * blood / self.blood_L, k.returning * interstitial / k.interstitial
        filtrate = k.filtration * interstitial / k.interstitial
        reabsorbed = (1 - self.excreted_fraction) * k.filtration * transit / k.transit
        binding = self.k_on * free_receptors * interstitial / k.interstitial - self.k_off * bound
        taken_in, other_uptake = k.internalisation * bound, k.nonsaturable * interstitial
        released, exchange = k.release * internalised, self.protein_binding * blood - self.protein_return * protein
        tissues = (
            entering - returning - filtrate - binding - other_uptake,
            (1 - self.excreted_fraction) * filtrate - reabsorbed,
            binding - taken_in,
            taken_in + other_uptake - released,
        )
        d_blood = jnp.sum(returning + reabsorbed - entering) - exchange
        left = jnp.stack([jnp.sum(self.excreted_fraction * filtrate), jnp.sum(released)])
        return jnp.concatenate([jnp.stack([d_blood, exchange]), *tissues]), left


def reduced(kin: Kinetics, nuclide: Radionuclide, targets: tuple[str, ...]) -> Reduced:
    """The reduced model of a patient, `targets` kept one by one and all other organs lumped.

    Protein binding acts on the vein alone in the whole-body model; here its rate is thinned by the vein's part of the
    blood.

    Raises:
        InputError: more than one patient, a target that is no organ or is named twice, the rest as a target.
    """
    at = _places(kin, targets)
    blood = kin.arterial[0] + kin.venous[0] + jnp.sum(kin.vascular[:, 0])
    return Reduced(
        tissues=_tissues(kin, at),
        k_on=kin.k_on[0],
        k_off=kin.k_off[0],
        excreted_fraction=kin.excreted_fraction[0],
        blood_L=blood,
        protein_binding=kin.protein_binding[0] * kin.venous[0] / blood,
        protein_return=kin.protein_return[0],
        targets=tuple(targets),
        nuclide=nuclide,
    )


def _places(kin: Kinetics, targets) -> np.ndarray:
    if kin.patients != 1:
        raise InputError(describe("kinetics", f"{kin.patients} patients", "1 patient", "reduce one at a time"))
    for k, name in enumerate(targets):
        if name not in kin.organs or name == REST or name in targets[:k]:
            expected = nearest(name, kin.organs) or "one of " + ", ".join(kin.organs)
            do = f"name organs of the model once each; {REST} is what is not named"
            raise InputError(describe("target", repr(name), expected, do))
    return np.array([kin.organs.index(name) for name in targets], int)


def _tissues(kin: Kinetics, at: np.ndarray) -> Tissues:
    """Each target as it is; in the rest amounts and flows add up, rates are averaged by what they act on."""
    others = np.setdiff1d(np.arange(len(kin.organs)), at)
    flow, permeability, filtration = (x[:, 0] for x in (kin.plasma_flow, kin.permeability, kin.filtration))
    receptors, interstitial = kin.receptors[:, 0], kin.interstitial[:, 0]
    internalised = kin.k_on * receptors * kin.internalisation[:, 0] / (kin.k_off + kin.internalisation[:, 0])
    uptake = internalised + kin.nonsaturable[:, 0] * interstitial
    supply = jnp.where(jnp.arange(len(kin.organs)) == 0, jnp.sum(flow[1:]), flow)
    summed = lambda x: jnp.append(x[at], jnp.sum(x[others]))
    mean = lambda x, by: jnp.append(x[at], jnp.sum((x * by)[others]) / _above_zero(jnp.sum(by[others])))
    through = permeability + filtration
    return Tissues(
        entering=summed(supply * through / _above_zero(supply + through)),
        returning=summed(supply * permeability / _above_zero(supply + permeability)),
        filtration=summed(filtration),
        interstitial=summed(interstitial),
        transit=summed(kin.transit[:, 0]),
        receptors=summed(receptors),
        internalisation=mean(kin.internalisation[:, 0], receptors),
        release=mean(kin.release[:, 0], uptake),
        nonsaturable=mean(kin.nonsaturable[:, 0], interstitial),
        vascular=summed(kin.vascular[:, 0]),
    )


def _above_zero(x):
    """`x`, or 1 where it is 0: what it divides is 0 there as well."""
    return jnp.where(x == 0, 1.0, x)
