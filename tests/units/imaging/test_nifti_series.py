"""NIfTI with a sidecar, and BIDS-PET: what is written comes back, times mean what BIDS says, damage is told."""

from __future__ import annotations

import gzip
import json
from dataclasses import fields
from datetime import datetime, timedelta

import numpy as np
import pytest
import SimpleITK as sitk

from dose.errors import ImageError
from dose.nuclides import radionuclide
from imaging.bids import read_bids_pet
from imaging.decay import factor_to_scan_start, hours_after
from imaging.geometry import Volume
from imaging.nifti import read_nifti, write_nifti
from imaging.nifti_series import read_nifti_series
from imaging.nifti_write import write_nifti_series
from imaging.quantify import static
from imaging.series import ImageSeries, Radiopharmaceutical

AFFINE = np.array([[-2.0, 0, 0, 30], [0, 3, 0, -20], [0, 0, 4, 100], [0, 0, 0, 1]])
AT = datetime(2026, 3, 2, 23, 50)
SIDECAR = {
    "Units": "kBq/mL",
    "TracerRadionuclide": "F18",
    "InjectedRadioactivity": 400,
    "InjectedRadioactivityUnits": "MBq",
    "TimeZero": "10:00:00",
    "ScanStart": 0,
    "InjectionStart": -3600,
    "FrameTimesStart": [0, 60, 180],
    "FrameDuration": [60, 120, 240],
    "ImageDecayCorrected": True,
    "ImageDecayCorrectionTime": 0,
}


@pytest.fixture
def volume(rng):
    return Volume(rng.uniform(0, 9, (4, 5, 6)).astype(np.float32), AFFINE)


def dynamic(path, rng, sidecar=SIDECAR, frames: int = 3):
    array = rng.uniform(1, 9, (frames, 3, 4, 5)).astype(np.float32)
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=False), str(path))
    path.with_name(path.name.split(".")[0] + ".json").write_text(json.dumps(sidecar))
    return array


@pytest.mark.parametrize("correction", ["NONE", "START", "ADMIN"])
@pytest.mark.parametrize("mids", [[600.0] * 4, [60.0, 60.0, 300.0, 300.0]])
def test_a_series_comes_back_as_it_was_written(tmp_path, volume, correction, mids):
    drug = Radiopharmaceutical("177Lu", 159.5, 7400.0, AT - timedelta(days=1, hours=2))
    series = ImageSeries(
        volume, "SPECT", "Bq/mL", "0123456789ab", "ba9876543210", decay_correction=correction, reference_at=AT,
        slice_mid_s=np.array(mids), radiopharmaceutical=drug, weight_kg=71.5, sex="female", resolution_mm=11.0,
    )  # fmt: skip
    write_nifti_series(series, tmp_path / "scan.nii.gz")
    (found,) = read_nifti_series(tmp_path / "scan.nii.gz")
    assert np.array_equal(found.volume.array, volume.array)
    assert found.volume.affine == pytest.approx(AFFINE, abs=1e-3)
    assert found.slice_mid_s == pytest.approx(mids)
    told = {"volume", "slice_mid_s", "series_uid_hash", "kind_reason", "frame_s"}
    same = [f.name for f in fields(series) if f.name not in told]
    assert {name: getattr(found, name) for name in same} == {name: getattr(series, name) for name in same}


def test_a_ct_comes_back_in_hu(tmp_path, volume):
    write_nifti_series(ImageSeries(volume, "CT", "HU", "", "abc123"), tmp_path / "ct.nii")
    (found,) = read_nifti_series(tmp_path / "ct.nii")
    assert (found.modality, found.unit, found.frame_hash) == ("CT", "HU", "abc123")


def test_without_its_date_a_scan_keeps_its_hours_after_injection(tmp_path, volume):
    drug = Radiopharmaceutical("177Lu", None, 7400.0, AT - timedelta(hours=26))
    series = ImageSeries(
        volume, "SPECT", "Bq/mL", "", "", decay_correction="START", reference_at=AT, radiopharmaceutical=drug
    )
    write_nifti_series(series, tmp_path / "scan.nii", with_date=False)
    assert "2026" not in (tmp_path / "scan.json").read_text()
    assert hours_after(read_nifti_series(tmp_path / "scan.nii")[0]) == pytest.approx(26.0)


