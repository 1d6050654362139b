"""What the parts of an uncertainty budget accept: positive numbers, relative uncertainties, covariances."""

from __future__ import annotations

import math

import numpy as np

from dose.errors import InputError, describe


def above_zero(field: str, value, unit: str, do: str) -> float:
    """`value` as a float, or the refusal of one that is missing, not finite, or not above zero."""
    if value is None or not (math.isfinite(value) and value > 0):
        raise InputError(describe(field, f"{value}", f"a number above 0 {unit}", do))
    return float(value)


def relative_or_zero(field: str, value: float) -> float:
    """A relative standard uncertainty: finite and not negative."""
    if value is None or not (math.isfinite(value) and value >= 0):
        do = "give the relative standard uncertainty as a fraction (0.05 for 5 %)"
        raise InputError(describe(field, f"{value}", "0 or more", do))
    return float(value)


def checked_covariance(field: str, covariance, size: int) -> np.ndarray:
    """A symmetric, positive semi-definite matrix [size, size].

    Raises:
        InputError: another shape, not finite, not symmetric, or a negative eigenvalue.
    """
    found = np.asarray(covariance, dtype=float)
    shaped = found.shape == (size, size) and np.all(np.isfinite(found)) and np.allclose(found, found.T)
    scale = np.sqrt(np.abs(np.diag(found))) if shaped else np.ones(1)
    scale = np.where(scale > 0, scale, 1.0)
    if not shaped or np.any(np.linalg.eigvalsh(found / np.outer(scale, scale)) < -1e-9):
        do = "check the covariance of the fit: variances on its diagonal, |correlation| below 1"
        raise InputError(describe(field, f"{np.array2string(found)}", "a positive definite covariance", do))
    return found
