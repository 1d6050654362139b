"""Intervals of a trial's results: Wilson's for a share, the paired bootstrap for a mean difference."""

from __future__ import annotations

import numpy as np

from dose.tissues import TWO_SIDED_95

STREAM = 20_044
RESAMPLES = 2000


def wilson(count: int, of: int) -> tuple[float, float]:
    """95 % interval of a share by Wilson's score (J Am Stat Assoc 1927;22:209)."""
    z2, share = TWO_SIDED_95**2, count / of
    centre = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = TWO_SIDED_95 * np.sqrt(share * (1 - share) / of + z2 / (4 * of**2)) / (1 + z2 / of)
    # at the ends rounding would leave 1e-19 beside the exact 0 and 1
    return float(centre - half) if count else 0.0, float(centre + half) if count < of else 1.0


def bootstrap(values: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """95 % intervals of means of values [.., patient]: percentiles over resampled patients, the same for all rows."""
    count = values.shape[-1]
    chosen = np.random.default_rng([STREAM, seed]).integers(0, count, (RESAMPLES, count))
    often = np.stack([np.bincount(row, minlength=count) for row in chosen]) / count
    low, high = np.quantile(values @ often.T, [0.025, 0.975], axis=-1)
    return low, high
