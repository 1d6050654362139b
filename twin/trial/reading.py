"""Reading the surfaces of a block in the middle of a therapy: doses per MBq at the tumours' size of now."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.polynomial import chebyshev

from calibration import noise
from twin.trial.design import MOST_CYCLES
from twin.trial.people import DRIFT, Group
from twin.trial.physics import Truth


class PerMBq(NamedTuple):
    """Dose, weighted dose (Gy/MBq), what the BED adds (Gy/MBq^2), TIA (MBq h/MBq) of one cycle, [patient, region]."""

    dose: np.ndarray
    weighted: np.ndarray
    quadratic: np.ndarray
    tia: np.ndarray


def drift_of(group: Group, regions: tuple[str, ...]) -> np.ndarray:
    """Log drift of uptake [patient, cycle, region], 0 in the first cycle; every region has a random walk of its own,
    with steps whose exponential has the mean 1, so that later cycles are not richer on average. Zeros where the design
    has no drift."""
    shape = (MOST_CYCLES, len(regions))
    if not group.design.cohort.drift:
        return np.zeros((group.count, *shape))
    sd = np.array([noise.drift_log_sd(r, 1) for r in regions])
    step = group.normals(DRIFT, *shape) * sd - sd**2 / 2
    step[:, 0] = 0.0
    return np.cumsum(step, axis=1)


def at_size(truth: Truth, log_size: np.ndarray, class_mL: np.ndarray) -> PerMBq:
    """Per MBq with each class of tumours at exp(`log_size`) [patient, class] of its first volume.

    What is in blood, and so every concentration, depends on the size of all tumours together; a tumour's activity goes
    with its own size besides.
    """
    share = class_mL / class_mL.sum(axis=1, keepdims=True)
    size = np.sum(np.exp(log_size) * share, axis=1)
    within = np.clip(size, truth.size.low, truth.size.high)
    basis = _basis(truth, within)
    dose, weighted, quadratic, tia = (
        np.exp(np.einsum("ps,spr->pr", basis, log)) for log in (truth.dose, truth.weighted, truth.quadratic, truth.tia)
    )
    tia[:, truth.tumours] *= np.exp(log_size) / (within if truth.size.nodes > 1 else np.ones(len(size)))[:, None]
    return PerMBq(dose, weighted, quadratic, tia)


def _basis(truth: Truth, size: np.ndarray) -> np.ndarray:
    axis = truth.size
    if axis.nodes == 1:
        return np.ones((*size.shape, 1))
    place = 2 * np.log(size / axis.low) / np.log(axis.high / axis.low) - 1
    return chebyshev.chebvander(place, axis.nodes - 1)


def moved(found: PerMBq, log_factor: np.ndarray) -> PerMBq:
    """With uptake changed by exp(`log_factor`) [patient, region]."""
    factor = np.exp(log_factor)
    return PerMBq(found.dose * factor, found.weighted * factor, found.quadratic * factor**2, found.tia * factor)
