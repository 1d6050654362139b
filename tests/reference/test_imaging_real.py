"""Real scans (licences in the shared data's ORIGIN.md): the figures of the imaging notes, section 3.1.

Those notes made their lesion masks with rt-utils, which takes voxels on the line: `boundary="touched"` reproduces
them. Our own masks take voxel centres and keep the polygon's volume; both are held here.
"""

from __future__ import annotations

import tarfile
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from dose.errors import ImageError
from imaging.activity_images import activity_image, administered_activity, check_calibrated_series, total_MBq
from imaging.contours import contour_mask, contour_volume_mL
from imaging.decay import factor_to_scan_start, hours_after
from imaging.dicom_read import read_folder
from imaging.nifti import read_nifti
from imaging.quantify import region_activities
from imaging.suv import suv_image


@pytest.fixture(scope="session")
def images(shared) -> Path:
    return shared / "data" / "images"


def unpacked(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="session")
def dotatate(images, tmp_path_factory):
    """The two 177Lu-DOTATATE SPECT of one patient (Dewaraja and Van 2021)."""
    root = unpacked(images / "spect_lu177_dotatate.tar.xz", tmp_path_factory.mktemp("dotatate"))
    return [read_folder(next(root.rglob(f"SCAN_00{k}"))) for k in (1, 2)]


# hours, factor, field of view in MBq (ADMIN), then per lesion mL, kBq/mL at scan time, MBq
GOLDEN = [
    (3.74, 0.9839, 1350.6, ((118.3, 1066, 126.1), (3.9, 1359, 5.25))),
    (27.73, 0.8865, 996.1, ((119.6, 1208, 144.4), (4.1, 1723, 7.12))),
]
ROUNDED = 6e-4
"""Half of the last digit given, relative, for hours, factor and activities (1 in 2000 at worst)."""


@pytest.mark.parametrize("k", [0, 1])
def test_times_factors_and_totals_of_the_dotatate_scans(dotatate, k):
    (scan,) = dotatate[k].of("SPECT")
    hours, factor, total, _ = GOLDEN[k]
    assert "SPECT" in scan.kind_reason
    assert hours_after(scan) == pytest.approx(hours, abs=0.006)
    assert factor_to_scan_start(scan).mean() == pytest.approx(factor, abs=6e-5)
    assert total_MBq(scan.volume) == pytest.approx(total, abs=0.06)
    assert total_MBq(activity_image(scan)) == pytest.approx(total * factor, rel=ROUNDED)
    assert scan.volume.array.shape == (199, 256, 256)
    assert scan.volume.affine[2, 3] == pytest.approx((1156.93, 1203.93)[k], abs=1e-6)


@pytest.mark.parametrize("k", [0, 1])
def test_lesions_of_the_dotatate_scans(dotatate, k):
    (scan,) = dotatate[k].of("SPECT")
    image = activity_image(scan)
    for contour, (volume, mean, activity) in zip(dotatate[k].contour_sets[0].contours, GOLDEN[k][3], strict=True):
        inside = contour_mask(contour, image, boundary="touched").array > 0
        # 2%: rt-utils rounds corners with OpenCV, we with numpy; one voxel is 0.2% of the small lesion
        assert inside.sum() * image.voxel_mL == pytest.approx(volume, rel=0.02)
        assert image.array[inside].mean(dtype=float) / 1e3 == pytest.approx(mean, rel=0.01)
        assert image.array[inside].sum(dtype=float) * image.voxel_mL / 1e6 == pytest.approx(activity, rel=0.015)


def test_our_masks_keep_the_volume_of_the_contours(dotatate):
    for study in dotatate:
        (scan,) = study.of("SPECT")
        for contour in study.contour_sets[0].contours:
            mask = contour_mask(contour, scan.volume)
            drawn = contour_volume_mL(contour)
            # 3%: a 2.8 mL lesion has 380 voxels, of which half lie near its surface
            assert mask.array.sum() * mask.voxel_mL == pytest.approx(drawn, rel=0.03)


def test_region_activities_of_the_dotatate_scans(dotatate):
    (first, _), (second, _) = (region_activities(study) for study in dotatate)
    assert first.region == second.region == "tumour_1_liver_r_lobe"
    assert (first.recovery, first.nuclide, first.modality) == ("none", "177Lu", "SPECT")
    assert 100 < first.activity_MBq < 126.1
    assert second.activity_MBq > first.activity_MBq  # this lesion still takes up between 4 and 28 h
    assert 0.03 < first.sd_MBq / first.activity_MBq < 0.3
    given = administered_activity(dotatate[0].of("SPECT")[0])
    assert given.activity_MBq == pytest.approx(7210.4, abs=0.05)
    assert given.started_at == datetime(2018, 11, 15, 9, 22)
    assert given.weight_kg == pytest.approx(92.987)


