"""A stylised body: ellipsoid organs, in LPS mm, with exactly the volumes asked for.

Each organ is the N voxels nearest to its centre in the metric of its ellipsoid, with N = volume / voxel, inside the
body and not yet taken: the voxelised volume is right within half a voxel whatever the shape has to give way to. Small
organs choose first. The shapes are our own drawing (`data/stylised_body.csv`); no one else's anatomy is shipped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dose.errors import InputError, describe
from dose.provenance import load_table
from dose.regions import is_tumour, members, region
from imaging.geometry import Volume

DIFFUSE = ("muscle", "skin", "bone", "adipose", "blood", "remainder")
"""Regions without a place of their own: they fill what is left of the body."""

MARGIN_MM = 25.0
"""Air around the body, so that the point spread stays in the field."""

AIR_HU = -1000.0


@dataclass(frozen=True)
class Phantom:
    """`labels` [z, y, x]: 0 is air, 1 the remainder of the body, k + 2 the region `names[k]`; `ct` in HU."""

    labels: Volume
    names: tuple[str, ...]
    ct: Volume

    def mask(self, name: str) -> np.ndarray:
        """Boolean [z, y, x] of a region or of "remainder"."""
        return self.labels.array == (1 if name == "remainder" else self.names.index(name) + 2)

    def volume_mL(self, name: str) -> float:
        return float(self.mask(name).sum()) * self.labels.voxel_mL


def stylised_body(
    volumes_mL: dict[str, float], *, weight_kg: float = 75.0, height_m: float = 1.75, voxel_mm: float = 5.0
) -> Phantom:
    """A standing body from the pelvis to the vertex with the given organs and tumours.

    Lengths along z scale with the height, across with the root of weight over height. Tumours take the places of the
    table in order of their names. Volumes hold within half a voxel (1% from 6 mL upwards at 5 mm).

    Raises:
        InputError: a region without a place, a volume that is not positive or does not fit, too many tumours.
    """
    volumes = {region(name): float(volume) for name, volume in volumes_mL.items()}
    scale = _scale(weight_kg, height_m)
    grid, points = _grid(scale, voxel_mm)
    body = _distance(points, _parts("body"), scale) <= 1
    labels = body.astype(np.int16)
    names = tuple(sorted(volumes, key=lambda name: (volumes[name], name)))
    places = _places(names)
    for k, name in enumerate(names):
        _fill(labels, _distance(points, places[name], scale), k + 2, volumes[name], grid.voxel_mL, name)
    return Phantom(grid.with_array(labels), names, grid.with_array(_ct(labels, names, places, points, scale)))


def _rows(name: str) -> list[dict[str, str]]:
    return [r for r in load_table("imaging", "stylised_body.csv") if r["region"] == name]


def _parts(name: str) -> list[dict[str, str]]:
    return [r for r in _rows(name) if r["shape"] in ("ellipsoid", "cylinder")]


def _scale(weight_kg: float, height_m: float) -> np.ndarray:
    """Stretch along x, y, z relative to the body of the table."""
    reference = {r["shape"]: float(r["z"]) for r in _rows("body") if r["shape"].startswith("reference")}
    if not (weight_kg > 0 and height_m > 0):
        raise InputError(describe("weight_kg, height_m", f"{weight_kg:g}, {height_m:g}", "above zero", "correct them"))
    tall = height_m / reference["reference_height"]
    wide = math.sqrt(weight_kg / reference["reference_weight"] / tall)
    return np.array([wide, wide, tall])


def _grid(scale: np.ndarray, voxel_mm: float):
    """An empty volume around the body, and its voxel centres in LPS mm as three broadcasting arrays."""
    parts = _parts("body")
    centres, axes = _numbers(parts, "xyz"), _numbers(parts, "abc")
    low = (centres - axes).min(axis=0) * scale - MARGIN_MM
    high = (centres + axes).max(axis=0) * scale + MARGIN_MM
    shape = np.ceil((high - low) / voxel_mm).astype(int)
    affine = np.diag([voxel_mm, voxel_mm, voxel_mm, 1.0])
    affine[:3, 3] = low + voxel_mm / 2
    x, y, z = (low[k] + voxel_mm * (np.arange(shape[k]) + 0.5) for k in range(3))
    grid = Volume(np.zeros(shape[::-1], dtype=np.float32), affine)
    return grid, (x[None, None, :], y[None, :, None], z[:, None, None])


def _numbers(parts, columns: str) -> np.ndarray:
    return np.array([[float(part[c]) for c in columns] for part in parts])


def _distance(points, parts, scale) -> np.ndarray:
    """Distance from the nearest part's centre in units of its own surface: 1 is on the surface; shape [z, y, x]."""
    nearest = np.full(np.broadcast_shapes(*(axis.shape for axis in points)), np.inf)
    for part, centre, axes in zip(parts, _numbers(parts, "xyz") * scale, _numbers(parts, "abc") * scale, strict=True):
        u, v, w = ((points[k] - centre[k]) / axes[k] for k in range(3))
        across = u**2 + v**2
        distance = np.sqrt(across + w**2) if part["shape"] == "ellipsoid" else np.maximum(np.sqrt(across), np.abs(w))
        nearest = np.minimum(nearest, distance)
    return nearest


def _places(names) -> dict[str, list]:
    """The parts of the table that each region is built from; a union takes those of its members."""
    slots, found = _parts("tumour"), {}
    tumours = sorted(name for name in names if is_tumour(name))
    if len(tumours) > len(slots):
        do = "model the largest ones and put the others in one of them"
        raise InputError(describe("tumours", f"{len(tumours)}", f"at most {len(slots)} places", do))
    for name in names:
        parts = [slots[tumours.index(name)]] if name in tumours else [p for m in members(name) for p in _parts(m)]
        if not parts:
            do = f"leave it out; {', '.join(DIFFUSE)} fill the rest of the body"
            raise InputError(describe("volumes_mL", f'"{name}"', "a region with a place in the body", do))
        found[name] = parts
    return found


def _fill(labels, distance, label: int, volume_mL: float, voxel_mL: float, name: str) -> None:
    """Give `label` to the nearest free voxels of the body (in place, on an array of this module's own)."""
    count = round(volume_mL / voxel_mL) if math.isfinite(volume_mL) else 0
    free = np.flatnonzero(labels == 1)
    if not 0 < count <= len(free):
        found, expected = f"{volume_mL:g} mL", f"between half a voxel and the {len(free) * voxel_mL:.0f} mL left"
        raise InputError(describe(f"volumes_mL of {name}", found, expected, "correct the volume or the body weight"))
    ranked = np.argpartition(distance.ravel()[free], count - 1)[:count]
    labels.ravel()[free[ranked]] = label


def _ct(labels, names, places, points, scale) -> np.ndarray:
    """CT numbers: soft tissue, lungs and vertebrae as scenery where no organ is, organs on top."""
    ct = np.where(labels == 0, AIR_HU, float(_rows("body")[0]["hu"]))
    for scenery in ("lung_field", "vertebrae"):
        inside = (_distance(points, _parts(scenery), scale) <= 1) & (labels == 1)
        ct[inside] = float(_parts(scenery)[0]["hu"])
    for k, name in enumerate(names):
        ct[labels == k + 2] = float(places[name][0]["hu"])
    return ct
