"""What drives the doses of a calibrated patient: parameters and the errors that the scans share, as one posterior.

A calibration knows parameters and errors only together: had the camera's factor been higher, densities would be lower.
So its posterior (`Posterior.belief`) holds both, correlated, and knowing the true calibration factor would tell of the
densities. Groups are those of `budget_drivers`, and the errors by kind. A contour drawn too large by a log error e
gives a mass too large by e, so the dose is S exp(c2 e) times what it seems; c2 is the dose factor's power of mass.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from calibration import noise
from calibration.budget_drivers import group_of, log_tia
from calibration.budget_factors import DoseFactor
from calibration.forward import Course
from calibration.posterior import Posterior
from calibration.sobol import SAMPLES, GroupIndices, Inputs, group_indices
from dose.errors import InputError, describe
from pbpk.anatomy import parts

KINDS = {"calibration": "calibration factor", "recovery": "recovery curve", "volume": "volume"}
"""Kinds of shared errors (`calibration.noise.shared_errors`) by the first part of their names, and their groups. Drift
from older cycles is left out: it is of what is past."""


def calibrated_inputs(
    course: Course, posterior: Posterior, factors: Mapping[str, DoseFactor], unsegmented: Collection[str] = ()
) -> tuple[Inputs, dict[str, np.ndarray]]:
    """Parameters and shared errors of a posterior, and each region's own dose factor error, as normal inputs.

    The arrays [input], by region, say how ln D goes with the errors (not the parameters): c2 for volumes, 1 for dose
    factors. A region whose contour no scan holds takes the volume error of noise.csv, independent of all else; so do
    the `unsegmented` ones, whose mass is the population's and not that of the contour.
    """
    belief = posterior.belief
    kind = [group_of(n) if k < belief.parameters else KINDS.get(n.split("/")[0]) for k, n in enumerate(belief.names)]
    keep = [k for k, group in enumerate(kind) if group]
    names, groups = [belief.names[k] for k in keep], [kind[k] for k in keep]
    seen = {r: () if r in unsegmented else _contours(r, course, names) for r in factors}
    own = {f"mass/{r}": noise.volume_log_sd(r, r not in unsegmented) for r in factors if not seen[r]}
    own |= {f"dose factor/{region}": factor.relative_sd for region, factor in factors.items()}
    size = len(names)
    names, groups = [*names, *own], [*groups, *("volume" if n.startswith("mass/") else "dose factor" for n in own)]
    covariance = np.diag(np.concatenate([np.zeros(size), np.square(list(own.values()))]))
    covariance[:size, :size] = belief.covariance[np.ix_(keep, keep)]
    mean = np.concatenate([belief.mean[keep], np.zeros(len(own))])
    slopes = {region: _slope(region, factor, seen[region], names) for region, factor in factors.items()}
    return Inputs(tuple(names), mean, covariance, tuple(groups)), slopes


def _contours(region: str, course: Course, names) -> tuple[str, ...]:
    """Names of the volume errors of a region's contours: its own, or those of its parts."""
    inside = dict.fromkeys((region, *parts(region, course.kinetics.organs), f"{region}_left", f"{region}_right"))
    return tuple(f"volume/{name}" for name in inside if f"volume/{name}" in names)


def _slope(region: str, factor: DoseFactor, contours, names) -> np.ndarray:
    contours = contours or (f"mass/{region}",)
    own = {f"dose factor/{region}": 1.0} | dict.fromkeys(contours, factor.c2 / len(contours))
    return np.array([own.get(name, 0.0) for name in names])


def calibrated_drivers(
    course: Course,
    posterior: Posterior,
    factors: Mapping[str, DoseFactor],
    *,
    unsegmented: Collection[str] = (),
    scale: str = "log",
    samples: int = SAMPLES,
    seed: int = 0,
) -> GroupIndices:
    """Sobol indices of the doses of regions after a calibration, by parameters, shared errors and dose factors.

    Groups are correlated: a first-order index says how much of the variance would go if that group became known, by
    way of what it tells of the others too; a total index what would be left if all else were known.

    Raises:
        InputError: no region, or one that the model does not have.
    """
    if not factors:
        raise InputError(describe("factors", "none", "a DoseFactor for each region", "give DoseFactor.of(...)"))
    inputs, slopes = calibrated_inputs(course, posterior, factors, unsegmented)
    count, stacked = len(posterior.names), np.stack(list(slopes.values()))

    def log_dose(x: np.ndarray) -> np.ndarray:
        theta, where = np.unique(x[:count], axis=1, return_inverse=True)
        return log_tia(course, posterior.names, tuple(factors), theta)[:, where] + stacked @ x

    return group_indices(log_dose, inputs, tuple(factors), scale=scale, samples=samples, seed=seed)
