"""The uncertainty of a sum of doses: cycles of one patient, or two kidneys as one organ.

Errors that the parts share, such as one camera's calibration factor in all cycles, add as they stand; those that are
each part's own, such as counting noise, add in quadrature and fade. Taking all as independent makes a cumulative dose
look surer than it is. The propagation is that of a single dose (`calibration.budget_chain`), written for a sum.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from calibration.budget import SAMPLES, finite, relative_spread
from calibration.budget_chain import COMPONENTS, Chain, VolumeTerms, closed_form, dimensions, log_dose
from dose.errors import InputError, describe

CAN_BE_SHARED = ("calibration factor", "recovery curve", "volume", "kinetics", "dose factor")
"""Errors that parts may have in common; noise and misfit are of each part's own scans."""
SHARED = ("calibration factor", "recovery curve", "dose factor")
"""What cycles measured on one camera share, each with its own contour and scans."""


@dataclass(frozen=True)
class SummedBudget:
    """A sum of doses with its relative standard uncertainty, by formula and by sampling (with standard error).

    `by_component` [component of COMPONENTS] by formula; `if_independent` is the whole with nothing shared (too
    small, for comparison); `interval90` of the sampled sum over `dose_Gy`.
    """

    dose_Gy: float
    by_component: dict[str, float]
    closed: float
    sampled: float
    sampled_se: float
    if_independent: float
    interval90: tuple[float, float]


def summed(
    chains: Sequence[Chain], shared: Collection[str] = SHARED, *, samples: int = SAMPLES, seed: int = 0
) -> SummedBudget:
    """The budget of the summed dose of `chains`, whose errors named in `shared` are the same in all.

    Raises:
        InputError: no chain, an error that cannot be shared, or draws without an integral above zero.
    """
    if not chains:
        raise InputError(describe("chains", "none", "one Chain for each dose of the sum", "give them"))
    if wrong := [name for name in shared if name not in CAN_BE_SHARED]:
        do = "share what one measurement of the camera, phantom or contour serves all parts for"
        raise InputError(describe("shared", ", ".join(wrong), "among " + ", ".join(CAN_BE_SHARED), do))
    doses = np.array([chain.dose_Gy for chain in chains])
    weight = doses / doses.sum()
    apart = {name: math.hypot(*(w * closed_form(c)[name] for w, c in zip(weight, chains))) for name in COMPONENTS}
    together = {name: _together(name, chains, weight) for name in shared}
    parts = apart | together
    ratio = np.exp(finite(_draws(chains, shared, samples, seed)))
    spread, error = relative_spread(weight @ ratio)
    low, high = np.percentile(weight @ ratio, [5, 95])
    return SummedBudget(
        dose_Gy=float(doses.sum()),
        by_component=parts,
        closed=math.hypot(*parts.values()),
        sampled=spread,
        sampled_se=error,
        if_independent=math.hypot(*apart.values()),
        interval90=(float(low), float(high)),
    )


def _together(name: str, chains, weight) -> float:
    """Relative uncertainty of the sum from one error of all: signed effects add, weighted by dose."""
    if name == "recovery curve":
        effects = [_recovery_effect(chain) for chain in chains]
    elif name == "volume":
        effects = [np.array([VolumeTerms.of(chain).net * chain.outline.relative_sd]) for chain in chains]
    else:
        effects = [np.array([closed_form(chain)[name]]) for chain in chains]
    return float(np.linalg.norm(np.sum([w * e for w, e in zip(weight, effects, strict=True)], axis=0)))


def _recovery_effect(chain: Chain) -> np.ndarray:
    """d ln D by the two independent directions of (b1, b2), [2]; each its own standard uncertainty."""
    if chain.recovery is None:
        return np.zeros(2)
    values, vectors = np.linalg.eigh(chain.recovery.covariance)
    gradient = chain.recovery.gradient(chain.outline.volume_mL) / chain.recovered
    return -(gradient @ vectors) * np.sqrt(np.maximum(values, 0.0))


def _draws(chains, shared, samples: int, seed: int) -> np.ndarray:
    """ln of each dose over its nominal one, [chain, draw]; shared errors drawn once."""
    rng = np.random.default_rng(seed)
    normals = lambda chain, names: {k: rng.standard_normal((dimensions(chain)[k], samples)) for k in names}
    common = normals(chains[0], [name for name in COMPONENTS if name in shared])
    own = [name for name in COMPONENTS if name not in shared]
    return np.stack([log_dose(chain, common | normals(chain, own)) for chain in chains])
