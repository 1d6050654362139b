"""Grids, images and exports that the tests and checks of written DICOM objects share."""

from __future__ import annotations

import json
from datetime import datetime
from functools import cache
from pathlib import Path

import numpy as np

from imaging.dicom_write import Exported, StudyLabels, write_slices
from imaging.geometry import Volume

BEGAN = datetime(2026, 3, 2, 9, 30)
CT_TAGS = {"SeriesDate": "20260302", "SeriesTime": "093000", "AcquisitionDate": "20260302", "AcquisitionTime": "093000"}


def oblique_affine() -> np.ndarray:
    """Three different spacings, turned about a slanted axis by 0.7 rad, off the origin."""
    from scipy.spatial.transform import Rotation

    axis = np.array([0.3, -0.8, 0.5])
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_rotvec(0.7 * axis / np.linalg.norm(axis)).as_matrix() * (2.7, 3.1, 4.3)
    affine[:3, 3] = [-123.4567, 45.6789, -987.6543]
    return affine


def straight_affine() -> np.ndarray:
    affine = np.diag([2.0, 2.5, 3.0, 1.0])
    affine[:3, 3] = [-30.0, -20.5, 100.25]
    return affine


AFFINES = {"oblique": oblique_affine(), "straight": straight_affine(), "left-handed": oblique_affine() * [1, 1, -1, 1]}


def image(affine: np.ndarray, shape=(9, 14, 12), seed: int = 1) -> Volume:
    """Positive voxels over three decades."""
    random = np.random.default_rng(seed)
    return Volume(10 ** random.uniform(-1, 2, shape), affine)


def corners_mm(volume: Volume) -> np.ndarray:
    """LPS of the eight corner voxels, in an order that does not hang on the order of the frames."""
    z, y, x = (n - 1 for n in volume.array.shape)
    corners = np.array([[i, j, k] for i in (0, x) for j in (0, y) for k in (0, z)])
    lps = volume.to_lps_mm(corners)
    return lps[np.lexsort(np.round(lps, 2).T)]


def value_at(volume: Volume, lps_mm) -> float:
    """The voxel nearest to a point."""
    x, y, z = np.rint(volume.to_index(lps_mm)).astype(int)
    return float(volume.array[z, y, x])


def same_image(found: Volume, truth: Volume, *, rtol: float, atol: float = 0.0) -> bool:
    """The same values at the same places, whatever the order of frames."""
    z, y, x = np.indices(truth.array.shape)
    index = np.stack([x, y, z], axis=-1).reshape(-1, 3)
    x, y, z = np.rint(found.to_index(truth.to_lps_mm(index))).astype(int).T
    return bool(np.allclose(found.array[z, y, x], truth.array.ravel(), rtol=rtol, atol=atol))


def virtual_study(folder, volume: Volume) -> Exported:
    """A CT written on the volume's grid, and the export that refers to it."""
    labels = StudyLabels(5, 70.0, 1.75, "female", BEGAN)
    ct = write_slices(folder, volume.with_array(np.zeros(volume.array.shape)), labels, "CT", CT_TAGS, is_ct=True)
    return labels.exported().referring_to(ct)


def ball(volume: Volume, centre_xyz, radius_mm: float) -> np.ndarray:
    """Voxels whose centre lies within a radius of a voxel index, [z, y, x]."""
    z, y, x = np.indices(volume.array.shape)
    lps = volume.to_lps_mm(np.stack([x, y, z], axis=-1))
    return np.linalg.norm(lps - volume.to_lps_mm(np.array(centre_xyz)), axis=-1) <= radius_mm


UNCHECKED = ("multi-frame-functional-groups", "sr-document-content")
"""Modules whose table lists alternatives of which only some apply."""


def missing_attributes(dataset) -> list[str]:
    """Attributes of type 1 and 2 that DICOM requires in the mandatory modules of the object's class and that are not
    there (type 1: or empty), by the tables of the standard that highdicom carries."""
    classes, iods, modules = (_standard(f"{name}.json") for name in TABLES)
    needed = [m["key"] for m in iods[classes[str(dataset.SOPClassUID)]] if m["usage"] == "M"]
    rows = [row for key in needed if not key.endswith(UNCHECKED) for row in modules.get(key, ())]
    return sorted({f"{row['type']} {row['keyword']}" for row in rows if row["type"] in "12" and _lacks(dataset, row)})


TABLES = ("sop_class_iod_map", "iod_module_map", "module_attribute_map")


@cache
def _standard(name: str) -> dict:
    import highdicom

    return json.loads((Path(highdicom.__file__).parent / "_standard" / name).read_text(encoding="utf-8"))


def _lacks(dataset, row: dict) -> bool:
    holders = [dataset]
    for step in row["path"]:
        holders = [item for holder in holders for item in (holder.get(step) or ())]
    return any(row["keyword"] not in h or (row["type"] == "1" and h[row["keyword"]].is_empty) for h in holders)
