"""What drives the uncertainty of an absorbed dose: Sobol indices of groups of inputs, correlated ones included.

The first-order index of a group is the share of the variance that goes when the group is known, Var(E[D|g]) / Var(D);
the total index the share that is left when all else is known, E[Var(D|all but g)] / Var(D). Both definitions hold for
correlated inputs. Inputs are normal (log parameters of the model). Those correlated a priori, such as the two kidneys'
densities, are one group: groups are then independent, the indices are the classical ones, first-order indices sum to
one at most. A posterior correlates everything with everything; there each group's index is estimated from draws of the
others given the group, and of the group given the others, and a first-order index may exceed the total one: a group is
then known by way of the others.

References: Saltelli et al., Comput Phys Commun 2010;181:259 (estimators, as in `scipy.stats.sobol_indices`);
Jacques et al., Reliab Eng Syst Saf 2006;91:1126 (groups); Mara and Tarantola, Reliab Eng Syst Saf 2012;107:115
(correlated normal inputs by conditional draws). Without groups, for one lever a parameter: `pbpk.sensitivity`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, qmc, sobol_indices

from calibration.budget_checks import checked_covariance
from dose.errors import InputError, describe

SAMPLES = 256
"""Default base sample N; N (groups + 2) evaluations are made, N (2 groups + 2) where groups are correlated."""
RESAMPLES = 200
INTERVAL_PERCENT = (5.0, 95.0)
SHOWN = 0.02
"""Groups whose indices are all below this are left out of a printed table."""
INDEPENDENT = 1e-9
"""Groups whose correlations are all below this are independent."""


@dataclass(frozen=True)
class Inputs:
    """Normal inputs: `names`, `mean` and `covariance` [input, input] of log parameters, and the group of each.

    Raises:
        InputError: lengths that differ, a covariance that is none, an input without spread.
    """

    names: tuple[str, ...]
    mean: np.ndarray
    covariance: np.ndarray
    groups: tuple[str, ...]

    def __post_init__(self):
        count = len(self.names)
        if len(self.mean) != count or len(self.groups) != count or not count:
            found = f"{count} names, {len(self.mean)} means, {len(self.groups)} groups"
            raise InputError(describe("inputs", found, "equally many of each, one at least", "name each input"))
        covariance = checked_covariance("input covariance", self.covariance, count)
        if still := [name for name, v in zip(self.names, np.diag(covariance), strict=True) if not v > 0]:
            found = f"no spread of {', '.join(still)}"
            raise InputError(describe("input covariance", found, "variances above 0", "leave the input out"))
        object.__setattr__(self, "covariance", covariance)

    @property
    def order(self) -> tuple[str, ...]:
        """The groups, each once."""
        return tuple(dict.fromkeys(self.groups))

    def members(self, group: str) -> np.ndarray:
        """Mask [input] of a group."""
        return np.array([g == group for g in self.groups])

    @property
    def correlated(self) -> bool:
        """Whether inputs of different groups are correlated."""
        sd = np.sqrt(np.diag(self.covariance))
        across = np.array(self.groups)[:, None] != np.array(self.groups)
        return bool(np.any(np.abs(self.covariance / np.outer(sd, sd))[across] > INDEPENDENT))


@dataclass(frozen=True)
class GroupIndices:
    """First-order and total indices [output, group], with 90 % bootstrap intervals [2, output, group].

    `cv` [output] is the spread of the dose (sd over mean), `scale` says whether indices are of ln D or of D, and
    `evaluations` how many inputs were evaluated.
    """

    outputs: tuple[str, ...]
    groups: tuple[str, ...]
    first: np.ndarray
    total: np.ndarray
    first_interval: np.ndarray
    total_interval: np.ndarray
    cv: np.ndarray
    scale: str
    correlated: bool
    samples: int
    evaluations: int

    def leading(self, output: str, count: int = 3) -> list[tuple[str, float, float]]:
        """The groups with the largest index: name, first-order index, total index."""
        k = self.outputs.index(output)
        order = np.argsort(-np.maximum(self.total[k], self.first[k]), kind="stable")[:count]
        return [(self.groups[g], float(self.first[k, g]), float(self.total[k, g])) for g in order]

    def __str__(self) -> str:
        """A table of the groups that explain a fiftieth or more of any output, largest first."""
        largest = np.maximum(self.total, self.first).max(axis=0)
        order = [g for g in np.argsort(-largest, kind="stable") if largest[g] >= SHOWN]
        width = max(len(name) for name in self.groups)
        head = "".join(f"  {name:>22}" for name in self.outputs)
        lines = [f"{'first order / total':{width}}{head}"]
        for g in order:
            pairs = zip(100 * self.first[:, g], 100 * self.total[:, g], strict=True)
            cells = "".join(f"  {f'{first:5.1f} / {total:5.1f} %':>22}" for first, total in pairs)
            lines.append(f"{self.groups[g]:{width}}{cells}")
        lines.append(f"{'CV of dose':{width}}" + "".join(f"  {100 * cv:20.1f} %" for cv in self.cv))
        return "\n".join(lines)


def group_indices(
    log_dose: Callable[[np.ndarray], np.ndarray],
    inputs: Inputs,
    outputs: Sequence[str],
    *,
    scale: str = "log",
    samples: int = SAMPLES,
    seed: int = 0,
) -> GroupIndices:
    """Sobol indices of a function of normal inputs: [input, sample] to ln of doses [output, sample].

    `scale` "log" shares out the variance of ln D (doses are near log-normal), "dose" that of D. The base samples are
    halves of one scrambled Sobol sequence; the intervals resample its points as if they were independent.

    Raises:
        InputError: `samples` no power of two, an unknown scale, values that are not finite.
    """
    if samples < 2 or samples & (samples - 1):
        raise InputError(describe("samples", str(samples), "a power of two", "take 128, 256, 512, ..."))
    if scale not in ("log", "dose"):
        raise InputError(describe("scale", repr(scale), "log or dose", "name one of them"))
    columns = design(inputs, samples, seed)
    values = np.asarray(log_dose(np.concatenate(columns, axis=1)))
    if not np.all(np.isfinite(values)):
        found = f"{np.count_nonzero(~np.isfinite(values))} values that are not finite"
        raise InputError(describe("log_dose", found, "finite ones", "narrow the inputs or check the function"))
    blocks = np.split(values if scale == "log" else np.exp(values), len(columns), axis=1)
    correlated = inputs.correlated
    first, total = _estimate(blocks, correlated)
    resampled = np.random.default_rng(seed).integers(samples, size=(RESAMPLES, samples))
    again = [_estimate([block[:, at] for block in blocks], correlated) for at in resampled]
    bounds = [np.percentile([one[k] for one in again], INTERVAL_PERCENT, axis=0) for k in range(2)]
    dose = np.exp(values[:, : 2 * samples] - values[:, : 2 * samples].mean(axis=1, keepdims=True))
    cv = dose.std(axis=1) / dose.mean(axis=1)
    order, count = inputs.order, values.shape[1]
    return GroupIndices(tuple(outputs), order, first, total, *bounds, cv, scale, correlated, samples, count)


def design(inputs: Inputs, samples: int, seed: int) -> list[np.ndarray]:
    """Inputs [input, sample] of samples A and B and, for each group, of B's group within A.

    Where groups are independent, the last is one sample a group. Where they are correlated it is two: B's group with
    the others as A's noise makes them given that group (for the first-order index), then A's others with the group as
    B's noise makes it given those (for the total index).
    """
    count = len(inputs.names)
    unit = qmc.Sobol(2 * count, rng=np.random.default_rng(seed)).random_base2(samples.bit_length() - 1)
    noise_a, noise_b = np.split(norm.ppf(np.clip(unit, 1e-12, 1 - 1e-12)).T, 2)
    factor = _root(inputs.covariance)
    a, b = factor @ noise_a, factor @ noise_b
    masks = [inputs.members(group) for group in inputs.order]
    if inputs.correlated:
        known = [_given(inputs.covariance, mask, b, noise_a) for mask in masks]
        drawn = [_given(inputs.covariance, ~mask, a, noise_b) for mask in masks]
        mixed = known + drawn
    else:
        mixed = [np.where(mask[:, None], b, a) for mask in masks]
    return [np.asarray(inputs.mean)[:, None] + x for x in (a, b, *mixed)]


def _given(covariance, mask, known: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """`known` [input, sample] where `mask`, and draws of the rest given that, made of standard normal `noise`."""
    rest = ~mask
    if not rest.any():
        return known
    slope = covariance[np.ix_(rest, mask)] @ np.linalg.pinv(covariance[np.ix_(mask, mask)], hermitian=True)
    left = covariance[np.ix_(rest, rest)] - slope @ covariance[np.ix_(mask, rest)]
    out = known.copy()
    out[rest] = slope @ known[mask] + _root(left) @ noise[rest]
    return out


def _root(covariance) -> np.ndarray:
    """Symmetric root: equal to the Cholesky factor where inputs are independent, and defined where some are not."""
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T


def _estimate(blocks: list[np.ndarray], correlated: bool) -> tuple[np.ndarray, np.ndarray]:
    """First-order and total indices [output, group] of values at A, B and mixed."""
    a, b, *mixed = blocks
    halves = (mixed[: len(mixed) // 2], mixed[len(mixed) // 2 :]) if correlated else (mixed, mixed)
    found = [sobol_indices(func={"f_A": a, "f_B": b, "f_AB": np.stack(half)}, n=a.shape[1]) for half in halves]
    shape = (a.shape[0], len(halves[0]))
    return found[0].first_order.reshape(shape), found[1].total_order.reshape(shape)