def test_each_time_frame_is_a_series_with_its_own_start(tmp_path, rng):
    array = dynamic(tmp_path / "x.nii.gz", rng)
    series = read_nifti_series(tmp_path / "x.nii.gz")
    assert [s.reference_at.time().isoformat() for s in series] == ["10:00:00", "10:01:00", "10:03:00"]
    assert [float(s.slice_mid_s[0]) for s in series] == [30, 60, 120]
    assert [s.frame for s in series] == [0, 1, 2]
    assert len({s.series_uid_hash for s in series}) == 1, "one dynamic series"
    assert static(series) == (), "which gives no observations of single frames"
    for found, written in zip(series, array, strict=True):
        assert found.volume.array == pytest.approx(written * 1000)
        assert hours_after(found) == pytest.approx(
            (3600 + (found.reference_at - series[0].reference_at).seconds) / 3600
        )


def test_a_correction_to_the_injection_is_admin_and_to_another_time_says_which(tmp_path, rng):
    dynamic(tmp_path / "x.nii", rng, SIDECAR | {"ImageDecayCorrectionTime": -3600})
    assert {s.decay_correction for s in read_nifti_series(tmp_path / "x.nii")} == {"ADMIN"}
    dynamic(tmp_path / "x.nii", rng)
    first, second, _ = read_nifti_series(tmp_path / "x.nii")
    assert (first.decay_correction, first.decay_reference_at) == ("START", None)
    assert (second.decay_correction, second.decay_reference_at) == ("START", first.reference_at)
    lost = 2 ** (-60 / 3600 / radionuclide("18F").half_life_h)
    assert factor_to_scan_start(second) == pytest.approx(lost, rel=1e-9), "to the start of its own frame"
    assert factor_to_scan_start(first) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"Units": "g/mL"}, "Units"),
        ({"Units": None}, "Units"),
        ({"TracerRadionuclide": "ZZPHI^CANARY"}, "TracerRadionuclide"),
        ({"InjectedRadioactivity": -1}, "InjectedRadioactivity"),
        ({"InjectedRadioactivity": float("nan")}, "InjectedRadioactivity"),
        ({"InjectedRadioactivityUnits": None}, "InjectedRadioactivityUnits"),
        ({"TimeZero": None}, "TimeZero"),
        ({"TimeZero": "ZZPHI^CANARY"}, "TimeZero"),
        ({"FrameTimesStart": [0, 60]}, "FrameTimesStart"),
        ({"FrameDuration": [60, 120, "ZZPHI^CANARY"]}, "FrameDuration.2"),
        ({"ImageDecayCorrected": None}, "ImageDecayCorrected"),
        ({"ImageDecayCorrectionTime": None}, "ImageDecayCorrectionTime"),
        ({"Modality": "CT"}, "Modality"),
        ({"theratwin": {"slice_mid_s": [1, 2]}}, "slice_mid_s"),
        ({"FrameTimesStart": [1e300, 0, 0]}, "FrameTimesStart.0"),
        ({"ScanDate": "0001-01-01"}, "ScanDate"),
    ],
)
def test_a_sidecar_that_cannot_be_used_is_told_by_field_and_never_by_value(tmp_path, rng, change, told):
    dynamic(tmp_path / "x.nii", rng, SIDECAR | change)
    with pytest.raises(ImageError, match=told) as raised:
        read_nifti_series(tmp_path / "x.nii")
    assert "CANARY" not in str(raised.value)


def test_a_missing_huge_or_nested_sidecar_is_told(tmp_path, rng):
    dynamic(tmp_path / "x.nii", rng)
    for text in ("[" * 100_000, "[1]", " " * 5_000_000 + "{}", "{"):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(ImageError, match="sidecar"):
            read_nifti_series(tmp_path / "x.nii")
    (tmp_path / "x.json").unlink()
    with pytest.raises(ImageError, match="sidecar"):
        read_nifti_series(tmp_path / "x.nii")


