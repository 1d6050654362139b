"""Errors of scans in a trial: by patient, cycle and name alone, so that every arm and estimator meets the same.

Errors that scans share (camera, recovery, contour) stay with the patient; each is one normal number by its name. Own
errors are numbered by cycle, region and scan.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from calibration import noise
from calibration.observations import Observations
from twin.planning.scans import COUNTING
from twin.trial.design import TRIAL_ORGANS, Imaging
from twin.trial.people import CLASSES, SCANS, Group

MOST_SCANS = 8
REGIONS = (*TRIAL_ORGANS, *(f"tumour_{k + 1}" for k in range(CLASSES)))
NO_COUNTING = 1e-9
"""Stands for no counting error: a table of scans wants one above zero."""
LARGEST = 2.0
"""Sd of a log error that an additive error is taken for at most."""


def observed(names: tuple[str, ...], times_h: tuple[float, ...], counting: float = COUNTING) -> Observations:
    """A table of scans of regions at hours, of equal activity and this counting error."""
    regions = tuple(r for r in names for _ in times_h)
    one = np.ones(len(regions))
    hours, seen = np.tile(times_h, len(names)), (100 * one, 100 * counting * one, np.nan * one)
    return Observations(regions, hours, *seen, ("SPECT",) * len(one), (1,) * len(one))


@cache
def error_names() -> tuple[str, ...]:
    """Every shared error that any region may have."""
    return noise.shared_errors(observed(REGIONS, (24.0,))).names


@cache
def loads(region: str, *, per_mass: bool) -> np.ndarray:
    """How a sd of each shared error moves the log of a region's activity, or of its activity per contoured mass: a
    contour too large holds more activity, and more mass still."""
    found = noise.shared_errors(observed((region,), (24.0,)))
    own = found.loads[0] - np.array([per_mass and name.startswith("volume/") for name in found.names], float)
    out = np.zeros(len(error_names()))
    out[[error_names().index(name) for name in found.names]] = own * found.sd
    return out


def counting_error(imaging: Imaging) -> float:
    """The constant counting error; none where the measurement model has one of its own (`twin.trial.counted`)."""
    return COUNTING if imaging.model == "constant" else NO_COUNTING


def own_sd(region: str, imaging: Imaging) -> np.ndarray:
    """Sd of each scan's own log error without an additive one, [scan]."""
    found = noise.log_sd(observed((region,), imaging.times_h, counting_error(imaging)))
    return np.sqrt(found**2 + np.log1p(imaging.proportional**2))


def with_additive(sd: np.ndarray, activity_MBq: np.ndarray, imaging: Imaging) -> np.ndarray:
    """`sd` and the design's additive error at these activities; the shapes broadcast."""
    added = np.log1p((imaging.additive_MBq / np.maximum(activity_MBq, 1e-12)) ** 2)
    return np.sqrt(sd**2 + np.minimum(added, LARGEST**2))


def shared_normals(group: Group) -> np.ndarray:
    """[patient, error] in the order of `error_names`."""
    return group.normals(SCANS, len(error_names()))


def own_normals(group: Group, cycle: int, times: int) -> np.ndarray:
    """[patient, region of REGIONS, scan]; the first scans of a longer protocol have those of a shorter one."""
    return group.normals(SCANS + 10 * (cycle + 1), len(REGIONS), MOST_SCANS)[..., :times]
