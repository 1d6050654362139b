"""What is known of parameters and shared errors together, as one normal distribution on the log scale.

A calibration fits only what the observations can inform; everything else follows by the normal's own conditionals. The
same algebra takes one cycle's posterior into the next cycle's prior: a calibration factor that was too high last time
is still too high, so its error must not average away over cycles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calibration.noise import SharedErrors
from calibration.parameters import Prior


def normal_draws(rng: np.random.Generator, covariance: np.ndarray, size: int) -> np.ndarray:
    """Draws [draw, entry] of a normal about zero, of any number of entries (none, too)."""
    if not len(covariance):
        return np.zeros((size, 0))
    return rng.multivariate_normal(np.zeros(len(covariance)), covariance, size=size, method="eigh")


@dataclass(frozen=True)
class Belief:
    """Normal of log offsets: `names` of the parameters and then of the shared errors; `mean` [name], `covariance`."""

    names: tuple[str, ...]
    parameters: int
    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def of(cls, prior: Prior) -> Belief:
        return cls(prior.names, len(prior.names), np.zeros(len(prior.names)), prior.covariance)

    @property
    def errors(self) -> tuple[str, ...]:
        return self.names[self.parameters :]

    def with_errors(self, shared: SharedErrors) -> Belief:
        """The same with those errors added, independent of all else, that it doesn't hold yet."""
        new = [k for k, name in enumerate(shared.names) if name not in self.names]
        size, n = len(self.names), len(self.names) + len(new)
        mean, covariance = np.zeros(n), np.zeros((n, n))
        mean[:size], covariance[:size, :size] = self.mean, self.covariance
        covariance[range(size, n), range(size, n)] = shared.sd[new] ** 2
        names = (*self.names, *(shared.names[k] for k in new))
        return Belief(names, self.parameters, mean, covariance)

    def index(self, names) -> np.ndarray:
        where = {name: k for k, name in enumerate(self.names)}
        return np.array([where[name] for name in names], int)

    def conditional(self, known: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(indices of the others, link [other, known], their covariance given the known): mean moves by link times
        what the known lie off their mean."""
        others = np.setdiff1d(np.arange(len(self.names)), known)
        full = self.covariance
        link = np.linalg.solve(full[np.ix_(known, known)], full[np.ix_(known, others)]).T
        return others, link, full[np.ix_(others, others)] - link @ full[np.ix_(known, others)]

    def updated(self, known: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> Belief:
        """After the `known` entries have become N(mean, covariance), the others following through their link."""
        others, link, own = self.conditional(known)
        new_mean, new = self.mean.copy(), np.zeros_like(self.covariance)
        new_mean[known] = mean
        new_mean[others] += link @ (mean - self.mean[known])
        new[np.ix_(known, known)] = covariance
        new[np.ix_(others, known)] = link @ covariance
        new[np.ix_(known, others)] = (link @ covariance).T
        new[np.ix_(others, others)] = own + link @ covariance @ link.T
        return Belief(self.names, self.parameters, new_mean, new)

    def filled(self, known: np.ndarray, draws: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draws of everything, [draw, name], from draws of the `known` entries, [draw, known]."""
        others, link, own = self.conditional(known)
        out = np.empty((len(draws), len(self.names)))
        out[:, known] = draws
        out[:, others] = self.mean[others] + (draws - self.mean[known]) @ link.T + normal_draws(rng, own, len(draws))
        return out
