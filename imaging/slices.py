"""Geometry of a series stored one slice a file: order, gaps, gantry tilt, and several time frames at one position.

Slices are sorted by position along the normal, never by InstanceNumber. A CT with a tilted gantry is a sheared stack:
each slice is moved within its own plane onto a right-angled grid, so only in-plane interpolation is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dose.errors import ImageError, describe
from imaging.geometry import Volume
from imaging.times import acquired_at

GAP_NOTE, GAP_ERROR = 0.01, 0.10
"""Relative deviation of a slice gap from the median: above 1% a note (a real GE PET has 2.4%), above 10% an error (a
missing slice is 100%). The volume is placed on the mean gap."""

TILT_MM = 1.0
"""First and last slice may be shifted sideways by this much before the stack counts as tilted."""

SAME_PLACE_MM = 0.01
"""Slices closer than this lie at one position."""


@dataclass(frozen=True)
class Stack:
    """Where sorted slices lie: `order` into the data sets, the affine, and the sideways step in mm (gantry tilt)."""

    order: np.ndarray
    affine: np.ndarray
    sideways_mm: np.ndarray
    notes: tuple[str, ...] = ()

    @property
    def is_tilted(self) -> bool:
        return float(np.linalg.norm(self.sideways_mm)) * (len(self.order) - 1) > TILT_MM


def stack_of(datasets: list, where: str) -> Stack:
    """The stack that these slices make.

    Raises:
        ImageError: several sizes or orientations, a slice missing or twice.
    """
    row, column, positions = _axes(datasets, where)
    normal = np.cross(row, column)
    order = np.argsort(positions @ normal, kind="stable")
    step, sideways, notes = _step(positions[order], normal, datasets[0], where)
    dy, dx = (float(v) for v in datasets[0].PixelSpacing)
    return Stack(order, affine_of(row * dx, column * dy, step, positions[order[0]]), sideways, notes)


def _axes(datasets: list, where: str):
    """Row and column directions, [3] each, and the positions [slice, 3]."""
    shapes = {(int(d.Rows), int(d.Columns), int(d.get("NumberOfFrames", 1) or 1)) for d in datasets}
    orientations = np.array([d.ImageOrientationPatient for d in datasets], dtype=float)
    spacings = np.array([d.PixelSpacing for d in datasets], dtype=float)
    positions = np.array([d.ImagePositionPatient for d in datasets], dtype=float)
    is_one = len(shapes) == 1 and next(iter(shapes))[2] == 1
    if not is_one or np.ptp(orientations, axis=0).max() > 1e-3 or np.ptp(spacings, axis=0).max() > 1e-3:
        found = "slices of several sizes or orientations"
        raise ImageError(describe(where, found, "one stack of equal slices", "split the series"))
    if not (np.isfinite(positions).all() and spacings.min() > 0):
        raise ImageError(describe(where, "positions or spacings that are no places", "mm", "repair the headers"))
    return orientations[0][:3], orientations[0][3:], positions


def _step(positions: np.ndarray, normal: np.ndarray, dataset, where: str):
    """Mean slice step along the normal and sideways, mm (vectors), with notes; positions [slice, 3] in order."""
    if len(positions) == 1:
        return normal * float(dataset.get("SliceThickness") or 1.0), np.zeros(3), ()
    gaps = np.diff(positions @ normal)
    deviation = float(np.max(np.abs(gaps / np.median(gaps) - 1))) if np.median(gaps) > 0 else np.inf
    if gaps.min() <= SAME_PLACE_MM or deviation > GAP_ERROR:
        found = (
            "slices at the same position" if gaps.min() <= SAME_PLACE_MM else f"a gap {deviation:.0%} off the median"
        )
        expected = f"even slice gaps (within {GAP_ERROR:.0%}), one slice a position"
        raise ImageError(describe(where, found, expected, "look for missing slices or several time frames"))
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    along = normal * (step @ normal)
    notes = (f"{where}: slice gaps differ by up to {deviation:.1%} from their median",) if deviation > GAP_NOTE else ()
    return along, step - along, notes


def affine_of(along_x, along_y, along_z, origin) -> np.ndarray:
    """[4, 4] from the steps of one voxel along each index and the first voxel's centre, LPS mm."""
    affine = np.eye(4)
    affine[:3, :] = np.stack([along_x, along_y, along_z, origin], axis=1)
    return affine


