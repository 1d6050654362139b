"""Bodies of other shape and pose: a smooth displacement that folds nowhere, after which each organ is its old size.

Labels are drawn through x -> x + u(x) (nearest voxel). u is a sum of a Gaussian random field, a small turn and shift of
the whole body, and what breathing does to the upper abdomen. The map must not fold: det(1 + du/dx) stays above
`LEAST_JACOBIAN`. The body's volume is then restored by scaling, each organ's by exchanging voxels at its surface, and
what is still missing by its density, so that masses are kept exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy.ndimage import find_objects, gaussian_filter, zoom

from dose.errors import InputError, describe
from imaging.geometry import Volume
from imaging.scanner.anatomy import REMAINDER, Anatomy, hounsfield

LEAST_JACOBIAN = 0.3
"""A voxel may be pressed to this share of its volume before the map is refused."""

ROUNDS = 6
"""Layers of voxels that an organ may win or lose at its surface."""

DENSITY_CHANGE = 0.05
"""A larger change of density (relative) than this means that the shape lost its organ; small organs of few voxels may
change by one voxel."""

KNOTS_PER_SCALE = 3
ABDOMEN = ("liver", "spleen", "kidney_left", "kidney_right", "stomach", "stomach_contents", "pancreas", "adrenals")
"""What moves with the diaphragm."""


@dataclass(frozen=True)
class Motion:
    """One displacement: sd and correlation length of the random field, turn about x, y, z, shift, breathing.

    `breathing_mm` moves the upper abdomen to the feet, fading over `fade_mm`.
    """

    field_mm: float = 0.0
    scale_mm: float = 60.0
    rotation_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    translation_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    breathing_mm: float = 0.0
    fade_mm: float = 25.0
    seed: int = 0


def displacement_mm(anatomy: Anatomy, motion: Motion) -> Float[np.ndarray, "axis z y x"]:
    """u along x, y, z at every voxel: the label shown at x is the one at x + u(x).

    Raises:
        InputError: a motion that folds space.
    """
    shape, spacing = anatomy.labels.shape, anatomy.ct.spacing_mm
    made = _rigid(anatomy, motion)
    if motion.field_mm > 0:
        made += motion.field_mm * _random_field(shape, spacing, motion)
    if motion.breathing_mm:
        moving = np.isin(anatomy.labels, [k for k, name in enumerate(anatomy.names) if name in ABDOMEN])
        smooth = gaussian_filter(moving.astype(np.float32), motion.fade_mm / 2 / spacing[::-1])
        made[2] += motion.breathing_mm * smooth / max(float(smooth.max()), 1e-6)
    least = float(jacobian(made, spacing).min())
    if least < LEAST_JACOBIAN:
        do = "make the displacement smaller or smoother"
        raise InputError(describe("motion", f"a least Jacobian of {least:.2f}", f"above {LEAST_JACOBIAN}", do))
    return made


def jacobian(displacement: np.ndarray, spacing_mm) -> np.ndarray:
    """det(1 + du/dx), [z, y, x]; `displacement` in mm [axis x y z, z, y, x]."""
    rows = [list(np.gradient(u, *np.asarray(spacing_mm)[::-1]))[::-1] for u in displacement]
    for k in range(3):
        rows[k][k] = rows[k][k] + 1
    (a, b, c), (d, e, f), (g, h, i) = rows
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)


def _random_field(shape, spacing, motion: Motion) -> np.ndarray:
    """Three smooth fields of sd 1, cubic splines between random knots."""
    knots = np.ceil(np.array(shape) * spacing[::-1] / motion.scale_mm * KNOTS_PER_SCALE).astype(int) + 4
    noise = np.random.default_rng(motion.seed).standard_normal((3, *knots))
    smooth = np.stack([gaussian_filter(u, KNOTS_PER_SCALE / 2, mode="wrap") for u in noise])
    smooth /= smooth.std(axis=(1, 2, 3), keepdims=True)
    factor = np.array(shape) / knots
    return np.stack([zoom(u.astype(np.float32), factor, order=3, grid_mode=True, mode="nearest") for u in smooth])


def _rigid(anatomy: Anatomy, motion: Motion) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_euler("xyz", motion.rotation_deg, degrees=True).as_matrix() - np.eye(3)
    at = _centred_mm(anatomy)
    made = [sum(turn[k, j] * at[j] for j in range(3)) + motion.translation_mm[k] for k in range(3)]
    return np.stack([np.broadcast_to(u, anatomy.labels.shape) for u in made]).astype(np.float32)


def _centred_mm(anatomy: Anatomy) -> list[np.ndarray]:
    """x, y, z from the middle of the grid as broadcasting arrays."""
    made = []
    for axis, (n, step) in enumerate(zip(anatomy.labels.shape[::-1], anatomy.ct.spacing_mm)):
        along = (np.arange(n, dtype=np.float32) - (n - 1) / 2) * np.float32(step)
        made.append(along.reshape([-1 if axis == 2 - k else 1 for k in range(3)]))
    return made


def padded(anatomy: Anatomy, margin_mm: float) -> Anatomy:
    """The same with air on all sides."""
    edges = np.ceil(margin_mm / anatomy.ct.spacing_mm).astype(int)
    around = [(int(n), int(n)) for n in edges[::-1]]
    affine = anatomy.affine.copy()
    affine[:3, 3] = anatomy.ct.to_lps_mm(-edges)
    ct = np.pad(anatomy.ct.array, around, constant_values=float(hounsfield(anatomy.density_g_cm3[0])))
    return replace(anatomy, labels=np.pad(anatomy.labels, around), ct=Volume(ct, affine))


def deformed(anatomy: Anatomy, motion: Motion) -> Anatomy:
    """The same body, with the same masses, in another shape and pose.

    Raises:
        InputError: a motion that folds space, or after which an organ cannot be given back its mass.
    """
    moved = displacement_mm(anatomy, motion)
    first = _drawn(anatomy, moved, 1.0)
    scale = (np.count_nonzero(first) / np.count_nonzero(anatomy.labels)) ** (1 / 3)
    labels = regrown(_drawn(anatomy, moved, scale), anatomy)
    density = _densities(labels, anatomy)
    return replace(anatomy, labels=labels, density_g_cm3=density, ct=anatomy.ct.with_array(hounsfield(density)[labels]))


def _drawn(anatomy: Anatomy, moved: np.ndarray, scale: float) -> np.ndarray:
    """Labels at scale (x + u(x)) about the middle of the grid; outside where that leaves it."""
    index, inside = [], np.ones(anatomy.labels.shape, dtype=bool)
    for at, u, n, step in zip(_centred_mm(anatomy), moved, anatomy.labels.shape[::-1], anatomy.ct.spacing_mm):
        found = np.rint((at + u) * np.float32(scale / step) + np.float32((n - 1) / 2)).astype(np.int32)
        inside &= (found >= 0) & (found < n)
        index.append(np.clip(found, 0, n - 1))
    return np.where(inside, anatomy.labels[index[2], index[1], index[0]], 0).astype(np.uint16)


def regrown(labels: np.ndarray, like: Anatomy) -> np.ndarray:
    """Labels with as many voxels each as in `like`, by exchange at surfaces with labels that come later in rank.

    Contents and the brain come first, then organs by size, skin and remainder last; the remainder takes what is left.
    """
    labels = labels.copy()
    rank = np.empty(len(like.names), dtype=np.int64)
    order = sorted(range(1, len(like.names)), key=lambda k: _turn(like.names[k], like.counts[k]))
    rank[0], rank[order] = -1, np.arange(len(order))
    for k in order:
        if like.names[k] != REMAINDER:
            _settle(labels, k, int(like.counts[k]), rank)
    return labels


def _turn(name: str, voxels: int) -> tuple[int, int]:
    first = name.endswith("_contents") or name == "brain" or name.startswith("tumour_")
    return (0 if first else 3 if name == REMAINDER else 2 if name == "skin" else 1), int(voxels)


def _settle(labels: np.ndarray, k: int, wanted: int, rank: np.ndarray) -> None:
    """Give label `k` its voxels (in place, on an array of this module's own)."""
    boxes = find_objects(np.where(labels == k, 1, 0).astype(np.int8))
    if not boxes:
        return
    box = labels[tuple(slice(max(s.start - ROUNDS - 1, 0), s.stop + ROUNDS + 1) for s in boxes[0])]
    for _ in range(ROUNDS):
        missing = wanted - np.count_nonzero(box == k)
        if missing == 0:
            return
        around = np.stack([np.roll(box, step, axis) for axis in range(3) for step in (1, -1)])
        touching = (around == k).sum(axis=0)
        if missing > 0:
            _take(box, (rank[box] > rank[k]) & (touching > 0), touching, missing, np.full(box.shape, k, np.uint16))
        else:
            partner = np.take_along_axis(around, np.argmax(rank[around] * (around != k), axis=0)[None], axis=0)[0]
            _take(box, (box == k) & (rank[partner] > rank[k]), -touching, -missing, partner)


def _take(box: np.ndarray, where: np.ndarray, worth: np.ndarray, number: int, value: np.ndarray) -> None:
    chosen = np.flatnonzero(where)
    best = chosen[np.argsort(-worth.ravel()[chosen], kind="stable")][:number]
    at = np.unravel_index(best, box.shape)
    box[at] = value[at]


def _densities(labels: np.ndarray, like: Anatomy) -> np.ndarray:
    """Densities that keep each label's mass."""
    counts = np.bincount(labels.ravel(), minlength=len(like.names))
    change = np.where(like.counts > 0, like.counts / np.maximum(counts, 1), 1.0)
    change[0] = 1.0
    lost = (np.abs(counts - like.counts) > np.maximum(DENSITY_CHANGE * like.counts, 1)) & (np.arange(len(counts)) > 0)
    if lost.any():
        name = like.names[int(np.flatnonzero(lost)[0])]
        found = f"{counts[lost][0]} voxels for {like.counts[lost][0]}"
        raise InputError(describe(f"shape of {name}", found, "room for the organ", "make the motion smaller"))
    return like.density_g_cm3 * change
