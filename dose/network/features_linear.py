"""Log-linear regression with whatever is missing left out: the joint normal law of features and log doses.

For a record that lacks some features the regression on the others follows from the covariance (the conditional mean of
a normal law), so that one fit serves all patterns. A ridge on the features' correlations keeps it stable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

RIDGE = 0.02
"""Added to the correlation of each feature with itself."""

MOST_SDS = 8.0
"""Beyond this a feature counts as this far from the mean: no training patient lies there."""

LEAST_SD = 1e-3
"""Of a feature that is the same for all training patients: in these units a departure is far away."""


@dataclass(frozen=True, eq=False)
class Linear:
    """Means, sds [feature], [dose], and correlations [feature, feature], [feature, dose] of training patients."""

    mean: Float[np.ndarray, " feature"]
    sd: Float[np.ndarray, " feature"]
    dose_mean: Float[np.ndarray, " dose"]
    dose_sd: Float[np.ndarray, " dose"]
    among: Float[np.ndarray, "feature feature"]
    across: Float[np.ndarray, "feature dose"]

    def standard(self, x: Float[np.ndarray, "patient feature"]) -> Float[np.ndarray, "patient feature"]:
        """In sds from the mean; 0 where it is missing."""
        return np.nan_to_num((x - self.mean) / self.sd, nan=0.0)

    def predicted(self, x: Float[np.ndarray, "patient feature"]) -> tuple[np.ndarray, np.ndarray]:
        """Mean and sd of the log doses, [patient, dose] each; NaN in `x` is missing."""
        known = np.isfinite(x)
        right = self.across[None] * known[:, :, None]
        weight = np.linalg.solve(self._among(known), right)
        mean = np.einsum("nf,nfd->nd", np.clip(self.standard(x), -MOST_SDS, MOST_SDS), weight)
        left = 1.0 - np.einsum("nfd,nfd->nd", right, weight)
        return self.dose_mean + self.dose_sd * mean, self.dose_sd * np.sqrt(np.maximum(left, 1e-4))

    def distance(self, x: Float[np.ndarray, "patient feature"]) -> Float[np.ndarray, " patient"]:
        """Root of the mean squared distance from the training patients' middle, by their covariance: near 1 inside."""
        known = np.isfinite(x)
        z = self.standard(x)
        along = np.linalg.solve(self._among(known), z[:, :, None])[:, :, 0]
        return np.sqrt(np.sum(z * along, axis=1) / np.maximum(known.sum(axis=1), 1))

    def _among(self, known: Bool[np.ndarray, "patient feature"]) -> np.ndarray:
        both = known[:, :, None] & known[:, None, :]
        return np.where(both, self.among, 0.0) + np.eye(len(self.mean)) * np.where(known, RIDGE, 1.0)[:, :, None]

    def words(self) -> dict:
        """As JSON holds it."""
        return {name: np.round(value, 6).tolist() for name, value in vars(self).items()}

    @classmethod
    def of(cls, words: Mapping) -> Linear:
        return cls(**{name: np.array(value, float) for name, value in words.items()})


def fit_linear(x: Float[np.ndarray, "patient feature"], y: Float[np.ndarray, "patient dose"]) -> Linear:
    """The law of complete training patients."""
    both = np.concatenate([x, y], axis=1)
    sd = np.maximum(both.std(axis=0, ddof=1), LEAST_SD)
    z = (both - both.mean(axis=0)) / sd
    correlation, n = z.T @ z / (len(z) - 1), x.shape[1]
    np.fill_diagonal(correlation[:n, :n], 1.0)
    mean = both.mean(axis=0)
    return Linear(mean[:n], sd[:n], mean[n:], sd[n:], correlation[:n, :n], correlation[:n, n:])