def volume_of(array: np.ndarray, stack: Stack, where: str, *, may_be_tilted: bool) -> tuple[Volume, tuple[str, ...]]:
    """The sorted slices [z, y, x] as a volume, with notes; a tilted stack is moved onto a right-angled grid.

    Raises:
        ImageError: a tilted stack of something whose voxels are to be summed.
    """
    if not stack.is_tilted:
        return Volume(array, stack.affine), stack.notes
    total = float(np.linalg.norm(stack.sideways_mm)) * (len(array) - 1)
    if not may_be_tilted:
        found = f"slices that shift sideways by {total:.1f} mm (gantry tilt)"
        raise ImageError(describe(where, found, "slices along their normal", "resample the series without tilt"))
    note = f"{where}: slices shift sideways by {total:.1f} mm (gantry tilt); moved onto a right-angled grid"
    return straightened(array, stack), (*stack.notes, note)


def straightened(array: np.ndarray, stack: Stack) -> Volume:
    """Slices moved within their planes, linearly interpolated, on a grid wide enough to lose none of them."""
    from scipy.ndimage import shift

    spacing = np.linalg.norm(stack.affine[:3, :2], axis=0)
    pixels = stack.sideways_mm @ (stack.affine[:3, :2] / spacing) / spacing  # x, y per slice
    moves = np.arange(len(array))[:, None] * pixels
    low, high = np.floor(moves.min(axis=0)).astype(int), np.ceil(moves.max(axis=0)).astype(int)
    fill = float(array.min())
    padded = np.pad(array, ((0, 0), (-low[1], high[1]), (-low[0], high[0])), constant_values=fill)
    moved = [shift(s, (y, x), order=1, mode="constant", cval=fill) for s, (x, y) in zip(padded, moves, strict=True)]
    affine = stack.affine.copy()
    affine[:3, 3] += affine[:3, 0] * low[0] + affine[:3, 1] * low[1]
    return Volume(np.stack(moved), affine)


def time_frames(datasets: list, zone: int | None = None) -> list[list]:
    """The data sets of each time frame (or gate), in order of time; one list where each position holds one slice.

    Only an equal number of slices at each position, told apart by a time, is taken for frames: anything else stays
    together and is refused as slices at the same position.
    """
    heights = _heights(datasets)
    places: dict[int, list] = {}
    for k in np.argsort(heights, kind="stable").tolist():
        last = max(places, default=-1)
        is_new = last < 0 or bool(heights[k] - heights[places[last][0]] > SAME_PLACE_MM)
        places.setdefault(last + is_new, []).append(k)
    counts = {len(members) for members in places.values()}
    if len(counts) != 1 or counts == {1}:
        return [datasets]
    frames: list[list] = [[] for _ in range(counts.pop())]
    for members in places.values():
        keys = sorted((_frame_key(datasets[k], zone), k) for k in members)
        if len({key for key, _ in keys}) < len(keys):
            return [datasets]
        for frame, (_, k) in zip(frames, keys, strict=True):
            frame.append(datasets[k])
    return frames


def _heights(datasets: list) -> np.ndarray:
    orientation = np.array(datasets[0].ImageOrientationPatient, dtype=float)
    positions = np.array([d.ImagePositionPatient for d in datasets], dtype=float)
    return positions @ np.cross(orientation[:3], orientation[3:])


def _frame_key(dataset, zone: int | None) -> tuple[float, ...]:
    """Acquisition time, frame time and trigger delay: whichever of them the frames differ in."""
    began = acquired_at(dataset, zone)
    delays = (dataset.get(name) for name in ("FrameReferenceTime", "TriggerTime", "TemporalPositionIdentifier"))
    return (began.timestamp() if began else 0.0, *(float(d) if d not in (None, "") else 0.0 for d in delays))
