"""Contours: the volume of a disc, holes, planes finer than the image, and emptiness as an error."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dose.errors import ImageError
from imaging.contours import contour_mask, contour_volume_mL, segment_mask
from imaging.geometry import Volume
from imaging.series import Contour, Segment

GRID = Volume(np.zeros((10, 60, 60)), np.diag([1.0, 1.0, 2.0, 1.0]))


def disc(radius: float, z: float, centre=(30.0, 30.0)) -> np.ndarray:
    angle = np.linspace(0, 2 * math.pi, 100, endpoint=False)
    return np.stack([centre[0] + radius * np.cos(angle), centre[1] + radius * np.sin(angle), z + 0 * angle], axis=1)


def tube(radius: float, step: float = 2.0) -> tuple[np.ndarray, ...]:
    return tuple(disc(radius, z) for z in np.arange(4.0, 14.1, step))


def test_mask_and_polygon_volume_agree_with_the_cylinder():
    contour = Contour("tumour_1", tube(20))
    cylinder = math.pi * 20**2 * 12 / 1000  # six planes of 2 mm
    assert contour_volume_mL(contour) == pytest.approx(cylinder, rel=2e-3)  # 100-gon in place of a circle
    assert contour_mask(contour, GRID).array.sum() * GRID.voxel_mL == pytest.approx(cylinder, rel=0.01)


def test_an_inner_polygon_is_a_hole():
    contour = Contour("tumour_1", tube(20) + tube(10))
    ring = math.pi * (20**2 - 10**2) * 12 / 1000
    assert contour_volume_mL(contour) == pytest.approx(ring, rel=2e-3)
    assert contour_mask(contour, GRID).array.sum() * GRID.voxel_mL == pytest.approx(ring, rel=0.01)


def test_planes_finer_than_the_image_are_not_laid_over_each_other():
    coarse, fine = (contour_mask(Contour("t", tube(20, step)), GRID).array.sum() for step in (2.0, 0.5))
    assert fine == pytest.approx(coarse, rel=0.01)


def test_voxels_on_the_line_make_a_small_lesion_larger():
    contour = Contour("tumour_1", tube(4))
    touched = contour_mask(contour, GRID, boundary="touched").array.sum()
    assert touched > 1.2 * contour_mask(contour, GRID).array.sum()


@pytest.mark.parametrize("polygons", [(), (disc(5, 4.0, centre=(500.0, 500.0)),), (disc(0.2, 4.0, (30.5, 30.5)),)])
def test_an_empty_contour_is_refused(polygons):
    with pytest.raises(ImageError, match="empty"):
        contour_mask(Contour("tumour_1", polygons), GRID)


def test_an_empty_segment_is_refused():
    with pytest.raises(ImageError, match="empty"):
        segment_mask(Segment("liver", GRID), GRID)


def test_a_contour_across_slices_is_refused():
    tilted = disc(20, 4.0)
    tilted[:, 2] += tilted[:, 0]
    with pytest.raises(ImageError, match="crosses slices"):
        contour_mask(Contour("tumour_1", (tilted,)), GRID)