def header(*shape, bits: int = 32, code: int = 16) -> bytearray:
    raw = bytearray(352)
    raw[0:4] = (348).to_bytes(4, "little")
    raw[40:56] = np.array([len(shape), *shape, *[1] * (7 - len(shape))], dtype="<i2").tobytes()
    raw[70:74] = np.array([code, bits], dtype="<i2").tobytes()
    raw[76:108] = np.ones(8, dtype="<f4").tobytes()
    raw[108:116] = np.array([352, 1], dtype="<f4").tobytes()
    raw[344:348] = b"n+1\0"
    return raw


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.97])
def test_a_cut_image_is_refused_where_simpleitk_fills_in_zeros(tmp_path, volume, name, share):
    write_nifti(volume, tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    assert read_nifti(tmp_path / name).array.min() > 0
    (tmp_path / name).write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ImageError, match="nifti file"):
        read_nifti(tmp_path / name)
    if name == "x.nii" and share > 0.5:
        assert (sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / name))) == 0).any(), "the control: zeros, no word"


@pytest.mark.parametrize("shape", [(32767, 32767, 4), (32767,) * 7, (0, 5, 5), (-3, 5, 5), (5, 5), (2, 2, 2, 2, 2)])
def test_sizes_that_no_image_has_are_refused_before_anything_is_allocated(tmp_path, shape):
    (tmp_path / "x.nii").write_bytes(header(*shape) + b"\0" * 5000)
    with pytest.raises(ImageError, match="nifti file"):
        read_nifti(tmp_path / "x.nii")


@pytest.mark.parametrize(("code", "bits"), [(16, 8), (2, 32), (32, 64), (128, 24), (1, 1), (2304, 32)])
def test_a_type_that_is_no_real_number_or_of_another_width_is_refused(tmp_path, code, bits):
    (tmp_path / "x.nii").write_bytes(header(5, 5, 5, bits=bits, code=code) + b"\0" * 5000)
    with pytest.raises(ImageError, match="real numbers"):
        read_nifti(tmp_path / "x.nii")


def test_a_gzip_bomb_is_refused_by_its_ratio(tmp_path):
    side = 512
    with gzip.open(tmp_path / "x.nii.gz", "wb") as stream:
        stream.write(header(side, side, 600))
        for _ in range(10):
            stream.write(bytes(side * side * 4))
    with pytest.raises(ImageError, match="would become"):
        read_nifti(tmp_path / "x.nii.gz")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_voxels_that_are_not_finite_are_refused(tmp_path, value):
    voxels = np.array([1, 2, value, 4, 5, 6, 7, 8], dtype="<f4")
    (tmp_path / "x.nii").write_bytes(header(2, 2, 2) + voxels.tobytes())
    with pytest.raises(ImageError, match="finite"):
        read_nifti(tmp_path / "x.nii")


def bids(root, rng, sidecar=SIDECAR):
    folder = root / "sub-ZZPHI" / "ses-1" / "pet"
    folder.mkdir(parents=True)
    dynamic(folder / "sub-ZZPHI_ses-1_pet.nii.gz", rng, sidecar)
    return folder


def test_a_bids_folder_is_read_with_inherited_sidecars(tmp_path, rng):
    folder = bids(tmp_path, rng, {k: v for k, v in SIDECAR.items() if k != "TracerRadionuclide"})
    (tmp_path / "pet.json").write_text(json.dumps({"TracerRadionuclide": "F18", "Units": "MBq/mL"}))
    (tmp_path / "task-rest_pet.json").write_text(json.dumps({"TracerRadionuclide": "C11"}))
    (folder / "sub-ZZPHI_ses-1_recording-manual_blood.tsv").write_text("time\n0\n")
    study = read_bids_pet(tmp_path)
    assert len(study.of("PET")) == 3
    assert study.images[0].radiopharmaceutical.nuclide == "18F"
    assert study.images[0].volume.array.max() < 9001, "the nearer sidecar's kBq/mL wins"
    assert study.skipped == {"blood table": 1}
    assert "nominal" in study.warnings[0]


def test_a_bids_error_counts_files_and_names_nobody(tmp_path, rng):
    bids(tmp_path, rng, SIDECAR | {"Units": "counts"})
    with pytest.raises(ImageError, match="PET image 1") as raised:
        read_bids_pet(tmp_path)
    assert "ZZPHI" not in str(raised.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="no \\*_pet"):
        read_bids_pet(tmp_path / "empty")
