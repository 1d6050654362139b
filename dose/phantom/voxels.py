"""Solids into voxels: samples within each voxel, then one label a voxel so that every organ gets its own volume.

Each voxel holds a few sample points. Where they disagree, the voxel goes to the label with most samples times the
label's weight; the weights are moved until each label has the number of voxels that its mass asks for. So thin walls
keep their volume, which a plain majority would cost them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dose.phantom.shapes import Part, bounds_cm, inside

PER_AXIS = 2
"""Sample points along each edge of a voxel."""
ROUNDS, CLOSE, FIRST_STEP = 80, 0.002, 0.2
"""Rounds of moving the weights, the relative miss of volume that ends them, and the first move of their logarithms,
which is halved whenever a label overshoots."""
FIT_ROUNDS, FIT_CLOSE, STEP = 12, 0.02, 0.15
"""The same for the size of the solids, and the most that a size changes in one round."""
POWER = 2.5
"""Volume goes with the size to a power between 2 (tubes, whose length stays) and 3 (ellipsoids)."""


@dataclass(frozen=True, eq=False)
class Canvas:
    """Voxel centres `x`, `y`, `z` in cm in the frame of the shapes, and the voxel's edge there along x and y, and z."""

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    step_cm: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.z), len(self.y), len(self.x)

    def shifted(self, share: np.ndarray) -> Canvas:
        """Sample points that lie a share of the voxel's edge from its centre."""
        return Canvas(
            *(axis + s * h for axis, s, h in zip((self.x, self.y, self.z), share, self.step_cm)), self.step_cm
        )


def canvas(solids: Sequence[Part], voxel_cm: float, stretch: np.ndarray, size: float) -> Canvas:
    """Voxels round all solids with two to spare; `stretch` [x, y, z] is how much longer the body is than the shapes."""
    corners = [bounds_cm(part, size) for part in solids]
    step = voxel_cm / stretch
    low = np.min([low for low, _ in corners], axis=0) - 2 * step
    high = np.max([high for _, high in corners], axis=0) + 2 * step
    edges = np.ceil((high - low) / step).astype(int)
    edges[0] += edges[0] % 2  # the plane x = 0 lies between voxels: left and right stay mirror images
    low[0] = -edges[0] / 2 * step[0]
    return Canvas(*(lo + (np.arange(n) + 0.5) * h for lo, n, h in zip(low, edges, step)), step)


def offsets() -> list[np.ndarray]:
    """Where the samples of a voxel lie, as shares of its edge from the centre."""
    along = (np.arange(PER_AXIS) + 0.5) / PER_AXIS - 0.5
    return [np.array([x, y, z]) for x in along for y in along for z in along]


def paint(
    volume: np.ndarray, where: Canvas, part: Part, label: int, size: float, grow_cm: float = 0.0, on=None
) -> None:
    """Write `label` into the voxels whose point lies in the part; with `on` only where `volume` is at least that."""
    low, high = bounds_cm(part, size, grow_cm)
    x, y, z = (slice(*np.searchsorted(axis, (lo, hi))) for axis, lo, hi in zip((where.x, where.y, where.z), low, high))
    points = (where.x[None, None, x], where.y[None, y, None], where.z[z, None, None])
    box = volume[z, y, x]
    found = inside(part, points, size, grow_cm)
    box[found if on is None else found & (box >= on)] = label


def resized(
    sizes: Mapping[int, float], counts: np.ndarray, wanted: Mapping[int, float], held: Mapping[int, int]
) -> tuple[dict[int, float], float]:
    """Sizes moved towards the wanted numbers of samples, and the largest relative miss before.

    `held` names what a shell surrounds (wall -> contents): the shell's outer size follows the volume of both.
    """
    new, worst = dict(sizes), 0.0
    for label, goal in wanted.items():
        within = held.get(label)
        filled = 0.0 if within is None else wanted[within]
        ratio = (goal + filled) / max(counts[label] + (0 if within is None else counts[within]), 1)
        worst = max(worst, abs(ratio - 1))
        new[label] = sizes[label] * float(np.clip(ratio ** (1 / POWER), 1 - STEP, 1 + STEP))
    return new, worst


def assigned(samples: np.ndarray, wanted: Mapping[int, float], seed: int = 0) -> np.ndarray:
    """One label a voxel from its samples [sample, z, y, x], with `wanted` voxels (label -> number) as near as can be.

    Labels that are not in `wanted` take what is left. Ties are broken at random, from `seed`.
    """
    labels = samples[0].copy()
    mixed = np.any(samples != samples[0], axis=0)
    own = samples[:, mixed].T
    share = (own[:, :, None] == own[:, None, :]).sum(axis=2, dtype=np.uint8)
    share = share + np.random.default_rng(seed).random(own.shape, dtype=np.float32) - np.float32(0.5)
    sure = np.bincount(labels[~mixed], minlength=256)
    log_share = np.log(np.maximum(share, 0.25, dtype=np.float32))
    goal = np.array([wanted.get(label, np.nan) for label in range(256)])
    log_weight, step, sign = np.zeros(256, np.float32), np.full(256, FIRST_STEP, np.float32), np.zeros(256)
    for _ in range(ROUNDS):
        best = np.argmax(log_share + log_weight[own], axis=1)
        chosen = own[np.arange(len(own)), best]
        short = np.nan_to_num(goal - sure - np.bincount(chosen, minlength=256))
        wrong = np.abs(short) > np.maximum(0.5, CLOSE * np.nan_to_num(goal))
        if not wrong.any():
            break
        now = np.sign(short) * wrong
        step *= np.where(now * sign < 0, 0.5, 1.2)
        log_weight += (now * step).astype(np.float32)
        sign = np.where(wrong, now, sign)
    labels[mixed] = chosen
    return labels
