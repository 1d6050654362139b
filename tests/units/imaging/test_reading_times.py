"""Decay references, vendors' clocks, time zones, time frames, and fields that contradict each other."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest

from dose.errors import ImageError
from dose.nuclides import radionuclide
from imaging.activity_images import activity_image
from imaging.decay import factor_to_scan_start, hours_after
from imaging.dicom_read import read_folder
from imaging.times import full_moment, reference_time
from tests.units.imaging.dicom_objects import (
    BEGAN,
    FDG,
    INJECTED,
    day_and_time,
    frames_in_time,
    injection,
    put,
    save_all,
    slices,
)

STORED = np.full((3, 4, 5), 100, dtype="<i2")


def read(folder, **fields):
    save_all(slices(STORED, **FDG | fields), folder)
    return read_folder(folder)


def test_start_refers_to_the_series_time(tmp_path):
    (image,) = read(tmp_path).images
    assert image.reference_at == BEGAN
    assert hours_after(image) == pytest.approx(1.0)


def later(datasets, minutes: float):
    day, clock = day_and_time(BEGAN + timedelta(minutes=minutes))
    return [put(d, SeriesDate=day, SeriesTime=clock) for d in datasets]


def test_a_series_time_after_the_acquisition_gives_way_to_the_earliest_acquisition():
    when, rule = reference_time(later(slices(STORED, **FDG), 90))
    assert (when, rule) == (BEGAN, "earliest acquisition, as the series time is later")


def test_a_series_time_after_the_acquisition_gives_way_to_ges_private_scan_time():
    made = later(slices(STORED, **FDG), 90)
    for d in made:
        block = d.private_block(0x0009, "GEMS_PETD_01", create=True)
        block.add_new(0x0D, "DT", (BEGAN - timedelta(minutes=2)).strftime("%Y%m%d%H%M%S.00"))
    when, rule = reference_time(made)
    assert when == BEGAN - timedelta(minutes=2)
    assert rule.startswith("GE scan time")


def test_admin_without_an_injection_time_is_refused(tmp_path):
    item = injection(RadiopharmaceuticalStartDateTime=None)
    study = read(tmp_path, DecayCorrection="ADMIN", item=item)
    (image,) = study.images
    assert any("whose time is missing" in w for w in study.warnings)
    with pytest.raises(ImageError, match="RadiopharmaceuticalStartDateTime"):
        activity_image(image)


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"DecayCorrection": "NONE"}, "DecayCorrection NONE and DECY in CorrectedImage"),
        ({"DecayCorrection": None}, "DECY in CorrectedImage and no DecayCorrection"),
        ({"item": injection(half_life_s=109.77)}, "RadionuclideHalfLife and RadionuclideCodeSequence"),
        ({"item": injection(RadiopharmaceuticalStartTime="093000")}, "a date-time and a time of day"),
    ],
)
def test_contradictions_name_the_kinds_of_value(tmp_path, fields, match):
    with pytest.raises(ImageError, match=match) as error:
        read(tmp_path, **fields)
    assert "ZZPHI" not in str(error.value)


def test_a_correction_that_the_list_of_corrections_lacks_is_told(tmp_path):
    assert any("does not list DECY" in w for w in read(tmp_path, CorrectedImage=["ATTN"]).warnings)


def factors(minutes: float, shift: float = 1.0) -> float:
    """The decay factor of a 2 min frame of 18F that begins so long after the start, averaged over the frame."""
    rate = np.log(2) / 6586.2
    return float(shift * np.exp(rate * 60 * minutes) * 120 * rate / -np.expm1(-120 * rate))


@pytest.mark.parametrize(("shift", "notes"), [(1.0, 0), (1.02, 1)])
def test_the_decay_factor_of_each_slice_must_fit_its_frame_time(tmp_path, shift, notes):
    made = slices(STORED, **FDG)
    for k, d in enumerate(made):
        put(d, FrameReferenceTime=600_000.0 * k, DecayFactor=factors(10 * k, shift if k == 2 else 1.0))
    save_all(made, tmp_path)
    assert len([w for w in read_folder(tmp_path).warnings if "DecayFactor" in w]) == notes


def test_multi_bed_frames_without_correction_are_carried_to_the_start_slice_by_slice(tmp_path):
    made = slices(STORED, **FDG | {"DecayCorrection": "NONE", "CorrectedImage": ["ATTN"]})
    for k, d in enumerate(made):
        d.AcquisitionTime = day_and_time(BEGAN + timedelta(minutes=10 * k))[1]
    save_all(made, tmp_path)
    rate = radionuclide("18F").decay_constant_per_h
    found = factor_to_scan_start(read_folder(tmp_path).images[0])
    assert found == pytest.approx(np.exp(rate * (np.arange(3) / 6 + 1 / 60)), rel=1e-9)


def test_a_scan_across_midnight(tmp_path):
    evening = datetime(2026, 3, 2, 23, 30)
    (image,) = read(tmp_path, began=evening + timedelta(hours=1), item=injection(started=evening)).images
    assert hours_after(image) == pytest.approx(1.0)


def test_a_time_of_day_alone_goes_to_the_evening_before(tmp_path):
    item = injection(RadiopharmaceuticalStartDateTime=None, RadiopharmaceuticalStartTime="233000")
    (image,) = read(tmp_path, began=datetime(2026, 3, 3, 0, 30), item=item).images
    assert hours_after(image) == pytest.approx(1.0)


def test_both_clocks_are_brought_into_one_zone(tmp_path):
    """Injection in +0100, scan in +0200 (summer time began in the night): an hour less than the clocks say."""
    item = injection(RadiopharmaceuticalStartDateTime="20260302110000+0100")
    (image,) = read(tmp_path, item=item, TimezoneOffsetFromUTC="+0200", began=BEGAN + timedelta(hours=2)).images
    assert hours_after(image) == pytest.approx(2.0)
    assert full_moment("20260302110000-0130", zone=0) == datetime(2026, 3, 2, 12, 30)


def test_an_offset_on_one_side_only_is_taken_for_both_and_told(tmp_path):
    study = read(tmp_path, item=injection(RadiopharmaceuticalStartDateTime="20260302110000+0100"))
    assert hours_after(study.images[0]) == pytest.approx(1.0)
    assert any("time zone" in w for w in study.warnings)


def test_series_of_two_zones_share_one_clock(tmp_path):
    for k, (zone, hours) in enumerate((("+0100", 0), ("+0200", 1))):
        item = injection(started=INJECTED + timedelta(hours=hours))
        fields = {"TimezoneOffsetFromUTC": zone, "SeriesInstanceUID": f"1.2.{k}", "item": item}
        save_all(slices(STORED, **FDG | fields, began=BEGAN + timedelta(hours=hours)), tmp_path / str(k))
    first, second = read_folder(tmp_path).images
    assert first.reference_at == second.reference_at == BEGAN
    assert first.radiopharmaceutical.started_at == second.radiopharmaceutical.started_at


def test_the_acquisition_date_and_time_may_be_one_element(tmp_path):
    when = BEGAN.strftime("%Y%m%d%H%M%S")
    empty = dict.fromkeys(("AcquisitionDate", "AcquisitionTime", "SeriesDate", "SeriesTime"))
    (image,) = read(tmp_path, AcquisitionDateTime=when, **empty).images
    assert image.reference_at == BEGAN


@pytest.mark.parametrize("correction", ["START", "NONE", "ADMIN"])
def test_a_dynamic_series_becomes_one_image_a_frame_at_its_own_start(tmp_path, correction):
    corrected = ["ATTN"] if correction == "NONE" else ["DECY"]
    fields = FDG | {"DecayCorrection": correction, "CorrectedImage": corrected}
    save_all(frames_in_time(STORED, minutes=(30, 0), **fields), tmp_path)
    first, second = read_folder(tmp_path).images
    assert [i.frame for i in (first, second)] == [0, 1]
    assert (first.reference_at, second.reference_at) == (BEGAN, BEGAN + timedelta(minutes=30))
    assert (first.frame_s, second.frame_s) == (120, 120)
    assert second.volume.array.max() == 31 * first.volume.array.max()
    half_lives = {"START": 1800, "NONE": -60, "ADMIN": 5400}[correction] / 6586.2
    assert activity_image(second).array.max() == pytest.approx(3100 * 2**-half_lives, rel=1e-4)


def test_a_slice_stored_twice_is_no_dynamic_series(tmp_path):
    save_all([*slices(STORED, **FDG), *slices(STORED, **FDG)], tmp_path)
    with pytest.raises(ImageError, match="slices at the same position"):
        read_folder(tmp_path)