def test_the_calibrated_pair_passes_and_undoing_no_decay_would_be_seen(dotatate):
    scans = [study.of("SPECT")[0] for study in dotatate]
    check_calibrated_series([activity_image(s) for s in scans], [hours_after(s) for s in scans], "177Lu")


def test_the_uncalibrated_fap_set_is_refused(images):
    times = (4, 24, 48, 168)
    volumes = [read_nifti(images / "spect_lu177_fap_uncalibrated" / f"SPECT-{t:03d}H_reg.nii.gz") for t in times]
    with pytest.raises(ImageError, match="rises after correction for decay.*calibrate"):
        check_calibrated_series(volumes, times, "177Lu")


def test_the_fdg_pet_opens_with_its_own_slopes(images, tmp_path):
    study = read_folder(unpacked(images / "pet_fdg_gests001.tar.xz", tmp_path))
    (pet,) = study.of("PET")
    given = administered_activity(pet)
    assert pet.volume.array.shape == (267, 128, 128)
    assert pet.volume.spacing_mm == pytest.approx([4.6875, 4.6875, 3.27], abs=1e-4)
    assert (given.nuclide, given.started_at) == ("18F", datetime(2000, 9, 7, 10, 35))
    assert given.activity_MBq == pytest.approx(388.78, abs=0.005)
    assert pet.decay_correction == "START"
    assert pet.reference_at == datetime(2000, 9, 7, 11, 20, 11)
    assert any("gaps" in note for note in study.warnings)
    # body-weight SUV averages about 1 over a body; the field holds most, not all, of it
    assert total_MBq(suv_image(pet)) * 1e6 / 71_000 == pytest.approx(0.7, abs=0.3)


def test_pet_values_agree_with_an_independent_reader(images, tmp_path):
    import SimpleITK as sitk

    root = unpacked(images / "pet_fdg_gests001.tar.xz", tmp_path)
    ours = read_folder(root).of("PET")[0].volume
    folder = next(p for p in root.rglob("image") if p.is_dir())
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    theirs = sitk.GetArrayFromImage(reader.Execute())
    assert np.allclose(ours.array, theirs, rtol=1e-5, atol=1e-2)


def test_ct_from_dicom_and_from_nifti(images):
    (ct,) = read_folder(images / "ct_dicom").of("CT")
    assert ct.volume.array.shape == (20, 512, 512)
    assert ct.volume.spacing_mm == pytest.approx([0.977, 0.977, 2.0], abs=1e-3)
    assert ct.volume.array.min() >= -1024
    assert ct.volume.array.max() > 500
    nifti = read_nifti(images / "ct_nifti" / "ct_abdomen_3mm.nii.gz")
    assert nifti.array.shape == (112, 101, 122)
    assert nifti.spacing_mm == pytest.approx([3, 3, 3], abs=1e-3)
    assert (nifti.array.min(), nifti.array.max()) == (-1207, 3382)


def test_nifti_lies_the_right_way_round(images):
    labels = read_nifti(images / "ct_nifti" / "organs_totalsegmentator_labels_crop30.nii.gz")

    def x_mm(label):
        return labels.to_lps_mm(np.argwhere(labels.array == label).mean(axis=0)[::-1])[0]

    assert x_mm(5) < x_mm(1)  # liver (5) to the patient's right of the spleen (1): smaller x in LPS


# voxels set, and where the first lies; as highdicom and dcmqi wrote them
SEGMENTS = {"seg_image_ct_binary.dcm": 638, "seg_image_ct_true_fractional.dcm": 326.02353, "mask.dcm": 322}


@pytest.mark.parametrize("name", SEGMENTS)
def test_segmentations_of_other_makers(images, tmp_path, name):
    source = next(unpacked(images / "dicom_objects.tar.xz", tmp_path / "all").rglob(name))
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / name).write_bytes(source.read_bytes())
    (segmentation,) = read_folder(tmp_path / "one").segmentations
    mask = segmentation.segments[0].mask
    assert mask.array.sum() == pytest.approx(SEGMENTS[name], rel=1e-6)
    assert np.all(mask.spacing_mm < 3)
    assert not np.allclose(mask.spacing_mm, 1)


def test_overlapping_segments_stay_apart(images, tmp_path):
    name = "seg_image_ct_binary_overlap.dcm"
    source = next(unpacked(images / "dicom_objects.tar.xz", tmp_path / "all").rglob(name))
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / name).write_bytes(source.read_bytes())
    (segmentation,) = read_folder(tmp_path / "one").segmentations
    assert [s.mask.array.sum() for s in segmentation.segments] == [64, 16]
