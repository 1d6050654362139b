"""Time-integrated activity as a smooth function of the ligand amount: a few solves, then any schedule at once.

Hot ligand is linear once the total is known, so the integral over all time per amount of hot ligand depends on the
total amount alone: TIA = activity * phi(amount). phi is smooth, so its logarithm is interpolated by a Chebyshev
polynomial in the logarithm of the amount (Trefethen, Approximation Theory and Practice, 2019, ch. 3 and 5). All nodes
are lanes of one solve. The kill integral of the BED is quadratic in the activity in the same way. This holds for cycles
that do not touch: what is left of one must not occupy receptors in the next (`left_over`), and uptake must not drift.
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.polynomial import chebyshev

from dose.errors import InputError, describe
from pbpk.course import HALF_LIVES_TO_THE_END
from pbpk.kinetics import Kinetics
from pbpk.solve import AUDIT_RTOL, segments, solve

NODES = 16
"""Error near 1e-7 over 30 to 200 nmol and 5e-5 over 10 to 400 nmol for PSMA-617, largest in the smallest gland."""
HOT_FRACTION = 1e-3
"""Labelled part of the ligand in the solves; the result per hot amount does not depend on it."""


class Integrated(NamedTuple):
    """Per cycle of a schedule: TIA of organs then blood, (MBq h) [cycle, pool]; kill, (MBq h)^2 [cycle, organ]."""

    tia_MBq_h: Float[Array, "cycle pool"]
    kill_MBq2_h2: Float[Array, "cycle organ"]


class AmountMap(eqx.Module):
    """Chebyshev coefficients of log phi and log kill over log amount, [node, pool]; `error` of each pool's TIA.

    `error` is the largest relative difference from solves between the nodes, [pool]; `left_over` the largest part of
    the ligand that is still in the body `interval_h` after it was given. `pbpk.schedules` falls back to direct solves.
    """

    tia: Float[Array, "node pool"]
    kill: Float[Array, "node organ"]
    error: Float[np.ndarray, " pool"]
    low_nmol: float
    high_nmol: float
    left_over: float
    interval_h: float
    infusion_min: float
    organs: tuple[str, ...] = eqx.field(static=True)

    def __call__(self, activity_MBq, amount_nmol) -> Integrated:
        """Integrals of cycles with these activities (MBq) and ligand amounts (nmol), [cycle]; differentiable.

        An amount outside low_nmol to high_nmol gives NaN.
        """
        activity, amount = jnp.asarray(activity_MBq)[:, None], jnp.asarray(amount_nmol)
        place = _place(amount, self.low_nmol, self.high_nmol)
        inside = (amount >= self.low_nmol) & (amount <= self.high_nmol)
        basis = _basis(jnp.where(inside, place, jnp.nan), self.tia.shape[0])
        return Integrated(activity * jnp.exp(basis @ self.tia), activity**2 * jnp.exp(basis @ self.kill))


def _place(amount, low, high):
    return 2 * jnp.log(amount / low) / jnp.log(high / low) - 1


def _basis(place, count: int):
    """Chebyshev polynomials [cycle, node] by their recurrence."""
    terms = [jnp.ones_like(place), place]
    for _ in range(count - 2):
        terms.append(2 * place * terms[-1] - terms[-2])
    return jnp.stack(terms[:count], axis=-1)


def amount_map(
    kin: Kinetics,
    low_nmol: float,
    high_nmol: float,
    *,
    infusion_min: float = 0.0,
    interval_h: float = 6 * 7 * 24.0,
    nodes: int = NODES,
    rtol: float = AUDIT_RTOL,
) -> AmountMap:
    """The map of one patient over a range of ligand amounts, with as many solves again for its error.

    Raises:
        InputError: a range that is not 0 < low < high, or `kin` of more than one patient.
    """
    _check(kin, low_nmol, high_nmol)
    at_nodes = np.cos(np.pi * (np.arange(nodes) + 0.5) / nodes)
    between = np.cos(np.pi * np.arange(nodes + 1) / nodes)
    place = np.concatenate([at_nodes, between])
    amount = low_nmol * (high_nmol / low_nmol) ** ((place + 1) / 2)
    tia, kill, left = _solved(kin, amount, infusion_min, interval_h, rtol)
    fit = lambda values: chebyshev.chebfit(at_nodes, np.log(values[:nodes]), nodes - 1)
    coefficients = fit(tia)
    there = np.exp(chebyshev.chebval(between, coefficients).T)
    return AmountMap(
        tia=jnp.asarray(coefficients),
        kill=jnp.asarray(fit(kill)),
        error=np.max(np.abs(there / tia[nodes:] - 1), axis=0),
        low_nmol=float(low_nmol),
        high_nmol=float(high_nmol),
        left_over=float(np.max(left)),
        interval_h=float(interval_h),
        infusion_min=float(infusion_min),
        organs=kin.organs,
    )


def _check(kin: Kinetics, low_nmol, high_nmol) -> None:
    if not 0 < low_nmol < high_nmol:
        found = f"{low_nmol:g} to {high_nmol:g}"
        raise InputError(describe("ligand amounts (nmol)", found, "0 < low < high", "give the range of the schedules"))
    if kin.patients != 1:
        raise InputError(describe("kinetics", f"{kin.patients} patients", "one patient", "make a map for each patient"))


def _solved(kin: Kinetics, amount, infusion_min, interval_h, rtol):
    """TIA and kill per MBq and MBq^2 (h, h^2) [amount, pool], and the part of the ligand left after the interval."""
    end = max(HALF_LIVES_TO_THE_END * np.log(2) / float(kin.decay[0]), 60 * interval_h)
    hot = HOT_FRACTION * amount
    seg = segments([0.0], [infusion_min], amount[None], hot[None], [60 * interval_h], end)
    many = jax.tree.map(lambda x: jnp.repeat(x, len(amount), axis=-1), kin)
    solution = solve(many, seg, rtol=rtol)
    last = jax.tree.map(lambda x: np.asarray(x[-1]), solution.integrals)
    tia = np.concatenate([last.organ, last.blood]).T / hot[:, None] / 60
    kill = last.kill.T / (60 * hot[:, None]) ** 2
    after = int(np.argmin(np.abs(seg.end_min - 60 * interval_h)))
    left = sum(np.asarray(pool[after]).sum(axis=0) for pool in solution.total) / amount
    return np.maximum(tia, 1e-300), np.maximum(kill, 1e-300), left
