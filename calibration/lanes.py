"""Many parameter sets at once: of one patient (draws, steps of a derivative) or one each of many patients.

Lanes are solved in lockstep in chunks that stay in the processor's cache, one chunk a thread, by one compiled program.
"""

from __future__ import annotations

import equinox as eqx
import jax
import numpy as np

from calibration.forward import Experiment, Seen, observe
from pbpk.batch import in_threads
from pbpk.compiled import compiled

CHUNK = 48
"""Columns (lanes times courses) solved together, as in `pbpk.batch`."""
DIFFERENCE = 1e-6
"""Step of the forward differences of log activities by log offsets. On a frozen grid the map is smooth to rounding, so
the error is near 1e-6 of a derivative; a test holds it against automatic derivatives."""


def evaluate(exp: Experiment, offsets, patient=None) -> Seen:
    """`observe` of any number of lanes, offsets of shape [parameter, lane]; arrays come back as numpy.

    `patient` [lane] says whose kinetics each lane has, where `exp` holds several patients (default: lane by lane).
    """
    offsets = np.asarray(offsets, float)
    lanes, several = offsets.shape[1], exp.kinetics.patients > exp.courses
    size = max(CHUNK // exp.courses, 1)
    mine = np.arange(lanes) if patient is None else np.asarray(patient)

    def chunk(first: int) -> Seen:
        take = np.minimum(np.arange(first, first + size), lanes - 1)
        part = eqx.tree_at(lambda e: e.kinetics, exp, patients(exp, mine[take])) if several else exp
        return jax.tree.map(np.asarray, compiled(observe)(part, offsets[:, take]))

    parts = in_threads(chunk, range(0, lanes, size))
    return jax.tree.map(lambda *xs: np.concatenate(xs, axis=-1)[..., :lanes], *parts)


def patients(exp: Experiment, which: np.ndarray):
    """Kinetics of some of the patients of an experiment, all their courses."""
    columns = (which[:, None] * exp.courses + np.arange(exp.courses)).ravel()
    return jax.tree.map(lambda x: np.asarray(x)[..., columns], exp.kinetics)


def jacobian(exp: Experiment, offsets, patient=None) -> tuple[np.ndarray, np.ndarray]:
    """Log activities [observation, lane] at offsets [parameter, lane]; derivatives [observation, parameter, lane].

    `patient` [lane] as in `evaluate`.
    """
    offsets = np.asarray(offsets, float)
    parameters, lanes = offsets.shape
    mine = np.arange(lanes) if patient is None else np.asarray(patient)
    step = DIFFERENCE * np.concatenate([np.zeros((1, parameters)), np.eye(parameters)])
    moved = (offsets[:, None, :] + step.T[:, :, None]).reshape(parameters, -1)
    seen = np.asarray(evaluate(exp, moved, np.tile(mine, len(step))).log_activity)
    seen = seen.reshape(len(seen), len(step), lanes)
    return seen[:, 0], (seen[:, 1:] - seen[:, :1]) / DIFFERENCE
