"""Headers that mean another thing than they seem to: private tags, unit prefixes, far series times, two nuclides."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest
from pydicom.dataset import Dataset

from dose.emissions import read_emissions
from dose.errors import ImageError
from dose.nuclides import radionuclide
from imaging.decay import factor_to_scan_start, hours_after
from imaging.dicom_read import read_folder
from imaging.header import nuclide_of
from imaging.kind import positron_emitters
from imaging.suv import suv_image
from tests.units.imaging.dicom_objects import (
    BEGAN,
    FDG,
    INJECTED,
    blank,
    day_and_time,
    frames_in_time,
    injection,
    pixels,
    put,
    save,
    save_all,
    slices,
)

STORED = np.full((3, 4, 5), 100, dtype="<i2")
LUTETIUM = {"half_life_s": 574_300, "total": 7.4e9}


def read(folder, *, calibration=None, **fields):
    save_all(slices(STORED, **FDG | fields), folder)
    return read_folder(folder, Bq_per_mL_per_count=calibration)


def test_a_calibration_for_counts_leaves_an_image_in_becquerels_alone_and_says_so(tmp_path):
    study = read(tmp_path, calibration=12.0)
    assert study.images[0].volume.array.max() == 100
    assert any("Bq_per_mL_per_count was not applied" in note for note in study.warnings)
    assert not any("not applied" in note for note in read(tmp_path / "counts", calibration=12.0, Units="CNTS").warnings)


def test_frames_of_a_dynamic_series_corrected_to_one_time_have_one_suv_scale(tmp_path):
    save_all(frames_in_time(STORED, minutes=(0, 60), **FDG), tmp_path)
    images = read_folder(tmp_path).images
    first, second = (suv_image(i).array.max() / i.volume.array.max() for i in images)
    assert first == pytest.approx(80e3 / (2e8 * 2 ** (-3600 / 6586.2)), rel=1e-6)  # injected 60 min before the series
    assert second == pytest.approx(first, rel=1e-6)


@pytest.mark.parametrize(
    ("field", "value", "kind"),
    [("PatientSize", 175, "cm where m"), ("PatientSize", 0.1, "window"), ("PatientWeight", 80_000, "g where kg")],
)
def test_a_body_that_nobody_has_is_refused_without_its_value(tmp_path, field, value, kind):
    with pytest.raises(ImageError, match=f"{field}.*{kind}") as error:
        read(tmp_path, **{field: value})
    assert str(value) not in str(error.value)


def before(hours: float) -> dict:
    day, clock = day_and_time(BEGAN - timedelta(hours=hours))
    return {
        "SeriesDate": day,
        "SeriesTime": clock,
        "item": injection("Lu-177", started=datetime(2026, 3, 1), **LUTETIUM),
    }


def test_a_series_time_hours_before_the_first_acquisition_is_told_and_a_day_before_refused(tmp_path):
    near = read(tmp_path / "near", **before(0.5))
    assert not any("series time" in note for note in near.warnings)
    assert near.images[0].reference_at == BEGAN - timedelta(hours=0.5)
    assert any("before the first acquisition" in note for note in read(tmp_path / "far", **before(3)).warnings)
    with pytest.raises(ImageError, match="SeriesDate.*before the first acquisition"):
        read(tmp_path / "day", **before(24))


@pytest.mark.parametrize(("correction", "words"), [("NONE", ["ATTN"]), ("ADMIN", ["DECY"])])
def test_a_series_time_is_no_reference_where_decay_is_not_corrected_to_it(tmp_path, correction, words):
    study = read(tmp_path, DecayCorrection=correction, CorrectedImage=words, **before(24))
    assert study.images[0].reference_at == BEGAN
    assert study.report.series[0].decided["decay reference"] == "earliest acquisition"


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_zone_of_a_study_is_that_of_its_earliest_scan_in_any_order_of_files(tmp_path, order):
    for place, k in enumerate(order):
        began = BEGAN + timedelta(days=k)
        fields = {"TimezoneOffsetFromUTC": ("+0200", "+0100")[k], "SeriesInstanceUID": f"1.2.{k}"}
        save_all(slices(STORED, **FDG | fields, began=began, item=injection(started=began)), tmp_path / str(place))
    study = read_folder(tmp_path)
    assert [i.reference_at for i in study.of("PET")] == [BEGAN, BEGAN + timedelta(days=1, hours=1)]
    assert any("2 time zones" in note for note in study.warnings)


def nm(path, **fields):
    d = pixels(blank("NM", ImageType=["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"]), STORED.astype("<u2"))
    place, turn = Dataset(), Dataset()
    place.ImageOrientationPatient, place.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 0]
    turn.NumberOfFramesInRotation, turn.ActualFrameDuration = 60, 30_000
    d.DetectorInformationSequence, d.PixelSpacing, d.SliceThickness = [place], [2, 2], 4
    d.AcquisitionDate, d.AcquisitionTime = day_and_time(BEGAN)
    d.RotationInformationSequence = [turn]
    d.RadiopharmaceuticalInformationSequence = [injection("Tc-99m", total=700.0, half_life_s=21_624)]
    save(put(d, **{"Units": "BQML", **fields}), path / "nm.dcm")
    return read_folder(path)


def test_an_nm_image_is_a_mean_over_its_whole_rotation(tmp_path):
    image = nm(tmp_path, ActualFrameDuration=30_000).images[0]
    assert image.frame_s == 1800
    assert image.slice_mid_s == pytest.approx([900] * 3)
    rate = radionuclide("99mTc").decay_constant_per_h
    assert factor_to_scan_start(image) == pytest.approx([np.exp(rate / 4)] * 3, rel=1e-12)


def test_an_uncorrected_image_of_unknown_duration_is_told(tmp_path):
    turn = Dataset()
    turn.ActualFrameDuration = 30_000
    assert any("duration" in note for note in nm(tmp_path, RotationInformationSequence=[turn]).warnings)
    assert not any("duration" in note for note in nm(tmp_path).warnings)


def with_private(tag: tuple[int, int], creator: str | None, value: str, kind: str, **fields) -> list:
    made = slices(STORED, **FDG | fields)
    for d in made:
        if creator:
            d.add_new((tag[0], 0x0010), "LO", creator)
        d.add_new(tag, kind, value)
    return made


GE_BEGAN = BEGAN - timedelta(minutes=10)


@pytest.mark.parametrize(
    ("creator", "maker", "tag", "believed"),
    [
        ("GEMS_PETD_01", "ZZPHI", (0x0009, 0x100D), True),
        (None, "GE MEDICAL SYSTEMS", (0x0009, 0x100D), True),
        (None, "SIEMENS", (0x0009, 0x100D), False),
        ("OTHER VENDOR", "GE MEDICAL SYSTEMS", (0x0009, 0x100D), False),
    ],
)
def test_ges_scan_time_is_read_under_ges_creator_only(tmp_path, creator, maker, tag, believed):
    fields = {"SeriesTime": day_and_time(BEGAN + timedelta(hours=1))[1], "Manufacturer": maker}
    save_all(with_private(tag, creator, GE_BEGAN.strftime("%Y%m%d%H%M%S"), "DT", **fields), tmp_path)
    assert read_folder(tmp_path).images[0].reference_at == (GE_BEGAN if believed else BEGAN)


@pytest.mark.parametrize(("creator", "maker"), [("OTHER VENDOR", "Philips"), (None, "SIEMENS")])
def test_philips_factors_of_another_creator_are_not_applied(tmp_path, creator, maker):
    save_all(with_private((0x7053, 0x1009), creator, "10", "DS", Manufacturer=maker, Units="CNTS"), tmp_path)
    with pytest.raises(ImageError, match="calibration factor"):
        read_folder(tmp_path)


def test_philips_factors_are_found_in_another_block_or_without_the_creator_in_philips_files(tmp_path):
    made = slices(STORED, **FDG | {"Units": "CNTS"})
    for d in made:
        d.add_new((0x7053, 0x0010), "LO", "OTHER VENDOR")
        d.add_new((0x7053, 0x0011), "LO", "Philips PET Private Group")
        d.add_new((0x7053, 0x1109), "DS", "10")
    save_all(made, tmp_path / "block")
    save_all(with_private((0x7053, 0x1009), None, "10", "DS", Manufacturer="Philips", Units="CNTS"), tmp_path / "bare")
    for name in ("block", "bare"):
        assert read_folder(tmp_path / name).images[0].volume.array.max() == 1000


@pytest.mark.parametrize(
    ("code", "factor"),
    [("mBq/ml", 1e-3), ("MBq/ml", 1e6), ("kBq/mL", 1e3), ("bq/ml", 1.0), ("Bq/cm3", 1.0), ("mBq/cm3", 1e-3)],
)
def test_the_prefix_of_a_unit_is_read_by_its_case(tmp_path, code, factor):
    item, unit = Dataset(), Dataset()
    unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = code, "UCUM", code
    item.MeasurementUnitsCodeSequence, item.RealWorldValueSlope, item.RealWorldValueIntercept = [unit], 2.0, 0.0
    image = nm(tmp_path, RealWorldValueMappingSequence=[item]).images[0]
    assert image.volume.array.max() == pytest.approx(200 * factor, rel=1e-6)


def test_positron_emitters_are_one_table_with_their_yields():
    table = positron_emitters()
    assert {"18F", "86Y", "152Tb", "82Rb"} <= set(table)
    assert not {"90Y", "177Lu", "111In"} & set(table)
    for name, value in table.items():  # half of the 511 keV photons of ICRP 107; four digits in the table
        assert value == pytest.approx(float(read_emissions(name).annihilation.per_decay.sum()) / 2, rel=1e-3)


def test_two_nuclides_in_one_header_are_refused_and_two_injections_of_one_are_told(tmp_path):
    one, other = injection(), injection("Lu-177", **LUTETIUM)
    with pytest.raises(ImageError, match="RadiopharmaceuticalInformationSequence.*several nuclides"):
        read(tmp_path / "two", RadiopharmaceuticalInformationSequence=[one, other])
    study = read(tmp_path / "twice", RadiopharmaceuticalInformationSequence=[one, injection()])
    assert study.images[0].radiopharmaceutical.nuclide == "18F"
    assert any("2 administrations" in note for note in study.warnings)


@pytest.mark.parametrize(
    ("scheme", "value", "meaning", "nuclide"),
    [
        ("SCT", "77004003", "^177^Lutetium", "177Lu"),  # the meaning is read first
        ("SCT", "77004003", "", "18F"),
        ("SRT", "C-111A1", "ZZPHI", "18F"),
        ("SNM3", "C-111A1", "", "18F"),
        ("99OTHER", "77004003", "", None),  # the same value of another scheme is another thing
    ],
)
def test_a_nuclide_is_known_by_its_meaning_else_by_scheme_and_value(scheme, value, meaning, nuclide):
    item, code = Dataset(), Dataset()
    code.CodingSchemeDesignator, code.CodeValue, code.CodeMeaning = scheme, value, meaning
    item.RadionuclideCodeSequence = [code]
    assert nuclide_of(item) == nuclide


def test_an_injection_is_the_scans_hour_before_without_any_of_these_doubts(tmp_path):
    """Negative control: a plain header makes no note."""
    study = read(tmp_path)
    assert hours_after(study.images[0]) == pytest.approx((BEGAN - INJECTED).total_seconds() / 3600)
    assert [n for n in study.warnings if "share" not in n and "administered activity" not in n] == []
