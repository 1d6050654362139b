"""Turning an image into a view's frame and back, about the axis: each voxel's content is shared among the four turned
rows around it (linear weights in both directions), so content and centre of mass are kept exactly.

A turned row holds all z at one (slab, column): slab k lies at (k - middle) pixels along n = (sin a, cos a) towards the
detector, column u at (u - middle) pixels along (-cos a, sin a), the axes of `imaging.projections`. Both directions
gather: a turned row asks the nine source rows that can reach it, a source row its four turned rows, with weights
from one function of the source row's place. They are transposes, without a scatter-add.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

NEIGHBOURS = tuple((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1))
"""A voxel shares with rows nearer than sqrt(2) pixels: within one of the nearest source voxel on each axis."""


@dataclass(frozen=True)
class Frame:
    """How an image's rows lie about the axis of rotation, all in pixels.

    Attributes:
        lines: rows of the image along y.
        columns: the image's length along x.
        slabs: planes of a turned view, parallel to the detector.
        across: columns of a turned view.
        axis_xy: the axis as a fractional index (x, y) of the image.
        reach: voxels whose middle lies farther from the axis are taken as empty, in every view alike.
    """

    lines: int
    columns: int
    slabs: int
    across: int
    axis_xy: tuple[float, float]
    reach: float


class Taps(NamedTuple):
    """Source rows and weights of each place: [tap, place], with a leading slab for a turned view."""

    index: Int[Array, "*slab tap place"]
    weight: Float[Array, "*slab tap place"]


def _directions(angle_deg, numbers=jnp):
    angle = numbers.deg2rad(angle_deg)
    return numbers.sin(angle), numbers.cos(angle)


def _place(x, y, angle_deg, frame):
    """Slab and column, as fractions, of a source index; those beyond the reach are sent far outside."""
    sine, cosine = _directions(angle_deg)
    right, back = x - frame.axis_xy[0], y - frame.axis_xy[1]
    seen = right**2 + back**2 <= frame.reach**2
    slab = (frame.slabs - 1) / 2 + right * sine + back * cosine
    column = (frame.across - 1) / 2 - right * cosine + back * sine
    return jnp.where(seen, slab, -9.0), jnp.where(seen, column, -9.0)


def _tent(distance):
    return jnp.maximum(1.0 - jnp.abs(distance), 0.0)


def _turned_grid(frame):
    return np.arange(frame.slabs, dtype=np.float32)[:, None], np.arange(frame.across, dtype=np.float32)[None, :]


def _source_of(slab, column, angle_deg, frame, numbers=jnp):
    """Where in the source image, as fractions (x, y), a turned row lies."""
    sine, cosine = _directions(angle_deg, numbers)
    along, across = slab - (frame.slabs - 1) / 2, column - (frame.across - 1) / 2
    return frame.axis_xy[0] + along * sine - across * cosine, frame.axis_xy[1] + along * cosine + across * sine


def nearest_sources(angles_deg, frame) -> Int[np.ndarray, "view 2 slab column"]:
    """The source index (x, y) nearest to each turned row, which may lie outside the image; on the host.

    A tie that two parts of a compiled program round differently would count one source twice.
    """
    grid = (a.astype(float) for a in _turned_grid(frame))
    slab, column = (a[None] for a in grid)
    places = _source_of(slab, column, np.asarray(angles_deg, float)[:, None, None], frame, numbers=np)
    return np.stack([np.round(place) for place in places], axis=1).astype(np.int16)


def turned_taps(angle_deg, nearest: Int[Array, "2 slab column"], frame) -> Taps:
    """What each turned row takes of which source rows: its share of the nine around `nearest`."""
    slab, column = _turned_grid(frame)
    x, y = nearest.astype(jnp.float32)
    indices, weights = [], []
    for down, right in NEIGHBOURS:
        at_x, at_y = x + right, y + down
        inside = (at_x >= 0) & (at_x < frame.columns) & (at_y >= 0) & (at_y < frame.lines)
        own_slab, own_column = _place(at_x, at_y, angle_deg, frame)
        weights.append(jnp.where(inside, _tent(own_slab - slab) * _tent(own_column - column), 0.0))
        indices.append(jnp.where(inside, at_y * frame.columns + at_x, 0.0).astype(jnp.int32))
    return Taps(jnp.stack(indices, axis=1), jnp.stack(weights, axis=1))


def sampled_taps(angle_deg, frame) -> Taps:
    """Linear interpolation of an image at the turned rows, for a property such as attenuation; zero outside."""
    slab, column = _turned_grid(frame)
    x, y = _source_of(slab, column, angle_deg, frame)
    return _corners(y, x, frame.lines, frame.columns)


def returned(view: Float[Array, "slab column z"], angle_deg, frame) -> Float[Array, "row z"]:
    """Transpose of gathering by `turned_taps`: linear interpolation of the turned rows at each voxel, [y * x, z]."""
    index = np.arange(frame.lines * frame.columns)
    x, y = (index % frame.columns).astype(np.float32), (index // frame.columns).astype(np.float32)
    slab, column = _place(x, y, angle_deg, frame)
    return gathered(view.reshape(frame.slabs * frame.across, -1), _corners(slab, column, frame.slabs, frame.across))


def gathered(rows: Float[Array, "row z"], taps: Taps) -> Float[Array, "place z"]:
    """Sum of weight times row over the taps of each place."""
    index, weight = jax.lax.optimization_barrier((taps.index, taps.weight))  # once, not for each z
    total = jnp.zeros((), rows.dtype)
    for k in range(index.shape[0]):
        total = total + weight[k][:, None] * rows.at[index[k]].get(mode="promise_in_bounds")
    return total


def _corners(row, column, rows: int, columns: int) -> Taps:
    """The four points of a flattened [rows, columns] grid around each place, with linear weights."""
    indices, weights = [], []
    for down in (0, 1):
        for right in (0, 1):
            r, c = jnp.floor(row) + down, jnp.floor(column) + right
            inside = (r >= 0) & (r < rows) & (c >= 0) & (c < columns)
            weights.append(jnp.where(inside, _tent(row - r) * _tent(column - c), 0.0))
            indices.append(jnp.where(inside, r * columns + c, 0.0).astype(jnp.int32))
    return Taps(jnp.stack(indices, axis=-2), jnp.stack(weights, axis=-2))
