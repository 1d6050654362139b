"""What scans would show and what they are wanted for, with derivatives by every parameter, for many draws at once.

One solve gives, for each draw of the parameters, the log activity of every observation and the log time-integrated
activity (TIA) of every wanted quantity. One tangent a parameter is pushed through it for all draws together: a draw
touches no other, so each tangent is one column of every draw's Jacobian.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from calibration.forward import Course, Experiment, experiment, observe
from calibration.observations import Observations
from pbpk.compiled import compiled

CHUNK = 16
"""Draws solved together: a hundred Jacobians at once would not stay in the processor's cache."""


@dataclass(frozen=True)
class Slopes:
    """Log activity (MBq) [draw, observation] and log TIA (MBq h) [draw, quantity], and derivatives by log parameters.

    `activity_by` has shape [draw, observation, parameter], `tia_by` [draw, quantity, parameter].
    """

    log_activity: np.ndarray
    activity_by: np.ndarray
    log_tia: np.ndarray
    tia_by: np.ndarray


def slopes(
    courses: tuple[Course, ...],
    observations: Observations,
    names: tuple[str, ...],
    draws: Float[np.ndarray, "draw parameter"],
    wanted: Float[np.ndarray, "quantity pool"],
    course: int = 0,
) -> Slopes:
    """Slopes of all observations and of the TIAs of one course at each draw of the log offsets.

    Of the observations only region, time, cycle and modality matter. `wanted` adds up pools (organs, vein, artery,
    protein) as `calibration.forward.pool_weights` does; a TIA is that of the whole course number `course`.
    """
    spare = np.broadcast_to(draws[-1:], (-len(draws) % CHUNK, len(names)))
    parts = []
    for chunk in np.concatenate([draws, spare]).reshape(-1, CHUNK, len(names)):
        offsets = jnp.asarray(chunk.T)
        exp = experiment(courses, observations, names, offsets, to_the_end=True)
        found = compiled(_values_and_slopes)(exp, jnp.asarray(wanted), jnp.asarray(course), offsets)
        parts.append([np.asarray(x) for x in found])
    columns = (np.concatenate(x, axis=-1)[..., : len(draws)] for x in zip(*parts, strict=True))
    log_activity, log_tia, activity_by, tia_by = (np.moveaxis(x, (-1, 0), (0, -1)) for x in columns)
    rows = slice(len(observations))
    return Slopes(log_activity[:, rows], activity_by[:, rows], log_tia, tia_by)


def _values_and_slopes(exp: Experiment, wanted, course, offsets):
    """Log activity [observation, draw], log TIA [quantity, draw], and their tangents with the parameter first."""

    def function(offsets):
        seen = observe(exp, offsets)
        return seen.log_activity, jnp.log(wanted @ seen.tia_MBq_h[:, course])

    push = lambda unit: jax.jvp(function, (offsets,), (jnp.broadcast_to(unit[:, None], offsets.shape),))[1]
    return *function(offsets), *jax.vmap(push)(jnp.eye(len(offsets)))
