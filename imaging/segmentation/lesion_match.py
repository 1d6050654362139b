"""Which lesion of one scan is which of the next: the same, split, merged, vanished or new.

Two lesions belong together where they overlap by a part of the smaller one; those without a partner are then joined to
the nearest free one within reach, nearest first. Lesions that hang together form one row, so that one may become many.
Nothing is registered here: both scans lie in one frame of reference (`imaging.registration`). Nothing is drawn at
random, and the order of the labels decides ties.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy.spatial import KDTree

from dose.errors import ImageError, InputError, describe
from imaging.geometry import Volume

OVERLAP = 0.1
"""Part of the smaller lesion that both must share."""

REACH_mm = 10.0
"""Gap between surfaces that registration and breathing may leave."""


@dataclass(frozen=True)
class LesionLink:
    """One row: lesions before and after, as labels.

    Attributes:
        kind: "same", "split", "merged", "mixed" (many to many), "vanished" or "appeared".
        overlap: voxels of both over voxels of the smaller side; 0 where only nearness joined them.
        gap_mm: smallest distance of their voxels' centres; 0 where they overlap, None where one side is empty.
    """

    kind: str
    before: tuple[int, ...]
    after: tuple[int, ...]
    volume_before_mL: float
    volume_after_mL: float
    overlap: float
    gap_mm: float | None

    @property
    def growth(self) -> float | None:
        """Volume after over before; None for what is new."""
        return self.volume_after_mL / self.volume_before_mL if self.volume_before_mL else None


@dataclass(frozen=True)
class LesionMatches:
    """All rows, in order of the first label before, then after."""

    rows: tuple[LesionLink, ...]

    def of(self, kind: str) -> tuple[LesionLink, ...]:
        """Rows of a kind."""
        return tuple(row for row in self.rows if row.kind == kind)

    def table(self) -> list[dict]:
        """Rows as dictionaries, for a data frame."""
        return [asdict(row) | {"growth": row.growth} for row in self.rows]


def match_lesions(
    before: Volume, after: Volume, *, overlap: float = OVERLAP, reach_mm: float = REACH_mm
) -> LesionMatches:
    """Match the labels (whole numbers, 0 is background) of two scans in one frame of reference.

    `after` is taken onto the grid of `before` (nearest voxel) where grids differ.

    Raises:
        InputError: overlap not in (0, 1], a negative reach.
        ImageError: labels that are no whole numbers or below zero.
    """
    if not (0 < overlap <= 1 and reach_mm >= 0):
        found = f"overlap {overlap:g}, reach {reach_mm:g} mm"
        raise InputError(describe("match_lesions", found, "overlap in (0, 1], reach of 0 or more", "correct them"))
    first = _labels(before)
    second = _labels(after.resampled_onto(before, interpolation="nearest"))
    points = [_points(first, before), _points(second, before)]
    shared = _shared(first, second)
    size = [{k: len(p) for k, p in side.items()} for side in points]
    links = {pair for pair, n in shared.items() if n >= overlap * min(size[0][pair[0]], size[1][pair[1]])}
    links |= _near(points, links, reach_mm)
    rows = [_row(group, points, shared, before.voxel_mL) for group in _groups(size, links)]
    return LesionMatches(tuple(rows))


def follow_lesions(scans: Sequence[Volume], **settings) -> tuple[dict[int, int], ...]:
    """For each scan, label to number of the track: lesions that ever hang together share one, counted from 1.

    Raises:
        InputError: fewer than two scans, or as `match_lesions`.
    """
    if len(scans) < 2:
        raise InputError(describe("scans", f"{len(scans)}", "two or more", "give them in order of time"))
    tracks: list[dict[int, int]] = [{k: n for n, k in enumerate(_points(_labels(scans[0]), scans[0]), start=1)}]
    for before, after in zip(scans, scans[1:]):
        tracks.append({})
        for row in match_lesions(before, after, **settings).rows:
            known = sorted({tracks[-2][k] for k in row.before}) or [
                1 + max([0, *(n for t in tracks for n in t.values())])
            ]
            tracks = [{k: known[0] if n in known else n for k, n in track.items()} for track in tracks]
            tracks[-1] |= dict.fromkeys(row.after, known[0])
    return tuple(tracks)


def _labels(volume: Volume) -> np.ndarray:
    whole = np.round(volume.array).astype(np.int64)
    if whole.min() < 0 or np.abs(whole - volume.array).max() > 1e-3:
        raise ImageError(
            describe("labels", "values that are no labels", "0, 1, 2, ...", "give labels, not a mask's part")
        )
    return whole


def _points(labels: np.ndarray, grid: Volume) -> dict[int, np.ndarray]:
    """Places in mm of each label's voxels, by label in rising order."""
    index = np.argwhere(labels > 0)
    numbers = labels[tuple(index.T)]
    return {int(k): grid.to_lps_mm(index[numbers == k][:, ::-1]) for k in np.unique(numbers)}


def _shared(first: np.ndarray, second: np.ndarray) -> dict[tuple[int, int], int]:
    both = (first > 0) & (second > 0)
    pairs, counts = np.unique(np.stack([first[both], second[both]], axis=1), axis=0, return_counts=True)
    return {(int(a), int(b)): int(n) for (a, b), n in zip(pairs, counts)}


def _near(points, links: set, reach_mm: float) -> set:
    """Pairs of lesions without a partner, nearest first, each used once."""
    free = [[k for k in side if k not in {link[n] for link in links}] for n, side in enumerate(points)]
    gaps = sorted((_gap_mm(points[0][a], points[1][b]), a, b) for a in free[0] for b in free[1])
    found: set[tuple[int, int]] = set()
    for gap, a, b in gaps:
        if gap <= reach_mm and all(a != x and b != y for x, y in found):
            found.add((a, b))
    return found


def _gap_mm(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.min(KDTree(a).query(b)[0]))


def _groups(size, links: set) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Lesions that hang together through links, each as labels before and after."""
    groups: list[set[tuple[int, int]]] = []
    for node in [(side, k) for side in (0, 1) for k in size[side]]:
        partners = {(1 - node[0], link[1 - node[0]]) for link in links if link[node[0]] == node[1]} | {node}
        joined = [g for g in groups if g & partners]
        groups = [g for g in groups if not g & partners] + [set().union(partners, *joined)]
    sides = [tuple(tuple(sorted(k for s, k in g if s == side)) for side in (0, 1)) for g in groups]
    return sorted(sides, key=lambda pair: (pair[0] or (np.inf,), pair[1]))  # type: ignore[return-value]


def _row(group, points, shared, voxel_mL: float) -> LesionLink:
    before, after = group
    volumes = [voxel_mL * sum(len(points[n][k]) for k in side) for n, side in enumerate(group)]
    both = voxel_mL * sum(shared.get((a, b), 0) for a in before for b in after)
    gap = min((_gap_mm(points[0][a], points[1][b]) for a in before for b in after), default=None)
    overlap = both / min(volumes) if min(volumes) else 0.0
    return LesionLink(_kind(len(before), len(after)), before, after, *volumes, overlap, gap)


def _kind(before: int, after: int) -> str:
    if not before or not after:
        return "appeared" if after else "vanished"
    if before == 1:
        return "same" if after == 1 else "split"
    return "merged" if after == 1 else "mixed"
