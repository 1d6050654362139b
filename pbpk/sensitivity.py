"""Which parameters move the time-integrated activity (TIA) of an organ: near one patient, and across a population.

Elasticities d log(TIA) / d log(parameter) are derivatives of a solve on a frozen step sequence, so they are exact for
the steps taken. Sobol indices share out the variance of log(TIA) over a population: the first-order index is what a
parameter explains alone, the total one what it explains together with others. Doses are near log-normal, hence the log.

References: Saltelli et al., Comput Phys Commun 2010;181:259 (sampling; estimators of Table 2, b and f, as computed by
`scipy.stats.sobol_indices`); Fele-Paranj et al., Cancers 2024;16:3120 (the same question for this model).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.stats import norm, qmc, sobol_indices

from dose.errors import InputError, describe
from pbpk.batch import Status, solve_many, together
from pbpk.kinetics import Kinetics
from pbpk.levers import Lever, changed, check, known
from pbpk.solve import Segments, freeze, solve_on

SAMPLES = 512
"""Default base sample N of the Sobol indices; N (parameters + 2) solves are made."""
RESAMPLES = 200
INTERVAL_PERCENT = (5.0, 95.0)


@dataclass(frozen=True)
class Elasticities:
    """`value` [output, parameter]: per cent change of an output's TIA for a per cent more of a parameter."""

    outputs: tuple[str, ...]
    parameters: tuple[str, ...]
    value: np.ndarray


@dataclass(frozen=True)
class SobolIndices:
    """Shares of the variance of log(TIA), [output, parameter], with 90% bootstrap intervals [2, output, parameter].

    `log_sd` [output] is the population's spread of log(TIA); `samples` the base sample N and `solves` the patients.
    """

    outputs: tuple[str, ...]
    parameters: tuple[str, ...]
    first: np.ndarray
    total: np.ndarray
    first_interval: np.ndarray
    total_interval: np.ndarray
    log_sd: np.ndarray
    samples: int
    solves: int


Outputs = Mapping[str, Sequence[str]]
"""Name of an output and the organs whose TIA it sums, e.g. {"kidneys": ("kidney_left", "kidney_right")}."""


def log_tia(
    integral: Float[Array, "organ patient"], organs: Sequence[str], outputs: Outputs
) -> Float[Array, "output patient"]:
    """Log of the time integral of hot ligand (nmol min) that each output's organs have seen."""
    for organ in [organ for inside in outputs.values() for organ in inside]:
        known("outputs", organ, organs)
    rows = [jnp.array([organs.index(organ) for organ in inside]) for inside in outputs.values()]
    return jnp.log(jnp.stack([jnp.sum(jnp.asarray(integral)[at], axis=0) for at in rows]))


def elasticities(kin: Kinetics, seg: Segments, levers: Sequence[Lever], outputs: Outputs) -> Elasticities:
    """d log(TIA) / d log(parameter) at the end of a course, for the one patient of `kin`.

    Raises:
        InputError: an unknown field or organ, or more than one patient.
    """
    if kin.patients != 1:
        raise InputError(describe("kinetics", f"{kin.patients} patients", "one", "take one column of the batch"))
    check(kin, levers)
    grid = freeze(kin, seg)
    integral = lambda x: solve_on(changed(kin, levers, x[:, None]), grid, bed=False).integrals.organ[-1]
    at_end = lambda x: log_tia(integral(x), kin.organs, outputs)[:, 0]
    value = jax.jit(jax.jacfwd(at_end))(jnp.zeros(len(levers)))
    return Elasticities(tuple(outputs), tuple(lever.name for lever in levers), np.asarray(value))


def sobol(
    kin: Kinetics, seg: Segments, levers: Sequence[Lever], outputs: Outputs, *, samples: int = SAMPLES, seed: int = 0
) -> SobolIndices:
    """Sobol indices of log(TIA) at the end of a course, over log-normal levers around the one patient of `kin`.

    Levers are taken as independent.

    Raises:
        InputError: an unknown field or organ, a lever without spread, `samples` no power of two, more than one patient.
        RuntimeError: a patient whose solve failed.
    """
    if kin.patients != 1:
        raise InputError(describe("kinetics", f"{kin.patients} patients", "one", "take one column of the batch"))
    check(kin, levers)
    function = lambda log_change: _solved(kin, seg, levers, outputs, log_change)
    names = tuple(outputs), tuple(lever.name for lever in levers)
    return indices(function, np.array([lever.log_sd for lever in levers]), *names, samples=samples, seed=seed)


def _solved(kin: Kinetics, seg: Segments, levers, outputs: Outputs, log_change: np.ndarray) -> np.ndarray:
    """log(TIA) [output, sample] of log changes [parameter, sample]."""

    def patients(first: int, last: int) -> Kinetics:
        many = jax.tree.map(lambda x: jnp.broadcast_to(x, (*x.shape[:-1], last - first)), kin)
        return changed(many, levers, jnp.asarray(log_change[:, first:last]))

    found = together(solve_many(patients, log_change.shape[1], seg))
    if np.any(found.status != Status.OK):
        failed = f"{np.count_nonzero(found.status != Status.OK)} solves that failed"
        raise RuntimeError(describe("sobol", failed, "finite TIAs", "narrow the log_sd of the levers"))
    return np.asarray(log_tia(jnp.asarray(found.organ), kin.organs, outputs))


def indices(
    function: Callable[[np.ndarray], np.ndarray], log_sd: np.ndarray, outputs, parameters, *, samples: int, seed: int
) -> SobolIndices:
    """Sobol indices of any function of normal variables: [parameter, sample] to [output, sample], means zero.

    The two base samples are one scrambled Sobol sequence; intervals resample its points, which takes them as
    independent and is therefore a little wide.
    """
    count = len(log_sd)
    if samples < 2 or samples & (samples - 1):
        raise InputError(describe("samples", str(samples), "a power of two", "take 256, 512, 1024, ..."))
    if not np.all((log_sd > 0) & np.isfinite(log_sd)):
        missing = ", ".join(name for name, sd in zip(parameters, log_sd, strict=True) if not sd > 0)
        do = "give it its spread between patients, or leave the lever out"
        raise InputError(describe("log_sd", f"none or negative for {missing}", "more than zero", do))
    unit = qmc.Sobol(2 * count, rng=seed).random_base2(samples.bit_length() - 1)
    a, b = np.split(norm.ppf(unit).T * np.tile(log_sd, 2)[:, None], 2)
    mixed = [np.where(np.arange(count)[:, None] == k, b, a) for k in range(count)]
    values = np.split(function(np.concatenate([a, b, *mixed], axis=1)), count + 2, axis=1)
    first, total, spread = _estimate(values)
    rng = np.random.default_rng(seed)
    again = [_estimate([v[:, at] for v in values]) for at in rng.integers(samples, size=(RESAMPLES, samples))]
    bounds = [np.percentile([one[k] for one in again], INTERVAL_PERCENT, axis=0) for k in range(2)]
    solves = samples * (count + 2)
    return SobolIndices(tuple(outputs), tuple(parameters), first, total, *bounds, spread, samples, solves)


def _estimate(values: list[np.ndarray]):
    """First-order and total indices [output, parameter] and standard deviation [output] of values at A, B and mixed."""
    a, b, *mixed = values
    found = sobol_indices(func={"f_A": a, "f_B": b, "f_AB": np.stack(mixed)}, n=a.shape[1])
    shape = (a.shape[0], len(mixed))
    return found.first_order.reshape(shape), found.total_order.reshape(shape), np.std(np.hstack([a, b]), axis=1)
