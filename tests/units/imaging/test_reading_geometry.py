"""Slices in space: order, gaps, gantry tilt; and objects that are counted and not read."""

from __future__ import annotations

import numpy as np
import pytest

from dose.errors import ImageError
from imaging.dicom_read import read_folder
from tests.units.imaging.dicom_objects import FDG, put, save_all, slices

STORED = np.arange(4 * 6 * 5, dtype="<i2").reshape(4, 6, 5)


def test_slices_go_by_position_and_not_by_number_or_name(tmp_path):
    made = [put(d, InstanceNumber=9 - k) for k, d in enumerate(slices(STORED, **FDG))]
    save_all(made[::-1], tmp_path)
    volume = read_folder(tmp_path).images[0].volume
    assert np.array_equal(volume.array, STORED)
    assert volume.to_lps_mm([0, 0, 3]) == pytest.approx([-10, -20, 112])


def uneven(tmp_path, shift: float):
    made = slices(STORED, **FDG)
    made[2].ImagePositionPatient = [-10.0, -20.0, 108.0 + shift]
    save_all(made, tmp_path)
    return read_folder(tmp_path)


def test_uneven_slices_are_told_and_missing_ones_refused(tmp_path):
    assert any("gaps differ by up to 5.0%" in w for w in uneven(tmp_path / "a", 0.2).warnings)
    with pytest.raises(ImageError, match="gap"):
        uneven(tmp_path / "b", 3.0)


def blob(y_mm: float, count: int = 12, sideways_mm: float = 0.0) -> np.ndarray:
    """An upright rod at `y_mm` in space, seen by slices that shift by `sideways_mm` each, [z, y, x]."""
    y = -20.0 + 2.0 * np.arange(40)
    rows = [1000 * np.exp(-(((y + k * sideways_mm - y_mm) / 6) ** 2)) for k in range(count)]
    return np.round(np.repeat(np.array(rows)[:, :, None], 5, axis=2)).astype("<i2")


def test_a_tilted_ct_is_moved_onto_a_right_angled_grid(tmp_path):
    """A rod along z, seen by a tilted gantry, stands upright in space after the move; unmoved, it would lean 13 mm."""
    tilt = 1.2
    save_all(slices(blob(15.0, sideways_mm=tilt), modality="CT", sideways_mm=tilt), tmp_path)
    study = read_folder(tmp_path)
    volume = study.images[0].volume
    centre = [np.average(np.arange(volume.array.shape[1]), weights=plane[:, 2]) for plane in volume.array]
    places = [volume.to_lps_mm([2, row, k])[1] for k, row in enumerate(centre)]
    assert places == pytest.approx([15.0] * len(places), abs=0.02)
    assert volume.array.sum() == pytest.approx(blob(15.0, sideways_mm=tilt).sum(), rel=1e-3)
    assert abs(volume.affine[:3, 1] @ volume.affine[:3, 2]) < 1e-12
    assert any("gantry tilt" in w for w in study.warnings)


def test_a_tilted_emission_image_is_refused(tmp_path):
    save_all(slices(STORED, sideways_mm=1.2, **FDG), tmp_path)
    with pytest.raises(ImageError, match="gantry tilt"):
        read_folder(tmp_path)


@pytest.mark.parametrize("change", [{"Rows": 3, "PixelData": b"\0" * 30}, {"PixelSpacing": [2.0, 2.5]}])
def test_slices_of_two_sizes_are_refused(tmp_path, change):
    made = slices(STORED, **FDG)
    put(made[1], **change)
    save_all(made, tmp_path)
    with pytest.raises(ImageError, match="several sizes"):
        read_folder(tmp_path)


ENHANCED_PET, ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.130", "1.2.840.10008.5.1.4.1.1.2.1"


def test_enhanced_objects_are_counted_by_name(tmp_path):
    made = slices(STORED, **FDG)
    others = slices(STORED[:3], **FDG)
    for d, uid in zip(others, (ENHANCED_PET, ENHANCED_CT, "1.2.3.4.5"), strict=True):
        d.SOPClassUID = d.file_meta.MediaStorageSOPClassUID = uid
    save_all([*made, *others], tmp_path)
    expected = {"Enhanced PET Image Storage": 1, "Enhanced CT Image Storage": 1, "objects of an unknown class": 1}
    assert read_folder(tmp_path).skipped == expected
