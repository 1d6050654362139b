"""From the classes that lesions are solved in to each lesion: its own density and its own size.

At one concentration in blood the activity per mL of a lesion is a smooth function of its receptor density, which the
classes of a patient sample: between them it is interpolated on log scales, beyond them continued. What a lesion
absorbs per decay follows its own mass. Factors of a class's lesions are scaled to have the mean 1 by mass, so that the
energy in the class is kept.
"""

from __future__ import annotations

import numpy as np

from dose.regions import density_g_per_mL
from twin.study import split_tracer
from twin.trial.people import EMPTY_ML, Group
from twin.trial.physics import SMALLEST_G, Truth, absorbed_energy
from twin.trial.reading import at_size

STEEPEST = 1.2
"""Largest slope of log activity by log density that is continued beyond the classes: uptake cannot rise faster than the
sites, but for noise of the solve."""


def lesion_factors(group: Group, truth: Truth, tracer: str) -> np.ndarray:
    """Dose of each lesion over the mean dose of its class, [patient, lesion]; 0 where there is no lesion."""
    absorbed, _ = absorbed_energy("tumour_1", split_tracer(tracer, "tracer")[1])
    mass = group.lesions.volume_mL * density_g_per_mL("tumour_1")
    energy = np.where(group.classes >= 0, absorbed(np.maximum(mass, SMALLEST_G)), 0.0)
    log_class = np.log(at_size(truth, np.zeros_like(group.class_mL), group.class_mL).dose[:, truth.tumours])
    found = np.zeros_like(mass)
    for k in range(group.count):
        found[k] = _of_patient(group, k, log_class[k], energy[k])
    return _normalised(group, found)


def _of_patient(group: Group, k: int, log_class: np.ndarray, energy: np.ndarray) -> np.ndarray:
    """Dose of each lesion of one patient, up to a factor of its class."""
    used = group.class_mL[k] > EMPTY_ML
    x, y = np.log(group.class_uptake[k][used]), log_class[used]
    lesion = np.log(np.maximum(group.lesions.relative_uptake[k], 1e-12))
    return energy * np.exp(_continued(lesion, x, y))


def _continued(at: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Interpolated in (x, y) with x rising, continued with the slopes at its ends; proportional where there is one."""
    keep = np.concatenate([[True], np.diff(x) > 1e-6])
    x, y = x[keep], y[keep]
    if len(x) == 1:
        return y[0] + (at - x[0])
    slope = np.clip(np.diff(y) / np.diff(x), 0.0, STEEPEST)
    inside = np.interp(at, x, y)
    return inside + np.minimum(at - x[0], 0.0) * slope[0] + np.maximum(at - x[-1], 0.0) * slope[-1]


def _normalised(group: Group, found: np.ndarray) -> np.ndarray:
    out = np.zeros_like(found)
    for c in range(group.class_mL.shape[1]):
        here = group.classes == c
        mL = np.where(here, group.lesions.volume_mL, 0.0)
        mean = np.sum(mL * found, axis=1) / np.maximum(mL.sum(axis=1), 1e-12)
        out += np.where(here, found / np.maximum(mean, 1e-300)[:, None], 0.0)
    return out
