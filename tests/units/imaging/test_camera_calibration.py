"""Sensitivities by hand, their sd by repeated draws, what they apply to, and their means."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest

from dose.errors import ImageError, InputError
from dose.nuclides import radionuclide
from imaging.camera_calibration import (
    CameraCalibration,
    check_applies,
    combined_calibration,
    reconstruction_fingerprint,
    sensitivity_of_factor,
)
from imaging.geometry import Volume
from imaging.sensitivity import (
    internal_calibration,
    phantom_sensitivity,
    planar_sensitivity,
    reconstructed_sensitivity,
    surviving_share,
)
from imaging.site_files import read_calibration, write_calibration

WINDOW = (187.2, 228.8)
SETTINGS = {"algorithm": "OSEM", "iterations": 4, "subsets": 8, "psf": True, "scatter": "tew"}
PLANAR = {"nuclide": "177Lu", "window_keV": WINDOW, "activity_sd_MBq": 2.0}
CYLINDER = CameraCalibration(9.0, 0.3, "cylinder", "177Lu", WINDOW, "MELP", SETTINGS, 0.02, datetime(2026, 3, 1, 12))


def test_planar_sensitivity_by_hand():
    # 100 MBq at assay, 24 h later, 300 s: counts made from 10 cps/MBq and a background of 5 cps
    decay = radionuclide("177Lu").decay_constant_per_h
    left = 100 * math.exp(-24 * decay) * surviving_share(radionuclide("177Lu").half_life_h, 300)
    found = planar_sensitivity(
        counts=300 * (10 * left + 5),
        duration_s=300,
        activity_MBq=100,
        hours_since_assay=24,
        background_counts=3000,
        background_duration_s=600,
        **PLANAR,
    )
    assert found.sensitivity_cps_per_MBq == pytest.approx(10, rel=1e-12)
    net = 3000 * left
    counting = math.sqrt(net + 1500 + 0.25 * 3000) / net
    assert found.relative_sd == pytest.approx(math.hypot(counting, 0.02), rel=1e-9)
    assert found.meter_relative_sd == pytest.approx(0.02)


def test_activity_falls_while_it_is_counted():
    # a counting of one half-life sees on average (1 - 1/2)/ln 2
    assert surviving_share(1.0, 3600) == pytest.approx(0.5 / math.log(2), rel=1e-12)
    assert surviving_share(1e9, 1) == pytest.approx(1.0)


def test_the_sd_of_a_phantom_is_the_spread_of_repeated_ones():
    rng = np.random.default_rng(1)
    truth = {"counts": 5e6, "activity_MBq": 800.0, "fill_volume_mL": 6000.0, "region_volume_mL": 2000.0}
    sd = {"counts": 5e4, "activity_MBq": 16.0, "fill_volume_mL": 60.0, "region_volume_mL": 30.0}
    words = {
        "duration_s": 1800.0,
        "nuclide": "177Lu",
        "window_keV": WINDOW,
        "counts_sd": sd["counts"],
        "activity_sd_MBq": sd["activity_MBq"],
        "fill_volume_sd_mL": sd["fill_volume_mL"],
        "region_volume_sd_mL": sd["region_volume_mL"],
    }
    draws = [{name: rng.normal(truth[name], sd[name]) for name in truth} for _ in range(2000)]
    found = [phantom_sensitivity(**draw, **words).sensitivity_cps_per_MBq for draw in draws]
    # first order, sd of an sd of 2000 draws 1.6 %
    assert phantom_sensitivity(**truth, **words).sd_cps_per_MBq == pytest.approx(np.std(found), rel=0.06)
    assert phantom_sensitivity(**truth, **words).sensitivity_cps_per_MBq == pytest.approx(np.mean(found), rel=0.005)


def test_a_reconstructed_phantom_is_divided_by_its_activity_at_the_start_of_the_scan():
    left = 800 * math.exp(-6 * radionuclide("177Lu").decay_constant_per_h)
    words = {"activity_sd_MBq": 16.0, "nuclide": "177Lu", "window_keV": WINDOW, "hours_since_assay": 6.0}
    found = reconstructed_sensitivity(total_cps=9.4 * left, total_sd_cps=0.094 * left, activity_MBq=800.0, **words)
    assert found.sensitivity_cps_per_MBq == pytest.approx(9.4, rel=1e-12)
    assert found.relative_sd == pytest.approx(math.hypot(0.01, 0.02), rel=1e-9)
    with pytest.raises(InputError, match="total_cps"):
        reconstructed_sensitivity(total_cps=0.0, total_sd_cps=0.0, activity_MBq=800.0, **words)


def test_the_patient_is_his_own_source():
    decay = math.exp(-4 * radionuclide("177Lu").decay_constant_per_h)
    share = surviving_share(radionuclide("177Lu").half_life_h, 1200)
    counts = 9.0 * 7400 * decay * 0.7 * 0.9 * share * 1200
    words = {"counts_sd": 0.0, "duration_s": 1200, "administered_MBq": 7400, "administered_sd_MBq": 74}
    words |= {"hours_after": 4, "nuclide": "177Lu", "window_keV": WINDOW, "field_share": 0.9}
    found = internal_calibration(counts=counts, excreted_share=0.3, excreted_share_sd=0.035, **words)
    assert found.sensitivity_cps_per_MBq == pytest.approx(9.0, rel=1e-12)
    assert found.relative_sd == pytest.approx(math.hypot(0.01, 0.05), rel=1e-9)
    with pytest.raises(InputError, match="shares"):
        internal_calibration(counts=counts, excreted_share=1.0, **words)


def test_a_factor_for_voxels_and_a_sensitivity_are_one_thing():
    counts = Volume(np.full((4, 4, 4), 50.0), np.diag([4.0, 4, 4, 1]))
    image = CYLINDER.apply(counts, 1800)
    total_MBq = float(image.array.sum()) * image.voxel_mL / 1e6
    assert total_MBq == pytest.approx(64 * 50 / 1800 / 9.0, rel=1e-6)
    factor = CYLINDER.Bq_per_mL_per_count(1800, counts.voxel_mL)
    assert sensitivity_of_factor(factor, 1800, counts.voxel_mL) == pytest.approx(9.0, rel=1e-12)


def test_other_settings_are_refused_or_warned_of(caplog):
    assert check_applies(CYLINDER, nuclide="177Lu", settings=dict(reversed(SETTINGS.items()))) == []
    other = {**SETTINGS, "iterations": 10, "filter": "none"}
    with pytest.raises(ImageError, match="filter, iterations"):
        check_applies(CYLINDER, nuclide="177Lu", settings=other, collimator="MELP")
    with caplog.at_level(logging.WARNING):
        found = check_applies(CYLINDER, nuclide="177Lu", settings=other, is_difference_refused=False)
    assert found == ["filter", "iterations"]
    assert "filter" in caplog.text
    with pytest.raises(ImageError, match="nuclide"):
        check_applies(CYLINDER, nuclide="131I", is_difference_refused=False)


@pytest.mark.parametrize(("apart_keV", "expected"), [(0.4, []), (0.6, ["window_keV"])])
def test_windows_are_compared_to_half_a_keV(apart_keV, expected):
    other = (WINDOW[0], WINDOW[1] + apart_keV)
    found = check_applies(CYLINDER, nuclide="177Lu", window_keV=other, settings=None, is_difference_refused=False)
    assert found == expected


def test_a_fingerprint_knows_settings_and_not_their_order():
    assert CYLINDER.fingerprint == reconstruction_fingerprint(dict(reversed(SETTINGS.items())))
    assert CYLINDER.fingerprint != reconstruction_fingerprint({**SETTINGS, "subsets": 9})
    assert reconstruction_fingerprint({}) == ""


def test_a_mean_of_calibrations_keeps_the_meters_error():
    values = [9.0, 9.1, 8.9, 9.05]
    many = [replace(CYLINDER, sensitivity_cps_per_MBq=v, sd_cps_per_MBq=math.hypot(0.2, 0.02 * v)) for v in values]
    found = combined_calibration(many)
    mean = np.mean(values)
    assert found.calibration.sensitivity_cps_per_MBq == pytest.approx(mean, rel=1e-9)
    assert found.chi2 == pytest.approx(sum((v - mean) ** 2 for v in values) / 0.04, rel=1e-6)
    assert found.calibration.sd_cps_per_MBq == pytest.approx(math.hypot(0.1, 0.02 * mean), rel=1e-6)


def test_calibrations_that_disagree_widen_the_mean():
    apart = [
        replace(CYLINDER, sensitivity_cps_per_MBq=v, sd_cps_per_MBq=0.2, meter_relative_sd=0.0) for v in (8.0, 10.0)
    ]
    found = combined_calibration(apart)
    assert found.birge_ratio == pytest.approx(math.sqrt(50), rel=1e-9)
    assert found.calibration.sd_cps_per_MBq == pytest.approx(1.0, rel=1e-9)  # half the difference
    with pytest.raises(InputError, match="nuclide"):
        combined_calibration([CYLINDER, replace(CYLINDER, nuclide="131I")])


def test_a_calibration_comes_back_from_its_file(tmp_path):
    path = tmp_path / "camera.json"
    write_calibration(path, CYLINDER)
    assert read_calibration(path) == CYLINDER
    path.write_text(path.read_text().replace('"iterations": 4', '"iterations": 5'))
    with pytest.raises(InputError, match="fingerprint"):
        read_calibration(path)


@pytest.mark.parametrize("text", ["", "[1, 2]", '{"sensitivity_cps_per_MBq": -1}', "[" * 100_000, '{"x": NaN}'])
def test_a_broken_file_is_refused(tmp_path, text):
    path = tmp_path / "camera.json"
    path.write_text(text)
    with pytest.raises(InputError):
        read_calibration(path)


def test_impossible_calibrations_are_refused():
    with pytest.raises(InputError):
        replace(CYLINDER, sensitivity_cps_per_MBq=0.0)
    with pytest.raises(InputError):
        replace(CYLINDER, meter_relative_sd=0.5)
    with pytest.raises(InputError, match="net_counts"):
        planar_sensitivity(counts=10, duration_s=1, activity_MBq=1, background_counts=20, **PLANAR)
