"""Polygons on a pixel grid by scan lines: the even-odd rule in each row, exact along it.

All rings of a plane are crossed together, so inner rings are holes, islands in holes count again, and a keyhole (a
hole joined to its ring by a line walked there and back) encloses nothing along its bridge. Foley, van Dam, Feiner and
Hughes, Computer Graphics: Principles and Practice, 3.6.
"""

from __future__ import annotations

import numpy as np


def crossings(rings, y: float) -> np.ndarray:
    """Sorted x where the edges of closed rings ([point, 2] each, x and y) cross the line at y; an even number."""
    found = [_ring_crossings(ring, y) for ring in rings]
    return np.sort(np.concatenate(found)) if found else np.zeros(0)


def _ring_crossings(ring: np.ndarray, y: float) -> np.ndarray:
    """Half-open edges, so that a corner on the line counts once and a peak on it twice or not at all."""
    x0, y0 = ring[:, 0], ring[:, 1]
    x1, y1 = np.roll(x0, -1), np.roll(y0, -1)
    cut = (y0 <= y) != (y1 <= y)
    return x0[cut] + (y - y0[cut]) * (x1[cut] - x0[cut]) / (y1[cut] - y0[cut])


def centres_inside(rings, shape: tuple[int, ...]) -> np.ndarray:
    """Whether each pixel's centre lies inside, boolean [y, x]; pixel (i, j) is centred at x = j, y = i."""
    mask = np.zeros(shape, dtype=bool)
    columns = np.arange(shape[1])
    for row in _rows(rings, shape[0]):
        mask[row] = np.searchsorted(crossings(rings, float(row)), columns, side="left") % 2 == 1
    return mask


def coverage(rings, shape: tuple[int, ...], oversampling: int) -> np.ndarray:
    """Share of each pixel inside, float [y, x]: exact along x, on `oversampling` lines a row across it."""
    covered = np.zeros(shape)
    for row in _rows(rings, shape[0]):
        for k in range(oversampling):
            cuts = crossings(rings, row - 0.5 + (k + 0.5) / oversampling)
            covered[row] += _lengths(cuts, shape[1])
    return covered / oversampling


def _lengths(cuts: np.ndarray, columns: int) -> np.ndarray:
    """Length inside each pixel of a row, [x], between cuts 0 and 1, 2 and 3, ...: differences of the running length."""
    edges = np.arange(columns + 1) - 0.5
    running = sum((np.clip(edges - a, 0, b - a) for a, b in cuts.reshape(-1, 2)), start=np.zeros(columns + 1))
    return np.diff(running)


def _rows(rings, rows: int) -> range:
    """Rows that the rings touch."""
    if not rings:
        return range(0)
    low, high = min(r[:, 1].min() for r in rings), max(r[:, 1].max() for r in rings)
    return range(max(int(np.floor(low)) - 1, 0), min(int(np.ceil(high)) + 2, rows))
