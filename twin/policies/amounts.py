"""How much activity a limit leaves, where its quantity is linear plus quadratic in activity."""

from __future__ import annotations

import numpy as np

HALVINGS = 60
"""Bisections of a price: of 20 decades 2e-17 of one is left."""
DECADES = 20
"""How far below the price at which nothing is given anymore the search begins."""
NO_SQUARE = 1e-40
"""Stands for a quadratic term of zero (Gy/MBq^2): a price then switches a cycle on or off by the same formula."""


def largest(linear: np.ndarray, quadratic: np.ndarray, left_Gy: np.ndarray) -> np.ndarray:
    """Largest a >= 0 with linear a + quadratic a^2 <= left_Gy, elementwise; 0 where nothing is left."""
    left = np.maximum(left_Gy, 0.0)
    return 2 * left / (linear + np.sqrt(linear**2 + 4 * quadratic * left))


def best_split(gain: np.ndarray, linear: np.ndarray, quadratic: np.ndarray, limit_Gy: float, cap: float) -> np.ndarray:
    """Activities [patient, cycle] with the largest sum of gain times activity, each at most `cap`, whose linear and
    quadratic terms add up to no more than the limit; all arguments [patient, cycle].

    At a price p of the limit (gain per Gy) each cycle has the activity at which one more MBq gains just p times what it
    uses up: gain = p (linear + 2 quadratic a). The price is bisected until the limit is met; a cycle that is worth just
    its price (no quadratic term) is filled in part.
    """
    square = np.maximum(quadratic, NO_SQUARE)
    at = lambda log_price: np.clip((gain * np.exp(-log_price)[:, None] - linear) / (2 * square), 0.0, cap)
    used = lambda a: np.sum(linear * a + quadratic * a**2, axis=1)
    middle = np.log(np.max(gain / linear, axis=1))
    low, high = middle - DECADES * np.log(10.0), middle  # all but free; nothing is worth it
    for _ in range(HALVINGS):
        price = (low + high) / 2
        fits = used(at(price)) <= limit_Gy
        low, high = np.where(fits, low, price), np.where(fits, price, high)
    return _between(at(high), at(low), linear, quadratic, limit_Gy)


def _between(inside, beyond, linear, quadratic, limit_Gy: float) -> np.ndarray:
    """The last point within the limit on the way from activities inside it to others."""
    step = beyond - inside
    slope = np.sum((linear + 2 * quadratic * inside) * step, axis=1)
    left = limit_Gy - np.sum(linear * inside + quadratic * inside**2, axis=1)
    share = largest(np.maximum(slope, 1e-300), np.sum(quadratic * step**2, axis=1), left)
    return inside + np.clip(share, 0.0, 1.0)[:, None] * step
