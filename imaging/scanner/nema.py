"""The NEMA IEC body phantom as an analytic object.

Six spheres of 10 to 37 mm on a circle round a cold lung insert, in a body of two arcs and a flat back. Each voxel holds
the share of every part that finer points in it find, so volumes do not depend on where the voxels lie.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from dose.errors import InputError, describe
from dose.provenance import load_table
from imaging.geometry import Volume
from imaging.scanner.anatomy import hounsfield

DIAMETERS_MM = (10, 13, 17, 22, 28, 37)
ROIS = 12
PARTS_OF_A_RADIUS = 20
"""Points across a sphere's radius: its volume comes out within 0.1 %."""

PARTS_OF_A_VOXEL = 4
AIR_HU = -1000.0
MARGIN_MM = 20.0


@cache
def sizes() -> dict[str, float]:
    """The dimensions of `data/nema_iec.csv` by name."""
    return {row["quantity"]: float(row["value"]) for row in load_table("imaging", "nema_iec.csv")}


@dataclass(frozen=True, eq=False)
class NemaPhantom:
    """The filled phantom: activity in Bq/mL, CT in HU, and what each voxel holds.

    Attributes:
        activity_Bq_per_mL: on a grid about the centre of the circle of spheres, LPS mm.
        ct: in HU.
        spheres: share of each sphere in every voxel, [sphere, z, y, x].
        background: share of the warm water, [z, y, x].
        background_Bq_per_mL: concentration around the spheres.
        sphere_Bq_per_mL: concentration in the spheres.
        centre_lps_mm: of the circle of spheres.
    """

    activity_Bq_per_mL: Volume
    ct: Volume
    spheres: np.ndarray
    background: np.ndarray
    background_Bq_per_mL: float
    sphere_Bq_per_mL: float
    centre_lps_mm: np.ndarray

    @property
    def diameters_mm(self) -> tuple[int, ...]:
        return DIAMETERS_MM

    @property
    def volumes_mL(self) -> np.ndarray:
        """True volumes of the spheres, [sphere]."""
        return np.pi / 6 * np.array(DIAMETERS_MM) ** 3 / 1000


def sphere_centres_mm() -> np.ndarray:
    """Centres of the spheres from the centre of their circle, x, y, z, [sphere, 3]."""
    size = sizes()
    angle = np.radians([size[f"sphere_{d}"] for d in DIAMETERS_MM])
    radius = size["circle_diameter"] / 2
    return np.stack([radius * np.cos(angle), -radius * np.sin(angle), 0 * angle], axis=1)


def background_centres_mm() -> np.ndarray:
    """Centres of the twelve background regions, x, y, [region, 2]."""
    size = sizes()
    return np.array([[size[f"roi_{k}_x"], size[f"roi_{k}_y"]] for k in range(1, ROIS + 1)])


def inside_body(x_mm, y_mm, inset_mm: float = 0.0) -> np.ndarray:
    """Whether points of a transverse plane lie in the water, at least `inset_mm` from its edge (negative: beyond)."""
    size = sizes()
    y = np.asarray(y_mm) - size["arc_offset_y"]
    front = (y <= 0) & (np.hypot(x_mm, y) <= size["arc_radius"] - inset_mm)
    reach = size["corner_radius"] - inset_mm
    aside = np.maximum(np.abs(x_mm) - size["base_half"], 0)
    return front | ((y > 0) & (np.hypot(aside, y) <= reach))


def nema_iec(
    background_Bq_per_mL: float, ratio: float, *, voxel_mm: float = 4.8, grid: Volume | None = None, wall_mm=None
) -> NemaPhantom:
    """The phantom with hot spheres; `ratio` is sphere over background (or, with no background, Bq/mL of the spheres).

    Args:
        background_Bq_per_mL: of the water around the spheres.
        ratio: concentration in the spheres over that of the background; the spheres' own Bq/mL where that is 0.
        voxel_mm: cubic voxels of a grid of its own.
        grid: voxels to use instead, along LPS; the spheres' circle lies about the origin.
        wall_mm: cold walls of the spheres, the table's by default.

    Raises:
        InputError: a negative or missing activity, a voxel not above zero.
    """
    if not (np.isfinite([background_Bq_per_mL, ratio]).all() and background_Bq_per_mL >= 0 and ratio >= 0):
        found, do = f"{background_Bq_per_mL:g} and {ratio:g}", "correct the filling"
        raise InputError(describe("background_Bq_per_mL, ratio", found, "zero or more", do))
    if not 0 < voxel_mm <= 10:
        raise InputError(describe("voxel_mm", f"{voxel_mm:g}", "above 0, at most 10 mm", "choose smaller voxels"))
    grid = _own_grid(voxel_mm) if grid is None else grid
    size = sizes()
    wall = size["sphere_wall"] if wall_mm is None else float(wall_mm)
    centres = sphere_centres_mm()
    spheres = np.stack([ball_share(grid, c, d / 2) for c, d in zip(centres, DIAMETERS_MM)])
    shells = np.sum([ball_share(grid, c, d / 2 + wall) for c, d in zip(centres, DIAMETERS_MM)], axis=0)
    water, acrylic, lung = _upright_shares(grid)
    warm = np.clip(water - shells, 0, None)
    hot = ratio * background_Bq_per_mL if background_Bq_per_mL > 0 else ratio
    activity = background_Bq_per_mL * warm + hot * spheres.sum(axis=0)
    hu = hounsfield([size["acrylic_density"], size["lung_density"]])
    ct = AIR_HU * (1 - water - acrylic - lung) + hu[0] * acrylic + hu[1] * lung
    zero = np.zeros(3)
    return NemaPhantom(
        grid.with_array(activity), grid.with_array(ct), spheres, warm, background_Bq_per_mL, hot, centre_lps_mm=zero
    )


