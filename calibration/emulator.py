"""A polynomial that stands in for the model's log activities near the optimum, fast enough to steer a sampler.

Trajectories of Hamiltonian Monte Carlo may follow the gradient of any function: the leapfrog step stays reversible and
keeps volume, and as every point is weighed by the exact density the chain has the exact posterior; a poor stand-in only
costs acceptance (Rasmussen, Bayesian Statistics 2003;7:651; Zhang, Shahbaba and Zhao, Stat Comput 2017;27:1473). So a
step needs the model once, forwards, and not its adjoint.
"""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from calibration import lanes
from calibration.fit import Fitted

FREEDOM, WIDER = 20.0, 1.3
"""Points of the fit come from a t about the optimum, this much wider than Laplace: chains go a little beyond that."""
LEAST_POINTS, POINTS_PER_TERM = 2000, 3
DAMPED = 3.0
"""Root mean square u at which curved terms count half: a cubic sends trajectories astray where no points were."""
CHECKED = 200
"""Further points at which the stand-in is compared with the model."""


class Emulator(eqx.Module):
    """Log activities of a patient's observations as a polynomial of u, in which Laplace is standard normal.

    Terms: 1, u_i, u_i u_j and u_i^2 u_j. Whitened offsets are z + metric u, as in `sampler`.
    """

    coefficients: Float[Array, "observation term"]
    log_observed: Float[Array, "observation 1"]
    sd: Float[Array, "observation 1"]
    z: Float[Array, "parameter 1"]
    metric: Float[Array, "parameter parameter"]

    def loss(self, u: Float[Array, "parameter lane"]) -> Float[Array, " lane"]:
        """Negative log posterior, as `problem`, of this polynomial."""
        residual = (self.coefficients @ terms(u, jnp) - self.log_observed) / self.sd
        return 0.5 * (jnp.sum(residual**2, axis=0) + jnp.sum((self.z + self.metric @ u) ** 2, axis=0))


def terms(u, xp=np):
    """Polynomial terms [term, lane] of u [parameter, lane]; far from the optimum all but the linear ones are damped."""
    i, j = np.triu_indices(len(u))
    mixed = (u[:, None] ** 2 * u[None]).reshape(len(u) ** 2, -1)
    curved = xp.concatenate([u[i] * u[j], mixed])
    far = xp.mean(u**2, axis=0) / DAMPED**2
    return xp.concatenate([xp.ones_like(u[:1]), u, curved / (1 + far**2)])


def emulator(fitted: Fitted, metric: np.ndarray, rng: np.random.Generator) -> Emulator:
    """Fitted by least squares to solves of the model."""
    parameters = len(fitted.problem.names)
    points = max(LEAST_POINTS, POINTS_PER_TERM * len(terms(np.zeros((parameters, 1)))))
    scale = WIDER * np.sqrt(FREEDOM / rng.chisquare(FREEDOM, points))
    u = scale * rng.standard_normal((parameters, points))
    near = 1 / np.sqrt(1 + np.mean(u**2, axis=0))
    seen = _log_activity(fitted, metric, u)
    usable = np.all(np.isfinite(seen), axis=0)
    left, right = (terms(u) * near)[:, usable].T, (seen * near)[:, usable].T
    coefficients = np.linalg.lstsq(left, right, rcond=None)[0].T
    prob = fitted.problem
    return Emulator(coefficients, prob.log_observed, prob.sd[:, None], fitted.optimum.z, metric)


def _log_activity(fitted: Fitted, metric: np.ndarray, u: np.ndarray) -> np.ndarray:
    seen = lanes.evaluate(fitted.experiment, fitted.problem.offsets(fitted.optimum.z + metric @ u)).log_activity
    return np.asarray(seen[: len(fitted.problem.sd)])


def mismatch(fitted: Fitted, found: Emulator, rng: np.random.Generator) -> float:
    """Sd of the error of the log posterior at points that the fit has not seen; infinite where it is not finite."""
    u = rng.standard_normal((len(fitted.problem.names), CHECKED))
    loss = fitted.problem.loss(_log_activity(fitted, found.metric, u), found.z + found.metric @ u)
    away = np.std(loss - np.asarray(found.loss(jnp.asarray(u))))
    return float(away) if np.isfinite(away) else float("inf")
