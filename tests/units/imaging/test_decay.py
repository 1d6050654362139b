"""Decay references, dates across midnight, and scans that cannot have followed their injection."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from pydicom.dataset import Dataset

from dose.errors import ImageError, InputError
from dose.nuclides import radionuclide
from imaging.decay import factor_to_scan_start, half_life_warning, hours_after
from imaging.geometry import Volume
from imaging.header import full_moment, nuclide_of, radiopharmaceutical_of
from imaging.series import ImageSeries, Radiopharmaceutical

INJECTED = datetime(2026, 3, 2, 9, 0)


def scan(correction="ADMIN", hours=24.0, nuclide="177Lu", half_life_h=None, **changes) -> ImageSeries:
    given = Radiopharmaceutical(nuclide, half_life_h, 7400.0, INJECTED)
    fields = {
        "volume": Volume(np.ones((3, 2, 2)), np.eye(4)),
        "modality": "SPECT",
        "unit": "Bq/mL",
        "series_uid_hash": "a",
        "frame_hash": "f",
        "decay_correction": correction,
        "reference_at": INJECTED + timedelta(hours=hours),
        "slice_mid_s": np.array([0.0, 600, 1200]),
        "radiopharmaceutical": given,
    }
    return ImageSeries(**fields | changes)


def test_admin_is_undone_with_the_headers_own_half_life():
    assert factor_to_scan_start(scan(half_life_h=12.0)) == pytest.approx(0.25, rel=1e-12)
    table = factor_to_scan_start(scan())
    assert table == pytest.approx(np.exp(-radionuclide("177Lu").decay_constant_per_h * 24), rel=1e-12)


def test_start_is_left_and_none_is_carried_from_mid_frame_to_the_start():
    assert np.array_equal(factor_to_scan_start(scan("START")), np.ones(3))
    rate = radionuclide("177Lu").decay_constant_per_h
    assert factor_to_scan_start(scan("NONE")) == pytest.approx(np.exp(rate * np.array([0, 1 / 6, 1 / 3])), rel=1e-12)


@pytest.mark.parametrize("correction", ["", "SOMETIME"])
def test_an_unknown_reference_is_refused(correction):
    with pytest.raises(ImageError, match="DecayCorrection"):
        factor_to_scan_start(scan(correction))


@pytest.mark.parametrize("hours", [-2.0, 90 * 24.0])
def test_a_scan_before_or_ages_after_its_injection_is_refused(hours):
    with pytest.raises(ImageError, match="administration_start"):
        hours_after(scan(hours=hours))


def test_a_given_start_wins_for_the_time_and_leaves_the_headers_own_correction():
    pump_start = INJECTED + timedelta(minutes=30)
    assert hours_after(scan(), pump_start) == pytest.approx(23.5)
    assert factor_to_scan_start(scan(half_life_h=12.0)) == pytest.approx(0.25, rel=1e-12)


def test_a_start_with_a_time_zone_is_refused_as_scans_have_none():
    with pytest.raises(InputError, match="administration_start.*time zone"):
        hours_after(scan(), INJECTED.replace(tzinfo=UTC))


def test_a_half_life_off_the_table_is_told():
    assert half_life_warning(scan(half_life_h=159.53)) is None
    assert "half-life" in half_life_warning(scan(half_life_h=160.9))


def header(meaning: str, clock: str, **fields) -> Dataset:
    item, code, dataset = Dataset(), Dataset(), Dataset()
    code.CodeMeaning = meaning
    item.RadionuclideCodeSequence = [code]
    item.RadiopharmaceuticalStartTime = clock
    for name, value in fields.items():
        setattr(item, name, value)
    dataset.RadiopharmaceuticalInformationSequence = [item]
    return dataset


def test_an_injection_before_midnight_is_of_the_day_before():
    seen = radiopharmaceutical_of(header("^18^Fluorine", "233000"), datetime(2026, 3, 3, 0, 20), "series")
    assert seen.started_at == datetime(2026, 3, 2, 23, 30)
    assert seen.nuclide == "18F"


def test_a_time_of_day_of_a_long_lived_nuclide_says_too_little():
    seen = radiopharmaceutical_of(header("177 Lutetium", "092200"), datetime(2026, 3, 3, 12, 0), "series")
    with pytest.raises(ImageError, match="without a date"):
        hours_after(scan(radiopharmaceutical=seen))


def test_a_68ga_scan_at_the_clock_before_its_injection_is_refused():
    seen = radiopharmaceutical_of(header("68 Gallium", "110000"), datetime(2026, 3, 3, 10, 0), "series")
    with pytest.raises(ImageError, match="before injection"):
        hours_after(scan(nuclide="68Ga", radiopharmaceutical=seen, reference_at=datetime(2026, 3, 3, 10, 0)))


def test_megabecquerels_in_place_of_becquerels_are_refused():
    with pytest.raises(ImageError, match="RadionuclideTotalDose"):
        radiopharmaceutical_of(header("18F", "100000", RadionuclideTotalDose="388.7"), None, "series")


@pytest.mark.parametrize("text", ["177 Lutetium", "^177^Lutetium", "Lu-177", "177Lu", "177Lu-DOTATATE", "Lutetium177"])
def test_nuclides_are_read_from_free_text(text):
    item = Dataset()
    item.Radiopharmaceutical = text
    assert nuclide_of(item) == "177Lu"


def test_date_times_with_fraction_and_offset():
    assert full_moment("20181115092200.500000+0100") == datetime(2018, 11, 15, 9, 22, 0, 500_000)
    assert full_moment("2018") is None