def _own_grid(voxel_mm: float) -> Volume:
    """Voxels about the phantom, one of them centred on the circle of spheres."""
    size = sizes()
    reach = size["body_wall"] + MARGIN_MM
    half = np.array([size["arc_radius"], size["arc_radius"] - size["arc_offset_y"], 0]) + reach
    low = np.array([*half[:2], size["length"] - size["below_lid"] + reach])
    high = np.array([*half[:2], size["below_lid"] + reach])
    before, after = np.ceil(low / voxel_mm).astype(int), np.ceil(high / voxel_mm).astype(int)
    affine = np.diag([voxel_mm, voxel_mm, voxel_mm, 1.0])
    affine[:3, 3] = -before * voxel_mm
    return Volume(np.zeros((before + after + 1)[::-1], dtype=np.float32), affine)


def ball_share(grid: Volume, centre_mm, radius_mm: float) -> np.ndarray:
    """Share of every voxel that lies in a ball, [z, y, x]."""
    share = np.zeros(grid.array.shape)
    index, reach = grid.to_index(centre_mm), radius_mm / grid.spacing_mm
    low = np.maximum(np.floor(index - reach), 0).astype(int)
    high = np.minimum(np.ceil(index + reach), np.array(grid.array.shape[::-1]) - 1).astype(int)
    if (high < low).any():
        return share
    parts = np.maximum(np.ceil(grid.spacing_mm * PARTS_OF_A_RADIUS / radius_mm), 1).astype(int)
    fine = [(np.arange((h - l + 1) * n) + 0.5) / n - 0.5 + l for l, h, n in zip(low, high, parts)]
    x, y, z = ((f - i) * s for f, i, s in zip(fine, index, grid.spacing_mm))
    within = x[None, None, :] ** 2 + y[None, :, None] ** 2 + z[:, None, None] ** 2 <= radius_mm**2
    n = parts[::-1]
    blocks = within.reshape([v for length, m in zip(within.shape, n) for v in (length // m, m)])
    box = tuple(slice(l, h + 1) for l, h in zip(low[::-1], high[::-1]))
    share[box] = blocks.mean(axis=(1, 3, 5))
    return share


def _upright_shares(grid: Volume) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares of water (with the spheres), acrylic (walls of body and insert) and lung filling, each [z, y, x]."""
    size, n = sizes(), PARTS_OF_A_VOXEL
    rows, columns = grid.array.shape[1:]
    x, y = (
        grid.affine[k, 3] + grid.spacing_mm[k] * ((np.arange(m * n) + 0.5) / n - 0.5)
        for k, m in ((0, columns), (1, rows))
    )
    radius = np.hypot(x, y[:, None])
    flat = lambda where: where.reshape(rows, n, columns, n).mean(axis=(1, 3))
    within = flat(inside_body(x, y[:, None]))
    around = flat(inside_body(x, y[:, None], -size["body_wall"]))
    insert, filling = flat(radius <= size["lung_outside"] / 2), flat(radius <= size["lung_inside"] / 2)
    inner, outer = _between(grid, 0.0), _between(grid, size["body_wall"])
    whole = outer[:, None, None] * around
    water = inner[:, None, None] * (within - insert)
    lung = inner[:, None, None] * filling
    return water, whole - water - lung, lung


def _between(grid: Volume, wall_mm: float) -> np.ndarray:
    """Share of each slice that lies between the lids, [z]."""
    size = sizes()
    low, high = size["below_lid"] - size["length"] - wall_mm, size["below_lid"] + wall_mm
    step = grid.spacing_mm[2]
    middle = grid.affine[2, 3] + step * np.arange(grid.array.shape[0])
    return np.clip(np.minimum(middle + step / 2, high) - np.maximum(middle - step / 2, low), 0, step) / step
