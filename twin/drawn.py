"""Draws that belong to a cycle, measured or not, and to lesions that are new in the study."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from calibration.belief import Belief
from calibration.posterior import Posterior
from calibration.sequential import backward, drift_covariance
from twin.body import Body
from twin.patient import PatientTwin
from twin.population import later_belief, population_in

BACKWARD_SEED, NEW_SEED = 20_011, 20_012
Drift = Callable[[tuple[str, ...], int], np.ndarray]


def drift_of(twin: PatientTwin) -> Drift:
    """Covariance of the change of named parameters over a number of cycles, by the twin's population or the tables."""
    population = population_in(twin)
    if population is None:
        return drift_covariance

    def drift(names: tuple[str, ...], cycles_apart: int) -> np.ndarray:
        still = Belief(names, len(names), np.zeros(len(names)), np.zeros((len(names), len(names))))
        return population.drifted(still, cycles_apart).covariance

    return drift


def cycle_draws(twin: PatientTwin) -> dict[int, np.ndarray]:
    """Log offsets [draw, parameter] of each measured cycle, draw by draw one patient's."""
    return backward(twin.earlier, (twin.cycle, twin.posterior), BACKWARD_SEED, drift_of(twin))


def describing(measured, cycle: int) -> int:
    """The measured cycle whose parameters describe a cycle: the last one not after it, or else the first."""
    return max((c for c in measured if c <= cycle), default=min(measured))


def completed(twin: PatientTwin, body: Body) -> PatientTwin:
    """The twin with parameters for lesions that its study has gained since it was calibrated, from the known ones."""
    p, prior = twin.posterior, body.prior
    if not set(p.names) < set(prior.names):
        return twin
    belief = later_belief(twin, prior, 0)
    known = belief.index((*p.names, *p.error_names))
    error_draws = p.error_draws if p.error_names else np.zeros((len(p.draws), 0))
    drawn = np.concatenate([p.draws, error_draws], axis=1)
    everything = belief.filled(known, drawn, np.random.default_rng(NEW_SEED))
    of_the_fit = ("chi2", "observations_used", "warnings", "method", "diagnostics")
    posterior = Posterior.of(prior, belief, everything, **{name: getattr(p, name) for name in of_the_fit})
    return replace(twin, posterior=posterior)
