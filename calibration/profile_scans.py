"""Profiles of one patient's parameters and doses, given scans: `calibration.profile` on the model and its prior."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from calibration import noise
from calibration.forward import Course, Experiment, experiment, observe, pool_weights
from calibration.identifiability import index_of, usable_rows
from calibration.observations import Observations
from calibration.parameters import Prior
from calibration.profile import LEVEL, SPAN, Problem, Profile, minimum, profile
from pbpk.compiled import compiled

FAINT = 1e-3
"""Weight of the prior's sum of squares where it is off: enough to choose among parameters that fit equally well (there
are more of them than scans), too little to count (a parameter 4 prior sd away adds 0.016)."""


def profile_likelihood(
    courses: tuple[Course, ...],
    observations: Observations,
    prior: Prior,
    quantity: str,
    *,
    with_prior: bool = True,
    start: np.ndarray | None = None,
    level: float = LEVEL,
    span: float = SPAN,
) -> Profile:
    """Profile of a parameter of `prior` ("release/kidney_left") or of a region's log TIA ("tia/kidneys").

    A parameter's values are log offsets from the prior median, a TIA's ln of MBq h over the whole first course.
    `with_prior` off asks what the scans say without it (but for `FAINT`). The optimum is sought from `start`
    [parameter]. The step sequence of the solve is frozen there; the solver is implicit, so it serves the span.

    Raises:
        InputError: a quantity that is neither, or no observation that the model can show.
    """
    usable = usable_rows(courses, observations)
    organs, names = courses[0].kinetics.organs, prior.names
    region = quantity.removeprefix("tia/")
    weights = pool_weights(region, organs, frozenset()) if region != quantity else None
    if weights is None:
        index_of(quantity, (*names, *(f"tia/{organ}" for organ in organs)))
        wanted = np.ones(len(organs) + 3)
    else:
        wanted = weights
    factor = np.linalg.cholesky(noise.covariance(usable))
    pull = (1.0 if with_prior else FAINT**0.5) * np.linalg.inv(np.linalg.cholesky(prior.covariance))
    theta = np.zeros(len(names)) if start is None else np.asarray(start, float)
    for _ in range(2):
        exp = experiment(courses, usable, names, theta, to_the_end=True)
        problem, tia = _problems(exp, usable, factor, pull, wanted)
        theta = minimum(problem, theta)[0]
    parameter = lambda x: (x[[names.index(quantity)]], np.eye(len(names))[[names.index(quantity)]])
    return profile(problem, theta, parameter if weights is None else tia, name=quantity, level=level, span=span)


def _problems(exp, observations: Observations, factor, pull, wanted) -> tuple[Problem, Problem]:
    """Residuals of scans (whitened) and prior (`pull` theta), and the log TIA; one solve serves both."""
    count, observed, last = len(observations), np.log(observations.activity_MBq), {}

    def solved(theta):
        key = theta.tobytes()
        if key not in last:
            last.clear()
            found = compiled(_seen_and_slopes)(exp, jnp.asarray(wanted), jnp.asarray(theta))
            last[key] = [np.asarray(x) for x in found]
        return last[key]

    def residuals(theta):
        activity, activity_by, *_ = solved(theta)
        scans, scans_by = (np.linalg.solve(factor, x) for x in (activity[:count] - observed, activity_by[:count]))
        return np.concatenate([scans, pull @ theta]), np.concatenate([scans_by, pull])

    return residuals, lambda theta: tuple(solved(theta)[2:])


def _seen_and_slopes(exp: Experiment, wanted, theta):
    def function(theta):
        seen = observe(exp, theta[:, None])
        return seen.log_activity[:, 0], jnp.log(wanted @ seen.tia_MBq_h[:, 0])

    (activity, tia), (activity_by, tia_by) = function(theta), jax.jacfwd(function)(theta)
    return activity, activity_by, tia, tia_by
