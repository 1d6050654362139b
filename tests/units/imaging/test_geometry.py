"""Volumes keep their place: index to LPS and back, through SimpleITK and NIfTI, and under resampling."""

from __future__ import annotations

import numpy as np
import pytest

from dose.errors import ImageError
from imaging.geometry import Volume
from imaging.nifti import read_nifti, write_nifti


def oblique(rng) -> Volume:
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    affine = np.eye(4)
    affine[:3, :3] = turn * np.array([2.0, 3.0, 4.0])
    affine[:3, 3] = [10, -20, 30]
    return Volume(rng.random((5, 6, 7)), affine)


def test_index_to_lps_and_back_is_the_identity(rng):
    volume, index = oblique(rng), rng.random((8, 3)) * 5
    assert np.allclose(volume.to_index(volume.to_lps_mm(index)), index, atol=1e-12)
    assert volume.voxel_mL == pytest.approx(0.024, rel=1e-12)


def test_nifti_keeps_values_and_place(rng, tmp_path):
    volume = oblique(rng)
    write_nifti(volume, tmp_path / "v.nii.gz")
    assert read_nifti(tmp_path / "v.nii.gz").is_on_grid_of(volume)
    assert np.array_equal(read_nifti(tmp_path / "v.nii.gz").array, volume.array)


def test_a_linear_field_survives_resampling(rng):
    ramp = Volume(np.arange(9.0)[:, None, None] * np.ones((9, 9, 9)), np.eye(4))
    finer = Volume(np.zeros((8, 4, 4)), np.diag([0.5, 0.5, 0.5, 1.0]) + np.eye(4, k=3) * 2)
    expected = finer.to_lps_mm([0, 0, 0])[2] + 0.5 * np.arange(8)
    assert np.allclose(ramp.resampled_onto(finer).array[:, 1, 1], expected, atol=1e-5)


@pytest.mark.parametrize("array", [np.zeros((3, 3)), np.full((2, 2, 2), np.nan), np.zeros((0, 2, 2))])
def test_arrays_that_are_no_volume_are_refused(array):
    with pytest.raises(ImageError):
        Volume(array, np.eye(4))


def test_a_damaged_nifti_is_an_image_error(tmp_path):
    (tmp_path / "v.nii").write_bytes(b"nothing")
    with pytest.raises(ImageError, match="export it again"):
        read_nifti(tmp_path / "v.nii")
