"""From one cycle to the next: the posterior becomes the prior, widened by what uptake may have changed in between.

A linear normal state space on the log scale: x_(n+1) = x_n + w, w ~ N(0, Q). Shared errors (calibration, recovery,
volume) do not move: they stay as doubtful as they were. Going back, draws of an earlier cycle follow from those of the
next by the Rauch-Tung-Striebel conditional (AIAA J 1965;3:1445), so that all cycles' draws belong together and sums of
doses have honest intervals.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from calibration import noise
from calibration.belief import Belief, normal_draws
from calibration.parameters import Prior, correlated
from calibration.posterior import Posterior

DRIFTING = ("receptor_density", "nonsaturable_uptake")
"""Kinds of parameters that change between cycles: uptake does, rates inside cells are taken as the patient's own."""


def drift_covariance(names: tuple[str, ...], cycles_apart: int) -> np.ndarray:
    """Covariance [name, name] of the change of log offsets over a number of cycles; zero for what does not drift.

    Kidneys drift together, lesions partly so, as they vary between patients (calibration/data/correlations.csv).
    """
    keys = [tuple(name.split("/", 1)) if "/" in name else (name, "") for name in names]
    drifts = lambda kind, organ: noise.drift_log_sd(organ, cycles_apart) if kind in DRIFTING else 0.0
    sd = np.array([drifts(*key) for key in keys])
    moving = np.flatnonzero(sd)
    covariance = np.zeros((len(names), len(names)))
    together = np.array([[correlated(keys[a], keys[b]) for b in moving] for a in moving])
    if len(moving):
        covariance[np.ix_(moving, moving)] = together * np.outer(sd[moving], sd[moving])
    return covariance


def drifted(belief: Belief, cycles_apart: int) -> Belief:
    """What is known some cycles later, before anything was seen there."""
    return replace(belief, covariance=belief.covariance + drift_covariance(belief.names, cycles_apart))


def extended(belief: Belief, prior: Prior) -> Belief:
    """The belief over all parameters of `prior`, in its order: a lesion that is new follows from the known ones through
    the prior's correlations."""
    known = [k for k, name in enumerate(prior.names) if name in belief.names]
    if prior.names == belief.names[: belief.parameters]:
        return belief
    at = belief.index([prior.names[k] for k in known])
    errors = np.arange(belief.parameters, len(belief.names))
    fresh = Belief.of(prior)
    inside = fresh.updated(np.array(known, int), belief.mean[at], belief.covariance[np.ix_(at, at)])
    _, link, _ = fresh.conditional(np.array(known, int))
    cross = np.zeros((len(errors), len(prior.names)))
    cross[:, known] = belief.covariance[np.ix_(errors, at)]
    cross[:, np.setdiff1d(np.arange(len(prior.names)), known)] = cross[:, known] @ link.T
    own = belief.covariance[np.ix_(errors, errors)]
    names = (*prior.names, *belief.errors)
    mean = np.concatenate([inside.mean, belief.mean[errors]])
    return Belief(names, len(prior.names), mean, np.block([[inside.covariance, cross.T], [cross, own]]))


def backward(
    earlier: tuple[tuple[int, Posterior], ...], latest: tuple[int, Posterior], seed: int, drift=drift_covariance
) -> dict[int, np.ndarray]:
    """Draws [draw, parameter] of each cycle's parameters given all data, those of the latest as they are.

    `earlier` holds (cycle, posterior as it stood after that cycle), oldest first; a parameter that an earlier
    posterior doesn't know (a lesion seen first later) keeps the later cycle's draws. Each draw has its shared errors,
    the same in all cycles: given them, the step back is that of the parameters alone. `drift` (names, cycles apart)
    is the covariance of the change.
    """
    rng = np.random.default_rng(seed)
    cycle, posterior = latest
    out = {cycle: posterior.draws}
    names, after = posterior.names, posterior.draws
    for before, was in reversed(earlier):
        columns = [names.index(name) for name in was.names]
        follow, covariance = was.given_errors()
        errors = [posterior.error_names.index(name) for name in was.error_names]
        mean = was.map_log + posterior.error_draws[:, errors] @ follow.T
        gain = np.linalg.solve(covariance + drift(was.names, cycle - before), covariance).T
        after = after.copy()
        left = normal_draws(rng, covariance - gain @ covariance, len(after))
        after[:, columns] = mean + (after[:, columns] - mean) @ gain.T + left
        out[before] = after
        cycle = before
    return out
