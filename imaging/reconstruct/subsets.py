"""Which views an update uses: subsets equally spread over the rotation, visited far from each other.

Views are ordered by angle, whatever the order of the heads, and dealt out in turn (Hudson and Larkin 1994). The subsets
are visited in bit-reversed order, so that one update's views lie midway between those of the updates before. Each
subset has as many places as the largest; a place over is marked as not counted, so that one compiled update serves all.

References:
    H. M. Hudson, R. S. Larkin, IEEE Trans. Med. Imaging 13 (1994) 601-609.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dose.errors import InputError, describe


@dataclass(frozen=True)
class Subsets:
    """`views` int32 [subset, place] and `counted` float32 [subset, place], 0 at a place that only fills up."""

    views: np.ndarray
    counted: np.ndarray

    def __len__(self) -> int:
        return len(self.views)


def view_subsets(angles_deg, subsets: int) -> Subsets:
    """The views of each subset, in the order of their visits.

    Raises:
        InputError: fewer than one subset, or more than there are views.
    """
    angles = np.mod(np.asarray(angles_deg, dtype=float), 360)
    if not 1 <= subsets <= len(angles):
        expected = f"1 to {len(angles)}, the number of views"
        raise InputError(describe("subsets", f"{subsets}", expected, "choose fewer subsets"))
    by_angle = np.argsort(angles, kind="stable")
    places = -(-len(angles) // subsets)
    views = np.zeros((subsets, places), dtype=np.int32)
    counted = np.zeros((subsets, places), dtype=np.float32)
    for k, phase in enumerate(_visits(subsets)):
        chosen = by_angle[phase::subsets]
        views[k] = np.resize(chosen, places)
        counted[k, : len(chosen)] = 1
    return Subsets(views, counted)


def _visits(subsets: int) -> list[int]:
    """0 to subsets - 1 by their reversed bits: 0, 4, 2, 6, 1, 5, 3, 7 for eight."""
    bits = max(1, (subsets - 1).bit_length())
    return sorted(range(subsets), key=lambda k: int(f"{k:0{bits}b}"[::-1], 2))
