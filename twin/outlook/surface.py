"""Log-polynomials over ligand amount and tumour size, and the record of a patient's coming cycles made of them."""

from __future__ import annotations

from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.polynomial import chebyshev

from pbpk.administration import Administration
from twin.patient import DoseReport, PatientTwin

MOST_CYCLES = 12
"""Cycles to come are padded to this number, so that no change of a schedule compiles anything."""


class Axis(eqx.Module):
    """Chebyshev nodes in the logarithm of a quantity from `low` to `high`; one node where the two are equal."""

    low: float
    high: float
    nodes: int = eqx.field(static=True)

    @property
    def values(self) -> np.ndarray:
        place = np.cos(np.pi * (np.arange(self.nodes) + 0.5) / self.nodes)
        return np.full(1, self.low) if self.nodes == 1 else self.low * (self.high / self.low) ** ((place + 1) / 2)

    def basis(self, value: Float[Array, ...]) -> Float[Array, "... term"]:
        """Chebyshev polynomials at values, held at the ends of the range."""
        if self.nodes == 1:
            return jnp.ones((*jnp.shape(value), 1))
        place = 2 * jnp.log(jnp.clip(value, self.low, self.high) / self.low) / jnp.log(self.high / self.low) - 1
        terms = [jnp.ones_like(place), place]
        for _ in range(self.nodes - 2):
            terms.append(2 * place * terms[-1] - terms[-2])
        return jnp.stack(terms[: self.nodes], axis=-1)

    def fit(self, values: np.ndarray) -> np.ndarray:
        """Coefficients [term, ...] of the polynomial through values [node, ...]."""
        place = np.cos(np.pi * (np.arange(self.nodes) + 0.5) / self.nodes)
        return np.linalg.solve(chebyshev.chebvander(place, self.nodes - 1), values.reshape(self.nodes, -1)).reshape(
            values.shape
        )


class Surfaces(eqx.Module):
    """Logs of what one MBq does in a cycle, [amount term, size term, draw, region] unless said otherwise.

    `dose` and `weighted` in Gy, `quadratic` what the BED adds (Gy per MBq^2), `tia` in MBq h; `activity` in MBq,
    [amount term, draw, region, time], with the tumours as they are now. Errors of mass and S value that belong to the
    draws are inside; `error` [draw, region] holds the others, `drift` [draw, cycle, region] the change of uptake, both
    logs.
    """

    amount: Axis
    size: Axis
    dose: Float[Array, "amount size draw region"]
    weighted: Float[Array, "amount size draw region"]
    quadratic: Float[Array, "amount size draw region"]
    tia: Float[Array, "amount size draw region"]
    activity: Float[Array, "amount draw region time"]
    error: Float[Array, "draw region"]
    drift: Float[Array, "draw cycle region"]
    lesion_mL: Float[Array, " lesion"]
    alpha_per_Gy: Float[Array, " draw"]
    doubling_time_h: Float[Array, " draw"]
    lesions: tuple[int, ...] = eqx.field(static=True)


@dataclass(frozen=True, repr=False)
class Outlook:
    """A twin's coming cycles: what was given before them (`given`, None before the first) and their surfaces.

    Cycles to come are numbered from `first_cycle`; `example` is the administration they take ligand, nuclide, infusion
    and cold ligand before it from. `error_sd` [region] and `drift_sd` [region] are the log sds of what `surfaces.error`
    and each step of `surfaces.drift` were drawn from. `left` [time] is the part of a cycle's ligand still in the body
    at `left_h`, which 95 % of draws stay below; `interpolation_error` the largest relative error of a dose between the
    nodes.
    """

    twin: PatientTwin
    regions: tuple[str, ...]
    mass_g: np.ndarray
    given: DoseReport | None
    given_administrations: tuple[Administration, ...]
    first_cycle: int
    example: Administration
    surfaces: Surfaces
    time_h: np.ndarray
    error_sd: np.ndarray
    drift_sd: np.ndarray
    kidneys: tuple[int, ...]
    left: np.ndarray
    left_h: np.ndarray
    interpolation_error: float
    warnings: tuple[str, ...]

    def __repr__(self) -> str:
        amount = self.surfaces.amount
        span = f"{amount.low:g} to {amount.high:g} nmol, tumour sizes {self.surfaces.size.nodes}"
        return f"Outlook(cycles from {self.first_cycle}, {self.draws} draws, {len(self.regions)} regions, {span})"

    @property
    def draws(self) -> int:
        return self.surfaces.dose.shape[2]

    @property
    def lesions(self) -> tuple[str, ...]:
        """Named tumours, the rest of the tumour burden among them where its volume is known."""
        return tuple(self.regions[k] for k in self.surfaces.lesions)

    @property
    def last_given_h(self) -> float | None:
        return max((a.time_h for a in self.given_administrations), default=None)
