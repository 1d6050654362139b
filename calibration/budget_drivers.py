"""What drives the uncertainty of this patient's doses: kinetics of the PBPK model beside how dose was measured.

The prior's groups are those of correlations.csv: one parameter of both kidneys, of the glands, of the lesions is one
input, and groups are independent. A posterior correlates groups as well; `calibration.sobol` then draws conditionally.
Measured doses carry, besides, the errors of calibration, recovery, volume and dose factor of a `Chain`; calibration and
recovery are one error for all regions, volume and dose factor are each region's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from calibration.budget_chain import Chain, log_measurement
from calibration.forward import Course, pool_weights
from calibration.parameters import GLANDS, Prior, Scaling
from calibration.posterior import Posterior
from calibration.sobol import SAMPLES, GroupIndices, Inputs, group_indices
from dose.errors import InputError, describe
from dose.regions import is_tumour
from pbpk.anatomy import kind_of
from pbpk.batch import Status, solve_many, together
from pbpk.kinetics import Kinetics

SHARED = {"calibration factor": 1, "recovery curve": 2}
"""Errors of measurement that are the same for all regions, and how many standard normals each takes."""
OWN = ("volume", "dose factor")
"""Errors of measurement that are each region's own; a group holds those of all regions."""


def group_of(name: str) -> str:
    """Group of a parameter such as "release/kidney_left": its kind, and kidneys, glands, tumours or the organ."""
    kind, _, organ = name.partition("/")
    place = "kidneys" if organ and kind_of(organ) == "kidneys" else "glands" if organ in GLANDS else organ
    place = "tumours" if organ and is_tumour(organ) else place
    words = kind.replace("_", " ").replace("kPS", "permeability")
    return f"{words}, {place.replace('_', ' ')}" if place else words


def prior_inputs(prior: Prior, group: Callable[[str], str] = group_of) -> Inputs:
    """Log offsets of a prior's parameters as inputs."""
    groups = tuple(group(name) for name in prior.names)
    return Inputs(prior.names, np.zeros(len(prior.names)), prior.covariance, groups)


def posterior_inputs(posterior: Posterior, group: Callable[[str], str] = group_of) -> Inputs:
    """The same of a posterior, taken as normal (Laplace)."""
    groups = tuple(group(name) for name in posterior.names)
    return Inputs(posterior.names, posterior.map_log, posterior.covariance, groups)


def log_tia(course: Course, names: Sequence[str], regions: Sequence[str], offsets: np.ndarray) -> np.ndarray:
    """ln of the time-integrated activity (MBq h) of regions over a course, [region, draw], of offsets [input, draw].

    Raises:
        InputError: a region that the model does not have.
        RuntimeError: a draw whose solve failed.
    """
    organs = course.kinetics.organs
    weights = [pool_weights(region, organs, frozenset()) for region in regions]
    if lost := [region for region, w in zip(regions, weights, strict=True) if w is None]:
        raise InputError(describe("regions", ", ".join(lost), "regions of the model", f"choose among {organs}"))
    scaling = Scaling.of(tuple(names), organs)

    def patients(first: int, last: int) -> Kinetics:
        many = jax.tree.map(lambda x: jnp.broadcast_to(x, (*x.shape[:-1], last - first)), course.kinetics)
        return scaling.apply(many, jnp.asarray(offsets[:, first:last]))

    found = together(solve_many(patients, offsets.shape[1], course.segments([course.end_min])))
    if np.any(found.status != Status.OK):
        failed = f"{np.count_nonzero(found.status != Status.OK)} solves that failed"
        raise RuntimeError(describe("inputs", failed, "finite integrals", "narrow the covariance"))
    pools = np.concatenate([found.organ, found.blood]) * course.nuclide.activity_MBq_per_nmol / 60
    return np.log(np.stack(weights) @ pools)


def dose_indices(
    course: Course, inputs: Inputs, regions: Sequence[str], *, scale: str = "log", samples: int = SAMPLES, seed: int = 0
) -> GroupIndices:
    """Sobol indices of the absorbed doses of regions by the kinetic inputs, at fixed masses and dose factors.

    Self-dose is time-integrated activity times a factor that is then constant, so the shares are those of either.

    Raises:
        InputError: as `calibration.sobol.group_indices`, or a region that the model does not have.
    """
    function = lambda x: log_tia(course, inputs.names, regions, x)
    return group_indices(function, inputs, regions, scale=scale, samples=samples, seed=seed)


def drivers(
    course: Course,
    inputs: Inputs,
    chains: Mapping[str, Chain],
    *,
    scale: str = "log",
    samples: int = SAMPLES,
    seed: int = 0,
) -> GroupIndices:
    """Sobol indices of the doses of the regions of `chains`, by kinetics and by measurement together.

    D = TIA of the model, times what the errors of calibration, recovery, volume and dose factor do to a measured dose.
    The kinetic inputs must not hold these errors already: take the prior, or a posterior made with counting noise
    alone. That of `twin.calibrate` does hold them: `calibration.budget_calibrated` is for it.

    Raises:
        InputError: no chain, or as `dose_indices`.
    """
    if not chains:
        raise InputError(describe("chains", "none", "a Chain for each region", "give one, or call dose_indices"))
    whole, slices = _with_measurement(inputs, tuple(chains), chains)
    kinetic = len(inputs.names)

    def log_dose(x: np.ndarray) -> np.ndarray:
        theta, where = np.unique(x[:kinetic], axis=1, return_inverse=True)
        value = log_tia(course, inputs.names, tuple(chains), theta)[:, where]
        parts = {region: {name: x[at] for name, at in slices[region].items()} for region in chains}
        return value + np.stack([log_measurement(chain, parts[region]) for region, chain in chains.items()])

    return group_indices(log_dose, whole, tuple(chains), scale=scale, samples=samples, seed=seed)


def _with_measurement(inputs: Inputs, regions: tuple[str, ...], chains) -> tuple[Inputs, dict[str, dict[str, slice]]]:
    """The inputs with standard normals of measurement after them, and where each region's are."""
    names, groups, at = list(inputs.names), list(inputs.groups), {region: {} for region in regions}
    shared = {k: n for k, n in SHARED.items() if k != "recovery curve" or any(c.recovery for c in chains.values())}
    for group, size in shared.items():
        for region in regions:
            at[region][group] = slice(len(names), len(names) + size)
        names += [f"{group} {k}" for k in range(size)]
        groups += [group] * size
    for group in OWN:
        for region in regions:
            at[region][group] = slice(len(names), len(names) + 1)
            names.append(f"{group} {region}")
            groups.append(group)
    covariance = np.eye(len(names))
    covariance[: len(inputs.names), : len(inputs.names)] = inputs.covariance
    mean = np.concatenate([inputs.mean, np.zeros(len(names) - len(inputs.mean))])
    return Inputs(tuple(names), mean, covariance, tuple(groups)), at
