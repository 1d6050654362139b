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


def shell(z_ring: float = 0.0, z_hole: float = 0.0, step: float = 2.0, first: float = 6.0) -> Contour:
    """Five planes of a ring of 20 mm with a hole of 10 mm, which may be written at slightly different heights."""
    heights = first + step * np.arange(5)
    return Contour("t", tuple(d for z in heights for d in (disc(20, z + z_ring), disc(10, z + z_hole))))


SHELL_mL = math.pi * (20**2 - 10**2) * 10 / 1000


@pytest.mark.parametrize("boundary", ["centre", "partial"])
@pytest.mark.parametrize("origin", [0.0, -0.01, 0.01, 0.99, 1.01])
def test_a_hole_stays_a_hole_however_heights_are_rounded(boundary, origin):
    """Ring and hole lie up to 0.06 mm apart, on both sides of every hundredth of a slice."""
    grid = Volume(GRID.array, np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 2, origin], [0, 0, 0, 1]]))
    for apart in (0.0, 0.004, 0.006, 0.03):
        contour = shell(apart, -apart)
        mask = contour_mask(contour, grid, boundary=boundary)
        assert mask.array.sum() * grid.voxel_mL == pytest.approx(SHELL_mL, rel=0.01)
        assert contour_volume_mL(contour) == pytest.approx(SHELL_mL, rel=2e-3)
    full = shell().polygons[::2]  # negative control: without its hole it is a third larger
    assert contour_mask(Contour("t", full), grid, boundary=boundary).array.sum() * grid.voxel_mL > 1.3 * SHELL_mL


def test_planes_a_tenth_of_a_thick_slice_apart_stay_planes():
    """A contour drawn on slices of 0.3 mm over an image of 5 mm: rings of neighbouring planes are no holes."""
    grid = Volume(np.zeros((6, 60, 60)), np.diag([1.0, 1.0, 5.0, 1.0]))
    contour = Contour("t", tuple(disc(20, z) for z in np.arange(5.15, 15, 0.3)))
    whole = math.pi * 20**2 * 9.9 / 1000
    assert contour_volume_mL(contour) == pytest.approx(whole, rel=2e-3)
    partial = contour_mask(contour, grid, boundary="partial")
    assert partial.array.sum() * grid.voxel_mL == pytest.approx(whole, rel=2e-3)


@pytest.mark.parametrize("offset", [0.0, 0.5, 1.0, 1.5])
@pytest.mark.parametrize("step", [2.0, 4.0])
def test_centre_masks_have_the_thickness_of_the_contour_wherever_its_planes_lie(offset, step):
    contour = Contour("t", tuple(disc(10.2, z) for z in 5.0 + offset + step * np.arange(3)))
    mask = contour_mask(contour, GRID)
    assert len(np.flatnonzero(mask.array.any(axis=(1, 2)))) == 3 * step / 2
    assert mask.array.sum() * GRID.voxel_mL == pytest.approx(contour_volume_mL(contour), rel=0.03)


def test_planes_between_two_slices_leave_no_slice_out():
    """Rounding of the heights decides which of two planes is nearest to a slice half way; either has to fill it."""
    heights = np.array([5.0, 8.99999999, 13.0])
    mask = contour_mask(Contour("t", tuple(disc(10.2, z) for z in heights)), GRID)
    assert np.diff(np.flatnonzero(mask.array.any(axis=(1, 2)))).max() == 1


@pytest.mark.parametrize("shift_mm", [0.0, 1.7, 3.1])
def test_a_segment_keeps_its_volume_on_a_coarser_grid(shift_mm):
    """A ball of 3 mL drawn on 2 mm voxels, read on 6 mm ones."""
    fine = np.arange(40) * 2.0
    x = fine - 39.0 - shift_mm
    drawn = (x[:, None, None] ** 2 + x[None, :, None] ** 2 + x[None, None, :] ** 2 < 9.0**2).astype(np.float32)
    segment = Segment("liver", Volume(drawn, np.diag([2.0, 2.0, 2.0, 1.0])))
    coarse = Volume(np.zeros((13, 13, 13)), np.diag([6.0, 6.0, 6.0, 1.0]))
    found = segment_mask(segment, coarse)
    # 2 %: linear interpolation between 2 mm voxels; reading voxel middles loses up to a tenth
    assert found.array.sum() * coarse.voxel_mL == pytest.approx(drawn.sum() * 0.008, rel=0.02)
